"""What lies on disk: finds RAF-DB in a folder or a .zip, in either layout, and lists its images and labels.

Kaggle mirror:    DATASET/{train,test}/{1..7}/<image>.jpg, train_labels.csv, test_labels.csv (image,label)
Official release: basic/Image/aligned/<image>.jpg, basic/EmoLabel/list_patition_label.txt (train_00001.jpg 5)
"""

import csv
import functools
import io
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ferlab.data.archive import MAX_FILE, open_zip
from ferlab.data.rafdb import CLASS_NAMES
from ferlab.errors import UserError, first_ten

LABEL_FILE = "EmoLabel/list_patition_label.txt"  # the release spells it so
ALIGNED = "Image/aligned"
SUFFIXES = (".jpg", ".jpeg", ".png")

TREE = """  raf-db-dataset/                      or raf-db-dataset.zip with the same inside
    DATASET/train/1/ ... DATASET/train/7/
    DATASET/test/1/  ... DATASET/test/7/
    train_labels.csv  test_labels.csv
  or the official release: basic/Image/aligned/ and basic/EmoLabel/list_patition_label.txt"""


class Row(NamedTuple):
    """One image: its name, where it lies in the tree, its label 1..7, and a stamp that changes with it."""

    name: str
    path: str
    label: int
    stamp: tuple[int, ...] | None  # None: not a regular file


class Source(NamedTuple):
    """A found dataset: its layout in words, its rows by official split, and how to read one file's bytes."""

    layout: str
    root: Path
    drawn: bool
    rows: dict[str, list[Row]]
    read: Callable[[str], bytes]

    @property
    def remedy(self) -> str:
        """A sentence on what to do when something in it is wrong."""
        if self.drawn:
            return (
                f"These are drawn faces: remove {self.root} and type python -m ferlab.synthetic.dataset "
                f"{self.root}"
            )
        return f"Mend these files, or remove {self.root} and fetch RAF-DB again with setup_dataset.ipynb."


def find(path: str | Path) -> Source:
    """The dataset at `path`, one level below it, or around it where `path` names a folder inside of one.

    Raises UserError where there is none or more than one, and where labels and files disagree.
    """
    try:
        return _find(Path(os.path.expanduser(path)))
    except OSError as error:
        raise UserError(
            f"{error.filename or path} cannot be read ({error.strerror or error}); check the path and your "
            "rights there, or fetch RAF-DB again with setup_dataset.ipynb."
        ) from None


@functools.cache
def is_drawn(path: str) -> bool:
    """Whether `path`, or the word synthetic, means drawn faces. Looked up once. UserError as in `find`."""
    return path == "synthetic" or find(path).drawn


def _find(path: Path) -> Source:
    if os.path.isfile(path):
        return _read_zip(path)
    zips = [Path(f"{path}.zip")] if os.path.isfile(f"{path}.zip") else []
    hint = ""
    if os.path.isdir(path):
        below = [root for child in sorted(path.iterdir()) for root in _roots(child)]
        for roots in (_roots(path), below, _around(path.resolve())):
            if len(roots) > 1:
                listed = "\n".join(f"  {root} ({read.__doc__})" for read, root in roots)
                raise UserError(
                    f"{path} holds more than one dataset:\n{listed}\nKeep one of them there, or "
                    "name one by its own folder with --data."
                )
            if roots:
                read, root = roots[0]
                return read(root)
        zips = sorted(path.glob("*.zip")) or zips
        if os.path.isdir(path / "train"):
            hint = "\nThere is a train/, but no DATASET/ around it: move train/ and test/ into DATASET/."
    if len(zips) == 1:
        return _read_zip(zips[0])
    if zips:
        raise UserError(f"{path} holds {len(zips)} zips; name one with --data, such as {zips[0]}.")
    state = "has no RAF-DB in it" if os.path.exists(path) else "does not exist"
    raise UserError(
        f"{path.absolute()} {state}.{hint}\nExpected there:\n{TREE}\nThree ways out: run "
        "setup_dataset.ipynb, which fetches it; or download the zip of kaggle.com/datasets/shuvoalok/"
        "raf-db-dataset by hand and put it here as raf-db-dataset.zip; or train on drawn faces with "
        "--data synthetic."
    )


def _roots(folder: Path) -> list[tuple[Callable[[Path], Source], Path]]:
    """The datasets right in `folder`: the function that reads each, and the path to give to it."""
    kaggle = [(_read_kaggle_folder, folder)] if os.path.isdir(folder / "DATASET") else []
    official = [(_read_official, p) for p in (folder, folder / "basic") if os.path.isfile(p / LABEL_FILE)]
    return kaggle + official


