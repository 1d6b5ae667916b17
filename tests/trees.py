"""Small trees of files in RAF-DB's two layouts and a face for them, for tests that spoil or lock them."""

import contextlib
import io
import os
import shutil
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ferlab.data.layout import find
from ferlab.errors import UserError

NAMES = {"train": "train_{:05d}_aligned.jpg", "test": "test_{:04d}_aligned.jpg"}
RAMP = np.linspace(0, 255, 100).astype(np.uint8)[None].repeat(100, 0)  # dark on the left, bright on the right
IMAGE = Image.fromarray(np.dstack([RAMP, RAMP.T, 255 - RAMP]))


def encode(image: Image.Image, kind: str = "JPEG", **options) -> bytes:
    """The image as the bytes of a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


FACE = encode(IMAGE)


def kaggle(root: Path, *, each: int = 2, face: bytes = FACE) -> Path:
    """A small tree in the Kaggle layout, `each` files a class; train_00001 to train_00002 are of class 1."""
    for split in ("train", "test"):
        lines = ["image,label\n"]
        for number in range(7 * each):
            label, name = number // each + 1, NAMES[split].format(number + 1)
            file = root / "DATASET" / split / str(label) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(face)
            lines.append(f"{name},{label}\n")
        (root / f"{split}_labels.csv").write_text("".join(lines))
    return root


def by_class(root: Path, names: list[str], *, train: str = "train", test: str = "test", **options) -> Path:
    """The same with a folder for each class, called by `names`, and without tables."""
    kaggle(root, **options)
    for split, folder in (("train", train), ("test", test)):
        for number, name in enumerate(names, 1):
            (root / folder).mkdir(exist_ok=True)
            (root / "DATASET" / split / str(number)).rename(root / folder / name)
        (root / f"{split}_labels.csv").unlink()
    shutil.rmtree(root / "DATASET")
    return root


def refused(path: Path) -> str:
    """What a user is told about the dataset at `path`; it must be refused."""
    with pytest.raises(UserError) as error:
        find(path)
    assert error.value.code == 2
    return str(error.value)


def official(root: Path, *, each: int = 2, face: bytes = FACE) -> Path:
    """The same in the official layout."""
    aligned, labels = root / "basic/Image/aligned", root / "basic/EmoLabel"
    aligned.mkdir(parents=True)
    labels.mkdir()
    lines = []
    for split in ("train", "test"):
        for number in range(7 * each):
            name = NAMES[split].format(number + 1)
            (aligned / name).write_bytes(face)
            lines.append(f"{name.replace('_aligned', '')} {number // each + 1}\n")
    (labels / "list_patition_label.txt").write_text("".join(lines))
    return root


def zipped(root: Path, path: Path, *, top: str = "") -> Path:
    """All files under `root` as the zip `path`, in a folder `top`."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(p for p in root.rglob("*") if p.is_file()):
            archive.write(file, top + file.relative_to(root).as_posix())
    return path


def first_face(tree: Path, split: str = "train", label: int = 4) -> Path:
    """The first image of a class in the Kaggle layout."""
    return sorted((tree / "DATASET" / split / str(label)).iterdir())[0]


@contextlib.contextmanager
def as_a_user(folder: str):
    """Root has every right; within this it is nobody, who owns `folder`."""
    root = os.geteuid() == 0
    if root:
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def png(width: int, height: int) -> bytes:
    """The beginning of a PNG that promises so many pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [header, b"IDAT" + zlib.compress(b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks
    )
