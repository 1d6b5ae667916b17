"""A photo -> its faces, aligned to 100 x 100 pixels as RAF-DB has them.

    faces = find_faces(open_photo(Path("photo.jpg").read_bytes()))     # pip install --no-deps facenet-pytorch

The detector is facenet-pytorch's MTCNN (Zhang et al., 2016, https://arxiv.org/abs/1604.02878): of those that
bring their weights along it alone also finds eyes and mouth, which alignment needs; the others give a box.
"""

import io
import math
import warnings
from functools import cache
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from fer.errors import UserError

SIDE = 100  # pixels
# Where left eye, right eye and mouth go, x and y in pixels. Provisional: no file in benchmarks/ holds
# RAF-DB's own means yet, so predictions for photos that were aligned to these are not to be relied on.
EYES_AND_MOUTH = np.array([(26.2, 33.5), (72.8, 33.5), (49.2, 76.8)])
MAX_PIXELS, MAX_BYTES = 64_000_000, 64 << 20  # of a photo: a phone's 50 megapixels pass, a bomb does not
LONGEST, SHORTEST = 1600, 480  # the photo's longer side in the detector; larger and smaller ones are resized
SURE = 0.95  # the detector's own probability of a face
TURNS = (0, 30, -30, 90, -90, 180)  # degrees anticlockwise; the detector itself stands tilts of about 30


class Face(NamedTuple):
    """One face: pixels uint8 (3, 100, 100), and its box left, top, right, bottom in the photo's pixels (None
    where the photo is itself an aligned face).
    """

    pixels: np.ndarray
    box: tuple[float, float, float, float] | None


def open_photo(data: bytes) -> Image.Image:
    """JPEG or PNG bytes -> RGB, turned upright as its EXIF tells, white where it is transparent. Raises
    ValueError saying what is wrong.
    """
    if not data:
        raise ValueError("the file is empty")
    if len(data) > MAX_BYTES:
        raise ValueError(f"is larger than {MAX_BYTES >> 20} MiB")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise ValueError(f"has {image.width} x {image.height} pixels, more than "
                                     f"{MAX_PIXELS // 1_000_000} million; make it smaller")
                image = ImageOps.exif_transpose(image)
                if image.mode.startswith("I"):  # 16 bits of grey, which convert() would cut off, not scale
                    image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
                if "A" in image.getbands() or "transparency" in image.info:
                    image = image.convert("RGBA")
                    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
                return image.convert("RGB")
    except ValueError:
        raise
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error and more
        reason = "is not a JPEG or PNG image" if "cannot identify" in str(error) else f"cannot be decoded: {error}"
        raise ValueError(reason[:160]) from None


def find_faces(photo: Image.Image) -> list[Face]:
    """Every face in an RGB photo, from left to right. Where none stands upright, tilted ones are looked for.

    A photo of 100 x 100 pixels is taken for an aligned face and needs no detector; for others UserError is
    raised where it is not installed.
    """
    if photo.size == (SIDE, SIDE):
        return [Face(np.asarray(photo).transpose(2, 0, 1), None)]
    for degrees in TURNS:
        turned = photo.rotate(degrees, Image.Resampling.BILINEAR, expand=True, fillcolor="white")
        found = _detect(turned)
        if found:
            faces = [Face(align(turned, points), _turn_back(box, degrees, turned.size, photo.size))
                     for box, points in found]
            return sorted(faces, key=lambda face: face.box)
    return []


def align(photo: Image.Image, points: np.ndarray) -> np.ndarray:
    """uint8 (3, 100, 100): the photo turned, scaled and shifted so that `points` (3, 2), left eye, right eye and
    mouth, come closest to where RAF-DB has them. White outside the photo, as in RAF-DB.
    """
    here, there = (np.asarray(p, dtype=np.float64) @ (1, 1j) for p in (points, EYES_AND_MOUTH))
    x, y = there - there.mean(), here - here.mean()
    step = np.vdot(x, y) / np.vdot(x, x).real  # one aligned pixel to the right, in the photo: least squares
    origin = here.mean() - step * there.mean()
    fine = max(1, math.ceil(abs(step)))  # samples a pixel, so that a large face is averaged and not thinned out
    step /= fine
    matrix = (step.real, -step.imag, origin.real, step.imag, step.real, origin.imag)
    face = photo.transform((SIDE * fine,) * 2, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC,
                           fillcolor="white")
    return np.asarray(face.reduce(fine)).transpose(2, 0, 1)


def _detect(photo: Image.Image) -> list[tuple[np.ndarray, np.ndarray]]:
    """Boxes (4,) and left eye, right eye, mouth (3, 2) of the upright faces, in the photo's pixels."""
    longest = max(photo.size)
    scale = min(max(longest, SHORTEST), LONGEST) / longest
    size = [max(1, round(side * scale)) for side in photo.size]
    margin = max(size) // 8  # a face that fills its picture is found only with something around it
    image = ImageOps.autocontrast(photo.resize(size, Image.Resampling.BILINEAR, reducing_gap=2), cutoff=1)
    image = ImageOps.expand(image, margin, "white")
    boxes, sure, points = _detector().detect(image, landmarks=True)
    if boxes is None:
        return []
    found = []
    for box, p, five in zip(boxes, sure, points):
        if p >= SURE:
            box, five = ((np.asarray(v, dtype=np.float64) - margin) / scale for v in (box.reshape(2, 2), five))
            found.append((box.ravel(), np.stack([five[0], five[1], five[3:].mean(0)])))
    return found


@cache
def _detector():
    try:
        from facenet_pytorch import MTCNN
    except ImportError as error:
        raise UserError(
            f"a photo needs a face detector, and {error.name} is not installed: pip install --no-deps "
            "facenet-pytorch (aligned 100 x 100 faces need none)."
        ) from None
    return MTCNN(keep_all=True, device="cpu")


def _turn_back(box: np.ndarray, degrees: int, turned: tuple[int, int], size: tuple[int, int]) -> tuple:
    """The upright box around a box that was found in the photo of `size` turned by `degrees` anticlockwise."""
    left, top, right, bottom = box
    corners = np.array([left + 1j * top, right + 1j * top, left + 1j * bottom, right + 1j * bottom])
    from_centre = corners - complex(*turned) / 2
    corners = from_centre * np.exp(1j * np.radians(degrees)) + complex(*size) / 2
    return tuple(float(f(part)) for f in (np.min, np.max) for part in (corners.real, corners.imag))
