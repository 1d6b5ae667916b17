"""A photo -> its faces, each with its expression and seven probabilities.

from ferlab import Recognizer
recognizer = Recognizer()               # the best trained model there is; or Recognizer("a run's folder")
for face in recognizer("photo.jpg"): print(face.expression, face.probabilities, face.box)
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import models
from ferlab.errors import UserError
from ferlab.inference.explain import explain
from ferlab.inference.face_detection import Face
from ferlab.inference.photos import faces_in
from ferlab.inference.predictor import best, find, probabilities
from ferlab.training.device import choose

UNSURE = "unsure"


class Prediction(NamedTuple):
    """The answer to one face."""

    box: tuple[float, float, float, float] | None  # left, top, right, bottom in pixels; None: a ready crop
    expression: str  # one of the models' classes, or "unsure"
    probability: float  # the highest one
    probabilities: dict[str, float]  # of every class, in the models' order; they sum to 1
    pixels: np.ndarray  # the aligned face that the models saw, uint8 (3, 100, 100)

    def ranked(self, k: int | None = None) -> list[tuple[str, float]]:
        """The `k` most probable expressions (all) with their probabilities, most probable first."""
        return sorted(self.probabilities.items(), key=lambda item: -item[1])[:k]


class Recognizer:
    """A trained model, or several that vote with the mean of their probabilities.

    runs: folders of runs or .pth files; without one, the trained model with the highest macro-F1 on val, in
    ./results, else the suite's own. device: auto, cpu, cuda or cuda:N. flip: average over each face and its
    mirror image, at twice the cost. min_confidence: below this probability the expression is "unsure".
    Everything is computed in fp32. Raises UserError where there is no model, or one cannot be used.
    """

    def __init__(
        self, *runs: str | Path, device: str = "auto", flip: bool = False, min_confidence: float = 0.0
    ) -> None:
        if not 0 <= min_confidence <= 1:
            raise UserError(f"--min-confidence is {min_confidence:g}; it must be 0 to 1.")
        self.files = [find(run) for run in runs] or [best()]
        chosen = choose(device)
        self.models = [models.load(file).to(chosen) for file in self.files]
        self.class_names = self.models[0].class_names
        for file, model in zip(self.files, self.models):
            if model.class_names != self.class_names:
                raise UserError(
                    f"{self.files[0]} and {file} were trained on other classes, and cannot be an ensemble."
                )
        self.flip, self.min_confidence = flip, min_confidence

    def __call__(
        self, photo: str | Path | bytes | Image.Image | np.ndarray, *, aligned: bool = False
    ) -> list[Prediction]:
        """Every face in a photo, from left to right; [] where there is none.

        photo: a path, a file's bytes, a PIL image, or uint8 RGB (H, W, 3). aligned: it is a ready face crop
        of any size, in which no face is looked for. Raises UserError where it cannot be read.
        """
        return self.classify(faces_in(photo, aligned=aligned)[1])

    def classify(self, faces: Sequence[Face]) -> list[Prediction]:
        """The answers to faces that are found already, in one go."""
        if not faces:
            return []
        found = []
        pixels = torch.from_numpy(np.stack([face.pixels for face in faces]))
        for face, p in zip(faces, self.probabilities(pixels).tolist()):
            highest = max(p)
            name = self.class_names[p.index(highest)] if highest >= self.min_confidence else UNSURE
            found.append(Prediction(face.box, name, highest, dict(zip(self.class_names, p)), face.pixels))
        return found

    def probabilities(self, faces: Tensor) -> Tensor:
        """float32 (N, C) on the host for uint8 faces (N, 3, H, W)."""
        return probabilities(self.models, faces, flip=self.flip)

    def heat_maps(self, faces: Tensor) -> Tensor:
        """Where the models looked in uint8 faces (N, 3, H, W): their mean, (N, H, W) in 0..1."""
        return torch.stack([explain(model, faces) for model in self.models]).mean(0)

    def __str__(self) -> str:
        """The models with what they were trained on, such as results/ConvNet/seed0 (ConvNet, RAF-DB)."""
        parts = []
        for file, model in zip(self.files, self.models):
            where = file.parent if file.name == "best_model.pth" else file
            parts.append(f"{where} ({model.built['name']}, {model.checkpoint.get('data', 'unknown data')})")
        return " + ".join(parts)
