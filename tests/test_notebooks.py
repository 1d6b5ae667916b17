"""Both notebooks from the first cell to the last on drawn faces, and nothing of it stored (40 s)."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest
import torch

import models
from ferlab.data.rafdb import CLASS_NAMES
from ferlab.errors import UserError
from ferlab.inference import notebook
from ferlab.inference.pictures import face_figure
from ferlab.inference.predictor import trained
from RAFDB_dataset import RAFDBDataset

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ("setup_dataset.ipynb", "test.ipynb")


@pytest.fixture(scope="module")
def results(drawn, tmp_path_factory) -> Path:
    """A folder results/ with a ConvNet that was trained for one epoch."""
    folder = tmp_path_factory.mktemp("trained") / "results"
    command = [
        sys.executable,
        "train_ConvNet.py",
        "--data",
        drawn,
        "--output",
        folder,
        "--epochs",
        "1",
        "--image-size",
        "40",
        "--device",
        "cpu",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def run(monkeypatch):
    """Executes a notebook in a folder with another DATA; gives its code cells."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")

    def run(name: str, folder: Path, data, *, allow_errors: bool = False) -> list:
        notebook = nbformat.read(ROOT / name, as_version=4)
        cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
        cells[0].source, n = re.subn(r'^DATA = ".*?"', f"DATA = {str(data)!r}", cells[0].source)
        assert n == 1
        nbclient.NotebookClient(
            notebook, timeout=120, allow_errors=allow_errors, resources={"metadata": {"path": str(folder)}}
        ).execute()
        return cells

    return run


def text(cell) -> str:
    parts = [output.get("text") or output.get("data", {}).get("text/html", "") for output in cell.outputs]
    return "".join(parts)


