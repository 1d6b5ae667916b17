"""predict.py as its user runs it: every face an answer, every bad file a sentence, exit codes that tell."""

import csv
import io
import json
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from trees import FACE, IMAGE, encode

import models
import predict
from ferlab.data import image_io
from ferlab.data.rafdb import CLASS_NAMES
from ferlab.inference import face_detection, predictor, retinaface
from ferlab.inference.predictor import probabilities
from ferlab.inference.recognizer import Prediction
from ferlab.training.checkpoint import save
from RAFDB_dataset import RAFDBDataset

ROOT = Path(__file__).parents[1]


def trained(folder: Path, *, seed: int, data: str = "RAF-DB", **more) -> Path:
    """A run's folder with a ConvNet of random weights whose answers differ from face to face."""
    model = models.build("ConvNet", image_size=40, seed=seed)
    with torch.no_grad():
        model.classifier[-1].weight *= 30
    folder.mkdir(parents=True)
    save(
        folder / "best_model.pth",
        {
            "model": model.built,
            "class_names": list(CLASS_NAMES),
            "weights": model.state_dict(),
            "options": {"resolution": 0},
            "data": data,
            "best": {"epoch": 1, "macro_f1": 0.5},
            "split_hash": "0" * 16,
            "train_hash": "0" * 16,
            **more,
        },
    )
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return trained(tmp_path_factory.mktemp("results") / "ConvNet/seed0", seed=0)


@pytest.fixture(scope="module")
def run2(tmp_path_factory) -> Path:
    return trained(tmp_path_factory.mktemp("results") / "ConvNet/seed1", seed=1, data="drawn faces")


