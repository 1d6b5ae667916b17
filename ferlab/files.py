"""Files from elsewhere, opened only where they are files, since reading a pipe or a device may never end; and
replaced whole or not at all; and locks.

data = read_regular("photo.jpg", limit=64 << 20)
write_atomically(Path("log.csv"), lambda file: file.write(b"epoch"))
with locked(Path("cache")): ...                      # other processes wait meanwhile
"""

import contextlib
import gzip
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from ferlab.errors import UserError

ROOM = "Make room on the disk, then run the same command again."
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


def stamp(status: os.stat_result) -> tuple[int, ...]:
    """What changes when a file does: its size and times; ctime moves even if mtime is set back."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def ignored(name: str) -> bool:
    """Whether a file browser left it there."""
    return name.startswith(".") or name in ("Thumbs.db", "desktop.ini")


def listing(folder: Path) -> dict[str, tuple[int, ...] | None]:
    """Name -> stamp of what is in `folder`; None for what is no regular file: reading a pipe would hang."""
    with os.scandir(folder) as entries:
        return {e.name: stamp(e.stat()) if e.is_file() else None for e in entries if not ignored(e.name)}


def shown(name: str) -> str:
    """A file's name on one line, whatever is in it."""
    return name if name.isprintable() else ascii(name)[1:-1]


def _refuse(path: str | Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = next((name for test, name in KINDS if test(status.st_mode)), "something else")
        raise OSError(22, f"it is {kind}, not a file", str(path))


@contextlib.contextmanager
def locked(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """A lock on `folder`, which ends with the block or with the process. Without `wait` BlockingIOError is
    raised where another process has it. Where the system or the file system has no locks, nothing is locked.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise
        except OSError:  # a file system that has no locks
            pass
        yield
    finally:
        os.close(descriptor)


def replace_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Replace `path` by what `write(file)` writes: whole or not at all, also when the machine dies halfway.

    Raises what goes wrong in writing, OSError as a rule; the file that stood there before is then untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # the new name must reach the disk too; not every file system can
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_atomically(path: Path, write: Callable[[BinaryIO], object], *, advice: str = ROOM) -> None:
    """`replace_file`, which raises UserError (exit code 4) with some advice where it cannot write."""
    try:
        replace_file(path, write)
    except (OSError, RuntimeError) as error:  # torch.save turns a full disk into a RuntimeError
        reason = getattr(error, "strerror", None) or "disk full?"
        kept = "; the file that stood there is untouched" if os.path.exists(path) else ""
        raise UserError(f"{path} could not be written ({reason}){kept}. {advice}", code=4) from None


def write_text(path: Path, text: str) -> None:
    """`write_atomically` of a text, in UTF-8."""
    write_atomically(path, lambda file: file.write(text.encode()))


def write_packed(path: Path, data: bytes) -> None:
    """Write what gzip makes of `data`, always the same bytes, into the file of this name with .gz, whole or
    not at all; a plain one goes.
    """
    packed = gzip.compress(data, mtime=0)
    write_atomically(path.with_name(f"{path.name}.gz"), lambda file: file.write(packed))
    path.unlink(missing_ok=True)


def remove_temporaries(folder: Path) -> None:
    """Remove what killed processes left half written in `folder`."""
    for path in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError):
            path.unlink()
