"""One run of a series as a process of its own: what it is, how far it is, and training it to its end.

job = Job("ConvNet", options, ["--seed", "0"], study="")
check(job); train(job, [job], "[1/1]", interrupt); print(left([job]))
"""

import contextlib
import ctypes
import math
import os
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ferlab.analysis import records
from ferlab.analysis.runs import RECIPE
from ferlab.analysis.studies import STUDIES
from ferlab.cli import flag
from ferlab.data.layout import val_hash
from ferlab.data.rafdb import SIDE
from ferlab.errors import Stopped, UserError
from ferlab.files import locked, write_packed, write_text
from ferlab.options import Options, names, public
from ferlab.training.interrupt import Interrupt
from ferlab.training.report import to_csv, to_json
from ferlab.training.run_folder import run_path
from models import ARCHITECTURES

SHARING = ("samples", "balance")  # a run of resolution keeps its own weights, for tests on reduced faces
HERE = Path(__file__).resolve().parents[2]  # where the scripts are


class Job(NamedTuple):
    """One run: its model, its options, the words to call its script with, and the study it is for, or ""."""

    model: str
    options: Options
    argv: list[str]
    study: str

    @property
    def folder(self) -> Path:
        return run_path(self.model, self.options)

    @property
    def experiment(self) -> tuple:
        """What its numbers follow from: two jobs that agree in it are one run. To reduce faces to their own
        size changes nothing.
        """
        asked = {key: getattr(self.options, key) for key in (*names("recipe", "run"), "data")}
        if asked["resolution"] == (asked["face_size"] or SIDE):
            asked["resolution"] = 0
        return self.model, *asked.items()

    @property
    def finished(self) -> bool:
        return (self.folder / "metrics.json").exists()

    @property
    def seconds(self) -> list[float]:
        """What every epoch took that is done; nothing where that cannot be read."""
        try:
            return [row["seconds"] for row in records.log(self.folder)]
        except records.Unreadable:
            return []


def check(job: Job) -> None:
    """Raise UserError where the folder holds a run of another recipe under this name, finished or begun."""
    if job.finished:
        _check_data(job)
    elif not (job.folder / "options.json").exists():
        return
    try:  # what the run does not name is an option that came later, at its default
        stored = vars(Options()) | records.options(job.folder)
    except records.Unreadable as error:
        raise UserError(f"{job.folder} holds a run, but {error}. Remove that folder.") from None
    wanted = {key: value for key, value in public(vars(job.options)).items() if key in RECIPE}
    if other := [key for key, value in wanted.items() if stored.get(key) != value]:
        raise UserError(
            f"{job.folder} was trained with {flag(other[0])} {stored.get(other[0])}, the "
            f"recipe now has {wanted[other[0]]}. Remove that folder to train it anew, or "
            "choose another --output."
        )


def _check_data(job: Job) -> None:
    """Raise UserError where the finished run was trained on other data of the same name."""
    data = job.options.data
    with contextlib.suppress(records.Unreadable):  # the study's page names it
        split = records.numbers(job.folder)["split_hash"]
        if data != "synthetic" and os.path.exists(data) and val_hash(data) != split:
            raise UserError(
                f"{job.folder} was trained on other data than {data}, which have the same name. Choose "
                "another --output, or rename the folder of the data."
            )


def train(job: Job, jobs: list[Job], where: str, interrupt: Interrupt) -> bool:
    """Run the job's script to its end, showing how far it is; False where its numbers went bad. A run that is
    finished for another study is copied.
    """
    if same := _copied(job, jobs):
        _show(f"{where} {job.folder}: the same run as {same.folder}", last=True)
        return True
    mode = ["--resume"] if (job.folder / "last.pth").exists() else ["--overwrite"] if job.seconds else []
    title = f"{where} {job.model} {job.options.name}"
    with tempfile.TemporaryFile() as output:
        # a session of its own: Ctrl-C reaches this process only, which passes it on once
        child = subprocess.Popen(
            [sys.executable, str(HERE / ARCHITECTURES[job.model].script), *job.argv, *mode],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_along(),
        )
        try:
            last_shown = -math.inf
            while child.poll() is None and not interrupt.number:
                if sys.stdout.isatty() and time.monotonic() - last_shown > 10:  # to read all logs takes time
                    done = f"epoch {len(job.seconds)}/{job.options.epochs}"
                    _show(f"{title}: {done}, {left(jobs)}", last=False)
                    last_shown = time.monotonic()
                time.sleep(0.1)
            if interrupt.number and child.poll() is None:
                child.send_signal(interrupt.number)
            child.wait()
        finally:
            child.kill()  # does nothing to one that has ended
        output.seek(0)
        printed = output.read().decode(errors="replace").strip().splitlines()
    if interrupt.number or child.returncode in (128 + signal.SIGINT, 128 + signal.SIGTERM):
        _show("", last=False)
        number = interrupt.number or child.returncode - 128
        raise Stopped(number, f"in {title}", shlex.join(["python", *sys.argv]))
    if child.returncode not in (0, 3):
        lines = "\n".join(f"  {line}" for line in printed[-12:])
        raise UserError(f"{title} ended with code {child.returncode}:\n{lines}", code=child.returncode)
    _show(f"{title}: {'finished' if job.finished else printed[-1]}; {left(jobs)}", last=True)
    return job.finished


