"""The rows of a dataset: labels by folder, table and list; whatever is wrong is named, all at once (3 s)."""

import os
import shutil

import pytest
from trees import IMAGE, by_class, encode, kaggle, official, refused

from ferlab.data import labels
from ferlab.data.archive import MAX_FILE
from ferlab.data.layout import find

CSV = "train_labels.csv"
FIRST = "DATASET/train/1/train_00001_aligned.jpg"


def edit(old: str, new: str, path: str = CSV):
    """A fault: the text `old` of a file in the tree becomes `new`."""

    def spoil(root):
        text = (root / path).read_text()
        assert old in text
        (root / path).write_text(text.replace(old, new))

    return spoil


def relabel(text: str):
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
    "label 0": (relabel("0"), "(problems: 1)", f"{CSV}, line 2: 'train_00001_aligned.jpg,0'", "label 1..7"),
    "label 8": (relabel("8"), "(problems: 1)", f"{CSV}, line 2: 'train_00001_aligned.jpg,8'", "label 1..7"),
    "label -100": (relabel("-100"), "(problems: 1)", "line 2: 'train_00001_aligned.jpg,-100'", "label 1..7"),
    "label 1.0": (relabel("1.0"), "(problems: 1)", "line 2: 'train_00001_aligned.jpg,1.0'", "label 1..7"),
    "no label": (relabel(""), "(problems: 1)", "line 2: 'train_00001_aligned.jpg,'", "label 1..7"),
    "another label": (relabel("2"), "(problems: 1)", "00001_aligned.jpg has label 2 but lies in folder 1"),
    "row without a file": (remove(FIRST), "(problems: 1)", "2: there is no image 'train_00001_aligned.jpg'"),
    "file without a row": (
        edit("train_00001_aligned.jpg,1\n", ""),
        "(problems: 1)",
        f"{CSV}: has no row for image train_00001_aligned.jpg",
    ),
    "row twice": (
        edit("train_00002", "train_00001_aligned.jpg,1\ntrain_00002"),
        "(problems: 1)",
        f"{CSV}, line 3: train_00001_aligned.jpg is listed twice",
    ),
    "other columns": (edit("image,label", "id,image,label"), "line 1: is 'id,image,label', not 'image,"),
    "semicolons": (edit(",", ";"), "line 1: is 'image;label', not 'image,label'"),
    "empty CSV": (write(b""), "line 1: is '', not 'image,label'"),
    "a folder as CSV": (lambda r: (remove(CSV)(r), (r / CSV).mkdir()), f"{CSV}: is not a file"),
    "a pipe as CSV": (pipe(CSV), f"{CSV}: is not a file"),
    "binary CSV": (write(b"\xff\xfei\x00m\x00"), f"{CSV}: is not a text file in UTF-8"),
    "huge CSV": (write(b"image,label\n" + b"x" * MAX_FILE), f"{CSV}: is larger than 1 MiB"),
    "open quote": (edit("train_00002", '"train_00002'), f"{CSV}, line 15: 'train_00002_aligned.jpg,1"),
    "class folder missing": (remove("DATASET/test/2"), "test: class 2 (Fear) has no image"),
    "class folder empty": (
        lambda r: (remove("DATASET/test/2")(r), (r / "DATASET/test/2").mkdir()),
        "test: class 2 (Fear) has no image",
    ),
    "split missing": (
        remove("DATASET/test"),
        "(problems: 1)",  # its table is one of nothing, and is not asked
        "test: has no images",
    ),
    "folder 0": (
        lambda r: (r / "DATASET/train/1").rename(r / "DATASET/train/0"),
        "DATASET/train/0: is none of the classes, 1 Surprise, 2 Fear,",
        "(files: 2)",
        "train: class 1 (Surprise) has no image",
    ),
    "eighth class": (
        copy("DATASET/test/1", "DATASET/test/contempt"),
        "test/contempt: is none of the classes",
    ),
    "third split": (
        copy("DATASET/test/1", "DATASET/old/1"),
        "DATASET/old/1: is not in a class folder of train/",
    ),
    "file in the wrong place": (
        write(b"x", "DATASET/train/notes.txt"),
        "DATASET/train/notes.txt: is not in a class folder of train/ or test/",
    ),
    "folder too deep": (copy("DATASET/test/1", "DATASET/test/1/copy"), "DATASET/test/1/copy: is not a file"),
    "image in two classes": (
        copy(FIRST, "DATASET/train/5"),
        "train_00001_aligned.jpg: is in DATASET/train/1/train_00001_aligned.jpg and DATASET/train/5/train_0",
    ),
    "image in two classes, no CSV": (
        lambda r: (copy(FIRST, "DATASET/train/5")(r), remove(CSV)(r), remove("test_labels.csv")(r)),
        "(problems: 1)",
        "train_00001_aligned.jpg: is in DATASET/train/1/train_00001_aligned.jpg and DATASET/train/5/train_0",
    ),
    "image in both splits": (
        lambda r: (
            copy(FIRST, "DATASET/test/1")(r),
            edit("label", "label\ntrain_00001_aligned.jpg,1", "test_labels.csv")(r),
        ),
        "(problems: 1)",
        "train_00001_aligned.jpg: is in DATASET/test/1/train_00001_aligned.jpg and DATASET/train/1/train_0",
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
    text = refused(tree)
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
        "line 17: test_0002.jpg is listed twice",
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
    "empty": (write(b"", LABELS), "train: has no images"),
    "binary": (write(bytes(range(256)), LABELS), "list_patition_label.txt: is not a text file in UTF-8"),
    "pipe": (pipe(f"{ALIGNED}/test_0001_aligned.jpg"), "test_0001_aligned.jpg: is not a file"),
}


