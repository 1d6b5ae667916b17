"""study.py: what it plans, a real study that is stopped and goes on, and what its pages say."""

import csv
import dataclasses
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from runs import make_run, spread

import ferlab.training.run_folder
import models
import study
from ferlab.analysis import records
from ferlab.analysis.runs import collect
from ferlab.analysis.studies import STUDIES, by_label, write_page
from ferlab.data.layout import prefix
from ferlab.data.rafdb import CLASS_NAMES
from ferlab.errors import UserError
from ferlab.training import jobs
from ferlab.training.interrupt import Interrupt
from train_function import script_options

ROOT = Path(__file__).parents[1]
EPOCHS = script_options("ConvNet", ["--weights", "none"]).epochs
FEW = ["--epochs", "1", "--device", "cpu", "--amp", "off"]


@pytest.fixture(autouse=True)
def planned(monkeypatch):
    """What only plans needs no data."""
    for module in (study, ferlab.training.run_folder):
        monkeypatch.setattr(module, "prefix", lambda data: "" if data == "raf-db-dataset" else prefix(data))


def shrink(monkeypatch, name: str, settings: tuple) -> None:
    monkeypatch.setitem(STUDIES, name, STUDIES[name]._replace(settings=settings))


def test_a_run_is_named_by_its_setting_and_by_what_departs_from_the_recipe(tmp_path):
    output = ["--output", str(tmp_path)]
    job = study._job("ConvNet", 2, output, "balance", "focal")
    assert job.folder == tmp_path / "studies/balance/ConvNet/focal-seed2"
    assert (job.options.balance, job.options.seed, job.options.weights) == ("focal", 2, "none")
    assert job.options.epochs == EPOCHS

    job = study._job("ConvNet", 0, [*output, "--epochs", "3", "--data", "synthetic"], "samples", 0.25)
    assert job.folder.name == "drawn-0.25-epochs3-seed0"
    assert (job.options.train_fraction, job.options.epochs) == (0.25, 12)  # as many steps as 3 of all images
    assert job.options.warmup_epochs == 4 * script_options("ConvNet", []).warmup_epochs

    job = study._job("ResNet18", 1, [*output, "--weights", "imagenet"])
    assert job.folder == tmp_path / "ResNet18/imagenet-seed1"
    assert study._job("ResNet18", 1, output).folder == tmp_path / "ResNet18/seed1"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--balance", "focal"], "sets --balance itself"),
        (["--seed", "3"], "sets --seed itself"),
        (["--epoch", "3"], "did you mean --epochs?"),
        (["--epochs", "0"], "--epochs is 0"),
        (["--weights", "some.pth"], "--weights none or imagenet"),
        (["--weights", "imagenet"], "ConvNet has no ImageNet weights"),
    ],
)
def test_wrong_words_end_before_anything_runs(words, says):
    with pytest.raises(UserError, match=says):
        study._job("ConvNet", 0, words, "balance", "none")


def test_a_campaign_is_six_models_then_three_studies(monkeypatch, tmp_path):
    planned = []
    monkeypatch.setattr(study, "run", lambda jobs: planned.extend(jobs) or [])
    monkeypatch.setattr(study.subprocess, "call", lambda *_, **__: 0)
    monkeypatch.setattr("sys.argv", ["study.py", "campaign", "--output", str(tmp_path), "--seeds", "0", "1"])
    study.main()
    count = {name: sum(job.study == name for job in planned) for name in ("", *STUDIES)}
    assert count == {"": 12, "resolution": 24, "samples": 20, "balance": 4 * len(STUDIES["balance"].settings)}
    assert {job.model for job in planned if job.study} == {"ConvNet", "ResNet18"}
    assert [job.options.seed for job in planned[:12]] == [0] * 6 + [1] * 6  # one seed of every model first
    assert {job.options.weights for job in planned} == {"none"}
    assert len({job.folder for job in planned}) == len(planned)


def test_a_finished_run_of_another_recipe_is_neither_kept_nor_replaced(tmp_path):
    make_run(tmp_path / "studies/balance", name="none-seed0", lr=0.5)
    with pytest.raises(UserError, match="was trained with --lr 0.5"):
        study.run([study._job("ConvNet", 0, ["--output", str(tmp_path)], "balance", "none")])


