"""RAF-DB as tensors: files on disk -> uint8 images, labels and fixed splits.

from RAFDB_dataset import RAFDBDataset
train = RAFDBDataset("raf-db-dataset", "train")     # also "val" and "test"; train.images is (N, 3, 100, 100)

python RAFDB_dataset.py raf-db-dataset               # checks the data and says what was found
"""

import hashlib
import io
import json
import os
import sys
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.utils.data import Dataset

from fer import CLASS_NAMES
from fer.errors import UserError, command, first_ten
from fer.layout import Row, Source, find
from fer.synthetic import draw_dataset

SIDE = 100  # pixels
KNOWN_COUNTS = {"train": (1290, 281, 717, 4772, 1982, 705, 2524), "test": (329, 74, 160, 1185, 478, 162, 680)}
CACHE_VERSION = 1


class RAFDBDataset(Dataset):
    """One split of RAF-DB: `images` uint8 (N, 3, 100, 100), `labels` int64 (N,) in CLASS_NAMES' order,
    `names`.

    `root` is a folder or zip in either layout, the word "synthetic" for drawn faces, or what `open_source`
    gave. "val" is a fixed stratified share of the official training images, chosen by a hash of the file
    name: the same on every machine and for every seed. `train_fraction` keeps a stratified share of "train";
    a smaller share is part of every larger one. `skip_bad` leaves unreadable training images out and counts
    them in `skipped`; test images are never left out. Raises UserError with a count and the first ten where
    files, labels or images are not as they should be.
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
        self.split, self.source = split, open_source(root)
        self.drawn = (self.source.root / "drawn.json").is_file()
        official = "test" if split == "test" else "train"
        rows = self.source.rows[official]
        images, bad = _decoded(self.source, official, skip_bad=skip_bad and official == "train")
        keep = [i for i in _members(rows, split, val_fraction, train_fraction) if i not in bad]
        self.names = [rows[i].name for i in keep]
        self.labels = torch.tensor([rows[i].label - 1 for i in keep])
        self.skipped = len(bad)
        self.images = torch.empty(len(keep), 3, SIDE, SIDE, dtype=torch.uint8)
        for start in range(
            0, len(keep), 1024
        ):  # in parts, so that the cache's pages need not all be in memory
            self.images[start : start + 1024] = torch.from_numpy(images[keep[start : start + 1024]])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.images[index], int(self.labels[index])

    @property
    def counts(self) -> list[int]:
        """Images per class, in CLASS_NAMES' order."""
        return torch.bincount(self.labels, minlength=len(CLASS_NAMES)).tolist()

    @property
    def hash(self) -> str:
        """Names and labels of this split as 16 hexadecimal digits: equal splits, equal hash."""
        pairs = sorted(zip(self.names, self.labels.tolist()))
        return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()[:16]


def describe(*splits: RAFDBDataset) -> str:
    """One line: layout, images per split and class, and whether the official counts are RAF-DB's."""
    source = splits[0].source
    found = {
        name: tuple(np.bincount([row.label - 1 for row in rows], minlength=7).tolist())
        for name, rows in source.rows.items()
    }
    if splits[0].drawn:
        verdict = "drawn faces, not RAF-DB"
    else:
        verdict = "RAF-DB's known counts" if found == KNOWN_COUNTS else "NOT RAF-DB's known counts"
    parts = [
        f"{s.split} {len(s):,} ({' '.join(f'{n[:2]}{c}' for n, c in zip(CLASS_NAMES, s.counts))})"
        for s in splits
    ]
    skipped = f"; {splits[0].skipped} unreadable training images skipped" if splits[0].skipped else ""
    return f"data: {source.layout}: {' · '.join(parts)}; {verdict}{skipped}"


