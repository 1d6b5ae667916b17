"""RAFDBDataset: the same tensors from any layout, fixed splits, bad images named (5 s, with RAF-DB 12 s)."""

import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from trees import IMAGE, RAMP, by_class, encode, first_face, kaggle, png

import RAFDB_dataset
from ferlab.data.rafdb import CLASS_NAMES
from ferlab.errors import UserError
from RAFDB_dataset import RAFDBDataset, describe, open_source

SPLITS = ("train", "val", "test")


def refusal(root, split: str, **options) -> str:
    with pytest.raises(UserError) as error:
        RAFDBDataset(root, split, **options)
    assert error.value.code == 2
    return str(error.value)


@pytest.mark.parametrize("split", SPLITS)
def test_every_layout_gives_the_same_tensors(drawn, official, kaggle_zip, split):
    a, b, c = (RAFDBDataset(root, split) for root in (drawn, official, kaggle_zip))
    for other in (b, c):
        assert a.names == other.names and a.hash == other.hash
        assert torch.equal(a.labels, other.labels) and torch.equal(a.images, other.images)
    assert a.images.shape == (len(a), 3, 100, 100) and a.images.dtype == torch.uint8
    assert a.labels.shape == (len(a),) and a.labels.dtype == torch.int64
    assert len(a) == {"train": 125, "val": 15, "test": 70}[split]


def test_images_and_labels_are_those_of_the_files(drawn):
    part = RAFDBDataset(drawn, "test")
    for (image, label), name in zip(part, part.names, strict=True):
        file = drawn / f"DATASET/test/{label + 1}" / name  # labels 1..7 on disk, 0..6 in CLASS_NAMES' order
        assert np.array_equal(image.permute(1, 2, 0), np.asarray(Image.open(file).convert("RGB")))
    assert CLASS_NAMES == ("Surprise", "Fear", "Disgust", "Happiness", "Sadness", "Anger", "Neutral")


def test_val_is_a_fixed_stratified_tenth(drawn):
    train, val = RAFDBDataset(drawn, "train"), RAFDBDataset(drawn, "val")
    on_disk = {file.name: int(file.parent.name) for file in (drawn / "DATASET/train").rglob("*.jpg")}
    assert sorted(train.names + val.names) == sorted(on_disk)
    n = [list(on_disk.values()).count(label) for label in range(1, 8)]
    assert val.counts == [max(1, round(k / 10)) for k in n] == [2, 1, 1, 5, 2, 1, 3]
    assert RAFDBDataset(drawn, "val", val_fraction=0.5).counts == [round(k / 2) for k in n]


def test_val_stays_the_same_for_ever(tmp_path):
    """With another one, no result could be compared with those so far."""
    val = RAFDBDataset(kaggle(tmp_path, each=10), "val")
    assert [int(name[6:11]) for name in val.names] == [8, 16, 21, 39, 49, 57, 63]


def test_no_other_image_moves_one_between_train_and_val(drawn, tree):
    """What decides is the name: without one class's images the others stay where they were."""
    before = set(RAFDBDataset(drawn, "val").names)
    gone = [file.name for file in sorted((tree / "DATASET/train/4").iterdir())[:20]]
    for name in gone:
        (tree / "DATASET/train/4" / name).unlink()
    table = (tree / "train_labels.csv").read_text().splitlines()
    kept = [line for line in table if line.split(",")[0] not in gone]
    (tree / "train_labels.csv").write_text("\n".join(kept))
    part = RAFDBDataset(tree, "val")
    now = {name for name, label in zip(part.names, part.labels) if label != 3}
    assert now == {name for name in before if not (drawn / "DATASET/train/4" / name).exists()}
    assert {name for name in part.names} - now <= before | set(RAFDBDataset(drawn, "train").names)


def test_train_fraction_is_stratified_and_nested(drawn):
    whole = RAFDBDataset(drawn, "train")
    parts = [RAFDBDataset(drawn, "train", train_fraction=f) for f in (0.05, 0.2, 0.5)]
    for smaller, larger in zip(parts, [*parts[1:], whole]):
        assert set(smaller.names) < set(larger.names)
    for part, share in zip(parts, (0.05, 0.2, 0.5)):
        assert part.counts == [max(1, round(n * share)) for n in whole.counts]
    assert RAFDBDataset(drawn, "val", train_fraction=0.05).hash == RAFDBDataset(drawn, "val").hash


