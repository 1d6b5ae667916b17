"""Numbers to pictures: curves, confusion matrices, reliability, studies."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from ferlab.analysis.metrics import SCORES
from models import ARCHITECTURES

# Okabe and Ito's colours, told apart by everybody; a marker of its own tells a series in black and white
COLOURS = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#767676"
BLUE, ORANGE, GREEN, _, _, SKY, GREY = COLOURS
MARKERS = tuple(zip((*COLOURS, "black", "#8C5A2B"), "os^DvPX*h"))
MODELS = {name: (it.colour, it.marker) for name, it in ARCHITECTURES.items()}
LINES = ("-", "--", ":", "-.")
STYLE: dict[str, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.25,
    "figure.facecolor": "white",
    "savefig.dpi": 144,
    "legend.frameon": False,
    "savefig.bbox": "tight",
    "savefig.pad_inches": 0.12,
    "text.parse_math": False,  # a folder's name may hold dollars
}
Estimate = tuple[float, float, float]  # mean and 95 % interval, as shares


def curves(rows: Sequence[dict], path: Path, *, title: str) -> None:
    """Loss, accuracies and learning rate over the epochs; `rows` are those of log.csv."""
    epoch = [row["epoch"] for row in rows]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11, 3.4), layout="constrained")
        loss, score, rate = figure.subplots(1, 3)
        train = [row["train_loss"] for row in rows]
        loss.plot(epoch, train, color=BLUE, label="train (varied images, smoothed labels)")
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
        best = max(rows, key=lambda row: (row.get("image_size", 0), row["val_macro_f1"]))
        label = f"best, epoch {best['epoch']}"
        score.plot(best["epoch"], 100 * best["val_macro_f1"], "o", color=GREEN, label=label)
        score.set(title="scores", xlabel="epoch", ylabel="%")
        rate.plot(epoch, [row["lr"] for row in rows], color=GREY)
        rate.set(title="learning rate", xlabel="epoch")
        for axes in (loss, score):
            axes.legend(fontsize=8)
        for axes in (loss, score, rate):
            axes.xaxis.get_major_locator().set_params(integer=True)
        figure.suptitle(title)
        figure.savefig(path)


def confusion(matrix: Sequence[Sequence[int]], path: Path, *, names: Sequence[str], title: str) -> None:
    """A confusion matrix: shares of each true class as colour and per cent, counts below."""
    counts = np.asarray(matrix)
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(6.4, 6), layout="constrained")
        axes = figure.subplots()
        cell = "{:.0f} %\n{:,}".format
        _cells(axes, _shares(counts), lambda i, j, share: cell(100 * share, counts[i, j]), names, size=8)
        rows = [f"{name}\n(n = {n:,})" for name, n in zip(names, counts.sum(1))]
        axes.set_yticks(range(len(rows)), rows)
        axes.set(xlabel="predicted", ylabel="true", title=title)
        figure.savefig(path)


def confusions(matrices: dict[str, np.ndarray], path: Path, *, names: Sequence[str], title: str) -> None:
    """Confusion matrices side by side, in per cent of each true class."""
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        figure, grid = _panels(len(matrices), (3.9, 3.9))
        for number, (axes, (label, counts)) in enumerate(zip(grid.flat, matrices.items())):
            _cells(axes, _shares(counts), lambda i, j, share: f"{100 * share:.0f}", names, size=8)
            axes.set_yticks(range(len(names)), names)
            axes.tick_params(labelleft=number % grid.shape[1] == 0)
            axes.set_title(label, fontsize=10)
        figure.suptitle(title)
        figure.supxlabel("predicted", fontsize=10)
        figure.supylabel("true", fontsize=10)
        figure.savefig(path)


def recalls(
    rows: dict[str, np.ndarray], counts: Sequence[int], path: Path, *, names: Sequence[str], title: str
) -> None:
    """Recall of every class as a heat map; `rows` gives (C,) by model, `counts` the test images by class."""
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(8, 1.4 + 0.45 * len(rows)), layout="constrained")
        axes = figure.subplots()
        _cells(axes, np.stack(list(rows.values())), lambda i, j, share: f"{100 * share:.1f}", names, size=9)
        axes.set_yticks(range(len(rows)), list(rows))
        columns = [f"{name}\nn = {n:,}" for name, n in zip(names, counts)]
        axes.set_xticks(range(len(columns)), columns, rotation=0, ha="center", fontsize=9)
        axes.set_title(title)
        figure.savefig(path)


def all_curves(runs: Sequence[tuple[str, Sequence[dict]]], path: Path, *, title: str) -> None:
    """Losses and val macro-F1 of many runs, (label, rows of log.csv) each: one colour a model."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11, 4), layout="constrained")
        panels = figure.subplots(1, 3)
        names = {
            "train_loss": "train loss (varied images)",
            "val_loss": "val loss",
            "val_macro_f1": "val macro-F1, %",
        }
        styles: dict[str, dict[str, str]] = {}
        for label, rows in runs:
            colour = marker(label)[0]
            lines = styles.setdefault(colour, {})
            line = lines.setdefault(label, LINES[len(lines) % len(LINES)])
            for axes, key in zip(panels, names):
                y = [row[key] * (100 if key == "val_macro_f1" else 1) for row in rows]
                axes.plot(
                    [row["epoch"] for row in rows],
                    y,
                    line,
                    color=colour,
                    lw=1.2,
                    alpha=0.8,
                    label=label,
                    marker="." if len(rows) == 1 else None,
                )
        for axes, name in zip(panels, names.values()):
            axes.set(xlabel="epoch", title=name)
            axes.xaxis.get_major_locator().set_params(integer=True)
        legend(figure, panels)
        figure.suptitle(title)
        figure.savefig(path)


