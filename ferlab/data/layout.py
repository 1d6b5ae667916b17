"""What lies on disk: finds faces in a folder, a .zip or a table, in any layout, and lists images and labels.

Kaggle mirror:    DATASET/{train,test}/{1..7}/<image>.jpg, train_labels.csv, test_labels.csv (image,label)
Official release: basic/Image/aligned/<image>.jpg, basic/EmoLabel/list_patition_label.txt (train_00001.jpg 5)
Folder per class: {train,test}/{happy,sad,...}/<image>.jpg, and val/ or valid/ where there is one; or
                  {happy,sad,...}/<image>.jpg alone, of which a fifth is the test set
Table:            a CSV with the columns image and label, and split if there is one; or fer2013.csv
"""

import contextlib
import functools
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, TypeVar

from ferlab.data import rafdb
from ferlab.data.archive import MAX_FILE, foreign, open_zip
from ferlab.data.labels import label
from ferlab.data.rows import ALIGNED, LABEL_FILE, SPLITS, SUFFIXES, Found, by_folder, by_list
from ferlab.data.source import CLASSES, FOLDERS, KAGGLE, OFFICIAL, TABLE, Source
from ferlab.data.tables import MAX_TABLE, by_class, by_pixels, by_table, columns, header
from ferlab.errors import UserError, first_of_each
from ferlab.files import ignored, listing, read_regular, stamp

T = TypeVar("T")
PARTS = {KAGGLE: ("dataset",), OFFICIAL: ("image", "emolabel"), FOLDERS: tuple(SPLITS)}  # how they begin
DEPTH = {KAGGLE: 3, OFFICIAL: 0, FOLDERS: 2, CLASSES: 1, TABLE: 6}  # slashes in the path of an image, at most
LARGE = 16 << 20  # bytes of an image that is not RAF-DB's
PACKED = (".csv", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
TREE = """  raf-db-dataset/                      or raf-db-dataset.zip with the same inside
    DATASET/train/1/ ... DATASET/train/7/
    DATASET/test/1/  ... DATASET/test/7/
    train_labels.csv  test_labels.csv
  or the official release: basic/Image/aligned/ and basic/EmoLabel/list_patition_label.txt
  or a folder per class:   train/happy/ ... and test/happy/ ..., or numbers as in DATASET
  or a table of images:    labels.csv with the columns image, label and, if you like, split; or fer2013.csv"""


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


_once = functools.cache(find)  # for what asks of each run in turn


def prefix(path: str) -> str:
    """What the names of runs on the data at `path` begin with, or on drawn faces where it is the word
    synthetic. Looked up once. UserError as in `find`.
    """
    return rafdb.prefix(rafdb.DRAWN if path == "synthetic" else _once(path).dataset)


@functools.cache
def val_hash(path: str) -> str:
    """What runs on the data at `path` have as split_hash in their metrics.json. As `prefix`."""
    return _once(path).val_hash


def _find(path: Path) -> Source:
    if os.path.isfile(path):
        return _read_table(path) if path.suffix.lower() == ".csv" else _read_zip(path)
    zips = [Path(f"{path}.zip")] if os.path.isfile(f"{path}.zip") else []
    if os.path.isdir(path):
        below = [root for child in sorted(path.iterdir()) for root in _roots(child)]
        for roots in (_roots(path), below, _around(path.resolve())):
            if roots:
                return _read_folder(*_only(path, roots))
        if len(pixels := _tables(path, "pixels")) == 1:
            return _read_table(path / pixels[0])
        if len(_classes(path)) > 1:
            return _read_folder(CLASSES, path)
        zips = sorted(p for p in path.glob("*.zip") if p.is_file()) or zips
    if len(zips) == 1:
        return _read_zip(zips[0])
    if zips:
        raise UserError(f"{path} holds {len(zips)} zips; name one with --data, such as {zips[0]}.")
    raise UserError(
        f"{path.absolute()} {_state(path)}\nExpected there:\n{TREE}\nThree ways out: run "
        "setup_dataset.ipynb, which fetches it; or download the zip of kaggle.com/datasets/shuvoalok/"
        "raf-db-dataset by hand and put it here as raf-db-dataset.zip; or train on drawn faces with "
        "--data synthetic."
    )


def _state(path: Path) -> str:
    """In words: what is at `path`, which is no dataset."""
    if not os.path.isdir(path):
        return "is neither a folder nor a file." if os.path.exists(path) else "does not exist."
    tables = [file.name for file in sorted(path.glob("*.csv"))]
    packed = [file for file in sorted(path.iterdir()) if file.suffix.lower() in PACKED]
    hints = [f"{file.name} there {said}" for file in packed if (said := foreign(file))]
    folders = _folders(path)
    if classes := [name for name in folders if label(name)]:
        hints.append(f"Its class folders ({', '.join(classes[:3])}, ...) are not in train/ and test/.")
    elif splits := [name for name in folders if name.lower() in SPLITS]:
        hints.append(f"No folder in {splits[0]}/ is named by a class's number or name.")
    elif tables:
        hints.append(f"{tables[0]} there has no columns image and label with commas between them.")
    return " ".join(["has no RAF-DB in it.", *hints[:1]])


def _only(path: Path, roots: list[tuple[str, T]]) -> tuple[str, T]:
    if len(roots) > 1:
        listed = "\n".join(f"  {root} ({kind})" for kind, root in roots[:7])
        raise UserError(
            f"{path} holds more than one dataset:\n{listed}\nKeep one of them there, or "
            "name one by its own folder with --data."
        )
    return roots[0]


def _folders(path: Path) -> list[str]:
    """Names of the folders in `path`; none where it is no folder or cannot be read."""
    with contextlib.suppress(OSError), os.scandir(path) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir())
    return []


