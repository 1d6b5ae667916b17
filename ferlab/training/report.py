"""What a run writes and prints: its folder, one row an epoch, the final numbers and pictures."""

import csv
import importlib.util
import io
import json
import os
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ferlab import cli
from ferlab.analysis import metrics, plots
from ferlab.data.rafdb import CLASS_NAMES
from ferlab.errors import Stopped, UserError
from ferlab.training import runtime
from ferlab.training.checkpoint import hold, read, save_model, sweep, write_atomically
from ferlab.training.run_folder import checkpoint, place, refuse, resume_command, same_experiment

FILES = (
    "options.json",
    "log.csv",
    "metrics.json",
    "predictions.csv",
    "best_model.pth",
    "last.pth",
    "curves.png",
    "confusion_matrix.png",
)
COLUMNS = (
    ("epoch", 5, "d"),
    ("size", 4, "d"),
    ("train loss", 10, ".3f"),
    ("train acc", 9, ".2f"),
    ("val acc", 7, ".2f"),
    ("val macro-F1", 12, ".2f"),
    ("val balanced", 12, ".2f"),
    ("lr", 8, ".1e"),
    ("images/s", 8, ",.0f"),
    ("seconds", 7, ".1f"),
)


class Run:
    """The folder results/<Model>/<run>/ and the screen. Only process 0 writes and prints.

    A context manager, which holds the folder: no other run can write into it meanwhile.
    """

    def __init__(self, model: nn.Module, options, setup: runtime.Setup) -> None:
        self.name, self.options, self.setup = model.built["name"], options, setup
        self.parameters = sum(p.numel() for p in model.parameters())
        self.folder = place(self.name, options)
        self.main = setup.rank == 0
        self.tensorboard = self._held = None
        if options.tensorboard and not importlib.util.find_spec("tensorboard"):
            raise UserError("--tensorboard needs the package tensorboard: pip install tensorboard.")
        refuse(self.name, options)

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_) -> None:
        if self.tensorboard:
            self.tensorboard.close()
        if self._held is not None:
            os.close(self._held)

    def say(self, text: str) -> None:
        """Print a line, whole and at once, from process 0. Where nobody reads any more, the run goes on."""
        try:
            if self.main:
                print(text, flush=True)
        except OSError:
            sys.stdout = open(os.devnull, "w")

    def begin(self, sets: dict, found: str, same: dict[str, list]) -> None:
        """Make the folder, write options.json, say what was found and what will run. `sets` are the datasets
        by split, `same` the images that stand in two of them (twins.pairs).
        """
        self.sets, self.twins = sets, {key: len(names) for key, names in same.items()}
        start = {"none": "from scratch", "imagenet": "from ImageNet weights"}
        start = start.get(self.options.weights, f"from {self.options.weights}")
        self.say(
            f"{self.name} {start}: {self.parameters:,} parameters, {self.options.image_size} pixels, "
            f"{runtime.describe(self.setup)}\n{found}\nrun: {self.folder}"
        )
        if self.main:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._held = hold(self.folder)
                refuse(self.name, self.options)  # once more: a run may have ended there meanwhile
                sweep(self.folder)
                if not self.options.resume:
                    for file in FILES:
                        (self.folder / file).unlink(missing_ok=True)
                    shutil.rmtree(self.folder / "tensorboard", ignore_errors=True)
            except OSError as error:
                raise UserError(
                    f"{error.filename or self.folder} cannot be made or replaced "
                    f"({error.strerror}); choose another --output.",
                    code=4,
                ) from None
            if not self.options.resume:
                self._write("options.json", _json(public(self.options)))
            if self.options.tensorboard:
                from torch.utils.tensorboard import SummaryWriter

                self.tensorboard = SummaryWriter(self.folder / "tensorboard")
        self.say("\n" + "  ".join(f"{title:>{width}}" for title, width, _ in COLUMNS))

    def restore(self, state: dict, *, model: nn.Module, optimizer, ema) -> dict:
        """The state in the checkpoint of --resume, after putting it back into model, optimizer, EMA and
        scaler.
        """
        path = checkpoint(self.name, self.options)
        found = read(path)
        if "optimizer" not in found:
            raise UserError(f"{path} holds a model, not the state of a run; resume from a last.pth.")
        for key, what in (
            ("model", "model"),
            ("split_hash", "val split"),
            ("train_hash", "training images"),
            ("test_hash", "test set"),
        ):
            if found.get(key) != state[key]:
                raise UserError(
                    f"{path} was written with another {what} ({found.get(key)}, now "
                    f"{state[key]}); resume it with the data and model it was begun with."
                )
        same_experiment(cli.restored(type(self.options), found.get("options")), self.options)
        if self.options.finish and not (found.get("best") or {}).get("epoch"):
            size = self.options.image_size
            raise UserError(
                f"{path} has no epoch at {size} pixels, its --image-size, to finish with (epochs "
                f"done: {found.get('epoch')}); go on with --resume alone."
            )
        try:
            model.load_state_dict(found["weights"])
            if ema.decay:
                ema.average.load_state_dict(found["ema"])
                ema.steps = found["ema_steps"]
            optimizer.load_state_dict(found["optimizer"])
            if found["scaler"]:  # empty where the precision needed none, as on a CPU
                self.setup.scaler.load_state_dict(found["scaler"])
            best = found["best"]
            best["weights"] = {k: v.to(self.setup.device) for k, v in best["weights"].items()}
            for row in found["log"]:
                self.say(self._line(row, better=row["epoch"] == best["epoch"]))
            state = {key: found[key] for key in state} | {"options": state["options"]}
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise UserError(
                f"{path} does not fit this version of the suite ({type(error).__name__}: "
                f"{str(error)[:200]}); go on with the version that wrote it."
            ) from None
        if self.main:
            (self.folder / "metrics.json").unlink(missing_ok=True)  # from here on the run is not finished
            self._write("options.json", _json(public(self.options)))
            if state["log"]:
                self._write("log.csv", _table(state["log"]))
        return state

    def row(
        self,
        epoch: int,
        trained: dict,
        val: dict,
        *,
        size: int,
        lr: float,
        images_per_second: float,
        seconds: float,
    ) -> dict:
        """One epoch's row of log.csv."""
        return {
            "epoch": epoch,
            "image_size": size,
            "train_loss": trained["loss"],
            "train_accuracy": trained["accuracy"],
            "val_loss": val["loss"],
            "val_accuracy": val["accuracy"],
            "val_macro_f1": val["macro_f1"],
            "val_balanced_accuracy": val["balanced_accuracy"],
            "lr": lr,
            "images_per_second": images_per_second,
            "seconds": seconds,
        }

    def log(self, rows: list[dict], *, better: bool) -> None:
        """Print the last of the rows and write log.csv anew with all of them."""
        row = rows[-1]
        self.say(self._line(row, better=better))
        if self.main:
            self._write("log.csv", _table(rows))
        if self.tensorboard:
            for key, value in row.items():
                self.tensorboard.add_scalar(key.replace("_", "/", 1), value, row["epoch"])
            self.tensorboard.flush()

    def _line(self, row: dict, *, better: bool) -> str:
        per_cent = {k: 100 * v for k, v in row.items() if "acc" in k or "f1" in k}
        keys = (
            "epoch",
            "image_size",
            "train_loss",
            "train_accuracy",
            "val_accuracy",
            "val_macro_f1",
            "val_balanced_accuracy",
            "lr",
            "images_per_second",
            "seconds",
        )
        values = ({**row, **per_cent}[key] for key in keys)
        return "  ".join(f"{v:>{w}{f}}" for v, (_, w, f) in zip(values, COLUMNS)) + ("  *" if better else "")

    def finish(
        self,
        model: nn.Module,
        state: dict,
        *,
        val: Tensor,
        test: Tensor | None,
        seconds: float,
        reason: str,
        tau: float,
    ) -> dict:
        """Write metrics.json, predictions.csv, best_model.pth and the pictures from the logits of val and
        test; print the summary; return the metrics.
        """
        if not self.main:
            return {}
        cuda = self.setup.device.type == "cuda"
        peak = torch.cuda.max_memory_allocated() / 2**20 if cuda else _peak_memory()
        cost = metrics.cost(model, self.options.image_size, setup=self.setup)
        test_set = self.sets.get("test")
        numbers = {
            "model": self.name,
            "run": self.folder.name,
            "data": self.sets["train"].kind,
            "weights": self.options.weights,
            "finished": reason,
            "epochs": state["epoch"],
            "best_epoch": state["best"]["epoch"],
            "post_hoc_tau": tau,
            "val": metrics.report(val.softmax(1).numpy(), self.sets["val"].labels.numpy()),
            "cost": {
                **cost,
                "train_seconds": sum(row["seconds"] for row in state["log"]),
                "wall_seconds": seconds,
                "peak_memory_mib": peak,
            },
            "counts": {name: part.counts for name, part in self.sets.items()},
            "twins": self.twins,
            "skipped_images": self.sets["train"].skipped,
            "split_hash": state["split_hash"],
            "train_hash": state["train_hash"],
            "test_hash": state["test_hash"],
            "environment": runtime.environment(self.setup),
        }
        save_model(self.folder / "best_model.pth", state, model.state_dict(), post_hoc_tau=tau)
        if test_set:
            probabilities = np.array([[float(f"{p:.5g}") for p in row] for row in test.softmax(1).tolist()])
            numbers["test"] = metrics.report(probabilities, test_set.labels.numpy())  # of what is written
            rows = [
                [name, CLASS_NAMES[label], *(f"{p:.5g}" for p in row)]
                for name, label, row in zip(test_set.names, test_set.labels.tolist(), probabilities)
            ]
            self._write("predictions.csv", _csv(["image", "label", *CLASS_NAMES], rows))
        judged = "test" if test_set else "val"
        title = f"{self.name}, {self.folder.name}, {numbers['data']}"
        matrix = numbers[judged]["confusion_matrix"]
        write_atomically(
            self.folder / "curves.png", lambda file: plots.curves(state["log"], file, title=title)
        )
        write_atomically(
            self.folder / "confusion_matrix.png",
            lambda file: plots.confusion(matrix, file, title=f"{title}: {judged}"),
        )
        self._write("metrics.json", _json(numbers))  # last: a run is finished when this file is there
        self._summary(numbers)
        return numbers

    def _summary(self, numbers: dict) -> None:
        def scores(split: str) -> str:
            names = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "macro_f1": "macro-F1"}
            parts = (f"{name} {100 * numbers[split][key]:.2f} %" for key, name in names.items())
            return f"{split:>4}: " + ", ".join(parts)

        judged = "test" if "test" in numbers else "val"
        low, high = numbers[judged]["intervals"]["accuracy"]
        recalls = (f"{name} {100 * v['recall']:.1f}" for name, v in numbers[judged]["per_class"].items())
        lines = [scores("val"), scores("test")] if judged == "test" else [scores("val")]
        self.say(
            f"\n{numbers['finished']}; best epoch {numbers['best_epoch']}, chosen on val\n"
            f"{chr(10).join(lines)} (accuracy's 95 % interval {100 * low:.2f} to {100 * high:.2f})\n"
            f"recall on {judged}: {'  '.join(recalls)}"
        )
        if judged == "val":
            self.say("The test set stayed shut (--no-test).")
        if numbers["data"] != "RAF-DB":
            self.say(f"These are {numbers['data']}: the numbers say nothing about RAF-DB.")
        self.say(
            f"{numbers['cost']['wall_seconds']:.0f} s in all; pictures: {self.folder / 'curves.png'} "
            f"and {self.folder / 'confusion_matrix.png'}"
        )

    def stopped(self, number: int, where: str) -> Stopped:
        """What to raise where the signal `number` stopped the run."""
        return Stopped(number, where, resume_command(self.folder, self.options, world=self.setup.world_size))

    def diverged(self, state: dict, epoch: int) -> UserError:
        """What to raise where the loss of `epoch` is not finite (exit code 3)."""
        slower = "a lower --lr" + ("" if self.setup.precision == "fp32" else " or --amp off")
        return UserError(
            f"the loss is no longer finite in epoch {epoch} (learning rate up to {self.options.lr:g}, "
            f"{self.setup.precision}). Try {slower}. The last good checkpoint is {self.folder / 'last.pth'}, "
            f"of epoch {state['epoch']}: a run of another --name can start from it with --weights.",
            code=3,
        )

    def _write(self, name: str, text: str) -> None:
        write_atomically(self.folder / name, lambda file: file.write(text.encode()))


def public(options) -> dict:
    """The options as written down, of paths the last names only: runs are passed on, machines are not."""
    values = asdict(options)
    return {**values, **{key: Path(values[key]).name for key in ("data", "output", "resume")}}


def _json(value: dict) -> str:
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def _table(log: list[dict]) -> str:
    return _csv(list(log[0]), [list(row.values()) for row in log])


def _csv(header: list, rows: list[list]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([header, *rows])
    return text.getvalue()


def _peak_memory() -> float | None:
    """This process's largest memory in MiB, where the system tells."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    scale = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale
