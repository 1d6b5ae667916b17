"""A resumed run equals one that was never stopped; odd resumes; determinism of the large models.

ALL_MODELS=1 python -m pytest tests/test_resume.py        # the large ones too: gigabytes, minutes
"""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from test_train import RECIPES, TIMES, folder, rows, run, stop_at_epoch, stop_at_step

import ferlab.analysis.metrics
import ferlab.training.checkpoint
import train_function
from ferlab.errors import Stopped, UserError
from ferlab.training.checkpoint import read, save
from RAFDB_dataset import load_splits
from train_function import parse

SIZES = {"ConvNet": 40, "ResNet18": 32, "VGG16": 32, "GoogLeNet": 32, "ViT-B16": 32, "ViT-mod": 20}
EVERY = list(SIZES) if os.environ.get("ALL_MODELS") else ["GoogLeNet"]


def leaves(value, path=""):
    """Every tensor and plain value of a checkpoint by its path, without clocks."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key not in (*TIMES, "sha256", "output", "resume", "overwrite"):
                yield from leaves(item, f"{path}/{key}")
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from leaves(item, f"{path}/{i}")
    else:
        yield path, value


def assert_equal(a, b):
    a, b = dict(leaves(a)), dict(leaves(b))
    assert a.keys() == b.keys()
    different = [
        key
        for key, value in a.items()
        if not (torch.equal(value, b[key]) if torch.is_tensor(value) else value == b[key])
    ]
    assert different == []


def stopped_in_epoch_2(options, name="ConvNet"):
    """Run until a Ctrl-C in the middle of epoch 2."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        stop_at_step(patch, 11)
        run(options, name)
    return options


@pytest.mark.parametrize(
    "name, size, where, kept",
    [
        ("ConvNet", 40, "between epochs", "written"),
        ("ConvNet", 40, "between epochs", "in memory"),
        ("ConvNet", 40, "in an epoch", "written"),
        ("ConvNet", 40, "in an epoch", "in memory"),
        ("ResNet18", 32, "between epochs", "written"),
        ("ResNet18", 32, "in an epoch", "in memory"),
    ],
)
def test_resume_is_exact_wherever_it_stopped(options, tmp_path, monkeypatch, name, size, where, kept):
    options = replace(options, image_size=size)
    if kept == "in memory":  # the checkpoint at the stop is the copy that CheckpointWriter holds back
        monkeypatch.setattr("ferlab.training.checkpoint.CheckpointWriter.WAIT", 1e9)
    whole = replace(options, output=str(tmp_path / "whole"))
    parts = replace(options, output=str(tmp_path / "parts"))
    run(whole, name)
    with monkeypatch.context() as patch:
        if where == "between epochs":
            stop_at_epoch(patch, 2)
        else:
            stop_at_step(patch, 11)  # 7 or 8 steps an epoch: in the second one
        with pytest.raises(Stopped) as stopped:
            run(parts, name)
    assert stopped.value.code == (143 if where == "between epochs" else 130)
    done = 2 if where == "between epochs" else 1
    assert read(f"{folder(parts, name)}/last.pth")["epoch"] == done
    torch.manual_seed(99)  # whatever happened in between must not matter
    run(parts, name, resume="last")
    a, b = folder(whole, name), folder(parts, name)
    assert rows(a) == rows(b)
    assert_equal(read(f"{a}/last.pth"), read(f"{b}/last.pth"))
    assert_equal(read(f"{a}/best_model.pth"), read(f"{b}/best_model.pth"))
    with open(f"{a}/predictions.csv") as one, open(f"{b}/predictions.csv") as two:
        assert one.read() == two.read()


def test_options_come_back_on_resume(options, tmp_path, monkeypatch):
    stop_at_epoch(monkeypatch, 1)
    with pytest.raises(Stopped):
        run(options, lr=3e-4, batch_size=20)
    typed = ["--output", options.output, "--data", options.data, "--resume"]
    back = parse("ConvNet", RECIPES, [*typed, "--name", os.path.basename(folder(options)), "--epochs", "3"])
    assert (back.lr, back.batch_size, back.epochs, back.resume) == (3e-4, 20, 3, "last")
    with pytest.raises(UserError, match=r"--lr \(was 0.0003\)"):
        parse("ConvNet", RECIPES, [*typed, "--lr", "1"])


def test_other_data_is_refused_on_resume(options, monkeypatch):
    stop_at_epoch(monkeypatch, 1)
    with pytest.raises(Stopped):
        run(options)
    with pytest.raises(UserError, match="another training images"):
        run(options, resume="last", train_fraction=0.5)


def test_other_pixels_under_the_same_names_are_refused_on_resume(options, tree, tmp_path):
    options = replace(options, data=str(tree))
    stopped_in_epoch_2(options)
    before = contents(folder(options))
    for split, what in (("train", "training"), ("test", "test")):
        file = sorted((tree / "DATASET" / split).glob("*/*.jpg"))[0]
        original = file.read_bytes()
        with Image.open(file) as image:
            image.rotate(180).save(file)
        if split == "train" and file.name.replace("_aligned", "") in load_splits(options)[1].names:
            what = "val"
        with pytest.raises(UserError, match=f"{what} images of the same names and other pixels; put back"):
            run(options, resume="last")
        file.write_bytes(original)
        assert before == contents(folder(options))
    path = f"{folder(options)}/last.pth"
    older = read(path)
    del older["pixels"]
    save(path, older)
    assert run(options, resume="last")["epochs"] == 3


