"""What a shell or a machine brings along: launcher variables, versions, the folder of a notebook."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from scripts import ROOT
from scripts import run as script

from ferlab import versions
from ferlab.errors import UserError, command
from ferlab.training.runtime import launched

LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture
def shell(monkeypatch):
    for name in LAUNCHER:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    "given, said",
    [
        ({"RANK": "1", "WORLD_SIZE": "2"}, "WORLD_SIZE=2 without LOCAL_RANK, MASTER_ADDR, MASTER_PORT"),
        ({"WORLD_SIZE": "4", "LOCAL_RANK": "0", "MASTER_ADDR": "x", "MASTER_PORT": "1"}, "without RANK"),
        ({"RANK": "one"}, "RANK='one', which is not a number; type unset RANK"),
        ({"RANK": ""}, "RANK=''"),
        ({"WORLD_SIZE": "2.0"}, "WORLD_SIZE='2.0'"),
        ({"WORLD_SIZE": "-1"}, "WORLD_SIZE='-1'"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE=0 with RANK=0"),
        ({"RANK": "1"}, "WORLD_SIZE=1 with RANK=1"),
        ({"LOCAL_WORLD_SIZE": "\u0662"}, "LOCAL_WORLD_SIZE="),
        ({"MASTER_PORT": "http"}, "MASTER_PORT='http'"),
    ],
)
def test_half_a_launcher_s_environment_is_refused(shell, given, said):
    for name, value in given.items():
        shell.setenv(name, value)
    with pytest.raises(UserError, match=said):
        launched()


@pytest.mark.parametrize(
    "given, expected",
    [
        ({}, (0, 1)),
        ({"RANK": "0"}, (0, 1)),
        ({"RANK": "0", "WORLD_SIZE": "1"}, (0, 1)),
        (dict(zip(LAUNCHER, ("3", "4", "1", "2", "host", "29500"))), (3, 4)),
    ],
)
def test_a_whole_one_is_taken(shell, given, expected):
    for name, value in given.items():
        shell.setenv(name, value)
    assert launched() == expected


@pytest.mark.parametrize("given", [{"WORLD_SIZE": "x"}, {"RANK": "1", "WORLD_SIZE": "2"}])
def test_a_script_says_so_at_once(shell, drawn, tmp_path, given):
    argv = ("--data", drawn, "--output", tmp_path, "--image-size", 40, "--device", "cpu")
    done = script("train_ConvNet.py", *argv, folder=tmp_path / "said", **given)
    assert done.code == 2 and "Traceback" not in done.err and done.err.count("\n") == 1
    assert done.err.startswith("error") and "the environment has WORLD_SIZE=" in done.err


def test_any_rank_can_be_named_in_a_message(shell, capsys):
    @command
    def main():
        raise UserError("no.")

    for rank, said in (("x", "error: no."), ("0", "error: no."), ("2", "error (rank 2): no.")):
        shell.setenv("RANK", rank)
        with pytest.raises(SystemExit):
            main()
        assert capsys.readouterr().err == f"{said}\n"


def python(*argv, path: Path, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    """A new Python, in which `path` comes before what is installed."""
    return subprocess.run(
        [sys.executable, *map(str, argv)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(path)},
    )


@pytest.mark.parametrize("name", ["train_ConvNet.py", "predict.py", "compare.py"])
def test_a_torch_that_is_too_old_is_said_at_the_start(tmp_path, name):
    about = tmp_path / "torch-2.2.2.dist-info/METADATA"
    about.parent.mkdir()
    about.write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.2.2\n")
    done = python(name, "--help", path=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and done.stdout == ""
    assert "this suite needs torch 2.10 or newer (installed is 2.2.2)" in done.stderr
    assert '-m pip install "torch>=2.10"' in done.stderr


@pytest.mark.parametrize(
    "lines, said",
    [
        ("numpy>=999", "numpy 999 or newer (installed is "),
        ("nobodys-package>=1", "1 or newer (not installed)"),
        ("numpy>=1\n# torch>=999 is a comment\njupyter>=99", ""),
    ],
)
def test_every_requirement_is_looked_at(tmp_path, monkeypatch, capsys, lines, said):
    monkeypatch.setattr(versions, "REQUIREMENTS", tmp_path / "requirements.txt")
    versions.REQUIREMENTS.write_text(lines)
    if said:
        with pytest.raises(SystemExit):
            versions.check()
    else:
        versions.check()
    assert said in capsys.readouterr().err


def test_versions_are_compared_as_numbers():
    assert versions._numbers("2.14.1+cu130") == (2, 14, 1) and versions._numbers("2.10.0a0") == (2, 10, 0)
    assert versions._numbers("2.9") < versions._numbers("2.10") <= versions._numbers("2.10.0")


@pytest.mark.parametrize("name", ["test.ipynb", "setup_dataset.ipynb"])
def test_a_notebook_outside_the_repository_says_where_it_belongs(tmp_path, name):
    cells = [cell["source"] for cell in json.loads((ROOT / name).read_text())["cells"]]
    source = next("".join(cell) for cell in cells if "from ferlab" in "".join(cell))
    done = python("-c", source.replace("%matplotlib inline", ""), path=tmp_path, cwd=tmp_path)
    assert done.stderr == "Open this notebook in the suite's own folder, beside RAFDB_dataset.py.\n"
