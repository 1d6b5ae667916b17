"""The cache of decoded faces: it saves the decoding, hides no change, and damage to it is harmless (4 s)."""

import io
import os
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from trees import IMAGE, encode, first_face

import ferlab.data.cache
from ferlab.data.cache import cache_folder, decode_face
from ferlab.errors import UserError
from RAFDB_dataset import RAFDBDataset

SPLITS = ("train", "val", "test")


@pytest.fixture
def decoded(monkeypatch) -> list:
    """One entry for each face that is decoded."""
    faces = []
    monkeypatch.setattr(
        ferlab.data.cache,
        "decode_face",
        lambda data, **options: faces.append(1) or decode_face(data, **options),
    )
    return faces


def test_faces_are_decoded_once(drawn, kaggle_zip, empty_cache, decoded):
    for root in (drawn, kaggle_zip):
        first = [RAFDBDataset(root, split) for split in SPLITS]
        assert len(decoded) == 210
        again = [RAFDBDataset(root, split) for split in SPLITS]
        assert len(decoded) == 210 and all(torch.equal(a.images, b.images) for a, b in zip(first, again))
        decoded.clear()
    assert {file.suffix for file in empty_cache.iterdir()} == {".npy"}


def test_cache_never_hides_a_changed_file(tree, empty_cache, decoded):
    before = RAFDBDataset(tree, "test")
    file = first_face(tree, "test")
    stat, size = file.stat(), len(file.read_bytes())
    data = encode(IMAGE, quality=20)
    file.write_bytes(data + bytes(size - len(data)))  # of the same size, with the same time stamp
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    decoded.clear()
    after = RAFDBDataset(tree, "test")
    changed = [name for a, b, name in zip(before.images, after.images, after.names) if not torch.equal(a, b)]
    assert changed == [file.name] and len(decoded) == 70
    assert len(list(empty_cache.glob("*-test-*"))) == 1  # the old one is gone
    file.unlink()
    with pytest.raises(UserError, match=f"there is no image '{file.name}'"):
        RAFDBDataset(tree, "test")


def test_a_pipe_in_place_of_the_cache_is_passed_by(tree, empty_cache):
    RAFDBDataset(tree, "test")
    (file,) = empty_cache.glob("*-test-*")
    file.unlink()
    os.mkfifo(file)
    assert len(RAFDBDataset(tree, "test")) == 70


def test_cache_never_hides_a_changed_zip(tree, kaggle_zip, tmp_path, empty_cache, decoded):
    path = Path(shutil.copy(kaggle_zip, tmp_path / "a.zip"))
    RAFDBDataset(path, "test")
    data = path.read_bytes()
    os.truncate(path, 0)
    path.write_bytes(data)
    decoded.clear()
    RAFDBDataset(path, "test")
    assert len(decoded) == 70


def npy(array, **options) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


class Trap:
    def __reduce__(self):
        return os.mkdir, ("trap-sprung",)


SPOILED = {
    "truncated": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "garbage": lambda data: b"garbage" * 1000,
    "like a zip": lambda data: b"PK\x03\x04" + data,
    "flipped bit": lambda data: data[:5000] + bytes([data[5000] ^ 1]) + data[5001:],
    "zeros": lambda data: data[:128] + bytes(len(data) - 128),
    "another shape": lambda data: npy(np.zeros((70, 3, 10, 10), np.uint8)),
    "another type": lambda data: npy(np.zeros((70, 3, 100, 100), np.int8)),
    "a pickle that runs code": lambda data: npy(np.array([Trap()], dtype=object), allow_pickle=True),
}


@pytest.mark.parametrize("kind", SPOILED)
def test_spoiled_cache_is_decoded_again(drawn, tmp_path, empty_cache, decoded, kind, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = RAFDBDataset(drawn, "test")
    (file,) = empty_cache.glob("*-test-*")
    file.write_bytes(SPOILED[kind](file.read_bytes()))
    decoded.clear()
    assert torch.equal(RAFDBDataset(drawn, "test").images, first.images) and len(decoded) == 70
    RAFDBDataset(drawn, "test")
    assert len(decoded) == 70 and len(list(empty_cache.iterdir())) == 1  # and cached anew
    assert not (tmp_path / "trap-sprung").exists()


def test_cache_of_another_version_is_decoded_again(drawn, empty_cache, decoded, monkeypatch):
    RAFDBDataset(drawn, "test")
    monkeypatch.setattr(ferlab.data.cache, "VERSION", -1)
    RAFDBDataset(drawn, "test")
    assert len(decoded) == 140 and len(list(empty_cache.iterdir())) == 1


def test_unwritable_cache_folder_falls_back_and_says_so_once(drawn, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("a file where a folder should be")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    RAFDBDataset(drawn, "train")
    RAFDBDataset(drawn, "test")
    assert cache_folder() == tmp_path / f"tmp/fer-rafdb-{os.getuid()}"
    assert len(list(cache_folder().iterdir())) == 2
    assert cache_folder().stat().st_mode & 0o077 == 0  # RAF-DB's faces are not for other users
    said = capsys.readouterr().err
    assert said == (
        f"note: the cache folder {tmp_path / 'file/fer-rafdb'} cannot be used (Not a "
        f"directory); using {cache_folder()}\n"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770])
def test_a_cache_folder_of_another_user_that_is_open_to_all_is_not_used(
    tmp_path, empty_cache, monkeypatch, mode, capsys
):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    empty_cache.mkdir(parents=True)
    os.chown(empty_cache, 65534, 65534)
    empty_cache.chmod(mode)
    used, said = cache_folder(), capsys.readouterr().err
    assert used == (empty_cache if mode == 0o770 else tmp_path / "tmp/fer-rafdb-0")
    assert ("it belongs to another user and is open to all" in said) == (mode != 0o770)


def test_no_cache_folder_at_all_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("a file where a folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file"))
    with pytest.raises(UserError, match="set XDG_CACHE_HOME to a folder"):
        cache_folder()


def test_full_disk_costs_only_the_cache(drawn, empty_cache, capsys):
    cache_folder()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))  # the array has two
    try:
        part = RAFDBDataset(drawn, "test")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(part) == 70 and list(empty_cache.iterdir()) == []
    assert f"note: the decoded images are not cached in {empty_cache}" in capsys.readouterr().err


def test_what_killed_processes_left_in_the_cache_is_swept(drawn, empty_cache):
    RAFDBDataset(drawn, "test")
    (file,) = empty_cache.iterdir()
    old, new = empty_cache / f".{file.name}.1.tmp", empty_cache / f".{file.name}.2.tmp"
    for left in (old, new):
        left.write_bytes(b"half")
    os.utime(old, (0, 0))
    file.unlink()
    RAFDBDataset(drawn, "test")
    assert set(empty_cache.iterdir()) == {file, new}  # the new one may belong to a process at work
