"""The expression of every face in your own photos and videos, by a trained model.

python predict.py photo.jpg
python predict.py folder/ --model results/ResNet18/seed0 --model results/VGG16/seed0 --ensemble --csv
python predict.py clip.mp4 --every 0.2 --save-video marked.mp4
python predict.py --webcam

Faces are found and aligned first, but for RAF-DB's own images, which are known by their
names or folders, and for ready face crops of any size with --aligned.
Exit code 1 where a file was left out, not usable or without a face, 2 where the work could not go on.
"""

import argparse
import csv
import itertools
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from tqdm import tqdm

from ferlab.errors import UserError, command
from ferlab.files import shown
from ferlab.inference import photos, video
from ferlab.inference.annotate import annotate
from ferlab.inference.face_detection import Face
from ferlab.inference.recognizer import UNSURE, Prediction, Recognizer
from ferlab.inference.timeline import timeline

COLUMNS = """
CSV columns: file; time in seconds from the beginning, where a video was named; face: the number from left to
right, in a video the person's number from frame to frame; expression; probability, the highest one; all seven
probabilities; left, top, right, bottom: the face's box in pixels. A video's probabilities are smoothed.
"""


class Row(NamedTuple):
    """An answer to a face."""

    file: str
    time: float | None  # seconds from a video's beginning; None: a picture
    number: int  # of the face in the picture from left to right, or of the person in the video
    face: Prediction


def arguments() -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], epilog=COLUMNS, allow_abbrev=False)
    add = parser.add_argument
    add("images", nargs="*", metavar="FILE",
        help="a picture, a folder of them, - for standard input, or a video")  # fmt: skip
    add("--model", action="append", default=[], metavar="RUN",
        help="a run's folder or .pth (repeatable; default: the best by macro-F1 on val)")  # fmt: skip
    add("--ensemble", action="store_true", help="average the probabilities of several models")
    add("--flip", action="store_true", help="average over each face and its mirror image")
    add("--min-confidence", type=float, default=0.0, metavar="P", help="below this probability say unsure")
    add("--aligned", action="store_true", help="the pictures are ready face crops: look for no faces in them")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="print CSV with the probabilities of all classes")
    form.add_argument("--json", action="store_true", help="print JSON with the probabilities of all classes")
    add("--save-images", type=Path, metavar="DIR",
        help="write photos with boxes, labels and bars there, and videos' timelines")  # fmt: skip
    add("--topk", type=int, default=2, choices=range(1, 100), metavar="K", help="answers a face (default 2)")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    moving = parser.add_argument_group("video and camera (pip install opencv-python)")
    add = moving.add_argument
    add("--every", type=float, default=video.EVERY, metavar="SECONDS",
        help="read one frame each so many seconds (default %(default)s; 0: at every one)")  # fmt: skip
    add("--smooth", type=float, default=video.SMOOTH, metavar="SECONDS",
        help="average a person's probabilities over so long (default %(default)s; 0: not)")  # fmt: skip
    add("--save-video", type=Path, metavar="FILE.mp4", help="write the video with boxes and labels, silent")
    add("--webcam", type=int, nargs="?", const=0, metavar="N", help="show camera N (default 0) in a window")
    args = parser.parse_args()
    if not args.images and args.webcam is None:
        parser.error("name a picture, a folder, a video, or --webcam")
    if args.webcam is not None and (
        args.images or args.csv or args.json or args.save_images or args.save_video
    ):
        raise UserError("--webcam shows a window and writes nothing; leave the files and their options out.")
    for name in ("every", "smooth"):
        if not 0 <= getattr(args, name) < float("inf"):
            raise UserError(f"--{name} is {getattr(args, name):g}; it is a number of seconds, 0 or more.")
    return args


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
                yield from (Row(name, None, number, answer) for number, answer in enumerate(found, 1))


def follow(
    name: str, recognizer: Recognizer, args: argparse.Namespace, save: Callable | None, failed: Callable
) -> Iterator[Row]:
    """Every face in a video, frame by frame; then what was asked to be saved of it."""
    samples = []
    try:
        for sample in video.look(name, recognizer, every=args.every, smooth=args.smooth):
            yield from (Row(name, sample.time, *face) for face in sample.faces)
            faces = [(number, face._replace(pixels=None)) for number, face in sample.faces]  # to save memory
            samples.append(sample._replace(faces=faces))
    except UserError as error:
        failed(str(error))
    if samples and not any(sample.faces for sample in samples):
        failed(f"{shown(name)}: no face was found in {len(samples)} frames that were looked at")
    elif samples and save:
        save(name, timeline(samples, title=shown(Path(name).name)), "timeline.png")
    if samples and args.save_video:
        video.save(name, args.save_video, samples, topk=args.topk)


