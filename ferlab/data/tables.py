"""Faces that a table lists: images by their paths, or, as fer2013.csv has them, by their pixels.

found = by_table(files, read, ["labels.csv"], hint="my-faces")   # columns image, label, and split if there is
found, read = by_pixels(Path("fer2013.csv"))           # columns emotion, pixels, Usage, in any order
"""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from ferlab.data import fer2013
from ferlab.data.labels import EXPRESSIONS, LIST, classes
from ferlab.data.rows import (
    SPLITS,
    SUFFIXES,
    Found,
    Problems,
    Read,
    Row,
    Stamp,
    check_classes,
    check_files,
    named,
    splits_of,
    text_of,
)
from ferlab.data.splits import hold_out
from ferlab.errors import UserError
from ferlab.files import ignored, read_regular

COLUMNS = {  # what a column is for -> what it may be called
    "image": ("image", "path", "file", "filename", "file_name", "img", "image_path", "filepath"),
    "label": ("label", "labels", "emotion", "expression", "class"),
    "split": ("split", "usage", "set", "subset", "partition"),
    "pixels": ("pixels",),
}
MAX_TABLE = 1 << 30  # bytes; fer2013.csv has a third of that


def columns(text: str) -> dict[str, int]:
    """Where a table's header, the first line of `text`, has which of COLUMNS."""
    line = text.partition("\n")[0].lstrip("\ufeff")
    cells = [cell.strip().strip('"').lower() for cell in line.split(",")]
    return {
        use: next(i for i, cell in enumerate(cells) if cell in called)
        for use, called in COLUMNS.items()
        if any(cell in called for cell in cells)
    }


def header(path: Path) -> dict[str, int]:
    """`columns` of the table at `path`; none where it is no table, or cannot be read."""
    try:
        return columns(read_regular(path, limit=4096).decode("utf-8", "replace"))
    except OSError:
        return {}


def by_table(files: dict[str, Stamp], read: Read, tables: Sequence[str], *, hint: str = "") -> Found:
    """The images that the CSVs `tables` list, by their paths below the root, or by their names where those
    are unique. A row's split is the one that its column tells, else, of several tables, the one that a word
    in its table's name says; without either, a stratified fifth is the test set, by the hash of its name.
    """
    problems: Problems = defaultdict(list)
    below: dict[str, list[str]] = defaultdict(list)
    for path in files:
        below[PurePosixPath(path).name].append(path)
    listed: dict[str, tuple[str, str]] = {}  # path -> split, label
    for name in tables:
        words = {SPLITS[word] for word in re.split("[^a-z]+", name.lower()) if word in SPLITS}
        by_name = words.pop() if len(words) == 1 < len(tables) else ""
        table = _rows(text_of(files, read, name, problems) or "", name, problems)
        at = columns(",".join(next(table, (0, []))[1]))
        for line, cells in table:
            where = f"{name}, line {line}"
            image, label, split = (
                cells[at[key]].strip() if key in at and at[key] < len(cells) else ""
                for key in ("image", "label", "split")
            )
            image = image.replace("\\", "/").removeprefix("./")
            elsewhere = image.startswith("/") or image[1:2] == ":"  # a path of another machine
            same_name = below.get(PurePosixPath(image).name, []) if elsewhere or "/" not in image else []
            paths = [image] if image in files else same_name
            part = _split(split) or by_name
            if not image or not label:
                problems["lines"].append(f"{where}: has no image or no label")
            elif split and not part:
                problems["splits"].append(
                    f"{where}: {split[:30]!r} is none of the splits {', '.join(SPLITS)}"
                )
            elif len(paths) != 1:
                found = f"there are {len(paths)} images of that name" if paths else "there is no such image"
                problems["no image"].append(f"{where}: {image[:60]!r}: {found}")
            elif paths[0] in listed:
                problems["twice"].append(f"{where}: {image[:60]} is listed twice")
            else:
                listed[paths[0]] = part, label
    notes = [f"labels from {', '.join(tables)}"]
    if unlisted := sum(path.lower().endswith(SUFFIXES) and path not in listed for path in files):
        notes.append(f"images without a row, which are left out: {unlisted:,}")
    return _listed(listed, files, read, problems, notes, hint=hint)


