"""FER2013 in facts (Goodfellow et al., ICONIP 2013): 48 x 48 grey faces, labels 0..6 in an order of its own.

from ferlab.data.fer2013 import CLASS_NAMES, COUNTS
"""

NAME = "fer2013"
FIRST = 0  # the label of the first class
CLASS_NAMES = ("Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Neutral")
COUNTS = {  # of fer2013.csv; trees of folders join val and test as their test
    "train": (3995, 436, 4097, 7215, 4830, 3171, 4965),
    "val": (467, 56, 496, 895, 653, 415, 607),
    "test": (491, 55, 528, 879, 594, 416, 626),
}
USAGE = {"training": "train", "publictest": "val", "privatetest": "test"}
