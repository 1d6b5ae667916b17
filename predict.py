"""The expression of every face in your own photos, by a trained model.

python predict.py photo.jpg folder/ --model results/ResNet18/seed0
python predict.py folder/ --model results/ResNet18/seed0 --model results/VGG16/seed0 --ensemble --csv

Faces are found and aligned first, but for RAF-DB's own images, which are known by their
names or folders, and for ready face crops of any size with --aligned.
Exit code 1 where a file was left out, not usable or without a face, 2 where the work could not go on.
"""

import argparse
import csv
import json
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import nn
from tqdm import tqdm

import models
from ferlab.data.rafdb import CLASS_NAMES
from ferlab.errors import UserError, command
from ferlab.inference import face_detection, photos
from ferlab.inference.photos import shown
from ferlab.inference.predictor import find, probabilities, trained
from ferlab.training.runtime import Runtime, start

ORANGE, DARK = (213, 94, 0), (0, 0, 0, 170)


def arguments() -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    add = parser.add_argument
    add("images", nargs="+", metavar="IMAGE", help="a picture, a folder of them, or - for standard input")
    add("--model", action="append", default=[], metavar="RUN", help="a run's folder or .pth (repeatable)")
    add("--ensemble", action="store_true", help="let models vote: the mean of their probabilities")
    add("--aligned", action="store_true", help="the pictures are ready face crops: look for no faces in them")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="print CSV with all seven probabilities")
    form.add_argument("--json", action="store_true", help="print JSON with all seven probabilities")
    add("--save-images", type=Path, metavar="DIR", help="write photos with boxes, labels and bars there")
    add("--topk", type=int, default=2, choices=range(1, 8), metavar="K", help="answers a face (default 2)")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    return parser.parse_args()


def load(paths: Sequence[str], runtime: Runtime, *, ensemble: bool) -> list[nn.Module]:
    """The models, on the device. Raises UserError where there is none, or several not told to vote."""
    if not paths:
        runs = [str(file.parent) for file in map(trained, models.NAMES) if file]
        here = f"trained here: {', '.join(runs)}" if runs else "train one first, such as with train_ResNet.py"
        raise UserError(f"name a trained model with --model results/<Model>/<run>; {here}.")
    if len(paths) > 1 and not ensemble:
        raise UserError(f"{len(paths)} models were named; add --ensemble to let them vote, or name one.")
    networks = [models.load(find(path)) for path in paths]
    for path, network in zip(paths, networks):
        if network.checkpoint.get("data") == "drawn faces":
            print(
                f"note: {path} was trained on drawn faces; what it says about real ones means nothing.",
                file=sys.stderr,
            )
    return [network.to(runtime.device) for network in networks]


def predict(
    names: list[str],
    networks: list[nn.Module],
    runtime: Runtime,
    *,
    aligned: bool = False,
    draw: Callable | None = None,
) -> Iterator[dict]:
    """One dict a face, file by file: file, face (1, 2, ... from left to right), box (None where the file is
    an aligned face), expression, probability, probabilities. A file that cannot be used gives file and error.

    `aligned`: every file is a ready face crop. `draw(name, photo, rows)` is called for every file with faces.
    """

    def look(name: str) -> tuple[list[face_detection.Face], bytes, str]:
        try:
            data = photos.read(name)
            photo = face_detection.open_photo(data)
            crop = aligned or face_detection.is_aligned(os.path.abspath(name), photo)
            found = [face_detection.crop(photo)] if crop else face_detection.find_faces(photo)
            return found, data if draw else b"", "" if found else "no face was found"
        except OSError as error:
            return [], b"", f"cannot be read ({error.strerror or error})"
        except (ValueError, UserError) as error:
            return [], b"", str(error)

    chunk = 16 if draw else 512  # files in memory: with their bytes, or as faces only
    with (
        ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool,
        tqdm(total=len(names), unit=" files", leave=False, disable=not sys.stderr.isatty()) as bar,
    ):
        for start in range(0, len(names), chunk):
            part = names[start : start + chunk]
            looked = []
            for result in pool.map(look, part):
                looked.append(result)
                bar.update()
            answers = iter(())
            if pixels := [face.pixels for found, _, _ in looked for face in found]:
                stacked = torch.from_numpy(np.stack(pixels))
                answers = iter(probabilities(networks, stacked, runtime=runtime).tolist())
            for name, (found, data, error) in zip(part, looked):
                rows = [{"file": name, "error": error}] if error else []
                for number, face in enumerate(found, 1):
                    p = dict(zip(CLASS_NAMES, next(answers)))
                    best = max(p, key=p.get)
                    rows.append(
                        {
                            "file": name,
                            "face": number,
                            "box": face.box,
                            "expression": best,
                            "probability": p[best],
                            "probabilities": p,
                        }
                    )
                if draw and found:
                    draw(name, face_detection.open_photo(data), rows)
                yield from rows


def ranked(row: dict, topk: int) -> list[tuple[str, float]]:
    """The `topk` most probable expressions of one face, most probable first."""
    return sorted(row["probabilities"].items(), key=lambda item: -item[1])[:topk]


