"""A photo -> the same with its faces boxed and numbered, each with its expression and its probabilities.

annotate(photo, Recognizer()(photo)).save("marked.jpg")
"""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from ferlab.inference.recognizer import Prediction

ORANGE, DARK = (213, 94, 0), (0, 0, 0, 170)
Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels


def annotate(
    photo: Image.Image,
    faces: Sequence[Prediction],
    *,
    topk: int = 2,
    longest: float = math.inf,
    numbers: Sequence[int] = (),
) -> Image.Image:
    """A copy of the RGB photo: around each face a box with its number, of `numbers` or from 1, and beside it
    a panel with number, expression and bars of the `topk` most probable ones.

    No panel lies on another one, and as few as can be on faces. Where there are too many for that, the panels
    have no bars, and where that is too much there is the number alone. A longer side than `longest` pixels
    is reduced to that.
    """
    enlarged = min(4, max(1, 400 / min(photo.size)))  # or the panels would cover a small photo
    zoom = min(enlarged, longest / max(photo.size))
    target = [max(1, round(zoom * side)) for side in photo.size]
    photo = photo.resize(target, Image.Resampling.BICUBIC, reducing_gap=2) if zoom != 1 else photo.copy()
    font = ImageFont.load_default(max(12, round(min(photo.size) / 40)))
    boxes = [tuple(zoom * side for side in face.box) if face.box else None for face in faces]
    if None in boxes:  # an aligned face: room for its panel below
        boxes = [(0, 0, photo.width - 1, photo.height - 1)]
        photo = ImageOps.expand(photo, (0, 0, 0, (topk + 1) * _line(font)), "white")
    panels, bars = _layout(boxes, photo.size, topk=topk, font=font)
    pen = ImageDraw.Draw(photo, "RGBA")
    for box in boxes:
        pen.rectangle(box, outline=ORANGE, width=max(2, round(font.size) // 6))
    for number, face, box, panel in zip(numbers or range(1, len(boxes) + 1), faces, boxes, panels):
        if panel is None or not _touch(box, panel):
            _title(pen, box, str(number), font)
        if panel and bars:
            pen.rectangle(panel, fill=DARK)
        if panel:
            _title(pen, panel, f"{number}  {face.expression} {100 * face.probability:.0f} %", font)
            for i, share in enumerate(face.ranked(bars), 1):
                _bar(pen, panel, i * _line(font), share, font)
    return photo


def _line(font) -> int:
    """Pixels from one line of text to the next."""
    return round(1.4 * font.size)


def _layout(
    boxes: Sequence[Box], within: tuple[int, int], *, topk: int, font
) -> tuple[list[Box] | list[None], int]:
    """The panel of each face, and how many bars they have: `topk`, or none where these do not fit; None where
    even panels without bars do not.
    """
    for bars, width in ((topk, 15 * font.size), (0, 11.5 * font.size)):
        if panels := _places(boxes, (min(width, within[0]), _line(font) * (bars + 1)), within):
            return panels, bars
    return [None] * len(boxes), 0


def _touch(box: Box, panel: Box) -> bool:
    """Whether no more than two pixels are between them."""
    gaps = (max(box[side], panel[side]) - min(box[side + 2], panel[side + 2]) for side in (0, 1))
    return max(gaps) < 2


def _places(boxes: Sequence[Box], size: tuple[float, float], within: tuple[int, int]) -> list[Box]:
    """For each box a place of `size` inside `within` that meets no other place: the one that covers the
    least of all boxes, others' most of all, then the nearest to its own one's lower side. [] where that
    cannot be.
    """
    room, every = np.array(within), np.array(boxes)
    if not boxes or (np.array(size) > room).any() or len(boxes) * np.prod(size) > np.prod(room):
        return []
    taken, places = np.empty((0, 4)), {}
    for index in np.argsort(every[:, 1]):  # from the top
        left, top, right, bottom = every[index]
        x = np.concatenate([[left, right - size[0]], np.linspace(left - 2 * size[0], right + size[0], 25)])
        y = np.concatenate([[bottom, top - size[1]], np.linspace(top - 2 * size[1], bottom + size[1], 25)])
        corner = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2).clip(0, room - size)
        options = np.concatenate([corner, corner + size], 1)  # (N, 4)
        options = options[_overlap(options, taken).sum(1) == 0]
        if not len(options):
            return []
        away = np.abs((options[:, :2] + options[:, 2:]) / 2 - ((left + right) / 2, bottom)).sum(1)
        covered = 3 * _overlap(options, every).sum(1) - 2 * _overlap(options, every[[index]])[:, 0]
        cost = covered / np.prod(size) + 0.2 * away / sum(size)
        places[index] = options[cost.argmin()]
        taken = np.concatenate([taken, places[index][None]])
    return [tuple(places[index].tolist()) for index in range(len(boxes))]


def _overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pixels that each of a (N, 4) shares with each of b (M, 4): (N, M)."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    return (high - low).clip(0).prod(2)


def _title(pen: ImageDraw.ImageDraw, panel: Box, text: str, font: ImageFont.FreeTypeFont) -> None:
    left, top, *_ = panel
    pen.rectangle((left, top, left + pen.textlength(text, font) + font.size, top + 1.4 * font.size), ORANGE)
    pen.text((left + font.size / 2, top), text, "white", font)


def _bar(pen: ImageDraw.ImageDraw, panel: Box, down: float, share: tuple[str, float], font) -> None:
    (left, top, right, _), size, (name, p) = panel, font.size, share
    bar, top, line = left + 6 * size, top + down, 1.4 * size
    pen.rectangle((bar, top + 3, bar + p * (right - bar - 4 * size), top + line - 3), fill=ORANGE)
    pen.text((left + size / 2, top), name, "white", font)
    pen.text((right - 3.5 * size, top), f"{100 * p:.0f} %", "white", font)
