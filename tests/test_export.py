"""export.py as its user runs it: the file answers as torch does, says what it is, and replaces nothing."""

import json
import sys

import numpy as np
import pytest
import torch
from test_predict import run, trained  # noqa: F401  (fixtures)

import export
import models
from ferlab.data.rafdb import CLASS_NAMES
from ferlab.inference.predictor import preprocess, probabilities
from ferlab.training.augment import apply
from ferlab.training.batches import degrade
from RAFDB_dataset import RAFDBDataset

pytest.importorskip("onnxscript", reason="pip install onnx onnxscript onnxruntime")


def start(monkeypatch, capsys, *words) -> tuple[object, str, str]:
    """export.py with these words -> exit code, standard output, standard error."""
    monkeypatch.setattr(sys, "argv", ["export.py", *map(str, words)])
    try:
        code = export.main()
    except SystemExit as end:
        code = end.code
    return code, *capsys.readouterr()


def test_the_file_answers_as_torch_does(tmp_path, drawn, monkeypatch, capsys):
    import onnxruntime

    folder = trained(tmp_path / "ConvNet/seed0", seed=0, temperature=1.7)
    words = (folder, "--data", drawn, "--int8")
    code, out, err = start(monkeypatch, capsys, *words)
    assert not code and "equal answers 70 of 70" in out and "model-int8.onnx" in out
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["class_names"]) == list(CLASS_NAMES) and "non-commercial" in about["licence"]
    faces = RAFDBDataset(drawn, "test").images
    expected = probabilities([models.load(folder / "best_model.pth")], faces).numpy()
    for n in (1, 5):  # any batch
        [found] = session.run(None, {"faces": faces[:n].numpy()})
        np.testing.assert_allclose(found, expected[:n], atol=1e-5)
    before = (folder / "model.onnx").read_bytes()
    code, _, err = start(monkeypatch, capsys, *words)
    assert code == 2 and "--overwrite" in err and (folder / "model.onnx").read_bytes() == before


def test_a_model_of_smaller_faces_reduces_them_inside(tmp_path, drawn, monkeypatch, capsys):
    folder = trained(tmp_path / "ConvNet/seed0", seed=0, options={"resolution": 64, "face_size": 48})
    code, out, err = start(monkeypatch, capsys, folder, "--data", drawn)
    assert not code and "equal answers 70 of 70" in out, err
    model, faces = models.load(folder / "best_model.pth"), RAFDBDataset(drawn, "test").images[:2]
    assert torch.equal(preprocess(model, faces), apply(degrade(faces, 48), 40))  # the smaller of the two


def test_without_the_packages_one_sentence(run, drawn, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    code, _, err = start(monkeypatch, capsys, run, "--data", drawn)
    assert code == 2 and err.count("\n") == 1 and "pip install onnx onnxscript onnxruntime" in err
