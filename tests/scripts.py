"""The real scripts as processes of their own, forked from one that has imported torch: it saves seconds."""

import multiprocessing
import os
import runpy
import sys
import threading
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

ROOT = Path(__file__).parents[1]
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["train_function", "pytest", "ferlab.analysis.plots"])


class Done(NamedTuple):
    """How a script ended."""

    code: int
    out: str
    err: str


class Script:
    """A script at work, its output in files under `folder`. `prepare` runs in the new process first."""

    def __init__(self, script: str, *argv, folder: Path, prepare=None, **environment: str) -> None:
        folder.mkdir(exist_ok=True)
        self.files = folder / "out.txt", folder / "err.txt"
        for file in self.files:
            file.write_text("")
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        arguments = script, [str(a) for a in argv], self.files, environment, prepare
        self.process = CONTEXT.Process(target=_main, args=arguments, daemon=True)
        self.process.start()
        self.pid = self.process.pid

    def wait(self, timeout: float = 120) -> Done:
        self.process.join(timeout)
        if self.process.exitcode is None:
            self.process.kill()
            raise AssertionError("it hangs")
        return Done(self.process.exitcode, *(f.read_text() for f in self.files))


def run(script: str, *argv, folder: Path, **more) -> Done:
    """Run a script to its end."""
    return Script(script, *argv, folder=folder, **more).wait()


def _main(script, argv, files, environment, prepare):
    for number, file in enumerate(files, 1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    tqdm.set_lock(threading.RLock())  # not the system's, which a killed process leaves behind
    os.environ.update(environment)
    os.chdir(ROOT)
    sys.argv = [script, *argv]
    if prepare:
        prepare()
    runpy.run_path(str(ROOT / script), run_name="__main__")
