"""A video or a camera -> its faces over time, each with its expression; needs pip install opencv-python.

for sample in look("clip.mp4", Recognizer(), every=0.5): print(sample.time, sample.faces)
watch(Recognizer())                         # the first camera in a window, until q is pressed
"""

import math
import os
import subprocess
import sys
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from ferlab.data.image_io import content, is_picture
from ferlab.errors import UserError
from ferlab.files import read_regular
from ferlab.inference.annotate import annotate
from ferlab.inference.face_detection import MAX_PIXELS, find_faces
from ferlab.inference.photos import VIDEO, shown
from ferlab.inference.recognizer import Prediction, Recognizer
from ferlab.inference.tracking import Tracker

EVERY, SMOOTH = 0.5, 0.5  # seconds
USUAL_RATE, HIGHEST_RATE = 25.0, 240.0  # frames a second, where a file tells none, or nonsense
LONGEST_GAP = 3600.0  # seconds; a time stamp that jumps farther is wrong
WINDOW = "Facial expressions (q ends)"


class Sample(NamedTuple):
    """One frame that was looked at."""

    time: float  # seconds from the beginning
    faces: list[tuple[int, Prediction]]  # each with the number of the person, from left to right


def is_video(name: str) -> bool:
    """Whether the file is a video by its contents, or by its name and not a picture."""
    try:
        start = read_regular(name, limit=16)
    except OSError:
        return False
    return not is_picture(start) and (content(start) == "a video" or name.lower().endswith(VIDEO))


def look(
    name: str, recognizer: Recognizer, *, every: float = EVERY, smooth: float = SMOOTH
) -> Iterator[Sample]:
    """The first frame of a video and then one each `every` seconds (0: all) with its faces, upright ones or
    tilted by less than about 45 degrees. `smooth`: as in Tracker. Raises UserError, which names the file,
    where it cannot be read as a video, has no frame, or, after the last frame, where it ends too early.
    """
    cv2, tracker = _cv2(), _tracker(recognizer, every, smooth)
    with _opened(name) as video:
        at = -1.0
        for at, frame in _frames(video, every):
            faces = recognizer.classify(find_faces(frame, upright=True))
            yield Sample(at, tracker.update(at, faces))
        if at < 0:
            raise UserError(f"{shown(name)}: holds no frame that can be read.")
        lasts = video.get(cv2.CAP_PROP_FRAME_COUNT) / (video.get(cv2.CAP_PROP_FPS) or math.inf)
        if at + every + 1 < 0.9 * lasts:
            raise UserError(f"{shown(name)}: ends after {at:.1f} of {lasts:.1f} seconds; it is damaged.")


def save(name: str, target: Path, samples: Sequence[Sample], *, topk: int = 2) -> None:
    """Write the video as an MP4 file without sound, each frame with the faces that `samples` tell of it;
    boxes move evenly from sample to sample. Raises UserError where it cannot be written.
    """
    cv2 = _cv2()
    temporary = target.with_name(f".{target.stem}.{os.getpid()}.tmp.mp4")
    failed = UserError(f"{target} could not be written; is its folder there, open to you, and the disk full?")
    writer, written, size = cv2.VideoWriter(), 0, (0, 0)
    try:
        with _opened(name) as video:
            rate = _rate(video)
            hidden = not sys.stderr.isatty()
            for at, frame in tqdm(_frames(video), unit=" frames", leave=False, disable=hidden):
                numbers, faces = _apart(_faces_at(at, samples))
                marked = _bgr(annotate(frame, faces, topk=topk, numbers=numbers))
                if not written:
                    size = marked.shape[1] // 2 * 2, marked.shape[0] // 2 * 2  # the format takes even ones
                    code = cv2.VideoWriter_fourcc(*"mp4v")
                    if not writer.open(str(temporary), cv2.CAP_FFMPEG, code, rate, size):
                        raise failed
                marked = np.ascontiguousarray(marked[: size[1], : size[0]])
                while written <= at * rate + 0.1:  # at a constant rate, whatever the video's own is
                    writer.write(marked)
                    written += 1
        writer.release()
        with _opened(str(temporary)) as copy:
            if copy.get(cv2.CAP_PROP_FRAME_COUNT) != written:
                raise failed
        os.replace(temporary, target)
    except OSError:
        raise failed from None
    finally:
        writer.release()
        temporary.unlink(missing_ok=True)