def mark(photo: Image.Image, rows: Sequence[dict], *, topk: int) -> Image.Image:
    """A copy of the photo with a box around each face, its expression above and bars of `topk` below it."""
    zoom = min(4, max(1, 400 / min(photo.size)))  # a small photo is enlarged, or the labels would cover it
    photo = photo.resize([round(zoom * side) for side in photo.size], Image.Resampling.BICUBIC)
    size = max(12, round(min(photo.size) / 40))
    font, line = ImageFont.load_default(size), round(1.4 * size)
    if rows[0]["box"] is None:  # an aligned face: room for its expression above and bars below
        whole = (0, line, photo.width - 1, line + photo.height - 1)
        photo = ImageOps.expand(photo, (0, line, 0, topk * line), "white")
    pen = ImageDraw.Draw(photo, "RGBA")
    for row in rows:
        left, top, right, bottom = [zoom * side for side in row["box"]] if row["box"] else whole
        pen.rectangle((left, top, right, bottom), outline=ORANGE, width=max(2, size // 6))
        width, height = max(right - left, 13 * size), line * topk
        x = min(max(0, left), photo.width - width)
        y = min(bottom, photo.height - height)
        above = max(0, top - line)
        title = f"{row['expression']} {100 * row['probability']:.0f} %"
        pen.rectangle((x, above, x + pen.textlength(title, font) + size, above + line), fill=ORANGE)
        pen.text((x + size / 2, above), title, "white", font)
        pen.rectangle((x, y, x + width, y + height), fill=DARK)
        for i, (name, p) in enumerate(ranked(row, topk)):
            at = y + i * line
            bar = x + 6 * size
            pen.rectangle((bar, at + 3, bar + p * (width - 10 * size), at + line - 3), fill=ORANGE)
            pen.text((x + size / 3, at), name, "white", font)
            pen.text((x + width - 3.5 * size, at), f"{100 * p:.0f} %", "white", font)
    return photo


def saver(folder: Path, names: Sequence[str], topk: int) -> Callable:
    """A function that writes the marked photo of one file into `folder`, under a name of its own, which is
    none of `names`: what is read is not written over.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--save-images {folder} cannot be made ({error.strerror or error}).") from None
    taken = {os.path.realpath(name) for name in names}

    def save(name: str, photo: Image.Image, rows: list[dict]) -> None:
        stem = "stdin" if name == "-" else Path(name).stem
        stem = stem.encode(errors="replace")[:200].decode(errors="ignore")  # a longer name fits on no disk
        paths = (folder / f"{stem}-faces{n if n > 1 else ''}.jpg" for n in range(1, len(taken) + 2))
        path = next(path for path in paths if os.path.realpath(path) not in taken)
        taken.add(os.path.realpath(path))
        try:
            mark(photo, rows, topk=topk).save(path, quality=92, subsampling=0)
        except OSError as error:
            raise UserError(f"{path} could not be written ({error.strerror or error}).") from None

    return save


def print_table(rows: Iterator[dict], topk: int, width: int) -> None:
    """The table for people: one line a face, as the answers come."""
    runner_up = "  runner-up" if topk > 1 else ""
    tqdm.write(f"{'file':{width}}  face  {'expression':10}  probability{runner_up}")
    for row in rows:
        first, *others = ranked(row, topk)
        text = ", ".join(f"{name} {100 * p:.1f} %" for name, p in others)
        at = f"{shown(row['file']):{width}}  {row['face']:4}"
        tqdm.write(f"{at}  {first[0]:10}  {100 * first[1]:9.1f} %  {text}".rstrip())


def print_csv(rows: Iterator[dict]) -> None:
    """One row a face, all seven probabilities and the box in the photo's pixels."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    sides = ("left", "top", "right", "bottom")
    writer.writerow(["file", "face", "expression", "probability", *CLASS_NAMES, *sides])
    for row in rows:
        box = [round(side, 1) for side in row["box"] or ()] or [""] * 4
        p = [f"{value:.6f}" for value in (row["probability"], *row["probabilities"].values())]
        writer.writerow([shown(row["file"]), row["face"], row["expression"], *p, *box])


@command
def main() -> None:
    args = arguments()
    for name in ("SIGPIPE", "SIGINT"):  # `| head` and Ctrl-C end this quietly
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    warnings.filterwarnings("ignore", module="PIL")  # about metadata
    runtime = start(args.device)
    networks = load(args.model, runtime, ensemble=args.ensemble)
    names, left_out = photos.listed(args.images)
    failed = sum(left_out.values())
    if left_out:
        print(
            f"left out, as these are no pictures that can be read here: {photos.summary(left_out)}",
            file=sys.stderr,
        )
    draw = saver(args.save_images, names, args.topk) if args.save_images else None

    def good(rows: Iterator[dict]) -> Iterator[dict]:
        nonlocal failed
        for row in rows:
            if "error" in row:
                failed += 1
                tqdm.write(f"{shown(row['file'])}: {row['error']}", file=sys.stderr)
            else:
                yield row

    rows = good(predict(names, networks, runtime, aligned=args.aligned, draw=draw))
    if args.csv:
        print_csv(rows)
    elif args.json:
        print(json.dumps(list(rows), indent=1))
    else:
        print_table(rows, args.topk, max(len(shown(name)) for name in names))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
