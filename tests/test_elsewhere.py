"""Runs that go on under another name, in another folder, on data that were moved, from a foreign file."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from test_resume import stopped_in_epoch_2
from test_train import RECIPES, folder, rows, run, stop_at_epoch, stop_at_step

from ferlab.errors import Stopped, UserError
from ferlab.training.checkpoint import read
from train_function import parse


def test_a_run_goes_on_where_its_data_were_moved_to(options, tree, tmp_path):
    options = replace(options, data=str(tree), name="moved")
    stopped_in_epoch_2(options)
    moved = str(tree.rename(tmp_path / "elsewhere"))
    typed = ["--output", options.output, "--data", moved, "--name", "moved", "--resume"]
    assert parse("ConvNet", RECIPES, typed).data == moved
    assert run(replace(options, data=moved), resume="last")["epochs"] == options.epochs


def test_a_run_goes_on_elsewhere_and_can_be_stopped_there_at_once(options):
    """The old folder may be gone by then, and the command that was printed is right."""
    last = f"{folder(stopped_in_epoch_2(options))}/last.pth"
    moved = replace(options, name="there", resume=last)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped, match=r"--resume \S*there/last.pth"):
        stop_at_step(patch, 3)
        run(moved)
    os.remove(last)
    there = f"{options.output}/ConvNet/there"
    assert read(f"{there}/last.pth")["epoch"] == 1
    assert run(replace(moved, resume=f"{there}/last.pth"))["epochs"] == 3


def test_a_checkpoint_goes_on_under_another_name_but_not_over_another_run(options):
    last = f"{folder(stopped_in_epoch_2(options))}/last.pth"
    run(replace(options, name="there", epochs=1))
    with pytest.raises(UserError, match="holds a finished run"):
        run(replace(options, name="there", resume=last))
    done = run(replace(options, name="copy", finish=True, resume=last))  # only to evaluate
    assert done["epochs"] == 1 and len(rows(f"{options.output}/ConvNet/copy")) == 1


def test_a_checkpoint_from_elsewhere_leaves_nothing_of_the_run_that_it_overwrites(options, tmp_path):
    run(replace(options, name="old", epochs=1))
    stopped_in_epoch_2(options)
    (old := Path(options.output) / "ConvNet/old/predictions.csv").write_text("old")
    stop = replace(options, name="old", overwrite=True, resume=f"{folder(options)}/last.pth")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        stop_at_epoch(patch, 1)
        run(stop)
    assert not old.exists() and (old.parent / "last.pth").exists()


def test_a_foreign_checkpoint_does_not_say_where_to_write(options, tmp_path):
    """Of a checkpoint that lies elsewhere than its run wrote it only the experiment is taken over."""
    stopped_in_epoch_2(replace(options, output=str(tmp_path / "theirs"), lr=3e-4))
    last = tmp_path / "theirs/ConvNet/drawn-seed0/last.pth"
    assert parse("ConvNet", RECIPES, ["--resume", str(last)]).output == str(tmp_path / "theirs")
    elsewhere = str(shutil.copy(last, tmp_path / "download.pth"))
    back = parse("ConvNet", RECIPES, ["--resume", elsewhere])
    assert (back.output, back.data, back.lr) == ("results", "raf-db-dataset", 3e-4)
