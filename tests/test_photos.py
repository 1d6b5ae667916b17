"""What is read of a folder, what is left out, and that both are said."""

import io
import os
import socket
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_predict import rows, run, start  # noqa: F401  (fixtures)
from trees import FACE, IMAGE, as_a_user, encode

from ferlab.data import image_io
from ferlab.errors import UserError
from ferlab.files import read_regular
from ferlab.inference import face_detection, photos
from ferlab.inference.predictor import find

HEIC = b"\0\0\0\x18ftypheic" + bytes(99)


@pytest.fixture
def mixed(tmp_path) -> Path:
    """A folder as phones, browsers and people leave it."""
    sub = tmp_path / "mixed/sub"
    sub.mkdir(parents=True)
    small = IMAGE.resize((20, 30))
    for name, data in {
        "a.jpg": FACE,
        "b.jfif": FACE,
        "c.webp": encode(small, "WEBP"),
        "sub/e.bmp": encode(small, "BMP"),
        "e2.AVIF": encode(small, "AVIF"),
        "f.gif": encode(small, "GIF", save_all=True, append_images=[Image.new("RGB", (20, 30))]),
        "g.tiff": encode(small, "TIFF"),
        "h": encode(small, "PNG"),
        "i.txt": FACE,
        "j.jpg": b"<html>",
        "d.HEIC": HEIC,
        "k.csv": b"BMI,1,2,3,4,5",
        "l.csv": b"",
        "m.nef": encode(small, "TIFF"),
        "sub/n.mp4": b"\0\0\0\x18ftypisom",
        "sub/.hidden.jpg": FACE,
        "._a.jpg": b"\0",
        "Thumbs.db": b"\0",
        "o.a long suffix": b"?",
        "README": b"?",
    }.items():
        (sub.parent / name).write_bytes(data)
    return sub.parent


def test_folders_are_read_by_contents_and_the_rest_is_counted(mixed):
    names, left_out = photos.expand_folders([str(mixed), "b.heic"])
    found = [os.path.relpath(name, mixed) for name in names[:-1]]
    assert found == ["a.jpg", "b.jfif", "c.webp", "e2.AVIF", "f.gif", "g.tiff", "h", "i.txt",
                     "j.jpg", "sub/e.bmp"]  # fmt: skip
    assert names[-1] == "b.heic"  # what was named is never left out
    assert left_out == Counter({".csv": 2, ".heic": 1, ".nef": 1, ".mp4": 1, "hidden": 1, "other": 1, "": 1})
    said = photos.summary(left_out)
    assert said.startswith("2 .csv, ") and "1 without a suffix" in said
    for name in set(found) - {"j.jpg"}:
        photo = face_detection.open_photo(photos.read(str(mixed / name)))
        assert photo.size in ((20, 30), (100, 100)) and photo.getextrema()[1][1] > 200  # a GIF's first frame


def test_what_is_left_out_is_said_and_the_exit_code_tells(mixed, run, start):
    for name in (
        "j.jpg",
        "k.csv",
        "l.csv",
        "m.nef",
        "README",
        "o.a long suffix",
        "sub/.hidden.jpg",
        "c.webp",
        "e2.AVIF",
        "f.gif",
        "g.tiff",
        "h",
        "sub/e.bmp",
        "i.txt",
        "b.jfif",
    ):
        (mixed / name).unlink()
    (mixed / "a.jpg").rename(mixed / "test_0001_aligned.jpg")
    code, out, err = start(mixed, "--model", run, "--csv")
    assert [os.path.basename(row["file"]) for row in rows(out)] == ["test_0001_aligned.jpg"]
    assert code == 1 and err == ["left out, as these are not pictures that can be read here: 1 .heic, 1 .mp4"]


def test_linked_folders_are_counted_and_closed_ones_named():
    with tempfile.TemporaryDirectory() as folder, as_a_user(folder):
        os.symlink("/tmp", f"{folder}/link")
        os.mkdir(f"{folder}/closed", mode=0)
        names, left_out = photos.expand_folders([folder])
        assert names == [f"{folder}/closed"] and left_out == {"linked folder": 1}


