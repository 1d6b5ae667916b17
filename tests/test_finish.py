"""Only the run that was begun goes on: its schedule stays, and one that ends early says so."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from test_resume import contents, stopped_in_epoch_2
from test_train import RECIPES, folder, rows, run, stop_at_epoch

import models
import train_function
from ferlab.analysis.runs import collect
from ferlab.errors import Stopped, UserError
from ferlab.inference.predictor import probabilities
from ferlab.training.checkpoint import read, save
from RAFDB_dataset import RAFDBDataset
from train_function import parse


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"epochs": 1}, r"--epochs \(was 3\).*--resume --finish"),
        ({"epochs": 5}, r"--epochs \(was 3\)"),
        ({"patience": 1}, r"--patience \(was 0\).*--finish"),
        ({"lr": 0.5}, r"--lr \(was 0.001\)"),
        ({"epochs": 1, "ema": 0.0}, r"--epochs \(was 3\), --ema \(was 0.9\)"),
    ],
)
def test_another_experiment_is_refused_by_name(options, changes, said):
    last = f"{folder(stopped_in_epoch_2(options))}/last.pth"
    before = contents(folder(options))
    with pytest.raises(UserError, match=said):
        parse("ConvNet", RECIPES, ["--resume", last, *(f"--{key}={value}" for key, value in changes.items())])
    with pytest.raises(UserError, match=said):
        run(options, resume="last", **changes)
    assert contents(folder(options)) == before


def test_a_run_that_is_closed_early_says_so(options, capsys):
    stopped_in_epoch_2(options)
    numbers = run(options, resume="last", finish=True)
    told = "closed early, after 1 of 3 epochs (--finish)"
    assert numbers["finished"] == told and numbers["epochs"] == 1 and numbers["test"]["n"] == 70
    assert f"\n{told}; best epoch 1" in capsys.readouterr().out
    with open(f"{folder(options)}/options.json") as file:
        written = json.load(file)
    assert written["finish"] is True and written["epochs"] == 3
    assert [row["epoch"] for row in rows(folder(options))] == ["1"]
    for finish in (False, True):  # what is closed stays closed: its test set was opened
        with pytest.raises(UserError, match="is finished"):
            run(options, resume="last", finish=finish)


def test_a_trial_that_val_has_chosen_opens_its_test_set_once(options, capsys):
    trial = run(options, test=False)
    with pytest.raises(UserError, match="to open its test set pass --resume --test"):
        run(options, resume="last", test=False)
    log = rows(folder(options))
    opened = parse("ConvNet", RECIPES, ["--resume", f"{folder(options)}/last.pth", "--test"])
    assert opened.test
    numbers = run(options, resume="last", test=True)
    assert "test" not in trial and numbers["test"]["n"] == 70 and numbers["val"] == trial["val"]
    assert rows(folder(options)) == log  # nothing was trained again
    assert Path(folder(options), "predictions.csv").exists()
    with pytest.raises(UserError, match="its test set was opened"):
        run(options, resume="last")


def test_a_trial_that_was_closed_early_is_not_trained_on(options):
    stopped_in_epoch_2(replace(options, test=False))
    run(options, test=False, resume="last", finish=True)
    opened = parse("ConvNet", RECIPES, ["--resume", f"{folder(options)}/last.pth", "--test"])
    assert opened.finish and opened.test


def test_closed_runs_do_not_stand_beside_whole_ones(options):
    stopped_in_epoch_2(replace(options, seed=1))
    run(options, seed=1, resume="last", finish=True)
    run(options, seed=2)
    groups, left_out = collect(Path(options.output), train_function.script_options)
    seeds = {("finish" in group.label): [result.options["seed"] for result in group.runs] for group in groups}
    assert left_out == [] and seeds == {True: [1], False: [2]}


def test_with_nothing_to_cut_off_the_run_is_done_as_ever(options):
    stopped_in_epoch_2(replace(options, epochs=2))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(TypeError):
        patch.setattr(train_function, "_predict", None)
        run(options, epochs=2, resume="last")
    assert run(options, epochs=2, resume="last", finish=True)["finished"] == "all epochs done"


def test_it_needs_an_epoch_at_full_size(options):
    small = replace(options, image_size=64, start_size=32, epochs=10)  # the last three are at 64
    stopped_in_epoch_2(small, "ResNet18")
    assert read(f"{folder(small, 'ResNet18')}/last.pth")["best"]["epoch"] == 0
    before = contents(folder(small, "ResNet18"))
    with pytest.raises(UserError, match="has no epoch at 64 pixels, its --image-size, to finish with"):
        run(small, "ResNet18", resume="last", finish=True)
    assert contents(folder(small, "ResNet18")) == before


def test_it_goes_with_resume_and_does_not_come_back(options):
    with pytest.raises(UserError, match="--finish closes a stopped run; name it with --resume"):
        run(options, finish=True)
    assert os.listdir(options.output) == []
    stopped_in_epoch_2(options)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(TypeError):
        patch.setattr(train_function, "_predict", None)
        run(options, resume="last", finish=True)
    last = f"{folder(options)}/last.pth"
    assert read(last)["options"]["finish"] and not parse("ConvNet", RECIPES, ["--resume", last]).finish


def test_last_pth_answers_as_its_log_says(options, drawn):
    """Whether to predict with or to start from: with the averaged weights, which were evaluated."""
    stopped_in_epoch_2(replace(options, image_size=100))
    last = f"{folder(options)}/last.pth"
    state, val = read(last), RAFDBDataset(drawn, "val")
    (row,) = state["log"]
    model = models.load(last)
    assert not all(value.equal(state["weights"][key]) for key, value in model.state_dict().items())
    for other in (model, models.build("ConvNet", weights=last)):
        assert all(value.equal(state["ema"][key]) for key, value in other.state_dict().items())
    p = probabilities([model], val.images)
    assert float((p.argmax(1) == val.labels).float().mean()) == pytest.approx(row["val_accuracy"])
    assert float(-p.log()[range(len(val)), val.labels].mean()) == pytest.approx(row["val_loss"], abs=1e-3)
    save(last, state | {"ema": {}})  # --ema 0
    assert models.load(last).state_dict()["classifier.7.bias"].equal(state["weights"]["classifier.7.bias"])
    save(last, state | {"ema": [1]})
    with pytest.raises(UserError, match="holds no averaged weights"):
        models.load(last)


def test_a_signal_in_the_last_evaluation_is_not_made_to_wait_for_its_end(options):
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped, match="in the last evaluation"):
        stop_at_epoch(patch, 2)  # the second evaluation of a run of one epoch
        run(options, epochs=1)
    assert not Path(folder(options), "metrics.json").exists()
    assert run(options, epochs=1, resume="last")["finished"] == "all epochs done"
