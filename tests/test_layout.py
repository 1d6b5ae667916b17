"""Finding RAF-DB and reading its labels: both layouts, wherever the path points, whatever is wrong (2 s)."""

import os
import shutil
import tempfile
import zipfile
from pathlib import Path

import pytest
from trees import FACE, as_a_user, kaggle, official, zipped

from ferlab.data.archive import MAX_FILE
from ferlab.data.layout import find
from ferlab.errors import UserError


def message(path) -> str:
    """What a user is told about the dataset at `path`; it must be refused."""
    with pytest.raises(UserError) as error:
        find(path)
    assert error.value.code == 2
    return str(error.value)


def images(source) -> dict:
    return {split: [(row.name, row.label) for row in rows] for split, rows in source.rows.items()}


def test_every_layout_gives_the_same_rows_in_the_same_order(tmp_path):
    tree = kaggle(tmp_path / "a")
    sources = [find(tree), find(official(tmp_path / "b")), find(zipped(tree, tmp_path / "c.zip"))]
    assert images(sources[0]) == images(sources[1]) == images(sources[2])
    assert images(sources[0])["train"][:3] == [
        ("train_00001_aligned.jpg", 1),
        ("train_00002_aligned.jpg", 1),
        ("train_00003_aligned.jpg", 2),
    ]
    assert [source.layout.split(", ")[0] for source in sources] == [
        "Kaggle layout",
        "official layout",
        "Kaggle layout",
    ]
    assert "folder" in sources[0].layout and "zip" in sources[2].layout
    for source in sources:
        assert all(source.read(row.path) == FACE for rows in source.rows.values() for row in rows)


@pytest.mark.parametrize("place", [".", "..", "DATASET", "DATASET/train", "../data/"])
def test_kaggle_layout_is_found_above_and_below(tmp_path, place):
    assert find(kaggle(tmp_path / "data") / place).root.resolve() == tmp_path / "data"


@pytest.mark.parametrize("place", [".", "..", "basic", "basic/EmoLabel", "basic/Image/aligned"])
def test_official_layout_is_found_above_and_below(tmp_path, place):
    assert find(official(tmp_path / "data") / place).root.resolve() == tmp_path / "data/basic"


def test_zip_is_found_by_its_name_and_by_the_folder_around_it(tmp_path):
    tree = kaggle(tmp_path / "tree")
    (tmp_path / "x").mkdir()
    path = zipped(tree, tmp_path / "x/raf-db-dataset.zip")
    assert find(tmp_path / "x").root == find(tmp_path / "x/raf-db-dataset").root == find(path).root == path
    (tmp_path / "x/raf-db-dataset").mkdir()  # empty: the zip beside it still counts
    assert find(tmp_path / "x/raf-db-dataset").root == path


def test_zip_packed_again_by_hand(tmp_path):
    """With a folder around it, as file browsers have it, and what macOS adds."""
    path = zipped(kaggle(tmp_path / "tree"), tmp_path / "a.zip", top="MY-DATASET/")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/MY-DATASET/DATASET/train/1/._train_00001_aligned.jpg", b"x")
        archive.writestr("MY-DATASET/DATASET/.DS_Store", b"x")
        archive.writestr("MY-DATASET/empty/", b"")
    assert len(find(path).rows["train"]) == 14


def test_files_of_file_browsers_are_ignored(tmp_path):
    tree = kaggle(tmp_path / "a")
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._train_00001_aligned.jpg"):
        (tree / "DATASET/train/1" / name).write_bytes(b"x")
    assert images(find(tree)) == images(find(kaggle(tmp_path / "b")))


def test_missing_data_names_the_expected_tree_and_three_ways_out(tmp_path):
    text = message(tmp_path / "nowhere")
    for part in (
        f"{tmp_path / 'nowhere'} does not exist",
        "DATASET/train/1/",
        "train_labels.csv",
        "list_patition_label.txt",
        "setup_dataset.ipynb",
        "raf-db-dataset.zip",
        "--data synthetic",
    ):
        assert part in text
    assert "has no RAF-DB in it" in message(tmp_path)
    assert "does not exist" in message(tmp_path / ("n" * 300))  # longer than a file name can be
    assert "does not exist" in message("~nobody-of-this-name/data")


