"""compare.py on run folders made by hand, whose truth is known."""

import dataclasses
import functools
import json

import numpy as np
import pytest
from runs import edit, left_out, make_run, many, row, run_compare, section, spread

import compare
from ferlab.analysis import plots
from ferlab.analysis.runs import collect
from ferlab.analysis.tables import between
from ferlab.data.rafdb import COUNTS
from ferlab.errors import UserError
from models import ARCHITECTURES
from train_function import script_options


def test_mean_and_deviation_over_seeds_by_hand(tmp_path):
    for seed, wrong in enumerate((7, 14, 21)):
        make_run(tmp_path, seed=seed, predicted=spread(wrong))
    found = section(tmp_path)
    cell = found.score(found.groups[0], "accuracy")
    assert cell.startswith("80.00 ± 10.00 [")  # 90, 80 and 70 %
    low, high = map(float, cell.split("[")[1].rstrip("]").split(", "))
    assert 65 < low < 75 and 85 < high < 95
    assert found.score(found.groups[0], "balanced_accuracy").startswith("80.00 ± 10.00")


def test_one_seed_has_no_deviation(tmp_path):
    make_run(tmp_path, predicted=spread(7))
    found = section(tmp_path)
    assert found.score(found.groups[0], "accuracy").startswith("90.00 [")


def test_runs_group_by_recipe_and_by_nothing_else(tmp_path):
    make_run(tmp_path, seed=0)
    make_run(tmp_path, seed=1, device="cuda", output="elsewhere", data="raf-db.zip", compile=True)
    make_run(tmp_path, seed=2, name="other-name", amp="bf16", warmup_epochs=2.0)  # the script says 2
    make_run(tmp_path, seed=0, name="lr", lr=0.25)
    make_run(tmp_path, seed=0, name="short", epochs=2)
    groups, unused = collect(tmp_path, script_options)
    recipe = vars(script_options("ConvNet", []))
    seeds = {group.label: [run.options["seed"] for run in group.runs] for group in groups}
    assert seeds == {
        "ConvNet": [0, 1, 2],
        "ConvNet (lr 0.25)": [0],
        f"ConvNet (2 epochs instead of {recipe['epochs']})": [0],
    }
    assert unused == []


def test_pretrained_models_and_drawn_faces_stand_apart(tmp_path, monkeypatch, capsys):
    results = tmp_path / "results"
    make_run(results, "ResNet18", predicted=spread(7))
    make_run(results, "ResNet18", name="pretrained", weights="imagenet", predicted=spread(14))
    make_run(results, "ConvNet", name="drawn-seed0", drawn=True, predicted=spread(21))
    printed = run_compare(monkeypatch, capsys, results)
    page, drawn = (results / "README.md").read_text(), (results / "drawn.md").read_text()
    scratch, pretrained = page.split("## Models from ImageNet weights")
    assert "90.00" in scratch and "80.00" not in scratch
    assert "80.00" in pretrained and "90.00" not in pretrained
    assert row(printed, "ResNet18")[2:] == [
        *(*row(scratch, "ResNet18")[2:4], "0.500", "64", "30", "1"),
        *(*row(pretrained, "ResNet18")[2:4], "0.500", "224", "30", "1"),
    ]
    assert "70.00" in drawn and "drawn faces, not RAF-DB" in drawn
    assert "70.00" not in page + printed and row(printed, "ConvNet")[2:] == [""] * 12
    for name in ("overview", "recall-scratch", "recall-imagenet", "drawn-recall-scratch"):
        assert (results / "plots" / f"{name}.png").exists()


def test_the_tests_rank_the_better_model_and_never_what_the_data_cannot_tell(tmp_path):
    many(tmp_path, "ConvNet", 0.60)
    many(tmp_path, "ResNet18", 0.85)
    many(tmp_path, "VGG16", 0.85)
    found = {(claim.metric, *claim[1:3]): claim.conclusion for claim in section(tmp_path).claims}
    for metric in ("accuracy", "balanced_accuracy"):
        assert found[metric, "ResNet18", "ConvNet"] == found[metric, "VGG16", "ConvNet"] == "better"
        equal = found.get((metric, "VGG16", "ResNet18")) or found[metric, "ResNet18", "VGG16"]
        assert equal == "not significant"


def test_val_and_not_the_test_set_chooses_among_recipes(tmp_path):
    make_run(tmp_path, name="good-on-val", val=0.8, predicted=spread(14))
    make_run(tmp_path, name="lucky-on-test", val=0.7, predicted=spread(0), balance="focal")
    found = section(tmp_path)
    assert list(found.chosen) == ["ConvNet"]
    assert row(compare.summary([found], tmp_path, lambda sections: []), "ConvNet")[3].startswith("80.00")


