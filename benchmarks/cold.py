"""How long a train script takes from the start of its process to its first step, and the memory it needs.

    python benchmarks/cold.py train_ConvNet.py --data raf-db-dataset

That runs the script as it is, up to its second training step, and prints one line of JSON.
"""

import itertools
import json
import os
import runpy
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BEGUN = "FER_PROCESS_BEGUN"  # environment variable: time.time() before this process was started


def start(script: Path, arguments: list[str]) -> dict:
    """cold_seconds and cached_seconds until the first batch is on the device, without and with the decoded
    images in the cache, and peak_memory_mib after two steps (of the device; on a CPU of the process).
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            __file__,
            str(script),
            *arguments,
            "--weights",
            "none",
            "--overwrite",
            "--output",
            folder,
        ]
        cold, cached = (_run(command, cache=folder) for _ in range(2))
    return {
        "cold_seconds": cold["seconds"],
        "cached_seconds": cached["seconds"],
        "peak_memory_mib": cached["peak_memory_mib"],
    }


def _run(command: list[str], *, cache: str) -> dict:
    environment = {**os.environ, "XDG_CACHE_HOME": cache, BEGUN: str(time.time())}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    begun = float(os.environ.get(BEGUN, time.time()))
    script = Path(sys.argv[1]).resolve()
    sys.path.insert(0, str(script.parent))
    sys.argv = sys.argv[1:]

    import train_function
    from ferlab.training.summary import peak_memory

    whole_epoch = train_function.train_one_epoch

    def two_steps(model, batches, rates, *, state, loss, **_):
        batches = iter(batches)
        first = next(batches)
        state.runtime.synchronize()
        seconds = time.time() - begun
        whole_epoch(model, itertools.chain([first], batches), rates[:2], state=state, loss=loss)
        memory = peak_memory(state.runtime)
        print(json.dumps({"seconds": seconds, "peak_memory_mib": memory}), flush=True)
        os._exit(0)  # nothing of this run is wanted

    train_function.train_one_epoch = two_steps
    runpy.run_path(str(script), run_name="__main__")


if __name__ == "__main__":
    main()
