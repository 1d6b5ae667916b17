"""RAF-DB in facts: its classes in the order of its labels, how many images of each it has, and their size.

from ferlab.data.rafdb import CLASS_NAMES, COUNTS
"""

import hashlib
import re

NAME = "RAF-DB"
FIRST = 1  # the label of the first class
CLASS_NAMES = ("Surprise", "Fear", "Disgust", "Happiness", "Sadness", "Anger", "Neutral")
COUNTS = {"train": (1290, 281, 717, 4772, 1982, 705, 2524), "test": (329, 74, 160, 1185, 478, 162, 680)}
SIDE = 100  # pixels, both ways
DRAWN = "drawn faces"  # what stands in the place of a dataset's name where faces are drawn
WEIGHTS_LICENCE = "trained on RAF-DB: for non-commercial research only"


def slug(name: str) -> str:
    """A dataset's name in small letters, digits and dashes, none of those that are taken."""
    text = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")
    text = text or f"faces-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
    return f"{text}-faces" if text in ("drawn", "readme", "notes") else text


def prefix(dataset: str) -> str:
    """What names of runs and pages on a dataset begin with: nothing on RAF-DB, drawn- on drawn faces."""
    return {NAME: "", DRAWN: "drawn-"}.get(dataset, f"{slug(dataset)}-")
