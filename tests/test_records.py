"""Damaged and foreign files of a run: the run is left out and named in one sentence, the others are shown."""

import gzip
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from runs import left_out, make_run, run_compare
from test_answer import MARKED, edit
from test_study import planned  # noqa: F401

import compare
import study
from ferlab.analysis import records
from ferlab.analysis.studies import write_page
from ferlab.analysis.sweeps import write_sweep
from ferlab.analysis.tables import between
from ferlab.errors import UserError
from ferlab.files import write_packed
from ferlab.training import jobs
from train_function import script_options

LOG = "epoch,train_loss,val_loss,val_accuracy,val_macro_f1,seconds\n"
DAMAGED = {  # the file, what is in it, and what is said of it
    "deep": ("metrics.json", "[" * 200_000, "metrics.json is nested too deep"),
    "cut off": ("metrics.json", '{"model": "ConvNet', "metrics.json cannot be read: it is not JSON"),
    "many digits": ("metrics.json", '{"epochs": ' + "1" * 400 + "}", "metrics.json holds '111"),
    "too many digits": ("options.json", '{"epochs": ' + "1" * 5000 + "}", "options.json holds '111"),
    "infinite": ("metrics.json", '{"epochs": 1e999}', "metrics.json holds '1e999'"),
    "not a number": ("metrics.json", '{"epochs": NaN}', "metrics.json holds 'NaN'"),
    "surrogate": ("options.json", '{"name": "\\ud800"}', "options.json holds text that is not Unicode"),
    "a list": ("options.json", "[]", "options.json holds no names and values"),
    "no seed": ("options.json", '{"epochs": 3, "weights": "none"}', "options.json lacks seed"),
    "binary JSON": ("options.json", b"\xff\xfe\0", "options.json is not UTF-8 text"),
    "binary": ("log.csv", bytes(range(256)), "log.csv is not UTF-8 text"),
    "short row": ("log.csv", LOG + "1,1\n", "log.csv has another number of columns in row 2"),
    "text": ("log.csv", LOG + "1,1,1,1,1,soon\n", "log.csv has 'soon' where a finite number should be"),
    "no seconds": ("log.csv", LOG + "1,1,1,1,1,nan\n", "log.csv has 'nan' where"),
    "endless": ("log.csv", LOG + "1,1,1,1,1,inf\n", "log.csv has 'inf' where"),
    "underscore": ("log.csv", LOG + "1,1,1,1,1,1_0\n", "log.csv has '1_0' where"),
    "back in time": ("log.csv", LOG + "1,1,1,1,1,-3\n", "log.csv has negative seconds"),
    "second epoch": ("log.csv", LOG + "2,1,1,1,1,3\n", "log.csv has epochs that do not count from 1"),
    "open quote": ("log.csv", LOG + '1,1,1,1,1,"3\n', "log.csv is not a CSV file"),
    "long field": ("log.csv", "x" * 200_000, "log.csv is not a CSV file"),
    "no log": ("log.csv", "", "log.csv lacks the column epoch"),
    "no image": ("predictions.csv", "image,label\n", "predictions.csv must have the columns of two classes"),
}
VALUES = {  # of metrics.json and options.json
    "negative cost": ("metrics.json", ("cost", "latency_ms"), -1.0, "cost.latency_ms -1.0"),
    "large cost": ("metrics.json", ("cost", "gflops"), 1e300, "metrics.json holds '1e+300'"),
    "bool": ("metrics.json", ("epochs",), True, "lacks epochs"),
    "share": ("metrics.json", ("val", "macro_f1"), 7, "scores on val that cannot be"),
    "best": ("metrics.json", ("best_epoch",), 0, "epochs or scores on val"),
    "no images": ("metrics.json", ("counts", "train"), [0] * 7, "no counts.train"),
    "lines": ("metrics.json", ("environment", "cpu"), "a\nchip", "lacks environment.cpu"),
    "test": ("metrics.json", ("test",), None, "a test that is not what it should be"),
    "seed": ("options.json", ("seed",), [1], "options.json has the option 'seed' = [1]"),
    "balance": ("options.json", ("balance",), "$\\x$", "--balance $\\x$ is not a valid value"),
    "epochs": ("options.json", ("epochs",), 0, "--epochs is 0"),
}


@pytest.fixture
def two(tmp_path) -> Path:
    """A results folder with a good run, seed 0, and one to spoil, seed 1."""
    for seed in (0, 1):
        make_run(tmp_path / "results", seed=seed, epochs=1)
    return tmp_path / "results"


def named(results: Path, said: str) -> None:
    """The spoilt run is named in one sentence, and the other one is not."""
    [(folder, reason)] = left_out(results).items()
    assert folder == "ConvNet/seed1" and said in reason and "\n" not in reason and len(reason) < 200, reason


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_files_cost_their_own_run_only(two, case):
    name, content, said = DAMAGED[case]
    path = two / "ConvNet/seed1" / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    named(two, said)


@pytest.mark.parametrize("case", VALUES)
def test_values_that_cannot_be_cost_their_own_run_only(two, case):
    name, (*parents, key), value, said = VALUES[case]

    def change(found: dict) -> None:
        for parent in parents:
            found = found[parent]
        found[key] = value

    edit(two / "ConvNet/seed1" / name, change)
    named(two, said)


