"""Faces followed from frame to frame: a number for each person, and probabilities that do not flicker.

tracker = Tracker(smooth=0.5, forget=1.0)
for time, faces in samples: numbered = tracker.update(time, faces)
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from ferlab.inference.recognizer import UNSURE, Prediction

SHARED = 0.2  # intersection over union from which two boxes may be one face: half a second moves a head far
Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels


class _Track(NamedTuple):
    seen: float  # seconds, when it was seen last
    box: Box
    probabilities: dict[str, float]


class Tracker:
    """Numbers faces from 1 in the order in which they appear; the pair of boxes that overlaps most is joined
    first, and so on (Bochinski et al., High-Speed Tracking-by-Detection Without Using Image Information, AVSS
    2017).

    smooth: seconds over which a face's probabilities are averaged, as an exponential moving average; 0: not
    at all. forget: seconds after which a face that is not seen is another one when it comes back.
    min_confidence: below this probability the expression is "unsure".
    """

    def __init__(self, *, smooth: float, forget: float, min_confidence: float = 0.0) -> None:
        self.smooth, self.forget, self.min_confidence = smooth, forget, min_confidence
        self.tracks: dict[int, _Track] = {}
        self.numbered = 0

    def update(self, time: float, faces: Sequence[Prediction]) -> list[tuple[int, Prediction]]:
        """The faces of the frame at `time` seconds, each with its number, its probabilities smoothed."""
        self.tracks = {n: track for n, track in self.tracks.items() if time - track.seen <= self.forget}
        pairs = sorted(
            ((overlap(track.box, face.box), number, index)
             for number, track in self.tracks.items() for index, face in enumerate(faces)), reverse=True
        )  # fmt: skip
        known: dict[int, int] = {}  # index in faces -> number
        for shared, number, index in pairs:
            if shared >= SHARED and index not in known and number not in known.values():
                known[index] = number
        found = []
        for index, face in enumerate(faces):
            if index not in known:
                self.numbered += 1
            number = known.get(index, self.numbered)
            face = self._smoothed(time, face, self.tracks.get(number))
            self.tracks[number] = _Track(time, face.box, face.probabilities)
            found.append((number, face))
        return found

    def _smoothed(self, time: float, face: Prediction, track: _Track | None) -> Prediction:
        if track is None or not self.smooth:
            return face
        new = 1 - math.exp((track.seen - time) / self.smooth)  # how much the frame counts
        p = {name: old + new * (face.probabilities[name] - old) for name, old in track.probabilities.items()}
        name = max(p, key=p.get)
        expression = name if p[name] >= self.min_confidence else UNSURE
        return face._replace(expression=expression, probability=p[name], probabilities=p)


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0, width) * max(0, height)
    areas = ((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return shared / (sum(areas) - shared)
