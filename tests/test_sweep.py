"""study.py sweep: every combination, no test set, one table by val; and a campaign in a clone."""

import argparse
import json
import subprocess
import sys

import pytest
from test_study import FEW, ROOT, planned  # noqa: F401

import study
from ferlab.analysis.sweeps import combinations, write_sweep
from ferlab.errors import UserError
from ferlab.training import jobs
from models import NAMES


def test_combinations_by_hand():
    words = ["--lr", "1e-3", "2e-3", "--compile", "--weight-decay", "0.1", "0.5"]
    assert combinations(words) == [
        ["--lr", "1e-3", "--compile", "--weight-decay", "0.1"],
        ["--lr", "1e-3", "--compile", "--weight-decay", "0.5"],
        ["--lr", "2e-3", "--compile", "--weight-decay", "0.1"],
        ["--lr", "2e-3", "--compile", "--weight-decay", "0.5"],
    ]
    assert combinations([]) == [[]]
    with pytest.raises(UserError, match="1e-3 comes before any option"):
        combinations(["1e-3", "--lr"])


def plan(study_name: str, *rest: str, models=NAMES, seeds=(0, 1, 2)) -> list[study.Job]:
    return study._plan(argparse.Namespace(study=study_name, models=models, seeds=list(seeds)), list(rest))


def test_trials_have_folders_of_their_own_and_no_test_set(tmp_path):
    jobs = plan(
        "sweep",
        "--lr",
        "1e-3",
        "2e-3",
        "--epochs",
        "3",
        "--output",
        str(tmp_path),
        models=["ResNet18", "ConvNet"],
        seeds=[0],
    )
    assert [job.model for job in jobs] == ["ResNet18"] * 2 + ["ConvNet"] * 2
    assert len({job.folder for job in jobs}) == 4
    assert all(job.folder.is_relative_to(tmp_path / "sweeps") for job in jobs)
    assert not any(job.options.test for job in jobs)


def test_a_campaign_goes_cheapest_first_and_names_the_short_schedule_of_its_studies(tmp_path):
    jobs = plan("campaign", "--output", str(tmp_path))
    assert [job.model for job in jobs[:6]] == list(NAMES)
    assert [job.options.seed for job in jobs[:18]] == [0] * 6 + [1] * 6 + [2] * 6
    studies = [job for job in jobs if job.study]
    steps = {(job.model, round(job.options.epochs * job.options.train_fraction)) for job in studies}
    assert steps == {("ConvNet", 15), ("ResNet18", 10)}
    named = {"ConvNet": "epochs15", "ResNet18": "epochs10"}
    assert all(named[job.model] in job.options.name for job in studies)
    assert {job.options.seed for job in studies} == {0, 1}
    typed = plan("campaign", "--epochs", "3", "--output", str(tmp_path))
    assert {job.options.epochs for job in typed if job.study != "samples"} == {3}


def test_a_run_older_than_an_option_counts_with_the_options_default(tmp_path):
    job = plan("campaign", "--output", str(tmp_path), models=["ConvNet"], seeds=[0])[0]
    job.folder.mkdir(parents=True)
    (job.folder / "metrics.json").write_text("{}")
    old = {key: value for key, value in vars(job.options).items() if key not in ("start_size", "patch_keep")}
    (job.folder / "options.json").write_text(json.dumps(old))
    jobs.check(job)
    (job.folder / "options.json").write_text(json.dumps(old | {"start_size": 64}))
    with pytest.raises(UserError, match="--start-size 64"):
        jobs.check(job)


def test_a_sweep_ranks_by_val_and_runs_nothing_twice(tmp_path, drawn):
    words = [
        "sweep",
        "--models",
        "ConvNet",
        "--lr",
        "1e-3",
        "1e-9",
        "--data",
        str(drawn),
        "--output",
        str(tmp_path),
        *FEW,
        "--epochs",
        "2",
    ]
    command = [sys.executable, "study.py", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "ConvNet   0 of 2 finished" in done.stdout
    files = sorted((tmp_path / "sweeps/ConvNet").glob("*/metrics.json"))
    numbers = [json.loads(file.read_text()) for file in files]
    assert len(files) == 2 and not any("test" in found for found in numbers)
    assert not list((tmp_path / "sweeps").rglob("predictions.csv"))
    page = (tmp_path / "sweeps/README.md").read_text()
    f1 = [float(line.split("|")[5]) for line in page.splitlines() if line.startswith("| drawn-")]
    assert len(f1) == 2 and f1 == sorted(f1, reverse=True)
    assert "| Trial | Lr | Accuracy" in page and "ConvNet, drawn faces" in page

    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert "2 finished, 0 begun, 0 new" in again.stdout
    assert [file.stat().st_mtime_ns for file in files] == [
        file.stat().st_mtime_ns for file in sorted((tmp_path / "sweeps/ConvNet").glob("*/metrics.json"))
    ]


def test_nothing_finished_is_no_table(tmp_path):
    assert write_sweep(tmp_path) == []


def test_a_campaign_in_a_clone_runs_the_clones_code_on_this_checkouts_results(tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr(study.os, "execv", lambda program, argv: called.append(argv))
    args = argparse.Namespace(study="campaign", models=["ConvNet"], seeds=[0], clone=str(tmp_path / "clone"))
    study._run_clone(args, ["--data", "synthetic", "--epochs", "1"])
    study._run_clone(args, ["--epochs", "1"])  # the clone that is there is used again
    assert (tmp_path / "clone/train_function.py").is_file()
    assert called[0][1:] == [
        str(tmp_path / "clone/study.py"),
        "campaign",
        "--models",
        "ConvNet",
        "--seeds",
        "0",
        "--data",
        "synthetic",
        "--epochs",
        "1",
        "--data",
        "synthetic",
        "--output",
        str(study.Path("results").absolute()),
    ]
    assert str(study.Path("raf-db-dataset").absolute()) in called[1]
    args.clone = str(tmp_path / "clone/README.md")
    with pytest.raises(UserError, match="no clone could be made"):
        study._run_clone(args, [])
