"""What trained models answer to faces, by the very path of the evaluation in training.

probabilities([models.load(find("results/ResNet18/seed0"))], faces)          # (N, 7), rows sum to 1
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ferlab.errors import UserError
from ferlab.training import augment
from ferlab.training.batches import degrade
from ferlab.training.runtime import Runtime

BATCH = 256


def find(path: str | Path) -> Path:
    """The checkpoint that `path` means: a run's folder its best_model.pth, a file itself."""
    path = Path(path)
    file = path / "best_model.pth" if path.is_dir() else path
    if file.is_file():
        return file
    if below := _runs(path, "*/best_model.pth", "*/*/best_model.pth"):
        raise UserError(f"{path} is no run's folder, but runs with weights are in it: {below}.")
    if (path / "metrics.json").is_file():
        raise UserError(
            f"{path} holds a run's numbers without its weights, which are in no repository: "
            f"train it anew{_command(path)}, then name the folder which that prints."
        )
    if (path / "last.pth").is_file():
        raise UserError(f"{path} has no best_model.pth yet; go on with its run, or name its last.pth.")
    lacks = "does not exist"
    if path.exists():
        lacks = "has no best_model.pth in it" if path.is_dir() else "is no file"
    here = _runs(Path("results"), "*/*/best_model.pth") or "none yet; begin with python train_ResNet.py"
    raise UserError(f"{path} {lacks}; name a run's folder or its .pth. Trained here: {here}.")


def _runs(folder: Path, *patterns: str) -> str:
    """The first ten runs with weights in `folder`."""
    files = (file for pattern in patterns for file in folder.glob(pattern))
    return ", ".join(str(file.parent) for file in sorted(files)[:10])


def _command(run: Path) -> str:
    """How to train the model of the run's folder `run`, which is <Model>/<run>/."""
    from ferlab.analysis.runs import SCRIPTS  # with pandas, which only this message needs

    script = SCRIPTS.get(run.resolve().parent.name)
    return f" with python {script.name}" if script else ""


def trained(name: str, results: str | Path = "results", *, drawn: bool = False) -> Path | None:
    """The best_model.pth of the model `name`, or None. Of several runs, those on RAF-DB come first (with
    `drawn` those on drawn faces, as their names tell), then seed0, then what its name ends with.
    """

    def rank(file: Path) -> tuple:
        run = file.parent.name.removeprefix("drawn-")
        return file.parent.name.startswith("drawn-") != drawn, run != "seed0", run != "rerun-seed0", run

    return min(Path(results).glob(f"{name}/*/best_model.pth"), key=rank, default=None)


def inputs(model: nn.Module, faces: Tensor) -> Tensor:
    """uint8 faces (N, 3, 100, 100) -> float (N, 3, S, S) as `model` had them in training: its --resolution,
    its image size, normalised.
    """
    resolution = getattr(model, "checkpoint", {}).get("options", {}).get("resolution", 0)
    return augment.apply(degrade(faces, resolution) if resolution else faces, model.built["image_size"])


@torch.inference_mode()
def probabilities(models: Sequence[nn.Module], faces: Tensor, *, runtime: Runtime | None = None) -> Tensor:
    """float32 (N, 7) on the host for uint8 faces (N, 3, 100, 100): the mean of the models' probabilities.

    The models must be on `runtime`'s device and in eval mode; without `runtime` all runs on the CPU in fp32.
    """
    runtime = runtime or Runtime(torch.device("cpu"), None)
    answers = []
    for batch in faces.split(BATCH):
        total = torch.zeros(())
        for model in models:
            with runtime.autocast():
                logits = model(inputs(model, batch.to(runtime.device)))
            total = total + logits.float().softmax(1).cpu()
        answers.append(total / len(models))
    return torch.cat(answers)