@pytest.fixture
def start(monkeypatch, capsys):
    """predict.py with these words -> exit code, standard output, lines of standard error."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGPIPE)}

    def start(*words) -> tuple[int, str, list[str]]:
        monkeypatch.setattr(sys, "argv", ["predict.py", *map(str, words), "--device", "cpu"])
        with pytest.raises(SystemExit) as end, warnings.catch_warnings():
            predict.main()
        out, err = capsys.readouterr()
        return end.value.code, out, err.splitlines()

    yield start
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.fixture
def photo(tmp_path, monkeypatch) -> Path:
    """A photo in which two faces are found, without the detector."""
    points = np.array([(130, 140), (170, 140), (150, 180)])

    def find_faces(image, **_):
        if image.size != (640, 480):
            return []
        boxes = (100.0, 100.0, 200.0, 220.0), (300.0, 100.0, 400.0, 220.0)
        shifts = (0, 0), (200, 0)
        return [
            face_detection.Face(face_detection.align(image, points + shift), box)
            for box, shift in zip(boxes, shifts)
        ]

    monkeypatch.setattr(face_detection, "find_faces", find_faces)
    path = tmp_path / "photo.png"
    path.write_bytes(encode(IMAGE.resize((640, 480)), "PNG"))
    return path


def answer(box) -> Prediction:
    p = dict.fromkeys(CLASS_NAMES, 1 / 7)
    return Prediction(box, "Happiness", 1 / 7, p, np.zeros((3, 100, 100), np.uint8))


def rows(text: str) -> list[dict]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_folder_of_aligned_faces(drawn, run, start):
    code, out, err = start(drawn / "DATASET/test", "--model", run, "--csv")
    found = rows(out)
    assert code == 0 and err == [] and len(found) == 70
    assert [row["file"] for row in found] == sorted(row["file"] for row in found)
    test = RAFDBDataset(drawn, "test")
    network = models.load(run / "best_model.pth")
    direct = dict(zip(test.names, probabilities([network], test.images).tolist()))
    assert len({row["expression"] for row in found}) > 1  # or the next lines would say little
    for row in found:
        p = [float(row[name]) for name in CLASS_NAMES]
        assert p == pytest.approx(direct[Path(row["file"]).name], abs=1e-5)
        assert row["expression"] == CLASS_NAMES[np.argmax(p)] and float(row["probability"]) == max(p)
        assert row["face"] == "1" and row["left"] == row["bottom"] == ""


def test_bad_files_get_one_sentence_each_and_the_others_go_on(tmp_path, run, start, photo):
    bad = {
        "a html.jpg": (
            b"<!DOCTYPE html>",
            "is not a JPEG, PNG, WebP, BMP, GIF, TIFF or AVIF image but a web page",
        ),
        "b empty.png": (b"", "is empty"),
        "c truncated.jpg": (FACE[:-400], "cannot be decoded: image file is truncated"),
        "d large.png": (encode(Image.new("1", (8001, 8000)), "PNG"), "has 8001 x 8000 pixels"),
        "e nobody.png": (encode(Image.new("RGB", (50, 50)), "PNG"), "no face was found"),
    }
    for name, (data, _) in bad.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "f/DATASET/test/1").mkdir(parents=True)
    (tmp_path / "f/DATASET/test/1/f good.JPG").write_bytes(FACE)
    (tmp_path / "g notes.txt").write_text("left out")
    (tmp_path / "nothing").mkdir()
    more = (tmp_path / "nothing", tmp_path / "nowhere.jpg", run)
    code, out, err = start(tmp_path, *more, "--model", run, "--csv")
    messages = ["left out, as these are not pictures that can be read here: 1 .pth, 1 .txt"]
    messages += [f"{name}: {message}" for name, (_, message) in bad.items()]
    messages += [
        "nothing: the folder holds no picture",
        "nowhere.jpg: cannot be read (No such file",
        "seed0: the folder holds a model: name it with --model",
    ]
    assert code == 1 and len(err) == len(messages)
    assert [line for message, line in zip(messages, err) if message not in line] == []
    assert [Path(row["file"]).name for row in rows(out)] == ["f good.JPG", "photo.png", "photo.png"]


def test_json_of_a_photo(run, start, photo):
    code, out, err = start(photo, "--model", run, "--json")
    left, right = json.loads(out)
    assert code == 0 and err == []
    assert (left["face"], left["box"]) == (1, [100, 100, 200, 220])
    assert (right["face"], right["box"]) == (2, [300, 100, 400, 220])
    for row in (left, right):
        assert list(row["probabilities"]) == list(CLASS_NAMES)
        p = row["probabilities"].values()
        assert sum(p) == pytest.approx(1, abs=1e-5)
        assert row["probability"] == row["probabilities"][row["expression"]] == max(p)
    assert left["probabilities"] != right["probabilities"]


@pytest.mark.parametrize("topk", [1, 2, 7])
def test_the_table_shows_the_topk(tmp_path, run, start, topk):
    (tmp_path / "face.jpg").write_bytes(FACE)
    code, out, _ = start(tmp_path / "face.jpg", "--aligned", "--model", run, "--topk", topk)
    header, line = out.splitlines()
    assert code == 0 and ("runner-up" in header) == (topk > 1)
    shares = [float(part.split()[-2]) for part in line.split(", ")[1:]]
    assert sum(name in line for name in CLASS_NAMES) == topk and shares == sorted(shares, reverse=True)


def test_models_vote_with_the_mean_of_their_probabilities(tmp_path, run, run2, start):
    (tmp_path / "face.jpg").write_bytes(FACE)
    words = [[run], [run2], [run, run2]]
    one, two, both = (
        json.loads(start(tmp_path / "face.jpg", *(w for path in paths for w in ("--model", path)), "--json",
                         "--ensemble", "--aligned")[1])[0]["probabilities"] for paths in words)  # fmt: skip
    assert one != two
    assert both == pytest.approx({name: (one[name] + two[name]) / 2 for name in CLASS_NAMES}, abs=1e-6)


def test_a_model_of_drawn_faces_says_so(tmp_path, run2, start):
    (tmp_path / "face.jpg").write_bytes(FACE)
    code, out, err = start(tmp_path / "face.jpg", "--model", run2, "--aligned")
    assert code == 0 and len(err) == 1 and "was trained on drawn faces" in err[0]


def test_standard_input(run, start, monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(FACE)))
    code, out, err = start("-", "-", "--model", run, "--csv", "--aligned")  # the second one is at its end
    assert code == 1 and err == ["-: is empty"] and [row["file"] for row in rows(out)] == ["-"]


def test_mistakes_with_models_end_in_one_sentence(tmp_path, run, run2, start, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(predictor, "SUITE", tmp_path)
    face = tmp_path / "face.jpg"
    face.write_bytes(FACE)
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "other.pth")
    for words, message in [
        ([], "no model is trained yet"),
        (["--model", run, "--min-confidence", "2"], "it must be 0 to 1"),
        (["--model", tmp_path / "other.pth"], "is not a checkpoint of this suite"),
        (["--model", face], "face.jpg"),
        (["--model", tmp_path], "has no best_model.pth in it"),
        (["--model", tmp_path / "nowhere"], "does not exist"),
        (["--model", run, "--model", run2], "add --ensemble"),
        (["--model", run, "--save-images", face], "File exists"),
    ]:
        code, out, err = start(face, "--aligned", *words)
        assert (code, out, len(err)) == (2, "", 1) and message in err[0]


def test_without_the_detector_photos_say_so_and_aligned_faces_go_on(tmp_path, run, start, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    retinaface._network.cache_clear()
    (tmp_path / "a.png").write_bytes(encode(IMAGE.resize((300, 200)), "PNG"))
    (tmp_path / "test_0002_aligned.jpg").write_bytes(FACE)
    code, out, err = start(tmp_path, "--model", run, "--csv")
    assert code == 1 and len(err) == 1 and "a.png: a photo needs a face detector" in err[0]
    assert [Path(row["file"]).name for row in rows(out)] == ["test_0002_aligned.jpg"]


def test_names_stay_on_one_line(tmp_path, run, start):
    odd = tmp_path / "two\nlines\x1b[31m.jpg"
    odd.write_bytes(FACE)
    (tmp_path / "no\nface.jpg").write_bytes(b"")
    code, out, err = start(tmp_path, "--model", run, "--aligned")
    assert code == 1 and len(err) == 1 and len(out.splitlines()) == 2 and "\x1b" not in out
    assert r"two\nlines\x1b[31m.jpg" in out and r"no\nface.jpg: is empty" in err[0]


def test_a_reader_that_leaves_early_sees_no_traceback(drawn, run):
    command = [sys.executable, "predict.py", str(drawn / "DATASET"), "--model", str(run), "--csv"]
    script = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    script.stdout.close()
    assert script.stderr.read() == b""
    assert script.wait() != 1


def test_what_a_folder_hides_and_what_it_lacks(tmp_path, run, start):
    for name in ("a.jpg", "._a.jpg", ".b.png"):
        (tmp_path / name).write_bytes(FACE)
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    code, out, err = start(tmp_path, "--model", run, "--csv", "--aligned")
    assert code == 1 and len(out.splitlines()) == 2 and len(err) == 2
    assert err[0].endswith(": 1 hidden") and "gone.jpg: cannot be read" in err[1]


def test_a_closed_standard_input(run, start, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    code, out, err = start("-", "--model", run)
    assert code == 1 and err == ["-: standard input is closed"]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(9))
def test_the_orientation_is_pillow_s_and_damaged_metadata_spoil_nothing(orientation, kind):
    data, exif = io.BytesIO(), Image.Exif()
    exif[0x112] = orientation
    Image.effect_noise((40, 20), 99).save(data, kind, exif=exif)
    image = Image.open(data)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(data)))
    assert np.array_equal(np.asarray(image_io.upright(image)), expected)
    broken = Image.open(data)
    broken.getexif = None
    if kind != "TIFF":  # whose pixels cannot be read without its tags
        assert image_io.upright(broken) is broken
