"""The loop: it learns, it resumes to the last bit, it stops when asked."""

import csv
import dataclasses
import json
import os
import signal

import numpy as np
import pytest
import sklearn.metrics as sk
import torch

import ferlab.training.augment
import models
import train_function
from ferlab.data.rafdb import CLASS_NAMES
from ferlab.errors import Stopped, UserError
from ferlab.inference import notebook
from ferlab.training.checkpoint import read
from ferlab.training.imbalance import Balance
from ferlab.training.run_folder import FILES
from RAFDB_dataset import load_splits
from train_function import parse, train

RECIPES = {"imagenet": {"epochs": 3, "lr": 1e-4}, "none": {"epochs": 5, "lr": 1e-3}}
TIMES = ("images_per_second", "seconds")


def run(options, name="ConvNet", **changes):
    options = dataclasses.replace(options, **changes)
    model = models.build(name, **options.model)
    return train(model, *load_splits(options), options)


def folder(options, name="ConvNet"):
    return next(os.path.join(options.output, name, run) for run in os.listdir(f"{options.output}/{name}"))


def rows(path):
    with open(f"{path}/log.csv") as file:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]


def test_the_image_size_is_the_model_s(options):
    model = models.build("ConvNet", image_size=40)
    with pytest.raises(UserError, match="the model takes 40 pixels, not 64"):
        train(model, *load_splits(options), dataclasses.replace(options, image_size=64))
    assert os.listdir(options.output) == []
    train(model, *load_splits(options), dataclasses.replace(options, image_size=0, epochs=1))
    with open(f"{folder(options)}/options.json") as file:
        assert json.load(file)["image_size"] == 40


def test_other_data_are_not_called_rafdb(options, tree, capsys):
    (tree / "drawn.json").unlink()
    assert run(options, data=str(tree), epochs=1)["data"] == "data"
    assert "These are faces of data: the numbers say nothing about RAF-DB." in capsys.readouterr().out
    shown = notebook.overview(notebook.trained_models(options.output)).data
    assert shown.loc["ConvNet", "trained on"] == "data"


def test_run_folder_is_complete_and_true(options):
    returned = run(options)
    path = folder(options)
    assert sorted(os.listdir(path)) == sorted(FILES)
    with open(f"{path}/metrics.json") as file:
        written = json.load(file)
    assert written == json.loads(json.dumps(returned))
    with open(f"{path}/options.json") as file:
        assert json.load(file) == {
            **dataclasses.asdict(options),
            "data": os.path.basename(options.data),
            "output": os.path.basename(options.output),
        }
    with open(f"{path}/predictions.csv") as file:
        table = list(csv.DictReader(file))
    labels = [row["label"] for row in table]
    p = np.array([[float(row[name]) for name in CLASS_NAMES] for row in table])
    predicted = [CLASS_NAMES[i] for i in p.argmax(1)]
    test = written["test"]
    assert test["accuracy"] == sk.accuracy_score(labels, predicted)
    assert test["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(labels, predicted))
    assert test["macro_f1"] == pytest.approx(sk.f1_score(labels, predicted, average="macro"))
    log = rows(path)
    assert [row["epoch"] for row in log] == ["1", "2", "3"]
    best = max(log, key=lambda row: float(row["val_macro_f1"]))
    assert written["best_epoch"] == int(best["epoch"])
    assert written["val"]["macro_f1"] == pytest.approx(float(best["val_macro_f1"]))
    assert written["data"] == "drawn faces"
    for name in ("curves.png", "confusion_matrix.png"):
        with open(f"{path}/{name}", "rb") as file:
            assert file.read(8) == b"\x89PNG\r\n\x1a\n"


def test_best_model_gives_the_predictions(options):
    run(options, amp="off")
    path = folder(options)
    model = models.load(f"{path}/best_model.pth")
    data = train_function.RAFDBDataset(options.data, "test")
    with open(f"{path}/predictions.csv") as file:
        table = list(csv.DictReader(file))
    assert [row["image"] for row in table] == data.names
    with torch.no_grad():
        p = model(ferlab.training.augment.apply(data.images, options.image_size)).softmax(1)
    expected = torch.tensor([[float(row[name]) for name in CLASS_NAMES] for row in table])
    assert torch.allclose(p, expected, atol=1e-5)


def stop_at_epoch(monkeypatch, number):
    """SIGTERM arrives while epoch `number` is evaluated."""
    calls, evaluate = iter(range(1, 100)), train_function.evaluate

    def evaluate_and_stop(*args, **kwargs):
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(*args, **kwargs)

    monkeypatch.setattr(train_function, "evaluate", evaluate_and_stop)


def stop_at_step(monkeypatch, number):
    """SIGINT arrives in the middle of step `number`."""
    calls, loss = iter(range(1, 10_000)), Balance.loss

    def loss_and_stop(self, *args, **kwargs):
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGINT)
        return loss(self, *args, **kwargs)

    monkeypatch.setattr(Balance, "loss", loss_and_stop)


def test_finished_runs_are_not_overwritten(options):
    run(options, epochs=1)

    def times():
        return {entry.name: entry.stat().st_mtime_ns for entry in os.scandir(folder(options))}

    before = times()
    with pytest.raises(UserError, match="finished run.*--overwrite"):
        run(options, epochs=1)
    with pytest.raises(UserError, match="is finished"):
        run(options, epochs=1, resume="last")
    assert before == times()
    with pytest.raises(UserError, match="is finished"):
        run(options, epochs=2, resume="last")  # more epochs would be another experiment
    assert before == times()
    run(options, epochs=1, overwrite=True)
    assert [row["epoch"] for row in rows(folder(options))] == ["1"]


