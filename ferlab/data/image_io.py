"""The bytes of a picture -> Pillow's image; whatever is wrong with them is said in a few words.

with opened(Path("photo.jpg").read_bytes(), PHOTOS) as image:
    pixels = np.asarray(image.convert("RGB"))
"""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from PIL import Image, UnidentifiedImageError
from PIL.Image import Transpose as T

FACES = ("JPEG", "PNG")  # what RAF-DB's own images may be
PHOTOS = (*FACES, "WEBP", "BMP", "GIF", "TIFF")  # of several frames or pages the first is meant
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"II*\0", b"MM\0*")
OTHERS = (
    (8, b"heic", "a HEIC photo"),
    (8, b"heix", "a HEIC photo"),
    (8, b"mif1", "a HEIC photo"),
    (8, b"avif", "an AVIF image"),
    (4, b"ftyp", "a video"),
    (0, b"\x1aE\xdf\xa3", "a video"),
    (8, b"AVI ", "a video"),
    (0, b"%PDF", "a PDF"),
    (0, b"PK\3\4", "a zip"),
    (0, b"<!DOCTYPE html", "a web page"),
    (0, b"<html", "a web page"),
    (0, b"<svg", "an SVG drawing"),
)
ORIENTATION = 0x0112  # EXIF's tag
TURNS = dict(
    zip(
        range(2, 9),
        (
            T.FLIP_LEFT_RIGHT,
            T.ROTATE_180,
            T.FLIP_TOP_BOTTOM,
            T.TRANSPOSE,
            T.ROTATE_270,
            T.TRANSVERSE,
            T.ROTATE_90,
        ),
    )
)


class Unusable(ValueError):
    """What is wrong with a picture; the message follows its name: "is empty"."""


@contextmanager
def opened(data: bytes, formats: Sequence[str] = FACES) -> Iterator[Image.Image]:
    """The image, its header read and nothing decoded yet. Whatever fails inside the block raises Unusable."""
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            yield image
    except Unusable:
        raise
    except UnidentifiedImageError:
        if not data:
            raise Unusable("is empty") from None
        is_a = next((f" but {what}" for at, sign, what in OTHERS if data[at:].startswith(sign)), "")
        named = f"{', '.join(formats[:-1])} or {formats[-1]}".replace("WEBP", "WebP")
        raise Unusable(f"is not a {named} image{is_a}") from None
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error and more
        raise Unusable(f"cannot be decoded: {error or type(error).__name__}"[:160]) from None


def is_picture(data: bytes) -> bool:
    """Whether a file that begins with these 16 bytes is one of PHOTOS."""
    return (
        data.startswith(SIGNATURES)
        or (data[:2] == b"BM" and data[6:10] == bytes(4))
        or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")
    )


def upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF data tell; damaged ones, which spoil no pixel, tell nothing."""
    image.load()  # which turns a TIFF by itself, and then tells so
    try:
        turn = TURNS.get(image.getexif().get(ORIENTATION))
    except Exception:  # Pillow's reader of metadata raises whatever the damage makes of them
        turn = None
    return image if turn is None else image.transpose(turn)
