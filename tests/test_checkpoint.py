"""Checkpoints: what goes in comes out, damage and foreign files are named, nothing in them runs (3 s)."""

import math
import os
import pickle
import random
import re
import shutil
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

import models
from ferlab.data.rafdb import CLASS_NAMES
from ferlab.errors import UserError
from ferlab.training.checkpoint import FORMAT, CheckpointWriter, digest, read, save


def state(**changes) -> dict:
    """A small checkpoint of a run with everything that such a thing holds."""
    generator = torch.Generator().manual_seed(0)
    weights = OrderedDict(a=torch.randn(300, 7, generator=generator), b=torch.arange(5), c=torch.tensor(1.5))
    best = {"epoch": 3, "macro_f1": 0.1 + 0.2, "weights": {"a": torch.ones(3, dtype=torch.bfloat16)}}
    optimizer = {"state": {0: {"step": torch.tensor(4.0)}}, "param_groups": [{"betas": (0.9, 0.999)}]}
    return {
        "model": {"name": "ConvNet", "num_classes": 7, "image_size": 100},
        "class_names": list(CLASS_NAMES),
        "weights": weights,
        "best": best,
        "optimizer": optimizer,
        "options": {"ema": 0.998, "compile": False},
        "log": [{"epoch": 1, "loss": -0.0}],
        "split_hash": "c404e35d68553c11",
        "train_hash": "d9f8acf5",
        "data": "RAF-DB",
        "nothing": None,
    } | changes


@pytest.fixture
def path(tmp_path) -> Path:
    save(tmp_path / "last.pth", state())
    return tmp_path / "last.pth"


def refusal(path) -> str:
    with pytest.raises(UserError) as error:
        read(path)
    assert str(path) in str(error.value) and len(str(error.value)) < 600
    return str(error.value)


def forge(path: Path, **changes) -> Path:
    """A checkpoint with a right checksum that `save` would not write."""
    forged = {"format": FORMAT, **state(), **changes}
    torch.save({**forged, "sha256": digest(forged)}, path)
    return path


def test_what_goes_in_comes_out(path):
    found = read(path)
    assert found.pop("format") == FORMAT and found["class_names"] == list(CLASS_NAMES)
    assert digest(found) == digest(state())
    assert found["best"]["weights"]["a"].dtype == torch.bfloat16 and found["nothing"] is None
    assert found["optimizer"]["param_groups"][0]["betas"] == (0.9, 0.999)
    assert list(path.parent.iterdir()) == [path]


def test_the_digest_tells_everything_apart():
    a = torch.arange(6.0)
    values = [
        None,
        0,
        1,
        True,
        0.0,
        -0.0,
        1.0,
        float("nan"),
        "",
        "0",
        "None",
        [],
        {},
        [[]],
        [0],
        [0, 0],
        {"a": 1},
        {"b": 1},
        {"a": 1, "b": 2},
        {"b": 2, "a": 1},
        {"a": [1], "b": 2},
        {"a": [1, "b", 2]},
        a,
        a + 1,
        a.view(2, 3),
        a.view(3, 2),
        a.double(),
        a.int(),
        a[:0],
        torch.tensor(0.0),
    ]
    assert len({digest(value) for value in values}) == len(values)
    assert digest(a.view(2, 3).t()) == digest(a.view(2, 3).t().contiguous())  # values count, strides do not


def test_every_flipped_byte_and_every_cut_is_noticed(path):
    data, whole, draw = path.read_bytes(), digest(read(path)), random.Random(0)
    noticed = 0
    for position in draw.sample(range(len(data)), 250):
        spoiled = bytearray(data)
        spoiled[position] ^= 1 << draw.randrange(8)
        path.write_bytes(spoiled)
        try:
            assert digest(read(path)) == whole  # a byte that means nothing, such as padding
        except UserError as error:
            noticed += str(path) in str(error)
    assert noticed > 150
    for length in [0, 1, 4, *draw.sample(range(len(data) - 1), 50), len(data) - 1]:
        path.write_bytes(data[:length])
        assert f"({length:,} bytes) is damaged" in refusal(path) or "not opened" in refusal(path)


