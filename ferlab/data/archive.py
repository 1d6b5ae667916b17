"""A zip from anywhere, checked before anything in it is read: a dataset's is small, flat and plain.

files, read = open_zip("raf-db-dataset.zip")      # name -> checksum; read(name) -> bytes
unpack("raf-db-dataset.zip", "raf-db-dataset")    # the same onto the disk
"""

import os
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from ferlab.errors import UserError, first_ten
from ferlab.files import read_regular

MAX_FILES, MAX_BYTES = 100_000, 1 << 30  # RAF-DB's has 15,341 files and unpacks to 39,021,420 bytes
MAX_FILE = 1 << 20  # bytes; RAF-DB's largest file is a CSV of a third of that
UNPACK = "is packed in a way that is not read; unpack it and name the folder with --data."
FOREIGN = (  # where, what stands there, what to tell of such a file
    (0, b"\x1f\x8b", UNPACK),  # gzip: .tar.gz
    (0, b"BZh", UNPACK),
    (0, b"\xfd7zXZ", UNPACK),
    (0, b"7z\xbc\xaf", UNPACK),
    (0, b"Rar!", UNPACK),
    (257, b"ustar", UNPACK),  # tar
    (0, b"PK\3\4", "is only a part of a zip; download it again."),
    (0, b"<!DOCTYPE html", "is a web page, perhaps one that asks to sign in; download the zip by hand."),
    (0, b"<html", "is a web page, perhaps one that asks to sign in; download the zip by hand."),
)


def open_zip(path: str | Path) -> tuple[dict[str, int], Callable[[str], bytes]]:
    """The files in a zip, name -> CRC, and a thread-safe function that reads one of them.

    Raises UserError where it is no zip, damaged, or refused by `check_zip`; `read` raises OSError where an
    entry is damaged.
    """
    if not os.path.isfile(path):  # opening a pipe would wait for ever
        raise UserError(f"{path} is not a file; name a zip or a folder with --data.")
    if (size := os.path.getsize(path)) > MAX_BYTES:
        raise UserError(
            f"{path} has {size:,} bytes; unpack what is that large, and name the folder with --data."
        )
    if not zipfile.is_zipfile(path):
        said = foreign(path) or "is not a zip; name RAF-DB's zip or folder with --data."
        raise UserError(f"{path} ({size:,} bytes) {said}")
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:  # zipfile raises half a dozen types, depending on where the damage is
        raise UserError(f"{path} is a damaged zip ({error}); download it again.") from None
    check_zip(archive)

    def read(name: str) -> bytes:
        try:
            with archive.open(name) as file:
                return file.read(MAX_FILE)  # whatever size the zip declares: a lie is found by its checksum
        except Exception as error:  # so do the decompressors
            raise OSError(f"{name} is damaged in the zip: {error}") from None

    return {info.filename: info.CRC for info in archive.infolist() if not info.is_dir()}, read


def foreign(path: str | Path) -> str:
    """What a file is that is no zip, and what to do with it; nothing where that is not known. OSError."""
    if not os.path.isfile(path):
        return ""
    begin = read_regular(path, limit=512)
    return next((said for at, sign, said in FOREIGN if begin[at:].startswith(sign)), "")


def unpack(path: str | Path, folder: str | Path) -> None:
    """Every file of a zip that `open_zip` takes, into a new `folder`, which appears whole or not at all.

    Raises UserError where the zip is refused, an entry is damaged, or `folder` is there or cannot be written.
    """
    files, read = open_zip(path)
    folder = Path(folder)
    if folder.exists():
        raise UserError(f"{folder} already exists; remove it, and {path} is unpacked to it.")
    try:
        with tempfile.TemporaryDirectory(prefix=f"{folder.name}-", dir=folder.parent) as temporary:
            new = Path(temporary) / folder.name
            for name in files:
                (new / name).parent.mkdir(parents=True, exist_ok=True)
                with open(new / name, "xb") as file:  # x: names that only differ in case, on some systems
                    file.write(read(name))
            os.rename(new, folder)
    except OSError as error:
        raise UserError(f"{path} could not be unpacked to {folder} ({error.strerror or error}).") from None


def check_zip(archive: zipfile.ZipFile) -> None:
    """Refuse, with UserError, what a dataset's zip never has: odd names, links, duplicates, too much."""
    infos = archive.infolist()
    if any("\\" in info.filename for info in infos) and not any(_leads_out(info.filename) for info in infos):
        raise UserError(
            f"{archive.filename} has backslashes in its names, as some tools of Windows pack; unpack it and "
            "name the folder with --data, or pack it again."
        )
    problems = [
        f"{name}: is listed {n} times"
        for name, n in Counter(info.filename for info in infos).items()
        if n > 1
    ]
    for info in infos:
        name, kind = info.filename, info.external_attr >> 16 & 0o170000
        if _leads_out(name):
            problems.append(f"{name}: the name leads out of the folder")
        elif kind not in (0, 0o100000, 0o040000):
            problems.append(f"{name}: is a link or a device")
        elif info.flag_bits & 1:
            problems.append(f"{name}: is encrypted")
        elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            problems.append(f"{name}: is packed in an unusual way")
        elif info.file_size > MAX_FILE:
            problems.append(f"{name}: unpacks to {info.file_size / 2**20:,.1f} MiB")
    if len(infos) > MAX_FILES:
        problems.append(f"{len(infos):,} entries, more than {MAX_FILES:,}")
    if (total := sum(info.file_size for info in infos)) > MAX_BYTES:
        problems.append(f"unpacks to {total / 2**20:,.0f} MiB, more than {MAX_BYTES / 2**20:,.0f}")
    if problems:
        raise UserError(
            f"{archive.filename} is refused as unsafe (problems: {len(problems):,}):\n"
            f"{first_ten(problems)}\nDownload it again, or unpack it with a tool that you trust and name the "
            "folder with --data."
        )


def _leads_out(name: str) -> bool:
    """Whether an entry would be written outside of the folder, on this system or another."""
    path = name.replace("\\", "/")
    return path.startswith("/") or ":" in path or ".." in path.split("/")
