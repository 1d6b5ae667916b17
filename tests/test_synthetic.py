"""Drawn faces: the layout on disk, the same bytes every time, and expressions that can be told apart.

python -m pytest tests/test_synthetic.py
"""

import csv
import hashlib
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ferlab.synthetic import dataset, face_drawing
from ferlab.synthetic.dataset import draw_dataset, draw_face

ROOT = Path(__file__).parents[1]
SMALL = {"train": 20, "test": 14}
BROWS, EYES, NOSE, MOUTH = slice(14, 30), slice(30, 42), slice(42, 64), slice(64, 92)  # rows of the image


def digest(root: Path) -> str:
    """One hash over every file's path and bytes."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    parts = [str(path.relative_to(root)).encode() + path.read_bytes() for path in files]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def pixels(expression: int, number: int) -> np.ndarray:
    return np.asarray(draw_face(expression, np.random.default_rng([7, expression, number])), float)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    return draw_dataset(tmp_path_factory.mktemp("small") / "faces", **SMALL)


def test_files_stand_as_in_the_kaggle_mirror(drawn):
    names = ["DATASET", "drawn.json", "test_labels.csv", "train_labels.csv"]
    assert sorted(p.name for p in drawn.iterdir()) == names
    for split, total, digits in (("train", 140, 5), ("test", 70, 4)):
        folder = drawn / "DATASET" / split
        assert sorted(p.name for p in folder.iterdir()) == list("1234567")
        found = {p.name: p.parent.name for p in folder.glob("*/*")}
        assert sorted(found) == [f"{split}_{n:0{digits}d}_aligned.jpg" for n in range(1, total + 1)]
        with open(drawn / f"{split}_labels.csv", newline="") as file:
            rows = list(csv.reader(file))
        assert rows[0] == ["image", "label"] and len(rows) == total + 1
        assert dict(rows[1:]) == found
        labels = [label for _, label in rows[1:]]
        assert labels != sorted(labels), "the numbers should be mixed over the classes"


def test_images_are_rgb_jpegs_of_100_pixels(small):
    paths = list(small.rglob("*.jpg"))
    assert len(paths) == 34
    for path in paths:
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (100, 100))


@pytest.mark.parametrize(
    "split, total, counts",
    [
        ("train", 12_271, dataset.COUNTS["train"]),
        ("test", 3_068, dataset.COUNTS["test"]),
        ("train", 1600, (168, 37, 94, 622, 258, 92, 329)),
        ("test", 400, (43, 10, 21, 154, 62, 21, 89)),
        ("test", 50, (5, 2, 2, 19, 8, 3, 11)),
        ("train", 14, (2,) * 7),
    ],
)
def test_classes_have_raf_dbs_shares(split, total, counts):
    found = Counter(label for _, label in dataset._labels(split, total, 0))
    assert tuple(found[label] for label in range(1, 8)) == counts


def test_folders_hold_the_counts_of_the_labels(drawn):
    for split, total in (("train", 140), ("test", 70)):
        wanted = Counter(str(label) for _, label in dataset._labels(split, total, 0))
        assert {p.name: len(list(p.iterdir())) for p in (drawn / "DATASET" / split).iterdir()} == wanted


def test_the_seed_decides_every_byte(small, tmp_path):
    assert digest(draw_dataset(tmp_path / "again", **SMALL)) == digest(small)
    other = draw_dataset(tmp_path / "other", **SMALL, seed=1)
    images = {p.read_bytes() for root in (small, other) for p in root.rglob("*.jpg")}
    assert len(images) == 2 * 34, "every face should be its own"


def test_a_finished_dataset_is_not_drawn_again(small, monkeypatch):
    monkeypatch.setattr(dataset, "draw_face", lambda *_: pytest.fail("a face was drawn again"))
    before = digest(small)
    assert draw_dataset(small, **SMALL) == small
    for other in ({"seed": 1}, {"train": 21}, {"test": 15}):
        with pytest.raises(ValueError, match="holds faces drawn as"):
            draw_dataset(small, **{**SMALL, **other})
    monkeypatch.setattr(dataset, "VERSION", dataset.VERSION + 1)
    with pytest.raises(ValueError, match="holds faces drawn as"):
        draw_dataset(small, **SMALL)
    assert digest(small) == before


def test_what_is_not_drawn_faces_is_refused_and_left_alone(tmp_path):
    foreign = tmp_path / "photos"
    foreign.mkdir()
    (foreign / "me.jpg").write_bytes(b"not to be lost")
    file = tmp_path / "file"
    file.write_text("not to be lost either")
    before = digest(tmp_path)
    for root in (foreign, file):
        with pytest.raises(ValueError, match="holds no drawn faces; name another folder"):
            draw_dataset(root, **SMALL)
    assert digest(tmp_path) == before and len(list(tmp_path.iterdir())) == 2


def test_too_few_faces_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="13 test images are too few"):
        draw_dataset(tmp_path / "new" / "faces", 14, 13)
    assert not list(tmp_path.iterdir())


def test_an_empty_folder_is_filled_and_a_broken_run_leaves_nothing(tmp_path, monkeypatch):
    root = tmp_path / "faces"
    root.mkdir()
    drawn_so_far = []

    def fail_at_the_tenth(expression, rng):
        drawn_so_far.append(expression)
        if len(drawn_so_far) == 10:
            raise RuntimeError("the lights went out")
        return Image.new("RGB", (100, 100))

    with monkeypatch.context() as patch:
        patch.setattr(dataset, "draw_face", fail_at_the_tenth)
        with pytest.raises(RuntimeError, match="lights"):
            draw_dataset(root, **SMALL)
        assert not list(tmp_path.iterdir())
        root.mkdir()
        patch.setattr(dataset, "draw_face", lambda *_: Image.new("RGB", (100, 100)))
        draw_dataset(root, **SMALL)
    assert len(list(root.rglob("*.jpg"))) == 34 and [p.name for p in tmp_path.iterdir()] == ["faces"]


def test_the_faster_of_two_runs_wins(small, tmp_path, monkeypatch):
    root, others = tmp_path / "faces", [shutil.copytree(small, tmp_path / "other")]

    def other_run_finishes_first(expression, rng):
        if others:
            os.rename(others.pop(), root)
        return Image.new("RGB", (100, 100))

    monkeypatch.setattr(dataset, "draw_face", other_run_finishes_first)
    assert draw_dataset(root, **SMALL) == root
    assert digest(root) == digest(small) and [p.name for p in tmp_path.iterdir()] == ["faces"]


def test_the_expressions_can_be_told_apart():
    """Ridge regression on the edges of small grey images, balanced classes: chance is 0.14."""

    def edges(numbers: range) -> np.ndarray:
        grey = np.array([pixels(k, n) for k in range(7) for n in numbers]).mean(-1)
        grey = grey.reshape(-1, 20, 5, 20, 5).mean((2, 4))
        found = np.concatenate([np.diff(grey, axis=1)[:, :, 1:], np.diff(grey, axis=2)[:, 1:]], 1)
        found = found.reshape(len(grey), -1)
        return found / found.std(1, keepdims=True)

    x, test, one_hot = edges(range(24)), edges(range(24, 32)), np.eye(7)
    weights = np.linalg.solve(x @ x.T + 100 * np.eye(len(x)), one_hot.repeat(24, 0) - 1 / 7)
    assert ((test @ x.T @ weights).argmax(1) == np.arange(7).repeat(8)).mean() > 0.4


def test_action_units_follow_the_prototypes_and_overlap():
    prototypes = np.zeros((7, 28))
    for row, units in zip(prototypes, dataset.PROTOTYPES, strict=True):
        row[list(units)] = list(units.values())
    rng = np.random.default_rng(0)
    drawn = np.array([[dataset._action_units(k, rng) for _ in range(200)] for k in range(7)])
    assert drawn.min() >= 0 and drawn.max() < 2
    of_mean = ((drawn.mean(1)[:, None] - prototypes) ** 2).sum(-1).argmin(-1)
    assert of_mean.tolist() == list(range(7))
    of_each = ((drawn[:, :, None] - prototypes) ** 2).sum(-1).argmin(-1)
    assert 0.02 < (of_each != np.arange(7)[:, None]).mean() < 0.25, "neighbours should overlap, a little"
    assert 0.02 < (drawn[6].max(-1) > 0.3).mean() < 0.3, "some neutral faces should lean elsewhere"


@pytest.mark.parametrize(
    "unit, part, least",
    [
        (1, BROWS, 10),
        (2, BROWS, 7),
        (4, BROWS, 15),
        (5, EYES, 4),
        (6, EYES, 3.5),
        (7, EYES, 3),
        (9, NOSE, 2),
        (10, MOUTH, 2),
        (12, MOUTH, 3),
        (15, MOUTH, 3),
        (17, MOUTH, 1.8),
        (20, MOUTH, 1.2),
        (23, MOUTH, 1.2),
        (24, MOUTH, 0.7),
        (25, MOUTH, 3.5),
        (26, MOUTH, 10),
    ],
)
def test_every_action_unit_moves_its_part_of_the_face(unit, part, least):
    change = np.zeros(100)
    for seed in range(3):
        calm = np.asarray(face_drawing.draw(np.zeros(28), np.random.default_rng(seed)), float)
        moved = np.asarray(face_drawing.draw(np.eye(28)[unit], np.random.default_rng(seed)), float)
        change += np.abs(moved - calm).mean((1, 2)) / 3
    assert change[part].mean() > least
    if part != NOSE:  # a wrinkled nose draws the brows and the lip along
        assert change[BROWS if part == MOUTH else MOUTH].mean() < 0.5


def test_the_lip_corners_rise_in_a_smile_and_fall_in_grief():
    def shadow_row(unit: int, seed: int) -> float:
        calm, moved = (
            np.asarray(face_drawing.draw(units, np.random.default_rng(seed)).convert("L"), float)
            for units in (np.zeros(28), np.eye(28)[unit])
        )
        darker = np.maximum(calm - moved, 0)[64:88, np.r_[24:38, 62:76]].sum(1)
        return np.average(np.arange(24), weights=darker)

    assert np.mean([shadow_row(15, seed) - shadow_row(12, seed) for seed in range(4)]) > 8


def test_the_command_line_draws_and_explains_itself(tmp_path):
    def run(*args: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "ferlab.synthetic.dataset", str(tmp_path / "faces"), *args]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    done = run("--train", "15", "--test", "14", "--seed", "3")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "faces") and len(list(tmp_path.rglob("*.jpg"))) == 29
    refused = run("--train", "16", "--test", "14", "--seed", "3")
    assert refused.returncode == 2 and "holds faces drawn as" in refused.stderr
    assert "Traceback" not in refused.stderr
