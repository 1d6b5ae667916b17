"""The files of a run's folder, read back: regular ones of bounded size only, each checked against its schema.
A CSV may be packed by gzip, with .gz behind its name.

options, numbers = records.options(folder), records.numbers(folder)
rows, answers = records.log(folder), records.predictions(folder)

Each raises Unreadable, whose message names the file and what is wrong with it; nothing else.
"""

import csv
import gzip
import io
import json
import math
import zlib
from pathlib import Path
from types import NoneType
from typing import NamedTuple

import numpy as np

from ferlab import cli
from ferlab.files import read_regular
from ferlab.options import Options

LIMIT = 64 << 20  # bytes of a file; the largest of RAF-DB's have less than one million
LARGEST = 1e15  # of a number: no cost or count of a run comes near it
LOGGED = ("epoch", "train_loss", "val_loss", "val_accuracy", "val_macro_f1", "seconds")
COST = ("parameters", "gflops", "latency_ms", "images_per_second", "train_seconds", "peak_memory_mib")
NUMBER, MAYBE = (int, float), (int, float, NoneType)
NEEDED = {  # of metrics.json, and the types that it may have
    "model": (str,),
    "data": (str,),
    "epochs": (int,),
    "best_epoch": (int,),
    **{f"val.{key}": NUMBER for key in ("accuracy", "balanced_accuracy", "macro_f1", "nll")},
    "counts.train": (list,),
    "split_hash": (str,),
    "train_hash": (str,),
    "environment.cpu": (str,),
    "environment.gpu": (str, NoneType),
    "environment.threads": (int,),
    "environment.precision": (str,),
    **{f"cost.{key}": NUMBER if key in ("parameters", "gflops") else MAYBE for key in COST},
}


class Unreadable(ValueError):
    """Why a file of a run cannot be used, in one sentence that begins with its name."""


class Predictions(NamedTuple):
    """predictions.csv, sorted by image."""

    images: list[str]
    labels: np.ndarray  # (N,)
    probabilities: np.ndarray  # (N, C)
    class_names: tuple[str, ...]


def options(folder: Path) -> dict:
    """options.json: those that this version knows have the right type and a value that it allows."""
    found = _json(folder / "options.json")
    for key in ("seed", "epochs", "weights"):
        if key not in found:
            raise Unreadable(f"options.json lacks {key}")
    if wrong := cli.stored_wrong(Options, found):
        raise Unreadable(f"options.json {wrong}")
    return found


def numbers(folder: Path) -> dict:
    """metrics.json of a finished run; "test" is there unless it was trained with --no-test."""
    found = _json(folder / "metrics.json")
    for path, kinds in NEEDED.items():
        value = found
        for key in path.split("."):
            value = value.get(key, ...) if isinstance(value, dict) else ...
        if type(value) not in kinds or type(value) is str and not value.isprintable():
            raise Unreadable(f"metrics.json lacks {path}, or it is not what it should be")
        if path.startswith("cost.") and value is not None and value <= 0:  # no place on a log scale
            raise Unreadable(f"metrics.json has {path} {value}; it must be more than 0")
    train = found["counts"]["train"]
    if not train or any(type(count) is not int or count < 0 for count in train) or not sum(train):
        raise Unreadable("metrics.json has no counts.train")
    shares = (value for key, value in found["val"].items() if f"val.{key}" in NEEDED and key != "nll")
    if not 1 <= found["best_epoch"] <= found["epochs"] or any(not 0 <= share <= 1 for share in shares):
        raise Unreadable("metrics.json has epochs or scores on val that cannot be")
    if not isinstance(found.get("test", {}), dict):
        raise Unreadable("metrics.json has a test that is not what it should be")
    return found


def log(folder: Path) -> list[dict]:
    """The rows of log.csv, whose epochs count from 1."""
    header, lines = table(folder / "log.csv")
    if missing := [key for key in LOGGED if key not in header]:
        raise Unreadable(f"log.csv lacks the column {missing[0]}")
    rows = [dict(zip(header, (_number("log.csv", text) for text in line))) for line in lines]
    if [row["epoch"] for row in rows] != [*range(1, len(rows) + 1)]:
        raise Unreadable("log.csv has epochs that do not count from 1")
    if any(row["seconds"] < 0 or row.get("image_size", 1) <= 0 for row in rows):
        raise Unreadable("log.csv has negative seconds or image sizes")
    return rows


