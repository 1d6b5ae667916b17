"""Progressive resizing: the schedule by hand and for any numbers, and trainings that follow it."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_fuzz import QUICK
from test_train import folder, rows, run, stop_at_step
from torch import nn

import models
import train_function
from fer import plots, report
from fer.checkpoint import read
from fer.ema import EMA
from fer.errors import Stopped, UserError
from fer.resizing import first_full, size_at
from train_function import parse


def schedule(epochs, start, full):
    return [size_at(epoch, epochs=epochs, start=start, full=full) for epoch in range(epochs)]


@pytest.mark.parametrize("epochs, start, full, expected", [
    (20, 64, 96, [64] * 14 + [96] * 6),
    (20, 64, 128, [64] * 7 + [96] * 7 + [128] * 6),
    (20, 48, 96, [48] * 7 + [80] * 7 + [96] * 6),
    (10, 32, 224, [32, 32, 64, 96, 96, 128, 160, 224, 224, 224][:0] or [32, 32, 64, 96, 128, 160, 192, 224, 224,
                                                                      224]),
    (20, 96, 96, [96] * 20),
    (20, 0, 96, [96] * 20),
    (3, 32, 224, [32, 128, 224]),
    (2, 64, 96, [64, 96]),
    (1, 64, 96, [96]),
])
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
