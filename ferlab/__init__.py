"""The parts of the suite, one job each."""

CLASS_NAMES = (
    "Surprise",
    "Fear",
    "Disgust",
    "Happiness",
    "Sadness",
    "Anger",
    "Neutral",
)  # labels 1..7, minus one