def _copied(job: Job, jobs: list[Job]) -> Job | None:
    """The finished run of another study that is the same as `job`, which has its results now."""
    if job.study in SHARING and not (job.folder / "last.pth").exists():
        for other in jobs:
            same = other.study in STUDIES and other.experiment == job.experiment
            if same and other.finished and _copy(other, job):
                return other
    return None


def _copy(finished: Job, job: Job) -> bool:
    """Give `job` the results of `finished`; False where these cannot be read, or were asked for with another
    --amp, or another process is in the folder.
    """
    try:
        options, numbers = records.options(finished.folder), records.numbers(finished.folder)
        log, predictions = (records.table(finished.folder / name) for name in ("log.csv", "predictions.csv"))
    except records.Unreadable:
        return False
    wanted = public(vars(job.options))
    if any(options.get(key, wanted[key]) != wanted[key] for key in names("run")):
        return False
    job.folder.mkdir(parents=True, exist_ok=True)
    numbers |= {"run": job.folder.name, "copied_from": "/".join(finished.folder.parts[-3:])}
    ours = {key: wanted[key] for key in (*names("recipe"), "name", "output")}
    with contextlib.suppress(BlockingIOError), locked(job.folder, wait=False):
        write_text(job.folder / "options.json", to_json(options | ours))
        write_packed(job.folder / "predictions.csv", to_csv(*predictions).encode())
        write_text(job.folder / "log.csv", to_csv(*log))
        write_text(job.folder / "metrics.json", to_json(numbers))
    return job.finished


def _die_along() -> Callable[[], object] | None:
    """What the child calls first on Linux: when this process is killed, it is to stop and save itself."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def left(jobs: list[Job]) -> str:
    """The time for all epochs that are missing, by what epochs of the same model took: on the same share of
    the training images, else on others, in proportion.
    """
    took: dict[tuple[str, float], list[float]] = {}
    missing: dict[tuple[str, float], int] = {}
    done = {job.experiment for job in jobs if job.finished and job.study in STUDIES}
    for job in jobs:
        key, seconds = (job.model, job.options.train_fraction), job.seconds
        took.setdefault(key, []).extend(seconds)
        missing[key] = missing.get(key, 0)
        if not job.finished and (seconds or job.study not in SHARING or job.experiment not in done):
            missing[key] += job.options.epochs - len(seconds)
            if job.study in STUDIES:
                done.add(job.experiment)
    known, unknown = 0.0, {}
    for (model, share), epochs in missing.items():
        others = [second / part for (name, part), found in took.items() if name == model for second in found]
        if took[model, share]:
            known += epochs * statistics.mean(took[model, share])
        elif others:
            known += epochs * share * statistics.mean(others)
        elif epochs:
            unknown[model] = unknown.get(model, 0) + epochs
    texts = [f"{n:g} epochs of {name}" for name, n in unknown.items()]
    if texts and not known:
        return f"{' and '.join(texts)} to train, and nothing yet to tell how long they take"
    hours, minutes = divmod(math.ceil(known / 60), 60)
    time_left = f"about {hours} h {minutes} min left" if hours else f"about {minutes} min left"
    return time_left + (f", not counting {', '.join(texts)}" if texts else "")


def say_where_they_stand(jobs: list[Job]) -> None:
    """A line for each model and study: how many runs are finished, and the minutes one of them took."""
    groups: dict[tuple[str, str], list[Job]] = {}
    for job in jobs:
        groups.setdefault((job.study, job.model), []).append(job)
    for (study, model), part in groups.items():
        minutes = [sum(job.seconds) / 60 for job in part if job.finished and job.seconds]
        took = f", {statistics.median(minutes):.0f} min each" if minutes else ""
        finished = sum(job.finished for job in part)
        print(f"  {study:10} {model:9} {finished} of {len(part)} finished{took}", flush=True)


def _show(line: str, *, last: bool) -> None:
    """A line that the next one replaces on a terminal; elsewhere only what stays is printed."""
    if last or sys.stdout.isatty():
        print(f"\r\x1b[K{line}" if sys.stdout.isatty() else line, end="\n" if last else "", flush=True)
