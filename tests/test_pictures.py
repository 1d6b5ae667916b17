"""The marked pictures that predict.py saves."""

import os

import numpy as np
import pytest
from PIL import Image
from test_predict import answer, photo, rows, run, start  # noqa: F401  (fixtures)
from trees import FACE, IMAGE

import predict
from ferlab.errors import UserError
from ferlab.inference.annotate import ORANGE, annotate


def test_saved_pictures(tmp_path, drawn, run, start, photo):
    folder = tmp_path / "deep/out"
    aligned = tmp_path / "DATASET/test/3/photo.jpg"
    aligned.parent.mkdir(parents=True)
    aligned.write_bytes(FACE)
    words = (photo, aligned, drawn / "DATASET/test", "--model", run, "--csv")
    code, out, _ = start(*words, "--save-images", folder)
    assert code == 0 and len(list(folder.iterdir())) == 72
    marked = Image.open(folder / "photo-faces.jpg")
    assert marked.size == (640, 480) and Image.open(folder / "photo-faces2.jpg").size[0] == 400
    pixels = np.asarray(marked).astype(int)
    for x in (100, 200, 300, 400):  # the boxes' sides, at half their height
        assert np.abs(pixels[160, x - 2 : x + 3] - ORANGE).sum(1).min() < 150
    assert np.abs(pixels[160, 250] - np.asarray(IMAGE.resize((640, 480)))[160, 250]).max() < 20
    assert rows(out) == rows(start(*words)[1])  # in smaller chunks, in the same order


@pytest.mark.parametrize("size", [(100, 100), (30, 40), (500, 20), (2000, 1500)])
def test_labels_fit_on_photos_of_any_size(size):
    box = None if size == (100, 100) else (1.0, 1.0, size[0] - 1.0, size[1] - 1.0)
    image = Image.new("RGB", size, "white")
    marked = annotate(image, [answer(box)], topk=7)
    assert min(marked.size) >= min(400, 4 * min(size)) and image.getextrema() == ((255, 255),) * 3
    assert np.abs(np.asarray(marked).astype(int) - ORANGE).sum(2).min() < 30


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_is_one_sentence(tmp_path):
    (tmp_path / "a-faces.jpg").symlink_to("/dev/full")
    with pytest.raises(UserError, match="a-faces.jpg could not be written"):
        predict.saver(tmp_path, [])("a.jpg", IMAGE, "faces.jpg")


def test_no_photo_is_written_over(tmp_path, run, start):
    for name in ("me.jpg", "me-faces.jpg", f"{'x' * 248}.jpg"):
        (tmp_path / name).write_bytes(FACE)
    code, out, err = start(tmp_path, "--model", run, "--save-images", tmp_path, "--csv", "--aligned")
    assert (code, err) == (0, []) and (tmp_path / "me-faces.jpg").read_bytes() == FACE
    assert sorted(path.name for path in tmp_path.glob("*-faces*")) == [
        "me-faces-faces.jpg",
        "me-faces.jpg",
        "me-faces2.jpg",
        f"{'x' * 200}-faces.jpg",
    ]
