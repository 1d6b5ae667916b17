"""What users, disks and other processes do to the real scripts: one sentence, no traceback, no hang (20 s).

KILLS=1000 python -m pytest tests/test_mistakes.py        # kills of a script at work, usually 6
"""

import importlib.util
import os
import random
import resource
import signal
import sys
import time
from pathlib import Path

import pytest
from scripts import Script, run
from test_train import rows

import ferlab.analysis.metrics
import ferlab.analysis.plots
import ferlab.training.imbalance
from ferlab.training.checkpoint import read

KILLS = int(os.environ.get("KILLS", 240)) // 40
SMALL = ("--image-size", 32, "--device", "cpu", "--batch-size", 32)


@pytest.fixture
def argv(drawn, tmp_path) -> list:
    return ["--data", drawn, "--output", tmp_path / "out", *SMALL]


def refused(done, code: int, *parts) -> None:
    """The script ended so, with one message that has these parts."""
    assert done.code == code, done
    assert "Traceback" not in done.err and done.err.startswith(("error: ", "stopped: ")), done.err
    assert all(str(part) in done.err for part in parts), done.err


def reach_epoch(script: Script, number: int) -> None:
    """Wait until the script has printed that epoch's row."""
    deadline = time.monotonic() + 60
    while not any(line.split()[:1] == [str(number)] for line in script.files[0].read_text().splitlines()):
        assert script.process.is_alive() and time.monotonic() < deadline, script.files[1].read_text()
        time.sleep(0.01)


OPTIONS = {
    "infinite rate": (["--lr", "inf"], "--lr is inf; it must be finite"),
    "infinite by rounding": (["--weight-decay", "1e400"], "--weight-decay is inf"),
    "zero by rounding": (["--lr", "1e-400"], "argument --lr: 1e-400 is too small, and would be taken for 0"),
    "digits with underscores": (["--epochs", "1_0"], "argument --epochs: invalid int value: '1_0'"),
    "an empty folder": (["--output="], "--output is empty; give a value, or leave it out for results."),
    "no number": (["--lr", "nan"], "--lr is nan"),
    "negative": (["--epochs", "-3"], "--epochs is -3; it must be 1 or more"),
    "name with a way out": (["--name", "../../x"], "--name ../../x must be the name of a folder"),
    "name of the folder above": (["--name", ".."], "--name .. must be the name of a folder"),
    "endless data path": (["--data", "x" * 5000], "does not exist"),
    "name that argparse swallows": (["--name=--"], "--name cannot be --"),
    "empty checkpoint": (["--resume="], "argument --resume: it is empty"),
    "a folder as checkpoint": (["--resume", "ferlab"], "there is no checkpoint ferlab"),
    "no run to resume": (["--resume"], "there is no checkpoint"),
    "weights that are code": (["--weights", "compare.py"], "compare.py ("),
    "weights that are a folder": (["--weights", "ferlab"], "there is no checkpoint ferlab"),
    "three at once": (
        ["--lr", "-1", "--epochs", "0", "--balance", "weightz"],
        "1 or more.\n--lr is -1; it must be ",
    ),
    "a stray word": (["fast"], "there is no option fast"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_options_that_make_no_sense(argv, tmp_path, case):
    typed, said = OPTIONS[case]
    refused(run("train_ConvNet.py", *argv, *typed, folder=tmp_path / "said"), 2, said)
    assert not (tmp_path / "out").exists()


def test_a_rate_that_explodes(argv, tmp_path):
    done = run("train_ConvNet.py", *argv, "--lr", 1e30, folder=tmp_path / "said")
    refused(done, 3, "no longer finite in epoch 1 (learning rate up to 1e+30", "last.pth, of epoch 0")
    assert read(tmp_path / "out/ConvNet/drawn-seed0/last.pth")["best"]["weights"] == {}


@pytest.mark.parametrize(
    "place, trouble",
    [
        (".", "Not a directory"),
        ("ConvNet", "Not a directory"),
        ("ConvNet/drawn-seed0", "File exists"),
        ("ConvNet/drawn-seed0/last.pth/", "Is a directory"),
        ("ConvNet/drawn-seed0/log.csv/", "Is a directory"),
    ],
)
def test_files_where_folders_should_be_and_folders_for_files(argv, tmp_path, place, trouble):
    path = tmp_path / "out" / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir() if place.endswith("/") else path.write_text("x")
    refused(run("train_ConvNet.py", *argv, folder=tmp_path / "said"), 4, trouble, "choose another --output")


def test_a_name_that_no_disk_takes(argv, tmp_path):
    done = run("train_ConvNet.py", *argv, "--name", "x" * 300, folder=tmp_path / "said")
    refused(done, 4, "File name too long")


def test_a_batch_that_batch_norm_cannot_take(argv, tmp_path):
    done = run("train_GoogLeNet.py", *argv, "--weights", "none", "--batch-size", 1, folder=tmp_path / "said")
    refused(done, 2, "--batch-size 1 leaves batch norm one value of each channel at 32 pixels")


@pytest.mark.skipif(bool(importlib.util.find_spec("tensorboard")), reason="tensorboard is here")
def test_what_is_missing_is_said_before_the_old_run_goes(argv, tmp_path):
    assert run("train_ConvNet.py", *argv, "--epochs", 1, folder=tmp_path / "said").code == 0
    before = sorted(file.name for file in (tmp_path / "out/ConvNet/drawn-seed0").iterdir())
    for wrong in (["--tensorboard"], ["--data", "nowhere"], ["--balance", "luck"], ["--device", "meta"]):
        done = run(
            "train_ConvNet.py",
            *argv,
            "--name",
            "drawn-seed0",
            "--overwrite",
            *wrong,
            folder=tmp_path / "said",
        )
        refused(done, 2)
        assert before == sorted(file.name for file in (tmp_path / "out/ConvNet/drawn-seed0").iterdir())


def small_memory():
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + (600 << 20),) * 2)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_too_little_memory_on_the_cpu(argv, tmp_path):
    done = run(
        "train_ConvNet.py",
        *argv,
        "--image-size",
        512,
        "--batch-size",
        125,
        folder=tmp_path / "said",
        prepare=small_memory,
    )
    refused(done, 2, "the cpu memory is too small for batches of 125 at 512 pixels", "--batch-size")


