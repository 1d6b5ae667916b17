"""Faces of other datasets: classes by name, tables of paths and of pixels, trees without splits (3 s)."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trees import FACE, IMAGE, encode, refused, zipped

from ferlab.data import fer2013
from ferlab.data.labels import classes
from ferlab.data.layout import find, prefix
from ferlab.data.rafdb import CLASS_NAMES
from ferlab.errors import UserError
from RAFDB_dataset import RAFDBDataset, describe

TEN = [*"abcdefgh", "happy", "sad"]


def face(number: int, size: tuple[int, int] = (100, 100), mode: str = "RGB") -> bytes:
    """A picture like no other."""
    return encode(IMAGE.rotate(0.7 * number).convert(mode).resize(size), "PNG")


def tree(root: Path, names: list[str], *, splits=("train", "test"), each: int = 4, **options) -> Path:
    """A folder per class, below a folder per split where there are any."""
    count = 0
    for split in splits or ("",):
        for name in names:
            (root / split / name).mkdir(parents=True, exist_ok=True)
            for _ in range(each):
                (root / split / name / f"{count:03d}.png").write_bytes(face(count, **options))
                count += 1
    return root


def table(path: Path, header: str, rows: list[tuple]) -> None:
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([header.split(","), *rows])


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["happy", "3_sad", "Anger"], ("Happiness", "Sadness", "Anger")),
        (["joy", "happy", "neutral"], ("Happiness", "Neutral")),
        ("surprise fear disgust happy sad angry neutral contempt".split(), (*CLASS_NAMES, "Contempt")),
        (["bored", "Angry", "awake"], ("Angry", "awake", "bored")),
        (["1", "2", "5"], CLASS_NAMES),
    ],
)
def test_classes_come_from_what_they_are_called(words, names):
    found, numbers = classes(words)
    assert (
        found == names
        and set(numbers) == set(words)
        and set(numbers.values()) <= set(range(1, len(names) + 1))
    )


def test_numbers_mean_what_their_dataset_says():
    assert classes("01234567", hint="AffectNet-8")[1]["0"] == CLASS_NAMES.index("Neutral") + 1
    assert classes("0123456", hint="fer-2013")[1]["0"] == CLASS_NAMES.index("Anger") + 1
    assert classes("0123456", hint="fer-2013")[0] == CLASS_NAMES
    assert classes("01", listed="0 happy\n1 sad\n") == (("Happiness", "Sadness"), {"0": 1, "1": 2})
    for words, options in (("0123456", {}), ("128", {}), ("012", {"listed": "0 happy\n1 sad"})):
        with pytest.raises(UserError, match="classes.txt"):
            classes(words, **options)


@pytest.mark.parametrize("names", [["happy", "sad"], TEN, [*CLASS_NAMES, "contempt"]])
def test_a_folder_per_class_of_any_classes(tmp_path, names):
    for path in (tree(tmp_path / "My Faces", names), zipped(tmp_path / "My Faces", tmp_path / "packed.zip")):
        source = find(path)
        assert len(source.class_names) == len(names) and prefix(str(path)) == f"{source.dataset}-"
        train, val, test = (RAFDBDataset(source, split) for split in ("train", "val", "test"))
        assert (
            train.counts == [3] * len(names)
            and val.counts == [1] * len(names)
            and test.counts == [4] * len(names)
        )
    assert find(tmp_path / "My Faces").dataset == "my-faces"
    assert ("called as they are labelled" in source.layout) == (names is TEN)


def test_a_val_of_its_own_is_val(tmp_path):
    source = find(tree(tmp_path / "a", ["happy", "sad"], splits=("train", "valid", "test")))
    assert [len(RAFDBDataset(source, split)) for split in ("train", "val", "test")] == [8, 8, 8]


def test_classes_without_splits_give_a_stratified_fifth_to_test(tmp_path):
    root = tree(tmp_path / "mine", ["happy", "sad", "bored"], splits=(), each=10)
    source = find(root)
    assert "a stratified fifth is the test set" in source.layout
    assert [RAFDBDataset(source, split).counts for split in ("train", "val", "test")] == [
        [7] * 3,
        [1] * 3,
        [2] * 3,
    ]
    (root / "happy/099.png").write_bytes(face(200))
    packed = zipped(root, tmp_path / "packed.zip", top="mine/")
    assert {part: len(rows) for part, rows in find(packed).rows.items()} == {"train": 25, "test": 6}
    before, after = ({row.name for row in part.rows["test"]} for part in (source, find(root)))
    assert before <= after  # no image moves another


def test_twenty_images_are_enough(tmp_path):
    source = find(tree(tmp_path / "few", ["happy", "sad", "angry", "neutral"], splits=(), each=5))
    assert sum(len(RAFDBDataset(source, split)) for split in ("train", "val", "test")) == 20
    assert "too few to give" in refusal(find(tree(tmp_path / "fewer", ["happy", "sad"], each=1)))


def refusal(source) -> str:
    with pytest.raises(UserError) as error:
        RAFDBDataset(source, "train")
    return str(error.value)


def test_a_class_may_be_missing_in_test_but_not_in_train(tmp_path):
    root = tree(tmp_path / "a", ["happy", "sad"])
    for file in (root / "test/sad").iterdir():
        file.unlink()
    assert RAFDBDataset(find(root), "test").counts == [4, 0]
    for file in (root / "train/happy").iterdir():
        file.unlink()
    assert "train: class 1 (Happiness) has no image" in refused(root)


@pytest.mark.parametrize("header", ["image,label", "path,emotion", "Expression_id,FILENAME,Expression"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_table_of_images_without_and_with_splits(tmp_path, header, packed):
    root, count = tmp_path / "data", 0
    (root / "faces").mkdir(parents=True)
    rows = []
    for name in ("happy", "sad"):
        for _ in range(10):
            (root / f"faces/{count:02d}.png").write_bytes(face(count))
            cells = (f"faces/{count:02d}.png" if count % 2 else f"{count:02d}.png", name)
            rows.append(cells if len(header.split(",")) == 2 else (count, *cells))
            count += 1
    table(root / "labels.csv", header, rows)
    path = zipped(root, tmp_path / "data.zip") if packed else root
    assert [len(part) for part in find(path).rows.values()] == [16, 4]
    if not packed:
        table(
            root / "labels.csv",
            f"{header},Usage",
            [(*row, "test" if i % 10 else "Training") for i, row in enumerate(rows)],
        )
        source = find(root / "labels.csv")
        assert [len(source.rows[split]) for split in ("train", "test")] == [2, 18]
        table(root / "labels.csv", header, [*rows[:-1], ("nowhere.png",) * len(rows[0]), rows[0]])
        assert "nowhere.png': there is no such image" in (text := refused(root)) and "is listed twice" in text


def pixels(path: Path, rows: list[tuple[int, str]], header: str = "emotion,pixels,Usage") -> Path:
    values = np.asarray(IMAGE.convert("L").resize((48, 48))).ravel()
    cells = [{"emotion": label, "pixels": " ".join(map(str, values)), "Usage": use} for label, use in rows]
    order = [name.strip() for name in header.split(",")]
    path.write_text("\n".join([header, *(",".join(str(row[key]) for key in order) for row in cells)]) + "\n")
    return path


@pytest.mark.parametrize("header", ["emotion,pixels,Usage", "emotion, Usage, pixels"])
def test_fer2013_as_a_table_of_pixels(tmp_path, header):
    uses = [*["Training"] * 3, "PublicTest", "PrivateTest"]
    path = pixels(tmp_path / "fer2013.csv", [(label, use) for label in range(7) for use in uses], header)
    for place in (path, tmp_path):
        source = find(place)._replace(face_size=48)
        parts = [RAFDBDataset(source, split) for split in ("train", "val", "test")]
        assert [part.counts for part in parts] == [
            [3] * 7,
            [1] * 7,
            [1] * 7,
        ] and source.class_names == CLASS_NAMES
    assert parts[0].images.shape == (21, 3, 48, 48) and parts[0].resized == 0
    expected = np.asarray(IMAGE.convert("L").resize((48, 48)))
    assert (parts[0].images[0].numpy() == expected).all()
    assert CLASS_NAMES[parts[0].labels[0]] == fer2013.CLASS_NAMES[0] == "Anger"
    assert prefix(str(path)) == "fer2013-"


def test_a_spoiled_table_of_pixels_is_refused_line_by_line(tmp_path):
    path = pixels(tmp_path / "fer2013.csv", [(label, "Training") for label in range(7)] * 3)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, "9" + lines[1][1:], "0,1 2 3"]) + "\n")
    assert "line 23: is not a label 0..6" in (text := refused(path)) and "line 24: has 2 columns" in text
    lines[1], lines[-1] = lines[1].replace(" ", " 300 ", 1), lines[-1].replace("Training", "PrivateTest")
    path.write_text("\n".join(lines))
    assert "holds no square of pixels" in refusal(find(path)._replace(face_size=48))


def test_faces_of_any_shape_are_scaled_and_counted(tmp_path):
    root = tree(tmp_path / "a", ["happy", "sad"], size=(60, 90), mode="L")
    (root / "train/happy/000.png").write_bytes(FACE)
    assert "--face-size 100 takes any size" in refusal(find(root))
    parts = [RAFDBDataset(find(root)._replace(face_size=100), split) for split in ("train", "val", "test")]
    assert "; scaled to 100 pixels a side: 15" in describe(*parts)
    assert parts[0].images.shape[2:] == (100, 100)
    again = RAFDBDataset(find(root)._replace(face_size=100), "train")  # from the cache
    assert again.resized == parts[0].resized == 7 and (again.images == parts[0].images).all()


def test_names_of_runs_never_pass_for_known_data(tmp_path):
    for name, expected in (
        ("RAF-DB", "other-raf-db"),
        ("drawn faces", "other-drawn-faces"),
        ("My 1", "my-1"),
    ):
        assert find(tree(tmp_path / name, ["happy", "sad"])).dataset == expected
    odd = {find(tree(tmp_path / name, ["happy", "sad"])).dataset for name in ("Ä", "表情")}
    assert len(odd) == 2 and all(name.startswith("faces-") for name in odd)
    assert Image.open(tmp_path / "RAF-DB/train/happy/000.png").size == (100, 100)


def test_numbers_are_read_by_any_part_of_the_path_and_never_by_a_name_that_only_begins_so(tmp_path):
    seven = [str(number) for number in range(7)]
    assert "numbers read as fer2013's" in find(tree(tmp_path / "fer-2013/archive", seven)).layout
    assert "numbers read as RAF-DB's" in find(tree(tmp_path / "a", [str(n) for n in range(1, 8)])).layout
    assert "classes.txt" in refused(tree(tmp_path / "fer2013plus", seven))
    (tmp_path / "fer2013plus/classes.txt").write_text("".join(f"{n}: class {n}\n" for n in seven))
    assert "numbers by classes.txt" in find(tmp_path / "fer2013plus").layout
    (tmp_path / "fer2013plus/classes.txt").write_text("0 angry\n0 happy\n")
    assert "once each" in refused(tmp_path / "fer2013plus")


def test_folders_that_are_one_class_are_named(tmp_path):
    assert (
        "fear1 and fear2 are one class, Fear" in find(tree(tmp_path / "a", ["fear1", "fear2", "sad"])).layout
    )
    source = find(tree(tmp_path / "b", ["calm", "Calm", "angry"]))
    assert source.class_names == ("angry", "Calm") and "Calm and calm are one class" in source.layout


def test_a_table_beside_class_folders_is_not_believed(tmp_path):
    root = tree(tmp_path / "a", ["happy", "sad"], splits=())
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    table(
        root / "out.csv", "file,expression", [(name, "sad" if "happy" in name else "happy") for name in files]
    )
    assert f"name {root / 'out.csv'} with --data" in refused(root)
    assert "out.csv: unpack it and name the table" in refused(zipped(root, tmp_path / "a.zip"))
    source = find(root / "out.csv")  # asked for by name
    assert source.dataset == "out" and sum(map(len, source.rows.values())) == 8


def test_what_a_table_does_not_say_is_not_guessed(tmp_path):
    root = tree(tmp_path / "a/images", ["x", "y"], splits=(), each=6).parent
    rows = [
        (f"images/{path.parent.name}/{path.name}", path.parent.name) for path in sorted(root.rglob("*.png"))
    ]
    table(root / "labels.csv", "image,label", rows[:-1])
    assert "images without a row, which are left out: 1" in find(root).layout
    table(
        root / "labels.csv", "image,label", [*rows[:-1], ("images/z/" + rows[0][0].rpartition("/")[2], "y")]
    )
    assert "there is no such image" in refused(root)  # though one in another folder has that name
    (root / "labels.csv").write_text("image,label,note\n" + f'{rows[0][0]},x,"open\n' + f"{rows[1][0]},y,\n")
    assert "labels.csv: CSV" not in (text := refused(root)) and "labels.csv, line" in text
    assert find(root / "images").class_names == ("x", "y")  # the table is the parent's


def test_a_word_in_a_table_s_name_tells_the_split(tmp_path):
    root = tree(tmp_path / "a/images", ["x", "y"], splits=(), each=6).parent
    rows = [
        (f"images/{path.parent.name}/{path.name}", path.parent.name) for path in sorted(root.rglob("*.png"))
    ]
    table(root / "labels_train.csv", "image,label", rows[::2])
    table(root / "my-test.csv", "image,label", rows[1::2])
    assert [len(find(root).rows[split]) for split in ("train", "test")] == [6, 6]
    assert find(root / "labels_train.csv").dataset == "labels-train"


def test_no_list_of_classes_is_imported_outside_data():
    root = Path(__file__).parents[1]
    files = [
        *root.glob("*.py"),
        *root.glob("*.ipynb"),
        *(root / "models").glob("*.py"),
        *(root / "ferlab").rglob("*.py"),
    ]
    named = [file.relative_to(root).as_posix() for file in files if "CLASS_NAMES" in file.read_text()]
    assert len(files) > 60 and [name for name in named if not name.startswith("ferlab/data/")] == [
        "ferlab/synthetic/dataset.py"  # draws RAF-DB's seven, in their order
    ]
