"""What a checkpoint holds and how it survives: atomic save, safe load, a checksum over everything inside.

A checkpoint is a dict of plain dicts, lists, numbers, strings and tensors, so `torch.load(path,
weights_only=True)` opens it. No state of a random generator is in it: every epoch seeds itself from (seed,
epoch).
"""

import copy
import hashlib
import os
import pickle
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from fer import CLASS_NAMES
from fer.augment import MEAN, STD
from fer.errors import UserError

FORMAT = 1
REQUIRED = {"format": int, "sha256": str, "model": dict, "weights": dict, "class_names": list}


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Replace `path` by what `write(file)` writes: whole or not at all, also when the machine dies halfway.

    Raises UserError (exit code 4) where it cannot be written; the file that stood there before is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        if os.name == "posix":  # the new name itself must reach the disk
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except (OSError, RuntimeError) as error:  # torch.save turns a full disk into a RuntimeError
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "disk full?"
        kept = "; the file that stood there is untouched" if path.exists() else ""
        raise UserError(
            f"{path} could not be written ({reason}){kept}. Make room or choose another --output, then go on "
            "with --resume.",
            code=4,
        ) from None
    finally:
        try:
            temporary.unlink(missing_ok=True)
        except OSError:
            pass


def sweep(folder: Path) -> None:
    """Remove what killed processes left half written in `folder`."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def save(path: str | Path, state: dict) -> None:
    """Write `state` with its format number and checksum, atomically."""
    state = {**state, "format": FORMAT, "class_names": list(CLASS_NAMES)}
    state["sha256"] = digest(state)
    write_atomically(Path(path), lambda file: torch.save(state, file))


def read(path: str | Path) -> dict:
    """The dict of a checkpoint, on the CPU, after every check. Raises UserError that names what is wrong."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wants = (
            str(error).split("GLOBAL ")[1].split()[0] if "GLOBAL " in str(error) else "more than plain data"
        )
        raise UserError(
            f"{path} was not opened: it asks for {wants}, which could run code; checkpoints of this suite "
            "hold plain data only."
        ) from None
    except Exception:  # what a damaged archive raises depends on where it is damaged: any of a dozen types
        raise UserError(
            f"{path} ({path.stat().st_size:,} bytes) is damaged or not a checkpoint; take another one, "
            "or train again."
        ) from None
    lacks = [k for k, t in REQUIRED.items() if not isinstance(state, dict) or not isinstance(state.get(k), t)]
    if lacks:
        raise UserError(f"{path} is not a checkpoint of this suite: it has no {', '.join(lacks)}.")
    if state["format"] != FORMAT:
        raise UserError(
            f"{path} has format {state['format']}, this version of the suite reads format {FORMAT}."
        )
    stored = state.pop("sha256")
    if digest(state) != stored:
        raise UserError(
            f"{path} is damaged: its contents do not match its checksum. Take another one, or train again."
        )
    if state["class_names"] != list(CLASS_NAMES):
        raise UserError(
            f"{path} has the classes {', '.join(map(str, state['class_names']))}; this suite has "
            f"{', '.join(CLASS_NAMES)}, in this order."
        )
    return state


class Keeper:
    """Writes `last.pth` and `best_model.pth` of a run; spends no more than a twentieth of the time on it.

    After a write that took t seconds the next one waits 20 t; what it skips is copied and written by `flush`,
    so a run that is asked to stop loses nothing, and one that is killed loses minutes at most.
    """

    def __init__(self, folder: Path, *, enabled: bool = True) -> None:
        self.folder, self.enabled = folder, enabled
        self._pending: dict | None = None
        self._not_before, self._best_epoch = 0.0, 0

    def keep(self, state: dict) -> None:
        """Take the state at the end of an epoch (references are fine: it is written or copied before
        returning).
        """
        if self.enabled and time.monotonic() >= self._not_before:
            self._write(state)
        elif self.enabled:
            self._pending = copy.deepcopy(state)

    def flush(self) -> None:
        """Write what was kept last, if it is not on the disk yet."""
        if self._pending is not None:
            self._write(self._pending)

    def _write(self, state: dict) -> None:
        begun = time.monotonic()
        save(self.folder / "last.pth", state)
        if state["best"]["epoch"] != self._best_epoch:
            save_model(self.folder / "best_model.pth", state, state["best"]["weights"])
            self._best_epoch = state["best"]["epoch"]
        self._pending, now = None, time.monotonic()
        self._not_before = now + 20 * (now - begun)


def save_model(path: Path, state: dict, weights: dict, **more) -> None:
    """A checkpoint to predict with: `weights`, and of the training state only what describes them."""
    about = {key: state[key] for key in ("model", "options", "split_hash", "train_hash")}
    best = {key: value for key, value in state["best"].items() if key != "weights"}
    normalisation = {"mean": list(MEAN), "std": list(STD)}
    save(path, {**about, "weights": weights, "best": best, "normalisation": normalisation, **more})


def digest(value) -> str:
    """sha256 over a tree of dicts, lists, plain values and tensors: every name, type, shape and byte."""
    sha = hashlib.sha256()
    _feed(sha, value)
    return sha.hexdigest()


def _feed(sha, value) -> None:
    if isinstance(value, Tensor):
        sha.update(f"tensor {value.dtype} {tuple(value.shape)}".encode())
        sha.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    elif isinstance(value, dict):
        sha.update(f"dict {len(value)}".encode())
        for key, item in value.items():
            _feed(sha, key)
            _feed(sha, item)
    elif isinstance(value, (list, tuple)):
        sha.update(f"list {len(value)}".encode())
        for item in value:
            _feed(sha, item)
    elif isinstance(value, float):
        sha.update(b"float" + struct.pack("<d", value))
    else:
        text = repr(value).encode()
        sha.update(f"{type(value).__name__} {len(text)}".encode() + text)