def test_folders_without_dataset_around_them(tmp_path):
    tree = kaggle(tmp_path / "a")
    for split in ("train", "test"):
        (tree / "DATASET" / split).rename(tree / split)
    (tree / "DATASET").rmdir()
    assert "move train/ and test/ into DATASET/" in message(tree)


def test_more_than_one_dataset_is_refused(tmp_path):
    both = official(kaggle(tmp_path / "both"))
    text = message(both)
    assert "more than one dataset" in text and f"{both} (Kaggle layout)" in text
    assert f"{both / 'basic'} (official layout)" in text
    assert find(both / "basic").layout.startswith("official")  # what the message advises works
    assert find(both / "DATASET").layout.startswith("Kaggle")
    kaggle(tmp_path / "copies/old")
    kaggle(tmp_path / "copies/new")
    assert "copies/new" in (text := message(tmp_path / "copies")) and "copies/old" in text
    (tmp_path / "zips").mkdir()
    for name in ("a.zip", "b.zip"):
        zipped(both, tmp_path / "zips" / name)
    assert "holds 2 zips" in message(tmp_path / "zips")


CSV = "train_labels.csv"
FIRST = "DATASET/train/1/train_00001_aligned.jpg"


def edit(old: str, new: str, path: str = CSV):
    """A fault: the text `old` of a file in the tree becomes `new`."""

    def spoil(root):
        text = (root / path).read_text()
        assert old in text
        (root / path).write_text(text.replace(old, new))

    return spoil


def label(text: str):
    return edit("train_00001_aligned.jpg,1", f"train_00001_aligned.jpg,{text}")


def write(data: bytes, path: str = CSV):
    return lambda root: (root / path).write_bytes(data)


def remove(path: str):
    return lambda root: shutil.rmtree(root / path) if (root / path).is_dir() else (root / path).unlink()


def copy(path: str, to: str):
    return lambda root: (shutil.copytree if (root / path).is_dir() else shutil.copy)(root / path, root / to)


def pipe(path: str):
    def spoil(root):
        (root / path).unlink(missing_ok=True)
        os.mkfifo(root / path)

    return spoil


