"""A seventh architecture is one file, one entry and one script: then all that the suite does works for it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODEL = '''"""MobileNetV3-small: Howard et al., ICCV 2019, https://arxiv.org/abs/1905.02244"""

import torchvision
from torch import nn

WEIGHTS = torchvision.models.MobileNet_V3_Small_Weights.IMAGENET1K_V1
HEADS = ("classifier.3.",)


def mobilenet(*, num_classes: int, image_size: int) -> nn.Module:
    """torchvision's MobileNetV3-small with new weights; any image_size of 32 or more."""
    return torchvision.models.mobilenet_v3_small(num_classes=num_classes)
'''
ENTRY = (
    '    "MobileNet": Architecture(\n        MobileNet.mobilenet, "train_MobileNet.py", 224, "#8C5A2B", "h", '
    'maps="features", imagenet=MobileNet, any_size=True\n    ),\n'
)
LOOK = """
import torch
import models
from ferlab.inference import notebook
from ferlab.inference.explain import explain
model = models.load("out/MobileNet/drawn-seed0/best_model.pth")
maps = explain(model, torch.randint(0, 256, (2, 3, 100, 100), dtype=torch.uint8))
assert maps.shape == (2, 100, 100)
shown = notebook.overview(notebook.trained_models("out")).data
assert shown.loc["MobileNet", "trained on"].startswith("drawn faces"), shown
"""


@pytest.fixture
def repository(tmp_path) -> Path:
    """A copy of the suite with the three steps that CONTRIBUTING.md shows."""
    root = tmp_path / "suite"
    shutil.copytree(ROOT / "ferlab", root / "ferlab", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "models", root / "models", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "docs", root / "docs")
    for file in [*ROOT.glob("*.py"), ROOT / "requirements.txt"]:
        shutil.copy(file, root)
    (root / "models/MobileNet.py").write_text(MODEL)
    registry = (root / "models/__init__.py").read_text()
    registry = registry.replace("from models import ", "from models import MobileNet, ", 1)
    (root / "models/__init__.py").write_text(registry.replace("}\nNAMES", f"{ENTRY}}}\nNAMES", 1))
    script = (root / "train_ResNet.py").read_text().replace("ResNet18", "MobileNet")
    (root / "train_MobileNet.py").write_text(script)
    return root


def test_a_seventh_model_trains_compares_explains_and_shows(repository, drawn):
    def python(*words: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, *words], cwd=repository, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    recipe = ["--weights", "none", "--epochs", "1", "--image-size", "32", "--batch-size", "32"]
    python("train_MobileNet.py", "--data", str(drawn), "--output", "out", *recipe)
    python("compare.py", "out")
    assert "MobileNet" in (repository / "out/README.md").read_text()
    python("-c", LOOK)
