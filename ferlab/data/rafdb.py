"""RAF-DB in facts: its classes in the order of its labels, how many images of each it has, and their size.

from ferlab.data.rafdb import CLASS_NAMES, COUNTS
"""

NAME = "RAF-DB"
# labels 1..7, minus one
CLASS_NAMES = ("Surprise", "Fear", "Disgust", "Happiness", "Sadness", "Anger", "Neutral")
COUNTS = {"train": (1290, 281, 717, 4772, 1982, 705, 2524), "test": (329, 74, 160, 1185, 478, 162, 680)}
SIDE = 100  # pixels, both ways
LICENCE = "non-commercial research only, no redistribution"
