"""What a checkpoint holds and how it survives: atomic save, safe load, a checksum over everything inside.

A checkpoint is a dict of plain dicts, lists, numbers, strings and tensors, so `torch.load(path,
weights_only=True)` opens it. No state of a random generator is in it: every epoch seeds itself from (seed,
epoch).
"""

import copy
import hashlib
import os
import pickle
import re
import struct
import time
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from ferlab import cli
from ferlab.data import rafdb
from ferlab.errors import UserError
from ferlab.files import write_atomically
from ferlab.options import Options, public
from ferlab.training.augment import MEAN, STD
from ferlab.training.run_folder import RESUME

FORMAT = 2
MODEL = {"name": str, "num_classes": int, "image_size": int}  # what models.build is called with
NORMALISATION = {"mean": list(MEAN), "std": list(STD)}
MAX_CLASSES = 1000
MAX_VALUES = 1_000_000  # the largest checkpoint of the suite has some thousand


def save(path: str | Path, state: dict) -> None:
    """Write `state`, its tensors on the CPU, with its format number and checksum, atomically; TypeError if it
    is not plain data.
    """
    state = tree_map_only(Tensor, lambda value: value.detach().cpu(), {**state, "format": FORMAT})
    state["sha256"] = digest(state)
    write_atomically(Path(path), lambda file: torch.save(state, file), advice=RESUME)


def read(path: str | Path) -> dict:
    """The dict of a checkpoint, on the CPU, after every check. Raises UserError that names what is wrong."""
    return validate(path, opened(path))


