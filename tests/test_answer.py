"""The answer in words, ensembles, training compute, and what compare.py may write, on runs made by hand."""

import csv
import re
import shutil

import numpy as np
import pytest
from runs import edit, make_run, many, row, run_compare, section, spread

import compare
from ferlab.analysis import plots
from ferlab.analysis.answer import answer, in_words
from ferlab.analysis.pages import published
from ferlab.analysis.runs import collect
from ferlab.analysis.significance import METRICS
from ferlab.analysis.studies import STUDIES
from ferlab.data.rafdb import CLASS_NAMES
from ferlab.errors import UserError
from ferlab.files import write_packed
from ferlab.training.report import to_csv
from models import NAMES
from train_function import script_options

MARKED = "<!-- results -->\n<!-- /results -->\n"


def said_of(sections, studies):
    """The answer's lines."""
    return answer(sections, studies, in_words(studies))


def log_sizes(folder, sizes):
    """Add the column image_size to a run's log.csv."""
    header, *rows = csv.reader((folder / "log.csv").read_text().splitlines())
    with open(folder / "log.csv", "w", newline="") as file:
        csv.writer(file).writerows([[*header, "image_size"], *([*r, n] for r, n in zip(rows, sizes))])


def test_training_compute_follows_the_size_of_every_epoch(tmp_path):
    folder = make_run(tmp_path, "ResNet18", epochs=4, image_size=96, start_size=48)
    full = 3 * 0.5e9 * 700 * 4 / 1e15
    assert section(tmp_path).groups[0].petaflops == pytest.approx(full)  # a log of old: all at full size
    log_sizes(folder, [48, 48, 96, 96])
    assert section(tmp_path).groups[0].petaflops == pytest.approx(full * (2 * 0.25 + 2) / 4)


def test_training_compute_follows_the_share_of_patches(tmp_path):
    make_run(tmp_path, "ViT-mod", epochs=4, patch_keep=0.5)
    found = section(tmp_path).groups[0]
    assert found.petaflops == pytest.approx(3 * 0.5e9 * 700 * 4 / 1e15 / 2)
    assert "patch keep 0.5" in found.label


def test_options_older_than_progressive_resizing_are_read_as_without_it(tmp_path):
    for seed in (0, 1):
        make_run(tmp_path, "ResNet18", seed=seed, start_size=32)
    make_run(tmp_path, seed=2, test=False)  # test numbers are there: how it was called is no recipe
    make_run(tmp_path, seed=3)
    new = "start_size", "patch_keep", "test"
    edit(tmp_path / "ConvNet" / "seed3" / "options.json", lambda options: [options.pop(key) for key in new])
    found = {group.label: group.seeds for group in collect(tmp_path, script_options)[0]}
    assert found.pop("ConvNet") == "2, 3"
    assert found == {"ResNet18 (start size 32)": "0, 1"}  # the script's recipe has none
    table = "\n".join(part.markdown() for part in section(tmp_path).parts() if hasattr(part, "markdown"))
    assert "| Start size | 0 | 32 |" in table and "| Patch keep | 1 | 1 |" in table


def test_an_ensemble_averages_models_and_not_runs(tmp_path):
    """Three seeds of one model are wrong on images on which the other is right, and surer."""
    for seed in range(3):
        make_run(tmp_path, "ConvNet", seed=seed, predicted=spread(30), sure=0.5)
    make_run(tmp_path, "ResNet18", predicted=spread(7), sure=0.9)
    found = section(tmp_path)
    [ensemble] = found.ensembles
    assert ensemble.label == "Ensemble of 2" and ensemble.values("accuracy") == pytest.approx(63 / 70)
    cells = row(found.parts()[1].markdown(), "Ensemble of 2")
    assert cells[1] == "4 runs" and cells[2].startswith("90.00 [")
    low, high = map(float, cells[2].split("[")[1].rstrip("]").split(", "))
    assert 80 < low < 88 and 92 < high < 99
    assert all("Ensemble" not in (claim.first + claim.second) for claim in found.claims)
    assert row(compare.summary([found], tmp_path, lambda sections: []), "Ensemble of 2")[2].startswith(
        "90.00 ["
    )


