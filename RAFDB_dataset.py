"""RAF-DB as tensors: files on disk -> uint8 images, labels and fixed splits.

from RAFDB_dataset import RAFDBDataset
train = RAFDBDataset("raf-db-dataset", "train")     # also "val" and "test"; train.images is (N, 3, 100, 100)

python RAFDB_dataset.py raf-db-dataset               # checks the data and says what was found
"""

import functools
import hashlib
import json
import os
import sys
import tempfile
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL.Image import Resampling
from torch.utils.data import Dataset

from ferlab.data import twins
from ferlab.data.image_io import Unusable, opened, upright
from ferlab.data.layout import Row, Source, find
from ferlab.data.rafdb import CLASS_NAMES
from ferlab.data.rafdb import COUNTS as KNOWN_COUNTS
from ferlab.errors import UserError, command, first_ten
from ferlab.files import locked, replace_file
from ferlab.synthetic.dataset import VERSION, draw_dataset

SIDE = 100  # pixels
MODES = ("RGB", "L", "CMYK", "P", "RGBA", "LA", "1")  # 8 bits a channel or fewer: Pillow makes RGB of them
CACHE_VERSION = 2


class RAFDBDataset(Dataset):
    """One split of RAF-DB: `images` uint8 (N, 3, 100, 100), `labels` int64 (N,) by CLASS_NAMES, and `names`.

    `root` is a folder or zip in either layout, the word "synthetic" for drawn faces, or what `open_source`
    gave. "val" is a fixed stratified share of the official training images, chosen by a hash of the file
    name: the same on every machine, in either layout and for every seed. `train_fraction` keeps a stratified
    share of "train"; a smaller share is part of every larger one. `skip_bad` leaves unreadable training
    images out and counts them in `skipped`; test images are never left out. Raises UserError with a count and
    the first ten where files, labels or images are not as they should be.
    """

    def __init__(
        self,
        root: str | Path | Source,
        split: Literal["train", "val", "test"],
        *,
        val_fraction: float = 0.1,
        train_fraction: float = 1.0,
        skip_bad: bool = False,
    ) -> None:
        if split not in ("train", "val", "test"):
            raise ValueError(f"split is {split!r}; it must be train, val or test")
        source = open_source(root)
        official = "test" if split == "test" else "train"
        rows = source.rows[official]
        images, bad = _decoded(source, official, skip_bad=skip_bad and official == "train")
        keep = [i for i in _members(rows, split, val_fraction, train_fraction) if i not in bad]
        self.split, self.layout, self.drawn, self.skipped = split, source.layout, source.drawn, len(bad)
        self.resize = source.resize
        self.listed = {
            name: tuple(np.bincount([row.label for row in part])[1:].tolist())
            for name, part in source.rows.items()
        }  # unreadable and held out ones too
        self.names = [rows[i].name for i in keep]
        self.labels = torch.tensor([rows[i].label - 1 for i in keep], dtype=torch.int64)
        if 0 in self.counts:
            raise UserError(
                f"without its {len(bad):,} unreadable images {source.root} has no "
                f"{CLASS_NAMES[self.counts.index(0)]} left in {split}. {source.remedy}"
            )
        self.images = torch.empty(len(keep), 3, SIDE, SIDE, dtype=torch.uint8)
        np.take(images, keep, axis=0, out=self.images.numpy(), mode="clip")  # "raise" would copy once more

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.images[index], int(self.labels[index])

    @property
    def counts(self) -> list[int]:
        """Images per class, in CLASS_NAMES' order."""
        return torch.bincount(self.labels, minlength=len(CLASS_NAMES)).tolist()

    @property
    def kind(self) -> str:
        """RAF-DB (by its known counts), drawn faces, or other data."""
        return "drawn faces" if self.drawn else "RAF-DB" if self.listed == KNOWN_COUNTS else "other data"

    @property
    def hash(self) -> str:
        """Names and labels of this split as 16 hexadecimal digits: equal splits, equal hash."""
        pairs = sorted(zip(self.names, self.labels.tolist()))
        return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()[:16]


def load_splits(options) -> tuple[RAFDBDataset, RAFDBDataset, RAFDBDataset | None]:
    """train, val and test, as the options of a run ask for them; no test set with --no-test.

    Raises UserError where the data are not as they should be: of several processes on one machine the first
    says why, the others that they end, too.
    """
    try:
        source = open_source(options.data)._replace(resize=options.resize)
        train = RAFDBDataset(
            source, "train", train_fraction=options.train_fraction, skip_bad=options.skip_bad
        )
        val = RAFDBDataset(source, "val", skip_bad=options.skip_bad)
        return train, val, RAFDBDataset(source, "test") if options.test else None
    except UserError as error:
        if os.environ.get("LOCAL_RANK", "0") == "0":
            raise
        raise UserError("process 0 could not go on, and says why.", code=error.code) from None