def opened(path: str | Path) -> object:
    """What a file of torch.save holds, on the CPU: plain data only. Raises UserError where it cannot be
    opened, or wants to run code.
    """
    if not os.path.isfile(path):
        raise UserError(f"there is no checkpoint {path}.")
    try:
        if any(info.compress_size != info.file_size for info in _entries(path)):
            raise ValueError("torch.save packs nothing; this may unpack to any size")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, about files that are refused below
            return torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check your rights there.") from None
    except Exception as error:  # a damaged archive raises any of a dozen types, by where it is damaged
        wants = re.search(r"GLOBAL (\S+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
        if wants:
            raise UserError(
                f"{path} was not opened: it asks for {wants[1]}, which could run code; "
                "checkpoints of this suite hold plain data only, and of other models their state_dict() is "
                "taken."
            ) from None
        raise UserError(
            f"{path} ({os.path.getsize(path):,} bytes) is damaged or not a checkpoint; take "
            "another one, or train again."
        ) from None


def has_format(state: object) -> bool:
    """Whether it says that it is a checkpoint of this suite."""
    return isinstance(state, dict) and type(state.get("format")) is int


def validate(path: str | Path, state: Any) -> dict:
    """`state`, which the file at `path` holds, after every check of its contents. Raises UserError."""
    if not has_format(state):
        raise UserError(f"{path} is not a checkpoint of this suite; take one that its train_*.py wrote.")
    version = state["format"]
    if version != FORMAT:
        raise UserError(
            f"{path} has format {version}, and this version of the suite reads format {FORMAT}; "
            "use the version that wrote it."
        )
    stored = state.pop("sha256", None)
    try:
        whole = digest(state) == stored
    except Exception:  # hashes what only a damaged or a forged file holds
        whole = False
    if not whole:
        raise UserError(
            f"{path} is damaged: its contents do not match its checksum; take another one, or train again."
        )
    _check_contents(path, state)
    return state


def _entries(path: str | Path) -> list[zipfile.ZipInfo]:
    """What a zip holds; nothing where `path` is none."""
    if not zipfile.is_zipfile(path):
        return []
    with zipfile.ZipFile(path) as archive:
        return archive.infolist()


def _check_contents(path: str | Path, state: dict) -> None:
    classes: Any = state.get("class_names")
    model, weights = state.get("model"), state.get("weights")
    words = isinstance(classes, list) and all(type(name) is str and 0 < len(name) < 100 for name in classes)
    if not words or not 1 < len(classes) <= MAX_CLASSES or len(set(classes)) < len(classes):
        raise UserError(
            f"{path} has the classes {str(classes)[:200]}; they must be 2 to {MAX_CLASSES} different short "
            "names."
        )
    built = isinstance(model, dict) and {key: type(value) for key, value in model.items()} == MODEL
    if not built or model["num_classes"] != len(classes) or not 0 < model["image_size"] <= 1024:
        raise UserError(
            f"{path} says {model} of its model; it takes a name, the number of its {len(classes)} classes "
            "and an image size of at most 1024 pixels."
        )
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UserError(f"{path} holds no weights; take one that a train_*.py of this suite wrote.")
    average = state.get("ema", {})
    if not isinstance(average, dict) or not all(isinstance(value, Tensor) for value in average.values()):
        raise UserError(f"{path} holds no averaged weights where they should be; take another one.")
    for name, value in {**weights, **average}.items():
        if not (value.is_floating_point() or value.dtype == torch.int64) or not value.isfinite().all():
            raise UserError(f"{path} holds weights that are not finite numbers ({name}); take another one.")
    if state.get("normalisation", NORMALISATION) != NORMALISATION:
        raise UserError(
            f"{path} was trained with the normalisation {state['normalisation']}; this suite has "
            f"{NORMALISATION} and takes no other."
        )
    options, best = state.get("options", {}), state.get("best", {"macro_f1": 0.0})
    if not isinstance(options, dict) or (wrong := cli.stored_wrong(Options, options)):
        wrong = wrong if isinstance(options, dict) else "holds options that are none"
        raise UserError(f"{path} {wrong}; take another one, or the version of the suite that wrote it.")
    if not isinstance(best, dict) or type(best.get("macro_f1")) not in (int, float):
        raise UserError(
            f"{path} does not fit this version of the suite: it has no best epoch; take another one."
        )
    temperature = state.get("temperature", 1.0)
    if type(temperature) is not float or not 0.01 <= temperature <= 100:
        raise UserError(f"{path} has the temperature {temperature}; it must be a number of 0.01 to 100.")


class CheckpointWriter:
    """Writes `last.pth` and `best_model.pth` of a run; spends no more than a twentieth of the time on it.

    After a write that took t seconds the next one waits 20 t; what it skips is copied and written when the
    block ends, so a run that is asked to stop loses nothing, and one that is killed loses minutes at most.
    """

    WAIT = 20

    def __init__(self, folder: Path, *, enabled: bool = True) -> None:
        self.folder, self.enabled = folder, enabled
        self._pending: dict | None = None
        self._not_before, self._best_epoch = 0.0, 0

    def __enter__(self) -> "CheckpointWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_) -> None:
        if self._pending is not None and (kind is None or issubclass(kind, Exception)):
            self._write(self._pending)

    def save(self, state: dict) -> None:
        """Take the state at the end of an epoch (references are fine: it is written or copied before
        returning).
        """
        if self.enabled and time.monotonic() >= self._not_before:
            self._write(state)
        elif self.enabled:
            self._pending = None  # two copies at once would be ten times the model in a GPU's memory
            copied = copy.deepcopy({**state, "best": None})
            self._pending = copied | {"best": state["best"]}  # which is replaced, and never changed

    def _write(self, state: dict) -> None:
        begun = time.monotonic()
        save(self.folder / "last.pth", state)
        if state["best"]["epoch"] != self._best_epoch:
            save_model(self.folder / "best_model.pth", state, state["best"]["weights"])
            self._best_epoch = state["best"]["epoch"]
        self._pending, now = None, time.monotonic()
        self._not_before = now + self.WAIT * (now - begun)


def save_model(path: Path, state: dict, weights: dict, **more) -> None:
    """A checkpoint to predict with: `weights`, and of the training state only what describes them."""
    keys = ("model", "class_names", "options", "split_hash", "train_hash", "data")
    about = {key: state[key] for key in keys} | {"options": public(state["options"])}
    best = {key: value for key, value in state["best"].items() if key != "weights"}
    about |= {"licence": rafdb.WEIGHTS_LICENCE} if state["data"] == rafdb.NAME else {}
    save(path, {**about, "weights": weights, "best": best, "normalisation": NORMALISATION, **more})


def digest(value) -> str:
    """sha256 over a tree of dicts, lists, tensors and plain values: every name, type, shape and byte. By
    hand, as ZipFile.testzip passes flipped bits of the archive's own directory, with which torch.load reads
    other contents.

    Raises TypeError for anything else, and where the tree refers to itself or unfolds without end.
    """
    sha, todo = hashlib.sha256(), [value]
    for _ in range(MAX_VALUES):
        if not todo:
            return sha.hexdigest()
        if len(todo) > MAX_VALUES:
            break
        value = todo.pop()
        if isinstance(value, Tensor):
            if value.numel() * value.element_size() > value.untyped_storage().nbytes():
                raise TypeError("a checkpoint holds no expanded tensor")
            sha.update(f"tensor {value.dtype} {tuple(value.shape)}".encode())
            sha.update(value.detach().contiguous().view(-1).view(torch.uint8).numpy().data)
        elif isinstance(value, dict):
            sha.update(f"dict {len(value)}".encode())
            todo += reversed([part for pair in value.items() for part in pair])
        elif isinstance(value, (list, tuple)):
            sha.update(f"list {len(value)}".encode())
            todo += reversed(value)
        elif type(value) is float:
            sha.update(b"float" + struct.pack("<d", value))
        elif value is None or type(value) in (bool, int, str):
            text = repr(value).encode()
            sha.update(f"{type(value).__name__} {len(text)}".encode() + text)
        else:
            raise TypeError(f"a checkpoint holds plain data only, not {type(value).__name__}")
    raise TypeError(f"a checkpoint holds no more than {MAX_VALUES:,} values")