def test_too_few_images_for_val(tree):
    for file in sorted((tree / "DATASET/train/2").iterdir())[1:]:
        file.unlink()
        table = tree / "train_labels.csv"
        table.write_text(table.read_text().replace(f"{file.name},2\n", ""))
    assert "class 2 (Fear) has 1 training images, too few" in refusal(tree, "train")


def test_works_with_dataloader_and_in_other_processes(drawn):
    part = RAFDBDataset(drawn, "test")
    batches = list(DataLoader(part, batch_size=32))
    assert torch.equal(torch.cat([x for x, _ in batches]), part.images)
    assert torch.equal(torch.cat([y for _, y in batches]), part.labels)
    again = pickle.loads(pickle.dumps(part))  # workers that are spawned get it so
    assert torch.equal(again.images, part.images) and describe(again) == describe(part)


def test_a_source_says_whether_its_images_are_scaled(tmp_path):
    names = "surprise fear disgust happy sad angry neutral".split()
    source = open_source(by_class(tmp_path, names, face=encode(IMAGE.resize((48, 48)))))
    assert "14 of 14 test images" in (text := refusal(source, "test")) and "--face-size 100" in text
    part = RAFDBDataset(source._replace(face_size=100), "test")
    assert part.counts == [2] * 7 and np.abs(part.images[0, 0].int() - RAMP).max() < 12


BAD = {
    "truncated": (encode(IMAGE)[:-400], "cannot be decoded: image file is truncated"),
    "html": (b"<!DOCTYPE html><html><body>Sign in</body></html>", "is not a JPEG or PNG image"),
    "0 bytes": (b"", "is empty"),
    "gif": (encode(IMAGE.convert("P"), "GIF"), "is not a JPEG or PNG image"),
    "wrong size": (encode(IMAGE.resize((99, 100))), "is 99 x 100 pixels, not 100 x 100"),
    "large": (png(9_000, 9_000), "is 9000 x 9000 pixels, not 100 x 100"),
    "bomb": (png(100_000, 100_000), "cannot be decoded: Image size (10000000000 pixels) exceeds limit"),
    "16 bits": (encode(Image.fromarray(RAMP.astype(np.uint16) * 257), "PNG"), "has the pixel format I;16"),
    "2 MiB": (encode(IMAGE) + bytes(2 << 20), "is larger than 1 MiB"),
}


@pytest.mark.parametrize("layout", ["Kaggle", "official"])
@pytest.mark.parametrize("kind", BAD)
def test_bad_images_are_counted_and_named(tree, official, tmp_path, kind, layout):
    data, reason = BAD[kind]
    bad = [first_face(tree, split, label) for split in ("train", "test") for label in (4, 7)]
    if layout == "official":
        tree = shutil.copytree(official, tmp_path / "official") / "basic"
        bad = [tree / "Image/aligned" / file.name for file in bad]
    for file in bad:
        file.write_bytes(data)
    for split, of, files in (("train", 140, bad[:2]), ("val", 140, bad[:2]), ("test", 70, bad[2:])):
        text = refusal(tree, split, skip_bad=split == "test")  # test images are never left out
        read = "train" if split == "val" else split
        assert text.startswith(f"2 of {of} {read} images in {tree} cannot be used:\n"), text
        assert all(f"{file.relative_to(tree)}: " in text for file in files) and text.count(reason) == 2, text
        assert ("--skip-bad" in text) == (split != "test")


def test_skip_bad_leaves_training_images_out_and_counts_them(drawn, tree):
    whole = [RAFDBDataset(drawn, split) for split in ("train", "val")]
    bad = [
        tree / "DATASET/train/4" / next(name for name, label in zip(part.names, part.labels) if label == 3)
        for part in whole
    ]
    for file in bad:
        file.write_bytes(b"")
    parts = [RAFDBDataset(tree, split, skip_bad=True) for split in ("train", "val")]
    for part, before, file in zip(parts, whole, bad):
        assert part.names == [name for name in before.names if name != file.name]  # nothing else moved
        assert part.skipped == 2 and before.skipped == 0
        kept = torch.tensor([name != file.name for name in before.names])
        assert torch.equal(part.images, before.images[kept]) and torch.equal(part.labels, before.labels[kept])
    assert describe(*parts).endswith("drawn faces, not RAF-DB; 2 unreadable training images skipped")
    for file in (tree / "DATASET/train/2").iterdir():
        file.write_bytes(b"")
    assert "has no Fear left in train" in refusal(tree, "train", skip_bad=True)