def watch(recognizer: Recognizer, camera: int = 0, *, smooth: float = SMOOTH, topk: int = 2) -> None:
    """Show a camera's picture with its faces in a window until q or Escape is pressed, or it is closed.
    Raises UserError where there is no such camera or no display.
    """
    cv2 = _cv2()
    os.environ.setdefault("QT_LOGGING_RULES", "*=false")  # it would miss its own fonts, which are not needed
    probe = "import cv2; cv2.namedWindow('ferlab'); cv2.destroyAllWindows()"
    if subprocess.run([sys.executable, "-c", probe], capture_output=True).returncode:  # Qt aborts a process
        raise UserError(
            "the camera's window cannot be opened: it needs a display, and opencv-python, not "
            "opencv-python-headless."
        )
    video, begun = cv2.VideoCapture(camera), time.monotonic()
    tracker = _tracker(recognizer, 0, smooth)
    try:
        if not video.grab():
            raise UserError(f"camera {camera} cannot be read; is it plugged in, and used by nothing else?")
        cv2.namedWindow(WINDOW, cv2.WINDOW_NORMAL)
        for _, frame in _frames(video):
            faces = recognizer.classify(find_faces(frame, upright=True))
            numbers, faces = _apart(tracker.update(time.monotonic() - begun, faces))
            cv2.imshow(WINDOW, _bgr(annotate(frame, faces, topk=topk, numbers=numbers)))
            if cv2.waitKey(1) in (27, ord("q")) or cv2.getWindowProperty(WINDOW, cv2.WND_PROP_VISIBLE) < 1:
                break
    finally:
        video.release()
        cv2.destroyAllWindows()


def _cv2():
    """OpenCV, which says nothing by itself."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    try:
        import cv2
    except ImportError as error:
        how = "is not installed" if isinstance(error, ModuleNotFoundError) else f"does not start ({error})"
        raise UserError(f"a video needs OpenCV, which {how}: pip install opencv-python") from None
    return cv2


@contextmanager
def _opened(name: str):
    """OpenCV's reader of a file."""
    cv2 = _cv2()
    video = cv2.VideoCapture(os.path.abspath(name), cv2.CAP_FFMPEG)  # absolute: it would open addresses, too
    try:
        if not video.isOpened():
            raise UserError(
                f"{shown(name)}: cannot be read as a video; it is another kind of file, or damaged."
            )
        width, height = video.get(cv2.CAP_PROP_FRAME_WIDTH), video.get(cv2.CAP_PROP_FRAME_HEIGHT)
        if width * height > MAX_PIXELS:
            raise UserError(f"{shown(name)}: has {width:.0f} x {height:.0f} pixels; make it smaller.")
        yield video
    finally:
        video.release()


def _rate(video) -> float:
    """Frames a second, as the file tells."""
    rate = video.get(_cv2().CAP_PROP_FPS)
    return rate if 0 < rate <= HIGHEST_RATE else USUAL_RATE


def _frames(video, every: float = 0) -> Iterator[tuple[float, Image.Image]]:
    """Seconds from the beginning and the RGB picture of the first frame, then of one each `every` seconds.
    The seconds are the file's own time stamps; where these do not grow, the rate tells.
    """
    rate = _rate(video)
    at, due = -1 / rate, 0.0
    while video.grab():
        stamp = video.get(_cv2().CAP_PROP_POS_MSEC) / 1000
        at = stamp if at < stamp < at + LONGEST_GAP else at + 1 / rate
        if at >= due - 1e-6:
            due = every * (math.floor(at / every + 1e-6) + 1) if every else 0.0
            good, pixels = video.retrieve()
            if good:
                yield at, Image.fromarray(np.ascontiguousarray(pixels[..., ::-1]))


def _bgr(picture: Image.Image) -> np.ndarray:
    return np.ascontiguousarray(np.asarray(picture)[..., ::-1])


def _tracker(recognizer: Recognizer, every: float, smooth: float) -> Tracker:
    return Tracker(smooth=smooth, forget=max(1, 2.5 * every), min_confidence=recognizer.min_confidence)


def _faces_at(at: float, samples: Sequence[Sample]) -> list[tuple[int, Prediction]]:
    """The faces of the last sample before `at` seconds, on their way to where the next one has them."""
    index = bisect_right(samples, at + 1e-6, key=lambda sample: sample.time)
    if not index:
        return []
    before, after = samples[index - 1], samples[min(index, len(samples) - 1)]
    share = (at - before.time) / ((after.time - before.time) or math.inf)
    next_boxes = {number: face.box for number, face in after.faces}
    return [
        (number, face._replace(box=tuple(a + share * (b - a) for a, b in zip(face.box, next_boxes[number]))))
        if number in next_boxes else (number, face)
        for number, face in before.faces
    ]  # fmt: skip


def _apart(faces: Sequence[tuple[int, Prediction]]) -> tuple[list[int], list[Prediction]]:
    """Numbers and predictions."""
    return [number for number, _ in faces], [face for _, face in faces]
