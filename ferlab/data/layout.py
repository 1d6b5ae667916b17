"""What lies on disk: finds faces in a folder or a .zip, in any of three layouts, and lists images and labels.

Kaggle mirror:    DATASET/{train,test}/{1..7}/<image>.jpg, train_labels.csv, test_labels.csv (image,label)
Official release: basic/Image/aligned/<image>.jpg, basic/EmoLabel/list_patition_label.txt (train_00001.jpg 5)
Folder per class: {train,test}/{happy,sad,...}/<image>.jpg, as FER2013 comes; numbers are RAF-DB's
"""

import contextlib
import functools
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ferlab.data.archive import MAX_FILE, foreign, open_zip
from ferlab.data.image_io import Unusable, opened
from ferlab.data.labels import label
from ferlab.data.rows import ALIGNED, LABEL_FILE, SPLITS, Row, by_folder, by_list, ignored
from ferlab.errors import UserError, first_of_each
from ferlab.files import read_regular

KAGGLE, OFFICIAL, FOLDERS = "Kaggle layout", "official layout", "a folder per class"
PARTS = {
    KAGGLE: ("dataset",),
    OFFICIAL: ("image", "emolabel"),
    FOLDERS: tuple(SPLITS),
}  # what each begins with
PACKED = (".csv", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
TREE = """  raf-db-dataset/                      or raf-db-dataset.zip with the same inside
    DATASET/train/1/ ... DATASET/train/7/
    DATASET/test/1/  ... DATASET/test/7/
    train_labels.csv  test_labels.csv
  or the official release: basic/Image/aligned/ and basic/EmoLabel/list_patition_label.txt
  or a folder per class:   train/happy/ ... and test/happy/ ..., or numbers as in DATASET"""


class Source(NamedTuple):
    """A found dataset: its layout in words, its rows by official split, and how to read one file's bytes."""

    layout: str
    root: Path
    drawn: bool
    rows: dict[str, list[Row]]
    read: Callable[[str], bytes]
    resize: bool = False  # whether squares of another size than RAF-DB's are taken, and scaled to it

    @property
    def remedy(self) -> str:
        """A sentence on what to do when something in it is wrong."""
        if self.drawn:
            return (
                f"These are drawn faces: remove {self.root} and type python -m ferlab.synthetic.dataset "
                f"{self.root}"
            )
        if self.layout.startswith(FOLDERS):
            return f"Fix these files in {self.root}."
        return f"Fix these files, or remove {self.root} and fetch RAF-DB again with setup_dataset.ipynb."

    def sizes(self) -> Counter[tuple[int, int]]:
        """How many images there are of each (width, height), by their headers; bad ones are left out."""
        found: Counter[tuple[int, int]] = Counter()
        for row in (row for rows in self.rows.values() for row in rows):
            try:
                with opened(self.read(row.path)) as image:
                    found[image.size] += 1
            except (OSError, Unusable):
                pass  # they get their sentence when they are decoded
        return found


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
    if os.path.isdir(path):
        below = [root for child in sorted(path.iterdir()) for root in _roots(child)]
        for roots in (_roots(path), below, _around(path.resolve())):
            if roots:
                return _read_folder(*_only(path, roots))
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
    packed = [file for file in sorted(path.iterdir()) if file.suffix.lower() in PACKED]
    hints = [f"{file.name} there {said}" for file in packed if (said := foreign(file))]
    folders = _folders(path)
    if classes := [name for name in folders if label(name)]:
        hints.append(f"Its class folders ({', '.join(classes[:3])}, ...) are not in train/ and test/.")
    elif splits := [name for name in folders if name.lower() in SPLITS]:
        hints.append(f"No folder in {splits[0]}/ is named by a class's number or name.")
    return " ".join(["has no RAF-DB in it.", *hints[:1]])


def _only(path: Path, roots: list[tuple[str, Path]]) -> tuple[str, Path]:
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
    if any(label(name) for split in folders if split.lower() in SPLITS for name in _folders(folder / split)):
        whole = folder.resolve()
        found.append((KAGGLE, whole.parent) if whole.name == "DATASET" else (FOLDERS, folder))
    return found


def _around(inside: Path) -> list[tuple[str, Path]]:
    """The dataset that the folder `inside` is a part of."""
    for parent in inside.parents[:2]:
        for kind, root in _roots(parent):
            if root in inside.parents and inside.relative_to(root).parts[0].lower() in PARTS[kind]:
                return [(kind, root)]
    return []


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns  # ctime moves even if mtime is set back


def _list(folder: Path) -> dict[str, tuple[int, ...] | None]:
    """Name -> stamp of what is in `folder`; None for what is no regular file: reading a pipe would hang."""
    with os.scandir(folder) as entries:
        return {e.name: _stamp(e.stat()) if e.is_file() else None for e in entries if not ignored(e.name)}


def _read_folder(kind: str, root: Path) -> Source:
    files = _list(root)
    if kind == OFFICIAL:
        folders = [name for name in ("EmoLabel", ALIGNED) if os.path.isdir(root / name)]
    elif kind == KAGGLE:
        folders = ["DATASET"]
    else:
        folders = [name for name in _folders(root) if name.lower() in SPLITS]
    files = {name: stamp for name, stamp in files.items() if name not in folders}
    depth = {KAGGLE: 3, FOLDERS: 2, OFFICIAL: 0}[kind]  # of what lies in a class folder
    for folder in folders:  # grows while it is read
        for name, stamp in _list(root / folder).items():
            path = f"{folder}/{name}"
            if stamp is None and path.count("/") < depth and os.path.isdir(root / path):
                folders.append(path)
            else:
                files[path] = stamp

    def read(name: str) -> bytes:
        data = read_regular(root / name, limit=MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise OSError(f"is larger than {MAX_FILE >> 20} MiB")
        return data

    return _checked(kind, "folder", root, files, read)


def _read_zip(path: Path) -> Source:
    crcs, read = open_zip(path)
    files = {name: crc for name, crc in crcs.items() if not name.startswith("__MACOSX/")}
    roots = set()
    for name in files:
        *folders, _ = parts = name.split("/")
        if "DATASET" in folders:
            roots.add((KAGGLE, name[: f"/{name}".index("/DATASET/")]))
        elif f"/{name}".endswith(f"/{LABEL_FILE}"):
            roots.add((OFFICIAL, name.removesuffix(LABEL_FILE)))
        elif len(folders) > 1 and folders[-2].lower() in SPLITS and label(folders[-1]):
            roots.add((FOLDERS, "".join(f"{part}/" for part in parts[:-3])))
    if not roots:
        raise UserError(f"{path} has no RAF-DB in it. Expected in a zip:\n{TREE}")
    kind, prefix = _only(path, sorted(roots))
    stamp = _stamp(os.stat(path))
    files = {n.removeprefix(prefix): (crc, *stamp) for n, crc in files.items() if n.startswith(prefix)}
    return _checked(kind, "zip", path, files, lambda name: read(prefix + name))


def _checked(kind: str, place: str, root: Path, files: dict, read: Callable[[str], bytes]) -> Source:
    if kind == OFFICIAL:
        rows, problems, notes = by_list(files, read)
    else:
        rows, problems, notes = by_folder(files, read, "DATASET/" if kind == KAGGLE else "")
    layout = f"{kind}, {place} {root}" + "".join(f", {note}" for note in notes)
    source = Source(layout, root, bool(files.get("drawn.json")), rows, read)
    if n := sum(map(len, problems.values())):
        raise UserError(
            f"{root} cannot be used as it is (problems: {n:,}):\n{first_of_each(problems)}\n{source.remedy}"
        )
    return source
