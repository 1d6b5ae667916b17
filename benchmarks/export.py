"""Size and latency of the six models in torch and as ONNX files, on the CPU with one thread.

    python benchmarks/export.py

Writes benchmarks/results/export.json and the table in benchmarks/NOTES.md. Weights are drawn at random, which
changes neither; the image size is the one of each script's recipe from scratch. Every number is the fastest
of several calls, each of uint8 faces in and probabilities out, in processor time, which with one thread is
the time of a machine that does nothing else. Needs: pip install onnx onnxscript onnxruntime
"""

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import models  # noqa: E402
from benchmarks import notes, pipelines  # noqa: E402
from ferlab.analysis.tables import Table  # noqa: E402
from ferlab.errors import command  # noqa: E402
from ferlab.inference import deploy  # noqa: E402
from ferlab.inference.predictor import probabilities  # noqa: E402
from ferlab.training.runtime import init_runtime  # noqa: E402

BATCHES = 1, 32
SECONDS, CALLS = 0.5, 2  # at least so many of each


def fastest(call: Callable, seconds: float = SECONDS) -> float:
    """Milliseconds of the fastest call, in processor time; the first one is not counted."""
    call()
    times: list[float] = []
    while len(times) < CALLS or sum(times) < seconds:
        begun = time.process_time()
        call()
        times.append(time.process_time() - begun)
    return round(1000 * min(times), 2)


def measure(name: str, image_size: int, *, seconds: float = SECONDS) -> dict:
    """MB and milliseconds by batch size of one model in its three forms."""
    model = models.build(name, image_size=image_size, seed=0).eval()
    faces = torch.randint(256, (max(BATCHES), 3, 100, 100), generator=torch.Generator().manual_seed(0)).byte()
    forms, entry = {"torch": lambda part: probabilities([model], part)}, {"image_size": image_size}
    sizes = {"torch": 4 * sum(p.numel() for p in model.state_dict().values())}
    with tempfile.TemporaryDirectory() as folder:
        for form in ("onnx", "onnx_int8"):
            path = Path(folder) / f"{form}.onnx"
            if form == "onnx":
                deploy.write(model, path)
            else:
                deploy.quantize(Path(folder) / "onnx.onnx", path, faces)
            session = deploy.session(path, threads=1)
            forms[form] = lambda part, session=session: deploy.run(session, part)
            sizes[form] = path.stat().st_size
        for form, call in forms.items():
            ms = {str(n): fastest(lambda: call(faces[:n]), seconds) for n in BATCHES}
            entry[form] = {"mb": round(sizes[form] / 1e6, 2), "ms": ms}
    return entry


def table(results: dict) -> Table:
    """The numbers for NOTES.md."""
    forms = {"torch": "torch fp32", "onnx": "ONNX fp32", "onnx_int8": "ONNX int8"}
    header = ["model", "pixels", *(f"{title}, MB" for title in forms.values())]
    header += [f"{title}, batch {n}, ms" for n in BATCHES for title in forms.values()]
    rows = []
    for name, entry in results["models"].items():
        numbers = [f"{entry[form]['mb']:.1f}" for form in forms]
        numbers += [f"{entry[form]['ms'][str(n)]:.1f}" for n in BATCHES for form in forms]
        rows.append([name, str(entry["image_size"]), *numbers])
    about = "processor time of the fastest call, preprocessing included. `python benchmarks/export.py`"
    return Table(f"{notes.machine(results['environment'])}; {about}", header, rows)


def run(names: Sequence[str], folder: Path = notes.FOLDER, *, seconds: float = SECONDS) -> None:
    """Measure these models and write what came out."""
    deploy.check_installed()
    runtime = init_runtime("cpu", "off")
    torch.set_num_threads(1)
    entries = {}
    for name in names:
        entries[name] = measure(name, pipelines.recipe(name).image_size, seconds=seconds)
        print(name, entries[name], flush=True)
        results = {"environment": runtime.environment(), "models": entries}
        notes.record("export", results, table(results), folder)  # each time: what was measured is kept


@command
def main() -> None:
    run(models.NAMES)


if __name__ == "__main__":
    main()
