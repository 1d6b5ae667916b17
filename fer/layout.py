"""What lies on disk: finds RAF-DB in a folder or a .zip, in either layout, and lists its images with their
labels.

Kaggle mirror:    DATASET/{train,test}/{1..7}/<image>.jpg, train_labels.csv, test_labels.csv (image,label)
Official release: basic/Image/aligned/<image>.jpg, basic/EmoLabel/list_patition_label.txt ("train_00001.jpg
5")
"""

import csv
import io
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from fer.errors import UserError, first_ten

LABEL_FILE = "EmoLabel/list_patition_label.txt"  # the release spells it so
ALIGNED = "Image/aligned"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
MAX_FILES, MAX_BYTES = 2 * 15_341, 100 << 20  # twice RAF-DB's files; its zip unpacks to 39 MB

TREE = """  raf-db-dataset/                      or raf-db-dataset.zip with the same inside
    DATASET/train/1/ ... DATASET/train/7/
    DATASET/test/1/  ... DATASET/test/7/
    train_labels.csv  test_labels.csv
  or the official release: basic/Image/aligned/ and basic/EmoLabel/list_patition_label.txt"""


class Row(NamedTuple):
    """One image: its file name, where it lies in the tree, its label 1..7, and a stamp that changes with
    it.
    """

    name: str
    path: str
    label: int
    stamp: tuple[int, int]  # size and modification time (folder) or checksum (zip)


class Source(NamedTuple):
    """A found dataset: how it is laid out, its rows by official split, and how to read one file's bytes."""

    layout: str
    root: Path
    rows: dict[str, list[Row]]
    read: Callable[[str], bytes]


def find(path: str | Path) -> Source:
    """The dataset at `path`, one level above it, or one level below.

    Raises UserError where there is none, where two layouts stand side by side, or where labels and files
    disagree.
    """
    path = Path(path).expanduser()
    if not path.exists() and path.with_name(path.name + ".zip").is_file():
        path = path.with_name(path.name + ".zip")
    if path.is_file():
        if not zipfile.is_zipfile(path):
            raise UserError(f"{path} is a file but not a .zip; name RAF-DB's folder or its zip.")
        return _from_zip(path)
    near = [path]
    if path.is_dir():
        near += sorted(p for p in path.iterdir() if p.is_dir())
        if path.resolve().name in ("DATASET", "basic", "EmoLabel", "Image", "train", "test"):
            near += list(path.resolve().parents[:2])
    for root in near:
        kaggle, official = (root / "DATASET").is_dir(), _official_root(root)
        if kaggle and official:
            raise UserError(
                f"{root} holds both the Kaggle layout (DATASET/) and the official one ({official}); "
                "keep one of them, or name the folder of one with --data."
            )
        if kaggle:
            return _read_kaggle(
                f"Kaggle layout, folder {root}", root, _walk(root, "DATASET"), _folder_reader(root)
            )
        if official:
            return _read_official(official)
    zips = sorted(path.glob("*.zip")) if path.is_dir() else []
    if len(zips) == 1:
        return _from_zip(zips[0])
    state = "has no RAF-DB in it" if path.exists() else "does not exist"
    raise UserError(
        f"{path.absolute()} {state}. Expected there:\n{TREE}\nThree ways out: run setup_dataset.ipynb, which "
        "fetches it; or download the zip of kaggle.com/datasets/shuvoalok/raf-db-dataset by hand and put it here "
        "as raf-db-dataset.zip; or train on drawn faces with --data synthetic."
    )


