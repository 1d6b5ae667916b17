"""A zip from anywhere, checked before anything in it is read: RAF-DB's is small, flat and plain.

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

MAX_FILES, MAX_BYTES = 2 * 15_341, 2 * 39_021_420  # twice of what RAF-DB's zip has and unpacks to
MAX_FILE = 1 << 20  # bytes; RAF-DB's largest file is a CSV of a third of that


def open_zip(path: str | Path) -> tuple[dict[str, int], Callable[[str], bytes]]:
    """The files in a zip, name -> CRC, and a thread-safe function that reads one of them.

    Raises UserError where it is no zip, damaged, or refused by `check_zip`; `read` raises OSError where an
    entry is damaged.
    """
    size = os.path.getsize(path)
    if size > MAX_BYTES or not zipfile.is_zipfile(path):
        raise UserError(
            f"{path} ({size:,} bytes) is not RAF-DB's zip, or only a part of it; download it "
            "again, or name RAF-DB's folder with --data."
        )
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


def unpack(path: str | Path, folder: str | Path) -> None:
    """Every file of a zip that `open_zip` takes, into a new `folder`, which appears whole or not at all.

    Raises UserError where the zip is refused, an entry is damaged, or `folder` is there or cannot be written.
    """
    files, read = open_zip(path)
    folder = Path(folder)
    if folder.exists():
        raise UserError(f"{folder} is there already; remove it, and {path} is unpacked to it.")
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
    """Refuse, with UserError, what RAF-DB's zip never has: odd names, links, duplicates, too much of it."""
    infos = archive.infolist()
    problems = [
        f"{name}: stands there {n} times"
        for name, n in Counter(info.filename for info in infos).items()
        if n > 1
    ]
    for info in infos:
        name, kind = info.filename, info.external_attr >> 16 & 0o170000
        if name.startswith("/") or ":" in name or "\\" in name or ".." in name.split("/"):
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
        problems.append(f"{len(infos):,} entries; RAF-DB's has 15,341")
    if (total := sum(info.file_size for info in infos)) > MAX_BYTES:
        problems.append(f"unpacks to {total / 2**20:,.0f} MiB; RAF-DB's to 37 MiB")
    if problems:
        raise UserError(
            f"{archive.filename} is not a zip to trust (problems: {len(problems):,}):\n"
            f"{first_ten(problems)}\nDownload RAF-DB's zip again."
        )
