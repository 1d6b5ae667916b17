"""A zip from anywhere is refused before anything in it is read, unless it is as plain as RAF-DB's (1 s)."""

import os
import stat
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from ferlab.data import archive
from ferlab.data.archive import MAX_FILE, check_zip, open_zip
from ferlab.errors import UserError

CSV = b"image,label\n" * 50


@pytest.fixture
def path(tmp_path) -> Path:
    """A good zip of two files."""
    path = tmp_path / "good.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train_labels.csv", CSV)
        archive.writestr("DATASET/", b"")
        archive.writestr("DATASET/a.jpg", b"face")
    return path


def refusal(path) -> str:
    with pytest.raises(UserError) as error:
        open_zip(path)
    return str(error.value)


def entry(name: str, *, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def test_a_good_zip_is_read(path):
    files, read = open_zip(path)
    assert list(files) == ["train_labels.csv", "DATASET/a.jpg"]
    assert read("train_labels.csv") == CSV and read("DATASET/a.jpg") == b"face"


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    "info, expected",
    [
        (entry("/etc/cron.d/x"), "/etc/cron.d/x: the name leads out of the folder"),
        (entry("DATASET/../../x"), "DATASET/../../x: the name leads out of the folder"),
        (entry("C:/x"), "C:/x: the name leads out of the folder"),
        (entry("..\\x"), "..\\x: the name leads out of the folder"),
        (entry("a.jpg", mode=stat.S_IFLNK | 0o777), "a.jpg: is a link or a device"),
        (entry("a.jpg", mode=stat.S_IFCHR | 0o666), "a.jpg: is a link or a device"),
        (entry("train_labels.csv"), "train_labels.csv: is listed 2 times"),
    ],
    ids=str,
)
def test_odd_entries_are_refused_by_name(path, info, expected):
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(info, b"x")
    assert f"{path} is refused as unsafe (problems: 1):\n  {expected}\n" in (text := refusal(path)), text


def test_an_encrypted_entry_is_refused(path):
    data = bytearray(path.read_bytes())
    data[data.rindex(b"PK\x01\x02") + 8] |= 1  # the flag in the directory's last entry
    path.write_bytes(data)
    assert "DATASET/a.jpg: is encrypted" in refusal(path)


def test_an_entry_that_lies_about_its_size_is_not_unpacked_whole(path, tmp_path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train_labels.csv", bytes(20 * MAX_FILE))
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02") + 24  # the unpacked size, in the directory
    data[at : at + 4] = (1000).to_bytes(4, "little")
    path.write_bytes(data)
    _, read = open_zip(path)
    tracemalloc.start()
    with pytest.raises(OSError, match="train_labels.csv is damaged in the zip"):
        read("train_labels.csv")
    assert tracemalloc.get_traced_memory()[1] < 10 * MAX_FILE
    tracemalloc.stop()


def test_an_entry_packed_in_an_unusual_way_is_refused(path):
    with zipfile.ZipFile(path, "a", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("DATASET/b.jpg", b"face")
    assert "DATASET/b.jpg: is packed in an unusual way" in refusal(path)


def test_an_entry_that_unpacks_to_more_than_a_face_is_refused(path):
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("DATASET/bomb.jpg", bytes(3 * MAX_FILE))
    assert path.stat().st_size < MAX_FILE and "DATASET/bomb.jpg: unpacks to 3.0 MiB" in refusal(path)


@pytest.mark.parametrize(
    "count, size, expected",
    [
        (1000, 0, ""),
        (1001, 0, "1,001 entries, more than 1,000"),
        (100, MAX_FILE, ""),
        (101, MAX_FILE, "unpacks to 101 MiB, more than 100"),
    ],
)
def test_too_much_is_refused(count, size, expected, monkeypatch):
    monkeypatch.setattr(archive, "MAX_FILES", 1000)
    monkeypatch.setattr(archive, "MAX_BYTES", 100 * MAX_FILE)

    class Archive:
        filename = "big.zip"

        def infolist(self):
            infos = [entry(f"{i}.jpg") for i in range(count)]
            for info in infos:
                info.file_size = size
            return infos

    if not expected:
        return check_zip(Archive())
    with pytest.raises(UserError, match=expected):
        check_zip(Archive())


FOREIGN = {
    "web page": (b"<!DOCTYPE html><html>Sign in</html>", "(35 bytes) is a web page"),
    "tar.gz": (b"\x1f\x8b\x08\0", "is packed in a way that is not read; unpack it and name the folder"),
    "tar": (bytes(257) + b"ustar", "is packed in a way that is not read"),
    "picture": (b"\xff\xd8\xff", "is not a zip; name RAF-DB's zip or folder"),
    "nothing": (b"", "(0 bytes) is not a zip"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_is_no_zip_is_told_what_it_is(path, kind):
    data, expected = FOREIGN[kind]
    path.write_bytes(data)
    assert expected in refusal(path) and "again" not in refusal(path)


def test_a_damaged_zip_or_a_part_of_one(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert "is only a part of a zip; download it again" in refusal(path)
    directory = data.index(b"PK\x01\x02")
    path.write_bytes(data[:directory] + b"XX" + data[directory + 2 :])
    assert f"{path} is a damaged zip" in refusal(path)
    with open(path, "wb") as file:
        file.truncate(10**12)  # sparse: a terabyte that nobody should read
    assert f"{path} has 1,000,000,000,000 bytes; unpack" in refusal(path)


def test_names_with_backslashes_have_their_sentence(path):
    with zipfile.ZipFile(path, "a") as archive:
        for i in range(20):
            archive.writestr(f"DATASET\\train\\1\\{i}.jpg", b"x")
    text = refusal(path)
    assert "has backslashes in its names" in text and "unpack it" in text and len(text.splitlines()) == 1


def test_a_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "a.zip")
    assert "is not a file" in refusal(tmp_path / "a.zip")


def test_a_damaged_entry_is_an_oserror_with_its_name(path):
    data = bytearray(path.read_bytes())
    data[60] ^= 0xFF  # in the packed CSV
    path.write_bytes(data)
    files, read = open_zip(path)
    assert read("DATASET/a.jpg") == b"face"
    with pytest.raises(OSError, match="train_labels.csv is damaged in the zip"):
        read("train_labels.csv")
