"""The same image in two splits is found by its pixels, whatever its name, label and encoding are."""

import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image
from test_train import run
from trees import first_face

import RAFDB_dataset
from ferlab.data import duplicates
from ferlab.errors import UserError
from RAFDB_dataset import RAFDBDataset, describe

SPLITS = ("train", "val", "test")


def copy(tree: Path, images: list[Path], *, label: int = 0, suffix: str = ".jpg") -> None:
    """Training images with these pixels under new names, in the CSV too, as class `label` or as they were."""
    with open(tree / "train_labels.csv", "a") as table:
        for number, image in enumerate(images):
            name, label_ = f"copy_{number}{suffix}", label or int(image.parent.name)
            path = tree / f"DATASET/train/{label_}" / name
            if suffix == image.suffix:
                shutil.copy(image, path)
            else:
                Image.open(image).save(path)
            table.write(f"{name},{label_}\n")


@pytest.fixture
def repeated(tree) -> Path:
    """Every training image of class 2 to 4 is there twice."""
    copy(tree, [image for label in "234" for image in sorted((tree / "DATASET/train" / label).iterdir())])
    return tree


def test_drawn_faces_have_none(drawn):
    parts = [RAFDBDataset(drawn, split) for split in SPLITS]
    assert duplicates.between(*parts) == {"val in train": [], "test in train": [], "test in val": []}
    assert "duplicates" not in describe(*parts) and "note" not in describe(*parts)
    assert duplicates.between(parts[0]) == {}


def test_rafdb_has_none(real):
    assert not any(duplicates.between(*(RAFDBDataset(real, split) for split in SPLITS)).values())


@pytest.mark.parametrize("label, suffix", [(0, ".jpg"), (6, ".jpg"), (0, ".png")])
def test_test_images_in_train_are_refused(tree, options, monkeypatch, capsys, label, suffix):
    copied = sorted((tree / "DATASET/test/4").iterdir())[:12]
    copy(tree, copied, label=label, suffix=suffix)
    parts = [RAFDBDataset(tree, split) for split in SPLITS]
    found = duplicates.between(*parts)
    same = sorted(found["test in train"] + found["test in val"])
    assert same == [(image.name, f"copy_{number}{suffix}") for number, image in enumerate(copied)]
    said = f"12 test images are training images too, by their pixels:\n  {copied[0].name} is copy_0{suffix}"
    for check in (lambda: run(options, data=str(tree), epochs=1), RAFDB_dataset.main.__wrapped__):
        monkeypatch.setattr(sys, "argv", ["RAFDB_dataset.py", str(tree)])
        with pytest.raises(UserError, match=said):
            check()
    assert f"{len(found['test in train'])} images of test in train" in capsys.readouterr().out
    assert not (Path(options.output) / "ConvNet").exists()


def test_skip_bad_leaves_out_what_is_in_test_too_and_counts_it(tree, options, capsys):
    """As in FER2013, whose splits share images."""
    copied = sorted((tree / "DATASET/test/4").iterdir())[:12]
    copy(tree, copied)
    options.data, options.skip_bad = str(tree), True
    train, val, test = RAFDB_dataset.load_splits(options)
    assert not any(duplicates.between(train, val, test)[key] for key in ("test in train", "test in val"))
    assert train.repeated + val.repeated == 12 and len(test) == 70 and len(train) + len(val) == 140
    assert not [name for name in train.names + val.names if name.startswith("copy_")]
    numbers = run(options, epochs=1)
    assert numbers["repeated_images"] == 12 and numbers["skipped_images"] == 0
    assert "; 12 images of train and val skipped that are in test, too" in capsys.readouterr().out


def test_skip_bad_leaves_out_every_copy_of_a_test_image(tree, options):
    copied = sorted((tree / "DATASET/test/4").iterdir())[:5]
    copy(tree, copied)
    copy(tree, copied, suffix=".png")
    options.data, options.skip_bad = str(tree), True
    train, val, test = RAFDB_dataset.load_splits(options)
    assert train.repeated + val.repeated == 10
    duplicates.raise_on_leakage(duplicates.between(train, val, test))


def test_skip_bad_minds_no_class_that_val_never_had(tree, options):
    (tree / "DATASET").rename(tree.parent / "faces")
    for name in ("train", "test"):
        (tree.parent / "faces" / name / "2").rename(tree.parent / f"fear-{name}")
    root = tree.parent / "faces"
    shutil.copytree(root / "test", root / "val")
    for path in (root / "val").rglob("*.jpg"):
        with Image.open(path) as image:
            image.rotate(90).save(path)
    (tree.parent / "fear-train").rename(root / "train/2")
    (tree.parent / "fear-test").rename(root / "test/2")
    options.data, options.skip_bad = str(root), True
    val = RAFDB_dataset.load_splits(options)[1]
    assert val.counts[1] == 0 and len(val) > 0


def test_duplicates_of_val_in_train_are_said_and_recorded(repeated, options, capsys):
    train, val = (RAFDBDataset(repeated, split) for split in ("train", "val"))
    expected = [
        name
        for name, image in zip(val.names, val.images)
        if any(image.equal(other) for other in train.images)
    ]
    pairs = duplicates.between(train, val)["val in train"]
    assert [name for name, _ in pairs] == expected != []
    assert all(val.images[val.names.index(a)].equal(train.images[train.names.index(b)]) for a, b in pairs)
    numbers = run(options, data=str(repeated), epochs=1, test=False)
    assert numbers["duplicates"] == {"val in train": len(expected)}
    out = capsys.readouterr().out
    assert f"; pixel-identical duplicates: {len(expected)} images of val in train; " in out
    assert "\nnote: val images are also in train (data leakage), so scores on val are too high\n" in out


def test_the_row_that_is_compared_first_is_not_enough(tree):
    """Images that differ elsewhere are none."""
    with Image.open(first_face(tree, "test")) as image:
        image = image.convert("RGB")
    image.putpixel((0, 0), (1, 2, 3))
    image.save(tree / "other.png")
    copy(tree, [tree / "other.png"], label=4, suffix=".png")
    assert not any(duplicates.between(*(RAFDBDataset(tree, split) for split in SPLITS)).values())