def check_zip(archive: zipfile.ZipFile) -> None:
    """Refuse, with UserError, a zip that is not what RAF-DB's is: odd names, links, duplicates, too much of
    it.
    """
    infos = archive.infolist()
    seen = Counter(info.filename for info in infos)
    problems = [f"{name}: stands there {n} times" for name, n in seen.items() if n > 1]
    for info in infos:
        name = info.filename
        if name.startswith(("/", "\\")) or ":" in name or "\\" in name or ".." in PurePosixPath(name).parts:
            problems.append(f"{name!r}: the name leads out of the folder")
        elif (info.external_attr >> 16) & 0o170000 == 0o120000:
            problems.append(f"{name}: is a link")
        elif info.flag_bits & 1:
            problems.append(f"{name}: is encrypted")
    if len(infos) > MAX_FILES:
        problems.append(f"{len(infos):,} entries; RAF-DB has 15,341")
    if (total := sum(info.file_size for info in infos)) > MAX_BYTES:
        problems.append(f"unpacks to {total / 2**20:,.0f} MiB; RAF-DB unpacks to 37 MiB")
    if problems:
        raise UserError(
            f"{archive.filename} is not a zip to trust, {len(problems):,} things are wrong:\n"
            f"{first_ten(problems)}\nFetch RAF-DB's zip again."
        )


def _from_zip(path: Path) -> Source:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{path} cannot be read as a zip ({error}); download it again.") from None
    check_zip(archive)
    infos = {info.filename: info for info in archive.infolist() if not info.is_dir()}
    prefixes = {name.split("DATASET/")[0] for name in infos if "DATASET/" in name}
    if len(prefixes) != 1:
        raise UserError(f"{path} does not hold RAF-DB in the Kaggle layout; expected in it:\n{TREE}")
    prefix = prefixes.pop()
    files = {n.removeprefix(prefix): (i.file_size, i.CRC) for n, i in infos.items() if n.startswith(prefix)}

    def read(name: str) -> bytes:
        try:
            return archive.read(prefix + name)
        except (zipfile.BadZipFile, NotImplementedError, EOFError, zlib.error) as error:
            raise OSError(f"the zip is damaged there: {error}") from None

    return _read_kaggle(f"Kaggle layout, zip {path}", path, files, read)


def _folder_reader(root: Path) -> Callable[[str], bytes]:
    return lambda name: (root / name).read_bytes()


def _walk(root: Path, top: str) -> dict[str, tuple[int, int]]:
    """Every file under root/top as posix path -> (size, mtime in ns), and the two CSVs beside it."""
    files: dict[str, tuple[int, int]] = {}
    folders = [top]
    while folders:
        folder = folders.pop()
        with os.scandir(root / folder) as entries:
            for entry in entries:
                name = f"{folder}/{entry.name}"
                if entry.is_dir():
                    folders.append(name)
                else:
                    stat = entry.stat()
                    files[name] = (stat.st_size, stat.st_mtime_ns)
    for csv_name in ("train_labels.csv", "test_labels.csv"):
        if (root / csv_name).is_file():
            files[csv_name] = (0, 0)
    return files


def _official_root(root: Path) -> Path | None:
    return next((p for p in (root, root / "basic") if (p / LABEL_FILE).is_file()), None)


def _text(read: Callable[[str], bytes], name: str) -> str:
    try:
        return read(name).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{name} is not a text file; fetch RAF-DB again.") from None


def _label(text: str) -> int | None:
    return int(text) if text.strip() in "1234567" and len(text.strip()) == 1 else None


def _read_kaggle(layout: str, root: Path, files: dict, read: Callable[[str], bytes]) -> Source:
    rows: dict[str, list[Row]] = {"train": [], "test": []}
    problems: list[str] = []
    for path, stamp in sorted(files.items()):
        parts = path.split("/")
        if parts[0] != "DATASET" or parts[-1].startswith(".") or parts[-1] == "Thumbs.db":
            continue
        if len(parts) != 4 or parts[1] not in rows or _label(parts[2]) is None:
            problems.append(f"{path}: is not in DATASET/train/1..7 or DATASET/test/1..7")
        elif not parts[3].lower().endswith(IMAGE_SUFFIXES):
            problems.append(f"{path}: is not named as a JPEG or PNG image")
        else:
            rows[parts[1]].append(Row(parts[3], path, int(parts[2]), stamp))
    for split, found in rows.items():
        labels = {row.name: row.label for row in found}
        problems += [
            f"DATASET/{split}: {name} stands in {n} class folders"
            for name, n in Counter(row.name for row in found).items()
            if n > 1
        ]
        problems += _compare(f"{split}_labels.csv", labels, files, read)
    return _checked(Source(layout, root, rows, read), problems)


