"""compare.py on run folders made by hand, whose truth is known."""

import csv
import json

import numpy as np
import pytest

import compare
from fer import CLASS_NAMES, metrics
from fer.results import collect, committed


def make_run(root, model="ConvNet", *, seed=0, name="", labels=None, predicted=None, sure=0.6, drawn=False,
             val=0.7, weights="none", **changed):
    """A finished run in root/<model>/<name>/ whose probabilities give `sure` to `predicted`."""
    options = {**vars(committed(model, ["--weights", weights])), "seed": seed, **changed}
    labels = np.arange(70) % 7 if labels is None else np.asarray(labels)
    predicted = labels if predicted is None else np.asarray(predicted)
    probabilities = np.full((len(labels), 7), (1 - sure) / 6)
    probabilities[np.arange(len(labels)), predicted] = sure
    folder = root / model / (name or f"seed{seed}")
    folder.mkdir(parents=True)
    environment = {"cpu": "a chip", "gpu": None, "threads": 2, "precision": "fp32"}
    cost = {"parameters": 1_200_000, "gflops": 0.5, "latency_ms": 3.2, "images_per_second": 900.0,
            "train_seconds": 600.0, "peak_memory_mib": 700.0}
    numbers = {
        "model": model, "data": "drawn faces" if drawn else "RAF-DB", "epochs": options["epochs"],
        "val": {"macro_f1": val}, "test": metrics.report(probabilities, labels), "cost": cost,
        "counts": {"train": [100] * 7}, "split_hash": "a", "train_hash": "b", "environment": environment,
    }
    rows = [[f"test_{i:04d}", CLASS_NAMES[y], *p] for i, (y, p) in enumerate(zip(labels, probabilities), 1)]
    log = [[epoch, 1 / epoch, 1.1 / epoch, 0.6, 0.5, val, 0.5, 1e-3, 900, 3.0] for epoch in (1, 2, 3)]
    with open(folder / "predictions.csv", "w", newline="") as file:
        csv.writer(file).writerows([["image", "label", *CLASS_NAMES], *rows])
    with open(folder / "log.csv", "w", newline="") as file:
        csv.writer(file).writerows([["epoch", "train_loss", "val_loss", "train_accuracy", "val_accuracy",
                                     "val_macro_f1", "val_balanced_accuracy", "lr", "images_per_second",
                                     "seconds"], *log])
    (folder / "options.json").write_text(json.dumps(options))
    (folder / "metrics.json").write_text(json.dumps(numbers))
    return folder
