"""Where a run goes, what is there already, and the command that goes on with it.

path = run_path("ResNet18", options)                # results/ResNet18/seed0
with RunFolder(path) as folder:
    folder.write_text("log.csv", "epoch")
"""

import contextlib
import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ferlab import cli
from ferlab.data.layout import prefix
from ferlab.errors import UserError
from ferlab.files import locked, remove_temporaries, write_atomically
from ferlab.options import names

RESUME = "Make room or choose another --output, then resume with --resume."

FILES = (
    *("options.json", "log.csv", "metrics.json", "predictions.csv", "best_model.pth", "last.pth"),
    *("curves.png", "confusion_matrix.png"),
)
OF_STUDIES = ("predictions.csv.gz", "degraded.csv", "degraded.csv.gz")  # what study.py makes of a run


class RunFolder:
    """A run's folder, which no other run can write into meanwhile. Only where `enabled`, that is in process
    0, is anything made or written.
    """

    def __init__(self, path: Path, *, enabled: bool = True) -> None:
        self.path, self.enabled = path, enabled
        self._open = contextlib.ExitStack()

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *_) -> None:
        self._open.close()

    def lock(self) -> None:
        """Make the folder and keep other runs out. UserError where one is in it, or it cannot be made."""
        if not self.enabled:
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._open.enter_context(locked(self.path, wait=False))
            remove_temporaries(self.path)
        except BlockingIOError:
            raise UserError(
                f"another run is at work in {self.path}; wait, or choose another --name."
            ) from None
        except OSError as error:
            raise self._not_made(error) from None

    def clear(self, *, resumed: bool) -> None:
        """Remove what an earlier run has left: of the same run, `resumed`, only that it is finished."""
        if not self.enabled:
            return
        try:
            for name in ["metrics.json"] if resumed else (*FILES, *OF_STUDIES):
                (self.path / name).unlink(missing_ok=True)
            if not resumed:
                shutil.rmtree(self.path / "tensorboard", ignore_errors=True)
        except OSError as error:
            raise self._not_made(error) from None

    def write(self, name: str, write: Callable[[BinaryIO], object]) -> None:
        """Replace the file `name` by what `write(file)` writes, whole or not at all."""
        if self.enabled:
            write_atomically(self.path / name, write, advice=RESUME)

    def write_text(self, name: str, text: str) -> None:
        """Replace the file `name` by `text`."""
        self.write(name, lambda file: file.write(text.encode()))

    def _not_made(self, error: OSError) -> UserError:
        path = error.filename or self.path
        text = f"{path} cannot be made or replaced ({error.strerror}); choose another --output."
        return UserError(text, code=4)


def run_path(name: str, options) -> Path:
    """The folder of a run of the model `name`. A seed whose finished run came with the repository, that is
    without a last.pth, is run beside it. Raises UserError where --name cannot be used.
    """
    if options.name in (".", "..") or set(options.name) & {"/", "\\"}:
        raise UserError(f"--name {options.name} must be the name of a folder; --output says where it is.")
    runs = Path(options.output) / name
    own = runs / f"{prefix(options.data)}seed{options.seed}"
    published = (own / "metrics.json").is_file() and not (own / "last.pth").is_file()
    if published and not options.overwrite:
        own = runs / f"rerun-{own.name}"
    return runs / options.name if options.name else own


def checkpoint(name: str, options) -> Path:
    """The file that --resume goes on from."""
    return run_path(name, options) / "last.pth" if options.resume == "last" else Path(options.resume)


def in_original_folder(path: Path, name: str, stored) -> bool:
    """Whether the checkpoint at `path`, which holds the options `stored`, lies where its run wrote it."""
    try:
        return os.path.realpath(run_path(name, stored)) == os.path.realpath(path.parent)
    except UserError:  # its data are not where they were
        return False


def resumes_in_place(name: str, options) -> bool:
    """Whether a run resumes the one in its own folder: from elsewhere, it begins a new folder."""
    begun_in = checkpoint(name, options).parent
    return bool(options.resume) and os.path.realpath(begun_in) == os.path.realpath(run_path(name, options))


def check_run_folder(name: str, options) -> None:
    """Raise UserError where this run would spoil the one that is in its folder, or has nothing to do."""
    if options.finish and not options.resume:
        raise UserError("--finish closes a stopped run; name it with --resume --finish.")
    folder = run_path(name, options)
    finished, log = os.path.isfile(folder / "metrics.json"), folder / "log.csv"
    if resumes_in_place(name, options):
        if finished and _test_opened(folder):
            raise UserError(
                f"{folder} is finished, and its test set was opened; its numbers are in "
                "metrics.json. For a longer run choose another --name or --seed and leave "
                "--resume out."
            )
        if finished and not options.test:
            raise UserError(f"{folder} is finished; to open its test set pass --resume --test.")
    elif options.overwrite:
        return
    elif finished:
        raise UserError(
            f"{folder} holds a finished run. To replace it pass --overwrite, to keep it "
            "choose another --name or --seed."
        )
    elif os.path.isfile(log):
        done = max(0, len(log.read_bytes().splitlines()) - 1)
        raise UserError(
            f"{folder} holds an unfinished run of {done} epochs. To resume it pass "
            "--resume, to begin again --overwrite."
        )
    elif os.path.isfile(folder / "best_model.pth"):
        raise UserError(
            f"{folder} holds a trained model, best_model.pth. To replace it pass --overwrite, to "
            "keep it choose another --name or --seed."
        )


def _test_opened(folder: Path) -> bool:
    """Whether the finished run in `folder` evaluated its test set; one that cannot be read counts as if."""
    try:
        return "test" in json.loads((folder / "metrics.json").read_bytes())
    except (OSError, ValueError):
        return True


def same_experiment(stored, options) -> None:
    """Raise UserError, naming the flags, where `options` go on with another experiment than `stored` began.

    The number of epochs belongs to it: the learning rate follows a curve of that length. A trial's test set,
    which was shut, may be opened when val has chosen it.
    """
    fixed = [key for key in names("recipe", "run") if key != "test" or stored.test]
    changed = [key for key in fixed if getattr(options, key) != getattr(stored, key)]
    if changed:
        listed = ", ".join(f"{cli.flag(key)} (was {getattr(stored, key)})" for key in changed)
        early = " To end it early pass --resume --finish." if {"epochs", "patience"} & set(changed) else ""
        raise UserError(
            f"this run was not begun with {listed}; leave that out to go on, or choose another --name.{early}"
        )


def resume_command(folder: Path, options, *, world_size: int = 1) -> str:
    """What to type to go on with the run in `folder`, which this process began as `options` say."""
    argv = ["--begin", *sys.argv[1:]]
    typed = [
        word
        for before, word in zip(argv, argv[1:])
        if word.split("=")[0] not in ("--overwrite", "--resume")
        and (before != "--resume" or word.startswith("--"))
    ]
    file = [] if options.resume in ("", "last") else [str(folder / "last.pth")]
    processes = os.environ.get("LOCAL_WORLD_SIZE", world_size)
    launcher = ["torchrun", f"--nproc_per_node={processes}"] if world_size > 1 else ["python"]
    if Path(sys.prefix) == Path.cwd() / ".venv" and "VIRTUAL_ENV" not in os.environ:  # make's, not activated
        launcher[0] = os.path.join(os.path.dirname(os.path.relpath(sys.executable)), launcher[0])
    return shlex.join([*launcher, sys.argv[0], *typed, "--resume", *file])
