"""The final numbers of a run as one plain dict, which is what gets printed, drawn and written down.

numbers = summarize(state, sets, logits, fitted, ...)
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ferlab.analysis import metrics
from ferlab.options import public
from ferlab.training.runtime import Runtime
from ferlab.training.state import TrainState

HERE = Path(__file__).resolve().parents[2]


def summarize(
    state: TrainState,
    sets: dict,
    logits: dict[str, Tensor],
    fitted: dict[str, float],
    *,
    run: str,
    reason: str,
    cost: dict,
    duplicates: dict,
) -> dict:
    """What stands in metrics.json. `sets` are the datasets and `logits` the best weights' (N, C) by split;
    `fitted` is what was fitted on val; `reason` says why training ended; `duplicates` names the images
    that stand in two splits. Test's numbers are those of its probabilities as predictions.csv has them.
    """
    scores = {}
    for split, values in logits.items():
        p = rounded(values) if split == "test" else values.softmax(1).numpy()
        labels = sets[split].labels.numpy()
        after = metrics.calibrated(p, labels, fitted["temperature"])
        scores[split] = {**metrics.report(p, labels, sets[split].class_names), "calibrated": after}
    return {
        "model": state.about["model"]["name"],
        "run": run,
        "data": state.about["data"],
        "weights": public(vars(state.options))["weights"],
        "finished": reason,
        "epochs": state.epoch,
        "best_epoch": state.best["epoch"],
        **fitted,
        **scores,
        "cost": {**cost, "train_seconds": sum(row["seconds"] for row in state.log)},
        "counts": {name: part.counts for name, part in sets.items()},
        "duplicates": {key: len(names) for key, names in duplicates.items()},
        "skipped_images": sets["train"].skipped,
        "repeated_images": sum(part.repeated for part in sets.values()),
        "scaled_images": sum({part.official: part.resized for part in sets.values()}.values()),
        **{key: state.about[key] for key in ("split_hash", "train_hash", "test_hash")},
        "environment": state.runtime.environment(),
        "commit": commit(),
    }


def rounded(logits: Tensor) -> np.ndarray:
    """Probabilities (N, C) of the logits, with the five digits that predictions.csv has."""
    return np.array([[float(f"{p:.5g}") for p in row] for row in logits.softmax(1).tolist()])


def predictions_table(
    images: Sequence[str], labels: Sequence[int], class_names: Sequence[str], probabilities: np.ndarray
) -> list[list]:
    """The rows of predictions.csv, its header first: names (N,), labels (N,) and probabilities (N, C)."""
    rows = zip(images, labels, probabilities)
    return [
        ["image", "label", *class_names],
        *([name, class_names[label], *(f"{p:.5g}" for p in row)] for name, label, row in rows),
    ]


def commit() -> str | None:
    """The commit of this suite, with -dirty where its files, results apart, differ from it; None outside a
    repository.
    """
    if not (HERE / ".git").exists():
        return None
    head = _git("rev-parse", "--short=12", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)results")
    return f"{head}-dirty" if head and changed != "" else head


def _git(*words: str) -> str | None:
    """What git says; None where it fails."""
    try:
        done = subprocess.run(["git", "-C", str(HERE), *words], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def peak_memory(runtime: Runtime) -> float | None:
    """The largest memory in MiB, of the GPU or of this process, where the system tells."""
    if runtime.device.type in ("cuda", "xpu"):  # mps shares the process's memory
        return torch.get_device_module(runtime.device.type).max_memory_allocated() / 2**20
    try:
        import resource
    except ImportError:  # Windows
        return None
    scale = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale
