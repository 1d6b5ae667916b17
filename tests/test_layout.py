"""Finding RAF-DB and reading its labels: both layouts, wherever the path points, and all that can be wrong. 3 s"""

import os
import shutil
import stat
import zipfile
from pathlib import Path

import pytest

from fer.archive import MAX_FILE, MAX_FILES, check_zip
from fer.errors import UserError
from fer.layout import find

NAMES = {"train": "train_{:05d}_aligned.jpg", "test": "test_{:04d}_aligned.jpg"}
FACE = b"not decoded here"


def kaggle(root: Path, *, each: int = 2) -> Path:
    """A small tree in the Kaggle layout, `each` files a class; train_00001 to train_00002 are of class 1."""
    for split in ("train", "test"):
        lines = ["image,label\n"]
        for number in range(7 * each):
            label, name = number // each + 1, NAMES[split].format(number + 1)
            file = root / "DATASET" / split / str(label) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(FACE)
            lines.append(f"{name},{label}\n")
        (root / f"{split}_labels.csv").write_text("".join(lines))
    return root


def official(root: Path, *, each: int = 2) -> Path:
    """The same in the official layout."""
    aligned, labels = root / "basic/Image/aligned", root / "basic/EmoLabel"
    aligned.mkdir(parents=True)
    labels.mkdir()
    lines = []
    for split in ("train", "test"):
        for number in range(7 * each):
            name = NAMES[split].format(number + 1)
            (aligned / name).write_bytes(FACE)
            lines.append(f"{name.replace('_aligned', '')} {number // each + 1}\n")
    (labels / "list_patition_label.txt").write_text("".join(lines))
    return root


