"""A benchmark's numbers as a JSON file and as its table in NOTES.md, between marks of its own name.

record("export", results, table)
"""

import json
import platform
from pathlib import Path

from ferlab.errors import UserError
from ferlab.files import write_atomically

FOLDER = Path(__file__).parent


def record(name: str, results: dict, table: str, folder: Path = FOLDER) -> None:
    """Write results/NAME.json, and `table` between <!-- NAME --> and <!-- /NAME --> in NOTES.md."""
    notes = folder / "NOTES.md"
    text, begin, end = notes.read_text(), f"<!-- {name} -->", f"<!-- /{name} -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise UserError(f"{notes} must have {begin} and {end} once each: the table goes between them.")
    new = f"{text.split(begin)[0]}{begin}\n{table}\n{end}{text.split(end)[1]}"
    path = folder / f"results/{name}.json"
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, lambda file: file.write((json.dumps(results, indent=1) + "\n").encode()))
    write_atomically(notes, lambda file: file.write(new.encode()))


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
