"""The three studies: what each varies, and its finished runs -> one table, one figure, and words.

    write_page("balance", Path("results/studies"))       # studies/balance.md and studies/plots/balance.png
"""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer import CLASS_NAMES, plots, significance
from fer.balance import STRATEGIES
from fer.results import STARTS, Group, Result, collect
from fer.significance import bootstrap, interval, scores, words
from fer.tables import Table, percent

DEGRADED = "degraded.csv"  # in a run trained at 100 pixels: what it answers to smaller test images
SHOWN = {"accuracy": "Accuracy", "balanced_accuracy": "Balanced accuracy", "macro_f1": "Macro-F1"}
RARE = ("Fear", "Disgust")


class Study(NamedTuple):
    """What a study varies: an option of the train scripts and its settings, the one to compare with first."""

    option: str
    settings: tuple
    name: Callable[[object], str]  # of a setting, in tables
    title: str
    about: str


STUDIES = {
    "resolution": Study(
        "resolution", (100, 64, 48, 32, 24, 16), lambda n: f"{n} pixels", "Low resolution",
        "Faces are first reduced to so many pixels a side, in training and in test. Trained at 100 means: the "
        "model trained on faces of 100 pixels, tested on reduced ones."),
    "samples": Study(
        "train_fraction", (1.0, 0.5, 0.25, 0.1, 0.05), lambda share: f"{100 * share:g} % of the images",
        "Few samples", "A stratified share of the training images; a smaller share is part of every larger one. "
        "Val and test stay whole, epochs stay the same, so a smaller share also means fewer steps."),
    "balance": Study(
        "balance", tuple(STRATEGIES), str, "Class imbalance",
        "\n".join(f"- {name}: {text}" for name, text in STRATEGIES.items())),
}


class Row(NamedTuple):
    """One row of a series: a setting's predictions (S, N), and where it stands on the x axis."""

    setting: object
    predicted: np.ndarray
    seeds: str
    x: float
    degraded: bool = False


def write_page(name: str, root: Path) -> list[Path]:
    """Write root/<name>.md and its figure from root/<name>/<Model>/<run>/, drawn faces on a page of their own.

    Returns the pages; a kind of data without finished runs gets none.
    """
    study, pages = STUDIES[name], []
    groups, left_out = collect(root / name, varied=[study.option])
    for drawn in (False, True):
        series: dict[str, dict[object, Group]] = {}
        for group in (group for group in groups if group.drawn is drawn):
            start = "" if group.start == STARTS[0] else f", {group.start}"
            series.setdefault(group.label + start, {})[group.first.options[study.option]] = group
        page = root / f"{'drawn-' * drawn}{name}.md"
        if series:
            page.write_text(_page(name, series, page, left_out), encoding="utf-8")
            pages.append(page)
    return pages


def _page(name: str, series: dict[str, dict[object, Group]], page: Path, left_out: list) -> str:
    study = STUDIES[name]
    some = next(iter(next(iter(series.values())).values())).first
    data = f"{'drawn faces, not RAF-DB' if some.drawn else 'RAF-DB'}, {len(some.labels):,} test images"
    parts = [f"# {study.title}: {data}", study.about,
             "Per cent, mean ± standard deviation over the seeds [95 % interval], computed as in `compare.py`'s "
             "pages: paired tests against the first row, corrected by Holm in each table. Empty: not run.",
             f"![{study.title}](plots/{page.stem}.png)"]
    estimates = {}
    for label, settings in series.items():
        rows, lacking = _rows(study, settings)
        names = [_name(study, row) for row in rows]
        draws = bootstrap([row.predicted for row in rows], some.labels)
        by_name = dict(zip(names, draws))
        parts += [f"## {label}", _table(study, label, rows, settings, by_name, some.labels).markdown()]
        first = study.name(study.settings[0])
        pairs = [(first, n) for n, row in zip(names, rows) if first in names and n != first and not row.degraded]
        pairs += [(study.name(row.setting), n) for n, row in zip(names, rows)
                  if row.degraded and study.name(row.setting) in names]
        claims = significance.compare(dict(zip(names, (row.predicted for row in rows))), some.labels, draws, pairs)
        if claims:
            parts += [words(claims), significance.table(claims).markdown()]
        parts += lacking
        for row, n in zip(rows, names):
            found = estimates.setdefault(f"{label}{', trained at 100' if row.degraded else ''}", {})
            found[row.x if name != "balance" else n] = _estimates(row.predicted, by_name[n], some.labels)
    (page.parent / "plots").mkdir(exist_ok=True)
    picture, title = page.parent / "plots" / f"{page.stem}.png", f"{study.title}: {data}"
    if name == "balance":
        plots.study_dots(estimates, picture, title=title)
    else:
        axis = {"resolution": "pixels a side of the face", "samples": "training images"}[name]
        plots.study_lines(estimates, picture, title=title, xlabel=axis)
    if left_out:
        parts += ["## Not used", "\n".join(f"- `{folder}`: {reason}" for folder, reason in left_out)]
    return "\n\n".join(parts) + "\n"
