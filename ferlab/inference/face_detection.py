"""A photo -> its faces, aligned to 100 x 100 pixels as RAF-DB has them.

    faces = find_faces(open_photo(Path("photo.jpg").read_bytes()))     # pip install --no-deps facenet-pytorch

The detector is facenet-pytorch's MTCNN (Zhang et al., 2016, https://arxiv.org/abs/1604.02878): of those that
bring their weights along it alone also finds eyes and mouth, which alignment needs; the others give a box.
"""

import math
import re
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from ferlab.data.image_io import PHOTOS, Unusable, opened, upright
from ferlab.errors import UserError

SIDE = 100  # pixels
# RAF-DB's own means of left eye, right eye and mouth, x and y in pixels: benchmarks/results/alignment.json
EYES_AND_MOUTH = np.array([(24.9, 32.9), (72.2, 32.9), (48.5, 76.2)])
MAX_PIXELS, MAX_BYTES = 64_000_000, 64 << 20  # of a photo: a phone's 50 megapixels pass, a bomb does not
LONGEST, SHORTEST = 1600, 480  # the photo's longer side in the detector; larger and smaller ones are resized
SURE = 0.95  # the detector's own probability of a face
RAFDB = re.compile(r"(^|/)((train|test)_\d+_aligned\.\w+|(DATASET/(train|test)/[1-7]|Image/aligned)/[^/]+)$")
TURNS = range(30, 360, 30)  # degrees anticlockwise; the detector itself stands tilts of about 30


class Face(NamedTuple):
    """One face: pixels uint8 (3, 100, 100), and its box left, top, right, bottom in the photo's pixels (None
    where the photo is itself an aligned face).
    """

    pixels: np.ndarray
    box: tuple[float, float, float, float] | None


def open_photo(data: bytes) -> Image.Image:
    """A picture's bytes -> RGB, turned upright as its EXIF tells, white where it is transparent. Raises
    ValueError saying what is wrong.
    """
    if len(data) > MAX_BYTES:
        raise Unusable(f"is larger than {MAX_BYTES >> 20} MiB")
    with opened(data, PHOTOS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise Unusable(
                f"has {image.width} x {image.height} pixels, more than {MAX_PIXELS // 1_000_000} "
                "million; make it smaller"
            )
        image = upright(image)
        if image.mode.startswith("I"):  # 16 bits of grey, which convert() would cut off, not scale
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if "A" in image.getbands() or "transparency" in image.info:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return image.convert("RGB")


def crop(photo: Image.Image) -> Face:
    """A ready face crop of any size, RGB: cut to a square and resized to what RAF-DB's images have."""
    square = ImageOps.fit(photo, (SIDE, SIDE), Image.Resampling.BICUBIC)
    return Face(np.asarray(square).transpose(2, 0, 1), None)


def is_aligned(name: str, photo: Image.Image) -> bool:
    """Whether the picture is one of RAF-DB's: 100 x 100 pixels, and its file's name or folder as RAF-DB has
    them. Pixels alone do not tell: anything can have that size.
    """
    return photo.size == (SIDE, SIDE) and bool(RAFDB.search(name.replace("\\", "/")))


def find_faces(photo: Image.Image) -> list[Face]:
    """Every face in an RGB photo, however it stands, from left to right. The photo is looked at as it is
    and in eleven turns. Of the looks at one face the surest counts, as a face on its side can pass for an
    upright one; what does not stand upright and is seen in one turn only is no face. Raises UserError where
    the detector is not installed.
    """
    looks = 2 * detect(photo) + detect(photo, TURNS)  # twice, since upright it needs no second look
    found = []
    for face in sorted(looks, key=lambda face: -face[0]):
        if any(_one_face(face[2], other[2]) for other in found):
            continue
        if sum(_one_face(face[2], other[2]) for other in looks) > 1:
            found.append(face)
    return sorted((Face(align(photo, points), box) for _, box, points in found), key=lambda face: face.box)


def _one_face(points: np.ndarray, other: np.ndarray) -> bool:
    """Whether the middles of two faces' points (3, 2) are closer than a middle is to its farthest point; the
    boxes of two neighbours overlap long before that.
    """
    middles, sizes = zip(*((p.mean(0), np.linalg.norm(p - p.mean(0), axis=1).max()) for p in (points, other)))
    return bool(np.linalg.norm(middles[0] - middles[1]) < max(sizes))


def align(photo: Image.Image, points: np.ndarray) -> np.ndarray:
    """uint8 (3, 100, 100): the photo turned, scaled and shifted so that `points` (3, 2), left eye, right eye
    and mouth, come closest to where RAF-DB has them. White outside the photo, as in RAF-DB.
    """
    here, there = (np.asarray(p, dtype=np.float64) @ (1, 1j) for p in (points, EYES_AND_MOUTH))
    x, y = there - there.mean(), here - here.mean()
    step = np.vdot(x, y) / np.vdot(x, x).real  # one aligned pixel to the right, in the photo: least squares
    origin = here.mean() - step * there.mean()
    fine = max(1, math.ceil(abs(step)))  # samples a pixel: a large face is averaged, not thinned out
    step /= fine
    matrix = (step.real, -step.imag, origin.real, step.imag, step.real, origin.imag)
    face = photo.transform(
        (SIDE * fine,) * 2, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC, fillcolor="white"
    )
    return np.asarray(face.reduce(fine)).transpose(2, 0, 1)


def detect(photo: Image.Image, turns: Iterable[float] = (0,)) -> list[tuple[float, tuple, np.ndarray]]:
    """Of every face that stands upright once the photo is turned by one of `turns`, degrees anticlockwise:
    its probability, the box around it (left, top, right, bottom), of the face's own size however it stands,
    and left eye, right eye and mouth (3, 2), in the photo's pixels.
    """
    longest = max(photo.size)
    scale = min(max(longest, SHORTEST), LONGEST) / longest
    size = [max(1, round(side * scale)) for side in photo.size]
    margin = max(size) // 8  # a face that fills its picture is found only with something around it
    image = ImageOps.autocontrast(photo.resize(size, Image.Resampling.BILINEAR, reducing_gap=2), cutoff=1)
    found = []
    for degrees in turns:  # grey outside: a white corner can complete a face that is none
        turned = image.rotate(degrees, Image.Resampling.BILINEAR, expand=True, fillcolor="grey")
        turned = ImageOps.expand(turned, margin, "white")
        boxes, sure, points = _detector().detect(turned, landmarks=True)
        for (left, top, right, bottom), p, five in zip(boxes, sure, points) if boxes is not None else ():
            if p >= SURE:
                z = np.array([((left + right) / 2, (top + bottom) / 2), *five], float) @ (1, 1j)
                z = (z - complex(*turned.size) / 2) * np.exp(1j * np.radians(degrees)) / scale
                z += complex(*photo.size) / 2
                middle, eyes, mouth = z[0], z[1:3], z[4:].mean()
                half = complex(right - left, bottom - top) / 2 / scale
                low, high = middle - half, middle + half
                box = tuple(float(side) for side in (low.real, low.imag, high.real, high.imag))
                found.append((float(p), box, np.array([(v.real, v.imag) for v in (*eyes, mouth)])))
    return found


@cache
def _detector():
    try:
        from facenet_pytorch import MTCNN
    except ImportError as error:
        install = "--no-deps facenet-pytorch" if error.name == "facenet_pytorch" else error.name
        raise UserError(
            f"a photo needs a face detector, and {error.name} is not installed: pip install "
            f"{install} (ready face crops need none: predict.py --aligned)."
        ) from None
    return MTCNN(keep_all=True, device="cpu")