def test_the_time_left_by_hand(tmp_path):
    words = ["--output", str(tmp_path), "--epochs", "10"]
    half, whole = (study._job("ConvNet", 0, words, "samples", share) for share in (0.5, 1.0))
    other = study._job("ResNet18", 0, words, "samples", 1.0)
    assert jobs.left([half, other]) == (
        "20 epochs of ConvNet and 10 epochs of ResNet18 to train, and nothing yet to tell how long they take"
    )
    half.folder.mkdir(parents=True)
    (half.folder / "log.csv").write_text(
        "epoch,train_loss,val_loss,val_accuracy,val_macro_f1,seconds\n1,1,1,0,0,600\n2,1,1,0,0,600\n"
    )
    # ConvNet takes 20 min an epoch with all images: 18 of 20 with half of them left, 10 with all
    assert jobs.left([half, whole]) == "about 6 h 20 min left"
    assert jobs.left([half, whole, other]) == "about 6 h 20 min left, not counting 10 epochs of ResNet18"


def stub(tmp_path, monkeypatch, body: str) -> list[study.Job]:
    """Two runs of a script that does `body` instead of training."""
    script = tmp_path / "script.py"
    script.write_text(f"import sys\n{body}\n")
    jobs = [study._job("ConvNet", seed, ["--output", str(tmp_path)]) for seed in (0, 1)]
    ours = dataclasses.replace(models.ARCHITECTURES["ConvNet"], script=str(script))
    monkeypatch.setitem(models.ARCHITECTURES, "ConvNet", ours)
    return jobs


def test_a_run_that_diverges_is_reported_and_the_next_one_starts(tmp_path, monkeypatch, capsys):
    made = stub(tmp_path, monkeypatch, "print('error: no longer finite'); sys.exit(3)")
    assert study.run(made) == made
    assert capsys.readouterr().out.count("no longer finite") == 2


def test_a_run_that_fails_stops_the_study_with_its_own_words(tmp_path, monkeypatch):
    made = stub(tmp_path, monkeypatch, "print('error: there is no such data'); sys.exit(2)")
    with pytest.raises(UserError, match="there is no such data") as error:
        study.run(made)
    assert error.value.code == 2


def start(folder: Path, drawn: Path) -> subprocess.Popen:
    """The resolution study of ConvNet at 100 and 24 pixels, one seed, as its own process."""
    code = (
        "import study; s = study.STUDIES; "
        "s['resolution'] = s['resolution']._replace(settings=(100, 24)); "
        "study.main()"
    )
    words = ["resolution", "--models", "ConvNet", "--seeds", "0", "--data", drawn, "--output", folder, *FEW]
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_a_study_that_is_stopped_goes_on_and_trains_nothing_twice(tmp_path, drawn, monkeypatch):
    runs = tmp_path / "studies/resolution/ConvNet"
    first, second = (runs / f"drawn-{pixels}-epochs1-seed0" for pixels in (100, 24))
    process = start(tmp_path, drawn)
    while not (first / "last.pth").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "2 runs: 0 finished, 0 begun, 2 new" in out
    assert "resume with: python" in err and "Traceback" not in err
    assert not second.exists()

    out, err = start(tmp_path, drawn).communicate(timeout=120)
    assert "[2/2] ConvNet drawn-24-epochs1-seed0: finished" in out, err
    times = [(folder / "metrics.json").stat().st_mtime_ns for folder in (first, second)]

    page = (tmp_path / "studies/drawn-resolution.md").read_text()
    assert "drawn faces, not RAF-DB" in page and f"## ConvNet (1 epochs instead of {EPOCHS})" in page
    assert "| 24 pixels (trained at 100) | 0 |" in page
    assert (tmp_path / "studies/plots/drawn-resolution.png").exists()

    # a test at 100 pixels of the model that was trained at 100 gives its own predictions
    shrink(monkeypatch, "resolution", (100, 100))
    (first / "degraded.csv.gz").unlink()
    words = ["--data", str(drawn), "--output", str(tmp_path), *FEW]
    job = study._job("ConvNet", 0, words, "resolution", 100)
    study._test_degraded(job, Interrupt())
    with gzip.open(first / "degraded.csv.gz", "rt") as degraded:
        answers = list(csv.DictReader(degraded))
    found = records.predictions(first)
    assert [row["image"] for row in answers] == found.images and not (first / "predictions.csv").exists()
    assert [row["label"] for row in answers] == [CLASS_NAMES[label] for label in found.labels]
    assert [row["100"] for row in answers] == [CLASS_NAMES[i] for i in found.probabilities.argmax(1)]

    shrink(monkeypatch, "resolution", (100, 24))
    assert study.run([job, study._job("ConvNet", 0, words, "resolution", 24)]) == []
    assert [(folder / "metrics.json").stat().st_mtime_ns for folder in (first, second)] == times


def rows(page: Path, heading: str) -> dict[str, list[str]]:
    """The rows of the first table under a heading, by their first cell."""
    parts = page.read_text().split(f"## {heading}\n")[1].split("\n\n")
    part = next(part for part in parts if part.startswith("|"))
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines()[2:]]
    return {row[0]: row[1:] for row in cells}