def test_the_small_ensemble_is_chosen_on_val(tmp_path):
    vals = {"ConvNet": 0.9, "ResNet18": 0.5, "VGG16": 0.8, "GoogLeNet": 0.7}
    for model, val in vals.items():
        make_run(tmp_path, model, val=val, predicted=spread(0 if model == "ResNet18" else 20))
    assert [one.label for one in section(tmp_path).ensembles] == [
        "Ensemble of 4",
        "Ensemble of the best 3 on val (ConvNet, VGG16 and GoogLeNet)",
    ]
    (tmp_path / "ConvNet").rename(tmp_path / "studies")
    assert [one.label for one in section(tmp_path).ensembles] == ["Ensemble of 3"]


def test_the_answer_ranks_only_what_the_tests_rank(tmp_path):
    for model, right in (("ConvNet", 0.85), ("ResNet18", 0.85), ("ViT-mod", 0.6)):
        many(tmp_path, model, right)
    for model, gflops in (("ConvNet", 0.1), ("ResNet18", 5.0), ("ViT-mod", 0.01)):
        for seed in range(3):
            path = tmp_path / model / f"seed{seed}" / "metrics.json"
            edit(path, lambda numbers: numbers["cost"].update(gflops=gflops))
    said = said_of([section(tmp_path)], {})[0]
    assert said.startswith("- **Architectures.** From scratch, 3 seeds each, highest: ")
    assert (
        "does not differ significantly from ResNet18" in said
        or "does not differ significantly from ConvNet" in said
    )
    assert "better than ResNet18" not in said and "better than ConvNet" not in said
    assert "and is better than ViT-mod" in said
    assert (
        "The best CNN on val minus the best transformer on val, each by its own recipe: " in said
        and " minus ViT-mod, +" in said
    )
    cost = said_of([section(tmp_path)], {})[4]
    assert (
        cost.startswith("- **Cost.** ")
        and "does not differ significantly from the highest: ConvNet with " in cost
    )
    assert "ConvNet 10.0, ResNet18 10.0, ViT-mod 10.0, these 3 together 30.0, on a chip" in cost


def test_the_answer_says_one_seed(tmp_path):
    for model, right in (("ConvNet", 0.5), ("ResNet18", 0.9)):
        many(tmp_path, model, right, seeds=1)
    said = said_of([section(tmp_path)], {})[0]
    assert "From scratch, one seed each, highest: ResNet18 with " in said
    assert (
        "ResNet18 is better as trained than ConvNet in accuracy and balanced accuracy. As trained: " in said
    )
    assert "transformer" not in said


