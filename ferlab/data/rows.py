"""The files of a dataset -> one row for each image, and whatever is wrong with them, all at once.

found = by_folder(files, read, "DATASET/")            # or by_list(files, read): the official release
"""

import contextlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import NamedTuple

from ferlab.data.image_io import Unusable, opened
from ferlab.data.labels import LIST, NUMBERS, classes, compare, expression, label, whose
from ferlab.data.rafdb import CLASS_NAMES, SIDE
from ferlab.errors import UserError
from ferlab.files import ignored

LABEL_FILE = "EmoLabel/list_patition_label.txt"  # the release spells it so
ALIGNED = "Image/aligned"
SUFFIXES = (".jpg", ".jpeg", ".png")
SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test"}
SPLITS |= {"valid": "val", "val": "val", "validation": "val"}

Stamp = tuple[int, ...] | None  # changes with the file; None: not a regular file
Read = Callable[[str], bytes]
Problems = dict[str, list[str]]  # kind -> sentences, causes before consequences


class Row(NamedTuple):
    """One image: its name, where it lies in the tree, its label from 1, and a stamp that changes with it."""

    name: str
    path: str
    label: int
    stamp: Stamp


class Found(NamedTuple):
    """Rows by split (train, test, and val where the data bring their own), the classes' names in the order of
    their labels, what is wrong, and what is to be told.
    """

    rows: dict[str, list[Row]]
    class_names: tuple[str, ...]
    problems: Problems
    notes: list[str]


def by_folder(files: dict[str, Stamp], read: Read, base: str, *, hint: str = "") -> Found:
    """Labels from the names of folders, compared with the CSVs where those are there. Images whose names
    recur, as im0.png does in every folder of some trees, are called by their paths.

    base: "DATASET/" for RAF-DB's mirror, whose classes are known; without one the folders name the classes,
    and `hint` is the name of the tree.
    """
    problems: Problems = defaultdict(list)
    placed = _placed(files, base, problems)
    names: tuple[str, ...] = CLASS_NAMES
    number: Callable[[str], int | None] = label
    notes: list[str] = []
    if not base:
        folders = [file.folder for part in placed.values() for file in part]
        try:
            names, numbers = classes(folders, hint=hint, listed=text_of(files, read, LIST, problems) or "")
        except UserError as error:
            return Found({"train": [], "test": []}, (), {**problems, "labels": [str(error)]}, [])
        number = numbers.get
        notes += named(names, numbers, hint)
    parts = {
        part: [Row(file.name, file.path, number(file.folder) or 0, file.stamp) for file in found]
        for part, found in placed.items()
    }
    check_files((row for rows in parts.values() for row in rows), problems)
    of_cell = number if base else lambda cell: number(cell) or label(cell)
    tables = _compare_tables(parts, files, read, of_cell, problems)
    if base:
        notes += [f"no {name}" for name in ("train_labels.csv", "test_labels.csv") if name not in tables]
    rows = splits_of(parts, notes)
    for same in _same_names([row for part in rows.values() for row in part], None if tables else read):
        problems["twice"].append(f"{same[0].name}: is in {' and '.join(row.path for row in same)}")
    rows = _named_apart(rows)
    check_classes(rows, names, read, problems, whole=bool(base))
    return Found(rows, names, problems, notes)


class _File(NamedTuple):
    name: str
    path: str
    folder: str  # which names its class
    stamp: Stamp


def _placed(files: dict[str, Stamp], base: str, problems: Problems) -> dict[str, list[_File]]:
    """The images by split, in the order of `files`; what lies elsewhere goes to `problems`."""
    placed: dict[str, list[_File]] = {"train": []}
    strays: Counter[tuple[str, str]] = Counter()
    for path, stamp in files.items():
        split, *below = path.removeprefix(base).split("/")
        part = SPLITS.get(split.lower())
        if not path.startswith(base) or not (base or part) or ignored(path.rpartition("/")[2]):
            continue
        if part and len(below) == 2 and (not base or label(below[0])):
            placed.setdefault(part, []).append(_File(below[1], path, below[0], stamp))
        elif part and len(below) == 2:
            kind = f"is none of the classes, {NUMBERS}, by number or name"
            strays[f"{base}{split}/{below[0]}", kind] += 1
        else:
            kind = "is not in a class folder of train/ or test/"
            strays["/".join([base + split, *below[: 1 if len(below) < 3 else 2]]), kind] += 1
    for (place, kind), n in sorted(strays.items()):
        problems[kind].append(f"{place}: {kind} (files: {n:,})")
    return placed


def _compare_tables(
    parts: dict[str, list[Row]],
    files: dict[str, Stamp],
    read: Read,
    number: Callable[[str], int | None],
    problems: Problems,
) -> list[str]:
    """The names of the splits' CSVs that are there, each compared with the labels of its rows."""
    tables = [name for part in parts if (name := f"{part}_labels.csv") in files]
    for name in tables:
        labels = {row.name: row.label for row in parts[name.removesuffix("_labels.csv")]}
        if (text := text_of(files, read, name, problems)) is not None:
            compare(name, text, labels, number, problems)
    return tables


def _named_apart(rows: dict[str, list[Row]]) -> dict[str, list[Row]]:
    """The rows, called by their paths where two have one name."""
    found = [row.name for part in rows.values() for row in part]
    if len(set(found)) == len(found):
        return rows
    return {split: [row._replace(name=row.path) for row in part] for split, part in rows.items()}


def splits_of(parts: dict[str, list[Row]], notes: list[str]) -> dict[str, list[Row]]:
    """The parts with a test set: val, where there is no other."""
    if "test" not in parts and "val" in parts:
        notes.append("val is the test set")
        parts = {("test" if part == "val" else part): rows for part, rows in parts.items()}
    return {"train": [], "test": [], **parts}