def predictions(folder: Path) -> Predictions:
    """predictions.csv: images, labels and probabilities, which add up to 1, of the classes in its header."""
    header, rows = table(folder / "predictions.csv")
    if missing := [key for key in ("image", "label") if key not in header]:
        raise Unreadable(f"predictions.csv lacks the column {missing[0]}")
    classes = tuple(key for key in header if key not in ("image", "label"))
    if len(classes) < 2 or len(set(header)) < len(header) or not all(map(str.isprintable, header)):
        raise Unreadable("predictions.csv must have the columns of two classes or more")
    image, label, *columns = (header.index(key) for key in ("image", "label", *classes))
    rows.sort(key=lambda row: row[image])
    if not rows or len({row[image] for row in rows}) < len(rows):
        raise Unreadable("predictions.csv has no images, or the same one twice")
    if unknown := [row[label] for row in rows if row[label] not in classes]:
        raise Unreadable(f"predictions.csv has the unknown label {_short(unknown[0])}")
    shares = np.array([[_number("predictions.csv", row[i]) for i in columns] for row in rows])
    if not ((shares >= 0).all() and (abs(shares.sum(1) - 1) < 1e-3).all()):
        raise Unreadable("predictions.csv holds probabilities that do not add up to 1")
    labels = np.array([classes.index(row[label]) for row in rows], np.int64)
    return Predictions([row[image] for row in rows], labels, shares, classes)


def table(path: Path) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of a CSV file, all as long as it."""
    try:
        rows = [row for row in csv.reader(io.StringIO(_text(path), newline=""), strict=True) if row]
    except csv.Error as error:
        raise Unreadable(f"{path.name} is not a CSV file ({error})") from None
    header, *rows = rows or [[]]
    if wrong := [number for number, row in enumerate(rows, 2) if len(row) != len(header)]:
        raise Unreadable(f"{path.name} has another number of columns in row {wrong[0]} than in its first")
    return header, rows


def _json(path: Path) -> dict:
    """The object in a JSON file, of finite numbers and of text that can be written again."""
    text = _text(path)
    try:
        found = json.loads(text, parse_int=_whole, parse_float=_finite, parse_constant=_finite)
        json.dumps(found, ensure_ascii=False).encode()  # fails at half a surrogate pair
    except Unreadable as error:
        raise Unreadable(f"{path.name} {error}") from None
    except RecursionError:
        raise Unreadable(f"{path.name} is nested too deep") from None
    except UnicodeEncodeError:
        raise Unreadable(f"{path.name} holds text that is not Unicode") from None
    except ValueError:
        raise Unreadable(f"{path.name} cannot be read: it is not JSON") from None
    if not isinstance(found, dict):
        raise Unreadable(f"{path.name} holds no names and values")
    return found


def _text(path: Path) -> str:
    try:
        data = _read(path)
        if len(data) > LIMIT:
            raise Unreadable(f"{path.name} has more than {LIMIT >> 20} MiB, which no run writes")
        return data.decode("utf-8-sig")
    except FileNotFoundError:
        raise Unreadable(f"there is no {path.name}") from None
    except OSError as error:
        raise Unreadable(f"{path.name} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise Unreadable(f"{path.name} is not UTF-8 text") from None


def _read(path: Path) -> bytes:
    """The first LIMIT + 1 bytes of a file, or of what is packed in the file of the same name and .gz."""
    try:
        return read_regular(path, limit=LIMIT + 1)
    except FileNotFoundError:
        packed = read_regular(path.with_name(f"{path.name}.gz"), limit=LIMIT)
    try:
        return gzip.GzipFile(fileobj=io.BytesIO(packed)).read(LIMIT + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise Unreadable(f"{path.name}.gz is damaged: it cannot be unpacked") from None


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= LARGEST or "_" in text:
        raise Unreadable(f"{name} has {_short(text)} where a finite number should be")
    return value


def _whole(text: str) -> int:
    _finite(text)  # before int, which may take long or refuse
    return int(text)


def _finite(text: str) -> float:
    if not abs(float(text)) <= LARGEST:
        raise Unreadable(f"holds {_short(text)}, which is not a number of a run")
    return float(text)


def _short(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
