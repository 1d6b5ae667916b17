"""Scores and labels -> numbers: everything from one additive confusion matrix plus the probabilities.

metrics.report(probabilities, labels, class_names)      # what stands under "val" and "test" in metrics.json
"""

import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ferlab.training.runtime import Runtime

BINS, RESAMPLES = 15, 2000

SCORES = {"accuracy": "Accuracy", "balanced_accuracy": "Balanced accuracy", "macro_f1": "Macro-F1"}


def confusion_matrix(predicted: Tensor, labels: Tensor, *, classes: int) -> Tensor:
    """int64 (C, C): rows are the true classes, columns the predicted. Additive over batches and processes."""
    return torch.bincount(labels * classes + predicted, minlength=classes**2).view(classes, classes)


def from_confusion(confusion: Tensor | np.ndarray) -> dict[str, float | np.ndarray]:
    """accuracy, balanced_accuracy (mean recall), macro_f1, weighted_f1; and precision, recall, f1 and n by
    class.

    Takes (..., C, C) and gives (...) and (..., C). What would divide by zero is 0, as scikit-learn has it; a
    class without a true image does not count in balanced_accuracy, nor one without true or predicted images
    in macro_f1.
    """
    matrix = np.asarray(confusion, dtype=np.float64)
    right = np.diagonal(matrix, axis1=-2, axis2=-1)  # true positives
    n, predicted = matrix.sum(-1), matrix.sum(-2)
    recall, precision = right / np.maximum(n, 1), right / np.maximum(predicted, 1)
    f1 = 2 * right / np.maximum(n + predicted, 1)
    total = n.sum(-1)
    return {
        "accuracy": right.sum(-1) / total,
        "balanced_accuracy": recall.sum(-1) / (n > 0).sum(-1),
        "macro_f1": f1.sum(-1) / (n + predicted > 0).sum(-1),
        "weighted_f1": (f1 * n).sum(-1) / total,
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "n": n,
    }


def report(probabilities: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> dict:
    """All numbers of one split as plain JSON values. probabilities (N, C) with rows that sum to 1, labels
    (N,), names of the C classes.
    """
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    predicted = p.argmax(1)
    classes = len(class_names)
    confusion = confusion_matrix(torch.from_numpy(predicted), torch.from_numpy(y), classes=classes)
    numbers = from_confusion(confusion)
    rank = (p > p[np.arange(len(y)), y][:, None]).sum(1)  # how many classes stand before the true one
    return {
        "n": len(y),
        **{key: float(numbers[key]) for key in (*SCORES, "weighted_f1")},
        "intervals": intervals(predicted, y, classes=classes),
        "top2": float((rank < 2).mean()),
        "top3": float((rank < 3).mean()),
        **calibration(p, y),
        "per_class": {
            name: {
                "precision": float(numbers["precision"][i]),
                "recall": float(numbers["recall"][i]),
                "f1": float(numbers["f1"][i]),
                "n": int(numbers["n"][i]),
            }
            for i, name in enumerate(class_names)
        },
        "confusion_matrix": confusion.tolist(),
        "reliability": reliability(p, y),
    }


def reliability(probabilities: np.ndarray, labels: np.ndarray) -> list[dict]:
    """Predictions in 15 bins of equal width by confidence: mean confidence, accuracy and n of each that has
    any.

    The expected calibration error is the mean gap of the two (Guo et al., ICML 2017).
    """
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == labels
    index = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return [
        {
            "confidence": float(confidence[index == b].mean()),
            "accuracy": float(right[index == b].mean()),
            "n": int((index == b).sum()),
        }
        for b in range(BINS)
        if (index == b).any()
    ]


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature, 0.25 to 4, by which to divide these (val) logits so that their likelihood is highest
    (Guo et al., ICML 2017): above 1 the model was too sure, below 1 not sure enough.
    """
    candidates = torch.logspace(-2, 2, 401, base=2.0)
    losses = [F.cross_entropy(logits / t, labels) for t in candidates]
    return float(candidates[int(torch.stack(losses).argmin())])


def scaled(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """The probabilities (N, C) that logits divided by `temperature` would have given."""
    p = np.maximum(probabilities, 1e-12) ** (1 / temperature)
    return p / p.sum(1, keepdims=True)


def calibrated(probabilities: np.ndarray, labels: np.ndarray, temperature: float) -> dict[str, float]:
    """NLL and ECE of probabilities (N, C) after their logits were divided by `temperature`."""
    return calibration(scaled(probabilities, temperature), labels)


def calibration(p: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """NLL and ECE of probabilities (N, C)."""
    bins = reliability(p, labels)
    return {
        "nll": float(-np.log(np.maximum(p[np.arange(len(labels)), labels], 1e-12)).mean()),
        "ece": float(sum(b["n"] * abs(b["confidence"] - b["accuracy"]) for b in bins) / len(labels)),
    }


def intervals(
    predicted: np.ndarray, labels: np.ndarray, *, classes: int, seed: int = 0
) -> dict[str, list[float]]:
    """95 % percentile bootstrap intervals from 2,000 seeded resamples of the images, for the three main
    numbers.
    """
    cells = np.bincount(labels * classes + predicted, minlength=classes**2)
    # drawing N images with replacement is drawing the cells of their confusion matrix
    drawn = np.random.default_rng(seed).multinomial(len(labels), cells / cells.sum(), size=RESAMPLES)
    numbers = from_confusion(drawn.reshape(-1, classes, classes))
    return {key: [float(v) for v in np.percentile(numbers[key], [2.5, 97.5])] for key in SCORES}


def cost(model: nn.Module, image_size: int, *, runtime: Runtime) -> dict:
    """Parameters, GFLOPs (2 per multiply-add) and latency of one image, images/s of a batch of 64, on the
    run's device.
    """
    model = model.eval()
    x = torch.rand(64, 3, image_size, image_size, device=runtime.device)
    with torch.inference_mode():
        operations = flops(lambda: model(x[:1]))
        with runtime.autocast():
            single, batch = _seconds(model, x[:1], runtime, 10), _seconds(model, x, runtime, 3)
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "gflops": operations / 1e9,
        "latency_ms": 1000 * single,
        "images_per_second": 64 / batch,
    }


def flops(compute: Callable[[], object]) -> int:
    """Floating-point operations, two per multiply-add, of compute(), attention included: the counter does not
    see into the fused kernels of nn.MultiheadAttention, which evaluation takes.
    """
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            compute()
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return counter.get_total_flops()


def _seconds(model: nn.Module, x: Tensor, runtime: Runtime, repeats: int) -> float:
    times = []
    for _ in range(repeats + 1):  # the first one warms up
        start = time.perf_counter()
        model(x)
        runtime.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])
