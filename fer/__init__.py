"""The parts of the suite, one job each."""

from fer.versions import check

check()  # here, since with an old torch the next import already fails

CLASS_NAMES = (
    "Surprise",
    "Fear",
    "Disgust",
    "Happiness",
    "Sadness",
    "Anger",
    "Neutral",
)  # labels 1..7, minus one