def test_pipes_sockets_and_devices_are_named_and_not_opened(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").symlink_to(tmp_path / "a.jpg")
    (tmp_path / "c").symlink_to("/dev/zero")
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    socket.socket(socket.AF_UNIX).bind("d.png")
    monkeypatch.setattr(io, "open", None)
    names, left_out = photos.expand_folders([str(tmp_path)])
    assert len(names) == 4 and not left_out
    for name, kind in zip(names, ("named pipe", "named pipe", "device", "socket")):
        with pytest.raises(OSError, match=f"it is a {kind}, not a file"):
            photos.read(name)


def test_a_file_is_read_up_to_its_limit(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert read_regular(tmp_path / "b", limit=3) == b"123"
    assert read_regular(tmp_path / "a", limit=9) == b"12345"


def test_what_is_not_a_face_gets_no_expression(tmp_path, run, start, monkeypatch):
    monkeypatch.setattr(face_detection, "find_faces", lambda *_: [])
    white = tmp_path / "white.png"
    white.write_bytes(encode(Image.new("RGB", (100, 100), "white"), "PNG"))
    code, out, err = start(white, "--model", run, "--csv")
    assert code == 1 and rows(out) == [] and err == [f"{white}: no face was found"]


@pytest.mark.parametrize("size", [48, 100, 224])
def test_ready_face_crops_of_any_size(tmp_path, run, start, size):
    path = tmp_path / "me.png"
    path.write_bytes(encode(IMAGE.resize((size, size)), "PNG"))
    code, out, err = start(path, "--model", run, "--csv", "--aligned")
    assert code == 0 and err == [] and [row["left"] for row in rows(out)] == [""]


@pytest.mark.parametrize(
    "name, said",
    [
        ("0", "0: is not a file; if a camera is meant: --webcam 0"),
        ("clip.MP4", "clip.MP4: cannot be read (No such file"),
        ("https://example.org/a.jpg", "is an address; download it"),
        ("nowhere.jpg", "cannot be read (No such file"),
    ],
)
def test_names_that_other_tools_take(run, start, monkeypatch, tmp_path, name, said):
    monkeypatch.chdir(tmp_path)
    code, out, err = start(name, "--model", run, "--csv")
    assert code == 1 and rows(out) == [] and len(err) == 1 and said in err[0]


def test_a_file_with_a_camera_s_number_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "0").write_bytes(FACE)
    assert photos.read("0") == FACE


def test_models_that_are_not_where_they_are_named(run, tmp_path):
    seed = tmp_path / "ResNet18/seed0"
    seed.mkdir(parents=True)
    os.mkfifo(tmp_path / "pipe")
    for path, said in (
        (run.parents[1], f"is not a run's folder, but runs with weights are in it: {run}"),
        (run.parent, f"runs with weights are in it: {run}"),
        (tmp_path / "pipe", "is not a file"),
        (seed, "has no best_model.pth in it; name a run"),
        (tmp_path / "x", "not exist"),
    ):
        with pytest.raises(UserError, match=said):
            find(path)
    (seed / "last.pth").touch()
    with pytest.raises(UserError, match="has no best_model.pth yet; resume its run, or name its last"):
        find(seed)
    (seed / "metrics.json").touch()
    with pytest.raises(UserError, match="numbers without its weights.*train it anew with python train_R"):
        find(seed)
    assert find(run) == find(run / "best_model.pth") == run / "best_model.pth"


def test_a_photo_as_path_bytes_pil_image_and_array_is_the_same(tmp_path):
    path = tmp_path / "face.png"
    clear = IMAGE.convert("RGBA")
    clear.putalpha(128)
    path.write_bytes(encode(clear, "PNG"))
    expected, _ = photos.faces_in(path, aligned=True)
    assert expected.mode == "RGB" and expected.getpixel((0, 99)) != clear.getpixel((0, 99))[:3]
    for source in (str(path), path.read_bytes(), clear, np.asarray(expected)):
        photo, [face] = photos.faces_in(source, aligned=True)
        assert (
            photo.tobytes() == expected.tobytes() and face.box is None and face.pixels.shape == (3, 100, 100)
        )
    for wrong in (np.zeros((5, 5)), np.zeros((5, 5, 4), np.uint8), np.zeros((0, 5, 3), np.uint8)):
        with pytest.raises(UserError, match="an array must be uint8 RGB"):
            photos.faces_in(wrong)


def test_of_several_frames_the_first_is_looked_at_and_that_is_said(tmp_path, run, start):
    frames = [IMAGE, IMAGE.rotate(90), IMAGE.rotate(180)]
    for kind in ("GIF", "TIFF", "WEBP"):
        (tmp_path / f"a.{kind}").write_bytes(encode(frames[0], kind, save_all=True, append_images=frames[1:]))
    (tmp_path / "b.gif").write_bytes(encode(IMAGE, "GIF"))
    code, out, err = start(tmp_path, "--model", run, "--csv", "--aligned")
    assert code == 0 and len(rows(out)) == 4 and len(err) == 3 and all("only its first one" in e for e in err)


def test_a_heic_photo_says_what_it_needs(tmp_path, run, start, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    image_io._heif.cache_clear()
    (tmp_path / "a.heic").write_bytes(HEIC)
    code, _, err = start(tmp_path / "a.heic", "--model", run)
    assert code == 1 and len(err) == 1 and "a HEIC photo; to read it: pip install pillow-heif" in err[0]
