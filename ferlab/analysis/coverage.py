"""Accuracy on the images a model is surest of: what it costs and gains to leave the others unanswered.

selective(probabilities, labels)[0.8]     # accuracy on the surest 80 %, and the confidence that asks for
"""

from collections.abc import Sequence

import numpy as np

from ferlab.analysis.tables import Table, percent

COVERAGES = 1.0, 0.95, 0.9, 0.8, 0.7, 0.5
CAPTION = (
    "Accuracy in % on the share of the test images that a model is surest of, by its highest probability "
    "(Geifman and El-Yaniv, Selective Classification for Deep Neural Networks, NeurIPS 2017), and from which "
    "probability on these are, mean over the seeds whose temperature is known: `predict.py --min-confidence` "
    "leaves the others unsure"
)


def selective(
    probabilities: np.ndarray, labels: np.ndarray, coverages: Sequence[float] = COVERAGES
) -> dict[float, tuple[float, float]]:
    """For each share of the images, 0 to 1: the accuracy on so many of the surest ones, at least one, and the
    lowest confidence among them. probabilities (N, C), labels (N,).
    """
    confidence, right = probabilities.max(1).round(9), probabilities.argmax(1) == labels  # less is rounding
    order = np.argsort(-confidence, kind="stable")
    counts = {share: max(1, round(share * len(labels))) for share in coverages}
    return {
        share: (float(right[order[:n]].mean()), float(confidence[order[n - 1]]))
        for share, n in counts.items()
    }


def table(groups: Sequence) -> Table:
    """A row for each of runs.Group's."""
    header = ["Model", *(f"{100 * share:.0f} %" for share in COVERAGES)]
    rows = []
    for group in groups:
        found = [selective(run.calibrated, run.labels) for run in group.runs]
        cells = []
        for share in COVERAGES:
            accuracies = np.array([one[share][0] for one in found])
            known = [one for one, run in zip(found, group.runs) if "temperature" in run.numbers]
            lowest = [one[share][1] for one in known]
            at = f" (from {np.mean(lowest):.2f})" if lowest and share < 1 else ""
            cells.append(percent(accuracies, digits=1) + at)
        rows.append([group.label, *cells])
    return Table(CAPTION, header, rows)