@pytest.mark.parametrize("fault", OFFICIAL_FAULTS)
def test_faults_of_the_official_layout_are_named(tmp_path, fault):
    tree = official(tmp_path / "data")
    spoil, *parts = OFFICIAL_FAULTS[fault]
    spoil(tree)
    text = refused(tree)
    assert all(part in text for part in [str(tree), *parts]), text


def test_every_kind_of_problem_is_told_at_once_causes_first(tmp_path):
    """In at most ten lines, however many problems there are."""
    tree = kaggle(tmp_path / "data", each=9, face=encode(IMAGE.resize((48, 48))))
    (tree / "DATASET/train/4").rename(tree / "DATASET/train/laughing")
    (tree / "DATASET/train/5/notes.txt").touch()
    remove("DATASET/test/7")(tree)
    relabel("3")(tree)
    lines = refused(tree).splitlines()
    assert lines[0] == f"{tree} cannot be used as it is (problems: 25):"
    assert [line.split("_00")[0].strip() for line in lines[1:]] == [
        "DATASET/train/laughing: is none of the classes, 1 Surprise, 2 Fear, 3 Disgust, 4 Happiness, "
        "5 Sadness, 6 Anger, 7 Neutral, by number or name (files: 9)",
        "DATASET/train/5/notes.txt: is not named as a JPEG or PNG image",
        "train_labels.csv, line 2: train",
        "train_labels.csv, line 29: there is no image 'train",
        "train_labels.csv: has no row for image notes.txt",
        "test_labels.csv, line 56: there is no image 'test",
        "train: class 4 (Happiness) has no image (and 1 more like it)",
        "DATASET/train/1/train",
        f"Fix these files, or remove {tree} and fetch RAF-DB again with setup_dataset.ipynb.",
    ]
    assert lines[4].endswith("(and 8 more like it)") and lines[6].endswith("(and 8 more like it)")
    assert lines[8].endswith("is 48 x 48 pixels, not 100 x 100; --face-size 100 takes any size")


def test_tables_may_name_the_classes_and_say_the_same_as_the_folders(tmp_path):
    tree = by_class(tmp_path / "data", "surprise fear disgust happy sad angry neutral".split())
    rows = [(file.name, file.parent.name) for file in sorted((tree / "train").rglob("*.jpg"))]
    text = "".join(f"{name},{word}\n" for name, word in [("image", "label"), *rows])
    (tree / CSV).write_text(text)
    assert len(find(tree).rows["train"]) == 14
    (tree / CSV).write_text(text.replace("disgust", "fear", 1))
    assert "line 4: train_00005_aligned.jpg has label 2 but lies in folder 3" in refused(tree)
    assert f"Fix these files in {tree}." in refused(tree)


@pytest.mark.parametrize(
    "word", ["0", "8", "", "1.0", "contempt", "s", "not happy", "happysad", "\u0663", "mad"]
)
def test_what_is_none_of_the_seven(word):
    assert labels.label(word) is None
