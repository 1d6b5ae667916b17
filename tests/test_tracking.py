"""Who is who from frame to frame, and what smoothing makes of the probabilities."""

import math

import numpy as np
import pytest

from ferlab.data.rafdb import CLASS_NAMES
from ferlab.inference.recognizer import UNSURE, Prediction
from ferlab.inference.tracking import Tracker, overlap


def face(x: float, happy: float = 0.7, *, y: float = 0) -> Prediction:
    """A face of 100 pixels at x, y."""
    p = dict.fromkeys(CLASS_NAMES, (1 - happy) / 6) | {"Happiness": happy}
    name = max(p, key=p.get)
    return Prediction((x, y, x + 100, y + 100), name, p[name], p, np.zeros((3, 100, 100), np.uint8))


def numbers(tracker: Tracker, time: float, *faces: Prediction) -> list[int]:
    return [number for number, _ in tracker.update(time, faces)]


def test_overlap():
    assert overlap((0, 0, 2, 2), (1, 1, 3, 3)) == pytest.approx(1 / 7)
    assert overlap((0, 0, 2, 2), (2, 0, 4, 2)) == 0 and overlap((0, 0, 2, 2), (0, 0, 2, 2)) == 1


def test_people_keep_their_numbers():
    tracker = Tracker(smooth=0, forget=1)
    assert numbers(tracker, 0, face(0), face(300)) == [1, 2]
    assert numbers(tracker, 0.5, face(40), face(260)) == [1, 2]
    assert numbers(tracker, 1.0, face(255), face(500), face(80)) == [2, 3, 1]
    assert numbers(tracker, 1.5, face(500)) == [3]  # the others are hidden
    assert numbers(tracker, 2.0, face(80), face(500)) == [1, 3]
    assert numbers(tracker, 2.1, face(255)) == [4]  # forgotten since 1.0
    assert numbers(tracker, 9.0, face(255)) == [5]


def test_the_pair_that_overlaps_most_is_joined_first():
    tracker = Tracker(smooth=0, forget=1)
    assert numbers(tracker, 0, face(0)) == [1]
    assert numbers(tracker, 0.1, face(60), face(10)) == [2, 1]


def test_probabilities_are_smoothed_over_seconds_and_not_over_frames():
    for step in (0.1, 0.5):
        tracker = Tracker(smooth=0.5, forget=2, min_confidence=0.4)
        tracker.update(0, [face(0, 1.0)])
        for i in range(1, round(1 / step) + 1):
            [(_, last)] = tracker.update(i * step, [face(0, 0.0)])
        assert last.probabilities["Happiness"] == pytest.approx(math.exp(-2))
        assert sum(last.probabilities.values()) == pytest.approx(1) and last.expression == UNSURE
        assert last.probability == max(last.probabilities.values())
    tracker = Tracker(smooth=0, forget=2)
    tracker.update(0, [face(0, 1.0)])
    assert tracker.update(0.1, [face(0, 0.0)])[0][1].probabilities["Happiness"] == 0