def test_the_answer_on_studies_is_in_their_runs_or_not_run_yet(tmp_path):
    make_run(tmp_path)
    for pixels, right in ((100, 0.9), (64, 0.9), (16, 0.4)):
        many(tmp_path / "studies" / "resolution", "ConvNet", right, seeds=2, resolution=pixels)
        for seed in (0, 1):
            folder = tmp_path / "studies" / "resolution" / "ConvNet"
            (folder / f"seed{seed}").rename(folder / f"{pixels}-seed{seed}")
    groups = collect(tmp_path / "studies" / "resolution", script_options, varied=["resolution"])[0]
    lines = said_of([section(tmp_path)], {"resolution": groups})
    names = [line.split("**")[1] for line in lines]
    assert names == [
        *("Architectures.", "Low resolution.", "Class imbalance.", "Few samples.", "Cost.", "Not run.")
    ]
    assert "From scratch only ConvNet has run, one seed: 100.0 % accuracy (balanced 100.0 %)." in lines[0]
    by_pixels = {group.first.options["resolution"]: group for group in groups}
    means = {n: [100 * group.values(key).mean() for key in METRICS] for n, group in by_pixels.items()}
    gaps = {n: [f"{a - b:+.1f}".replace("-", "−") for a, b in zip(means[n], means[100])] for n in (64, 16)}
    assert lines[1] == (
        "- **Low resolution.** Test accuracy (balanced accuracy), % with faces of 100 pixels, then points "
        "above or below that:\n  - ConvNet, input 100 pixels, 2 seeds each: "
        f"{means[100][0]:.1f} ({means[100][1]:.1f}); 64 pixels {gaps[64][0]} ({gaps[64][1]}), "
        f"16 pixels **{gaps[16][0]}** (**{gaps[16][1]}**)."
    )
    assert lines[2:4] == ["- **Class imbalance.** Not run yet.", "- **Few samples.** Not run yet."]
    assert lines[4] == (
        "- **Cost.** Minutes for one seed from scratch: ConvNet 10.0 on a chip, 2 threads, fp32. All 7 runs, "
        "studies included, together 1.2 hours."
    )
    assert (
        "; low resolution with any model but ConvNet; few samples and class imbalance with any model; low "
        "resolution of ConvNet with 48 pixels, 32 pixels and 24 pixels." in lines[5]
    )
    alone = said_of([section(tmp_path)], {"resolution": [by_pixels[64], by_pixels[16]]})[1]
    assert alone.endswith("\n  - ConvNet: not compared yet.")
    many(tmp_path / "studies" / "resolution", "ConvNet", 0.9, seeds=1, resolution=80)  # no setting of it
    groups = collect(tmp_path / "studies" / "resolution", script_options, varied=["resolution"])[0]
    assert len(groups) == 4 and in_words({"resolution": groups})["Low resolution"][0] in lines[1]
    [other] = [group for group in groups if group not in by_pixels.values() and group.seeds == "0"]
    assert in_words({"resolution": [other]})["Low resolution"][0].endswith(
        ":\n  - ConvNet: not compared yet."
    )


def test_the_answer_on_faces_that_training_did_not_see(tmp_path):
    """At 16 pixels, what was trained at 100 is always wrong, what was trained at 16 right on 53 of 70."""
    make_run(tmp_path)
    root = tmp_path / "studies" / "resolution"
    for pixels, wrong in ((100, 0), (64, 0), (16, 17)):
        folder = make_run(root, name=f"{pixels}", resolution=pixels, predicted=spread(wrong))
    names = [CLASS_NAMES[i] for i in (np.arange(70) + 1) % 7]
    rows = [[f"test_{i:04d}", CLASS_NAMES[(i - 1) % 7], *[names[i - 1]] * 5] for i in range(1, 71)]
    header = ["image", "label", *STUDIES["resolution"].settings[1:]]
    write_packed(root / "ConvNet/100/degraded.csv", to_csv(header, rows).encode())

    def said() -> str:
        groups = collect(root, script_options, varied=["resolution"])[0]
        return said_of([section(tmp_path)], {"resolution": groups})[1]

    change = f"{-100 * 53 / 70:.1f}".replace("-", "−")
    compared = "; trained at 100 and tested at 16 pixels, against trained at 16 pixels"
    assert f"{compared}: **{change}** (**{change}**)." in said()
    shutil.rmtree(folder)
    assert said().endswith("; 64 pixels +0.0 (+0.0).")


def test_the_answer_on_strategies_marks_what_is_significant(tmp_path):
    root = tmp_path / "balance"
    wrong = {"none": (20, 0.8), "sampler": (0, 0.7), "class-balanced": (8, 0.6), "focal": (21, 0.9)}
    for strategy, (images, val) in wrong.items():
        make_run(root, name=strategy, balance=strategy, predicted=spread(images), val=val)
    [said] = in_words({"balance": collect(root, script_options, varied=["balance"])[0]})["Class imbalance"]
    assert (
        "% with `none`, then points above or below that:\n  - ConvNet, one seed each: 71.4 (71.4); " in said
    )
    gains = [
        points[:2] for points in re.findall(r"`([a-z-]+)` (\*{0,2}[+−][0-9.]+\*{0,2}) \(([^)]+)\)", said)
    ]
    assert gains == [("sampler", "**+28.6**"), ("class-balanced", "*+17.1*"), ("focal", "−1.4")]
    assert said.endswith("; highest macro-F1 on val: `focal`.")


