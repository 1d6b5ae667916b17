"""The bytes of a picture -> Pillow's image; whatever is wrong with them is said in a few words.

with opened(Path("photo.jpg").read_bytes(), PHOTOS) as image:
    pixels = np.asarray(image.convert("RGB"))
"""

import functools
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

FACES = ("JPEG", "PNG")  # what RAF-DB's own images may be
PHOTOS = (*FACES, "WEBP", "BMP", "GIF", "TIFF", "AVIF")  # of several frames or pages the first is meant
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"II*\0", b"MM\0*")
HEIC = (b"ftypheic", b"ftypheix", b"ftypheim", b"ftypmif1")
OTHERS = (
    *((4, sign, "a HEIC photo; to read it: pip install pillow-heif") for sign in HEIC),
    (4, b"ftyp", "a video"),
    (0, b"\x1aE\xdf\xa3", "a video"),
    (8, b"AVI ", "a video"),
    (0, b"%PDF", "a PDF"),
    (0, b"PK\3\4", "a zip"),
    (0, b"<!DOCTYPE html", "a web page"),
    (0, b"<html", "a web page"),
    (0, b"<svg", "an SVG drawing"),
)
METADATA = ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp")


class Unusable(ValueError):
    """What is wrong with a picture; the message follows its name: "is empty"."""


@contextmanager
def opened(data: bytes, formats: Sequence[str] = FACES) -> Iterator[Image.Image]:
    """The image, its header read and nothing decoded yet. Whatever fails inside the block raises Unusable."""
    try:
        if "AVIF" in formats and data[4:12] in HEIC:
            formats = (*formats, *_heif())
        with Image.open(io.BytesIO(data), formats=tuple(formats)) as image:
            yield image
    except Unusable:
        raise
    except UnidentifiedImageError:
        if not data:
            raise Unusable("is empty") from None
        formats = [name for name in formats if name != "HEIF"]
        is_a = f" but {what}" if (what := content(data)) else ""
        named = f"{', '.join(formats[:-1])} or {formats[-1]}".replace("WEBP", "WebP")
        raise Unusable(f"is not a {named} image{is_a}") from None
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error and more
        raise Unusable(f"cannot be decoded: {error or type(error).__name__}"[:160]) from None


def content(data: bytes) -> str:
    """What else a file is that begins with these bytes, such as "a video"; "" where that is not known."""
    return next((what for at, sign, what in OTHERS if data[at:].startswith(sign)), "")


def is_picture(data: bytes) -> bool:
    """Whether a file that begins with these 16 bytes is one of PHOTOS."""
    return (
        data.startswith(SIGNATURES)
        or (data[:2] == b"BM" and data[6:10] == bytes(4))
        or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")
        or data[4:12] in (b"ftypavif", b"ftypavis")
        or (data[4:12] in HEIC and bool(_heif()))
    )


@functools.cache
def _heif() -> tuple[str, ...]:
    """Pillow's name for HEIC photos, where the optional pillow-heif is installed."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return ()
    register_heif_opener()
    return ("HEIF",)


def upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF data tell; damaged ones, which spoil no pixel, tell nothing."""
    image.load()  # which turns a TIFF by itself, and then tells so
    try:
        image.getexif()  # it is kept, so that what Pillow would write anew, and fail if it is damaged, can go
        for key in METADATA:
            image.info.pop(key, None)
        return ImageOps.exif_transpose(image)
    except Exception:  # Pillow's reader of metadata raises whatever the damage makes of them
        return image


def rgb(image: Image.Image) -> Image.Image:
    """The image upright in 8 bits RGB, white where it is transparent."""
    image = upright(image)
    if image.mode.startswith("I"):  # 16 bits of grey, which convert() would cut off, not scale
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
