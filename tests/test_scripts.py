"""The six real scripts, run as a user runs them, on drawn faces. python -m pytest tests/test_scripts.py"""

import ast
import csv
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import models
from ferlab.options import Options
from ferlab.training.run_folder import FILES

ROOT = Path(__file__).parents[1]
SCRIPTS = {
    "train_ConvNet.py": ("ConvNet", 40),
    "train_ResNet.py": ("ResNet18", 32),
    "train_VGG16.py": ("VGG16", 32),
    "train_GoogLeNet.py": ("GoogLeNet", 32),
    "train_ViT-B16.py": ("ViT-B16", 32),
    "train_ViT-mod.py": ("ViT-mod", 20),
}


def start(script, *argv, **environment):
    return subprocess.run(
        [sys.executable, script, *map(str, argv)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=300,
    )


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_trains_and_writes_its_run(script, drawn, tmp_path):
    name, size = SCRIPTS[script]
    done = start(
        script,
        "--data",
        drawn,
        "--output",
        tmp_path,
        "--weights",
        "none",
        "--image-size",
        size,
        "--epochs",
        1,
        "--batch-size",
        32,
        "--ema",
        0,
        "--device",
        "cpu",
    )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / name / "drawn-seed0"
    assert sorted(p.name for p in folder.iterdir()) == sorted(FILES)
    numbers = json.loads((folder / "metrics.json").read_text())
    assert numbers["model"] == name and numbers["test"]["n"] == 70 and sum(numbers["counts"]["test"]) == 70
    with open(folder / "predictions.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 70 and all(abs(sum(float(row[k]) for k in list(row)[2:]) - 1) < 1e-4 for row in rows)
    assert "drawn faces" in done.stdout and str(folder / "curves.png") in done.stdout
    assert done.stderr == ""
    built = models.load(folder / "best_model.pth").built
    assert built == {"name": name, "num_classes": 7, "image_size": size}
    shutil.rmtree(folder)  # some are gigabytes


@pytest.mark.parametrize("script", SCRIPTS)
def test_recipes_are_valid_and_the_scripts_differ_only_in_them(script):
    name, _ = SCRIPTS[script]
    found = runpy.run_path(str(ROOT / script))  # importing it does nothing
    expected = ["imagenet", "none"] if models.has_imagenet(name) else ["none"]
    assert list(found["RECIPES"]) == expected
    known = {f.name for f in fields(Options)} - {"weights"}
    assert all(set(recipe) <= known for recipe in found["RECIPES"].values())
    text = (ROOT / script).read_text()
    assert len(text.splitlines()) <= 27

    def shape(source):
        tree = ast.parse(source)
        tree.body = [node for node in tree.body[1:] if not isinstance(node, ast.Assign)]
        return ast.dump(tree)

    reference = (ROOT / "train_ConvNet.py").read_text().replace('"ConvNet"', f'"{name}"')
    assert shape(text) == shape(reference)


def test_missing_data(tmp_path):
    done = start("train_ConvNet.py", "--data", tmp_path / "nothing", "--output", tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for part in (str(tmp_path / "nothing"), "DATASET/train/1/", "setup_dataset.ipynb", "--data synthetic"):
        assert part in done.stderr
    assert not (tmp_path / "ConvNet").exists()


def test_missing_data_is_said_before_weights_are_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    done = start("train_ResNet.py", "--data", tmp_path / "nothing", "--output", tmp_path)
    assert done.returncode == 2 and f"{tmp_path / 'nothing'} does not exist" in done.stderr


def test_make_says_that_there_is_no_python(tmp_path):
    for file in ("Makefile", "requirements.txt"):
        shutil.copy(ROOT / file, tmp_path)
    done = subprocess.run(["make", "train", "PYTHON=nopython"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0 and "There is no nopython here" in done.stdout


def test_wrong_flag_ends_in_one_line():
    done = start("train_ResNet.py", "--epoch", "3")
    assert done.returncode == 2
    assert done.stderr.strip() == "error: there is no option --epoch; did you mean --epochs?"


def test_sigterm_saves_and_resume_goes_on(drawn, tmp_path):
    argv = ["--data", drawn, "--output", tmp_path, "--epochs", 400, "--image-size", 40, "--device", "cpu"]
    process = subprocess.Popen(
        [sys.executable, "train_ConvNet.py", *map(str, argv)],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    for line in process.stdout:
        if re.match(r"\s+3 ", line):  # the third epoch's row
            process.terminate()
            break
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert re.match(r"stopped: by SIGTERM .*--resume\n$", errors)
    done = start("train_ConvNet.py", *argv[:4], "--name", "drawn-seed0", "--resume", "--finish")
    assert done.returncode == 0, done.stderr
    with open(tmp_path / "ConvNet/drawn-seed0/log.csv") as file:
        epochs = [int(row["epoch"]) for row in csv.DictReader(file)]
    assert epochs == list(range(1, len(epochs) + 1)) and len(epochs) >= 3


def test_readme_commands_exist():
    """Every script, flag and make target that the README shows is there."""
    readme = (ROOT / "README.md").read_text()
    blocks, words = re.findall(r"```(?:bash|sh)\n(.*?)```", readme, re.S), re.findall(r"`([^`\n]+)`", readme)
    code = "\n".join(blocks + words)
    for script in set(re.findall(r"(?:python|torchrun [^\n]*?) ([\w./-]+\.py)", code)):
        assert (ROOT / script).is_file(), script
    targets = set(re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"\bmake (\w+)", code)) <= targets
    flags = {"--" + f.name.replace("_", "-") for f in fields(Options)}
    for command in re.findall(r"python (predict.py [^\n]*)", code):
        assert set(re.findall(r"--[\w-]+", command)) <= set(
            re.findall(r'"(--[\w-]+)"', (ROOT / "predict.py").read_text())
        ), command
    for command in re.findall(r"(?:python|torchrun)[^\n]* train_[^\n]*", code):
        shown = set(re.findall(r"(--[\w-]+)", command.split("train_", 1)[1]))
        assert shown <= flags, command
    assert {"train", "test"} <= targets