KAGGLE_FAULTS = {
    "label 0": (label("0"), "(problems: 1)", f"{CSV}, line 2: 'train_00001_aligned.jpg,0'", "label 1..7"),
    "label 8": (label("8"), "(problems: 1)", f"{CSV}, line 2: 'train_00001_aligned.jpg,8'", "label 1..7"),
    "label -100": (label("-100"), "(problems: 1)", "line 2: 'train_00001_aligned.jpg,-100'", "label 1..7"),
    "label 1.0": (label("1.0"), "(problems: 1)", "line 2: 'train_00001_aligned.jpg,1.0'", "label 1..7"),
    "no label": (label(""), "(problems: 1)", "line 2: 'train_00001_aligned.jpg,'", "label 1..7"),
    "another label": (label("2"), "(problems: 1)", "00001_aligned.jpg has label 2 but lies in folder 1"),
    "row without a file": (remove(FIRST), "(problems: 1)", "2: there is no image 'train_00001_aligned.jpg'"),
    "file without a row": (
        edit("train_00001_aligned.jpg,1\n", ""),
        "(problems: 1)",
        f"{CSV}: has no row for image train_00001_aligned.jpg",
    ),
    "row twice": (
        edit("train_00002", "train_00001_aligned.jpg,1\ntrain_00002"),
        "(problems: 1)",
        f"{CSV}, line 3: train_00001_aligned.jpg stands there twice",
    ),
    "other columns": (edit("image,label", "id,image,label"), "line 1: is 'id,image,label', not 'image,"),
    "semicolons": (edit(",", ";"), "line 1: is 'image;label', not 'image,label'"),
    "empty CSV": (write(b""), "line 1: is '', not 'image,label'"),
    "no CSV": (remove(CSV), f"{CSV}: is missing beside DATASET/"),
    "a folder as CSV": (lambda r: (remove(CSV)(r), (r / CSV).mkdir()), f"{CSV}: is missing beside DATASET/"),
    "binary CSV": (write(b"\xff\xfei\x00m\x00"), f"{CSV} is not a text file in UTF-8"),
    "huge CSV": (write(b"image,label\n" + b"x" * MAX_FILE), f"{CSV} is larger than 1 MiB"),
    "open quote": (edit("train_00002", '"train_00002'), f"{CSV}, line 15: 'train_00002_aligned.jpg,1"),
    "class folder missing": (remove("DATASET/test/2"), "test: class 2 (Fear) has no image"),
    "class folder empty": (
        lambda r: (remove("DATASET/test/2")(r), (r / "DATASET/test/2").mkdir()),
        "test: class 2 (Fear) has no image",
    ),
    "split missing": (remove("DATASET/test"), "(problems: 21)", "test: class 7 (Neutral) has no image"),
    "folder 0": (
        lambda r: (r / "DATASET/train/1").rename(r / "DATASET/train/0"),
        "DATASET/train/0: not in DATASET/train/1..7",
        "(files: 2)",
    ),
    "third split": (copy("DATASET/test/1", "DATASET/valid/1"), "DATASET/valid/1: not in", "(files: 2)"),
    "file in the wrong place": (write(b"x", "DATASET/train/notes.txt"), "DATASET/train/notes.txt: not in"),
    "folder too deep": (copy("DATASET/test/1", "DATASET/test/1/copy"), "DATASET/test/1/copy: is not a file"),
    "image in two classes": (
        copy(FIRST, "DATASET/train/5"),
        "DATASET/train: train_00001_aligned.jpg stands in 2 class folders",
    ),
    "image in both splits": (
        lambda r: (
            copy(FIRST, "DATASET/test/1")(r),
            edit("label", "label\ntrain_00001_aligned.jpg,1", "test_labels.csv")(r),
        ),
        "(problems: 1)",
        "train_00001_aligned.jpg: stands in both train and test",
    ),
    "not an image": (
        write(b"x", "DATASET/train/1/notes.txt"),
        "DATASET/train/1/notes.txt: is not named as a JPEG or PNG image",
    ),
    "pipe": (pipe("DATASET/train/1/pipe.jpg"), "DATASET/train/1/pipe.jpg: is not a file"),
    "broken link": (lambda r: (r / "DATASET/train/1/a.jpg").symlink_to("nowhere"), "1/a.jpg: is not a file"),
    "links in a circle": (
        lambda r: [(r / f"DATASET/train/1/{n}").symlink_to(r) for n in "ab"],
        "DATASET/train/1/a: is not a file",
    ),
}


@pytest.mark.parametrize("fault", KAGGLE_FAULTS)
def test_faults_of_the_kaggle_layout_are_named(tmp_path, fault):
    tree = kaggle(tmp_path / "data")
    spoil, *parts = KAGGLE_FAULTS[fault]
    spoil(tree)
    text = message(tree)
    assert all(part in text for part in [str(tree), *parts]), text
    assert "setup_dataset.ipynb" in text


LABELS = "basic/EmoLabel/list_patition_label.txt"
ALIGNED = "basic/Image/aligned"


def label_line(text: str):
    return edit("00001.jpg 1", f"00001.jpg {text}", LABELS)


