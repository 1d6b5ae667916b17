"""Progressive resizing: the schedule by hand and for any numbers, and trainings that follow it."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_fuzz import QUICK
from test_resume import assert_equal
from test_train import folder, rows, run, stop_at_epoch, stop_at_step
from torch import nn

import ferlab.analysis.metrics
import models
import train_function
from ferlab.analysis import plots
from ferlab.errors import Stopped, UserError
from ferlab.training import report
from ferlab.training.checkpoint import read
from ferlab.training.ema import EMA
from ferlab.training.resizing import first_full, size_at
from RAFDB_dataset import load_splits
from train_function import parse


def schedule(epochs, start, full):
    return [size_at(epoch, epochs=epochs, start=start, full=full) for epoch in range(epochs)]


@pytest.mark.parametrize(
    "epochs, start, full, expected",
    [
        (20, 64, 96, [64] * 14 + [96] * 6),
        (20, 64, 128, [64] * 7 + [96] * 7 + [128] * 6),
        (20, 48, 96, [48] * 7 + [80] * 7 + [96] * 6),
        (10, 32, 224, [32, 32, 64, 96, 128, 160, 192, 224, 224, 224]),
        (20, 96, 96, [96] * 20),
        (20, 0, 96, [96] * 20),
        (3, 32, 224, [32, 128, 224]),
        (2, 64, 96, [64, 96]),
        (1, 64, 96, [96]),
    ],
)
def test_sizes_by_hand(epochs, start, full, expected):
    assert schedule(epochs, start, full) == expected
    assert first_full(epochs=epochs, start=start, full=full) == expected.index(full)


@QUICK
@given(epochs=st.integers(1, 300), start=st.integers(32, 1024), more=st.integers(0, 992))
def test_sizes_for_any_numbers(epochs, start, more):
    full = min(1024, start + more)
    sizes = schedule(epochs, start, full)
    assert sizes == sorted(sizes) and sizes[-1] == full
    if start == full:
        return
    assert sizes.count(full) == max(1, round(0.3 * epochs))  # no earlier epoch is rounded up to it
    assert sizes[0] == start or epochs == 1
    assert all((size - start) % 16 == 0 for size in sizes if size < full)
    phases = [len(list(group)) for size, group in itertools.groupby(sizes) if size < full]
    assert len(phases) <= math.ceil((full - start) / 32)
    assert max(phases, default=0) - min(phases, default=0) <= 1  # equally long
    if epochs - sizes.count(full) >= math.ceil((full - start) / 32):  # long enough for every size
        assert len(phases) == math.ceil((full - start) / 32)
        steps = [b - a for a, b in itertools.pairwise(sizes) if a != b]
        assert max(steps) <= 40 and ((full - start) % 16 or max(steps) <= 32)


class Tiny(nn.Module):
    """Milliseconds a step, with the batch norm and the dropout that make a resume hard."""

    def __init__(self, *, num_classes, image_size):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(32, num_classes),
        )

    def forward(self, x):
        return self.body(x)


@pytest.fixture
def tiny(options, monkeypatch):
    """Options for a small network of any size: of 5 epochs the first 2 at 32 pixels, 1 at 64, 2 at 80."""
    architecture = models.Architecture(Tiny, "train_Tiny.py", 80, "black", "o", maps="body", any_size=True)
    monkeypatch.setitem(models.ARCHITECTURES, "Tiny", architecture)
    monkeypatch.setattr(ferlab.analysis.metrics, "cost", lambda *_, **__: {})
    monkeypatch.setattr(plots.Figure, "savefig", lambda *_: None)  # most of such a run's time
    options.epochs, options.image_size, options.start_size = 5, 80, 32
    return options


SIZES = [32, 32, 64, 80, 80]


def evaluated(monkeypatch, scores=()):
    """The sizes and lengths of all that is evaluated; the i-th has scores[i] as its macro-F1."""
    seen, evaluate = [], train_function.evaluate

    def spy(model, data, **more):
        found = evaluate(model, data, **more)
        seen.append((data.size, len(data)))
        return found | ({"macro_f1": scores[len(seen) - 1]} if len(seen) <= len(scores) else {})

    monkeypatch.setattr(train_function, "evaluate", spy)
    return seen


def test_every_epoch_is_trained_evaluated_and_logged_at_its_size(tiny, monkeypatch, capsys):
    seen, trained = evaluated(monkeypatch), []
    forward = Tiny.forward
    monkeypatch.setattr(
        Tiny, "forward", lambda self, x: trained.append((self.training, x.shape[-1])) or forward(self, x)
    )
    found = run(tiny, "Tiny")
    log = rows(folder(tiny, "Tiny"))
    assert [int(row["image_size"]) for row in log] == SIZES
    steps = sum(found["counts"]["train"]) // tiny.batch_size
    assert [size for training, size in trained if training] == [size for size in SIZES for _ in range(steps)]
    val, test = sum(found["counts"]["val"]), sum(found["counts"]["test"])
    assert seen == [(size, val) for size in SIZES] + [(80, val), (80, test)]
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[:2] for line in table if line[:1] and line[0].isdigit() and len(line) > 9] == [
        [str(epoch), str(size)] for epoch, size in enumerate(SIZES, 1)
    ]


def test_the_best_epoch_is_one_at_full_size(tiny, monkeypatch):
    marked = []
    monkeypatch.setattr(
        plots.Figure,
        "suptitle",
        lambda self, _: marked.extend(
            text for axes in self.axes for text in axes.get_legend_handles_labels()[1] if "best" in text
        ),
    )
    evaluated(monkeypatch, scores=[0.9, 0.8, 0.95, 0.3, 0.2])
    found = run(tiny, "Tiny")
    assert found["best_epoch"] == 4 and marked == ["best, epoch 4"]
    state = read(f"{folder(tiny, 'Tiny')}/best_model.pth")
    assert state["best"] == {"epoch": 4, "macro_f1": 0.3}


def test_patience_waits_for_the_full_size(tiny, monkeypatch):
    evaluated(monkeypatch, scores=[0.9] + [0.1] * 6 + [0.5, 0.4, 0.4, 0.6])
    found = run(tiny, "Tiny", epochs=10, image_size=64, patience=2)  # 7 smaller epochs
    assert (found["best_epoch"], found["epochs"], found["finished"]) == (8, 10, "all epochs done")
    again = tiny.output + "/again"
    found = run(tiny, "Tiny", epochs=10, image_size=64, patience=1, output=again)
    assert (found["best_epoch"], found["epochs"]) == (8, 9) and "no better for 1" in found["finished"]


@pytest.mark.parametrize("start, expected", [(32, [0, 1, 0, 0, 1]), (0, [0, 1, 2, 3, 4])])
def test_the_moving_average_begins_anew_at_every_larger_size(tiny, monkeypatch, start, expected):
    counts, update = [], EMA.update
    monkeypatch.setattr(EMA, "update", lambda self: counts.append(self.steps) or update(self))
    found = run(tiny, "Tiny", start_size=start)
    steps = sum(found["counts"]["train"]) // tiny.batch_size
    assert counts == [epochs * steps + step for epochs in expected for step in range(steps)]


def test_compiled_once_for_each_size(tiny, monkeypatch):
    """A backend that counts, and a network whose evaluation is not compiled."""
    shapes, compile_ = [], torch.compile

    def backend(graph, inputs):
        shapes.extend(x.shape[-1] for x in inputs if x.ndim == 4 and x.shape[1] == 3 and x.shape[2] > 3)
        return graph.forward

    monkeypatch.setattr(torch, "compile", lambda model, **how: compile_(model, backend=backend, **how))
    torch._dynamo.reset()
    run(tiny, "Tiny", compile=True, device="cpu")
    assert shapes == [32, 64, 80]


def test_resume_is_exact_in_every_phase_and_between_them(tiny, tmp_path):
    """Also where the moving average begins anew: the size before is the checkpoint's."""
    run(tiny, "Tiny", output=str(tmp_path / "whole"))
    a = f"{tmp_path}/whole/Tiny/drawn-seed0"
    for number, stop in [
        (4, stop_at_step),
        (2, stop_at_epoch),
        (18, stop_at_step),
        (3, stop_at_epoch),
        (25, stop_at_step),
        (4, stop_at_epoch),
    ]:  # 7 steps an epoch
        parts = replace(tiny, output=str(tmp_path / f"{stop.__name__}-{number}"))
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
            stop(patch, number)
            run(parts, "Tiny")
        b = folder(parts, "Tiny")
        assert read(f"{b}/last.pth")["epoch"] == (number if stop is stop_at_epoch else number // 7)
        torch.manual_seed(99)
        run(parts, "Tiny", resume="last")
        assert rows(a) == rows(b)
        for file in ("last.pth", "best_model.pth"):
            assert_equal(read(f"{a}/{file}"), read(f"{b}/{file}"))


@pytest.mark.parametrize(
    "name, size, start, said",
    [
        ("ConvNet", 64, 40, "ConvNet's weights fit 64 pixels only"),
        ("ViT-B16", 64, 32, "ViT-B16's weights"),
        ("ViT-mod", 40, 32, "ViT-mod's weights"),
        ("ResNet18", 64, 31, "is 31; it must be 32 to 64.*or 0"),
        ("ResNet18", 64, 65, "is 65; it must be 32 to 64, the --image-size"),
    ],
)
def test_a_start_size_that_cannot_be(options, name, size, start, said):
    with torch.device("meta"):
        model = models.ARCHITECTURES[name].make(num_classes=7, image_size=size)
    model.built = {"name": name, "num_classes": 7, "image_size": size}
    options.image_size, options.start_size = size, start
    with pytest.raises(UserError, match=f"--start-size.*{said}"):
        train_function.train(model, *load_splits(options), options)


def test_a_recipe_s_start_size_is_for_its_own_image_size():
    recipes = {"none": {"image_size": 96, "start_size": 64}}
    assert parse("ResNet18", recipes, []).start_size == 64
    assert parse("ResNet18", recipes, ["--image-size", "64"]).start_size == 64  # at once the full size
    assert parse("ResNet18", recipes, ["--image-size", "48"]).start_size == 0
    assert parse("ResNet18", recipes, ["--image-size", "48", "--start-size", "64"]).start_size == 64


def test_the_table_s_titles_stand_over_their_columns(tiny, capsys):
    run(tiny, "Tiny", epochs=1)
    lines = capsys.readouterr().out.splitlines()
    titles = next(line for line in lines if line.startswith("epoch"))
    row = lines[lines.index(titles) + 1].removesuffix("  *")
    assert len(titles) == len(row) == sum(width + 2 for _, width, _, _ in report.COLUMNS.values()) - 2