def zipped(root: Path, path: Path, *, top: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(p for p in root.rglob("*") if p.is_file()):
            archive.write(file, top + file.relative_to(root).as_posix())
    return path


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
    assert images(sources[0])["train"][:3] == [("train_00001_aligned.jpg", 1), ("train_00002_aligned.jpg", 1),
                                               ("train_00003_aligned.jpg", 2)]
    assert [source.layout.split(", ")[0] for source in sources] == ["Kaggle layout", "official layout",
                                                                   "Kaggle layout"]
    assert "folder" in sources[0].layout and "zip" in sources[2].layout
    for source in sources:
        assert all(source.read(row.path) == FACE for rows in source.rows.values() for row in rows)


@pytest.mark.parametrize("place", [".", "..", "DATASET", "DATASET/train", "../data/"])
def test_kaggle_layout_is_found_above_and_below(tmp_path, place):
    assert find(kaggle(tmp_path / "data") / place).root.resolve() == tmp_path / "data"


@pytest.mark.parametrize("place", [".", "..", "basic", "basic/Image", "basic/Image/aligned", "basic/EmoLabel"])
def test_official_layout_is_found_above_and_below(tmp_path, place):
    assert find(official(tmp_path / "data") / place).root.resolve() == tmp_path / "data/basic"


def test_zip_is_found_by_its_folders_name_and_by_the_folder_it_lies_in(tmp_path):
    tree = kaggle(tmp_path / "tree")
    (tmp_path / "x").mkdir()
    path = zipped(tree, tmp_path / "x/raf-db-dataset.zip")
    assert find(tmp_path / "x").root == find(tmp_path / "x/raf-db-dataset").root == find(path).root == path
    (tmp_path / "x/raf-db-dataset").mkdir()  # empty: the zip beside it still counts
    assert find(tmp_path / "x/raf-db-dataset").root == path


def test_zip_packed_again_by_hand(tmp_path):
    """With a folder around it, as file browsers pack it, and what macOS adds."""
    path = zipped(kaggle(tmp_path / "tree"), tmp_path / "a.zip", top="MY-DATASET/")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/MY-DATASET/DATASET/train/1/._train_00001_aligned.jpg", b"x")
        archive.writestr("MY-DATASET/DATASET/.DS_Store", b"x")
        archive.mkdir("MY-DATASET/empty") if hasattr(archive, "mkdir") else None
    assert len(find(path).rows["train"]) == 14


def test_files_of_file_browsers_are_ignored(tmp_path):
    tree = kaggle(tmp_path / "a")
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._train_00001_aligned.jpg"):
        (tree / "DATASET/train/1" / name).write_bytes(b"x")
    assert images(find(tree)) == images(find(kaggle(tmp_path / "b")))


def test_missing_data_says_what_is_expected_and_the_three_ways_out(tmp_path):
    text = message(tmp_path / "nowhere")
    for part in (f"{tmp_path / 'nowhere'} does not exist", "DATASET/train/1/", "train_labels.csv",
                 "list_patition_label.txt", "setup_dataset.ipynb", "raf-db-dataset.zip", "--data synthetic"):
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


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


CSV = "train_labels.csv"
KAGGLE_FAULTS = {
    "label 0": (lambda r: edit(r / CSV, "00001_aligned.jpg,1", "00001_aligned.jpg,0"),
                "1 problems", "train_labels.csv, line 2: 'train_00001_aligned.jpg,0'", "label 1..7"),
    "label 8": (lambda r: edit(r / CSV, "00001_aligned.jpg,1", "00001_aligned.jpg,8"), "aligned.jpg,8'", "1..7"),
    "label -100": (lambda r: edit(r / CSV, "00001_aligned.jpg,1", "00001_aligned.jpg,-100"), "jpg,-100'", "1..7"),
    "label with a fraction": (lambda r: edit(r / CSV, "00001_aligned.jpg,1", "00001_aligned.jpg,1.0"), "jpg,1.0'"),
    "label that disagrees": (lambda r: edit(r / CSV, "00001_aligned.jpg,1", "00001_aligned.jpg,2"),
                             "1 problems", "line 2: train_00001_aligned.jpg has label 2 but lies in folder 1"),
    "row without a file": (lambda r: (r / "DATASET/train/1/train_00001_aligned.jpg").unlink(),
                           "1 problems", "line 2: there is no image 'train_00001_aligned.jpg'"),
    "file without a row": (lambda r: edit(r / CSV, "train_00001_aligned.jpg,1\n", ""),
                           "1 problems", "train_labels.csv: has no row for image train_00001_aligned.jpg"),
    "row twice": (lambda r: edit(r / CSV, "train_00002", "train_00001_aligned.jpg,1\ntrain_00002"),
                  "1 problems", "line 3: train_00001_aligned.jpg stands there twice"),
    "other columns": (lambda r: edit(r / CSV, "image,label", "id,image,label"), "line 1: is 'id,image,label'"),
    "semicolons": (lambda r: (r / CSV).write_text((r / CSV).read_text().replace(",", ";")), "is 'image;label'"),
    "empty CSV": (lambda r: (r / CSV).write_text(""), "line 1: is '', not 'image,label'"),
    "no CSV": (lambda r: (r / CSV).unlink(), "train_labels.csv: is missing beside DATASET/"),
    "CSV is a folder": (lambda r: ((r / CSV).unlink(), (r / CSV).mkdir()), "train_labels.csv: is missing"),
    "binary CSV": (lambda r: (r / CSV).write_bytes(b"\xff\xfe\x00i\x00m"), "train_labels.csv is not a text file"),
    "huge CSV": (lambda r: (r / CSV).write_bytes(b"image,label\n" + b"x" * MAX_FILE), "larger than 1 MiB"),
    "open quote": (lambda r: edit(r / CSV, "train_00002", '"train_00002'), "line 15: 'train_00002_aligned.jpg,1"),
    "class folder missing": (lambda r: shutil.rmtree(r / "DATASET/test/2"), "test: class 2 (Fear) has no image"),
    "class folder empty": (lambda r: [f.unlink() for f in (r / "DATASET/test/2").iterdir()],
                           "test: class 2 (Fear) has no image"),
    "split missing": (lambda r: shutil.rmtree(r / "DATASET/test"), "class 7 (Neutral) has no image"),
    "folder 0": (lambda r: (r / "DATASET/train/1").rename(r / "DATASET/train/0"),
                 "DATASET/train/0: 2 files outside DATASET/train/1..7"),
    "third split": (lambda r: shutil.copytree(r / "DATASET/test/1", r / "DATASET/valid/1"), "DATASET/valid/1: 2 files"),
    "file in the wrong place": (lambda r: (r / "DATASET/train/notes.txt").write_text("x"), "DATASET/train/notes.txt"),
    "folder too deep": (lambda r: shutil.copytree(r / "DATASET/test/1", r / "DATASET/test/1/copy"),
                        "DATASET/test/1/copy: is not a file"),
    "same image in two classes": (lambda r: shutil.copy(r / "DATASET/train/1/train_00001_aligned.jpg",
                                                        r / "DATASET/train/5"),
                                  "DATASET/train: train_00001_aligned.jpg stands in 2 class folders"),
    "not an image": (lambda r: (r / "DATASET/train/1/notes.txt").write_text("x"),
                     "DATASET/train/1/notes.txt: is not named as a JPEG or PNG image"),
    "pipe": (lambda r: os.mkfifo(r / "DATASET/train/1/pipe.jpg"), "DATASET/train/1/pipe.jpg: is not a file"),
    "broken link": (lambda r: (r / "DATASET/train/1/link.jpg").symlink_to("nowhere"), "link.jpg: is not a file"),
    "links in a circle": (lambda r: [(r / f"DATASET/train/1/{n}").symlink_to(r) for n in "ab"],
                          "DATASET/train/1/a: is not a file"),
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
OFFICIAL_FAULTS = {
    "label 0": (lambda r: edit(r / LABELS, "00001.jpg 1", "00001.jpg 0"), "1 problems", "line 1: 'train_00001.jpg 0'"),
    "label 8": (lambda r: edit(r / LABELS, "00001.jpg 1", "00001.jpg 8"), "line 1: 'train_00001.jpg 8'", "1..7"),
    "label -100": (lambda r: edit(r / LABELS, "00001.jpg 1", "00001.jpg -100"), "line 1: 'train_00001.jpg -100'"),
    "three columns": (lambda r: edit(r / LABELS, "00001.jpg 1", "00001.jpg 1 3"), "line 1: 'train_00001.jpg 1 3'"),
    "line without a file": (lambda r: (r / ALIGNED / "test_0003_aligned.jpg").unlink(),
                            "1 problems", "line 17: there is no Image/aligned/test_0003_aligned.jpg"),
    "file without a line": (lambda r: edit(r / LABELS, "test_0003.jpg 2\n", ""),
                            "1 problems", "Image/aligned/test_0003_aligned.jpg: has no line"),
    "line twice": (lambda r: edit(r / LABELS, "test_0003", "test_0002.jpg 1\ntest_0003"),
                   "1 problems", "line 17: test_0002.jpg stands there twice"),
    "a name that leads out": (lambda r: edit(r / LABELS, "train_00001", "train_/../../../../etc/passwd"),
                              "line 1: 'train_/../../../../etc/passwd.jpg 1'"),
    "class without lines": (lambda r: edit(r / LABELS, "test_0003.jpg 2\ntest_0004.jpg 2\n", ""),
                            "test: class 2 (Fear) has no image"),
    "not unpacked": (lambda r: shutil.rmtree(r / ALIGNED), "Image/aligned: the aligned images are missing"),
    "empty": (lambda r: (r / LABELS).write_text(""), "train: class 1 (Surprise) has no image"),
    "binary": (lambda r: (r / LABELS).write_bytes(bytes(range(256))), "list_patition_label.txt is not a text file"),
    "pipe": (lambda r: ((r / ALIGNED / "test_0001_aligned.jpg").unlink(),
                        os.mkfifo(r / ALIGNED / "test_0001_aligned.jpg")), "test_0001_aligned.jpg: is not a file"),
}


@pytest.mark.parametrize("fault", OFFICIAL_FAULTS)
def test_faults_of_the_official_layout_are_named(tmp_path, fault):
    tree = official(tmp_path / "data")
    spoil, *parts = OFFICIAL_FAULTS[fault]
    spoil(tree)
    text = message(tree)
    assert all(part in text for part in [str(tree / "basic"), *parts]), text


def test_only_the_first_ten_problems_are_listed(tmp_path):
    tree = kaggle(tmp_path / "data", each=3)
    shutil.rmtree(tree / "DATASET/train")
    text = message(tree)
    assert "28 problems" in text and "... and 18 more" in text and len(text.splitlines()) == 13  # 21 rows, 7 classes


def test_class_folders_with_names_are_refused_with_their_numbers(tmp_path):
    tree = kaggle(tmp_path / "data")
    names = ("surprise", "fear", "disgust", "happy", "sad", "Anger", "neutral")
    for label, name in enumerate(names, 1):
        (tree / "DATASET/train" / str(label)).rename(tree / "DATASET/train" / name)
    text = message(tree)
    assert "names its class folders" in text and "Anger to 6" in text and "happy to 4" in text
    assert "surprise to 1" in text and len(text.splitlines()) == 1


def test_unreadable_folder(tmp_path):
    tree = kaggle(tmp_path / "data")
    os.chmod(tree / "DATASET/train/3", 0)
    with as_a_user():
        text = message(tree)
    assert "DATASET/train/3" in text or "data" in text
    assert "Permission denied" in text and "rights" in text


class as_a_user:
    """Root may read everything; while this lasts it is somebody who may not."""

    def __enter__(self):
        self.root = hasattr(os, "geteuid") and os.geteuid() == 0
        os.seteuid(65534) if self.root else None

    def __exit__(self, *_):
        os.seteuid(0) if self.root else None


def entry(name: str, *, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


HOSTILE = {
    "absolute": (entry("/etc/cron.d/x"), "/etc/cron.d/x: the name leads out of the folder"),
    "climbing": (entry("DATASET/../../x"), "DATASET/../../x: the name leads out"),
    "drive": (entry("C:/x"), "C:/x: the name leads out"),
    "backslash": (entry("..\\x"), "..\\x: the name leads out"),
    "link": (entry("DATASET/train/1/x.jpg", mode=stat.S_IFLNK | 0o777), "x.jpg: is a link or a device"),
    "device": (entry("DATASET/train/1/x.jpg", mode=stat.S_IFCHR | 0o666), "x.jpg: is a link or a device"),
    "twice": (entry("train_labels.csv"), "train_labels.csv: stands there 2 times"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", HOSTILE)
def test_zip_with_odd_entries_is_refused(tmp_path, kind):
    info, expected = HOSTILE[kind]
    path = zipped(kaggle(tmp_path / "tree"), tmp_path / "a.zip")
    assert find(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(info, b"x")
    if kind == "backslash":  # the zipfile module itself replaces them when it writes on Windows only
        assert "\\" in info.filename
    assert "not a zip to trust, 1 things" in (text := message(path)) and expected in text, text


def test_zip_that_is_too_much_is_refused(tmp_path):
    path = zipped(kaggle(tmp_path / "tree"), tmp_path / "a.zip")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("DATASET/train/1/bomb.jpg", bytes(3 * MAX_FILE))
    assert path.stat().st_size < MAX_FILE and "bomb.jpg: unpacks to 3.0 MiB" in message(path)

    class Many:
        filename = "many.zip"
        infolist = staticmethod(lambda: [entry(f"{i}.jpg") for i in range(MAX_FILES + 1)])

    with pytest.raises(UserError, match="30,683 entries; RAF-DB's has 15,341"):
        check_zip(Many)
    for info in (infos := [entry(f"{i}.jpg") for i in range(100)]):
        info.file_size = MAX_FILE
    Many.infolist = staticmethod(lambda: infos)
    with pytest.raises(UserError, match="unpacks to 100 MiB; RAF-DB's to 37 MiB"):
        check_zip(Many)


def test_what_is_no_zip_of_rafdb(tmp_path):
    path = zipped(kaggle(tmp_path / "tree"), tmp_path / "a.zip")
    data = path.read_bytes()
    page = tmp_path / "page.zip"
    page.write_bytes(b"<!DOCTYPE html><html>Sign in</html>")
    assert "page.zip (35 bytes) is not RAF-DB's zip" in message(page)
    path.write_bytes(data[: len(data) // 2])
    assert "or only a part of it; download it again" in message(path)
    path.write_bytes(data.replace(b"image,label", b"imagE,label"))  # the checksum no longer fits
    assert "train_labels.csv is damaged in the zip" in (text := message(path)) and str(path) in text
    assert "has the official layout" in message(zipped(official(tmp_path / "o"), tmp_path / "o.zip"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other/readme.txt").write_text("x")
    assert "has 0 folders named DATASET" in message(zipped(tmp_path / "other", tmp_path / "other.zip"))
    with open(path, "wb") as file:
        file.truncate(10**12)  # sparse: a terabyte that nobody should read
    assert "(1,000,000,000,000 bytes) is not RAF-DB's zip" in message(path)
