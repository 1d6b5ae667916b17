"""Files written whole or not at all: full disks, folders that are gone, rights that are lacking."""

import contextlib
import os
import resource
import tempfile
from pathlib import Path

import pytest
import torch
from test_checkpoint import path, refusal, state  # noqa: F401  (a fixture)
from trees import as_a_user

from ferlab.errors import UserError
from ferlab.files import remove_temporaries, write_atomically
from ferlab.training.checkpoint import read, save


@contextlib.contextmanager
def full_device(path: Path):
    """The temporary file of `path` leads to /dev/full, which takes nothing."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.symlink_to("/dev/full")
    yield


@contextlib.contextmanager
def small_files(path: Path):
    """No file may grow beyond 4 KB, as with a quota."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@contextlib.contextmanager
def failing_replace(path: Path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        yield


@pytest.mark.parametrize(
    "trouble, reason",
    [
        pytest.param(
            full_device,
            "No space left on device",
            marks=pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full"),
        ),
        (small_files, r"\((File too large|disk full\?)\)"),
        (failing_replace, "Input/output error"),
    ],
)
@pytest.mark.parametrize("what", ["checkpoint", "text"])
def test_a_full_disk_leaves_the_old_file(path, trouble, reason, what):
    before = path.read_bytes()
    with trouble(path), pytest.raises(UserError, match=reason) as error:
        if what == "text":
            write_atomically(path, lambda file: file.write(b"x" * 100_000))
        else:
            save(path, state(extra=torch.ones(100_000)))
    assert error.value.code == 4
    assert f"{path} could not be written" in str(error.value) and "is untouched" in str(error.value)
    advice = "run the same command again" if what == "text" else "--output, then resume with --resume"
    assert advice in str(error.value)
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


def test_a_folder_that_is_none_or_is_gone(tmp_path):
    (tmp_path / "file").write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"could not be written \(Not a directory\)\. Make room") as error:
        save(tmp_path / "file/last.pth", state())
    assert error.value.code == 4
    with pytest.raises(UserError, match=r"could not be written \(No such file or directory\)\."):
        save(tmp_path / "gone/last.pth", state())


def test_a_folder_without_the_right_to_write_or_read():
    with tempfile.TemporaryDirectory() as folder, as_a_user(folder):
        path = Path(folder) / "last.pth"
        save(path, state())
        os.chmod(folder, 0o500)
        message = r"could not be written \(Permission denied\); the file that stood"
        with pytest.raises(UserError, match=message):
            save(path, state())
        assert read(path)
        os.chmod(path, 0)
        assert "cannot be read (Permission denied)" in refusal(path)
        os.chmod(folder, 0o700)


def test_sweep_removes_only_what_was_left_half_written(path):
    for name in (".last.pth.123.tmp", ".log.csv.9.tmp", "notes.tmp", ".hidden"):
        (path.parent / name).write_text("x")
    remove_temporaries(path.parent)
    assert {p.name for p in path.parent.iterdir()} == {"last.pth", "notes.tmp", ".hidden"}
