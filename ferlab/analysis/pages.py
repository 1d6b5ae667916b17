"""A section of a results page: the groups of runs that may stand beside each other, as tables and pictures.

section = Section(groups); section.parts(); section.pictures()     # of one initialisation, one test set
"""

import csv
import io
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from ferlab.analysis import coverage, flipped, plots, significance
from ferlab.analysis.ensemble import Ensemble, ensembles
from ferlab.analysis.metrics import SCORES, reliability
from ferlab.analysis.runs import Group, Result
from ferlab.analysis.significance import bootstrap, interval
from ferlab.analysis.tables import Table, number, percent
from ferlab.data.rafdb import NAME, prefix
from ferlab.errors import UserError
from ferlab.options import INITIALISATIONS, names

OTHER = {"weighted_f1": "Weighted F1", "top2": "Top-2", "top3": "Top-3", "ece": "ECE"}
HEADLINE = ("accuracy", "balanced_accuracy")
COSTS = {
    "parameters": "Parameters, M",
    "gflops": "GFLOPs",
    "latency_ms": "Latency of one image, ms",
    "images_per_second": "Images/s",
    "train_seconds": "Training, min",
    "peak_memory_mib": "Peak memory, MiB",
}
SCALE = {"parameters": 1e-6, "train_seconds": 1 / 60}
PUBLISHED = {
    "model": "Model",
    "pretraining": "Pretraining",
    "accuracy": "Accuracy, %",
    "balanced_accuracy": "Balanced accuracy, %",
    "chosen_on": "Checkpoint chosen on",
    "source": "Source",
}  # the columns of docs/published.csv
PICTURES = {
    "recall": "Recall by class",
    "confusion": "Confusion matrices",
    "reliability": "Reliability diagrams",
    "curves": "Training curves",
}


class Section:
    """What there is to say about groups of runs on one test set that started alike."""

    def __init__(self, groups: list[Group]) -> None:
        self.groups, self.dataset = groups, groups[0].data
        self.initialisation = groups[0].initialisation
        self.labels = groups[0].first.labels
        self.class_names = groups[0].first.class_names
        self.counts = np.bincount(self.labels, minlength=len(self.class_names))
        self.data = f"{self.dataset}, {len(self.labels):,} test images"
        ranked = sorted(groups, key=lambda group: group.val_macro_f1)
        self.best = {group.model: group for group in ranked}  # of a model's recipes the best on val
        self.chosen = {group.label: group for group in groups if self.best[group.model] is group}
        self.ensembles = ensembles(list(self.chosen.values()))
        scored = [*groups, *self.ensembles]
        self.draws = dict(
            zip(
                scored,
                bootstrap([one.predicted for one in scored], self.labels, classes=len(self.class_names)),
            )
        )
        self.claims = significance.compare(
            {label: group.predicted for label, group in self.chosen.items()},
            self.labels,
            [self.draws[group] for group in self.chosen.values()],
            list(combinations(self.chosen, 2)),
            classes=len(self.class_names),
        )

    def score(self, group: Group | Ensemble, key: str) -> str:
        """One of the main numbers as a table's cell."""
        return percent(group.values(key), interval(self.draws[group][key]))

    def parts(self) -> list[str | Table]:
        """Paragraphs and tables, in their order."""
        classes = [_by_class(self.groups, key) for key in ("recall", "precision", "f1")]
        tests = [significance.table(self.claims)] if self.claims else []
        tables = [
            _overall([*self.groups, *self.ensembles], self.score),
            *tests,
            *classes,
            _confused(list(self.chosen.values())),
            coverage.table(list(self.chosen.values())),
            *flipped.tables(list(self.chosen.values())),
            _cost(self.groups),
            _recipes(self.groups),
        ]
        about = f", models {self.initialisation}{'' if self.dataset == NAME else f' on {self.dataset}'}."
        first, *rest = (table._replace(caption=table.caption.rstrip(".") + about) for table in tables)
        shown = [
            f"![{title}](plots/{picture_name(self.dataset, self.initialisation, key)})"
            for key, title in PICTURES.items()
        ]
        return [f"## Models {self.initialisation}", first, *rest, *shown]

    def pictures(self) -> dict[str, bytes]:
        """Its pictures, PNG, by the names of their files."""
        title, chosen = f"{self.data}, models {self.initialisation}", self.chosen.items()
        recalls = {label: np.mean([_values(run, "recall") for run in g.runs], axis=0) for label, g in chosen}
        bins = {}
        for label, g in chosen:
            scores, labels = [run.probabilities for run in g.runs], np.tile(self.labels, len(g.runs))
            bins[label] = reliability(np.concatenate(scores), labels), g.values("ece").mean()
        logs = [(group.label, run.log) for group in self.groups for run in group.runs]
        drawn = {
            "recall": png(
                plots.recalls, recalls, self.counts, names=self.class_names, title=f"Recall in %: {title}"
            ),
            "confusion": png(
                plots.confusions,
                {label: g.confusion for label, g in chosen},
                names=self.class_names,
                title=f"Share of each true class in %: {title}",
            ),
            "reliability": png(plots.reliability, bins, title=title),
            "curves": png(plots.all_curves, logs, title=f"All runs: {title}"),
        }
        return {
            picture_name(self.dataset, self.initialisation, key): picture for key, picture in drawn.items()
        }

    def entries(self) -> list[dict]:
        """Its points in the picture of scores against cost."""
        return [
            {
                "label": label,
                "hollow": self.initialisation == INITIALISATIONS[1],
                "parameters": _cost_of(g, "parameters"),
                "petaflops": g.petaflops,
                **{key: (g.values(key).mean(), *interval(self.draws[g][key])) for key in HEADLINE},
            }
            for label, g in self.chosen.items()
        ]