def test_two_runs_in_one_folder(argv, tmp_path):
    first = Script("train_ConvNet.py", *argv, "--epochs", 500, folder=tmp_path / "said")
    reach_epoch(first, 1)
    for more in ("--overwrite", "--resume"):
        second = run("train_ConvNet.py", *argv, "--epochs", 500, more, folder=tmp_path / "other")
        refused(second, 2, "another run is at work in", "out/ConvNet/drawn-seed0")
    os.kill(first.pid, signal.SIGTERM)
    refused(first.wait(), 143, "stopped: by SIGTERM", "--resume")
    done = run("train_ConvNet.py", *argv, "--resume", "--finish", folder=tmp_path / "other")
    assert done.code == 0, done.err  # the lock ended with its process


def slow_loss():
    def loss(*_, **__):
        print("slow", flush=True)
        time.sleep(60)

    ferlab.training.imbalance.Balance.loss = loss


def test_a_second_ctrl_c_ends_a_step_that_takes_for_ever(argv, tmp_path):
    script = Script("train_ConvNet.py", *argv, folder=tmp_path / "said", prepare=slow_loss)
    while "slow" not in script.files[0].read_text():
        time.sleep(0.01)
    os.kill(script.pid, signal.SIGINT)
    time.sleep(0.3)
    assert script.process.is_alive()  # the first one waits for the step
    os.kill(script.pid, signal.SIGINT)
    refused(script.wait(30), 130, "stopped: at once, by Ctrl-C.")


def ascii_only():
    sys.stdout.reconfigure(encoding="ascii", errors="strict")
    sys.stderr.reconfigure(encoding="ascii", errors="strict")


@pytest.mark.parametrize("name", ["\u00fcn\u00ef \u4e2d \U0001f600", os.fsdecode(b"\xff\xfe")], ids=ascii)
def test_names_in_every_script_and_in_none(argv, tree, tmp_path, name):
    data = tree.rename(tmp_path / name)
    done = run(
        "train_ConvNet.py",
        *argv,
        "--data",
        data,
        "--output",
        tmp_path / f"{name} out",
        "--epochs",
        1,
        folder=tmp_path / "said",
        prepare=ascii_only,
    )
    assert done.code == 0 and done.err == "", done
    done = run("train_ConvNet.py", *argv, "--data", f"{data}/x", folder=tmp_path / "said", prepare=ascii_only)
    refused(done, 2, "does not exist")


def test_sigkill_at_random_moments_of_a_run_costs_no_number(argv, tmp_path):
    """Killed again and again, and resumed each time, it ends with the rows of the run that was left alone."""
    argv += ["--epochs", 12, "--ema", 0.9, "--balance", "sampler"]
    whole = run("train_ConvNet.py", *argv, "--name", "whole", folder=tmp_path / "said")
    assert whole.code == 0, whole.err
    folder, draw, survived = tmp_path / "out/ConvNet/killed", random.Random(0), 0
    argv += ["--name", "killed"]
    for _ in range(KILLS):
        there = (folder / "last.pth").exists()
        script = Script(
            "train_ConvNet.py", *argv, "--resume" if there else "--overwrite", folder=tmp_path / "said"
        )
        time.sleep(draw.uniform(0.05, 0.6))
        script.process.kill()
        script.process.join()
        survived += not there or bool(read(folder / "last.pth"))
    done = run(
        "train_ConvNet.py",
        *argv,
        "--resume" if (folder / "last.pth").exists() else "--overwrite",
        folder=tmp_path / "said",
    )
    assert done.code == 0 or "is finished" in done.err, done.err
    print(f"{survived} of {KILLS} kills survived")
    logs = [rows(tmp_path / "out/ConvNet" / name) for name in ("whole", "killed")]
    assert logs[0] == logs[1] and len(logs[0]) == 12
    texts = {(tmp_path / f"out/ConvNet/{name}/predictions.csv").read_text() for name in ("whole", "killed")}
    assert len(texts) == 1
