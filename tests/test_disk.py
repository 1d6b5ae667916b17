"""What disks and pipes do to the real scripts: full, gone, read by nobody (10 s)."""

import os
import resource
import shutil
import sys

import pytest
from scripts import Script, run
from test_mistakes import argv, reach_epoch, refused  # noqa: F401  (a fixture)

import ferlab.analysis.metrics
import ferlab.analysis.plots
import ferlab.training.imbalance
from ferlab.training.checkpoint import read


def small_files(size: int = 4096) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def small_files_from(module, name: str) -> None:
    """No file may grow beyond 4 KB from the moment on that this function is called."""
    function = getattr(module, name)
    setattr(module, name, lambda *args, **kwargs: (small_files(), function(*args, **kwargs))[1])


def full_at_finish():
    small_files_from(ferlab.analysis.metrics, "cost")


def full_at_the_pictures():
    small_files_from(ferlab.analysis.plots, "curves")


@pytest.mark.parametrize(
    "prepare, file, done",
    [
        (small_files, "last.pth", 0),
        (full_at_finish, "best_model.pth", 2),
        (full_at_the_pictures, "curves.png", 2),
    ],
)
def test_a_full_disk_at_any_time_leaves_what_was_there(argv, tmp_path, prepare, file, done):
    """And with room again, the run goes on."""
    folder = tmp_path / "out/ConvNet/drawn-seed0"
    argv += ["--epochs", 2]
    refused(
        run("train_ConvNet.py", *argv, folder=tmp_path / "said", prepare=prepare),
        4,
        f"{folder / file} could not be written",
        "Make room",
    )
    assert not list(folder.glob(".*")) and not (folder / "metrics.json").exists()
    if done:
        assert read(folder / "last.pth")["epoch"] == done
        again = run("train_ConvNet.py", *argv, "--resume", folder=tmp_path / "said")
        assert again.code == 0 and (folder / "metrics.json").exists(), again.err


def test_the_results_folder_vanishes(argv, tmp_path):
    script = Script("train_ConvNet.py", *argv, "--epochs", 500, folder=tmp_path / "said")
    reach_epoch(script, 2)
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    refused(script.wait(), 4, "could not be written (No such file or directory)")
    assert read(tmp_path / "elsewhere/ConvNet/drawn-seed0/last.pth")


def test_the_data_folder_vanishes(argv, tree, tmp_path):
    """The images are in memory by then: the run ends as if nothing had happened."""
    script = Script("train_ConvNet.py", *argv, "--data", tree, "--epochs", 12, folder=tmp_path / "said")
    reach_epoch(script, 1)
    shutil.rmtree(tree)
    done = script.wait()
    assert done.code == 0 and (tmp_path / "out/ConvNet/drawn-seed0/metrics.json").exists(), done.err
    done = run(
        "train_ConvNet.py",
        *argv,
        "--data",
        tree,
        "--name",
        "drawn-seed0",
        "--resume",
        folder=tmp_path / "said",
    )
    refused(done, 2, f"{tree} does not exist")


def nobody_reads():
    read_end, write_end = os.pipe()
    os.close(read_end)
    os.dup2(write_end, 1)
    sys.stdout = open(1, "w", closefd=False)  # a new process has none that believes it writes to a file


def full_output():
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)


def no_streams():
    sys.stdout = sys.stderr = None


@pytest.mark.parametrize("prepare", [nobody_reads, full_output, no_streams])
def test_a_run_whose_output_goes_nowhere_goes_on(argv, tmp_path, prepare):
    done = run("train_ConvNet.py", *argv, "--epochs", 1, folder=tmp_path / "said", prepare=prepare)
    assert done == (0, "", ""), done.err
    assert (tmp_path / "out/ConvNet/drawn-seed0/metrics.json").exists()
