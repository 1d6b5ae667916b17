"""AffectNet in facts (Mollahosseini et al., IEEE Transactions on Affective Computing 2017): its label order.

from ferlab.data.affectnet import CLASS_NAMES
"""

NAME = "affectnet"
FIRST = 0  # the label of the first class
CLASS_NAMES = (  # with seven classes the last is missing
    *("Neutral", "Happiness", "Sadness", "Surprise", "Fear", "Disgust", "Anger", "Contempt"),
)
COUNTS = {"train": (74874, 134415, 25459, 14090, 6378, 3803, 24882, 3750)}