def describe(*splits: RAFDBDataset, same: dict[str, list] | None = None) -> str:
    """One line: layout, images per split and class, twins across the splits, and whether the official counts
    are RAF-DB's; and a note where val has twins in train. same: what twins.pairs found, if it was asked.
    """
    first = splits[0]
    known = {
        "RAF-DB": "RAF-DB's known counts",
        "drawn faces": "drawn faces, not RAF-DB",
        "other data": "NOT RAF-DB's known counts",
    }[first.kind]
    parts = [
        f"{s.split} {len(s):,} ({' '.join(f'{n[:2]}{c}' for n, c in zip(CLASS_NAMES, s.counts))})"
        for s in splits
    ]
    skipped = f"; {first.skipped:,} unreadable training images skipped" if first.skipped else ""
    resized = "; squares of other sizes scaled to 100 x 100" if first.resize else ""
    pairs = twins.pairs(*splits) if same is None else same
    found = {key: len(names) for key, names in pairs.items() if names}
    by_pixels = "".join(f"; the same by pixels: {n:,} images of {key}" for key, n in found.items())
    note = ""
    if "val in train" in found:
        note = "\nnote: val images are trained on, too, so val's numbers are too good"
    return f"data: {first.layout}: {' · '.join(parts)}{by_pixels}; {known}{resized}{skipped}{note}"


def open_source(root: str | Path | Source) -> Source:
    """The dataset at `root`, found and checked; "synthetic" draws one. Give the result to several splits."""
    if isinstance(root, Source):
        return root
    if str(root) != "synthetic":
        return find(root)
    folder = cache_folder() / f"drawn-faces-{VERSION}"
    try:
        with locked(folder.parent):
            return find(draw_dataset(folder))
    except (ValueError, OSError) as error:
        raise UserError(f"no faces could be drawn in {folder} ({error}); remove it or make room.") from None


def cache_folder() -> Path:
    """Where decoded and drawn images are kept: outside any repository, as RAF-DB is not to be passed on."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return _writable(Path(home) / "fer-rafdb")


@functools.cache  # so that a fallback is announced once
def _writable(folder: Path) -> Path:
    user = os.getuid() if hasattr(os, "getuid") else "user"
    fallback = Path(tempfile.gettempdir()) / f"fer-rafdb-{user}"
    for place in (folder, fallback):
        try:
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = place.stat()
            if user not in ("user", status.st_uid) and (place == fallback or status.st_mode & 0o002):
                also = "" if place == fallback else " and is open to all"
                raise PermissionError(13, f"it belongs to another user{also}")
            with tempfile.TemporaryFile(dir=place):
                return place
        except OSError as error:
            if place == fallback:
                raise UserError(
                    f"neither {folder} nor {fallback} can be used ({error.strerror}); set "
                    "XDG_CACHE_HOME to a folder that can."
                ) from None
            print(
                f"note: the cache folder {folder} cannot be used ({error.strerror}); using {fallback}",
                file=sys.stderr,
            )


def _members(rows: list[Row], split: str, val_fraction: float, train_fraction: float) -> list[int]:
    """Indices of `rows` that belong to the split, in the rows' order."""
    if split == "test":
        return list(range(len(rows)))
    kept: list[int] = []
    for label, class_name in enumerate(CLASS_NAMES, 1):
        ranked = _shuffled([i for i, row in enumerate(rows) if row.label == label], rows, "val")
        n_val = max(1, round(len(ranked) * val_fraction))
        if split == "val":
            kept += ranked[:n_val]
            continue
        rest = _shuffled(ranked[n_val:], rows, "train")
        if not rest:
            raise UserError(
                f"class {label} ({class_name}) has {len(ranked)} training images, too few to "
                f"give {val_fraction:g} of them to val; add images."
            )
        kept += rest[: max(1, round(len(rest) * train_fraction))]
    return sorted(kept)


def _shuffled(indices: list[int], rows: list[Row], salt: str) -> list[int]:
    """In the order of a hash of the names: no seed, no machine and no other image moves one."""
    return sorted(indices, key=lambda i: hashlib.sha256(f"{salt}:{rows[i].name}".encode()).digest())


def _decoded(source: Source, split: str, *, skip_bad: bool) -> tuple[np.ndarray, set[int]]:
    """All images of an official split, uint8 (N, 3, 100, 100), and the indices of the unreadable ones.

    From the cache, where it has them for just these names, labels, sizes and times, and its checksum fits.
    A split with unreadable images is not cached, so that they are named every time.
    """
    with locked(folder := cache_folder()):  # of several processes one decodes, the others read what it wrote
        return _cached(source, split, folder, skip_bad=skip_bad)


