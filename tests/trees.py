"""Small trees of files in RAF-DB's two layouts, for tests that spoil them."""

import zipfile
from pathlib import Path

NAMES = {"train": "train_{:05d}_aligned.jpg", "test": "test_{:04d}_aligned.jpg"}
FACE = b"not decoded here"


def kaggle(root: Path, *, each: int = 2) -> Path:
    """A small tree in the Kaggle layout, `each` files a class; train_00001 to train_00002 are of class 1."""
    for split in ("train", "test"):
        lines = ["image,label\n"]
        for number in range(7 * each):
            label, name = number // each + 1, NAMES[split].format(number + 1)
            file = root / "DATASET" / split / str(label) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(FACE)
            lines.append(f"{name},{label}\n")
        (root / f"{split}_labels.csv").write_text("".join(lines))
    return root


def official(root: Path, *, each: int = 2) -> Path:
    """The same in the official layout."""
    aligned, labels = root / "basic/Image/aligned", root / "basic/EmoLabel"
    aligned.mkdir(parents=True)
    labels.mkdir()
    lines = []
    for split in ("train", "test"):
        for number in range(7 * each):
            name = NAMES[split].format(number + 1)
            (aligned / name).write_bytes(FACE)
            lines.append(f"{name.replace('_aligned', '')} {number // each + 1}\n")
    (labels / "list_patition_label.txt").write_text("".join(lines))
    return root


def zipped(root: Path, path: Path, *, top: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(p for p in root.rglob("*") if p.is_file()):
            archive.write(file, top + file.relative_to(root).as_posix())
    return path
