"""Run folders made by hand, whose truth is known, and compare.py called on them."""

import csv
import json

import numpy as np

import compare
from ferlab.analysis import metrics
from ferlab.analysis.pages import Section
from ferlab.analysis.runs import collect
from ferlab.data.rafdb import CLASS_NAMES, DRAWN
from train_function import script_options


def make_run(
    root,
    model="ConvNet",
    *,
    seed=0,
    name="",
    labels=None,
    predicted=None,
    sure=0.6,
    drawn=False,
    val=0.7,
    weights="none",
    **changed,
):
    """A finished run in root/<model>/<name>/ whose probabilities give `sure` to `predicted`."""
    options = {**vars(script_options(model, ["--weights", weights])), "seed": seed, **changed}
    labels = np.arange(70) % 7 if labels is None else np.asarray(labels)
    predicted = labels if predicted is None else np.asarray(predicted)
    probabilities = np.full((len(labels), 7), (1 - sure) / 6)
    probabilities[np.arange(len(labels)), predicted] = sure
    folder = root / model / (name or f"seed{seed}")
    folder.mkdir(parents=True)
    environment = {"cpu": "a chip", "gpu": None, "threads": 2, "precision": "fp32"}
    cost = {
        "parameters": 1_200_000,
        "gflops": 0.5,
        "latency_ms": 3.2,
        "images_per_second": 900.0,
        "train_seconds": 600.0,
        "peak_memory_mib": 700.0,
    }
    numbers = {
        "model": model,
        "data": "drawn faces" if drawn else "RAF-DB",
        "epochs": options["epochs"],
        "best_epoch": options["epochs"],
        "val": {"macro_f1": val, "accuracy": val, "balanced_accuracy": val, "nll": 0.9},
        "test": metrics.report(probabilities, labels, CLASS_NAMES),
        "cost": cost,
        "counts": {"train": [100] * 7},
        "split_hash": "a",
        "train_hash": "b",
        "environment": environment,
    }
    rows = [[f"test_{i:04d}", CLASS_NAMES[y], *p] for i, (y, p) in enumerate(zip(labels, probabilities), 1)]
    log = [
        [epoch, 1 / epoch, 1.1 / epoch, 0.6, 0.5, val, 0.5, 1e-3, 900, 3.0]
        for epoch in range(1, options["epochs"] + 1)
    ]
    with open(folder / "predictions.csv", "w", newline="") as file:
        csv.writer(file).writerows([["image", "label", *CLASS_NAMES], *rows])
    with open(folder / "log.csv", "w", newline="") as file:
        csv.writer(file).writerows(
            [
                [
                    "epoch",
                    "train_loss",
                    "val_loss",
                    "train_accuracy",
                    "val_accuracy",
                    "val_macro_f1",
                    "val_balanced_accuracy",
                    "lr",
                    "images_per_second",
                    "seconds",
                ],
                *log,
            ]
        )
    (folder / "options.json").write_text(json.dumps(options))
    (folder / "metrics.json").write_text(json.dumps(numbers))
    return folder


def spread(wrong: int) -> np.ndarray:
    """Predictions of the 70 test images with so many wrong, evenly over the classes."""
    labels = np.arange(70) % 7
    return np.where(np.arange(70) < wrong, (labels + 1) % 7, labels)


def many(root, model, right, *, seeds=3, **more):
    """A run for each seed on 700 images that is right with this probability, image by image."""
    labels = np.arange(700) % 7
    for seed in range(seeds):
        rng = np.random.default_rng([seed, *model.encode()])
        wrong = (labels + rng.integers(1, 7, 700)) % 7
        predicted = np.where(rng.random(700) < right, labels, wrong)
        make_run(root, model, seed=seed, labels=labels, predicted=predicted, **more)


def section(root, *, drawn=False, initialisation="from scratch") -> Section:
    groups, _ = collect(root, script_options)
    return Section([g for g in groups if (g.data == DRAWN) is drawn and g.initialisation == initialisation])


def left_out(root) -> dict[str, str]:
    return dict(collect(root, script_options)[1])


def run_compare(monkeypatch, capsys, *words) -> str:
    monkeypatch.setattr("sys.argv", ["compare.py", *map(str, words)])
    compare.main()
    return capsys.readouterr().out


def row(text: str, label: str) -> list[str]:
    """The cells of the first table row that begins with `label`."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {label} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def edit(path, change):
    """Rewrite a JSON file by what `change` does to it."""
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))
