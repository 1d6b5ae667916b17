"""The expression of every face in your own photos, by a trained model.

python predict.py photo.jpg
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

from PIL import Image
from tqdm import tqdm

from ferlab.errors import UserError, command
from ferlab.inference import photos
from ferlab.inference.annotate import annotate
from ferlab.inference.face_detection import Face
from ferlab.inference.photos import shown
from ferlab.inference.recognizer import UNSURE, Prediction, Recognizer

Row = tuple[str, int, Prediction]  # a file, the face's number in it from left to right, the answer


def arguments() -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    add = parser.add_argument
    add("images", nargs="+", metavar="IMAGE", help="a picture, a folder of them, or - for standard input")
    add("--model", action="append", default=[], metavar="RUN",
        help="a run's folder or .pth (repeatable; default: the best by macro-F1 on val)")  # fmt: skip
    add("--ensemble", action="store_true", help="let models vote: the mean of their probabilities")
    add("--flip", action="store_true", help="average over each face and its mirror image")
    add("--min-confidence", type=float, default=0.0, metavar="P", help="below this probability say unsure")
    add("--aligned", action="store_true", help="the pictures are ready face crops: look for no faces in them")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="print CSV with the probabilities of all classes")
    form.add_argument("--json", action="store_true", help="print JSON with the probabilities of all classes")
    add("--save-images", type=Path, metavar="DIR", help="write photos with boxes, labels and bars there")
    add("--topk", type=int, default=2, choices=range(1, 8), metavar="K", help="answers a face (default 2)")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    return parser.parse_args()


def load(args: argparse.Namespace) -> Recognizer:
    """The models that were named, or the best one, saying which."""
    if len(args.model) > 1 and not args.ensemble:
        raise UserError(f"{len(args.model)} models were named; add --ensemble to let them vote, or name one.")
    recognizer = Recognizer(
        *args.model, device=args.device, flip=args.flip, min_confidence=args.min_confidence
    )
    if not args.model:
        say(f"model: {recognizer}, the best here by macro-F1 on val; --model names another one, which the "
            "train scripts make")  # fmt: skip
    for file, model in zip(recognizer.files, recognizer.models):
        if model.checkpoint.get("data") == "drawn faces":
            say(f"note: {file} was trained on drawn faces; what it says about real ones means nothing.")
    return recognizer


def say(text: str) -> None:
    """A line on standard error, not through the progress bar."""
    tqdm.write(text, file=sys.stderr)


def predict(
    names: Sequence[str],
    recognizer: Recognizer,
    *,
    aligned: bool = False,
    draw: Callable | None = None,
    failed: Callable = say,
) -> Iterator[Row]:
    """Every face, file by file. `failed(sentence)` is called for a file that cannot be used or has no face,
    `draw(name, photo, predictions)` for every one with faces.
    """

    def look(name: str) -> tuple[list[Face], Image.Image | None, str]:
        try:
            photo, faces = photos.faces_in(name, aligned=aligned)
        except UserError as error:
            return [], None, str(error)
        if photo.info.get("animated"):
            say(f"note: {shown(name)} has several frames, and only its first one was looked at.")
        return faces, photo if draw else None, "" if faces else f"{shown(name)}: no face was found"

    chunk = 8 if draw else 512  # files in memory: as photos, or as faces only
    with (
        ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool,
        tqdm(total=len(names), unit=" files", leave=False, disable=not sys.stderr.isatty()) as bar,
    ):
        for start in range(0, len(names), chunk):
            part, looked = names[start : start + chunk], []
            for result in pool.map(look, part):
                looked.append(result)
                bar.update()
            answers = iter(recognizer.classify([face for faces, *_ in looked for face in faces]))
            for name, (faces, photo, error) in zip(part, looked):
                if error:
                    failed(error)
                    continue
                found = [next(answers) for _ in faces]
                if draw:
                    draw(name, photo, found)
                yield from ((name, number, answer) for number, answer in enumerate(found, 1))


def saver(folder: Path, names: Sequence[str], topk: int) -> Callable:
    """A function that writes the marked photo of one file into `folder`, under a name of its own, which is
    none of `names`: what is read is not written over.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--save-images {folder} cannot be made ({error.strerror or error}).") from None
    taken = {os.path.realpath(name) for name in names}

    def save(name: str, photo: Image.Image, faces: list[Prediction]) -> None:
        stem = "stdin" if name == "-" else Path(name).stem
        stem = stem.encode(errors="replace")[:200].decode(errors="ignore")  # a longer name fits on no disk
        paths = (folder / f"{stem}-faces{n if n > 1 else ''}.jpg" for n in range(1, len(taken) + 2))
        path = next(path for path in paths if os.path.realpath(path) not in taken)
        taken.add(os.path.realpath(path))
        try:
            annotate(photo, faces, topk=topk).save(path, quality=92, subsampling=0)
        except OSError as error:
            raise UserError(f"{path} could not be written ({error.strerror or error}).") from None

    return save


def print_table(rows: Iterator[Row], topk: int, width: int) -> None:
    """The table for people: one line a face, as the answers come."""
    runner_up = "  runner-up" if topk > 1 else ""
    tqdm.write(f"{'file':{width}}  face  {'expression':10}  probability{runner_up}")
    for name, number, face in rows:
        others = face.ranked(topk)[face.expression != UNSURE :]
        text = ", ".join(f"{other} {100 * p:.1f} %" for other, p in others)
        at = f"{shown(name):{width}}  {number:4}"
        tqdm.write(f"{at}  {face.expression:10}  {100 * face.probability:9.1f} %  {text}".rstrip())


def print_csv(rows: Iterator[Row], class_names: Sequence[str]) -> None:
    """One row a face, the probabilities of all classes and the box in the photo's pixels."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    sides = ("left", "top", "right", "bottom")
    writer.writerow(["file", "face", "expression", "probability", *class_names, *sides])
    for name, number, face in rows:
        box = [round(side, 1) for side in face.box or ()] or [""] * 4
        p = [f"{value:.6f}" for value in (face.probability, *face.probabilities.values())]
        writer.writerow([shown(name), number, face.expression, *p, *box])


def print_json(rows: Iterator[Row]) -> None:
    """A list with one object a face."""
    keys = ("box", "expression", "probability", "probabilities")
    found = [{"file": n, "face": i, **{key: getattr(face, key) for key in keys}} for n, i, face in rows]
    print(json.dumps(found, indent=1))


@command
def main() -> None:
    args = arguments()
    for name in ("SIGPIPE", "SIGINT"):  # `| head` and Ctrl-C end this quietly
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    warnings.filterwarnings("ignore", module="PIL")  # about metadata
    recognizer = load(args)
    names, left_out = photos.listed(args.images)
    failures = []
    if left_out:
        failures.append(
            f"left out, as these are no pictures that can be read here: {photos.summary(left_out)}"
        )
        say(failures[0])
    draw = saver(args.save_images, names, args.topk) if args.save_images else None

    def failed(sentence: str) -> None:
        failures.append(sentence)
        say(sentence)

    rows = predict(names, recognizer, aligned=args.aligned, draw=draw, failed=failed)
    if args.csv:
        print_csv(rows, recognizer.class_names)
    elif args.json:
        print_json(rows)
    else:
        print_table(rows, args.topk, max(len(shown(name)) for name in names))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
