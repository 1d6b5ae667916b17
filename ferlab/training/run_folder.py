"""Where a run goes, what is there already, and the command that goes on with it.

folder = place("ResNet18", options)              # results/ResNet18/seed0
"""

import dataclasses
import os
import shlex
import sys
from pathlib import Path

from ferlab import cli
from ferlab.data.layout import is_drawn
from ferlab.errors import UserError

# what may differ between a run and its continuation; everything else would make it another experiment
MAY_CHANGE = ("device", "compile", "resume", "finish", "overwrite", "tensorboard", "output", "name", "data")


def place(name: str, options) -> Path:
    """The folder of a run of the model `name`. A seed whose finished run came with the repository, that is
    without a checkpoint, is run beside it. Raises UserError where there are no data, or --name is none.
    """
    if options.name in (".", "..") or set(options.name) & {"/", "\\"}:
        raise UserError(f"--name {options.name} must be the name of a folder; --output says where it is.")
    drawn = "drawn-" if is_drawn(options.data) else ""
    runs = Path(options.output) / name
    usual = runs / f"{drawn}seed{options.seed}"
    published = (usual / "metrics.json").is_file() and not (usual / "best_model.pth").is_file()
    if published and not options.overwrite:
        usual = runs / f"rerun-{usual.name}"
    return runs / options.name if options.name else usual


def checkpoint(name: str, options) -> Path:
    """The file that --resume goes on from."""
    return place(name, options) / "last.pth" if options.resume == "last" else Path(options.resume)


def refuse(name: str, options) -> None:
    """Raise UserError where this run would spoil the one that is in its folder, or has nothing to do."""
    if options.finish and not options.resume:
        raise UserError("--finish closes a stopped run; name it with --resume --finish.")
    folder = place(name, options)
    finished, log = os.path.isfile(folder / "metrics.json"), folder / "log.csv"
    begun_in = os.path.realpath(checkpoint(name, options).parent)
    if options.resume and begun_in == os.path.realpath(folder):
        if finished:
            raise UserError(
                f"{folder} is finished, and its test set was opened; its numbers are in "
                "metrics.json. For a longer run choose another --name or --seed and leave "
                "--resume out."
            )
    elif options.overwrite:
        return
    elif finished:
        raise UserError(
            f"{folder} holds a finished run. To replace it type --overwrite, to keep it "
            "choose another --name or --seed."
        )
    elif os.path.isfile(log):
        done = max(0, len(log.read_bytes().splitlines()) - 1)
        raise UserError(
            f"{folder} holds an unfinished run of {done} epochs. To go on type "
            "--resume, to begin again --overwrite."
        )
    elif os.path.isfile(folder / "best_model.pth"):
        raise UserError(
            f"{folder} holds a trained model, best_model.pth. To replace it type --overwrite, to "
            "keep it choose another --name or --seed."
        )


def same_experiment(stored, options) -> None:
    """Raise UserError, naming the flags, where `options` go on with another experiment than `stored` began.

    The number of epochs belongs to it: the learning rate follows a curve of that length.
    """
    keys = [f.name for f in dataclasses.fields(options) if f.name not in MAY_CHANGE]
    changed = [key for key in keys if getattr(options, key) != getattr(stored, key)]
    if changed:
        listed = ", ".join(f"{cli.flag(key)} (was {getattr(stored, key)})" for key in changed)
        early = " To end it early type --resume --finish." if {"epochs", "patience"} & set(changed) else ""
        raise UserError(
            f"this run was not begun with {listed}; leave that out to go on, or choose another --name.{early}"
        )


def resume_command(folder: Path, options, *, world: int = 1) -> str:
    """What to type to go on with the run in `folder`, which this process began as `options` say."""
    argv = ["--begin", *sys.argv[1:]]
    typed = [
        word
        for before, word in zip(argv, argv[1:])
        if word.split("=")[0] not in ("--overwrite", "--resume")
        and (before != "--resume" or word.startswith("--"))
    ]
    file = [] if options.resume in ("", "last") else [str(folder / "last.pth")]
    processes = os.environ.get("LOCAL_WORLD_SIZE", world)
    launcher = ["torchrun", f"--nproc_per_node={processes}"] if world > 1 else ["python"]
    if Path(sys.prefix) == Path.cwd() / ".venv" and "VIRTUAL_ENV" not in os.environ:  # make's, not activated
        launcher[0] = os.path.join(os.path.dirname(os.path.relpath(sys.executable)), launcher[0])
    return shlex.join([*launcher, sys.argv[0], *typed, "--resume", *file])
