"""Where a run goes, what is there already, and the command that goes on with it.

    folder = place("ResNet18", options)              # results/ResNet18/seed0
"""

import json
import os
import shlex
import sys
from pathlib import Path

from ferlab.data.layout import is_drawn
from ferlab.errors import UserError


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
    folder = place(name, options)
    finished, log = os.path.isfile(folder / "metrics.json"), folder / "log.csv"
    begun_in = os.path.realpath(checkpoint(name, options).parent)
    if options.resume and begun_in == os.path.realpath(folder):
        epochs = _epochs(folder) if finished else 0
        if options.epochs <= epochs:
            raise UserError(f"{folder} is finished; its numbers are in metrics.json. To train on, "
                            f"give more than its {epochs} --epochs.")
    elif options.overwrite:
        return
    elif finished:
        raise UserError(f"{folder} holds a finished run. To replace it type --overwrite, to keep it "
                        "choose another --name or --seed.")
    elif os.path.isfile(log):
        done = max(0, len(log.read_bytes().splitlines()) - 1)
        raise UserError(f"{folder} holds an unfinished run of {done} epochs. To go on type "
                        "--resume, to begin again --overwrite.")
    elif os.path.isfile(folder / "best_model.pth"):
        raise UserError(f"{folder} holds a trained model, best_model.pth. To replace it type --overwrite, to "
                        "keep it choose another --name or --seed.")


def resume_command(folder: Path, options, *, world: int = 1) -> str:
    """What to type to go on with the run in `folder`, which this process began as `options` say."""
    argv = ["--begin", *sys.argv[1:]]
    typed = [word for before, word in zip(argv, argv[1:])
             if word.split("=")[0] not in ("--overwrite", "--resume")
             and (before != "--resume" or word.startswith("--"))]
    file = [] if options.resume in ("", "last") else [str(folder / "last.pth")]
    processes = os.environ.get("LOCAL_WORLD_SIZE", world)
    launcher = ["torchrun", f"--nproc_per_node={processes}"] if world > 1 else ["python"]
    if Path(sys.prefix) == Path.cwd() / ".venv" and "VIRTUAL_ENV" not in os.environ:  # make's, not activated
        launcher[0] = os.path.join(os.path.dirname(os.path.relpath(sys.executable)), launcher[0])
    return shlex.join([*launcher, sys.argv[0], *typed, "--resume", *file])


def _epochs(folder: Path) -> int:
    """How many epochs the run in `folder` was to have; 0 where its options.json is damaged."""
    try:
        return int(json.loads((folder / "options.json").read_bytes())["epochs"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0
