"""Finding a dataset: every layout, wherever the path points, whatever else lies there (2 s)."""

import os
import tempfile
import zipfile
from pathlib import Path

import pytest
from test_tables import face, table, tree
from trees import FACE, as_a_user, by_class, kaggle, official, refused, zipped

from ferlab.data.layout import find


def images(source) -> dict:
    return {split: [(row.name, row.label) for row in rows] for split, rows in source.rows.items()}


def test_every_layout_gives_the_same_rows_in_the_same_order(tmp_path):
    tree = kaggle(tmp_path / "a")
    release = official(tmp_path / "b")
    sources = [find(tree), find(release), find(zipped(tree, tmp_path / "c.zip"))]
    sources.append(find(zipped(release, tmp_path / "d.zip")))
    assert all(images(source) == images(sources[0]) for source in sources)
    assert images(sources[0])["train"][:3] == [
        ("train_00001_aligned.jpg", 1),
        ("train_00002_aligned.jpg", 1),
        ("train_00003_aligned.jpg", 2),
    ]
    assert [source.layout.split(", ")[0] for source in sources] == [
        "Kaggle layout",
        "official layout",
        "Kaggle layout",
        "official layout",
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
    text = refused(tmp_path / "nowhere")
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
    assert "has no RAF-DB in it" in refused(tmp_path)
    assert "does not exist" in refused(tmp_path / ("n" * 300))  # longer than a file name can be
    assert "does not exist" in refused("~nobody-of-this-name/data")


SPELT = {
    "1 2 3 4 5 6 7": ("train", "test"),  # RAF-DB's without DATASET around it
    "surprise fear disgust happy sad angry neutral": ("train", "test"),  # FER2013's
    "Surprised Fearful Disgusted Happiness Sadness Anger Natural": ("Training", "Testing"),
    "su af di ha sa an ne": ("train", "val"),
    "0_surprise 6_fear 5-disgust 3_joy 4.SAD 1_Angry 2_neutral": ("train", "validation"),
}


@pytest.mark.parametrize("names", SPELT)
def test_a_folder_per_class_is_found_by_number_or_name(tmp_path, names):
    train, test = SPELT[names]
    tree = by_class(tmp_path / "a", names.split(), train=train, test=test)
    expected = images(find(kaggle(tmp_path / "b")))
    packed = zipped(tree, tmp_path / "c.zip", top="faces/")
    for path in (tree, tree / train, tree / train / names.split()[0], tmp_path / "c.zip"):
        source = find(path)
        assert images(source) == expected and source.layout.startswith("a folder per class, ")
        assert source.read(source.rows["test"][3].path) == FACE
    assert find(packed).root == packed and ("val is the test set" in source.layout) == ("val" in test)


def test_images_that_are_called_alike_in_every_folder_are_called_by_their_paths(tmp_path):
    tree = tmp_path / "a"
    for split in ("train", "test", "valid"):
        for number in range(1, 8):
            for i in range(2):
                (tree / split / str(number)).mkdir(parents=True, exist_ok=True)
                (tree / split / str(number) / f"im{i}.png").write_bytes(f"{split}{number}{i}".encode())
    source = find(tree)
    assert [row.name for row in source.rows["test"]][:3] == [
        "test/1/im0.png",
        "test/1/im1.png",
        "test/2/im0.png",
    ]
    assert [len(source.rows[split]) for split in ("train", "val", "test")] == [14] * 3
    (tree / "test/2/im0.png").write_bytes(b"train10")
    assert "im0.png: is in test/2/im0.png and train/1/im0.png" in refused(tree)


def test_without_tables_the_folders_tell_the_labels(tmp_path):
    tree = kaggle(tmp_path / "a")
    expected = images(find(tree))
    (tree / "test_labels.csv").unlink()
    assert find(tree).layout.endswith(", no test_labels.csv")
    (tree / "train_labels.csv").unlink()
    assert images(find(tree)) == expected


def test_what_is_no_dataset_is_told_what_it_lacks(tmp_path):
    for name in ("happy", "sad", "mine"):
        (tmp_path / "a" / name).mkdir(parents=True)
    assert "Its class folders (happy, sad, ...) are not in train/ and test/." in refused(tmp_path / "a")
    (tmp_path / "b/train/cats").mkdir(parents=True)
    assert "No folder in train/ is named by a class's number or name." in refused(tmp_path / "b")
    (tmp_path / "c").mkdir()
    for name, data, said in (
        ("data.tar.gz", b"\x1f\x8b\x08", "data.tar.gz there is packed in a way that is not read; unpack it"),
    ):
        (tmp_path / "c" / name).write_bytes(data)
        assert said in (text := refused(tmp_path / "c")) and len(text.splitlines()) <= 10
        assert said.replace("there is", f"({len(data)} bytes) is") in refused(tmp_path / "c" / name)


def test_pipes_and_devices_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, to in (("a.zip", "pipe"), ("b.zip", "/dev/zero"), ("c.zip", "nowhere")):
        (tmp_path / name).symlink_to(to)
    assert "has no RAF-DB in it" in refused(tmp_path)
    assert "is neither a folder nor a file" in refused(tmp_path / "pipe")
    for name in ("a.zip", "b.zip"):
        assert f"{name} is neither a folder nor a file" in refused(tmp_path / name)
        assert "does not exist" in refused(tmp_path / name[0])
    tree = kaggle(tmp_path / "tree")
    (tree / "DATASET/test/3/zero.jpg").symlink_to("/dev/zero")
    (tree / "train_labels.csv").unlink()
    (tree / "train_labels.csv").symlink_to(tmp_path / "pipe")
    text = refused(tree)
    assert "DATASET/test/3/zero.jpg: is not a file" in text and "train_labels.csv: is not a file" in text


def test_more_than_one_dataset_is_refused(tmp_path):
    both = official(kaggle(tmp_path / "both"))
    text = refused(both)
    assert "more than one dataset" in text and f"{both} (Kaggle layout)" in text
    assert f"{both / 'basic'} (official layout)" in text
    assert find(both / "basic").layout.startswith("official")  # what the message advises works
    assert find(both / "DATASET").layout.startswith("Kaggle")
    kaggle(tmp_path / "copies/old")
    kaggle(tmp_path / "copies/new")
    assert "copies/new" in (text := refused(tmp_path / "copies")) and "copies/old" in text
    (tmp_path / "zips").mkdir()
    for name in ("a.zip", "b.zip"):
        zipped(both, tmp_path / "zips" / name)
    assert "holds 2 zips" in refused(tmp_path / "zips")


def test_unreadable_folder():
    with tempfile.TemporaryDirectory() as folder, as_a_user(folder):  # tmp_path lets in nobody but its owner
        tree = kaggle(Path(folder) / "data")
        os.chmod(tree / "DATASET/train/3", 0)
        text = refused(tree)
        os.chmod(tree / "DATASET/train/3", 0o700)
    assert "DATASET/train/3 cannot be read (Permission denied)" in text and "your rights" in text


def test_zip_that_is_not_rafdbs(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b/readme.txt").write_text("x")
    assert "has no RAF-DB in it" in refused(zipped(tmp_path / "b", tmp_path / "b.zip"))
    kaggle(tmp_path / "c/new")
    official(tmp_path / "c/old")
    text = refused(zipped(tmp_path / "c", tmp_path / "c.zip"))
    assert "more than one dataset:\n  new/ (Kaggle layout)\n  old/basic/ (official layout)\n" in text
    path = zipped(kaggle(tmp_path / "d"), tmp_path / "d.zip")
    path.write_bytes(path.read_bytes().replace(b"image,label", b"image;label"))  # the checksum no longer fits
    assert "train_labels.csv: is damaged in the zip" in refused(path)


@pytest.mark.parametrize("packed", [False, True])
def test_only_tables_of_images_are_read(tmp_path, packed):
    root = tree(tmp_path / "a/images", ["x", "y"], splits=(), each=6).parent
    rows = [(f"images/{p.parent.name}/{p.name}", p.parent.name, *range(120)) for p in root.rglob("*.png")]
    header = ",".join(["image", "label", *(f"landmark{i}" for i in range(120))])  # wide, and without a split
    table(root / "LABELS.CSV", header, rows)
    table(root / "notes.csv", "who,what", [("a", "b")])
    source = find(zipped(root, tmp_path / "a.zip") if packed else root)
    assert source.class_names == ("x", "y") and sum(map(len, source.rows.values())) == 12


@pytest.mark.parametrize("names", [("train/", "test/"), ("images/", "")])
def test_a_zip_s_table_beside_folders_that_are_no_classes(tmp_path, names):
    (root := tmp_path / "a").mkdir()
    files = [f"{names[i % 2]}{i}.png" for i in range(16)]
    for i, name in enumerate(files):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(face(i))
    rows = [
        (name, "xy"[i // 2 % 2], "test" if i % 4 == 0 or i % 4 == 2 else "train")
        for i, name in enumerate(files)
    ]
    table(root / "labels.csv", "image,label,split", rows)
    for path in (root, zipped(root, tmp_path / "a.zip")):
        assert sum(map(len, find(path).rows.values())) == 16
