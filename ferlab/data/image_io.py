"""The bytes of a JPEG or PNG file -> Pillow's image; whatever is wrong with them is said in a few words.

    with opened(Path("photo.jpg").read_bytes()) as image:
        pixels = np.asarray(image.convert("RGB"))
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, UnidentifiedImageError
from PIL.Image import Transpose as T

ORIENTATION = 0x0112  # EXIF's tag
TURNS = dict(zip(range(2, 9), (T.FLIP_LEFT_RIGHT, T.ROTATE_180, T.FLIP_TOP_BOTTOM, T.TRANSPOSE, T.ROTATE_270,
                               T.TRANSVERSE, T.ROTATE_90)))


class Unusable(ValueError):
    """What is wrong with a picture; the message follows its name: "is empty"."""


@contextmanager
def opened(data: bytes) -> Iterator[Image.Image]:
    """The image, its header read and nothing decoded yet. Whatever fails inside the block raises Unusable."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            yield image
    except Unusable:
        raise
    except UnidentifiedImageError:
        raise Unusable("is not a JPEG or PNG image" if data else "is empty") from None
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error and more
        raise Unusable(f"cannot be decoded: {error or type(error).__name__}"[:160]) from None


def upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF data tell; damaged ones, which spoil no pixel, tell nothing."""
    try:
        turn = TURNS.get(image.getexif().get(ORIENTATION))
    except Exception:  # Pillow's reader of metadata raises whatever the damage makes of them
        turn = None
    return image if turn is None else image.transpose(turn)
