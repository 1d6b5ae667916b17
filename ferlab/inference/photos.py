"""What was named on the command line -> photos and their faces: files are known by their contents.

names, left_out = expand_folders(["photo.jpg", "folder/"])       # left_out counts the rest by kind
photo, faces = faces_in(names[0])
"""

import os
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ferlab.data.image_io import Unusable, is_picture, rgb
from ferlab.errors import UserError
from ferlab.files import read_regular, shown
from ferlab.inference import face_detection
from ferlab.inference.face_detection import MAX_BYTES, Face

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
RAW = (".dng", ".nef", ".cr2", ".arw", ".orf", ".pef", ".rw2")  # they pass for TIFF, which is their preview
VIDEO = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".ts")
CLUTTER = (".DS_Store", "Thumbs.db", "desktop.ini")  # and ._NAME: file browsers leave them


def expand_folders(images: Sequence[str]) -> tuple[list[str], Counter]:
    """`images` with every folder replaced by the pictures in it and in its subfolders, in order; and what
    else lies there, counted by kind. What cannot be read is kept, so that it gets its sentence.
    """
    names: list[str] = []
    left_out: Counter = Counter()
    for name in images:
        if not os.path.isdir(name):
            names.append(name)
            continue
        kept: list[str] = []
        for at, folders, files in os.walk(name, onerror=lambda error: kept.append(error.filename)):
            left_out["linked folder"] += sum(os.path.islink(os.path.join(at, folder)) for folder in folders)
            for file in files:
                if file in CLUTTER or file.startswith("._"):
                    continue
                if file.startswith("."):
                    left_out["hidden"] += 1
                elif _candidate(os.path.join(at, file)):
                    kept.append(os.path.join(at, file))
                else:
                    left_out[_suffix(file) if len(_suffix(file)) < 9 else "other"] += 1
        names += sorted(kept) or [name]
    return names, +left_out


def faces_in(
    source: str | Path | bytes | Image.Image | np.ndarray, *, aligned: bool = False
) -> tuple[Image.Image, list[Face]]:
    """The photo, upright RGB, and its faces from left to right: aligned ones, or the photo itself where it
    is a ready crop, as `aligned` says or RAF-DB's own names and folders do.

    source: a path ("-": standard input), a file's bytes, a PIL image, or uint8 RGB (H, W, 3). The photo's
    `info["animated"]` says whether more frames follow. Raises UserError, which names the file, where it
    cannot be read, is no picture, or the detector is missing.
    """
    name = os.fspath(source) if isinstance(source, str | Path) else ""
    source = source.read() if hasattr(source, "read") and not name else source
    if not isinstance(source, str | Path | bytes | Image.Image | np.ndarray):
        raise UserError(
            f"a {type(source).__name__} is not a picture; take a path, a file's bytes, an open file, a PIL "
            "image, or uint8 RGB (H, W, 3)."
        )
    try:
        photo = _opened(name or source)
        crop = aligned or (name and face_detection.is_aligned(os.path.abspath(name), photo))
        return photo, [face_detection.crop(photo)] if crop else face_detection.find_faces(photo)
    except OSError as error:
        reason = f"cannot be read ({error.strerror or error})"
    except (ValueError, UserError) as error:
        reason = str(error)
    raise UserError(f"{shown(name) if name else 'the picture'}: {reason}")


def _opened(source: str | bytes | Image.Image | np.ndarray) -> Image.Image:
    """Whatever holds a picture -> upright RGB."""
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3 or 0 in source.shape:
            raise Unusable(f"is {source.dtype} {source.shape}; an array must be uint8 RGB (H, W, 3)")
        return Image.fromarray(source)
    if isinstance(source, Image.Image):
        if 0 in source.size:
            raise Unusable("has no pixels")
        return rgb(source)
    return face_detection.open_photo(read(source) if isinstance(source, str) else bytes(source))


def read(name: str) -> bytes:
    """A file's bytes, or standard input's for "-"; one more than a photo may have where there are more."""
    if os.path.isdir(name):
        run = os.path.isfile(os.path.join(name, "best_model.pth"))
        raise ValueError(f"the folder holds {'a model: name it with --model' if run else 'no picture'}")
    if name == "-":
        if sys.stdin is None:
            raise ValueError("standard input is closed")
        return sys.stdin.buffer.read(MAX_BYTES + 1)
    if not os.path.exists(name):
        _meant(name)
    return read_regular(name, limit=MAX_BYTES + 1)


def _meant(name: str) -> None:
    """Raise ValueError where `name` is no picture's, but something that other tools take."""
    if re.match(r"[a-z]+://", name, re.IGNORECASE):
        raise ValueError(
            "is an address; download it and name the file, or pipe it: curl ADDRESS | python predict.py -"
        )
    if name.isdigit():
        raise ValueError(f"is not a file; if a camera is meant: --webcam {name}")


def summary(left_out: Counter) -> str:
    """The kinds that were left out in a few words: "12 .heic, 2 .csv, 1 hidden"."""
    ordered = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
    kinds = [f"{n:,} {shown(kind) or 'without a suffix'}" for kind, n in ordered]
    return ", ".join(kinds[:10] + ([f"and {len(kinds) - 10} more kinds"] if len(kinds) > 10 else []))


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _candidate(path: str) -> bool:
    """Whether it is a picture by its contents, should be one by its name, or cannot be asked."""
    if _suffix(path) in SUFFIXES or _suffix(path) in RAW:
        return _suffix(path) in SUFFIXES
    try:
        return is_picture(read_regular(path, limit=16))
    except OSError:
        return True
