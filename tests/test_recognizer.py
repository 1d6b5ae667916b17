"""Recognizer as people call it: which model answers, what it answers, and marked photos."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_predict import answer, photo, rows, run, run2, start, trained  # noqa: F401  (fixtures)
from trees import FACE, IMAGE

from ferlab import Recognizer
from ferlab.data.rafdb import CLASS_NAMES
from ferlab.errors import UserError
from ferlab.inference import annotate, predictor
from ferlab.inference.predictor import best

ROOT = Path(__file__).parents[1]


def result(folder: Path, name: str, macro_f1: float | None, *, data: str = "RAF-DB") -> Path:
    """A run's folder with as much as chooses among runs."""
    file = folder / "results" / name / "best_model.pth"
    file.parent.mkdir(parents=True)
    file.touch()
    if macro_f1 is not None:
        real = json.loads((ROOT / "results/ConvNet/seed0/metrics.json").read_text())
        changed = {"data": data, "val": {**real["val"], "macro_f1": macro_f1}}
        file.with_name("metrics.json").write_text(json.dumps(real | changed))
    return file


def test_importing_ferlab_is_quick():
    code = "import sys, ferlab; sys.exit('torch' in sys.modules or not hasattr(ferlab, '__getattr__'))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_the_best_by_val_macro_f1_answers(tmp_path, monkeypatch):
    suite, here = tmp_path / "suite", tmp_path / "here"
    here.mkdir()
    monkeypatch.setattr(predictor, "SUITE", suite)
    monkeypatch.chdir(here)
    with pytest.raises(UserError, match="no model is trained yet"):
        Recognizer()
    drawn = result(suite, "ConvNet/drawn-seed0", 0.99, data="drawn faces")
    assert best() == drawn
    result(suite, "ConvNet/seed0", 0.70)
    good = result(suite, "VGG16/seed1", 0.75)
    result(suite, "ResNet18/seed0", None)  # still running
    result(suite, "ResNet18/fer2013-seed1", None)
    result(suite, "ResNet18/rerun-drawn-seed0", None)
    assert best() == good
    (good.parent / "metrics.json").write_text("[")
    assert best().parent.parent.name == "ConvNet"
    own = result(here, "ViT-mod/seed0", None)
    assert best() == own.relative_to(here)
    finished = result(tmp_path / "else", "ConvNet/fer2013-seed0", 0.5, data="fer2013")
    result(tmp_path / "else", "ConvNet/fer2013-seed1", None)
    assert predictor.trained(results=tmp_path / "else/results") == finished


def test_three_lines(photo, run):
    recognizer = Recognizer(run, device="cpu")
    left, right = recognizer(photo)
    assert (left.box, right.box) == ((100, 100, 200, 220), (300, 100, 400, 220))
    assert left.expression == CLASS_NAMES[np.argmax(list(left.probabilities.values()))]
    assert left.probability == left.ranked(1)[0][1] == max(left.probabilities.values())
    assert left.probabilities != right.probabilities and left.pixels.shape == (3, 100, 100)
    again = recognizer(np.asarray(Image.open(photo)))
    assert [face.probabilities for face in again] == [left.probabilities, right.probabilities]
    assert recognizer(Image.new("RGB", (50, 50))) == []
    assert recognizer.heat_maps(torch.from_numpy(np.stack([left.pixels]))).shape == (1, 100, 100)
    with pytest.raises(UserError, match="--device abacus is not a valid value"):
        Recognizer(run, device="abacus")
    with pytest.raises(UserError, match="nowhere.jpg: cannot be read"):
        recognizer("nowhere.jpg")


def test_temperature_flip_and_unsure(tmp_path, run):
    warm = trained(tmp_path / "ConvNet/seed0", seed=0, temperature=2.0)
    face = torch.randint(256, (1, 3, 100, 100), generator=torch.Generator().manual_seed(3)).byte()
    plain, cooled, flipped = (
        Recognizer(where, device="cpu", flip=flip).probabilities(face)
        for where, flip in ((run, False), (warm, False), (run, True))
    )
    torch.testing.assert_close(cooled, (plain.log() / 2).softmax(1), rtol=1e-4, atol=1e-6)
    mirrored = Recognizer(run, device="cpu").probabilities(face.flip(3))
    torch.testing.assert_close(flipped, (plain + mirrored) / 2)
    assert not torch.allclose(plain, mirrored, atol=1e-3)
    [sure], [unsure] = (
        Recognizer(run, device="cpu", min_confidence=least)(FACE, aligned=True) for least in (0, 1)
    )
    assert sure.expression in CLASS_NAMES and unsure.expression == "unsure"
    assert sure.probabilities == unsure.probabilities


def test_predict_without_a_model_says_which_one_answers(tmp_path, start, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trained(tmp_path / "results/ConvNet/seed0", seed=0)
    (tmp_path / "face.jpg").write_bytes(FACE)
    code, out, err = start(tmp_path / "face.jpg", "--aligned", "--min-confidence", "1", "--flip")
    assert (
        code == 0 and len(err) == 1 and "model: results/ConvNet/seed0 (ConvNet, RAF-DB), the best" in err[0]
    )
    assert "unsure" in out


def test_panels_meet_neither_each_other_nor_the_edge():
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, (1100, 700), (12, 2))
    boxes = [tuple(box) for box in np.concatenate([corner, corner + 90], 1)]
    panels = np.array(annotate._places(boxes, (200, 50), (1200, 800)))
    shared = annotate._overlap(panels, panels)
    assert (shared - np.diag(np.diag(shared))).max() == 0 and len(panels) == 12
    assert panels.min() >= 0 and (panels[:, 2:] <= (1200, 800)).all()
    assert annotate._places(boxes, (600, 400), (1200, 800)) == []


@pytest.mark.parametrize("n", [1, 9, 60, 300])
def test_photos_with_any_number_of_faces_can_be_marked(n):
    rng = np.random.default_rng(n)
    corner = rng.uniform(0, (570, 450), (n, 2))
    faces = [answer((*map(float, at), *map(float, at + 25))) for at in corner]
    marked = annotate.annotate(IMAGE.resize((600, 480)), faces)
    assert marked.size == (600, 480)