def pictures(cell) -> int:
    return sum("image/png" in output.get("data", {}) for output in cell.outputs)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_nothing_is_stored(name):
    """RAF-DB's faces are in the outputs, and its licence forbids to pass them on."""
    notebook = nbformat.read(ROOT / name, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("attachments") and "![" not in cell.source
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None, f"clear the outputs of {name}"


def test_every_notebook_is_known_here():
    assert sorted(path.name for path in ROOT.glob("*.ipynb")) == sorted(NOTEBOOKS)


def test_setup_dataset(run, drawn, tmp_path):
    cells = run("setup_dataset.ipynb", tmp_path, drawn)
    assert "found: Kaggle layout" in text(cells[1])
    assert "test 70" in text(cells[2]) and "drawn faces, not RAF-DB" in text(cells[2])
    assert [pictures(cell) for cell in cells] == [0, 0, 0, 1, 1, 1]


def test_setup_dataset_without_network_and_zip(run, tmp_path, monkeypatch):
    for variable in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # where nobody answers
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(variable, "")
    with pytest.raises(nbclient.exceptions.CellExecutionError) as error:
        run("setup_dataset.ipynb", tmp_path, "raf-db-dataset")
    cells = run("setup_dataset.ipynb", tmp_path, "raf-db-dataset", allow_errors=True)
    [output] = cells[1].outputs
    [shown] = output.traceback
    assert shown.startswith("error: RAF-DB could not be downloaded (") and 'DATA = "synthetic"' in shown
    assert shown in str(error.value) and not list(tmp_path.iterdir())


def test_test(run, drawn, results):
    cells = run("test.ipynb", results.parent, drawn)
    assert "drawn-seed0" in text(cells[1]) and f"python train_ResNet.py --data {drawn}" in text(cells[1])
    assert pictures(cells[3]) == 9 and text(cells[3]).count("✓") + text(cells[3]).count("✗") == 3
    at = [text(cells[3]).index(f"{name} (drawn face, test_") for name in ("Surprise", "Disgust", "Sadness")]
    assert at == sorted(at)
    paper = text(cells[4])
    for part in (r"\begin{tabular}{lrrrrrrr}", r"\textit{Sadness}", "(a drawn face)"):
        assert part in paper
    assert paper.count(r"\textbf{") == 1


def test_test_falls_back_on_drawn_faces_and_says_that_nothing_is_trained(run, tmp_path):
    cells = run("test.ipynb", tmp_path, "raf-db-dataset", allow_errors=True)
    *said, output = cells[1].outputs
    assert "raf-db-dataset is not here, so these are drawn faces" in said[-1].text
    [shown] = output.traceback
    assert "no model is trained yet" in shown and "python train_ConvNet.py --data synthetic" in shown


def test_seats_name_scripts_that_exist(results):
    trained_models = notebook.trained_models(results)
    assert [entry.model for entry in trained_models] == list(models.NAMES)
    assert all((ROOT / entry.command.split()[1]).is_file() for entry in trained_models)


def test_a_damaged_model_is_left_out(results, drawn, tmp_path):
    bad = tmp_path / "best_model.pth"
    bad.write_bytes(b"half")
    trained_models = [*notebook.trained_models(results)[:1], notebook.TrainedModel("ResNet18", bad, "")]
    assert notebook.overview(trained_models).data.loc["ResNet18", "run"] == "cannot be used"
    [prediction] = notebook.predict(trained_models, [notebook.choose(RAFDBDataset(drawn, "test"), "Fear", 1)])
    assert list(prediction.shares.index) == ["ConvNet"] and prediction.maps.shape == (1, 100, 100)
    with pytest.raises(UserError, match="none of the trained models can be used"):
        notebook.predict(trained_models[1:], [prediction.face])


def test_a_model_in_another_s_place_is_left_out(results):
    entry = notebook.trained_models(results)[0]._replace(model="VGG16")
    assert "holds a ConvNet" in notebook.overview([entry]).data.loc["VGG16", "trained on"]
    with pytest.raises(UserError, match="none of the trained models can be used"):
        notebook.predict(
            [entry], [notebook.LabelledFace("", None, torch.zeros(3, 100, 100, dtype=torch.uint8))]
        )


def test_of_several_runs_the_best_on_val_answers(tmp_path):
    for run, macro_f1 in {"a-seed0": 0.7, "drawn-seed0": 0.9, "imagenet-seed0": 0.8, "seed0": 0.6}.items():
        folder = tmp_path / "ConvNet" / run
        folder.mkdir(parents=True)
        (folder / "best_model.pth").touch()
        data = "drawn faces" if run == "drawn-seed0" else "RAF-DB"
        real = json.loads((ROOT / "results/ConvNet/seed0/metrics.json").read_text())
        changed = {"data": data, "val": {**real["val"], "macro_f1": macro_f1}}
        (folder / "metrics.json").write_text(json.dumps(real | changed))
    assert trained("ConvNet", tmp_path).parent.name == "imagenet-seed0"
    assert trained("ConvNet", tmp_path, data="drawn faces").parent.name == "drawn-seed0"
    assert trained("VGG16", tmp_path) is None


@pytest.mark.parametrize("wanted", [["me.jpg"], ["me.jpg", 3], [()], []])
def test_what_is_no_pair_is_said(wanted):
    with pytest.raises(UserError, match="^FACES (has|is empty)"):
        notebook.faces_of(None, wanted)


def test_odd_names_of_photos_spoil_nothing(results):
    face = notebook.LabelledFace("<b>x & y$^$.png", None, torch.zeros(3, 100, 100, dtype=torch.uint8))
    [prediction] = notebook.predict(notebook.trained_models(results), [face])
    assert "&lt;b&gt;x &amp; y$^$.png" in notebook.table(prediction).to_html()
    face_figure(face.pixels, face.title).savefig(io.BytesIO())


def test_the_table_shows_right_and_wrong(results, drawn):
    test = RAFDBDataset(drawn, "test")
    [prediction] = notebook.predict(notebook.trained_models(results), [notebook.choose(test, "Fear", 1)])
    answer = prediction.shares.loc["ConvNet"].idxmax()
    other = CLASS_NAMES[CLASS_NAMES.index(answer) - 1]
    for truth, mark, colour in (
        (answer, "✓", notebook.RIGHT),
        (other, "✗", notebook.WRONG),
        (None, "", notebook.UNKNOWN),
    ):
        table = notebook.table(prediction._replace(face=prediction.face._replace(truth=truth)))
        shown = 100 * prediction.shares.loc["ConvNet", answer]
        assert table.data.loc["ConvNet", answer].strip() == f"{shown:.1f} {mark}".strip()
        assert table.to_html().count(colour) == 1


def test_choose(drawn):
    test = RAFDBDataset(drawn, "test")
    second = notebook.choose(test, "Disgust", 2)
    index = (test.labels == 2).nonzero()[1]
    assert second.truth == "Disgust" and second.pixels.equal(test.images[index][0])
    by_name = notebook.choose(test, None, test.names[index])
    assert by_name.truth == "Disgust" and by_name.pixels.equal(second.pixels)
    path = drawn / "DATASET/test/3" / test.names[index]
    assert notebook.choose(test, None, str(path)).pixels.equal(second.pixels)
    for truth, which, expected in (
        ("Joy", 1, "no expression 'Joy'"),
        ("Fear", 0, "no number 0"),
        ("Fear", 999, "no number 999"),
        (None, 1, "of which expression"),
        ("Fear", test.names[index], "is labelled Disgust, not Fear"),
        ("Fear", "nowhere.jpg", "nowhere.jpg: cannot be read"),
        (None, __file__, "is not a JPEG, PNG"),
    ):
        with pytest.raises(UserError, match=expected):
            notebook.choose(test, truth, which)
