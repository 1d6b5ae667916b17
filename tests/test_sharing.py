"""What is one run in several studies: which runs are, that they are copied whole, and when they are not."""

import contextlib
import gzip
from pathlib import Path

import pytest
from runs import make_run
from test_study import planned  # noqa: F401

import study
from ferlab.analysis import records
from ferlab.analysis.runs import collect
from ferlab.analysis.studies import STUDIES
from ferlab.files import locked
from ferlab.training import jobs
from ferlab.training.interrupt import Interrupt
from train_function import script_options


def three(tmp_path, **changed) -> list[study.Job]:
    """The jobs of ConvNet's 10 epochs that are one run in three studies; resolution's is finished."""
    words = ["--output", str(tmp_path), "--epochs", "10"]
    strategy = script_options("ConvNet", []).balance
    settings = {"resolution": 100, "samples": 1.0, "balance": strategy}
    made = [study._job("ConvNet", 0, words, *setting) for setting in settings.items()]
    make_run(
        tmp_path / "studies/resolution", name=made[0].folder.name, epochs=10, **{"resolution": 100} | changed
    )
    return made


def test_studies_share_the_run_that_is_the_same_in_them(tmp_path, capsys):
    resolution, samples, balance = made = three(tmp_path)
    words = ["--output", str(tmp_path), "--epochs", "10"]
    others = [
        study._job("ConvNet", 0, words, "resolution", 64),
        study._job("ConvNet", 1, words, "samples", 1.0),
        study._job("ConvNet", 0, [*words, "--face-size", "224"], "resolution", 100),
        study._job("ConvNet", 0, [*words, "--amp", "off"], "samples", 1.0),
        study._job("ResNet18", 0, words, "samples", 1.0),
    ]
    assert resolution.experiment == samples.experiment == balance.experiment
    assert len({job.experiment for job in [resolution, *others]}) == 6
    assert jobs.left(made) == "about 0 min left"

    samples.folder.mkdir(parents=True)
    (samples.folder / "log.csv").write_text(
        (resolution.folder / "log.csv").read_text()
    )  # of a copy cut short
    assert study.run(made) == []
    out = capsys.readouterr().out
    assert f"[2/3] {samples.folder}: the same run as {resolution.folder}" in out
    for job in (samples, balance):
        jobs.check(job)
        assert sorted(path.name for path in job.folder.iterdir()) == [
            *("log.csv", "metrics.json", "options.json", "predictions.csv.gz")
        ]
        numbers, options = records.numbers(job.folder), records.options(job.folder)
        assert numbers["copied_from"] == f"resolution/ConvNet/{resolution.folder.name}"
        assert options == {
            **records.options(resolution.folder),
            "resolution": 0,
            "name": job.options.name,
            "output": Path(job.options.output).name,
        }
    groups, left_out = collect(tmp_path / "studies/samples", script_options, varied=STUDIES["samples"].varied)
    assert [group.first.numbers["run"] for group in groups] == [samples.folder.name] and not left_out
    page = (tmp_path / "studies/samples.md").read_text()
    assert "| 100 % | 0 |" in page
    assert f"{samples.folder.name} is the run `resolution/ConvNet/{resolution.folder.name}`." in page


def test_a_twin_that_is_begun_is_trained_to_its_end(tmp_path):
    resolution, samples, _ = three(tmp_path)
    samples.folder.mkdir(parents=True)
    rows = (resolution.folder / "log.csv").read_text().splitlines()[:5]  # 4 of 10 epochs, of 3 seconds
    (samples.folder / "log.csv").write_text("\n".join(rows) + "\n")
    assert jobs.left([resolution, samples]) == "about 1 min left"


@pytest.mark.parametrize(
    "spoiled", ["precision", "metrics.json", "predictions.csv", "begun", "main run", "locked"]
)
def test_what_is_no_twin_is_trained(tmp_path, monkeypatch, spoiled):
    trained = []
    monkeypatch.setattr(jobs.subprocess, "Popen", lambda argv, **_: trained.append(argv) or 1 / 0)
    resolution, samples, _ = three(tmp_path, **({"amp": "off"} if spoiled == "precision" else {}))
    if spoiled == "begun":
        samples.folder.mkdir(parents=True)
        (samples.folder / "last.pth").touch()
    elif spoiled == "main run":
        resolution = resolution._replace(study="")
    elif spoiled not in ("precision", "locked"):
        (resolution.folder / spoiled).write_bytes(b"\xff")
    with contextlib.ExitStack() as stack, pytest.raises(ZeroDivisionError):
        if spoiled == "locked":
            samples.folder.mkdir(parents=True)
            stack.enter_context(locked(samples.folder))
        jobs.train(samples, [resolution, samples], "[2/2]", Interrupt())
    assert len(trained) == 1 and not (samples.folder / "metrics.json").exists()


def test_the_predictions_of_a_study_are_packed(tmp_path):
    folder = (job := three(tmp_path)[0]).folder
    texts = {name: f"{name}\r\n".encode() for name in ("predictions.csv", "degraded.csv")}
    for name, text in texts.items():
        (folder / name).write_bytes(text)
    study._pack(job)
    for name, text in texts.items():
        assert gzip.decompress((folder / f"{name}.gz").read_bytes()) == text and not (folder / name).exists()
