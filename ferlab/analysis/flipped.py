"""What it brings to average a model's answers to a face and to its mirror image (`predict.py --flip`).

tables(groups)      # one table of the runs that `python evaluate.py RUN --flip` has evaluated so, or none
"""

import contextlib
from collections.abc import Sequence

import numpy as np

from ferlab.analysis import metrics, records
from ferlab.analysis.tables import Table, percent
from ferlab.data.rafdb import slug

CAPTION = (
    "Answers to a face alone → averaged with those to its mirror image, %, mean over the seeds that "
    "`evaluate.py RUN --flip` has looked at"
)


def mirrored(data: str) -> str:
    """The folder, beside a run's files, of its answers on the dataset named `data` with mirror images."""
    return f"on-{slug(data)}-flip"


def tables(groups: Sequence) -> list[Table]:
    """A row for each of runs.Group's that has such runs, in a table; no table without rows."""
    rows = []
    for group in groups:
        seeds, pairs = [], []
        for run in group.runs:
            with contextlib.suppress(records.Unreadable):
                found = records.predictions(run.folder / mirrored(group.data))
                if (found.images, found.class_names) == (run.images, run.class_names):
                    test = metrics.report(found.probabilities, run.labels, run.class_names)
                    seeds.append(str(run.options["seed"]))
                    pairs.append([(run.test[key], test[key]) for key in metrics.SCORES])
        if pairs:
            alone, both = np.array(pairs).transpose(2, 1, 0)  # each (scores, seeds)
            cells = [f"{percent(a)} → {percent(b)}" for a, b in zip(alone, both)]
            rows.append([group.label, ", ".join(seeds), *cells])
    return [Table(CAPTION, ["Model", "Seeds", *metrics.SCORES.values()], rows)] if rows else []