def saver(folder: Path, names: Sequence[str]) -> Callable:
    """A function that writes what was drawn of one file into `folder`, under a name of its own, which is none
    of `names`: what is read is not written over.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--save-images {folder} cannot be made ({error.strerror or error}).") from None
    taken = {os.path.realpath(name) for name in names}

    def save(name: str, picture: Image.Image, ending: str) -> None:
        stem = "stdin" if name == "-" else Path(name).stem
        stem = stem.encode(errors="replace")[:200].decode(errors="ignore")  # a longer name fits on no disk
        what, dot, kind = ending.partition(".")
        paths = (folder / f"{stem}-{what}{n if n > 1 else ''}{dot}{kind}" for n in range(1, len(taken) + 2))
        path = next(path for path in paths if os.path.realpath(path) not in taken)
        taken.add(os.path.realpath(path))
        try:
            picture.save(path, quality=92, subsampling=0)
        except OSError as error:
            raise UserError(f"{path} could not be written ({error.strerror or error}).") from None

    return save


def print_table(rows: Iterator[Row], topk: int, width: int, timed: bool) -> None:
    """The table for people: one line a face, as the answers come."""
    runner_up = "  runner-up" if topk > 1 else ""
    seconds = "  seconds" if timed else ""
    tqdm.write(f"{'file':{width}}{seconds}  face  {'expression':10}  probability{runner_up}")
    for name, time, number, face in rows:
        others = face.ranked(topk)
        if face.expression != UNSURE:
            others = others[1:]  # the first has columns of its own
        text = ", ".join(f"{other} {100 * p:.1f} %" for other, p in others)
        at = f"{shown(name):{width}}"
        if timed:
            at += f"{'' if time is None else f'{time:.2f}':>9}"
        at += f"  {number:4}"
        tqdm.write(f"{at}  {face.expression:10}  {100 * face.probability:9.1f} %  {text}".rstrip())


def print_csv(rows: Iterator[Row], class_names: Sequence[str], *, timed: bool) -> None:
    """The columns that --help tells of."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    sides = ("left", "top", "right", "bottom")
    columns = ["file", "time", "face"] if timed else ["file", "face"]
    writer.writerow([*columns, "expression", "probability", *class_names, *sides])
    for name, time, number, face in rows:
        box = [round(side, 1) for side in face.box or ()] or [""] * 4
        p = [f"{value:.6f}" for value in (face.probability, *face.probabilities.values())]
        times = ["" if time is None else f"{time:.3f}"] if timed else []
        writer.writerow([shown(name), *times, number, face.expression, *p, *box])


def print_json(rows: Iterator[Row]) -> None:
    """A list with one object a face; of a video also with `time` in seconds."""
    keys = ("box", "expression", "probability", "probabilities")
    found = []
    for name, time, number, face in rows:
        times = {} if time is None else {"time": round(time, 3)}
        found.append({"file": name, **times, "face": number, **{key: getattr(face, key) for key in keys}})
    print(json.dumps(found, indent=1))


def check_video(args: argparse.Namespace, videos: Sequence[str]) -> None:
    """Raise UserError where options and videos do not go together."""
    target = args.save_video
    if videos and args.aligned:
        raise UserError("--aligned is for pictures; in a video faces are always looked for.")
    if target and len(videos) != 1:
        raise UserError(f"--save-video writes one video; named were {len(videos)}.")
    if target and target.suffix.lower() != ".mp4":
        raise UserError(f"--save-video {target}: its name must end in .mp4, as it will be an MP4 file.")
    if target and os.path.realpath(target) == os.path.realpath(videos[0]):
        raise UserError(f"--save-video {target} would write over the video that is read; name another file.")
    if target and not target.parent.is_dir():
        raise UserError(f"--save-video {target}: the folder {target.parent} does not exist; make it first.")


@command
def main() -> None:
    args = arguments()
    warnings.filterwarnings("ignore", module="PIL")  # about metadata
    videos = [name for name in args.images if video.is_video(name)]
    check_video(args, videos)
    recognizer = load(args)
    if args.webcam is not None:
        video.watch(recognizer, args.webcam, smooth=args.smooth, topk=args.topk)
        return
    names, left_out = photos.expand_folders([name for name in args.images if name not in videos])
    failures = []
    if left_out:
        failures.append(
            f"left out, as these are not pictures that can be read here: {photos.summary(left_out)}"
        )
        say(failures[0])
    save = saver(args.save_images, [*names, *videos]) if args.save_images else None

    def draw(name: str, photo: Image.Image, faces: list[Prediction]) -> None:
        save(name, annotate(photo, faces, topk=args.topk), "faces.jpg")

    def failed(sentence: str) -> None:
        failures.append(sentence)
        say(sentence)

    rows = itertools.chain(
        predict(names, recognizer, aligned=args.aligned, draw=save and draw, failed=failed),
        *(follow(name, recognizer, args, save, failed) for name in videos),
    )
    if args.csv:
        print_csv(rows, recognizer.class_names, timed=bool(videos))
    elif args.json:
        print_json(rows)
    else:
        print_table(rows, args.topk, max(len(shown(name)) for name in [*names, *videos]), bool(videos))
    sys.stdout.flush()  # what goes wrong there is for `command` to say
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