def _roots(folder: Path) -> list[tuple[str, Path]]:
    """The layouts that are right in `folder`, each with its root."""
    folders = _folders(folder)
    found = [(OFFICIAL, p) for p in (folder, folder / "basic") if os.path.isfile(p / LABEL_FILE)]
    if "DATASET" in folders:
        found.append((KAGGLE, folder))
    inside = {split: _folders(folder / split) for split in folders if split.lower() in SPLITS}
    named = any(label(name) for names in inside.values() for name in names)
    if named or (
        len(inside) > 1 and all(inside.values()) and any(len(names) > 1 for names in inside.values())
    ):
        whole = folder.resolve()
        found.append((KAGGLE, whole.parent) if whole.name == "DATASET" else (FOLDERS, folder))
    return found or ([(TABLE, folder)] if _tables(folder, "image") else [])


def _tables(folder: Path, column: str) -> list[str]:
    """The CSVs in `folder` with a column of this use and one of labels, but for those that runs write."""
    with contextlib.suppress(OSError):
        names = sorted(name for name in os.listdir(folder) if name.lower().endswith(".csv"))
        written = ("predictions.csv", "degraded.csv")
        return [
            name
            for name in names
            if name not in written and {column, "label"} <= header(folder / name).keys()
        ]
    return []


def _classes(folder: Path) -> list[str]:
    """The folders in `folder` that hold pictures, but for those that are called as splits."""
    found = []
    for name in _folders(folder):
        with contextlib.suppress(OSError), os.scandir(folder / name) as entries:
            if (
                name.lower() not in SPLITS
                and not ignored(name)
                and any(entry.name.lower().endswith(SUFFIXES) for entry in entries)
            ):
                found.append(name)
    return found


def _around(inside: Path) -> list[tuple[str, Path]]:
    """The dataset that the folder `inside` is a part of."""
    for parent in inside.parents[:2]:
        for kind, root in _roots(parent):
            if root in inside.parents and inside.relative_to(root).parts[0].lower() in PARTS.get(kind, ()):
                return [(kind, root)]
    return []


def _read_folder(kind: str, root: Path, named: Sequence[str] = ()) -> Source:
    """`named` are the tables to read, where not all in `root` are meant."""
    files = listing(root)
    if kind == OFFICIAL:
        folders = [name for name in ("EmoLabel", ALIGNED) if os.path.isdir(root / name)]
    elif kind == KAGGLE:
        folders = ["DATASET"]
    elif kind == FOLDERS:
        folders = [name for name in _folders(root) if name.lower() in SPLITS]
    else:
        folders = [name for name in _folders(root) if not ignored(name)]
    files = {name: mark for name, mark in files.items() if name not in folders}
    for folder in folders:  # grows while it is read
        for name, mark in listing(root / folder).items():
            path = f"{folder}/{name}"
            if mark is None and path.count("/") < DEPTH[kind] and os.path.isdir(root / path):
                folders.append(path)
            else:
                files[path] = mark

    def read(name: str) -> bytes:
        limit = MAX_FILE if kind in (KAGGLE, OFFICIAL) else MAX_TABLE if name.endswith(".csv") else LARGE
        data = read_regular(root / name, limit=limit + 1)
        if len(data) > limit:
            raise OSError(f"is larger than {limit >> 20} MiB")
        return data

    tables = named or (_tables(root, "image") if kind == TABLE else [])
    if kind == TABLE and not named and len(classes := _classes(root)) > 1:
        _refuse_both(root, classes, tables[0], f"name {root / tables[0]}")
    return _checked(kind, "folder", root / named[0] if named else root, files, read, tables)