def test_damage_to_drawn_faces_and_to_a_zip_says_how_to_mend_it(tree, kaggle_zip, tmp_path):
    first_face(tree).unlink()
    assert f"remove {tree} and type python -m ferlab.synthetic.dataset {tree}" in refusal(tree, "train")
    data = bytearray(kaggle_zip.read_bytes())
    data[data.index(b"\xff\xd8\xff") + 1000] ^= 0xFF  # one byte of the first image
    path = tmp_path / "damaged.zip"
    path.write_bytes(data)
    texts = [outcome(path, split) for split in ("train", "test")]
    assert sum("is damaged in the zip: Bad CRC-32" in text for text in texts) == 1


def outcome(root, split: str) -> str:
    try:
        return describe(RAFDBDataset(root, split))
    except UserError as error:
        return str(error)


def test_data_that_vanishes_after_it_was_found(tree):
    source = open_source(tree)
    shutil.rmtree(tree)
    text = refusal(source, "test")
    assert "70 of 70 test images" in text and "No such file or directory" in text and "60 more" in text
    assert f"{tree} does not exist" in refusal(tree, "test")


def test_the_line_that_says_what_was_found(drawn, kaggle_zip):
    parts = [RAFDBDataset(drawn, split) for split in SPLITS]
    assert describe(*parts) == (
        f"data: Kaggle layout, folder {drawn}: train 125 (Su13 Fe2 Di7 Ha49 Sa21 An7 Ne26) · val 15 (Su2 Fe1 "
        "Di1 Ha5 Sa2 An1 Ne3) · test 70 (Su7 Fe2 Di4 Ha27 Sa11 An4 Ne15); drawn faces, not RAF-DB"
    )
    assert describe(RAFDBDataset(kaggle_zip, "test")).endswith(
        "; NOT RAF-DB's known counts: filed as raf-db-dataset"
    )


def test_synthetic_is_drawn_into_the_cache_and_can_be_drawn_again(drawn, empty_cache, monkeypatch):
    monkeypatch.setattr(
        RAFDB_dataset,
        "draw_dataset",
        lambda folder: shutil.copytree(drawn, folder, dirs_exist_ok=True) and folder,
    )
    part = RAFDBDataset("synthetic", "test")
    assert part.drawn and part.hash == RAFDBDataset(drawn, "test").hash
    assert len(list(empty_cache.glob("drawn-faces-*"))) == 1
    monkeypatch.setattr(RAFDB_dataset, "draw_dataset", lambda folder: (folder / "x" / "y").mkdir())
    assert "no faces could be drawn in" in refusal("synthetic", "test")


def test_the_script_checks_data_and_exits_with_2_where_there_is_none(drawn, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["RAFDB_dataset.py", str(drawn)])
    RAFDB_dataset.main()
    assert capsys.readouterr().out == describe(*(RAFDBDataset(drawn, split) for split in SPLITS)) + "\n"
    bare = subprocess.run([sys.executable, RAFDB_dataset.__file__], capture_output=True, text=True)
    assert bare.returncode == 2 and "required: data" in bare.stderr and "Traceback" not in bare.stderr
    run = [sys.executable, RAFDB_dataset.__file__, tmp_path / "nowhere"]
    bad = subprocess.run(run, capture_output=True, text=True)
    assert bad.returncode == 2 and bad.stdout == ""
    assert bad.stderr.startswith(f"error: {tmp_path / 'nowhere'} does not exist.\nExpected there:")


def test_rafdb_itself(real):
    parts = [RAFDBDataset(real, split) for split in SPLITS]
    assert [len(part) for part in parts] == [11_045, 1_226, 3_068]
    assert "RAF-DB's known counts" in describe(*parts) and "NOT" not in describe(*parts)
    assert parts[1].counts == [129, 28, 72, 477, 198, 70, 252]
    assert [part.hash for part in parts] == ["d9f8acf5eeffef8d", "c404e35d68553c11", "b53f1d493981e784"]
