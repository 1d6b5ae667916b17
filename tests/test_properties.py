"""What holds for any options, scores and checkpoints, with Hypothesis (4 s; FUZZ as in test_fuzz.py)."""

import json
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_fuzz import QUICK, in_words, spoiled

from ferlab import cli
from ferlab.analysis import metrics
from ferlab.data.rafdb import CLASS_NAMES
from ferlab.errors import UserError
from ferlab.options import Options
from ferlab.training.checkpoint import FORMAT, digest, read, save
from train_function import parse

RECIPES = {"none": {"epochs": 5, "lr": 1e-3}}
VALUES = [
    "0",
    "1",
    "-1",
    "1e999",
    "nan",
    "-0",
    "none",
    "auto",
    "sampler",
    "synthetic",
    "--",
    "-x",
    "--no-compile",
    "--epochs=3",
    "--lr=",
    "=",
    "-",
    "--no-resume",
    "\x00",
    "\ud800",
]
FLAG = st.sampled_from([cli.flag(name) for name in Options.__dataclass_fields__])
WORD = FLAG | st.sampled_from(VALUES) | st.text(max_size=6) | st.integers().map(str) | st.floats().map(str)


@QUICK
@given(pairs=st.lists(st.tuples(FLAG, st.sampled_from(VALUES)) | st.tuples(WORD), max_size=4))
def test_command_lines_become_options_or_a_sentence(pairs):
    argv = [word for pair in pairs for word in pair]
    if {"-h", "--help"} & set(argv) or any(word.startswith("--res") for word in argv):
        return  # they print, or read files
    try:
        options = parse("ConvNet", RECIPES, argv)
    except UserError as error:
        assert 10 < len(str(error)) < 1000 and "Traceback" not in str(error)
    else:
        cli.check(options)
        json.dumps(vars(options), allow_nan=False)


@QUICK
@given(lr=st.floats(0, 1e6), epochs=st.integers(1, 10**9), name=st.text(max_size=9), compiled=st.booleans())
def test_what_is_typed_is_what_is_used(lr, epochs, name, compiled):
    word = "--compile" if compiled else "--no-compile"
    argv = ["--lr", repr(lr), f"--epochs={epochs}", word, f"--name={name}"]
    if name == "--":
        with pytest.raises(UserError, match="--name cannot be --"):
            parse("ConvNet", RECIPES, argv)
        return
    options = parse("ConvNet", RECIPES, argv)
    assert (options.lr, options.epochs, options.name, options.compile) == (lr, epochs, name, compiled)


@QUICK
@given(data=st.data(), n=st.integers(1, 40))
def test_metrics_are_finite_and_agree_with_each_other(data, n):
    labels = np.array(data.draw(st.lists(st.integers(0, 6), min_size=n, max_size=n)))
    kinds = data.draw(st.lists(st.sampled_from([0, 1, 30, 1e4]), min_size=n, max_size=n))
    logits = np.random.default_rng(n).normal(size=(n, 7)) * np.array(kinds)[:, None]
    p = torch.tensor(logits).softmax(1).numpy()  # uniform, certain, and between
    found = metrics.report(p, labels, CLASS_NAMES)
    json.dumps(found, allow_nan=False)
    matrix = np.array(found["confusion_matrix"])
    assert matrix.sum() == found["n"] == n and (matrix.sum(1) == np.bincount(labels, minlength=7)).all()
    assert found["accuracy"] == pytest.approx(np.trace(matrix) / n)
    assert found["accuracy"] <= found["top2"] + 1e-9 <= found["top3"] + 2e-9 <= 1 + 3e-9
    recalls = [row["recall"] for row in found["per_class"].values() if row["n"]]
    assert found["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    assert 0 <= found["ece"] <= 1 and found["nll"] >= -1e-9
    for low, high in found["intervals"].values():
        assert 0 <= low <= high <= 1


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.lists(st.floats(width=32), max_size=4).map(torch.tensor),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=5), part, max_size=3),
    max_leaves=8,
)
GOOD = {
    "model": {"name": "ConvNet", "num_classes": 7, "image_size": 100},
    "class_names": list(CLASS_NAMES),
    "weights": {"a": torch.ones(2)},
}


@QUICK
@given(value=PLAIN)
def test_a_checkpoint_gives_back_what_it_was_given(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "fuzz.pth"
    try:
        save(path, {**GOOD, "extra": value})
    except (TypeError, UnicodeEncodeError):
        return
    assert digest(read(path)["extra"]) == digest(value)


@QUICK
@given(
    key=st.sampled_from(
        ["format", "class_names", "model", "weights", "sha256", "name", "num_classes", "image_size"]
    ),
    value=PLAIN,
)
def test_checkpoint_headers_are_right_or_refused(tmp_path_factory, key, value):
    path = tmp_path_factory.getbasetemp() / "fuzz.pth"
    state = {"format": FORMAT, "class_names": list(CLASS_NAMES), **GOOD}
    if key in GOOD["model"]:
        state["model"] = {**GOOD["model"], key: value}
    else:
        state[key] = value
    torch.save({"sha256": digest({k: v for k, v in state.items() if k != "sha256"}), **state}, path)
    try:
        found = read(path)
    except UserError as error:
        assert str(path) in in_words(error)
    else:
        assert found["format"] == FORMAT and found["class_names"] == list(CLASS_NAMES)
        assert type(found["model"]["name"]) is str and 0 < found["model"]["image_size"] <= 1024


@QUICK
@given(seed=st.integers(0, 2**32))
def test_spoiled_checkpoints_are_whole_or_refused(tmp_path_factory, seed):
    path, draw = tmp_path_factory.getbasetemp() / "fuzz.pth", random.Random(seed)
    save(path, GOOD)
    whole = digest(read(path))
    path.write_bytes(spoiled(path.read_bytes(), draw))
    try:
        assert digest(read(path)) == whole
    except UserError as error:
        assert str(path) in in_words(error)
