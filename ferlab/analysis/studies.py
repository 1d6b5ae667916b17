"""The three studies: what each varies, and its finished runs -> tables and a figure.

write_page("balance", Path("results/studies"), recipe)    # studies/balance.md and studies/plots/balance.png
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ferlab.analysis import plots, records, significance
from ferlab.analysis.metrics import SCORES
from ferlab.analysis.runs import Group, Recipe, Result, collect
from ferlab.analysis.significance import Claim, bootstrap, interval, scores
from ferlab.analysis.tables import Table, percent
from ferlab.data.rafdb import DRAWN, prefix
from ferlab.errors import first_ten
from ferlab.files import replace_file, shown
from ferlab.options import INITIALISATIONS
from ferlab.training.imbalance import STRATEGIES

DEGRADED = "degraded.csv"  # in the folder of a run at 100 pixels: what it answers to smaller test images
RARE = ("Fear", "Disgust")  # whose recalls are shown where the data have them
HOW = """\
Numbers are per cent: mean ± standard deviation over the seeds [95 % interval]; an empty cell was not run.
Intervals resample test images and seeds; the paired tests are against the first row, where the text above
names no other, with Holm's correction in each series; one is called better only where the corrected p is
below 0.05, the intervals do not overlap, and both have two seeds or more, and better as trained where one
has a single seed, which ranks these networks and not the settings (`significance.py`). Brackets behind a
name list the options that differ from the recipe of the model's script."""


class Study(NamedTuple):
    """What a study varies: an option of the train scripts and its settings, the first to compare with;
    `along` are options that follow from it.
    """

    option: str
    settings: tuple
    name: Callable[[object], str]  # of a setting, in tables and words
    title: str
    about: str
    axis: str = ""
    along: tuple[str, ...] = ()
    said: str = "{}"  # a setting's name in a sentence

    @property
    def varied(self) -> tuple[str, ...]:
        """All options in which the runs of one series differ."""
        return self.option, *self.along


STUDIES = {
    "resolution": Study(
        "resolution",
        (100, 64, 48, 32, 24, 16),
        "{} pixels".format,
        "Low resolution",
        "Faces are first reduced to so many pixels a side, in training and in test, then scaled to the "
        "network's input, which may have fewer (ResNet18's has 64). Trained at 100 means the models of the "
        "first row, tested on reduced faces; they are compared with those trained on such.",
        "pixels a side of the face",
        said="faces of {}",
    ),
    "samples": Study(
        "train_fraction",
        (1.0, 0.5, 0.25, 0.1, 0.05),
        lambda share: f"{100 * share:g} %",
        "Few samples",
        "A stratified share of the training images; a smaller share is part of every larger one. Val and "
        "test stay the same, and but for parts of batches so does the number of steps: fewer images are seen "
        "more often. A share is one fixed draw, the same for every seed, so the intervals do not cover "
        "another draw.",
        "training images",
        ("epochs", "warmup_epochs", "patience"),
        "{} of the images",
    ),
    "balance": Study(
        "balance",
        tuple(STRATEGIES),
        str,
        "Class imbalance",
        "\n".join(f"- {name}: {text}" for name, text in STRATEGIES.items()),
        said="`{}`",
    ),
}


class Cell(NamedTuple):
    """What is known at one setting: predictions (S, N), and its place in tables and figure."""

    name: str
    against: str  # the name of the cell to test it against
    line: str  # of the figure
    x: float | str
    seeds: str
    predicted: np.ndarray


def write_page(name: str, root: Path, recipe: Recipe) -> list[Path]:
    """Write root/<name>.md and its figure from root/<name>/<Model>/<run>/; other data get a page each.

    Returns the pages; a kind of data without a finished run has none.
    """
    study, pages = STUDIES[name], []
    groups, left_out = collect(root / name, recipe, varied=study.varied)
    for data in sorted({group.data for group in groups}):
        if series := by_label(study, [group for group in groups if group.data == data]):
            page = root / f"{prefix(data)}{name}.md"
            (root / "plots").mkdir(exist_ok=True)
            text = _page(name, series, root / "plots" / f"{page.stem}.png", left_out)
            replace_file(page, lambda file: file.write(text.encode()))
            pages.append(page)
    if left_out and not pages:
        unused = first_ten([f"{folder}: {reason}" for folder, reason in left_out])
        print(f"note: no run in {root / name} can be used:\n{unused}", file=sys.stderr, flush=True)
    return pages


def by_label(study: Study, groups: list[Group]) -> dict[str, dict[object, Group]]:
    """The groups of one model by one recipe, by their label and the setting of what the study varies."""
    series: dict[str, dict[object, Group]] = {}
    for group in groups:
        begun, options = group.initialisation, group.first.options
        label = group.label if begun == INITIALISATIONS[0] else f"{group.label}, {begun}"
        if study.along:
            share, of_script = options["train_fraction"], group.first.of_script
            label += f", as many steps as {options['epochs'] * share:.0f} epochs of all images"
            for key in study.along[1:]:
                if (whole := round(options[key] * share, 3)) != of_script[key]:
                    label += f", {key.replace('_', ' ')} {whole:g}"
        series.setdefault(label, {})[group.first.options[study.option]] = group
    return series


def tested(
    cells: list[Cell], labels: np.ndarray, *, classes: int
) -> tuple[list[dict[str, np.ndarray]], list[Claim]]:
    """What `bootstrap` gives for the cells of one series, and the paired tests that are made among them."""
    draws = bootstrap([cell.predicted for cell in cells], labels, classes=classes)
    predictions = {cell.name: cell.predicted for cell in cells}
    pairs = [(cell.against, cell.name) for cell in cells if cell.against in predictions]
    pairs = [pair for pair in pairs if pair[0] != pair[1]]
    return draws, significance.compare(predictions, labels, draws, pairs, classes=classes)


def _page(name: str, series: dict[str, dict], picture: Path, left_out: list[tuple[str, str]]) -> str:
    study, some = STUDIES[name], next(iter(next(iter(series.values())).values())).first
    names = some.class_names
    title = f"{study.title}: {'drawn faces, not RAF-DB' if some.data == DRAWN else some.data}"
    parts = [
        f"# {title}",
        study.about,
        HOW,
        f"Test images: {len(some.labels):,}.",
        f"![{title}](plots/{picture.name})",
    ]
    columns = SCORES | {name: f"Recall of {name}" for name in RARE if name in names}
    lines: dict[str, dict] = {}
    for label, settings in series.items():
        cells, notes = make_cells(study, label, settings)
        draws, claims = tested(cells, some.labels, classes=len(names))
        rows = {cell: [cell] + [""] * (1 + len(columns)) for cell in map(study.name, study.settings)}
        for cell, draw in zip(cells, draws):
            scored = scores(cell.predicted, some.labels, classes=len(names))
            values, drawn = (_by_name(found, names) for found in (scored, draw))
            estimates = {key: (values[key].mean(), *interval(drawn[key])) for key in columns}
            lines.setdefault(cell.line, {})[cell.x] = estimates
            shown = [percent(values[key], estimates[key][1:]) for key in columns]
            rows[cell.name] = [cell.name, cell.seeds, *shown]
        table = Table(
            f"{study.title}, {label}, %.",
            [study.option.replace("_", " ").capitalize(), "Seeds", *columns.values()],
            list(rows.values()),
        )
        parts += [f"## {label}", table.markdown(), *notes]
        parts += [significance.table(claims).markdown()] if claims else []
    caption = f"{title}, mean over the seeds and 95 % intervals"
    if study.axis:
        draw = partial(plots.study_lines, lines, title=caption, xlabel=study.axis)
    else:
        draw = partial(plots.study_dots, lines, title=caption)
    replace_file(picture, draw)
    unused = [f"- `{folder}`: {reason}" for folder, reason in left_out]
    return "\n\n".join(parts + (["## Not used", "\n".join(unused)] if unused else [])) + "\n"


def _by_name(numbers: dict[str, np.ndarray], names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The numbers of metrics.from_confusion, and the recall of each class under its name."""
    return numbers | {name: numbers["recall"][..., i] for i, name in enumerate(names)}


def make_cells(study: Study, label: str, settings: dict[object, Group]) -> tuple[list[Cell], list[str]]:
    """The cells of one series in the study's order, and what to say of runs that could not be used."""
    first, cells, notes = study.name(study.settings[0]), [], []
    for setting in (setting for setting in study.settings if setting in settings):
        group = settings[setting]
        x = sum(group.first.numbers["counts"]["train"]) if study.option == "train_fraction" else setting
        cells.append(Cell(study.name(setting), first, label, x, group.seeds, group.predicted))
        notes += [
            f"{shown(run.folder.name)} is the run `{shown(str(run.numbers['copied_from']))}`."
            for run in group.runs
            if "copied_from" in run.numbers
        ]
    if study.option == "resolution" and study.settings[0] in settings:
        answers = {}
        for run in settings[study.settings[0]].runs:
            try:
                answers[run.options["seed"]] = _degraded(run, study.settings[1:])
            except ValueError:
                notes.append(
                    f"{shown(run.folder.name)} was not tested on reduced faces: no fitting {DEGRADED}."
                )
        for setting in study.settings[1:] if answers else ():
            predicted, name = np.stack([found[setting] for found in answers.values()]), study.name(setting)
            cells.append(
                Cell(
                    f"{name} (trained at 100)",
                    name,
                    f"{label}, trained at 100",
                    setting,
                    ", ".join(map(str, answers)),
                    predicted,
                )
            )
    return cells, notes


def _degraded(run: Result, settings: tuple) -> dict[object, np.ndarray]:
    """The classes (N,) that `run` answered at each resolution, in the order of its own test images."""
    header, rows = records.table(run.folder / DEGRADED)
    image, *columns = (header.index(name) for name in ("image", *map(str, settings)))
    rows.sort(key=lambda row: row[image])
    if [row[image] for row in rows] != run.images:
        raise ValueError("other images")
    return {
        n: np.array([run.class_names.index(row[column]) for row in rows])
        for n, column in zip(settings, columns)
    }