@pytest.mark.parametrize("name", EVERY)
def test_resume_is_exact(options, tmp_path, name):
    """Shuffled, sampled, augmented, with dropout where the model has it, and with EMA."""
    options = replace(options, image_size=SIZES[name], epochs=2)
    whole, parts = (replace(options, output=str(tmp_path / part)) for part in ("whole", "parts"))
    run(whole, name)
    stopped_in_epoch_2(parts, name)
    torch.manual_seed(99)  # whatever happened in between must not matter
    run(parts, name, resume="last")
    a, b = folder(whole, name), folder(parts, name)
    assert rows(a) == rows(b) and len(rows(a)) == 2
    for file in ("last.pth", "best_model.pth"):
        assert_equal(read(f"{a}/{file}"), read(f"{b}/{file}"))
    shutil.rmtree(a)  # some are gigabytes
    shutil.rmtree(b)


@pytest.mark.parametrize("name", ["VGG16", "ViT-B16", "ViT-mod"])
def test_deterministic_twice(options, tmp_path, monkeypatch, name):
    monkeypatch.setattr(ferlab.training.checkpoint, "save", lambda path, state: None)  # gigabytes
    monkeypatch.setattr(ferlab.analysis.metrics, "cost", lambda *_, **__: {})
    small = replace(options, epochs=1, image_size=SIZES[name], train_fraction=0.2, ema=0, deterministic=True)
    a, b = (run(replace(small, output=str(tmp_path / part)), name) for part in "ab")
    assert a["test"] == b["test"] and a["val"] == b["val"]
    assert torch.are_deterministic_algorithms_enabled()


def contents(path: str) -> dict:
    return {file.name: file.read_bytes() for file in Path(path).iterdir()}


def test_a_resume_that_is_refused_changes_nothing(options):
    stopped_in_epoch_2(options)
    before = contents(folder(options))
    with pytest.raises(UserError, match="another training images"):
        run(options, resume="last", train_fraction=0.5)
    assert before == contents(folder(options))


def test_overwrite_does_not_come_back_from_the_checkpoint(options, tmp_path):
    last = f"{folder(stopped_in_epoch_2(replace(options, overwrite=True)))}/last.pth"
    assert read(last)["options"]["overwrite"]
    assert not parse("ConvNet", RECIPES, ["--resume", last]).overwrite


def test_a_run_out_of_patience_trains_no_further_epoch_on_resume(options):
    impatient = replace(options, lr=0.0, ema=0.0, epochs=9, patience=2)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(TypeError):
        patch.setattr(train_function, "_predict", None)
        run(impatient)
    assert run(replace(impatient, resume="last"))["epochs"] == 3


def test_an_image_size_of_0_is_the_model_s_own_on_resume_too(options, monkeypatch):
    stop_at_epoch(monkeypatch, 1)
    with pytest.raises(Stopped):
        run(options, image_size=100, epochs=2)
    typed = ["--output", options.output, "--data", options.data, "--image-size", "0", "--resume"]
    assert parse("ConvNet", RECIPES, typed).image_size == 100


@pytest.mark.parametrize("broken", [b"[]", b"\xff\xfe{", b'{"epochs": null}'])
def test_broken_options_json(options, broken):
    """It is a record for readers; what counts is in the checkpoint."""
    stopped_in_epoch_2(options)
    path = f"{folder(options)}/options.json"
    with open(path, "wb") as file:
        file.write(broken)
    assert run(replace(options, resume="last"))["epochs"] == 3
    with open(path) as file:
        assert json.load(file)["epochs"] == 3


@pytest.mark.parametrize("first", [False, True])
def test_precision_may_change_on_the_way(options, monkeypatch, first):
    """From a CPU, whose precision needs no scaling, to a GPU in fp16 and back; here the scaler only."""
    start, scales = train_function.init_runtime, iter([first, not first])

    def start_with_scaler(*args, **kwargs):
        runtime = start(*args, **kwargs)
        runtime.scaler = torch.amp.GradScaler("cpu", enabled=next(scales))
        return runtime

    monkeypatch.setattr(train_function, "init_runtime", start_with_scaler)
    stopped_in_epoch_2(options)
    assert bool(read(f"{folder(options)}/last.pth")["scaler"]) == first
    assert run(options, resume="last")["epochs"] == 3


@pytest.mark.parametrize(
    "key, value, said",
    [
        ("split_hash", None, "another val split"),
        ("train_hash", "0", "another training images"),
        ("test_hash", "0", "another test set"),
        ("model", {"name": "ViT-mod", "num_classes": 7, "image_size": 40}, "another model"),
        ("weights", {}, "does not fit"),
        ("optimizer", {"state": {}, "param_groups": []}, "does not fit"),
        ("best", {}, "does not fit"),
        ("log", [{}], "does not fit"),
        ("log", [], "log is not that of its epochs"),
        ("seconds", float("nan"), "not a finite number"),
        ("epoch", "1", "does not fit"),
        ("epoch", None, "does not fit"),
        ("ema", {"a": torch.ones(1)}, "does not fit"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused_in_words(options, tmp_path, key, value, said):
    stopped_in_epoch_2(options)
    path = f"{folder(options)}/last.pth"
    state = read(path) | {key: value}
    if value is None:
        del state[key]
    save(path, state)
    with pytest.raises(UserError, match=f"{path}.*{said}"):
        run(options, resume="last")
