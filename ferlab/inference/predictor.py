"""What trained models answer to faces, by the very path of the evaluation in training.

probabilities([models.load(find("results/ResNet18/seed0"))], faces)          # (N, C), rows sum to 1
"""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ferlab.analysis import records
from ferlab.data.rafdb import DRAWN, NAME, prefix
from ferlab.errors import UserError
from ferlab.training import augment
from ferlab.training.batches import reduced
from models import ARCHITECTURES, Model

BATCH = 256
SUITE = Path(__file__).resolve().parents[2]


def find(path: str | Path) -> Path:
    """The checkpoint that `path` means: a run's folder its best_model.pth, a file itself."""
    path = Path(path)
    if not path.exists() and (SUITE / path).exists():
        path = SUITE / path  # the suite's own runs are found from any folder
    file = path / "best_model.pth" if path.is_dir() else path
    if file.is_file():
        return file
    if below := _runs(path, "*/best_model.pth", "*/*/best_model.pth"):
        raise UserError(f"{path} is not a run's folder, but runs with weights are in it: {below}.")
    if (path / "metrics.json").is_file():
        raise UserError(
            f"{path} holds a run's numbers without its weights, which are in no repository: "
            f"train it anew{_command(path)}, then name the folder which that prints."
        )
    if (path / "last.pth").is_file():
        raise UserError(f"{path} has no best_model.pth yet; resume its run, or name its last.pth.")
    lacks = "does not exist"
    if path.exists():
        lacks = "has no best_model.pth in it" if path.is_dir() else "is not a file"
    here = _runs(Path("results"), "*/*/best_model.pth") or "none yet; begin with python train_ResNet.py"
    raise UserError(f"{path} {lacks}; name a run's folder or its .pth. Trained here: {here}.")


def _runs(folder: Path, *patterns: str) -> str:
    """The first ten runs with weights in `folder`."""
    files = (file for pattern in patterns for file in folder.glob(pattern))
    return ", ".join(str(file.parent) for file in sorted(files)[:10])


def _command(run: Path) -> str:
    """How to train the model of the run's folder `run`, which is <Model>/<run>/."""
    known = ARCHITECTURES.get(run.resolve().parent.name)
    return f" with python {known.script}" if known else ""


def trained(name: str = "*", results: str | Path = "results", *, data: str = NAME) -> Path | None:
    """The best_model.pth of the model `name`, or of any, or None. Runs on `data`, a dataset's name, come
    first, then those on RAF-DB, and those on drawn faces last; among them the highest macro-F1 on val, as
    metrics.json tells, and unfinished ones last.
    """

    def rank(file: Path) -> tuple[bool, bool, bool, float]:
        try:
            numbers = records.numbers(file.parent)
            there, score = numbers["data"], numbers["val"]["macro_f1"]
        except records.Unreadable:
            name, score = file.parent.name.removeprefix("rerun-"), -1.0
            begins = {prefix(kind): kind for kind in (DRAWN, data) if prefix(kind)}
            there = next((kind for begin, kind in begins.items() if name.startswith(begin)), "")
            there = NAME if name.startswith("seed") else there  # what runs on RAF-DB are called
        return there == data, there == NAME, there != DRAWN, score

    return max(sorted(Path(results).glob(f"{name}/*/best_model.pth")), key=rank, default=None)


def best() -> Path:
    """The best trained model there is: in ./results, else the suite's own. Raises UserError without one."""
    for folder in (Path("results"), SUITE / "results", SUITE / "ferlab/weights"):  # the last: from a wheel
        if file := trained(results=folder):
            return file
    raise UserError("no model is trained yet; train one first, such as with python train_ConvNet.py.")


def preprocess(model: Model, faces: Tensor) -> Tensor:
    """uint8 faces (N, 3, 100, 100) -> float (N, 3, S, S) as `model` had them in training: its --resolution
    or --face-size, its image size, normalised.
    """
    options = getattr(model, "checkpoint", {}).get("options", {})
    seen = min(options.get("resolution") or math.inf, options.get("face_size") or math.inf)
    return augment.apply(reduced(faces, seen) if seen < faces.shape[-1] else faces, model.built["image_size"])


@torch.inference_mode()
def probabilities(models: Sequence[Model], faces: Tensor, *, flip: bool = False) -> Tensor:
    """float32 (N, C) on the host for uint8 faces (N, 3, H, W): the mean of the models' probabilities, each
    model's logits first divided by its checkpoint's `temperature`, where it has one (Guo et al., On
    Calibration of Modern Neural Networks, ICML 2017, https://arxiv.org/abs/1706.04599).

    flip: each answer is the mean over the face and its mirror image. The models must be in eval mode.
    """
    answers = []
    for batch in faces.split(BATCH):
        views = [batch, batch.flip(3)] if flip else [batch]
        parts = [answer(model, view.to(device(model))).cpu() for model in models for view in views]
        answers.append(torch.stack(parts).mean(0))
    return torch.cat(answers)


def answer(model: Model, faces: Tensor) -> Tensor:
    """One model's calibrated probabilities (N, C), on its own device, where the faces must be."""
    temperature = getattr(model, "checkpoint", {}).get("temperature", 1.0)
    return (model(preprocess(model, faces)) / temperature).softmax(1)


def device(model: Model) -> torch.device:
    """Where the model's weights are."""
    return next(model.parameters()).device
