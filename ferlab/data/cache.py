"""Decoded images on the disk, so that a dataset is decoded once: outside any repository, since RAF-DB is not
to be passed on.

images, bad, resized = decoded(source, "train", skip_bad=False)
"""

import functools
import hashlib
import json
import mmap
import os
import sys
import tempfile
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import ImageOps
from PIL.Image import Resampling

from ferlab.data.image_io import Unusable, opened, rgb, upright
from ferlab.data.rafdb import SIDE
from ferlab.data.rows import Row
from ferlab.data.source import Source
from ferlab.errors import UserError, first_ten
from ferlab.files import locked, replace_file

MODES = ("RGB", "L", "CMYK", "P", "RGBA", "LA", "1")  # 8 bits a channel or fewer: Pillow makes RGB of them
VERSION = 3
CHUNK = 4096  # images at a time
LARGEST = 2048  # pixels a side of a file that is scaled
BARS = (128, 128, 128)  # beside faces that are no squares


def cache_folder() -> Path:
    """Where decoded and drawn images are kept."""
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
    raise AssertionError("the fallback returns or raises")


def decoded(source: Source, split: str, *, skip_bad: bool) -> tuple[np.ndarray, set[int], int]:
    """All images of a split of the source, uint8 (N, 3, S, S); the indices of the unreadable ones; and how
    many were scaled to S, the source's side.

    From the cache, where it has them for just these names, labels, sizes and times, and its checksum fits.
    A split with unreadable images is not cached, so that they are named every time.
    """
    with locked(folder := cache_folder()):  # of several processes one decodes, the others read what it wrote
        return _cached(source, split, folder, skip_bad=skip_bad)


def _cached(source: Source, split: str, folder: Path, *, skip_bad: bool) -> tuple[np.ndarray, set[int], int]:
    rows, side = source.rows[split], source.side
    shape = (len(rows), 3, side, side)
    place = hashlib.sha256(os.fsencode(source.root.resolve())).hexdigest()[:12]
    key = hashlib.sha256(json.dumps([VERSION, source.face_size, rows]).encode()).hexdigest()[:24]
    family = f"{place}-{split}-{source.face_size}-"  # of which only the newest is kept
    for path in folder.glob(f"{family}{key}-*.npy"):
        try:
            if not path.is_file():
                continue
            images = np.load(path, mmap_mode="r", allow_pickle=False)
            scaled, checksum = path.stem.rsplit("-", 2)[1:]
            if images.shape == shape and images.dtype == np.uint8 and checksum == _checksum(images):
                return images, set(), int(scaled)
        except Exception:  # a damaged file may raise anything: then the images are decoded again
            pass
    images = np.zeros(shape, np.uint8)
    problems, resized = _decode_all(source, rows, images)
    if problems and not skip_bad:
        advice = (
            "Or leave them out with --skip-bad, which counts them."
            if split == "train"
            else f"{split.capitalize()} images are never left out: that would change the {split} set."
        )
        count = f"{len(problems):,} of {len(rows):,} {split} images in {source.root}"
        listed = first_ten(list(problems.values()))
        raise UserError(f"{count} cannot be used:\n{listed}\n{source.remedy} {advice}")
    if not problems:
        name = f"{family}{key}-{resized}-{_checksum(images)}.npy"
        if _write_cache(folder / name, images, family):
            images = np.load(folder / name, mmap_mode="r", allow_pickle=False)
    return images, set(problems), resized


def take(images: np.ndarray, indices: list[int]) -> np.ndarray:
    """A copy of some of the images that `decoded` gave, without a second copy of all of them in memory."""
    taken = np.empty((len(indices), *images.shape[1:]), np.uint8)
    for start in range(0, len(indices), CHUNK):
        part = indices[start : start + CHUNK]
        np.take(
            images, part, axis=0, out=taken[start : start + CHUNK], mode="clip"
        )  # "raise" copies once more
        _forget(images)
    return taken


def _checksum(images: np.ndarray) -> str:
    crc = 0
    for start in range(0, len(images), CHUNK):
        crc = zlib.crc32(images[start : start + CHUNK].data, crc)
        _forget(images)
    return f"{crc:08x}"


def _forget(images: np.ndarray) -> None:
    """Let go of the pages of a file in memory: they are read again from the system's cache when needed."""
    pages = getattr(images, "_mmap", None)
    if hasattr(mmap, "MADV_DONTNEED") and isinstance(pages, mmap.mmap):
        pages.madvise(mmap.MADV_DONTNEED)


def _write_cache(path: Path, images: np.ndarray, family: str) -> bool:
    """Whether the images could be kept; older ones of the same family go."""
    try:
        for old in path.parent.glob(f"*{family}*"):  # of changed files, or what a killed process left behind
            if old.suffix == ".npy" or time.time() - old.stat().st_mtime > 3600:
                old.unlink(missing_ok=True)
        replace_file(path, lambda file: np.save(file, images, allow_pickle=False))
        return True
    except OSError as error:
        print(
            f"note: the decoded images are not cached in {path.parent} ({error.strerror or error})",
            file=sys.stderr,
        )
        return False


def _decode_all(source: Source, rows: list[Row], images: np.ndarray) -> tuple[dict[int, str], int]:
    """Decode every row into `images`, in threads that Pillow lets run side by side; what failed, by index,
    and how many were scaled.
    """
    problems: dict[int, str] = {}
    resized: list[int] = []

    def decode(indices: range) -> None:
        for i in indices:
            try:
                data = source.read(rows[i].path)
                images[i] = decode_face(data, size=source.face_size)
                if source.face_size:
                    with opened(data) as image:
                        if image.size != (source.side, source.side):
                            resized.append(i)
            except (OSError, ValueError) as error:
                problems[i] = f"{rows[i].path}: {getattr(error, 'strerror', None) or error}"

    with warnings.catch_warnings(), ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        warnings.simplefilter("ignore")  # Pillow's, about metadata
        list(pool.map(decode, [range(i, min(i + 64, len(rows))) for i in range(0, len(rows), 64)]))
    return dict(sorted(problems.items())), len(resized)


def decode_face(data: bytes, *, size: int = 0) -> np.ndarray:
    """JPEG or PNG bytes of one aligned face -> uint8 (3, 100, 100) RGB, upright; ValueError says why not.

    size: take faces of 8 to 2048 pixels a side, too, and scale them to (3, size, size), with grey bars beside
    what is no square; 16 bits of grey become 8, and what is transparent white. Nothing is decoded before the
    header has promised such a size: no file can ask for more memory.
    """
    side = size or SIDE
    with opened(data) as image:
        width, height = image.size
        if not size and image.size != (SIDE, SIDE):
            hint = f"; --face-size {SIDE} takes any size"
            raise Unusable(f"is {width} x {height} pixels, not {SIDE} x {SIDE}{hint}")
        if not (8 <= width <= LARGEST and 8 <= height <= LARGEST):
            raise Unusable(f"is {width} x {height} pixels; a side must have 8 to {LARGEST}")
        if not size and image.mode not in MODES:
            raise Unusable(f"has the pixel format {image.mode}, not 8 bits a channel")
        image = rgb(image) if size else upright(image).convert("RGB")
        if image.size != (side, side):  # smoothed first where it gets smaller
            image = ImageOps.pad(image, (side, side), Resampling.BICUBIC, color=BARS)
        return np.asarray(image).transpose(2, 0, 1)
