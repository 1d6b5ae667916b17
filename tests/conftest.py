"""What the tests share: a cache of their own, and a small drawn dataset in the three forms it can come in."""

import csv
import shutil
import zipfile
from pathlib import Path

import pytest

from ferlab.options import Options
from ferlab.synthetic.dataset import draw_dataset

ROOT = Path(__file__).parents[1]
REAL = ("raf-db-dataset", "raf-db-dataset.zip")


LONGEST = ("learning", "resume", "scripts", "study", "notebooks", "sweep")  # files of tests that take minutes


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that no process is still at one when the others have nothing left."""
    items.sort(key=lambda item: item.path.stem.removeprefix("test_") not in LONGEST)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory) -> Path:
    """A cache folder for this session only, for subprocesses too: the user's own is never touched."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def drawn(tmp_path_factory) -> Path:
    """140 training and 70 test faces, drawn, in the Kaggle layout. Copy the folder before changing it."""
    return draw_dataset(tmp_path_factory.mktemp("drawn") / "raf-db-dataset", train=140, test=70)


@pytest.fixture(scope="session")
def official(drawn, tmp_path_factory) -> Path:
    """The same images and labels, laid out as the official release."""
    root = tmp_path_factory.mktemp("official")
    aligned, labels = root / "basic/Image/aligned", root / "basic/EmoLabel"
    aligned.mkdir(parents=True)
    labels.mkdir()
    lines = []
    for split in ("train", "test"):
        with open(drawn / f"{split}_labels.csv", newline="") as file:
            for row in csv.DictReader(file):
                shutil.copy2(drawn / "DATASET" / split / row["label"] / row["image"], aligned)
                lines.append(f"{row['image'].replace('_aligned', '')} {row['label']}\n")
    (labels / "list_patition_label.txt").write_text("".join(lines))
    return root


@pytest.fixture(scope="session")
def kaggle_zip(drawn, tmp_path_factory) -> Path:
    """The same as a zip, as Kaggle hands it out."""
    path = tmp_path_factory.mktemp("zip") / "raf-db-dataset.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(drawn.rglob("*")):
            if file.is_file() and file.name != "drawn.json":
                archive.write(file, file.relative_to(drawn))
    return path


@pytest.fixture(scope="session")
def real() -> Path:
    """RAF-DB itself, where this machine has it; the test is skipped where not."""
    for name in REAL:
        if (ROOT / name).exists():
            return ROOT / name
    pytest.skip("RAF-DB is not on this machine")


@pytest.fixture
def tree(drawn, tmp_path) -> Path:
    """A copy of the drawn dataset that a test may spoil."""
    return Path(shutil.copytree(drawn, tmp_path / "data"))


@pytest.fixture
def empty_cache(tmp_path, monkeypatch) -> Path:
    """The suite's folder in a cache of this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/fer-rafdb"


@pytest.fixture
def options(drawn, tmp_path):
    """Everything random switched on, small enough for seconds."""
    return Options(
        data=str(drawn),
        output=str(tmp_path),
        epochs=3,
        batch_size=16,
        image_size=40,
        ema=0.9,
        balance="sqrt-sampler",
        warmup_epochs=1,
        device="cpu",
    )
