"""A benchmark's numbers as a JSON file and as its table in NOTES.md, between marks of its own name.

record("export", results, table)
"""

import json
import platform
from pathlib import Path

from benchmarks import table
from ferlab.files import write_atomically

FOLDER = Path(__file__).parent


def record(name: str, results: dict, text: str, folder: Path = FOLDER) -> None:
    """Write `text` between <!-- NAME --> and <!-- /NAME --> in NOTES.md, and results/NAME.json."""
    table.between(folder / "NOTES.md", (f"<!-- {name} -->", f"<!-- /{name} -->"), text)
    path = folder / f"results/{name}.json"
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, lambda file: file.write((json.dumps(results, indent=1) + "\n").encode()))


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table whose columns but the first are numbers."""
    lines = [header, [":--"] + ["--:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine(environment: dict) -> str:
    """Runtime.environment() in words."""
    cpu = environment["cpu"]
    if cpu in ("", "x86_64", "aarch64"):
        cpu = platform.processor() or cpu
    threads = "one thread" if environment["threads"] == 1 else f"{environment['threads']} threads"
    return f"{cpu}, {environment['cores']} cores, {threads}, torch {environment['torch']}"