def reliability(models: dict[str, tuple[list[dict], float]], path: Path, *, title: str) -> None:
    """Share of right answers against confidence: bins as metrics.reliability gives them, and the ECE."""
    with matplotlib.rc_context(STYLE):
        figure, grid = _panels(len(models), (3.3, 3.3))
        for axes, (label, (bins, ece)) in zip(grid.flat, models.items()):
            x, y, n = (np.array([part[key] for part in bins]) for key in ("confidence", "accuracy", "n"))
            axes.plot([0, 100], [0, 100], "--", color=GREY, lw=1)
            axes.bar(100 * x, 100 * n / n.sum(), width=5, color=SKY, alpha=0.5, label="share of the images")
            axes.plot(100 * x, 100 * y, "o-", color=BLUE, ms=4, label="right answers")
            axes.set(xlim=(0, 100), ylim=(0, 100))
            axes.set_title(f"{label}\nECE {100 * ece:.1f} %", fontsize=10)
            axes.set_xlabel("confidence, %")
        for row in grid:
            row[0].set_ylabel("%")
        legend(figure, grid.flat)
        figure.suptitle(title)
        figure.savefig(path)


def study_lines(
    series: dict[str, dict[float, dict[str, Estimate]]], path: Path, *, title: str, xlabel: str
) -> None:
    """Accuracy and balanced accuracy over what a study varied (log scale), with 95 % intervals as bands.

    series: by label, then by x, the Estimates by metric.
    """
    ticks = sorted({x for values in series.values() for x in values})
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10, 4.6), layout="constrained")
        panels = figure.subplots(1, 2, sharex=True)
        styles: dict[str, int] = {}
        for label, values in series.items():
            colour, mark = marker(label)
            styles[colour] = styles.get(colour, -1) + 1
            x = sorted(values)
            for axes, key in zip(panels, ("accuracy", "balanced_accuracy")):
                mean, low, high = (100 * np.array([values[v][key] for v in x])).T
                axes.plot(x, mean, LINES[styles[colour] % 4], color=colour, marker=mark, ms=5, label=label)
                axes.fill_between(x, low, high, color=colour, alpha=0.15, lw=0)
                axes.set(xscale="log", ylabel=f"test {key.replace('_', ' ')}, %")
        panels[0].set_xticks(ticks, [f"{tick:,g}" for tick in ticks])
        for axes in panels:
            axes.minorticks_off()
            axes.set_xlabel(xlabel)
        legend(figure, panels)
        figure.suptitle(title)
        figure.savefig(path)