def test_a_shortened_recipe_is_named_wherever_its_numbers_stand(tmp_path):
    make_run(tmp_path, epochs=3, predicted=spread(7))
    found = section(tmp_path)
    text = "\n".join(part.markdown() for part in found.parts() if hasattr(part, "markdown"))
    epochs = script_options("ConvNet", []).epochs
    assert f"| ConvNet (3 epochs instead of {epochs}) |" in text and "| ConvNet |" not in text
    assert compare.front([found]) == [] and "90" not in compare.summary([], tmp_path, lambda sections: [])


@pytest.mark.parametrize(
    "path, value",
    [
        ("epochs", None),
        ("epochs", 2),
        ("test", None),
        ("test", "x"),
        ("test.top2", 0.1),
        ("cost.gflops", None),
        ("cost.latency_ms", float("nan")),
        ("val.macro_f1", None),
        ("counts.train", None),
        ("counts", 3),
        ("counts.train", ["x"]),
        ("environment.gpu", 3),
        ("test.per_class", {}),
    ],
)
def test_damaged_numbers_are_listed_and_break_nothing(tmp_path, path, value):
    numbers = json.loads(((folder := make_run(tmp_path)) / "metrics.json").read_text())
    *parents, last = path.split(".")
    functools.reduce(dict.__getitem__, parents, numbers)[last] = value
    (folder / "metrics.json").write_text(json.dumps(numbers))
    assert list(left_out(tmp_path)) == ["ConvNet/seed0"]


def test_a_rerun_does_not_displace_the_published_run(tmp_path):
    make_run(tmp_path)
    make_run(tmp_path, name="rerun-seed0")
    [(folder, reason)] = left_out(tmp_path).items()
    assert folder == "ConvNet/rerun-seed0" and reason.startswith("the recipe and seed of seed0 again")


def test_runs_on_other_test_images_do_not_outvote_rafdb_s(tmp_path):
    official = np.repeat(np.arange(7), COUNTS["test"])
    make_run(tmp_path, labels=official, predicted=official)
    for seed in (1, 2, 3):
        make_run(tmp_path, seed=seed)
    assert sorted(left_out(tmp_path)) == [f"ConvNet/seed{seed}" for seed in (1, 2, 3)]


def test_what_is_missing_unfinished_or_foreign_is_listed_with_its_reason(tmp_path):
    for seed in range(3):
        make_run(tmp_path, seed=seed)
    (make_run(tmp_path, name="unfinished") / "metrics.json").unlink()
    (make_run(tmp_path, name="no-predictions") / "predictions.csv").unlink()
    (make_run(tmp_path, name="no-log") / "log.csv").write_text("")
    (make_run(tmp_path, name="broken") / "metrics.json").write_text("{")
    make_run(tmp_path, name="seed0-again")
    make_run(tmp_path, name="other-test-set", seed=7, labels=np.arange(77) % 7)
    make_run(tmp_path, "VGG16", name="moved").rename(tmp_path / "ConvNet" / "moved")
    make_run(tmp_path, "ConvNet", name="unknown").rename(tmp_path / "unknown")
    (tmp_path / "Other").mkdir()
    (tmp_path / "unknown").rename(tmp_path / "Other" / "run")
    tampered = make_run(tmp_path, name="tampered", seed=8)
    numbers = json.loads((tampered / "metrics.json").read_text())
    numbers["test"]["accuracy"] -= 0.01
    (tampered / "metrics.json").write_text(json.dumps(numbers))
    doubled = make_run(tmp_path, name="doubled", seed=9) / "predictions.csv"
    doubled.write_text(doubled.read_text() + doubled.read_text().splitlines()[1] + "\n")
    epochs = script_options("ConvNet", []).epochs
    reasons = left_out(tmp_path)
    expected = {
        "ConvNet/unfinished": f"unfinished: {epochs} of {epochs} epochs",
        "ConvNet/no-log": "log.csv",
        "ConvNet/no-predictions": "predictions.csv",
        "ConvNet/broken": "metrics.json cannot be read",
        "ConvNet/seed0-again": "a seed counts once",
        "ConvNet/other-test-set": "another test set (77 images)",
        "ConvNet/moved": "is of VGG16",
        "Other/run": "not a model of this suite",
        "ConvNet/tampered": "do not follow from predictions.csv",
        "ConvNet/doubled": "the same one twice",
    }
    assert reasons.keys() == expected.keys()
    for name, part in expected.items():
        assert part in reasons[name]
    assert [run.folder.name for run in section(tmp_path).groups[0].runs][1:] == ["seed1", "seed2"]