def _rows(text: str, name: str, problems: Problems) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV that are not empty, each with the number of its line."""
    table = csv.reader(io.StringIO(text, newline=None), strict=True)
    try:
        for cells in filter(None, table):
            yield table.line_num, cells
    except csv.Error as error:
        problems[f"{name}: CSV"].append(f"{name}, line {table.line_num}: {error}")


def by_class(files: dict[str, Stamp], read: Read, *, hint: str = "") -> Found:
    """Labels from the folders that the images lie in, without folders for splits."""
    problems: Problems = defaultdict(list)
    pictures = [path for path in files if "/" in path and not ignored(PurePosixPath(path).name)]
    listed = {path: ("", path.partition("/")[0]) for path in pictures}
    return _listed(listed, files, read, problems, [], hint=hint)


def _listed(
    listed: dict[str, tuple[str, str]],
    files: dict[str, Stamp],
    read: Read,
    problems: Problems,
    notes: list[str],
    *,
    hint: str,
) -> Found:
    """What `listed` says, path -> split and label in words."""
    try:
        words = [label for _, label in listed.values()]
        names, number = classes(words, hint=hint, listed=text_of(files, read, LIST, problems) or "")
    except UserError as error:
        problems["labels"].append(str(error))
        return Found({"train": [], "test": []}, (), problems, [])
    rows: dict[str, list[Row]] = defaultdict(list)
    for path, (part, label) in listed.items():
        rows[part].append(Row(path, path, number[label], files[path]))
    return finish(rows, names, read, problems, [*notes, *named(names, number, hint)])


def _split(text: str) -> str:
    """train, val, test, or nothing for what is none of them."""
    return fer2013.USAGE.get(text.lower(), SPLITS.get(text.lower(), ""))


def finish(
    rows: dict[str, list[Row]], names: tuple[str, ...], read: Read, problems: Problems, notes: list[str]
) -> Found:
    """The rows as splits; of those under "", which have none, a fifth is the test set."""
    rows = {part: list(found) for part, found in rows.items()}
    if rest := rows.pop("", []):
        if rows:
            problems["splits"].append(f"{len(rest):,} images have no split, and others have one")
        rows = {**hold_out(rest), **rows}
        notes.append("no split in the data: a stratified fifth is the test set, by the hash of its name")
    rows = splits_of(rows, notes)
    check_files((row for part in rows.values() for row in part), problems)
    check_classes(rows, names, read, problems, whole=False)
    return Found(rows, names, problems, notes)


def _cell(cells: list[bytes], at: dict[str, int], use: str) -> str:
    """A cell's text without quotes; nothing where the table has no such column."""
    return cells[at[use]].strip(b'" ').decode("ascii", "replace") if use in at else ""


def by_pixels(path: Path) -> tuple[Found, Callable[[str], bytes]]:
    """fer2013.csv, or a table like it: a row has a label 0..6, its grey pixels, and whether it is for
    training, val (PublicTest) or test (PrivateTest). Each read gives one face as the bytes of a PNG.
    """
    at, problems, rows = header(path), defaultdict(list), defaultdict(list)
    places: dict[str, tuple[int, int]] = {}
    status = path.stat()
    with open(path, "rb") as file:
        position = len(file.readline())
        for number, line in enumerate(file, 1):
            cells = line.strip().split(b",")
            if len(cells) > max(at.values()):
                label, part = _cell(cells, at, "label"), _split(_cell(cells, at, "split"))
                name = f"{path.stem}_{number:05d}.png"
                if label not in tuple("0123456") or ("split" in at and not part):
                    problems["lines"].append(
                        f"{path.name}, line {number + 1}: is not a label 0..6 with a split, such as Training"
                    )
                else:
                    expression = EXPRESSIONS.index(fer2013.CLASS_NAMES[int(label)]) + 1
                    stamp = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, number)
                    rows[part].append(Row(name, name, expression, stamp))
                    places[name] = position, len(line)
            elif cells != [b""]:
                problems["lines"].append(f"{path.name}, line {number + 1}: has {len(cells)} columns")
            position += len(line)

    def read(name: str) -> bytes:
        start, length = places[name]
        with open(path, "rb") as file:
            file.seek(start)
            cells = file.read(length).strip().split(b",")
        try:
            pixels = np.array(cells[at["pixels"]].strip(b'" ').split(), dtype=np.int64)
            side = round(len(pixels) ** 0.5)
            if not len(pixels) or pixels.min() < 0 or pixels.max() > 255:
                raise ValueError
            image = Image.fromarray(pixels.reshape(side, side).astype(np.uint8))
        except ValueError:
            raise OSError("holds no square of pixels 0 to 255") from None
        image.save(png := io.BytesIO(), "PNG", compress_level=0)
        return png.getvalue()

    return finish(rows, EXPRESSIONS[:7], read, problems, []), read