def _around(inside: Path) -> list[tuple[Callable[[Path], Source], Path]]:
    """The dataset that the folder `inside` is a part of."""
    parts = {"DATASET": _read_kaggle_folder, "Image": _read_official, "EmoLabel": _read_official}
    for parent in inside.parents[:2]:
        root = (parts.get(inside.relative_to(parent).parts[0]), parent)
        if root in _roots(parent):
            return [root]
    return []


def _stamp(stat: os.stat_result) -> tuple[int, ...]:
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns  # ctime moves even where mtime is set back


def _list(folder: Path) -> dict[str, tuple[int, ...] | None]:
    """Name -> stamp of what is in `folder`; None for what is no regular file: reading a pipe would hang."""
    with os.scandir(folder) as entries:
        return {e.name: _stamp(e.stat()) if e.is_file() else None for e in entries if not _ignored(e.name)}


def _ignored(name: str) -> bool:
    """Whether a file browser left it there."""
    return name.startswith(".") or name in ("Thumbs.db", "desktop.ini")


def _reader(root: Path) -> Callable[[str], bytes]:
    def read(name: str) -> bytes:
        with open(root / name, "rb") as file:
            data = file.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise OSError(f"{name} is larger than {MAX_FILE >> 20} MiB")
        return data

    return read


def _text(read: Callable[[str], bytes], name: str) -> str:
    try:
        return read(name).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise OSError(f"{name} is not a text file in UTF-8") from None


def _label(text: str) -> int | None:
    return int(text) if text in tuple("1234567") else None


def _read_zip(path: Path) -> Source:
    crcs, read = open_zip(path)
    files = {name: crc for name, crc in crcs.items() if not name.startswith("__MACOSX/")}
    tops = {("/" + name).partition("/DATASET/")[0] for name in files if "/DATASET/" in "/" + name}
    if len(tops) != 1:
        state = f"has {len(tops)} folders named DATASET"
        if any(name.endswith(LABEL_FILE) for name in files):
            state = "has the official layout, which is read from a folder: unpack it and name that"
        raise UserError(f"{path} {state}. Expected in a zip:\n{TREE}")
    prefix = f"{tops.pop()}/"[1:]
    stamp = _stamp(os.stat(path))
    files = {n.removeprefix(prefix): (crc, *stamp) for n, crc in files.items() if n.startswith(prefix)}
    return _read_kaggle(f"Kaggle layout, zip {path}", path, files, lambda name: read(prefix + name))


def _read_kaggle_folder(root: Path) -> Source:
    """Kaggle layout"""
    files = _list(root)
    folders = ["DATASET"]
    for folder in folders:  # grows while it is read, down to the class folders
        for name, stamp in _list(root / folder).items():
            path = f"{folder}/{name}"
            if stamp is None and path.count("/") < 3 and os.path.isdir(root / path):
                folders.append(path)
            else:
                files[path] = stamp
    return _read_kaggle(f"Kaggle layout, folder {root}", root, files, _reader(root))


def _read_kaggle(layout: str, root: Path, files: dict, read: Callable[[str], bytes]) -> Source:
    rows: dict[str, list[Row]] = {"train": [], "test": []}
    numbers = {name[:3].lower(): label for label, name in enumerate(CLASS_NAMES, 1)}  # happy as happiness
    strays: Counter = Counter()
    named: dict[str, int] = {}
    for path, stamp in files.items():
        parts = path.split("/")
        if parts[0] != "DATASET" or len(parts) == 1 or _ignored(parts[-1]):
            continue
        if len(parts) == 4 and parts[1] in rows and _label(parts[2]):
            rows[parts[1]].append(Row(parts[3], path, int(parts[2]), stamp))
        elif len(parts) == 4 and (label := numbers.get(parts[2][:3].lower())):
            named[parts[2]] = label
        else:
            strays["/".join(parts[:3])] += 1
    if named:
        renames = ", ".join(f"{folder} to {label}" for folder, label in sorted(named.items()))
        raise UserError(
            f"{root} names its class folders, and RAF-DB numbers them: in DATASET/train and "
            f"DATASET/test rename {renames}."
        )
    problems = [
        f"{path}: not in DATASET/train/1..7 or DATASET/test/1..7 (files: {n:,})"
        for path, n in sorted(strays.items())
    ]
    for split, found in rows.items():
        folders = Counter(row.name for row in found)
        problems += [
            f"DATASET/{split}: {name} stands in {n} class folders" for name, n in folders.items() if n > 1
        ]
        problems += _compare(f"{split}_labels.csv", {row.name: row.label for row in found}, files, read)
    return _checked(Source(layout, root, "drawn.json" in files, rows, read), problems)