def _cached(source: Source, split: str, folder: Path, *, skip_bad: bool) -> tuple[np.ndarray, set[int]]:
    rows = source.rows[split]
    shape = (len(rows), 3, SIDE, SIDE)
    place = hashlib.sha256(os.fsencode(source.root.resolve())).hexdigest()[:12]
    key = hashlib.sha256(json.dumps([CACHE_VERSION, source.resize, rows]).encode()).hexdigest()[:24]
    for path in folder.glob(f"{place}-{split}-{key}-*.npy"):
        try:
            if not path.is_file():
                continue
            images = np.load(path, mmap_mode="r", allow_pickle=False)
            if images.shape == shape and images.dtype == np.uint8 and path.stem.endswith(_checksum(images)):
                return images, set()
        except Exception:  # a damaged file may raise anything: then the images are decoded again
            pass
    images = np.zeros(shape, np.uint8)
    problems = _decode_all(source, rows, images)
    if problems and not skip_bad:
        advice = (
            "Or leave them out with --skip-bad, which counts them."
            if split == "train"
            else "Test images are never left out: that would change the test set."
        )
        count = f"{len(problems):,} of {len(rows):,} {split} images in {source.root}"
        listed = first_ten(list(problems.values()))
        raise UserError(f"{count} cannot be used:\n{listed}\n{source.remedy} {advice}")
    if not problems:
        _write_cache(folder / f"{place}-{split}-{key}{_checksum(images)}.npy", images, f"{place}-{split}-")
    return images, set(problems)


def _checksum(images: np.ndarray) -> str:
    return f"-{zlib.crc32(images):08x}"


def _write_cache(path: Path, images: np.ndarray, family: str) -> None:
    try:
        for old in path.parent.glob(f"*{family}*"):  # of changed files, or what a killed process left behind
            if old.suffix == ".npy" or time.time() - old.stat().st_mtime > 3600:
                old.unlink(missing_ok=True)
        replace_file(path, lambda file: np.save(file, images, allow_pickle=False))
    except OSError as error:
        print(
            f"note: the decoded images are not cached in {path.parent} ({error.strerror or error})",
            file=sys.stderr,
        )


def _decode_all(source: Source, rows: list[Row], images: np.ndarray) -> dict[int, str]:
    """Decode every row into `images`, in threads that Pillow lets run side by side; what failed, by index."""
    problems: dict[int, str] = {}

    def decode(indices: range) -> None:
        for i in indices:
            try:
                images[i] = decode_face(source.read(rows[i].path), resize=source.resize)
            except (OSError, ValueError) as error:
                problems[i] = f"{rows[i].path}: {getattr(error, 'strerror', None) or error}"

    with warnings.catch_warnings(), ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        warnings.simplefilter("ignore")  # Pillow's, about metadata
        list(pool.map(decode, [range(i, min(i + 64, len(rows))) for i in range(0, len(rows), 64)]))
    return dict(sorted(problems.items()))


def decode_face(data: bytes, *, resize: bool = False) -> np.ndarray:
    """JPEG or PNG bytes of one aligned face -> uint8 (3, 100, 100) RGB, upright. ValueError says why not.

    resize: take squares of 8 to 2048 pixels a side, too, and scale them. Nothing is decoded before the header
    has promised such a size: no file can ask for more memory.
    """
    with opened(data) as image:
        width, height = image.size
        if (width, height) != (SIDE, SIDE) and not (resize and width == height and 8 <= width <= 2048):
            hint = "" if resize or width != height else "; --resize takes squares of any size"
            wanted = "a square of 8 to 2048" if resize else f"{SIDE} x {SIDE}"
            raise Unusable(f"is {width} x {height} pixels, not {wanted}{hint}")
        if image.mode not in MODES:
            raise Unusable(f"has the pixel format {image.mode}, not 8 bits a channel")
        image = upright(image).convert("RGB")
        if image.size != (SIDE, SIDE):
            image = image.resize((SIDE, SIDE), Resampling.BICUBIC)  # smoothed first where it gets smaller
        return np.asarray(image).transpose(2, 0, 1)


@command
def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        raise UserError("usage: python RAFDB_dataset.py FOLDER_OR_ZIP")
    source = open_source(sys.argv[1])
    splits = [RAFDBDataset(source, split) for split in ("train", "val", "test")]
    same = twins.pairs(*splits)
    print(describe(*splits, same=same))
    twins.refuse(same)


if __name__ == "__main__":
    main()
