"""What a shell or a machine brings along: launcher variables, versions, the folder of a notebook."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from scripts import ROOT
from scripts import run as script

from ferlab import versions
from ferlab.errors import UserError, command
from ferlab.training.runtime import torchrun_ranks

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
        torchrun_ranks()


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
    assert torchrun_ranks() == expected


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


@pytest.mark.parametrize("name", ["train_ConvNet.py", "predict.py", "compare.py", "study.py"])
def test_ctrl_c_while_torch_is_imported_is_one_line(tmp_path, name):
    """A torch that waits stands for a slow disk: the signal surely arrives while it is imported."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/__init__.py").write_text(
        "import time\nopen('here', 'w').close()\ntry:\n    time.sleep(60)\n"
        "except BaseException as error:\n    raise ImportError('swallowed') from error\n"
    )
    shutil.copytree(ROOT / "ferlab", tmp_path / "suite/ferlab")
    shutil.copytree(ROOT / "models", tmp_path / "suite/models")
    for file in [*ROOT.glob("*.py"), ROOT / "requirements.txt"]:
        shutil.copy(file, tmp_path / "suite")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    argv = [sys.executable, str(tmp_path / "suite" / name)]
    process = subprocess.Popen(argv, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "here").exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert (
        process.communicate(timeout=30)[1] == "stopped: at once, by Ctrl-C.\n" and process.returncode == 130
    )


def test_other_programs_keep_their_ctrl_c():
    code = (
        "import signal, sys, ferlab; print(signal.getsignal(2) is signal.default_int_handler, sys.excepthook)"
    )
    done = python("-c", code, path=ROOT)
    assert done.stdout.startswith("True <built-in function excepthook>"), done


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on the address space")
def test_too_little_memory_to_load_torch_is_one_line():
    def little():
        resource.setrlimit(resource.RLIMIT_AS, (700 << 20,) * 2)

    argv = [sys.executable, "train_ConvNet.py"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, preexec_fn=little)
    assert done.returncode == 1 and done.stderr.startswith(
        "error: this process may not use enough memory to "
    )
    assert done.stderr.count("\n") == 1


def test_an_output_that_nobody_reads_ends_without_a_word(tmp_path):
    """As compare.py --format latex | head: what is printed first waits in Python's own buffer."""
    script = tmp_path / "talk.py"
    script.write_text(
        "from ferlab.errors import command\n@command\ndef main():\n    print('x' * COUNT)\nmain()\n"
    )
    for count in (10, 1_000_000):
        script.write_text(script.read_text().replace("COUNT", str(count)))
        reading, writing = os.pipe()
        os.close(reading)
        argv, environment = [sys.executable, str(script)], {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(argv, env=environment, stdout=writing, stderr=subprocess.PIPE, text=True)
        os.close(writing)
        assert (done.returncode, done.stderr) == (141, "")
