"""Everything that a run needs to go on, and the one place that knows what its last.pth holds.

state = TrainState(model, options, runtime, sets)
state.resume(path)                                   # or begin anew
"""

import math
import zlib
from dataclasses import asdict
from pathlib import Path

from torch import Tensor, nn

from ferlab import cli
from ferlab.errors import UserError
from ferlab.options import Options
from ferlab.training.checkpoint import read
from ferlab.training.ema import EMA
from ferlab.training.optim import Schedule, make_optimizer
from ferlab.training.resizing import size_at
from ferlab.training.run_folder import same_experiment
from ferlab.training.runtime import Runtime

LOGGED = (  # the columns of log.csv
    *("epoch", "image_size", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_macro_f1"),
    *("val_balanced_accuracy", "lr", "images_per_second", "seconds"),
)
MUST_MATCH = {
    "model": "model",
    "class_names": "list of classes",
    "split_hash": "val split",
    "train_hash": "training images",
    "test_hash": "test set",
}
PIXELS = {"train": "training images", "val": "val images", "test": "test images"}


class TrainState:
    """Model, optimizer, moving average and scaler; epochs done, the best of them, the log and the seconds.

    `sets` are the datasets by split. `batch_size` counts all processes together, `steps` those of an epoch;
    images that do not fill a last batch are left out, others in every epoch. Raises UserError where the
    processes cannot share a batch.
    """

    def __init__(self, model: nn.Module, options: Options, runtime: Runtime, sets: dict) -> None:
        self.model, self.options, self.runtime = model, options, runtime
        images, processes = len(sets["train"]), runtime.world_size
        if options.batch_size % processes:
            raise UserError(
                f"--batch-size {options.batch_size} cannot be shared by {processes} processes; make it a "
                "multiple of them."
            )
        if images < processes:
            raise UserError(f"{images} training images cannot be shared by {processes} processes; use fewer.")
        self.batch_size = min(options.batch_size, images // processes * processes)
        self.steps = steps = images // self.batch_size
        self.optimizer = make_optimizer(model, lr=options.lr, weight_decay=options.weight_decay)
        self.schedule = Schedule(
            options.lr, warmup=options.warmup_epochs * steps, total=options.epochs * steps
        )
        self.ema = EMA(model, options.ema)
        self.epoch, self.log, self.seconds = 0, [], 0.0
        self.trained = False  # whether an epoch ran in this process
        self.best: dict = {"epoch": 0, "macro_f1": -1.0, "weights": {}}
        self.about = {
            "model": model.built,
            "options": asdict(options),
            "class_names": list(sets["train"].class_names),
            "data": sets["train"].kind,
            "split_hash": sets["val"].hash,
            "train_hash": sets["train"].hash,
            "test_hash": sets["test"].hash if "test" in sets else "",
            "pixels": {split: checksum(part.images) for split, part in sets.items()},
        }

    def end(self) -> str:
        """Why no further epoch is to be trained, or nothing."""
        if self.epoch == self.options.epochs:
            return "all epochs done"
        if self.options.patience and 0 < self.best["epoch"] <= self.epoch - self.options.patience:
            return f"val macro-F1 no better for {self.options.patience} epochs"
        if self.options.finish:
            return f"closed early, after {self.epoch} of {self.options.epochs} epochs (--finish)"
        return ""

    def rates(self) -> list[float]:
        """The learning rate of every step of the next epoch."""
        first = self.epoch * self.steps
        return [self.schedule(step) for step in range(first, first + self.steps)]

    def resize(self) -> int:
        """The image size of the next epoch. Where it grows, the moving average begins anew: what it holds was
        learnt at another size.
        """
        options = self.options
        size = size_at(self.epoch, epochs=options.epochs, start=options.start_size, full=options.image_size)
        if self.log and size != self.log[-1]["image_size"]:
            self.ema.steps = 0
        return size

    def done(self, row: dict) -> bool:
        """Count one more epoch, whose log row is `row`; tells whether it is the best on val so far. Only
        epochs at full size may be: weights answer badly at another size than they were trained at.
        """
        self.epoch, self.log, self.trained = row["epoch"], [*self.log, row], True
        full_size = row["image_size"] == self.options.image_size
        better = full_size and row["val_macro_f1"] > self.best["macro_f1"]
        if better:
            weights = {key: value.detach().clone() for key, value in self.ema.average.state_dict().items()}
            self.best = {"epoch": self.epoch, "macro_f1": row["val_macro_f1"], "weights": weights}
        return better

    def state_dict(self) -> dict:
        """What last.pth holds, as references: CheckpointWriter writes or copies it."""
        return {
            **self.about,
            "epoch": self.epoch,
            "best": self.best,
            "log": self.log,
            "seconds": self.seconds,
            "weights": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.runtime.scaler.state_dict(),
            "ema": self.ema.average.state_dict() if self.ema.decay else {},
            "ema_steps": self.ema.steps,
        }

    def load_state_dict(self, found: dict) -> None:
        """Go on from what `state_dict` gave."""
        self.model.load_state_dict(found["weights"])
        if self.ema.decay:
            self.ema.average.load_state_dict(found["ema"])
            self.ema.steps = found["ema_steps"]
        self.optimizer.load_state_dict(found["optimizer"])
        if found["scaler"]:  # empty where the precision needed none, as on a CPU
            self.runtime.scaler.load_state_dict(found["scaler"])
        weights = {key: value.to(self.runtime.device) for key, value in found["best"]["weights"].items()}
        self.best = {**found["best"], "weights": weights}
        self.epoch, self.log, self.seconds = found["epoch"], found["log"], found["seconds"]

    def resume(self, path: Path) -> None:
        """Go on from the checkpoint at `path`. Raises UserError where it is of another run or version."""
        found = read(path)
        if "optimizer" not in found:
            raise UserError(f"{path} holds a model, not the state of a run; resume from a last.pth.")
        for key, what in MUST_MATCH.items():
            trial = key == "test_hash" and found.get(key) == ""  # it had no test set yet
            if found.get(key) != self.about[key] and not trial:
                raise UserError(
                    f"{path} was written with another {what} ({found.get(key)}, now {self.about[key]}); "
                    "resume it with the data and model it was begun with."
                )
        before, now = found.get("pixels", {}), self.about["pixels"]  # older states have none
        for split, what in PIXELS.items():
            if isinstance(before, dict) and before.get(split, now.get(split)) != now.get(split):
                raise UserError(
                    f"{path} was written with {what} of the same names and other pixels; put back the files "
                    "that it was begun with, or choose another --name and leave --resume out."
                )
        same_experiment(cli.restored(Options, found.get("options")), self.options)
        if self.options.finish and not (found.get("best") or {}).get("epoch"):
            raise UserError(
                f"{path} has no epoch at {self.options.image_size} pixels, its --image-size, to finish with "
                f"(epochs done: {found.get('epoch')}); use --resume alone."
            )
        try:
            _check(found)
            self.load_state_dict(found)
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise UserError(
                f"{path} does not fit this version of the suite ({type(error).__name__}: "
                f"{str(error)[:200]}); resume with the version that wrote it."
            ) from None


def checksum(images: Tensor) -> str:
    """CRC-32 of uint8 images; of all of RAF-DB it takes 0.15 s. It is to notice an accident, not a forger."""
    return f"{zlib.crc32(images.contiguous().numpy().data):08x}"


def _check(found: dict) -> None:
    """ValueError where a checkpoint's epochs, log or best epoch cannot be those of a run."""
    epoch, log, best = found["epoch"], found["log"], found["best"]
    numbers = [value for row in log for value in row.values()] + [found["seconds"], best["macro_f1"]]
    if any(type(value) not in (int, float) or not math.isfinite(value) for value in numbers):
        raise ValueError("its log holds what is not a finite number")
    if any(tuple(row) != LOGGED for row in log) or [row["epoch"] for row in log] != [*range(1, epoch + 1)]:
        raise ValueError("its log is not that of its epochs")
    if type(best["epoch"]) is not int or not 0 <= best["epoch"] <= epoch or found["seconds"] < 0:
        raise ValueError("its best epoch or its seconds cannot be")
    if found["ema"] and (type(found["ema_steps"]) is not int or found["ema_steps"] < 0):
        raise ValueError("its average has no number of steps")