def png(draw: Callable, *data, **options) -> bytes:
    """What one of plots' functions draws, without touching the disk."""
    file = io.BytesIO()
    draw(*data, file, **options)
    return file.getvalue()


def picture_name(dataset: str, initialisation: str, key: str) -> str:
    """The file of a section's picture, such as recall-scratch.png."""
    short = dict(zip(INITIALISATIONS, ("scratch", "imagenet", "checkpoint")))[initialisation]
    return f"{prefix(dataset)}{key}-{short}.png"


def machine(run: Result) -> str:
    """What a run was measured on."""
    found = run.numbers["environment"]
    threads = f"{found['cpu']}, {found['threads']} thread{'' if found['threads'] == 1 else 's'}"
    return f"{found['gpu'] or threads}, {found['precision']}"


def costs(group: Group) -> list[str]:
    """COSTS as cells of a table; empty where a run did not know one."""
    return [number(_cost_of(group, key)) for key in COSTS]


def published(path: Path) -> Table:
    """Results of others, in per cent, as a CSV holds them. Raises UserError where it is not such a file."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
    except (OSError, ValueError, csv.Error):
        header, rows = [], []
    if header != list(PUBLISHED) or any(len(row) != len(header) for row in rows):
        raise UserError(
            f"{path} is missing, or a row of it does not have the columns {', '.join(PUBLISHED)}; "
            "restore it from the repository."
        )
    return Table("Other people's numbers, not re-run here; empty: not given.", list(PUBLISHED.values()), rows)


def _cost_of(group: Group, key: str) -> float | None:
    cost = group.cost(key)
    return None if cost is None else cost * SCALE.get(key, 1)


def _values(run: Result, key: str) -> np.ndarray:
    """recall, precision or f1 of every class (C,)."""
    return np.array([run.test["per_class"][name][key] for name in run.class_names])


def _overall(groups: Sequence[Group | Ensemble], score: Callable) -> Table:
    rows = [
        [
            g.label,
            g.seeds,
            *(score(g, key) for key in SCORES),
            *(percent(g.values(key)) for key in OTHER),
            f"{g.values('nll').mean():.3f}",
        ]
        for g in groups
    ]
    return Table("Overall, %", ["Model", "Seeds", *SCORES.values(), *OTHER.values(), "NLL"], rows)


def _by_class(groups: list[Group], key: str) -> Table:
    first = groups[0].first
    counts = np.bincount(first.labels, minlength=len(first.class_names))
    rows = [
        [
            g.label,
            *(percent(np.array(values), digits=1) for values in zip(*(_values(run, key) for run in g.runs))),
        ]
        for g in groups
    ]
    header = [f"{name} (n = {n:,})" for name, n in zip(first.class_names, counts)]
    return Table(f"{key.capitalize()} by class, %", ["Model", *header], rows)


def _confused(groups: list[Group], most: int = 5) -> Table:
    rows = []
    for g in groups:
        counts, n, names = g.confusion, len(g.runs), g.first.class_names
        shares = counts / np.maximum(counts.sum(1, keepdims=True), 1) * ~np.eye(len(counts), dtype=bool)
        pairs = [divmod(int(i), len(counts)) for i in np.argsort(-shares, axis=None, kind="stable")[:most]]
        rows.append(
            [
                g.label,
                *(
                    f"{names[i]} → {names[j]} {100 * shares[i, j]:.0f} % ({number(counts[i, j] / n)})"
                    for i, j in pairs
                    if counts[i, j]
                ),
            ]
        )
        rows[-1] += [""] * (most + 1 - len(rows[-1]))
    header = ["Model", *(f"{rank}." for rank in range(1, most + 1))]
    return Table("Most confused, true → predicted, in % of the true class (and images a seed)", header, rows)


def _cost(groups: list[Group]) -> Table:
    """A row for each group and machine that runs of it were measured on."""
    rows = []
    for group in groups:
        for where in dict.fromkeys(map(machine, group.runs)):
            there = Group([run for run in group.runs if machine(run) == where])
            rows.append([group.label, *costs(there), number(group.petaflops), where])
    header = ["Model", *COSTS.values(), "Training petaFLOPs", "Measured on"]
    return Table("Cost, medians over the seeds; two FLOPs a multiply-add", header, rows)


def _recipes(groups: list[Group]) -> Table:
    """A row for each option of the recipes, a column for each group."""
    rows = [
        [key.replace("_", " ").capitalize(), *(_plain(group.first.options[key]) for group in groups)]
        for key in names("recipe")
        if key != "weights"
    ]
    return Table("Recipes", ["Option", *(group.label for group in groups)], rows)


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else f"{value}"
