"""Bytes of an image -> uint8 (3, 100, 100): formats, orientation, other sizes and shapes."""

import numpy as np
import pytest
from PIL import Image
from trees import IMAGE, RAMP, encode, png

from ferlab.data.cache import decode_face


@pytest.mark.parametrize(
    "mode, kind",
    [
        ("L", "JPEG"),
        ("L", "PNG"),
        ("CMYK", "JPEG"),
        ("P", "PNG"),
        ("RGB", "PNG"),
        ("RGBA", "PNG"),
        ("LA", "PNG"),
        ("1", "PNG"),
    ],
)
def test_other_pixel_formats_become_rgb(mode, kind):
    image = IMAGE.convert(mode)
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    pixels = decode_face(encode(image, kind, **options))
    assert pixels.shape == (3, 100, 100) and pixels.dtype == np.uint8
    expected = np.asarray(image.convert("RGB")).transpose(2, 0, 1).astype(int)
    assert np.abs(pixels - expected).max() <= (6 if kind == "JPEG" else 0)


def test_exif_rotation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be seen turned by 90 degrees clockwise
    for kind in ("JPEG", "PNG"):
        pixels = decode_face(encode(IMAGE, kind, exif=exif))
        assert pixels[0, :10].mean() < 30 and pixels[0, -10:].mean() > 225  # the dark left is the top now
        assert np.abs(pixels[0].astype(int) - RAMP.T).max() < 8


@pytest.mark.parametrize("side", [48, 100, 224])
def test_squares_of_another_size_are_scaled_where_that_is_asked(side):
    data = encode(IMAGE.resize((side, side)), "PNG")
    pixels = decode_face(data, size=100).astype(int)
    assert pixels.shape == (3, 100, 100) and np.abs(pixels[0] - RAMP).max() < 4
    if side != 100:
        with pytest.raises(
            ValueError, match=f"is {side} x {side} pixels, not 100 x 100; --face-size 100 takes"
        ):
            decode_face(data)
    for width, height in ((7, 100), (4, 4), (2049, 2049)):
        with pytest.raises(ValueError, match=f"is {width} x {height} pixels; a side must have 8 to 2048"):
            decode_face(png(width, height), size=100)


def test_what_is_no_square_gets_grey_bars():
    pixels = decode_face(encode(IMAGE.resize((50, 100)), "PNG"), size=48).astype(int)
    assert (
        pixels.shape == (3, 48, 48) and (pixels[:, :, :12] == 128).all() and (pixels[:, :, 36:] == 128).all()
    )
    assert (
        np.abs(np.diff(pixels[0, 20, 13:35])).max() < 20 and pixels[0, 20, 13] < 30 < 200 < pixels[0, 20, 34]
    )


def test_faces_of_any_kind_are_read_as_photos_are():
    deep = Image.fromarray(RAMP.astype(np.uint16) * 257)
    with pytest.raises(ValueError, match="not 8 bits a channel"):
        decode_face(encode(deep, "PNG"))
    assert np.abs(decode_face(encode(deep, "PNG"), size=100)[0].astype(int) - RAMP).max() < 2
    clear = Image.new("RGBA", (100, 100), (0, 0, 0, 0))
    assert (decode_face(encode(clear, "PNG"), size=100) == 255).all()