def named(names: tuple[str, ...], numbers: dict[str, int], hint: str) -> list[str]:
    """What is to be said of classes that are not RAF-DB's seven, or that are not called by their names."""
    notes = []
    if any(word.isdigit() for word in numbers):
        known = all(map(expression, names))
        notes.append(f"numbers read as {whose(hint).NAME}'s" if known else f"numbers by {LIST}")
    for number, name in enumerate(names, 1):
        words = [word for word in numbers if numbers[word] == number]
        if len(words) > 1:
            notes.append(f"{' and '.join(words)} are one class, {name}")
    if names != CLASS_NAMES:
        known = all(expression(name) == name for name in names)
        notes.append(f"{len(names)} classes{'' if known else ', called as they are labelled'}")
    return notes


def by_list(files: dict[str, Stamp], read: Read) -> Found:
    """The official release: labels from its list."""
    problems: Problems = defaultdict(list)
    rows: dict[str, list[Row]] = {"train": [], "test": []}
    stamps = {path.rpartition("/")[2]: stamp for path, stamp in files.items() if path.startswith(ALIGNED)}
    stamps = {name: stamp for name, stamp in stamps.items() if not ignored(name)}
    listed: set[str] = set()
    if not stamps:
        problems[ALIGNED].append(f"{ALIGNED} has no images; unpack the release's aligned.zip there")
        return Found(rows, CLASS_NAMES, problems, [])
    for number, line in enumerate((text_of(files, read, LABEL_FILE, problems) or "").splitlines(), 1):
        cells, where = line.split(), f"{LABEL_FILE}, line {number}"
        if not cells:
            continue
        name = f"{PurePosixPath(cells[0]).stem.removesuffix('_aligned')}_aligned.jpg"
        split, of = name.split("_")[0], int(cells[-1]) if cells[-1] in tuple("1234567") else None
        if len(cells) != 2 or split not in rows or of is None:
            problems["lines"].append(
                f"{where}: {line[:60]!r} is not a train_ or test_ image and a label 1..7"
            )
        elif name in listed:
            problems["twice"].append(f"{where}: {cells[0]} is listed twice")
        elif name not in stamps:
            problems["no image"].append(f"{where}: there is no {ALIGNED}/{name[:60]}")
        else:
            rows[split].append(Row(name, f"{ALIGNED}/{name}", of, stamps[name]))
        listed.add(name)
    check_files((row for part in rows.values() for row in part), problems)
    problems["no line"] += [f"{ALIGNED}/{n}: has no line in {LABEL_FILE}" for n in stamps if n not in listed]
    check_classes(rows, CLASS_NAMES, read, problems, whole=True)
    return Found(rows, CLASS_NAMES, problems, [])


def text_of(files: dict[str, Stamp], read: Read, name: str, problems: Problems) -> str | None:
    """A table's text; None where there is none, or where it cannot be read, and a problem."""
    if name not in files:
        return None
    try:
        if files[name] is None:
            raise OSError("is not a file")
        return read(name).decode("utf-8-sig")
    except UnicodeDecodeError:
        reason = "is not a text file in UTF-8"
    except OSError as error:
        reason = error.strerror or str(error)
    problems[name].append(f"{name}: {reason.removeprefix(f'{name} ')}")
    return None


def _same_names(rows: list[Row], read: Read | None) -> list[list[Row]]:
    """Rows of one name, where a table must tell them apart (read is None) or their bytes are the same."""
    groups: dict[object, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.name, read and row.stamp and row.stamp[0]].append(row)  # the size, or a zip's checksum
    twice = [sorted(group) for group in groups.values() if len(group) > 1]
    if read is None:
        return twice
    contents: dict[object, list[Row]] = defaultdict(list)
    for row in (row for group in twice for row in group if row.stamp):
        with contextlib.suppress(OSError):  # it gets its sentence when it is decoded
            contents[row.name, read(row.path)].append(row)
    return [group for group in contents.values() if len(group) > 1]


def check_files(rows: Iterable[Row], problems: Problems) -> None:
    for row in rows:
        if row.stamp is None:
            problems["no file"].append(f"{row.path}: is not a file")
        if not row.name.lower().endswith(SUFFIXES):
            problems["suffix"].append(f"{row.path}: is not named as a JPEG or PNG image")


def check_classes(
    rows: dict[str, list[Row]], names: tuple[str, ...], read: Read, problems: Problems, *, whole: bool
) -> None:
    """Sort the rows by name, and add what follows from other problems: classes without an image in train, or,
    of a `whole` dataset, in any split. Where there are problems, say at once what decoding would say next:
    images of another size.
    """
    for split, part in rows.items():
        part.sort()
        labels = {row.label for row in part}
        if not part:
            problems["no split"].append(f"{split}: has no images")
        elif whole or split == "train":
            problems["no class"] += [
                f"{split}: class {number} ({name}) has no image"
                for number, name in enumerate(names, 1)
                if number not in labels
            ]
    if len(names) == 1:
        problems["one class"].append(f"all images are of the class {names[0]}; two are needed")
    first = next((row for row in rows["train"] + rows["test"] if row.name.lower().endswith(SUFFIXES)), None)
    if first and any(problems.values()):
        with contextlib.suppress(OSError, Unusable), opened(read(first.path)) as image:
            if image.size != (SIDE, SIDE):
                size = f"{image.width} x {image.height} pixels, not {SIDE} x {SIDE}"
                problems["size"].append(f"{first.path}: is {size}; --face-size {SIDE} takes any size")
