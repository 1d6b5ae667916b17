"""The numbers of speed.py as a JSON file, as a line on the screen and as the README's table.

python benchmarks/speed.py --readme
"""

import json
import re
from pathlib import Path

from ferlab.analysis.tables import Table, between
from ferlab.errors import UserError
from ferlab.files import write_text
from models import NAMES

BEGIN, END = "<!-- speed -->", "<!-- /speed -->"
COLUMNS = (  # title, width, text of an entry
    ("model", 9, lambda e: e["model"]),
    ("pixels", 6, lambda e: str(e["image_size"])),
    ("batch", 5, lambda e: str(e["batch_size"])),
    ("upper bound", 11, lambda e: f"{e['images_per_second']['upper_bound']:,.0f}"),
    ("ours", 7, lambda e: f"{e['images_per_second']['ours']:,.0f}"),
    ("DataLoader", 10, lambda e: f"{e['images_per_second']['dataloader']:,.0f}"),
    ("its workers", 11, lambda e: f"{e['images_per_second']['dataloader_workers']:,.0f}"),
    ("ours/bound", 10, lambda e: f"{e['ours_to_upper_bound']:.3f}"),
    ("ours/DataLoader", 15, lambda e: f"{e['ours_to_dataloader']:.2f}"),
    ("with workers", 12, lambda e: f"{e['ours_to_dataloader_workers']:.2f}"),
    ("TFLOP/s", 7, lambda e: f"{e['tflops']:.3g}"),
    ("of peak", 7, lambda e: f"{100 * e['peak_share']:.0f} %"),
    ("evaluation", 10, lambda e: f"{e['evaluation_images_per_second']:,.0f}"),
    ("one image", 9, lambda e: f"{e['latency_ms']:.2f} ms"),
    ("cold", 6, lambda e: f"{e['cold_seconds']:.1f} s"),
    ("cached", 6, lambda e: f"{e['cached_seconds']:.1f} s"),
    ("memory", 8, lambda e: f"{e['peak_memory_mib'] / 1024:.1f} GiB"),
)
SCREEN_ONLY = ("TFLOP/s", "evaluation", "cold", "cached")
HEADER = "  ".join(f"{title:>{width}}" for title, width, _ in COLUMNS)
MEANING = (
    "Images a second. *upper bound*: the bare step on one batch that is on the device; *ours*: a training "
    "epoch, or its beginning, evaluation and checkpoints apart; "
    "*DataLoader*: PIL images, torchvision's transforms one image at a time, fp32, with a DataLoader of 0 "
    "workers and of one a core, most of whose difference is the precision; all in one process, taking turns. "
    "Measured by `python benchmarks/speed.py`, "
    "written here by its `--readme`."
)


def line(entry: dict) -> str:
    """One model's numbers under HEADER."""
    text = "  ".join(f"{show(entry):>{width}}" for _, width, show in COLUMNS)
    if more := entry["scaling"]:
        text += (
            f"\n{'':>9}  in {more['processes']} processes {more['images_per_second']:,.0f} images/s, "
            f"{100 * more['efficiency']:.0f} % of the ideal"
        )
    return text


def name(environment: dict) -> str:
    """The device in words."""
    return environment["gpu"] or f"{environment['cpu']}, {environment['cores']} cores"


def save(entry: dict, folder: Path) -> Path:
    """Put one model's numbers into the device's file in `folder`, in place of its earlier ones."""
    folder.mkdir(parents=True, exist_ok=True)
    device = name(entry["environment"])
    path = folder / ("speed-" + re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-") + ".json")
    entries = json.loads(path.read_text())["models"] if path.exists() else {}
    entries[entry["model"] + (" compiled" if entry["compile"] else "")] = entry
    entries = dict(sorted(entries.items(), key=lambda item: (NAMES.index(item[1]["model"]), item[0])))
    text = json.dumps({"device": device, "models": entries}, indent=1, allow_nan=False) + "\n"
    write_text(path, text)
    return path


def write_readme(readme: Path, folder: Path) -> None:
    """Write one table for each device in `folder` between the two marks in `readme`."""
    files = sorted(folder.glob("speed-*.json"))
    if not files:
        raise UserError(f"there are no results in {folder}; run python benchmarks/speed.py first.")
    tables = [_markdown(json.loads(path.read_text())) for path in files]
    text = between(readme, (BEGIN, END), "\n\n".join([*tables, MEANING]))
    write_text(readme, text)


def _markdown(results: dict) -> str:
    entries = results["models"]
    about = {(e["precision"], e["data"], f"torch {e['environment']['torch']}") for e in entries.values()}
    shown = [(title, show) for title, _, show in COLUMNS[1:] if title not in SCREEN_ONLY]
    header = ["model", *(title for title, _ in shown)]
    rows = [[key, *(show(entry) for _, show in shown)] for key, entry in entries.items()]
    caption = f"{results['device']}: " + "; ".join(", ".join(values) for values in sorted(about))
    return Table(caption, header, rows).markdown()