def test_unfinished_runs_are_not_overwritten(options, monkeypatch):
    stop_at_epoch(monkeypatch, 1)
    with pytest.raises(Stopped):
        run(options)
    with pytest.raises(UserError, match="unfinished run of 1 epochs.*--resume"):
        run(options)


def test_loss_that_is_not_finite(options, monkeypatch):
    calls, loss = iter(range(1, 100)), Balance.loss
    monkeypatch.setattr(
        Balance,
        "loss",
        lambda self, *a, **k: loss(self, *a, **k) * (float("nan") if next(calls) == 11 else 1),
    )
    message = "no longer finite in epoch 2.*learning rate.*fp32.*last.pth, of epoch 1"
    with pytest.raises(UserError, match=message) as error:
        run(options, amp="off")
    assert error.value.code == 3
    state = read(f"{folder(options)}/last.pth")
    assert state["epoch"] == 1 and state["best"]["epoch"] == 1
    assert all(torch.isfinite(value).all() for value in state["weights"].values())


def test_out_of_memory_says_what_to_try(options, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(Balance, "loss", full)
    with pytest.raises(UserError, match="batches of 16 at 40 pixels.*--batch-size"):
        run(options)


def test_patience_stops_early(options):
    found = run(options, epochs=50, lr=0.0, patience=2)
    assert found["epochs"] == 3 and "no better for 2 epochs" in found["finished"]


def test_val_is_never_trained_on_and_test_is_opened_once(options, monkeypatch):
    opened = []
    evaluate = train_function.evaluate
    monkeypatch.setattr(
        train_function,
        "evaluate",
        lambda model, data, **k: opened.append(len(data)) or evaluate(model, data, **k),
    )
    run(options)
    sets = [train_function.RAFDBDataset(options.data, split) for split in ("train", "val", "test")]
    assert not set(sets[0].names) & set(sets[1].names)
    assert opened == [len(sets[1])] * 4 + [len(sets[2])]  # val after each epoch and at the end


@pytest.mark.parametrize("name, size", [("ConvNet", 40), ("ResNet18", 32), ("GoogLeNet", 32)])
def test_deterministic_twice(options, tmp_path, name, size):
    how = dict(epochs=1, image_size=size, deterministic=True)
    a, b = (run(options, name, output=str(tmp_path / x), **how) for x in "ab")
    assert a["test"] == b["test"] and a["val"] == b["val"]


def test_seed_changes_everything(options, tmp_path):
    a, b = (run(options, epochs=1, seed=seed)["val"]["nll"] for seed in (0, 1))
    assert a != b


def test_precedence():
    assert parse("ResNet18", RECIPES, []).weights == "imagenet"
    assert parse("ResNet18", RECIPES, []).lr == 1e-4
    scratch = parse("ResNet18", RECIPES, ["--weights", "none", "--lr", "0.5"])
    assert (scratch.epochs, scratch.lr, scratch.image_size) == (5, 0.5, 224)
    assert parse("ResNet18", RECIPES, ["--weights", "some.pth"]).epochs == 3


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--epoch", "3"], "no option --epoch; did you mean --epochs"),
        (["--batchsize=3"], "did you mean --batch-size"),
        (["--epochs", "many"], "invalid int value"),
        (["--epochs", "0"], "--epochs is 0; it must be 1 or more"),
        (["--lr", "nan"], "--lr is nan"),
        (["--balance", "samplr"], "did you mean sampler"),
        (["--amp", "bf61"], "did you mean bf16"),
        (["--train-fraction", "1.1"], "must be 0.001 to 1"),
    ],
)
def test_wrong_options(argv, message):
    with pytest.raises(UserError, match=message):
        parse("ResNet18", RECIPES, argv)


def test_imagenet_for_a_model_without_it():
    with pytest.raises(UserError, match="has no ImageNet weights"):
        parse("ConvNet", {"none": {}}, ["--weights", "imagenet"])


@pytest.mark.parametrize(
    "device, amp, message",
    [("gpu", "auto", "use auto, cpu, cuda"), ("cuda:99", "auto", "cuda"), ("cpu", "fp16", "needs a CUDA")],
)
def test_devices_that_are_not_there(options, device, amp, message):
    with pytest.raises(UserError, match=message):
        run(options, device=device, amp=amp)


@pytest.mark.parametrize(
    "keep, said",
    [(0.5, "is for vision transformers; ConvNet has no patches"), (0.01, "is 0.01; it must be 0.05 to 1")],
)
def test_patches_that_cannot_be_dropped(options, keep, said):
    with pytest.raises(UserError, match=f"--patch-keep {said}"):
        run(options, patch_keep=keep)


def test_without_a_test_set_no_test_image_is_opened(options, tree, capsys, monkeypatch):
    next((tree / "DATASET/test/1").iterdir()).write_bytes(b"no image")
    with pytest.raises(UserError, match="1 of 70 test images"):
        run(options, data=str(tree), epochs=1)
    found = run(options, data=str(tree), epochs=1, test=False)
    with open(f"{folder(options)}/metrics.json") as file:
        assert "test" not in json.load(file) and "test" not in found
    assert list(found["counts"]) == ["train", "val"]
    assert sorted(os.listdir(folder(options))) == sorted(set(FILES) - {"predictions.csv"})
    said = capsys.readouterr().out
    assert (
        "The test set was not evaluated (--no-test)." in said
        and "test:" not in said
        and "recall on val" in said
    )
    typed = ["--output", options.output, "--data", options.data, "--resume"]
    assert not parse("ConvNet", RECIPES, typed).test
    assert parse("ConvNet", RECIPES, [*typed, "--test"]).test
