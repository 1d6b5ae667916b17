"""Where a run goes, and what must not be spoilt there (2 s)."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ferlab.data.layout import prefix
from ferlab.errors import UserError
from ferlab.training.run_folder import check_run_folder, resume_command, run_path


@pytest.fixture
def there(options) -> Path:
    """The folder of the run's own name, made."""
    folder = run_path("ConvNet", options)
    folder.mkdir(parents=True)
    return folder


def test_a_published_run_is_left_alone_and_its_seed_runs_beside_it(options, there):
    """It came with the repository, which holds no checkpoints."""
    assert there == Path(options.output) / "ConvNet/drawn-seed0"
    (there / "metrics.json").touch()
    assert run_path("ConvNet", options) == there.with_name("rerun-drawn-seed0")
    check_run_folder("ConvNet", options)
    assert run_path("ConvNet", replace(options, overwrite=True)) == there
    assert run_path("ConvNet", replace(options, name="drawn-seed0")) == there
    (there / "last.pth").touch()  # the user's own
    with pytest.raises(UserError, match="drawn-seed0 holds a finished run.*--overwrite"):
        check_run_folder("ConvNet", options)


@pytest.mark.parametrize(
    "file, said",
    [
        ("best_model.pth", "holds a trained model, best_model.pth"),
        ("log.csv", "holds an unfinished run of 0"),
    ],
)
def test_what_a_run_would_spoil_is_refused(options, there, file, said):
    (there / file).touch()
    with pytest.raises(UserError, match=said):
        check_run_folder("ConvNet", options)
    check_run_folder("ConvNet", replace(options, overwrite=True))


def test_drawn_faces_are_known_wherever_the_path_points(options, drawn):
    for path in (drawn, drawn.parent, drawn / "DATASET"):
        assert prefix(str(path)) == "drawn-"
        assert run_path("ConvNet", replace(options, data=str(path))).name == "drawn-seed0"


def test_without_data_there_is_no_place(options):
    with pytest.raises(UserError, match="nowhere does not exist"):
        run_path("ConvNet", replace(options, data="nowhere"))


@pytest.mark.parametrize(
    "typed, expected",
    [
        ("--seed 3", "--seed 3 --resume"),
        ("--resume a/last.pth --seed 3", "--seed 3 --resume b/last.pth"),
        ("--resume --overwrite", "--resume"),
        ("--resume=a --data b", "--data b --resume b/last.pth"),
    ],
)
def test_the_command_that_goes_on(options, monkeypatch, typed, expected):
    monkeypatch.setattr(sys, "argv", ["train_ConvNet.py", *typed.split()])
    monkeypatch.setenv("VIRTUAL_ENV", sys.prefix)
    options.resume = "a" if "--resume" in typed and typed != "--resume --overwrite" else ""
    assert resume_command(Path("b"), options) == f"python train_ConvNet.py {expected}"
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    two = resume_command(Path("b"), options, world_size=2)
    assert two == f"torchrun --nproc_per_node=2 train_ConvNet.py {expected}"


def test_the_command_that_goes_on_in_make_s_environment(options, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["train_ConvNet.py"])
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "prefix", str(Path.cwd() / ".venv"))
    monkeypatch.setattr(sys, "executable", str(Path.cwd() / ".venv/bin/python"))
    assert resume_command(Path("b"), options) == ".venv/bin/python train_ConvNet.py --resume"