def test_others_numbers_stand_at_the_end_of_the_page(tmp_path, monkeypatch, capsys):
    (tmp_path / "results").mkdir()
    run_compare(monkeypatch, capsys, tmp_path / "results")
    end = (tmp_path / "results" / "README.md").read_text().split("## What others report on RAF-DB")[1]
    assert "Other people's numbers, not re-run here" in end and "##" not in end
    assert row(end, "ResNet18")[1:5] == ["none", "80.15", "72.13", "not stated"]
    for cells in published(compare.PUBLISHED).rows:
        assert 40 < float(cells[2]) < 95 and cells[4] in ("test", "val", "not stated") and cells[5]
    (tmp_path / "broken.csv").write_text("model,accuracy\nx,1\n")
    for name in ("broken.csv", "nothing.csv"):
        with pytest.raises(UserError, match="restore it"):
            published(tmp_path / name)


def test_a_foreign_model_costs_neither_a_traceback_nor_pictures(tmp_path, monkeypatch, capsys):
    results = tmp_path / "results"
    make_run(results)
    run_compare(monkeypatch, capsys, results)
    before = {path.name: path.read_bytes() for path in (results / "plots").iterdir()}
    make_run(results, "ViT-B16", name="mine").rename(results / "mine")
    (results / "MyNet").mkdir()
    (results / "mine").rename(results / "MyNet" / "seed0")
    (results / "plots" / "mynet.png").write_bytes(b"mine")
    assert "folders not used: 1" in run_compare(monkeypatch, capsys, results)
    assert "`MyNet/seed0`: MyNet is not a model of this suite" in (results / "README.md").read_text()
    after = {path.name: path.read_bytes() for path in (results / "plots").iterdir()}
    assert after == {**before, "mynet.png": b"mine"}


@pytest.mark.parametrize("broken", ["picture", "readme", "page"])
def test_nothing_is_written_where_something_fails(tmp_path, monkeypatch, capsys, broken):
    results, readme = tmp_path / "results", tmp_path / "README.md"
    readme.write_text(MARKED)
    make_run(results)
    run_compare(monkeypatch, capsys, results, "--readme")
    make_run(results, seed=1, predicted=spread(7))
    if broken == "picture":
        monkeypatch.setattr(plots, "all_curves", lambda *_, **__: 1 / 0)
    else:
        (readme if broken == "readme" else results / "README.md").write_text("somebody's own\n")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises((SystemExit, ZeroDivisionError)):
        run_compare(monkeypatch, capsys, results, "--readme")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_runs_that_depart_from_the_recipe_stay_out_of_the_front_table(tmp_path, monkeypatch, capsys):
    results, readme = tmp_path / "results", tmp_path / "README.md"
    readme.write_text(MARKED)
    make_run(results, predicted=spread(7), val=0.5)
    make_run(results, name="focal", predicted=spread(14), val=0.9, balance="focal")
    make_run(results, "VGG16", predicted=spread(21), epochs=3)
    run_compare(monkeypatch, capsys, results, "--readme")
    text, page = readme.read_text(), (results / "README.md").read_text()
    assert row(text, "ConvNet")[2].startswith("90.00") and row(text, "VGG16")[2:] == [""] * 6
    assert "Ensemble" not in text and "focal" not in text
    assert "| Ensemble of 2 |" in page and "| ConvNet (balance focal) |" in page
    assert set(NAMES) <= {line.split(" ")[1] for line in text.splitlines() if line.startswith("| ")}


def test_an_ensemble_of_equal_models_is_that_model(tmp_path):
    predicted = np.where(np.arange(70) < 7, (np.arange(70) + 1) % 7, np.arange(70) % 7)
    for model in ("ConvNet", "VGG16"):
        make_run(tmp_path, model, predicted=predicted)
    found = section(tmp_path)
    for key in ("accuracy", "balanced_accuracy", "macro_f1", "ece", "nll", "top2"):
        assert found.ensembles[0].values(key) == pytest.approx(found.groups[0].values(key))