@pytest.mark.skipif(sys.platform == "win32", reason="has no named pipes")
@pytest.mark.parametrize(
    "name", ["options.json", "metrics.json", "log.csv", "predictions.csv", "degraded.csv"]
)
@pytest.mark.parametrize("kind", ["a named pipe", "a device", "a folder"])
def test_what_is_no_file_is_not_opened(two, name, kind):
    path = two / "ConvNet/seed1" / name
    path.unlink(missing_ok=True)
    if kind == "a named pipe":
        os.mkfifo(path)
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    with pytest.raises(records.Unreadable, match=f"^{name} cannot be read .it is {kind}, not a file.$"):
        records.table(path)
    if name != "degraded.csv":
        named(two, f"{name} cannot be read (it is {kind}, not a file)")


def test_a_file_that_is_too_large_is_not_read(two, monkeypatch):
    monkeypatch.setattr(records, "LIMIT", 1 << 20)
    with open(two / "ConvNet/seed1/predictions.csv", "ab") as file:
        file.truncate(2 << 20)
    named(two, "predictions.csv has more than 1 MiB, which no run writes")


def test_a_packed_file_counts_as_the_plain_one_and_its_damage_costs_its_own_run(two, monkeypatch):
    path = two / "ConvNet/seed1/predictions.csv"
    text, packed = path.read_text(), path.with_name("predictions.csv.gz")
    plain = records.predictions(path.parent)
    write_packed(path, text.encode())
    assert not path.exists() and gzip.decompress(packed.read_bytes()).decode() == text
    again = records.predictions(path.parent)
    assert again.images == plain.images and (again.probabilities == plain.probabilities).all()
    assert not left_out(two)

    whole = packed.read_bytes()
    for damaged in (b"image,label", whole[:-9], whole[:30] + bytes([whole[30] ^ 255]) + whole[31:]):
        packed.write_bytes(damaged)
        named(two, "predictions.csv.gz is damaged")
    packed.write_bytes(gzip.compress(b"0" * (3 << 20)))
    monkeypatch.setattr(records, "LIMIT", 1 << 20)
    named(two, "predictions.csv has more than 1 MiB, which no run writes")


def test_compare_shows_the_rest_and_names_the_bad_one(two, monkeypatch, capsys):
    (two / "ConvNet/seed1/options.json").write_text("[]")
    said = run_compare(monkeypatch, capsys, two)
    assert "folders not used: 1\n  ConvNet/seed1: options.json holds no names and values\n" in said
    assert "`ConvNet/seed1`: options.json holds no" in (two / "README.md").read_text()


def test_names_that_no_picture_and_no_page_can_hold(tmp_path, monkeypatch, capsys):
    results = tmp_path / "results"
    for number, name in enumerate((b"\xff", b"$\\frac$", b"two\nlines")):
        folder = make_run(results, name="plain", epochs=1)
        edit(folder / "metrics.json", lambda found, n=number: found.update(train_hash=str(n)))
        os.rename(folder, os.path.join(os.fsencode(folder.parent), name))
    run_compare(monkeypatch, capsys, results)
    page = (results / "README.md").read_text()
    assert "\\udcff]" in page and "$\\frac$]" in page and "two\\nlines]" in page


def test_a_readme_that_is_no_text_and_a_page_that_is_no_file(two, monkeypatch, capsys):
    readme = two.parent / "README.md"
    readme.write_bytes(MARKED.encode() + b"\xff")
    with pytest.raises(UserError, match="not UTF-8 text"):
        between(readme, compare.MARKS, "numbers")
    os.mkfifo(two / "README.md")
    monkeypatch.setattr("sys.argv", ["compare.py", str(two)])
    with pytest.raises(SystemExit):
        compare.main()
    assert "it is a named pipe, not a file" in capsys.readouterr().err


def test_a_study_names_what_it_cannot_read(tmp_path, capsys):
    folder = make_run(tmp_path / "studies/balance", name="none-seed0", balance="none")
    shutil.copy(folder / "log.csv", tmp_path)
    (folder / "log.csv").write_bytes(b"\xff")
    assert write_page("balance", tmp_path / "studies", script_options) == []
    assert "balance can be used:\n  ConvNet/none-seed0: log.csv is not UTF-8" in capsys.readouterr().err
    job = study._job("ConvNet", 0, ["--output", str(tmp_path)], "balance", "none")
    assert job.folder == folder and job.seconds == []
    jobs.say_where_they_stand([job])
    assert "1 of 1 finished\n" in capsys.readouterr().out  # and no minutes
    (folder / "options.json").write_text("[]")
    with pytest.raises(UserError, match="holds a run, but options.json holds no names"):
        jobs.check(job)


def test_a_sweep_names_what_it_cannot_read(tmp_path, capsys):
    make_run(tmp_path, name="good")
    edit(make_run(tmp_path, name="bad") / "metrics.json", lambda found: found["val"].pop("nll"))
    [page] = write_sweep(tmp_path)
    assert "| good |" in page.read_text() and "Not used: `ConvNet/bad`, as metrics.json lacks val.nll" in (
        page.read_text()
    )


def test_the_runs_of_this_repository_fit_the_schema():
    results = Path(compare.__file__).parent / "results"
    folders = [path.parent for path in results.glob("*/seed*/metrics.json")]  # not the user's own beside them
    folders += [path.parent for path in results.glob("studies/*/*/*/metrics.json")]
    assert len(folders) > 5
    for folder in folders:
        assert records.numbers(folder)["model"] == folder.parent.name
        assert records.options(folder) == json.loads((folder / "options.json").read_text())
        assert len(records.log(folder)) == records.numbers(folder)["epochs"]
        assert records.predictions(folder).probabilities.shape == (3068, 7)
