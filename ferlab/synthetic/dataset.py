"""Drawn faces in RAF-DB's Kaggle layout, so that the whole suite runs without RAF-DB.

python -m ferlab.synthetic.dataset FOLDER                       # also --train 1600 --test 400 --seed 0
python -m ferlab.synthetic.dataset faces.png                     # a sheet of them
"""

import argparse
import csv
import functools
import json
import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ferlab.data.rafdb import CLASS_NAMES, COUNTS
from ferlab.errors import UserError, command
from ferlab.synthetic import face_drawing

VERSION = 1  # of the drawing: raise it when any pixel changes
NAMES = {"train": "train_{:05d}_aligned.jpg", "test": "test_{:04d}_aligned.jpg"}  # digits as RAF-DB has them
PROTOTYPES = (  # action unit -> intensity at full strength, after EMFACS (Friesen and Ekman, 1983)
    {1: 1, 2: 1, 5: 1, 25: 1, 26: 1},
    {1: 1, 2: 0.5, 4: 0.8, 5: 1, 20: 1, 25: 0.8, 26: 0.15},
    {4: 0.4, 7: 0.4, 9: 1, 10: 1, 15: 0.6, 17: 0.7},
    {6: 1, 12: 1, 25: 1},
    {1: 0.9, 4: 0.7, 15: 1, 17: 0.3},
    {4: 1, 5: 0.6, 7: 0.9, 23: 0.9, 24: 0.7},
    {},
)
NEIGHBOURS = ((1, 6), (0, 4), (5, 4), (6, 6), (6, 1), (2, 6), (4, 3))  # what an ambiguous face leans towards


def draw_dataset(root: Path, train: int = 1600, test: int = 400, *, seed: int = 0) -> Path:
    """Draw `train` and `test` faces into `root` in the Kaggle mirror's layout and RAF-DB's class proportions.

    The same arguments give the same bytes; where they are drawn already nothing happens. The folder appears
    whole or not at all. Raises ValueError where `root` holds anything else or the faces are too few.
    """
    root, sizes = Path(root), {"train": train, "test": test}
    marker = {"drawn": "fer.synthetic", "version": VERSION, "seed": seed, **sizes}
    if root.is_dir() and not any(root.iterdir()):
        root.rmdir()
    if root.exists():
        return _finished(root, marker)
    jobs = [(split, *row) for split, total in sizes.items() for row in _labels(split, total, seed)]
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{root.name}-", dir=root.parent) as temporary:
        new = Path(temporary) / root.name
        for split in sizes:
            for label in range(1, 8):
                (new / "DATASET" / split / str(label)).mkdir(parents=True)
            rows = [(NAMES[split].format(number), label) for which, number, label in jobs if which == split]
            with open(new / f"{split}_labels.csv", "w", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows([("image", "label"), *rows])

        draw = functools.partial(_draw_file, new / "DATASET", seed)
        if sys.platform == "linux" and len(jobs) > 100:  # elsewhere new processes start too slowly to pay
            with ProcessPoolExecutor(min(8, os.cpu_count() or 1), mp_context=get_context("fork")) as pool:
                list(pool.map(draw, jobs, chunksize=25))
        else:
            list(map(draw, jobs))
        (new / "drawn.json").write_text(json.dumps(marker) + "\n")
        try:
            os.rename(new, root)
        except OSError:
            if not root.exists():
                raise
            return _finished(root, marker)  # another process was faster
    return root


def _draw_file(folder: Path, seed: int, job: tuple[str, int, int]) -> None:
    split, number, label = job
    rng = np.random.default_rng([seed, len(split), number])  # its own: neither order nor process matters
    path = folder / split / str(label) / NAMES[split].format(number)
    draw_face(label - 1, rng).save(path, quality=int(rng.integers(60, 96)))


def _finished(root: Path, marker: dict) -> Path:
    """`root`, if it holds what `marker` says."""
    try:
        found = json.loads((root / "drawn.json").read_text())
    except (OSError, ValueError):
        message = f"{root} exists and holds no drawn faces; name another folder or remove it."
        raise ValueError(message) from None
    if found != marker:
        raise ValueError(f"{root} holds faces drawn as {found}, not as {marker}; remove it or name another.")
    return root


def _labels(split: str, total: int, seed: int) -> list[tuple[int, int]]:
    """(number, label) of each image: RAF-DB's shares by largest remainder, at least two a class, shuffled."""
    if total < 14:
        raise ValueError(f"{total} {split} images are too few; two for each of the seven classes make 14.")
    exact = total * np.array(COUNTS[split]) / sum(COUNTS[split])
    counts = np.maximum(exact.astype(int), 2)
    while step := np.sign(total - counts.sum()):
        counts[np.argmax(np.where(counts + step < 2, -np.inf, step * (exact - counts)))] += step
    labels = np.random.default_rng([seed, len(split)]).permutation(np.repeat(range(1, 8), counts))
    return list(enumerate(labels.tolist(), 1))


def draw_face(expression: int, rng: np.random.Generator) -> Image.Image:
    """One face, RGB 100 x 100, with `expression` 0..6 in RAF-DB's order; all else about it is up to `rng`."""
    return face_drawing.draw(_action_units(expression, rng), rng)


def _action_units(expression: int, rng: np.random.Generator) -> np.ndarray:
    """Intensities (28,) by action unit: partial, uneven, at times blended with a neighbouring class."""
    strength, units = np.clip(rng.normal(0.9, 0.22), 0.3, 1.25), np.abs(rng.normal(0, 0.05, 28))
    share = rng.uniform(0.25, 0.5) if rng.random() < 0.15 else 0.0
    for which, weight in ((expression, 1 - share), (rng.choice(NEIGHBOURS[expression]), share)):
        for unit, intensity in PROTOTYPES[which].items():
            shown = rng.random() > (0.3 if which == 3 and unit == 25 else 0.08)  # many smile with closed lips
            units[unit] += weight * intensity * strength * rng.uniform(0.7, 1.15) * shown
    if expression == 5 and rng.random() < 0.3:  # shouting instead of pressing the lips
        units[[10, 24, 25, 26]] = np.array([0.5, 0, 0.8, 0.3]) * strength
    return units


def sheet(columns: int = 8, *, seed: int = 0) -> Image.Image:
    """A picture of drawn faces: one row an expression, in the order of CLASS_NAMES, its name at the left."""
    picture = Image.new("RGB", (110 + 100 * columns, 100 * len(CLASS_NAMES)), "white")
    pencil, font = ImageDraw.Draw(picture), ImageFont.load_default(18)
    for row, name in enumerate(CLASS_NAMES):
        pencil.text((102, 100 * row + 50), name, (60, 60, 60), font, anchor="rm")
        for column in range(columns):
            face = draw_face(row, np.random.default_rng([seed, row, column]))
            picture.paste(face, (110 + 100 * column, 100 * row))
    return picture


@command
def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m ferlab.synthetic.dataset", description="Faces in RAF-DB's layout."
    )
    parser.add_argument("folder", type=Path, help="a new folder for them, or a .png: a sheet of them")
    parser.add_argument("--train", type=int, default=1600, help="training images (default %(default)s)")
    parser.add_argument("--test", type=int, default=400, help="test images (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other faces (default %(default)s)")
    args = parser.parse_args()
    if args.folder.suffix == ".png":
        sheet(seed=args.seed).quantize(256).save(args.folder, optimize=True)
        return
    try:
        print(draw_dataset(args.folder, args.train, args.test, seed=args.seed))
    except ValueError as error:
        raise UserError(str(error)) from None


if __name__ == "__main__":
    main()