def test_a_page_shows_what_ran_by_hand_and_leaves_the_rest_empty(tmp_path):
    for seed, wrong in enumerate((7, 21)):
        make_run(
            tmp_path / "balance", seed=seed, name=f"none-seed{seed}", balance="none", predicted=spread(wrong)
        )
    fearless = np.where(np.arange(70) % 7 == 1, 0, np.arange(70) % 7)
    make_run(tmp_path / "balance", name="focal-seed0", balance="focal", predicted=fearless)
    make_run(tmp_path / "balance", name="short-seed0", balance="focal", epochs=1)
    (make_run(tmp_path / "balance", name="begun", balance="weights") / "metrics.json").unlink()
    [page] = write_page("balance", tmp_path, script_options)
    table = rows(page, "ConvNet")
    assert list(table) == list(STUDIES["balance"].settings)
    assert table["none"][0] == "0, 1" and table["none"][1].startswith("80.00 ± 14.14 [")
    assert [table["focal"][4].split()[0], table["focal"][5].split()[0]] == ["0.00", "100.00"]
    assert table["sampler"] == table["weights"] == [""] * 6
    assert rows(page, f"ConvNet (1 epochs instead of {EPOCHS})")["focal"][1].startswith("100.00")
    assert f"`ConvNet/begun`: unfinished: {EPOCHS} of" in page.read_text()


def test_the_tests_of_a_study_compare_with_the_first_setting_and_say_where_nothing_is_known(tmp_path):
    labels = np.arange(700) % 7
    for setting, right in (("none", 0.6), ("weights", 0.85), ("focal", 0.6)):
        for seed in (0, 1):
            rng = np.random.default_rng([seed, *setting.encode()])
            predicted = np.where(rng.random(700) < right, labels, (labels + rng.integers(1, 7, 700)) % 7)
            make_run(
                tmp_path / "balance",
                name=f"{setting}-seed{seed}",
                seed=seed,
                balance=setting,
                labels=labels,
                predicted=predicted,
            )
    text = write_page("balance", tmp_path, script_options)[0].read_text()
    claims = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| accuracy |")]
    assert {(line[1], line[2]): line[-1] for line in claims}.pop(("weights", "none")) == "better"
    assert [line[-1] for line in claims if "focal" in line[1:3]] == ["not significant"]


def test_runs_of_other_schedules_are_series_of_their_own(tmp_path):
    for name, changed in (("a", {}), ("b", {"warmup_epochs": 2.0}), ("c", {"epochs": 40})):
        more = {"train_fraction": 0.5, "epochs": 120, "warmup_epochs": 4.0, **changed}
        make_run(tmp_path / "samples", name=f"{name}-seed0", **more)
    groups = collect(tmp_path / "samples", script_options, varied=STUDIES["samples"].varied)[0]
    assert sorted(by_label(STUDIES["samples"], groups)) == [
        "ConvNet, as many steps as 20 epochs of all images",
        "ConvNet, as many steps as 60 epochs of all images",
        "ConvNet, as many steps as 60 epochs of all images, warmup epochs 1",
    ]


def test_few_samples_stand_in_the_studys_order(tmp_path):
    for share in (0.05, 1.0, 0.25):
        more = {"train_fraction": share, "epochs": round(60 / share), "warmup_epochs": 2 / share}
        folder = make_run(tmp_path / "samples", name=f"{share}-seed0", **more)
        numbers = json.loads((folder / "metrics.json").read_text())
        numbers["train_hash"] = str(share)  # as it is: other images, another hash
        (folder / "metrics.json").write_text(json.dumps(numbers))
    page = write_page("samples", tmp_path, script_options)[0]
    table = rows(page, "ConvNet, as many steps as 60 epochs of all images")
    assert list(table) == ["100 %", "50 %", "25 %", "10 %", "5 %"]
    assert [bool(row[0]) for row in table.values()] == [True, False, True, False, True]


def test_a_run_whose_reduced_test_is_missing_or_of_other_images_is_named(tmp_path):
    folder = make_run(tmp_path / "resolution", name="100-seed0", resolution=100)
    assert (
        "100-seed0 was not tested on reduced faces"
        in write_page("resolution", tmp_path, script_options)[0].read_text()
    )
    (folder / "degraded.csv").write_text("image,label,64,48,32,24,16\nother,Fear" + ",Fear" * 5 + "\n")
    assert (
        "100-seed0 was not tested on reduced faces"
        in write_page("resolution", tmp_path, script_options)[0].read_text()
    )
