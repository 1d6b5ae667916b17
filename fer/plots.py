"""Numbers to pictures; the only part that imports matplotlib."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from fer import CLASS_NAMES

BLUE, ORANGE, GREEN, GREY = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#767676",
)  # Okabe and Ito's, told apart by everybody
STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "figure.facecolor": "white",
    "savefig.dpi": 144,
    "legend.frameon": False,
}


def curves(rows: Sequence[dict], path: Path, *, title: str) -> None:
    """Loss, accuracies and learning rate over the epochs; `rows` are those of log.csv."""
    epoch = [row["epoch"] for row in rows]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11, 3.4), layout="constrained")
        loss, score, rate = figure.subplots(1, 3)
        loss.plot(
            epoch,
            [row["train_loss"] for row in rows],
            color=BLUE,
            label="train (varied images, smoothed labels)",
        )
        loss.plot(epoch, [row["val_loss"] for row in rows], color=ORANGE, label="val")
        loss.set(title="loss", xlabel="epoch", ylabel="cross-entropy")
        names = {
            "train_accuracy": ("train accuracy", BLUE, ":"),
            "val_accuracy": ("val accuracy", ORANGE, "-"),
            "val_macro_f1": ("val macro-F1", GREEN, "-"),
            "val_balanced_accuracy": ("val balanced accuracy", GREY, "--"),
        }
        for key, (label, colour, line) in names.items():
            score.plot(epoch, [100 * row[key] for row in rows], line, color=colour, label=label)
        best = max(rows, key=lambda row: row["val_macro_f1"])
        score.plot(
            best["epoch"], 100 * best["val_macro_f1"], "o", color=GREEN, label=f"best, epoch {best['epoch']}"
        )
        score.set(title="scores", xlabel="epoch", ylabel="%")
        rate.plot(epoch, [row["lr"] for row in rows], color=GREY)
        rate.set(title="learning rate at the end of each epoch", xlabel="epoch")
        for axes in (loss, score):
            axes.legend(fontsize=8)
        for axes in (loss, score, rate):
            axes.xaxis.get_major_locator().set_params(integer=True)
        figure.suptitle(title)
        figure.savefig(path)


def confusion(matrix: Sequence[Sequence[int]], path: Path, *, title: str) -> None:
    """A confusion matrix: shares of each true class as colour and per cent, counts below."""
    counts = np.asarray(matrix)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(6.4, 6), layout="constrained")
        axes = figure.subplots()
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for i, j in np.ndindex(counts.shape):
            axes.text(
                j,
                i,
                f"{100 * share[i, j]:.0f} %\n{counts[i, j]:,}",
                ha="center",
                va="center",
                fontsize=8,
                color="white" if share[i, j] > 0.55 else "black",
            )
        names = [f"{name}\n(n = {n:,})" for name, n in zip(CLASS_NAMES, counts.sum(1))]
        axes.set_xticks(range(len(names)), CLASS_NAMES, rotation=30, ha="right")
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="predicted", ylabel="true", title=title)
        figure.savefig(path)