def cache_folder() -> Path:
    """Where decoded images and drawn faces are kept: outside any repository, since RAF-DB may not be passed
    on.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fer-rafdb"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        fallback = (
            Path(tempfile.gettempdir()) / f"fer-rafdb-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
        )
        fallback.mkdir(mode=0o700, exist_ok=True)
        print(
            f"note: cannot write the cache folder {folder} ({error.strerror}); using {fallback}",
            file=sys.stderr,
        )
        return fallback


def open_source(root: str | Path | Source) -> Source:
    """The dataset at `root`, found and checked; "synthetic" draws one. Give the result to several splits."""
    if isinstance(root, Source):
        return root
    if str(root) != "synthetic":
        return find(root)
    try:
        return find(draw_dataset(cache_folder() / "drawn-faces"))
    except ValueError as error:
        raise UserError(str(error)) from None


def _order(names: list[str], salt: str) -> list[int]:
    return sorted(range(len(names)), key=lambda i: hashlib.sha256(f"{salt}:{names[i]}".encode()).digest())


def _members(rows: list[Row], split: str, val_fraction: float, train_fraction: float) -> list[int]:
    """Indices of `rows` that belong to the split, in the rows' order."""
    if split == "test":
        return list(range(len(rows)))
    kept: list[int] = []
    for label in range(1, len(CLASS_NAMES) + 1):
        of_class = [i for i, row in enumerate(rows) if row.label == label]
        ranked = [of_class[i] for i in _order([rows[i].name for i in of_class], "val")]
        n_val = max(1, round(len(ranked) * val_fraction))
        if split == "val":
            kept += ranked[:n_val]
        else:
            rest = ranked[n_val:]
            if not rest:
                raise UserError(
                    f"class {label} ({CLASS_NAMES[label - 1]}) has {len(ranked)} training images, too few "
                    f"to give {val_fraction:g} of them to val; add images or lower --val-fraction."
                )
            rest = [rest[i] for i in _order([rows[i].name for i in rest], "train")]
            kept += rest[: max(1, round(len(rest) * train_fraction))]
    return sorted(kept)


def _decoded(source: Source, split: str, *, skip_bad: bool) -> tuple[np.ndarray, set[int]]:
    """All images of an official split, uint8 (N, 3, 100, 100), from the cache where its key still fits.

    The key is a hash of every name, label, size and time stamp, so that changed files are always read again.
    A split with unreadable images is not cached.
    """
    rows = source.rows[split]
    key = hashlib.sha256(json.dumps([CACHE_VERSION, rows]).encode()).hexdigest()[:24]
    place = hashlib.sha256(str(source.root.resolve()).encode()).hexdigest()[:12]
    folder = cache_folder()
    path = folder / f"{place}-{split}-{key}.npy"
    shape = (len(rows), 3, SIDE, SIDE)
    try:
        images = np.load(path, mmap_mode="r", allow_pickle=False)
        if images.shape == shape and images.dtype == np.uint8:
            return images, set()
    except (OSError, ValueError, EOFError):
        pass  # not there, cut short, or of another format: decode again
    images = np.empty(shape, np.uint8)
    problems = _decode_all(source, rows, images)
    if problems and not skip_bad:
        raise UserError(
            f"{len(problems):,} of {len(rows):,} {split} images cannot be used:\n"
            f"{first_ten(list(problems.values()))}\nFetch them again"
            + (
                ", or leave them out with --skip-bad."
                if split == "train"
                else "; test images are never left out, for that would change the test set."
            )
        )
    if not problems:
        _write_cache(path, images, outdated=folder.glob(f"{place}-{split}-*.npy"))
    return images, set(problems)


def _decode_all(source: Source, rows: list[Row], images: np.ndarray) -> dict[int, str]:
    """Decode every row into `images`, in threads (Pillow lets them run side by side); what failed, by
    index.
    """
    problems: dict[int, str] = {}

    def decode(indices: range) -> None:
        for i in indices:
            try:
                images[i] = decode_face(source.read(rows[i].path))
            except (OSError, ValueError) as error:
                problems[i] = f"{rows[i].path}: {error}"

    workers = min(16, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(decode, [range(i, min(i + 64, len(rows))) for i in range(0, len(rows), 64)]))
    return dict(sorted(problems.items()))


def decode_face(data: bytes) -> np.ndarray:
    """JPEG or PNG bytes of one aligned face -> uint8 (3, 100, 100) RGB. Raises ValueError saying what is
    wrong.
    """
    if not data:
        raise ValueError("the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
                if image.size != (SIDE, SIDE):
                    raise ValueError(f"is {image.width} x {image.height} pixels, not {SIDE} x {SIDE}")
                if image.info.get("exif"):
                    image = ImageOps.exif_transpose(image)
                return np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    except ValueError:
        raise
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error and more
        reason = str(error) if "cannot identify" not in str(error) else "is not a JPEG or PNG image"
        raise ValueError(f"cannot be decoded: {reason}"[:160]) from None


def _write_cache(path: Path, images: np.ndarray, *, outdated) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        for old in outdated:
            old.unlink()
        with open(temporary, "wb") as file:
            np.save(file, images, allow_pickle=False)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        print(f"note: the decoded images are not cached in {path.parent} ({error.strerror})", file=sys.stderr)


@command
def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        raise UserError("usage: python RAFDB_dataset.py FOLDER_OR_ZIP")
    source = open_source(sys.argv[1])
    print(describe(*(RAFDBDataset(source, split) for split in ("train", "val", "test"))))


if __name__ == "__main__":
    main()
