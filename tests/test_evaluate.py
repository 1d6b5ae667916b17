"""A trained run on other labelled faces: shared classes, its own folder, a page across datasets (20 s)."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from test_tables import tree

import evaluate
import models
import study
from ferlab.analysis.flipped import tables
from ferlab.analysis.runs import collect
from ferlab.analysis.studies import STUDIES
from ferlab.data.rafdb import CLASS_NAMES
from ferlab.errors import UserError
from ferlab.inference.predictor import probabilities
from ferlab.inference.transfer import shared_predictions
from ferlab.options import Options
from RAFDB_dataset import RAFDBDataset, load_splits, open_source
from train_function import script_options, train


def trained(data: Path, output: Path, **changes) -> Path:
    """The folder of a run of one epoch."""
    options = Options(
        epochs=1,
        image_size=40,
        batch_size=16,
        data=str(data),
        output=str(output),
        device="cpu",
        amp="off",
        **changes,
    )
    splits = load_splits(options)
    model = models.build("ConvNet", num_classes=splits[0].num_classes, **options.model)
    train(model, *splits, options)
    return next(output.glob("ConvNet/*/best_model.pth")).parent


@pytest.fixture(scope="module")
def run(drawn, tmp_path_factory) -> Path:
    return trained(drawn, tmp_path_factory.mktemp("results"))


def called(monkeypatch, capsys, module, *words) -> str:
    monkeypatch.setattr(sys, "argv", [f"{module.__name__}.py", *map(str, words)])
    module.main()
    return capsys.readouterr().out


def test_on_its_own_test_set_it_says_what_training_said(run, drawn, monkeypatch, capsys):
    said = called(monkeypatch, capsys, evaluate, run, "--data", drawn)
    found = json.loads((run / "on-drawn-faces/metrics.json").read_text())
    own = json.loads((run / "metrics.json").read_text())
    assert found["test"]["confusion_matrix"] == own["test"]["confusion_matrix"]
    assert (
        f"accuracy {100 * own['test']['accuracy']:.2f} %" in said
        and max(map(len, said.splitlines()[1:-1])) <= 80
    )
    assert (found["trained_on"], found["tested_on"], found["images_left_out"]) == ("drawn faces",) * 2 + ({},)
    with pytest.raises(SystemExit):
        called(monkeypatch, capsys, evaluate, run, "--data", drawn)
    assert "on-drawn-faces already exists; add --overwrite" in capsys.readouterr().err


def test_mirror_images_counted_in_stand_in_a_folder_and_a_table_of_their_own(run, drawn, monkeypatch, capsys):
    said = called(monkeypatch, capsys, evaluate, run, "--data", drawn, "--flip")
    assert "mirror images counted in" in said and f"written: {run / 'on-drawn-faces-flip'}" in said
    found = json.loads((run / "on-drawn-faces-flip/metrics.json").read_text())["test"]
    model, part = models.load(run / "best_model.pth"), RAFDBDataset(drawn, "test")
    p = probabilities([model], torch.cat([part.images, part.images.flip(3)]))
    assert found["accuracy"] == (p.view(2, len(part), -1).mean(0).argmax(1) == part.labels).double().mean()
    [table] = tables(groups := collect(run.parents[1], script_options)[0])
    own = json.loads((run / "metrics.json").read_text())["test"]
    assert table.rows[0][2] == f"{100 * own['accuracy']:.2f} → {100 * found['accuracy']:.2f}"
    groups[0].first.images[0] += "x"  # of other images nothing is said
    assert tables(groups) == []


def test_only_shared_classes_count_and_the_rest_is_told(run, tmp_path, monkeypatch, capsys):
    data = tree(tmp_path / "others", ["happy", "contempt", "sad"])
    said = called(monkeypatch, capsys, evaluate, run, "--data", data)
    found = json.loads((run / "on-others/metrics.json").read_text())
    assert list(found["test"]["per_class"]) == ["Happiness", "Sadness"] and found["test"]["n"] == 8
    assert found["images_left_out"] == {"Contempt": 4} and "4 of Contempt" in said
    with open(run / "on-others/predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    model = models.load(run / "best_model.pth")
    part = RAFDBDataset(open_source(data), "test")
    answers = shared_predictions(model, part)
    known = part.labels != part.class_names.index("Contempt")
    with torch.inference_mode():
        full = probabilities([model], part.images[known]).numpy()
    pair = full[:, [CLASS_NAMES.index("Happiness"), CLASS_NAMES.index("Sadness")]]
    assert np.allclose(answers.probabilities, pair / pair.sum(1, keepdims=True), atol=1e-5)
    assert [float(row["Sadness"]) for row in rows] == pytest.approx(answers.probabilities[:, 1], abs=1e-4)


def test_nothing_shared_is_one_sentence(run, tmp_path):
    with pytest.raises(UserError, match="fewer than two classes are the same"):
        model = models.load(run / "best_model.pth")
        part = RAFDBDataset(tree(tmp_path / "x", ["cat", "happy"]), "test")
        evaluate.evaluate(model, run / "best_model.pth", part)


@pytest.mark.parametrize("names", [["happy", "sad"], [*"abcdefghij"]])
def test_other_classes_train_are_filed_by_data_and_predict(tmp_path, names):
    folder = trained(tree(tmp_path / "My Faces", names, each=8), tmp_path / "results")
    assert folder.name == "my-faces-seed0"
    numbers = json.loads((folder / "metrics.json").read_text())
    assert numbers["data"] == "my-faces" and len(numbers["test"]["per_class"]) == len(names)
    model = models.load(folder / "best_model.pth")
    assert len(model.class_names) == len(names) and model(torch.zeros(1, 3, 40, 40)).shape == (1, len(names))


def test_the_page_across_datasets(run, drawn, tmp_path, monkeypatch, capsys):
    data, root = tree(tmp_path / "others", ["happy", "sad"]), run.parents[1]
    words = ["transfer", "--train", "drawn faces", "--test", drawn, data, "--output", root]
    said = called(monkeypatch, capsys, study, *words)
    page = (root / "studies/transfer.md").read_text()
    assert "written: " in said and "| ConvNet | drawn faces | others | 2 | 8 |" in page
    assert (
        "say nothing about real ones" in page
        and (root / "studies/plots/transfer.png").stat().st_size > 10_000
    )
    for words, expected in (
        (
            ["transfer", "--test", data, "--output", root],
            "was trained on raf-db; there are runs on drawn-faces",
        ),
        (["transfer", "--output", root], "name the data to test on"),
        (["transfer", "--test", data, "--lr", "1"], "not --lr"),
    ):
        with pytest.raises(SystemExit):
            called(monkeypatch, capsys, study, *words)
        assert expected in capsys.readouterr().err


def test_a_study_of_other_classes_has_no_recalls_of_rafdb_s(tmp_path, monkeypatch, capsys):
    for name in ("resolution", "balance"):
        monkeypatch.setitem(STUDIES, name, STUDIES[name]._replace(settings=STUDIES[name].settings[:1]))
        words = [
            name,
            "--models",
            "ConvNet",
            "--seeds",
            0,
            "--data",
            tree(tmp_path / "pets", ["happy", "fear"], each=8),
        ]
        words += [
            "--epochs",
            1,
            "--image-size",
            40,
            "--face-size",
            100,
            "--device",
            "cpu",
            "--output",
            tmp_path,
        ]
        said = called(monkeypatch, capsys, study, *words)
        assert "written: " in said and (tmp_path / f"studies/plots/pets-{name}.png").exists()
        page = (tmp_path / f"studies/pets-{name}.md").read_text()
        assert "Recall of Fear" in page and "Disgust" not in page


def test_a_sweep_does_not_take_another_dataset_s_runs_for_its_own(tmp_path, monkeypatch, capsys):
    one, other = (
        tree(tmp_path / place / "faces", ["happy", "sad"], each=n) for place, n in (("a", 8), ("b", 9))
    )
    words = ["sweep", "--models", "ConvNet", "--lr", "1e-3", "--epochs", "1", "--image-size", "40"]
    words += ["--device", "cpu", "--output", tmp_path / "out", "--data"]
    assert "1 new" in called(monkeypatch, capsys, study, *words, one)
    assert "1 finished" in called(monkeypatch, capsys, study, *words, one)
    with pytest.raises(SystemExit):
        called(monkeypatch, capsys, study, *words, other)
    assert "was trained on other data than" in capsys.readouterr().err


def test_runs_of_other_classes_stand_in_rows_of_their_own(tmp_path, monkeypatch, capsys):
    output = tmp_path / "results"
    for name, names in (("faces-seed0", ["happy", "sad"]), ("faces-seed1", ["neutral", "angry"])):
        folder = trained(tree(tmp_path / name / "faces", names, each=8), tmp_path / name / "out", name=name)
        (output / "ConvNet").mkdir(parents=True, exist_ok=True)
        folder.rename(output / "ConvNet" / name)
    data = tree(tmp_path / "c/others", ["happy", "sad", "cat"])
    called(monkeypatch, capsys, study, "transfer", "--train", "faces", "--test", data, "--output", output)
    page = (output / "studies/transfer.md").read_text()
    assert (
        page.count("| ConvNet (faces-seed0) | faces | others |") == 1
        and "fewer than two classes are the same" in page
    )
