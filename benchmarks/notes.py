"""A benchmark's numbers as a JSON file and as its table in NOTES.md, between marks of its own name.

record("export", results, table)
"""

import json
import platform
from pathlib import Path

from ferlab.analysis.tables import Table, between
from ferlab.files import write_text

FOLDER = Path(__file__).parent


def record(name: str, results: dict, table: Table, folder: Path = FOLDER) -> None:
    """Write the table between <!-- NAME --> and <!-- /NAME --> in NOTES.md, and results/NAME.json."""
    notes, path = folder / "NOTES.md", folder / f"results/{name}.json"
    text = between(notes, (f"<!-- {name} -->", f"<!-- /{name} -->"), table.markdown())
    write_text(notes, text)
    path.parent.mkdir(exist_ok=True)
    write_text(path, json.dumps(results, indent=1) + "\n")


def machine(environment: dict) -> str:
    """Runtime.environment() in words."""
    cpu = environment["cpu"]
    if cpu in ("", "x86_64", "aarch64"):
        cpu = platform.processor() or cpu
    threads = "one thread" if environment["threads"] == 1 else f"{environment['threads']} threads"
    return f"{cpu}, {environment['cores']} cores, {threads}, torch {environment['torch']}"