def test_studies_and_sweeps_are_no_part_of_the_comparison(tmp_path):
    make_run(tmp_path)
    for folder in ("studies", "sweeps"):
        make_run(tmp_path / folder / "balance", name="focal-seed0", balance="focal")
    groups, unused = collect(tmp_path, script_options)
    assert len(groups) == 1 and unused == []


def test_tables_and_pictures_follow_the_folders(tmp_path, monkeypatch, capsys):
    results, readme = tmp_path / "results", tmp_path / "README.md"
    before, after = "# Title\n\nabove\n<!-- results -->", "<!-- /results -->\n\nbelow\n"
    readme.write_text(f"{before}\nold numbers\n{after}")
    results.mkdir()
    assert "no finished run on RAF-DB" in run_compare(monkeypatch, capsys, results, "--readme")
    assert readme.read_text() == f"{before}\n{compare.NOTHING}\n{after}"

    first = make_run(results, predicted=spread(7))
    run_compare(monkeypatch, capsys, results)
    assert compare.NOTHING in readme.read_text()  # it changes only when that is asked for
    run_compare(monkeypatch, capsys, results, "--readme")
    text = readme.read_text()
    assert text.startswith(before) and text.endswith(after) and "old numbers" not in text
    assert row(text, "ConvNet")[2].startswith("90.00") and row(text, "ResNet18")[2:] == [""] * 6
    assert "- No finished run from scratch: GoogLeNet, ResNet18" in (results / "README.md").read_text()
    assert (results / "plots" / "curves-scratch.png").exists()

    second = make_run(results, seed=1, predicted=spread(21))
    run_compare(monkeypatch, capsys, results, "--readme")
    assert row(readme.read_text(), "ConvNet")[3].startswith("80.00 ± 14.14")

    for folder in (first, second):
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    run_compare(monkeypatch, capsys, results, "--readme")
    assert compare.NOTHING in readme.read_text() and compare.NOTHING in (results / "README.md").read_text()
    assert list((results / "plots").iterdir()) == []


def test_a_readme_without_both_marks_is_left_alone(tmp_path):
    readme = tmp_path / "README.md"
    for text in ("no marks\n", "<!-- results -->\nonly the first\n"):
        readme.write_text(text)
        with pytest.raises(UserError, match="once each: numbers go between them"):
            between(readme, compare.MARKS, "numbers")


def test_latex_is_printed_and_nothing_is_written(tmp_path, monkeypatch, capsys):
    make_run(tmp_path / "results", predicted=spread(7), seed=0)
    make_run(tmp_path / "results", predicted=spread(7), seed=1)
    text = run_compare(monkeypatch, capsys, tmp_path / "results", "--format", "latex")
    assert r"\caption{Overall, \%, models from scratch.}" in text
    assert r"ConvNet & 0, 1 & 90.00 $\pm$ 0.00 [" in text
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 8
    assert "±" not in text and "→" not in text
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["ConvNet"]


def test_a_folder_that_is_not_there_is_the_users_mistake(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["compare.py", str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit) as stopped:
        compare.main()
    assert stopped.value.code == 2
    assert "nowhere" in capsys.readouterr().err


def test_training_compute_by_hand(tmp_path):
    make_run(tmp_path, epochs=10)  # 0.5 GFLOPs forward, 700 images
    assert section(tmp_path).groups[0].petaflops == pytest.approx(3 * 0.5e9 * 700 * 10 / 1e15)


def test_a_run_without_test_scores_is_left_out(tmp_path):
    edit(make_run(tmp_path) / "metrics.json", lambda numbers: numbers.pop("test"))
    assert left_out(tmp_path) == {"ConvNet/seed0": "it has no test scores (--no-test)"}


def test_a_new_model_without_a_script_or_a_colour_is_left_out(tmp_path, monkeypatch):
    make_run(tmp_path)
    new = dataclasses.replace(ARCHITECTURES["ConvNet"], script="train_New.py")
    monkeypatch.setitem(ARCHITECTURES, "ConvNet", new)
    assert left_out(tmp_path) == {"ConvNet/seed0": "there is no train_New.py to tell its recipe"}
    assert plots.marker("New") not in plots.MODELS.values()
