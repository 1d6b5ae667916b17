"""Trials without a look at the test set -> one table for each model, by val macro-F1.

write_sweep(Path("results/sweeps"))                  # from results/sweeps/<Model>/<run>/
"""

from collections import defaultdict
from itertools import product
from pathlib import Path

from ferlab.analysis import records
from ferlab.analysis.metrics import SCORES
from ferlab.analysis.tables import Table, number
from ferlab.errors import UserError
from ferlab.files import shown, write_text

ABOUT = """\
# Trials

Trials run with the test set shut: the numbers are of val, per cent, at the best epoch by macro-F1. Written by
`study.py sweep`."""


def combinations(words: list[str]) -> list[list[str]]:
    """Every choice of one value for each option: ["--lr", "1", "2"] is [["--lr", "1"], ["--lr", "2"]]."""
    choices: list[list[list[str]]] = []
    for word in words:
        if word.startswith("--"):
            choices.append([[word]])
        elif not choices:
            raise UserError(f"{word} comes before any option; give options as --lr 1e-3 2e-3.")
        elif len(choices[-1][0]) == 1:
            choices[-1][0].append(word)
        else:
            choices[-1].append([choices[-1][0][0], word])
    return [[word for option in chosen for word in option] for chosen in product(*choices)]


def write_sweep(root: Path) -> list[Path]:
    """Write root/README.md from all finished trials in root/<Model>/<run>/ and print it; returns its path, or
    nothing where none has finished.
    """
    trials: dict[tuple[str, str], list[tuple[dict, dict, str]]] = defaultdict(list)
    unused = []
    for folder in sorted(file.parent for file in root.glob("*/*/metrics.json")):
        try:
            numbers, options = records.numbers(folder), records.options(folder)
            trials[numbers["model"], numbers["data"]].append((numbers, options, shown(folder.name)))
        except records.Unreadable as error:
            unused.append(f"Not used: `{shown(folder.relative_to(root).as_posix())}`, as {error}.")
    if not trials and not unused:
        return []
    parts = [_table(f"{model}, {data}", found) for (model, data), found in sorted(trials.items())]
    tables = "\n\n".join([*parts, *unused])
    page = root / "README.md"
    write_text(page, f"{ABOUT}\n\n{tables}\n")
    print(tables, flush=True)
    return [page]


def _table(title: str, trials: list[tuple[dict, dict, str]]) -> str:
    """A row for each trial, the best first, with the options in which the trials differ."""
    varied = [
        key
        for key in trials[0][1]
        if key not in ("name", "resume", "seed", "test")
        and len({str(options.get(key)) for _, options, _ in trials}) > 1
    ]
    trials = sorted(trials, key=lambda trial: -trial[0]["val"]["macro_f1"])
    rows = [
        [
            name,
            *(f"{options.get(key, '')}" for key in varied),
            *(f"{100 * numbers['val'][key]:.2f}" for key in SCORES),
            number(numbers["val"]["nll"]),
            f"{numbers['best_epoch']} of {numbers['epochs']}",
            number(seconds / 60 if (seconds := numbers["cost"]["train_seconds"]) else None),
        ]
        for numbers, options, name in trials
    ]
    header = [
        "Trial",
        *(key.replace("_", " ").capitalize() for key in varied),
        "Accuracy",
        "Balanced accuracy",
        "Macro-F1",
        "NLL",
        "Best epoch",
        "Minutes",
    ]
    return Table(title, header, rows).markdown()