def study_dots(series: dict[str, dict[str, dict[str, Estimate]]], path: Path, *, title: str) -> None:
    """Accuracy against balanced accuracy, and recalls, of every strategy; a row for each series.

    series: by label, then by strategy, the Estimates of SCORES and of the same classes' recalls.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11, 3.8 * len(series)), layout="constrained")
        strategies = list(dict.fromkeys(name for values in series.values() for name in values))
        estimates = [found for values in series.values() for found in values.values()]
        rare = [name for name in estimates[0] if name not in SCORES]
        grid = figure.subplots(
            len(series), 1 + len(rare), squeeze=False, width_ratios=(1.5, *[1] * len(rare))
        )
        for (scatter, *dots), (label, values) in zip(grid, series.items()):
            for y, (strategy, (colour, mark)) in enumerate(zip(strategies, MARKERS)):
                if strategy in values:
                    found = values[strategy]
                    _point(scatter, 100 * found["accuracy"][0], found["balanced_accuracy"], colour, mark)
                    _bar(scatter, found["accuracy"], 100 * found["balanced_accuracy"][0], colour)
                    for axes, name in zip(dots, rare):
                        _bar(axes, found[name], y, colour)
                        axes.plot(100 * found[name][0], y, mark, color=colour, ms=7)
            scatter.set(xlabel="test accuracy, %", ylabel="test balanced accuracy, %", title=label)
            for axes, name in zip(dots, rare):
                axes.set(xlabel=f"recall of {name}, %", ylim=(len(strategies) - 0.5, -0.5))
                axes.set_yticks(range(len(strategies)), strategies)
            for axes in dots[1:]:
                axes.tick_params(labelleft=False)
        figure.suptitle(title)
        figure.savefig(path)


def marker(label: str) -> tuple[str, str]:
    """Colour and marker of the model whose name the label begins with: the same in every picture."""
    return next((look for model, look in MODELS.items() if label.startswith(model)), MARKERS[-1])


def _point(axes, x: float, estimate: Estimate, colour: str, mark: str) -> None:
    mean, low, high = (100 * value for value in estimate)
    axes.plot([x, x], [low, high], "-", color=colour, lw=1.5, alpha=0.7)
    axes.plot(x, mean, mark, color=colour, ms=8)


def _bar(axes, estimate: Estimate, y: float, colour: str) -> None:
    axes.plot([100 * estimate[1], 100 * estimate[2]], [y, y], "-", color=colour, lw=1.5, alpha=0.7)


def _shares(counts: np.ndarray) -> np.ndarray:
    return counts / np.maximum(counts.sum(1, keepdims=True), 1)


def _cells(axes, share: np.ndarray, text, names: Sequence[str], *, size: int) -> None:
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for i, j in np.ndindex(share.shape):
        colour = "white" if share[i, j] > 0.65 else "black"
        axes.text(j, i, text(i, j, share[i, j]), ha="center", va="center", fontsize=size, color=colour)
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")


def _panels(n: int, size: tuple[float, float]):
    """A figure with n panels of `size` inches, three a row; those left over are taken away."""
    columns = min(3, n)
    rows = -(-n // columns)
    figure = Figure(figsize=(columns * size[0], 0.7 + rows * size[1]), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in list(grid.flat)[n:]:
        axes.remove()
    return figure, grid


def legend(figure, panels) -> None:
    """One legend below all panels, every label once."""
    found: dict = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels()):
            found.setdefault(label, handle)
    figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=min(3, max(1, len(found))))
