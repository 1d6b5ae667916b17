"""Series of ordinary runs: the three challenges of RAF-DB, trials for a recipe, and everything at once.

python study.py balance --models ConvNet ResNet18 --seeds 0 1 2       # also: resolution, samples
python study.py balance --models ConvNet --epochs 10                  # and any option of the train scripts
python study.py sweep --models ResNet18 --lr 1e-3 2e-3 --weight-decay 0.1 0.5 --epochs 10
python study.py campaign                                              # every model, every study, compare.py
python study.py transfer --train raf-db --test fer2013.csv            # trained runs on other data

A sweep tries every combination of the values given, without evaluating the test set, and ranks them on val.
Runs go to results/studies/<study>/ and results/sweeps/, tables and figures beside them. Models train from
scratch, unless --weights imagenet is typed; a transfer trains nothing. What was stopped goes on when the same
command is typed again.
"""

import argparse
import os
import shlex
import subprocess
import sys
from functools import partial
from itertools import groupby
from pathlib import Path

from evaluate import transfer
from ferlab.analysis.runs import RECIPE
from ferlab.analysis.studies import DEGRADED, STUDIES, write_page
from ferlab.analysis.sweeps import combinations, write_sweep
from ferlab.cli import flag, number, typed
from ferlab.data.layout import prefix
from ferlab.errors import UserError, command
from ferlab.files import write_packed
from ferlab.options import Options
from ferlab.training.batches import Batches
from ferlab.training.interrupt import Interrupt
from ferlab.training.jobs import Job, check, left, say_where_they_stand, train
from ferlab.training.report import to_csv
from ferlab.training.runtime import init_runtime
from models import NAMES, load
from RAFDB_dataset import load_splits
from train_function import evaluate, script_options

HERE = Path(__file__).resolve().parent
IN_DEPTH = {"ConvNet": 15, "ResNet18": 10}  # the models that the studies look at: epochs in a campaign
OURS = ("seed", "name", "resume", "overwrite", "test")  # options that the study itself sets


@command
def main() -> None:
    parser = argparse.ArgumentParser(
        description="Run one study, trials for a recipe, or everything.",
        allow_abbrev=False,
        epilog="Any option of the train scripts may follow, such as --data, --output, --epochs, --device; "
        "in a sweep each with one value or several.",
    )
    parser.add_argument("study", choices=(*STUDIES, "sweep", "campaign", "transfer"))
    parser.add_argument(
        "--models",
        nargs="+",
        metavar="MODEL",
        help=f"default {' '.join(IN_DEPTH)}; a campaign trains all six and studies these two",
    )
    parser.add_argument(
        "--seeds",
        nargs="+",
        type=number(int),
        metavar="N",
        help="default 0 1 2; 0 in a sweep; a campaign's studies take the first two",
    )
    parser.add_argument(
        "--clone",
        metavar="FOLDER",
        help="run the code of a clone in FOLDER, made of the "
        "last commit where there is none yet, so that you can work on meanwhile",
    )
    add = parser.add_argument_group("transfer").add_argument
    add(
        "--train",
        nargs="+",
        default=["raf-db"],
        metavar="DATA",
        help="what the runs were trained on (raf-db)",
    )
    add("--test", nargs="+", default=[], metavar="PATH", help="the data whose test images they answer to")
    args, rest = parser.parse_known_args()
    args.models = args.models or (list(IN_DEPTH) if args.study in (*STUDIES, "sweep") else NAMES)
    args.seeds = args.seeds or ([0] if args.study == "sweep" else [0, 1, 2])
    for name in args.models:
        if name not in NAMES:
            raise UserError(f"there is no model {name}; there are {', '.join(NAMES)}.")
    if args.study == "transfer":
        if args.clone:
            raise UserError("a transfer trains nothing, and takes no --clone.")
        return _transfer(args, rest)
    if args.clone:
        _run_clone(args, rest)
    failed = run(jobs := _plan(args, rest))
    if args.study == "campaign":
        if code := subprocess.call([sys.executable, str(HERE / "compare.py"), jobs[0].options.output]):
            sys.exit(code)  # it has said why
    if failed:
        raise UserError("these runs diverged: " + ", ".join(str(job.folder) for job in failed), code=3)


def _plan(args: argparse.Namespace, rest: list[str]) -> list[Job]:
    """The runs that the command line asks for, in their order."""
    if args.study == "sweep":
        return [
            _job(name, seed, words, "sweep")
            for name in args.models
            for seed in args.seeds
            for words in combinations(rest)
        ]
    if args.study in STUDIES:
        return [
            _job(name, seed, rest, args.study, setting)
            for seed in args.seeds
            for name in args.models
            for setting in STUDIES[args.study].settings
        ]
    names = sorted(args.models, key=NAMES.index)  # small networks first
    jobs = [_job(name, seed, rest) for seed in args.seeds for name in names]
    return jobs + [
        _job(name, seed, ["--epochs", str(IN_DEPTH[name]), *rest], study, setting)
        for study in STUDIES
        for seed in args.seeds[:2]
        for name in names
        if name in IN_DEPTH
        for setting in STUDIES[study].settings
    ]


def _transfer(args: argparse.Namespace, rest: list[str]) -> None:
    """Evaluate the trained runs on the data that were named."""
    given = typed(Options, rest)
    if unknown := set(given) - {"output", "device", "face_size"}:
        raise UserError(f"a transfer takes --output, --device and --face-size, not {flag(unknown.pop())}.")
    if not args.test:
        raise UserError("name the data to test on: python study.py transfer --test PATH ...")
    transfer(args.models, args.train, args.test, results=Path(given.pop("output", Options.output)), **given)


