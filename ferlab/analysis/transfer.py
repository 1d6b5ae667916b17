"""Trained on one dataset, tested on another: one table and one picture.

print(write_page(Path("results/studies"), cells))
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from ferlab.analysis.metrics import SCORES
from ferlab.analysis.plots import STYLE, legend, marker
from ferlab.analysis.significance import bootstrap, interval, scores
from ferlab.analysis.tables import Table, percent
from ferlab.data.rafdb import DRAWN
from ferlab.files import replace_file

ABOUT = """\
Models that were trained on one dataset answer to the test images of another, over the classes that both have:
their probabilities of these classes, made to sum to 1. Numbers are per cent: mean ± standard deviation over
the seeds [95 % interval]; the intervals resample test images and seeds. Faces are scaled to one size and not
aligned anew, so what is lost from one dataset to another is also lost to other ways of cutting faces out."""


class Cell(NamedTuple):
    """The runs of one model, trained on one dataset, on the test images of one other."""

    model: str
    trained_on: str
    tested_on: str
    class_names: tuple[str, ...]
    seeds: str
    labels: np.ndarray  # (N,)
    predicted: np.ndarray  # (S, N)
    left_out: int  # images of classes that the model does not know


def write_page(root: Path, cells: Sequence[Cell], not_shared: Sequence[str] = ()) -> Path:
    """Write root/transfer.md and root/plots/transfer.png; returns the page. `not_shared` are sentences about
    pairs without two classes in common.
    """
    rows, estimates = [], []
    for cell in cells:
        classes = len(cell.class_names)
        [drawn] = bootstrap([cell.predicted], cell.labels, classes=classes)
        values = scores(cell.predicted, cell.labels, classes=classes)
        found = {key: (values[key].mean(), *interval(drawn[key])) for key in SCORES}
        estimates.append(found)
        rows.append(
            [
                cell.model,
                cell.trained_on,
                cell.tested_on,
                f"{classes}",
                f"{len(cell.labels):,}" + (f" (left out: {cell.left_out:,})" if cell.left_out else ""),
                cell.seeds,
                *(percent(values[key], found[key][1:]) for key in SCORES),
            ]
        )
    header = ["Model", "Trained on", "Tested on", "Classes", "Images", "Seeds", *SCORES.values()]
    note = ["**Drawn faces say nothing about real ones; they show that everything works.**"]
    drawn_there = any(DRAWN in (cell.trained_on, cell.tested_on) for cell in cells)
    parts = ["# Across datasets", ABOUT, *(note if drawn_there else [])]
    parts += ["![Across datasets](plots/transfer.png)", Table("Test, %.", header, rows).markdown()]
    parts += ["\n".join(f"- {sentence}" for sentence in not_shared)] if not_shared else []
    (root / "plots").mkdir(parents=True, exist_ok=True)
    page = root / "transfer.md"
    picture(cells, estimates, root / "plots/transfer.png")
    replace_file(page, lambda file: file.write(("\n\n".join(parts) + "\n").encode()))
    return page


def picture(cells: Sequence[Cell], estimates: Sequence[dict], path: Path) -> None:
    """Accuracy and balanced accuracy with their intervals: a row a pair of datasets, a mark a model."""
    places = list(dict.fromkeys((cell.trained_on, cell.tested_on) for cell in cells))
    names = list(dict.fromkeys(cell.model for cell in cells))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 1.6 + 0.22 * len(places) * (1 + len(names))), layout="constrained")
        panels = figure.subplots(1, 2, sharey=True)
        for cell, found in zip(cells, estimates):
            offset = 0.7 * ((names.index(cell.model) + 0.5) / len(names) - 0.5)
            y = places.index((cell.trained_on, cell.tested_on)) + offset
            colour, mark = marker(cell.model)
            for axes, key in zip(panels, ("accuracy", "balanced_accuracy")):
                mean, low, high = (100 * value for value in found[key])
                axes.plot([low, high], [y, y], "-", color=colour, lw=1.5)
                axes.plot(mean, y, mark, color=colour, label=cell.model)
                axes.set_xlabel(f"{SCORES[key].lower()}, %")
        ticks = [f"{trained}\n→ {tested}" for trained, tested in places]
        panels[0].set_yticks(range(len(places)), ticks)
        panels[0].set_ylim(len(places) - 0.5, -0.5)
        legend(figure, panels)
        figure.suptitle("Trained on → tested on")
        replace_file(path, lambda file: figure.savefig(file))
