"""Whether what is installed is new enough, said before an import fails with a traceback that does not tell.

check()          # once, when the package is imported; reads requirements.txt, imports nothing big
"""

import importlib.metadata
import re
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements.txt"
OPTIONAL = ("jupyter",)  # only for the notebooks, which would not run without it


def check() -> None:
    """End with exit code 2 and one sentence where Python or a package is missing or too old."""
    if sys.version_info < (3, 10):  # noqa: UP036  (it says so before newer syntax is met)
        _end(f"this suite needs Python 3.10 or newer, and this is {sys.version.split()[0]}.")
    wrong, install = [], []
    for line in REQUIREMENTS.read_text().splitlines() if REQUIREMENTS.is_file() else ():
        name, _, least = line.partition(">=")
        if not least or name in OPTIONAL or name.startswith("#"):
            continue
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found = ""
        if not found or _numbers(found) < _numbers(least):
            wrong.append(f"{name} {least} or newer ({f'installed is {found}' if found else 'not installed'})")
            install.append(f'"{line}"')
    if wrong:
        _end(
            f"this suite needs {', '.join(wrong)}: {Path(sys.executable).name} -m pip install "
            f"{' '.join(install)}"
        )


def _numbers(version: str) -> tuple[int, ...]:
    """(2, 14, 1) for 2.14.1+cu130."""
    return tuple(int(part) for part in re.findall(r"\d+", re.match(r"[\d.]*", version)[0]))


def _end(message: str) -> None:
    sys.stderr.write(f"error: {message}\n")
    raise SystemExit(2)