def test_files_that_are_no_checkpoint(tmp_path):
    path = tmp_path / "x.pth"
    assert f"there is no checkpoint {path}" in refusal(path)
    assert "there is no checkpoint" in refusal(tmp_path)
    assert "there is no checkpoint" in refusal(tmp_path / ("n" * 300))
    for other in (b"<!DOCTYPE html>", b"\xff\xd8\xff\xe0\0\x10JFIF", b"\x89PNG\r\n\x1a\n", b"\x80\x02}q\0."):
        path.write_bytes(other)
        assert "is damaged or not a checkpoint" in refusal(path) or "of this suite" in refusal(path)
    for other in (torch.ones(3), [1, 2], {"state_dict": {"a": torch.ones(3)}}, {"format": "1"}):
        torch.save(other, path)
        assert "is not a checkpoint of this suite" in refusal(path)


def test_a_packed_checkpoint_is_not_unpacked(path, monkeypatch):
    """It could unpack to any size."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    monkeypatch.setattr(torch, "load", None)
    assert "is damaged or not a checkpoint" in refusal(path)


class Trap:
    """Unpickling it makes a folder."""

    def __reduce__(self):
        return os.mkdir, ("trap-sprung",)


@pytest.mark.parametrize("way", ["in a checkpoint", "as an old torch file", "as a pickle", "as a module"])
def test_nothing_in_a_file_ever_runs(tmp_path, monkeypatch, way):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "hostile.pth"
    if way == "in a checkpoint":
        torch.save(state(format=FORMAT, extra=Trap()), path)
    elif way == "as an old torch file":
        torch.save(Trap(), path, _use_new_zipfile_serialization=False)
    elif way == "as a pickle":
        path.write_bytes(pickle.dumps(Trap(), protocol=2))
    else:
        torch.save(models.build("ConvNet"), path)
    text = refusal(path)
    assert "was not opened: it asks for" in text and "could run code" in text
    if way != "as a module":
        assert re.search(r"asks for \w+\.mkdir", text)
    assert not (tmp_path / "trap-sprung").exists()


def test_versions_and_classes_are_named(tmp_path):
    path = tmp_path / "x.pth"
    said = f"has format 99, and this version of the suite reads format {FORMAT};"
    assert said in refusal(forge(path, format=99))
    for names in (None, ["Fear"] * 7, [*CLASS_NAMES[:6], 7], [*CLASS_NAMES[:6], ""], ["Fear"]):
        assert f"has the classes {names}" in refusal(forge(path, class_names=names))
    assert "its 8 classes" in refusal(forge(path, class_names=[*CLASS_NAMES, "Contempt"]))


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"model": None}, "says None of its model"),
        ({"model": {"name": "ConvNet"}}, "says {'name': 'ConvNet'} of its model"),
        ({"model": {"name": "ConvNet", "num_classes": 8, "image_size": 100}}, "7 classes"),
        ({"model": {"name": "ConvNet", "num_classes": 7, "image_size": 10**9}}, "at most 1024 pixels"),
        ({"model": {"name": "ConvNet", "num_classes": 7, "image_size": "100"}}, "at most 1024 pixels"),
        (
            {"model": {"name": "ConvNet", "num_classes": 7, "image_size": 100, "device": "cuda"}},
            "of its model",
        ),
        ({"weights": [1, 2]}, "holds no weights"),
        ({"options": [1]}, "holds options that are none"),
        ({"options": {1: 2}}, "has the option 1 = 2"),
        ({"options": {"resolution": 10**9}}, "--resolution is 1e+09; it must be 0 to 100"),
        ({"options": {"resolution": -1}}, "--resolution is -1"),
        ({"options": {"resolution": "64"}}, "has the option 'resolution' = '64'"),
        ({"best": "3"}, "has no best epoch"),
        ({"weights": {"a": 1}}, "holds no weights"),
        ({"weights": {"a": torch.tensor([1.0, math.nan])}}, "not finite numbers (a)"),
        ({"weights": {"a": torch.tensor([1j])}}, "not finite numbers (a)"),
        ({"weights": {"a": torch.tensor([True])}}, "not finite numbers (a)"),
        ({"ema": {"a": torch.tensor([math.inf])}}, "not finite numbers (a)"),
        ({"normalisation": {"mean": [0.5] * 3, "std": [0.5] * 3}}, "normalisation"),
        ({"temperature": math.nan}, "temperature nan"),
    ],
)
def test_forged_contents_are_refused(tmp_path, changes, said):
    assert said in refusal(forge(tmp_path / "x.pth", **changes))


def test_trees_without_end_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("ferlab.training.checkpoint.MAX_VALUES", 20_000)
    path, unfolds, deep, circle = tmp_path / "x.pth", [0] * 100, [], []
    for _ in range(8):
        unfolds = [unfolds] * 100  # 10 ** 18 values in a file of some kilobytes
    for _ in range(500):
        deep = [deep]
    circle.append(circle)
    huge = torch.ones(1).expand(10**12)  # a terabyte of one number
    for value in (unfolds, circle, huge):
        torch.save({"format": FORMAT, **state(extra=value), "sha256": "0" * 64}, path)
        assert "is damaged" in refusal(path)
    assert digest(deep) != digest(deep[0])


@pytest.mark.parametrize("value", [np.float64(1), np.ones(2), {1, 2}, Path("x"), object(), 1j])
def test_save_takes_plain_data_only(path, value):
    """What could not be read again is not written, and the file that stood there stays."""
    with pytest.raises(TypeError, match="plain data only"):
        save(path, state(extra=value))
    assert digest(read(path)["weights"]) == digest(state()["weights"])


def run_state(epoch: int, *, best: int) -> dict:
    weights = {"a": torch.full((3,), float(epoch))}
    return state(
        epoch=epoch,
        weights=weights,
        best={"epoch": best, "macro_f1": 0.5, "weights": {"a": torch.full((3,), float(best))}},
    )


def test_the_writer_writes_both_files_and_at_its_end_what_it_held_back(tmp_path, monkeypatch):
    monkeypatch.setattr(CheckpointWriter, "WAIT", 0)
    writer = CheckpointWriter(tmp_path)
    writer.save(run_state(1, best=1))
    monkeypatch.setattr(CheckpointWriter, "WAIT", 1e9)
    writer.save(run_state(2, best=1))
    assert read(tmp_path / "last.pth")["epoch"] == 2
    held = run_state(3, best=3)
    writer.save(held)  # too early: kept in memory
    held["weights"]["a"] += 100  # and what the training does next must not change it
    assert read(tmp_path / "last.pth")["epoch"] == 2
    assert read(tmp_path / "best_model.pth")["best"]["epoch"] == 1
    with writer:
        pass
    last, best = read(tmp_path / "last.pth"), read(tmp_path / "best_model.pth")
    assert last["epoch"] == 3 and last["weights"]["a"].tolist() == [3, 3, 3]
    assert best["best"] == {"epoch": 3, "macro_f1": 0.5} and best["weights"]["a"].tolist() == [3, 3, 3]
    assert "optimizer" not in best and len(best["normalisation"]["mean"]) == 3
    shutil.rmtree(tmp_path)
    with writer:  # nothing is left to write
        pass
    CheckpointWriter(tmp_path, enabled=False).save(run_state(1, best=1))
    assert not tmp_path.exists()


def test_checkpoints_are_plain_zip_files(path):
    """So that anything that reads zips can look at one, and nothing in it is packed."""
    with zipfile.ZipFile(path) as archive:
        assert any(name.endswith("data.pkl") for name in archive.namelist())
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
