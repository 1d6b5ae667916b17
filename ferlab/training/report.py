"""What a run prints and writes while it goes on: the data line, one row an epoch, the summary."""

import csv
import importlib.util
import io
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from torch import nn

from ferlab.analysis.metrics import SCORES
from ferlab.data.rafdb import DRAWN
from ferlab.errors import UserError
from ferlab.options import Options, initialisation, public
from ferlab.training.run_folder import RunFolder
from ferlab.training.runtime import Runtime

COLUMNS = {  # of log.csv -> title, width and format on the screen, factor
    "epoch": ("epoch", 5, "d", 1),
    "image_size": ("size", 4, "d", 1),
    "train_loss": ("train loss", 10, ".3f", 1),
    "train_accuracy": ("train acc", 9, ".2f", 100),
    "val_accuracy": ("val acc", 7, ".2f", 100),
    "val_macro_f1": ("val macro-F1", 12, ".2f", 100),
    "val_balanced_accuracy": ("val balanced", 12, ".2f", 100),
    "lr": ("lr", 8, ".1e", 1),
    "images_per_second": ("images/s", 8, ",.0f", 1),
    "seconds": ("seconds", 7, ".1f", 1),
}


class Report:
    """A run's screen, log.csv, options.json and TensorBoard's files. Only process 0 prints and writes."""

    def __init__(self, folder: RunFolder, options: Options, runtime: Runtime) -> None:
        self.folder, self.options, self.runtime = folder, options, runtime
        self.tensorboard: Any = None
        if options.tensorboard and not importlib.util.find_spec("tensorboard"):
            raise UserError("--tensorboard needs the package tensorboard: pip install tensorboard.")

    def say(self, text: str) -> None:
        """Print a line, whole and at once. Where nobody reads any more, the run goes on."""
        try:
            if self.runtime.rank == 0:
                print(text, flush=True)
        except OSError:
            sys.stdout = open(os.devnull, "w")

    def begin(self, model: nn.Module, found: str) -> None:
        """Say what will run on what was `found` of data."""
        weights = self.options.weights
        begun = initialisation(weights) if weights in ("none", "imagenet") else f"from {weights}"
        parameters = sum(p.numel() for p in model.parameters())
        self.say(
            f"{model.built['name']} {begun}: {parameters:,} parameters, "
            f"{self.options.image_size} pixels, {self.runtime.describe()}\n{found}\nrun: {self.folder.path}"
            + (f"\nweights: {model.loaded}" if hasattr(model, "loaded") else "")
        )

    def table(self, log: list[dict], best: int) -> None:
        """Write options.json, print the table's head and the epochs of `log`, which were done before."""
        self.folder.write_text("options.json", to_json(public(vars(self.options))))
        self.say("\n" + "  ".join(f"{title:>{width}}" for title, width, _, _ in COLUMNS.values()))
        for row in log:
            self._line(row, better=row["epoch"] == best)
        if log:
            self._write_log(log)
        if self.options.tensorboard and self.runtime.rank == 0:
            from torch.utils.tensorboard import SummaryWriter

            self.tensorboard = SummaryWriter(self.folder.path / "tensorboard")

    def epoch(self, log: list[dict], *, better: bool) -> None:
        """Print the last row of `log` and write log.csv anew with all of them."""
        self._line(log[-1], better=better)
        self._write_log(log)
        if self.tensorboard:
            for key, value in log[-1].items():
                self.tensorboard.add_scalar(key.replace("_", "/", 1), value, log[-1]["epoch"])
            self.tensorboard.flush()

    def summary(self, numbers: dict) -> None:
        """Print the final numbers."""
        judged = "test" if "test" in numbers else "val"
        low, high = numbers[judged]["intervals"]["accuracy"]
        per_class = numbers[judged]["per_class"].items()
        recalls = (f"{name} " + (f"{100 * v['recall']:.1f}" if v["n"] else "-") for name, v in per_class)
        lines = []
        for split in (split for split in ("val", "test") if split in numbers):
            scores = (
                f"{name[0].lower()}{name[1:]} {100 * numbers[split][k]:.2f} %" for k, name in SCORES.items()
            )
            lines.append(f"{split:>4}: {', '.join(scores)}")
        self.say(
            f"\n{numbers['finished']}; best epoch {numbers['best_epoch']}, chosen on val\n"
            f"{chr(10).join(lines)} (accuracy's 95 % interval {100 * low:.2f} to {100 * high:.2f})\n"
            f"recall on {judged}: {'  '.join(recalls)}"
        )
        if judged == "val":
            self.say("The test set was not evaluated (--no-test).")
        if numbers["data"] != "RAF-DB":
            what = numbers["data"] if numbers["data"] == DRAWN else f"faces of {numbers['data']}"
            self.say(f"These are {what}: the numbers say nothing about RAF-DB.")
        path = self.folder.path
        self.say(
            f"{numbers['cost']['wall_seconds']:.0f} s in all; pictures: {path / 'curves.png'} "
            f"and {path / 'confusion_matrix.png'}"
        )

    def diverged(self, epoch: int, *, last_good: int) -> UserError:
        """What to raise where the loss of `epoch` is not finite (exit code 3)."""
        slower = "a lower --lr" + ("" if self.runtime.precision == "fp32" else " or --amp off")
        return UserError(
            f"the loss is no longer finite in epoch {epoch} (learning rate up to {self.options.lr:g}, "
            f"{self.runtime.precision}). Try {slower}. The last good checkpoint is "
            f"{self.folder.path / 'last.pth'}, of epoch {last_good}: a run of another --name can start from "
            "it with --weights.",
            code=3,
        )

    def _line(self, row: dict, *, better: bool) -> None:
        cells = (f"{row[key] * factor:>{w}{f}}" for key, (_, w, f, factor) in COLUMNS.items())
        self.say("  ".join(cells) + ("  *" if better else ""))

    def _write_log(self, log: list[dict]) -> None:
        self.folder.write_text("log.csv", to_csv(list(log[0]), [list(row.values()) for row in log]))


def to_json(value: dict) -> str:
    """The text of a run's JSON files."""
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def to_csv(header: Sequence, rows: Sequence[Sequence]) -> str:
    """The text of a run's CSV files."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()
