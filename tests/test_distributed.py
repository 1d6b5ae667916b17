"""Two gloo processes are one process with the same global batch."""

import csv
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time

import pytest
from scripts import Script
from test_resizing import Tiny
from test_resume import assert_equal
from test_train import rows, stop_at_epoch, stop_at_step
from trees import first_face

import ferlab.analysis.metrics
import models
from ferlab.training.checkpoint import read

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# ConvNet without dropout, whose random zeros each process draws for itself
SCRIPT = textwrap.dedent("""
    import sys
    import models
    from ferlab.errors import command
    from models.ConvNet import ConvNet
    from RAFDB_dataset import load_splits
    from train_function import parse, train

    @command
    def main():
        options = parse("ConvNet", {"none": {}})
        model = models.build("ConvNet", image_size=options.image_size, seed=options.seed)
        model.classifier[3].p = model.classifier[6].p = 0.0
        train(model, *load_splits(options), options)

    main()
""")


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "train_plain.py"
    path.write_text(SCRIPT)
    return path


def command(processes, script, *argv):
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    launcher = torchrun if processes > 1 else []
    return [sys.executable, *launcher, str(script), *map(str, argv)]


def environment():
    return {**os.environ, "PYTHONPATH": ROOT, "OMP_NUM_THREADS": "1", "VIRTUAL_ENV": sys.prefix}


def test_two_processes_reach_what_one_reaches(script, drawn, tmp_path):
    logs, tests = [], []
    for processes in (1, 2):
        output = tmp_path / str(processes)
        done = subprocess.run(
            command(
                processes,
                script,
                "--data",
                drawn,
                "--output",
                output,
                "--image-size",
                40,
                "--epochs",
                3,
                "--batch-size",
                32,
                "--amp",
                "off",
                "--device",
                "cpu",
                "--balance",
                "weights",
                "--ema",
                0.9,
            ),
            env=environment(),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        folder = output / "ConvNet/drawn-seed0"
        with open(folder / "log.csv") as file:
            logs.append(list(csv.DictReader(file)))
        tests.append(json.loads((folder / "metrics.json").read_text())["test"])
    for one, two in zip(*logs):
        for key in ("train_loss", "val_loss", "train_accuracy", "val_accuracy", "val_macro_f1"):
            assert float(two[key]) == pytest.approx(float(one[key]), rel=1e-4), key
    assert tests[0]["confusion_matrix"] == tests[1]["confusion_matrix"]
    assert tests[0]["nll"] == pytest.approx(tests[1]["nll"], rel=1e-4)


def test_batch_that_cannot_be_shared(script, drawn, tmp_path):
    done = subprocess.run(
        command(
            2,
            script,
            "--data",
            drawn,
            "--output",
            tmp_path,
            "--image-size",
            40,
            "--batch-size",
            33,
            "--device",
            "cpu",
        ),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode != 0
    assert "--batch-size 33 cannot be shared by 2 processes" in done.stderr


def test_bad_data_ends_all_processes_in_words(script, tree, tmp_path):
    first_face(tree).write_bytes(b"")
    done = subprocess.run(
        command(2, script, "--data", tree, "--output", tmp_path, "--device", "cpu"),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode != 0 and "1 of 140 train images" in done.stderr
    assert "error (rank 1): process 0 failed" in done.stderr and "peer" not in done.stderr


def worker(process: subprocess.Popen, rank: int) -> int:
    """The process of that rank among torchrun's."""
    with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
        for pid in map(int, file.read().split()):
            with open(f"/proc/{pid}/environ", "rb") as environ:
                if f"RANK={rank}".encode() in environ.read().split(b"\0"):
                    return pid
    raise AssertionError("not found")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_all_processes_with_a_checkpoint(script, drawn, tmp_path, number):
    """SIGTERM to the whole group, SIGINT to one process that is not the first."""
    argv = ("--data", drawn, "--output", tmp_path, "--image-size", 40, "--epochs", 500, "--device", "cpu")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command(2, script, *argv), env=environment(), start_new_session=True, **pipes)
    for line in process.stdout:
        if line.split()[:1] == ["2"]:
            one = number == signal.SIGINT
            os.kill(worker(process, 1), number) if one else os.killpg(process.pid, number)
            break
    begun = time.monotonic()
    _, errors = process.communicate(timeout=90)
    assert time.monotonic() - begun < 29  # torchrun kills after 30 s
    assert process.returncode != 0 and f"stopped: by {number.name}" in errors
    assert "resume with: torchrun --nproc_per_node=2 " in errors
    assert read(tmp_path / "ConvNet/drawn-seed0/last.pth")["epoch"] >= 1
    if number == signal.SIGINT:
        return  # that one process can go on with it is shown once
    done = subprocess.run(
        command(1, script, *argv[:4], "--resume", "--finish"),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def prepare(stop):
    """A small network for train_ResNet.py; the second process gets a signal, as `stop` says."""
    models.ARCHITECTURES["ResNet18"] = models.Architecture(
        Tiny, "train_Tiny.py", 80, "black", "o", maps="body", any_size=True
    )
    ferlab.analysis.metrics.cost = lambda *_, **__: {}
    if stop and os.environ["RANK"] == "1":
        stop[0](pytest.MonkeyPatch(), stop[1])


def two(folder, *argv, stop=None):
    """train_ResNet.py in two processes; their exit codes, and the checkpoint of both."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    processes = [
        Script(
            "train_ResNet.py",
            *argv,
            "--output",
            folder,
            folder=folder.with_name(f"said{rank}"),
            prepare=functools.partial(prepare, stop),
            RANK=str(rank),
            WORLD_SIZE="2",
            LOCAL_RANK=str(rank),
            LOCAL_WORLD_SIZE="2",
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=port,
        )
        for rank in range(2)
    ]
    done = [process.wait() for process in processes]
    assert all("Traceback" not in one.err for one in done), done
    return [one.code for one in done], read(folder / "ResNet18/drawn-seed0/last.pth")


def test_two_processes_resume_exactly_where_the_size_changes(drawn, tmp_path):
    argv = (
        "--data",
        drawn,
        "--weights",
        "none",
        "--device",
        "cpu",
        "--amp",
        "off",
        "--batch-size",
        32,
        "--epochs",
        5,
        "--image-size",
        80,
        "--start-size",
        32,
        "--ema",
        0.9,
    )  # 3 steps an epoch
    codes, whole = two(tmp_path / "whole", *argv)
    assert codes == [0, 0]
    parts = tmp_path / "parts"
    for more, stop, epochs in [
        ((), (stop_at_step, 2), 0),
        (["--resume"], (stop_at_epoch, 2), 2),
        (["--resume"], (stop_at_step, 5), 3),
    ]:
        codes, state = two(parts, *argv, *more, stop=stop)
        assert (codes, state["epoch"]) == ([143 if stop[0] is stop_at_epoch else 130] * 2, epochs)
    codes, state = two(parts, *argv, "--resume")
    assert codes == [0, 0]
    assert_equal(whole, state)
    logs = [rows(f"{place}/ResNet18/drawn-seed0") for place in (tmp_path / "whole", parts)]
    assert logs[0] == logs[1] and [int(row["image_size"]) for row in logs[0]] == [32, 32, 64, 80, 80]