def _compare(name: str, labels: dict[str, int], files: dict, read: Callable[[str], bytes]) -> list[str]:
    """What disagrees between the CSV `name` and the class folders."""
    if name not in files:
        return [f"{name}: is missing beside DATASET/"]
    table = csv.reader(io.StringIO(_text(read, name)))
    problems: list[str] = []
    listed: set[str] = set()
    try:
        if [cell.strip() for cell in next(table, [])] != ["image", "label"]:
            return [f"{name}, line 1: is not 'image,label'"]
        for cells in table:
            where = f"{name}, line {table.line_num}"
            if not cells:
                continue
            if len(cells) != 2 or _label(cells[1]) is None:
                problems.append(f"{where}: {','.join(cells)[:60]!r} is not an image name and a label 1..7")
                continue
            if cells[0] in listed:
                problems.append(f"{where}: {cells[0]} stands there twice")
            elif cells[0] not in labels:
                problems.append(f"{where}: there is no image {cells[0][:60]!r}")
            elif labels[cells[0]] != int(cells[1]):
                problems.append(
                    f"{where}: {cells[0]} has label {cells[1]} but lies in folder {labels[cells[0]]}"
                )
            listed.add(cells[0])
    except csv.Error as error:
        return [*problems, f"{name}, line {table.line_num}: {error}"]
    return problems + [f"{name}: has no row for image {image}" for image in labels if image not in listed]


def _read_official(root: Path) -> Source:
    read = _folder_reader(root)
    folder = root / ALIGNED
    stamps = (
        {e.name: (e.stat().st_size, e.stat().st_mtime_ns) for e in os.scandir(folder)}
        if folder.is_dir()
        else {}
    )
    rows: dict[str, list[Row]] = {"train": [], "test": []}
    problems = [] if stamps else [f"{ALIGNED}: the folder of aligned images is missing or empty"]
    listed: set[str] = set()
    for number, line in enumerate(_text(read, LABEL_FILE).splitlines(), 1):
        cells, where = line.split(), f"{LABEL_FILE}, line {number}"
        if not cells:
            continue
        split = cells[0].split("_")[0]
        if len(cells) != 2 or split not in rows or _label(cells[1]) is None:
            problems.append(f"{where}: {line[:60]!r} is not a train_ or test_ image and a label 1..7")
            continue
        stem = PurePosixPath(cells[0]).stem
        name = next((n for n in (f"{stem}_aligned.jpg", cells[0]) if n in stamps), None)
        if name is None:
            problems.append(f"{where}: there is no {ALIGNED}/{stem[:60]}_aligned.jpg")
        elif name in listed:
            problems.append(f"{where}: {cells[0]} stands there twice")
        else:
            listed.add(name)
            rows[split].append(Row(name, f"{ALIGNED}/{name}", int(cells[1]), stamps[name]))
    problems += [
        f"{ALIGNED}/{name}: has no line in {LABEL_FILE}"
        for name in sorted(stamps)
        if name not in listed and name.lower().endswith(IMAGE_SUFFIXES)
    ]
    for split in rows.values():
        split.sort()
    return _checked(Source(f"official layout, folder {root}", root, rows, read), problems)


def _checked(source: Source, problems: list[str]) -> Source:
    for split, rows in source.rows.items():
        counts = Counter(row.label for row in rows)
        problems += [f"{split}: class {label} has no image" for label in range(1, 8) if not counts[label]]
    if problems:
        raise UserError(
            f"{source.root} is not RAF-DB as it should be, {len(problems):,} problems:\n"
            f"{first_ten(problems)}\nFetch it again with setup_dataset.ipynb, or mend these files."
        )
    return source