OFFICIAL_FAULTS = {
    "label 0": (label_line("0"), "(problems: 1)", "line 1: 'train_00001.jpg 0' is not", "label 1..7"),
    "label 8": (label_line("8"), "(problems: 1)", "line 1: 'train_00001.jpg 8' is not", "label 1..7"),
    "label -100": (label_line("-100"), "(problems: 1)", "line 1: 'train_00001.jpg -100' is not", "1..7"),
    "three columns": (label_line("1 3"), "(problems: 1)", "line 1: 'train_00001.jpg 1 3' is not", "1..7"),
    "no label": (label_line(""), "(problems: 1)", "line 1: 'train_00001.jpg ' is not", "label 1..7"),
    "third split": (edit("train_00001", "valid_00001", LABELS), "line 1: 'valid_00001.jpg 1' is not"),
    "line without a file": (
        remove(f"{ALIGNED}/test_0003_aligned.jpg"),
        "(problems: 1)",
        "line 17: there is no Image/aligned/test_0003_aligned.jpg",
    ),
    "file without a line": (
        edit("test_0003.jpg 2\n", "", LABELS),
        "(problems: 1)",
        "Image/aligned/test_0003_aligned.jpg: has no line",
    ),
    "line twice": (
        edit("test_0003", "test_0002.jpg 1\ntest_0003", LABELS),
        "(problems: 1)",
        "line 17: test_0002.jpg stands there twice",
    ),
    "name that leads out": (
        edit("train_00001", "train_/../../../etc/passwd", LABELS),
        "line 1: 'train_/../../../etc/passwd.jpg 1' is not",
    ),
    "class without lines": (
        edit("test_0003.jpg 2\ntest_0004.jpg 2\n", "", LABELS),
        "test: class 2 (Fear) has no image",
    ),
    "not unpacked": (remove(ALIGNED), "Image/aligned has no images; unpack the release's aligned.zip"),
    "empty": (write(b"", LABELS), "train: class 1 (Surprise) has no image"),
    "binary": (write(bytes(range(256)), LABELS), "list_patition_label.txt is not a text file in UTF-8"),
    "pipe": (pipe(f"{ALIGNED}/test_0001_aligned.jpg"), "test_0001_aligned.jpg: is not a file"),
}


@pytest.mark.parametrize("fault", OFFICIAL_FAULTS)
def test_faults_of_the_official_layout_are_named(tmp_path, fault):
    tree = official(tmp_path / "data")
    spoil, *parts = OFFICIAL_FAULTS[fault]
    spoil(tree)
    text = message(tree)
    assert all(part in text for part in [str(tree), *parts]), text


def test_only_the_first_ten_problems_are_listed(tmp_path):
    tree = kaggle(tmp_path / "data", each=3)
    shutil.rmtree(tree / "DATASET/train")
    text = message(tree)
    assert "(problems: 28)" in text and "... and 18 more" in text  # 21 rows and 7 classes
    assert len(text.splitlines()) == 13


def test_class_folders_with_names_are_refused_with_their_numbers(tmp_path):
    tree = kaggle(tmp_path / "data")
    names = ("surprise", "fear", "disgust", "happy", "sad", "Anger", "neutral")
    for number, name in enumerate(names, 1):
        (tree / "DATASET/train" / str(number)).rename(tree / "DATASET/train" / name)
    text = message(tree)
    assert "names its class folders" in text and "Anger to 6" in text and "happy to 4" in text
    assert "surprise to 1" in text and len(text.splitlines()) == 1


def test_unreadable_folder():
    with tempfile.TemporaryDirectory() as folder, as_a_user(folder):  # tmp_path lets in nobody but its owner
        tree = kaggle(Path(folder) / "data")
        os.chmod(tree / "DATASET/train/3", 0)
        text = message(tree)
        os.chmod(tree / "DATASET/train/3", 0o700)
    assert "DATASET/train/3 cannot be read (Permission denied)" in text and "your rights" in text


def test_zip_that_is_not_rafdbs(tmp_path):
    assert "has the official layout" in message(zipped(official(tmp_path / "a"), tmp_path / "a.zip"))
    (tmp_path / "b").mkdir()
    (tmp_path / "b/readme.txt").write_text("x")
    assert "has 0 folders named DATASET" in message(zipped(tmp_path / "b", tmp_path / "b.zip"))
    kaggle(tmp_path / "c/new")
    kaggle(tmp_path / "c/old")
    assert "has 2 folders named DATASET" in message(zipped(tmp_path / "c", tmp_path / "c.zip"))
    path = zipped(kaggle(tmp_path / "d"), tmp_path / "d.zip")
    path.write_bytes(path.read_bytes().replace(b"image,label", b"image;label"))  # the checksum no longer fits
    assert f"{path} cannot be read (train_labels.csv is damaged in the zip" in message(path)
