"""Files from elsewhere: opened only where they are files, since reading a pipe or a device may never end.

data = read_regular("photo.jpg", limit=64 << 20)
"""

import os
import stat
from pathlib import Path

KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISDIR, "a folder"),
)


def read_regular(path: str | Path, *, limit: int) -> bytes:
    """The first `limit` bytes of a file; a link counts as what it leads to. OSError where it is no file."""
    _refuse(path, os.stat(path))  # before it is opened: that alone may start something, or wait for ever
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags), "rb") as file:
        _refuse(path, os.fstat(file.fileno()))  # it may have been replaced meanwhile
        return file.read(limit)


def _refuse(path: str | Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = next((name for test, name in KINDS if test(status.st_mode)), "something else")
        raise OSError(22, f"it is {kind}, not a file", str(path))