def _run_clone(args: argparse.Namespace, rest: list[str]) -> None:
    """Become the same command of the clone in args.clone, on this checkout's data and results."""
    if not ((folder := Path(args.clone)) / ".git").exists():
        done = subprocess.run(["git", "clone", "-q", str(HERE), str(folder)], capture_output=True, text=True)
        if done.returncode:
            raise UserError(f"no clone could be made in {folder}: {done.stderr.strip()}")
    given = typed(Options, combinations(rest)[0])
    words = [args.study, "--models", *args.models, "--seeds", *map(str, args.seeds), *rest]
    for key in ("data", "output"):
        value = given.get(key, getattr(Options, key))
        words += [flag(key), value if value == "synthetic" else str(Path(value).absolute())]
    head = ["git", "-C", str(folder), "log", "-1", "--format=%h %s"]
    commit = subprocess.run(head, capture_output=True, text=True).stdout.strip()
    print(f"code of the clone in {folder}: {commit}", flush=True)
    os.execv(sys.executable, [sys.executable, str(folder / "study.py"), *words])


def _job(model: str, seed: int, rest: list[str], study: str = "", setting=None) -> Job:
    """The run that the words `rest` ask for; its name says what it varies and where it leaves the recipe."""
    given = typed(Options, rest)
    weights, data = given.get("weights", "none"), given.get("data", Options.data)
    option = STUDIES[study].option if study in STUDIES else ""
    if ours := [flag(key) for key in (*OURS, option) if key in given]:
        raise UserError(f"study.py sets {ours[0]} itself; leave it out.")
    if weights not in ("none", "imagenet"):
        raise UserError("a study starts from --weights none or imagenet.")
    argv = [*rest, "--seed", str(seed), "--weights", weights]
    recipe, asked = vars(script_options(model, ["--weights", weights])), vars(script_options(model, argv))
    changed = [
        f"{key.replace('_', '-')}{value}"
        for key, value in asked.items()
        if key in RECIPE and value != recipe[key]
    ]
    words = [
        *([prefix(data)[:-1]] if prefix(data) else []),
        *([f"{setting}"] if option else []),
        *changed,
        *(["imagenet"] if weights != "none" else []),
    ]
    argv += ["--name", "-".join([*words, f"seed{seed}"])]
    along = STUDIES[study].along if study in STUDIES else ()
    for key in along:  # as many steps, whatever the share of images
        argv += [flag(key), f"{asked[key] / setting:g}"]
    output = Path(given.get("output", Options.output))
    if study == "sweep":
        argv += ["--no-test", "--output", str(output / "sweeps")]
    elif study:
        argv += [flag(option), str(setting), "--output", str(output / "studies" / study)]
    return Job(model, script_options(model, argv), argv, study)


def run(jobs: list[Job]) -> list[Job]:
    """Run what is not finished, one after the other, and write the studies' pages; returns what diverged.

    Raises Stopped on SIGINT and SIGTERM, after the run has saved itself, and UserError where a run fails.
    """
    for job in jobs:
        check(job)
    finished = sum(job.finished for job in jobs)
    begun = sum(bool(job.seconds) for job in jobs if not job.finished)
    new = len(jobs) - finished - begun
    print(f"{len(jobs)} runs: {finished} finished, {begun} begun, {new} new; {left(jobs)}", flush=True)
    say_where_they_stand(jobs)
    failed = []
    with Interrupt(command=shlex.join(["python", *sys.argv])) as interrupt:
        for study, part in groupby(enumerate(jobs, 1), key=lambda item: item[1].study):
            try:
                for number, job in part:
                    if not job.finished and not train(job, jobs, f"[{number}/{len(jobs)}]", interrupt):
                        failed.append(job)
                    if study in STUDIES and job.finished:
                        _pack(job)
                    if study == "resolution" and job.finished:
                        _test_degraded(job, interrupt)
            finally:
                root, pages = job.folder.parents[1], []
                if study == "sweep":
                    pages = write_sweep(root)
                elif study:
                    pages = write_page(study, root.parent, script_options)
                for page in pages:
                    print(f"written: {page}", flush=True)
    return failed


def _pack(job: Job) -> None:
    """Pack the predictions of a study's run: there are many, and a repository keeps them all."""
    for path in (job.folder / "predictions.csv", job.folder / DEGRADED):
        if path.is_file():
            write_packed(path, path.read_bytes())


def _test_degraded(job: Job, interrupt: Interrupt) -> None:
    """Write what the run's model, trained at 100 pixels, answers to reduced test images."""
    settings, path = STUDIES["resolution"].settings, job.folder / DEGRADED
    checkpoint = job.folder / "best_model.pth"
    if job.options.resolution != settings[0] or not checkpoint.exists():
        return
    if path.with_name(f"{DEGRADED}.gz").exists():
        return
    model, test = load(checkpoint), load_splits(job.options)[2]
    runtime = init_runtime(job.options.device, job.options.amp)
    check = partial(interrupt.check, f"while {job.folder} was tested on reduced faces")
    model.to(runtime.device)
    names = test.class_names
    answers = [test.names, [names[label] for label in test.labels.tolist()]]
    for pixels in settings[1:]:
        batches = Batches(test.images, test.labels, model.built["image_size"], runtime, resolution=pixels)
        logits = evaluate(model, batches, check=check)["logits"]
        answers.append([names[i] for i in logits.argmax(1).tolist()])
    write_packed(path, to_csv(["image", "label", *settings[1:]], list(zip(*answers))).encode())


if __name__ == "__main__":
    main()