def _compare(name: str, labels: dict[str, int], files: dict, read: Callable[[str], bytes]) -> list[str]:
    """What disagrees between the CSV `name` and the class folders."""
    if not files.get(name):
        return [f"{name}: is missing beside DATASET/"]
    table = csv.reader(io.StringIO(_text(read, name), newline=None))  # any line ends
    problems: list[str] = []
    listed: set[str] = set()
    try:
        header = next(table, [])
        if [cell.strip() for cell in header] != ["image", "label"]:
            return [f"{name}, line 1: is {','.join(header)[:60]!r}, not 'image,label'"]
        for cells in filter(None, table):
            where, image = f"{name}, line {table.line_num}", cells[0].strip()
            label = _label(cells[1].strip()) if len(cells) == 2 else None
            if label is None:
                problems.append(f"{where}: {','.join(cells)[:60]!r} is not an image name and a label 1..7")
            elif image in listed:
                problems.append(f"{where}: {image} stands there twice")
            elif image not in labels:
                problems.append(f"{where}: there is no image {image[:60]!r}")
            elif labels[image] != label:
                problems.append(f"{where}: {image} has label {label} but lies in folder {labels[image]}")
            listed.add(image)
    except csv.Error as error:
        return [*problems, f"{name}, line {table.line_num}: {error}"]
    return problems + [f"{name}: has no row for image {image}" for image in labels if image not in listed]


def _read_official(root: Path) -> Source:
    """official layout"""
    read = _reader(root)
    stamps = _list(root / ALIGNED) if os.path.isdir(root / ALIGNED) else {}
    rows: dict[str, list[Row]] = {"train": [], "test": []}
    if not stamps:
        raise UserError(f"{root / ALIGNED} has no images; unpack the release's aligned.zip there.")
    problems: list[str] = []
    listed: set[str] = set()
    for number, line in enumerate(_text(read, LABEL_FILE).splitlines(), 1):
        cells, where = line.split(), f"{LABEL_FILE}, line {number}"
        if not cells:
            continue
        name = f"{PurePosixPath(cells[0]).stem.removesuffix('_aligned')}_aligned.jpg"
        split, label = name.split("_")[0], _label(cells[-1])
        if len(cells) != 2 or split not in rows or label is None:
            problems.append(f"{where}: {line[:60]!r} is not a train_ or test_ image and a label 1..7")
        elif name in listed:
            problems.append(f"{where}: {cells[0]} stands there twice")
        elif name not in stamps:
            problems.append(f"{where}: there is no {ALIGNED}/{name[:60]}")
        else:
            rows[split].append(Row(name, f"{ALIGNED}/{name}", label, stamps[name]))
        listed.add(name)
    problems += [f"{ALIGNED}/{name}: has no line in {LABEL_FILE}" for name in stamps if name not in listed]
    drawn = os.path.isfile(root / "drawn.json")
    return _checked(Source(f"official layout, folder {root}", root, drawn, rows, read), problems)


def _checked(source: Source, problems: list[str]) -> Source:
    """`source` with its rows in the order of their names, in any layout; UserError if anything is wrong."""
    empty = []
    for split, rows in source.rows.items():
        rows.sort()
        labels = {row.label for row in rows}
        empty += [
            f"{split}: class {label} ({name}) has no image"
            for label, name in enumerate(CLASS_NAMES, 1)
            if label not in labels
        ]
        problems += [f"{row.path}: is not a file" for row in rows if row.stamp is None]
        problems += [
            f"{row.path}: is not named as a JPEG or PNG image"
            for row in rows
            if not row.name.lower().endswith(SUFFIXES)
        ]
    both = {row.name for row in source.rows["train"]} & {row.name for row in source.rows["test"]}
    problems = empty + problems + [f"{name}: stands in both train and test" for name in sorted(both)]
    if problems:
        raise UserError(
            f"{source.root} is not RAF-DB as it should be (problems: {len(problems):,}):\n"
            f"{first_ten(problems)}\n{source.remedy}"
        )
    return source