def _read_table(path: Path) -> Source:
    """The CSV that was named: of pixels, or of the images beside it."""
    found = header(path)
    if {"pixels", "label"} <= found.keys():
        return _source(f"a table of pixels, {path}", path, *by_pixels(path))
    if {"image", "label"} <= found.keys():
        return _read_folder(TABLE, path.parent, [path.name])
    raise UserError(f"{path} is not a table of faces: its first line must name the columns image and label.")


def _read_zip(path: Path) -> Source:
    crcs, read = open_zip(path)
    files = {name: crc for name, crc in crcs.items() if not name.startswith("__MACOSX/")}
    roots: set[tuple[str, str]] = set()  # each layout that is right, with the folder it begins in
    others: set[tuple[str, str]] = set()
    tables: dict[tuple[str, str], list[str]] = defaultdict(list)  # and the tables of images there
    for name in files:
        *folders, _ = parts = name.split("/")
        if "DATASET" in folders:
            roots.add((KAGGLE, name[: f"/{name}".index("/DATASET/")]))
        elif f"/{name}".endswith(f"/{LABEL_FILE}"):
            roots.add((OFFICIAL, name.removesuffix(LABEL_FILE)))
        elif len(folders) > 1 and folders[-2].lower() in SPLITS:
            kinds = roots if label(folders[-1]) else others
            kinds.add((FOLDERS, "".join(f"{part}/" for part in parts[:-3])))
        elif name.lower().endswith(".csv"):
            with contextlib.suppress(OSError):
                if {"image", "label"} <= columns(read(name)[:4096].decode("utf-8", "replace")).keys():
                    tables[TABLE, "".join(f"{part}/" for part in folders)].append(parts[-1])
    inside_of: dict[str, set[str]] = defaultdict(set)  # a folder -> the folders in it that hold pictures
    for parts in (name.split("/") for name in files if name.lower().endswith(SUFFIXES)):
        inside_of["".join(f"{part}/" for part in parts[:-2])].add("/".join(parts[-2:-1]))
    classes = {(CLASSES, folder) for folder, names in inside_of.items() if len(names) > 1}
    roots = roots or others or set(tables) or classes
    if not roots:
        raise UserError(f"{path} has no RAF-DB in it. Expected in a zip:\n{TREE}")
    kind, inside = _only(path, sorted(roots))
    mark = stamp(os.stat(path))
    found = {n.removeprefix(inside): (crc, *mark) for n, crc in files.items() if n.startswith(inside)}
    named = sorted(
        name for name in inside_of[inside] if name and not (name.lower() in SPLITS or ignored(name))
    )
    if kind == TABLE and len(named) > 1:
        _refuse_both(path, named, tables[kind, inside][0], "unpack it and name the table")
    return _checked(
        kind, "zip", path, found, lambda name: read(inside + name), tables.get((kind, inside), ())
    )


def _refuse_both(path: Path, classes: Sequence[str], table: str, advice: str) -> NoReturn:
    """Raise UserError where folders tell the classes, and a table does."""
    raise UserError(
        f"{path} holds folders that may be classes ({', '.join(classes[:3])}) and a table, {table}: "
        f"{advice} with --data, or take one of them away."
    )


def _checked(
    kind: str, place: str, root: Path, files: dict, read: Callable[[str], bytes], tables: Sequence[str]
) -> Source:
    hint = str(root.resolve())
    if kind == OFFICIAL:
        found = by_list(files, read)
    elif kind == TABLE:
        found = by_table(files, read, tables, hint=hint)
    elif kind == CLASSES:
        found = by_class(files, read, hint=hint)
    else:
        found = by_folder(files, read, "DATASET/" if kind == KAGGLE else "", hint=hint)
    return _source(f"{kind}, {place} {root}", root, found, read, drawn=bool(files.get("drawn.json")))


def _source(
    layout: str, root: Path, found: Found, read: Callable[[str], bytes], *, drawn: bool = False
) -> Source:
    """What was found; UserError where something is wrong with it."""
    layout += "".join(f", {note}" for note in found.notes)
    source = Source(layout, root, drawn, found.rows, read, found.class_names)
    if n := sum(map(len, found.problems.values())):
        raise UserError(
            f"{root} cannot be used as it is (problems: {n:,}):\n{first_of_each(found.problems)}\n"
            f"{source.remedy}"
        )
    return source
