"""Random data sets: whatever is in one, it is read or refused in words; no hang, no other exception (5 s).

FUZZ=9000 FUZZ_SEED=1 python -m pytest -s tests/test_fuzz.py    # spoiled datasets, usually 300; first seed
"""

import os
import random
import shutil
import signal
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trees import IMAGE, encode, kaggle, official, zipped

import ferlab.data.cache
from ferlab.data.cache import decode_face
from ferlab.data.layout import find
from ferlab.errors import UserError
from RAFDB_dataset import RAFDBDataset

FUZZ, SEED = int(os.environ.get("FUZZ", 300)), int(os.environ.get("FUZZ_SEED", 0))
QUICK = settings(
    max_examples=max(50, FUZZ // 3),
    deadline=None,
    derandomize="FUZZ" not in os.environ,
    suppress_health_check=list(HealthCheck),
    database=None,
)


def in_words(error: UserError) -> str:
    """The message, if it is one that a user can read."""
    text = str(error)
    assert 20 < len(text) < 3000 and len(text.splitlines()) < 16 and "Traceback" not in text, text
    return text


FILES = [
    encode(IMAGE),
    encode(IMAGE, quality=95, subsampling=0, progressive=True),
    encode(IMAGE, "PNG"),
    encode(IMAGE.convert("L")),
    encode(IMAGE.convert("CMYK")),
    encode(IMAGE.convert("P"), "PNG"),
]


def spoiled(data: bytes, draw: random.Random) -> bytes:
    """`data` with some bytes flipped, cut, put in, doubled or from another file."""
    data = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 8, 64))):
        i, j = draw.randrange(len(data) + 1), draw.randrange(len(data) + 1)
        kind = draw.randrange(6)
        if kind == 0:
            data[i : i + 1] = bytes([draw.randrange(256)])
        elif kind == 1:
            data[i:j] = b""
        elif kind == 2:
            data[i:i] = draw.randbytes(draw.choice((1, 4, 1000)))
        elif kind == 3:
            data[i:i] = data[min(i, j) : max(i, j)][:5000]
        elif kind == 4:
            data[i:] = draw.choice(FILES)[i:]
        elif i + 2 <= len(data):
            data[i : i + 2] = draw.choice((b"\xff\xff", b"\0\0", b"\x7f\xff", b"\xff\xd8", b"\n,", b"\r\n"))
    return bytes(data)


def test_spoiled_images_are_pixels_or_a_reason():
    outcomes = Counter()
    for seed in range(SEED, SEED + 10 * FUZZ):
        draw = random.Random(seed)
        try:
            pixels = decode_face(spoiled(draw.choice(FILES), draw))
            assert pixels.shape == (3, 100, 100) and pixels.dtype == np.uint8
            outcomes["decoded"] += 1
        except ValueError as error:
            assert str(error).startswith(("cannot be decoded: ", "is ", "has the pixel format ")), error
            outcomes["refused"] += 1
    print(f"images: {dict(outcomes)} of {10 * FUZZ} from seed {SEED}")
    assert min(outcomes["decoded"], outcomes["refused"]) > FUZZ


def put_something_else(path: Path, draw: random.Random) -> None:
    """In the place of a file: nothing, a folder, a link, a pipe, a copy of another file."""
    kind = draw.randrange(7)
    if kind == 0:
        return path.rename(path.with_name(draw.choice(("x", "\u4e2d.jpg", " .jpg", "a,b.jpg", "-1.JPG"))))
    if kind == 1:
        return shutil.copy(path, path.with_name(f"2{path.name}"))
    path.unlink()
    if kind == 2:
        path.mkdir()
    elif kind == 3:
        path.symlink_to(draw.choice((path.name, "..", "/dev/zero", "/dev/null", "/proc/self/mem", "nowhere")))
    elif kind == 4:
        os.mkfifo(path)
    elif kind == 5:
        path.write_bytes(draw.choice((b"", b"<!DOCTYPE html>", b"\xef\xbb\xbf", draw.randbytes(2000))))


def pipes(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if (Path(folder) / name).is_fifo()]


def a_spoiled_dataset(root: Path, draw: random.Random) -> Path:
    """A small tree or zip in a random layout with one to three faults; where it is."""
    layout = draw.choice((kaggle, kaggle, official))
    layout(root, face=draw.choice(FILES))
    for step in range(draw.choice((1, 1, 2, 3))):
        files = sorted(p for p in root.rglob("*") if p.is_file() and not p.is_symlink())
        tables = [p for p in files if p.suffix in (".csv", ".txt")]
        path = draw.choice((tables if draw.random() < 0.4 else files) or [root / "none"])
        folder = path.parent
        if folder != root and draw.random() < 0.1:
            draw.choice(
                (
                    shutil.rmtree,
                    lambda p: p.rename(p.with_name(f"fear{step}")),
                    lambda p: shutil.copytree(p, p.with_name(f"8{step}"), True, pipes),
                )
            )(folder)
        elif path.exists() and draw.random() < 0.6:
            path.write_bytes(spoiled(path.read_bytes(), draw))
        elif path.exists():
            put_something_else(path, draw)
    if layout is kaggle and draw.random() < 0.4:
        for link in [p for p in root.rglob("*") if p.is_symlink()]:
            link.unlink()  # packing would follow it
        packed = zipped(root, root.with_suffix(".zip"))
        if draw.random() < 0.7:
            packed.write_bytes(spoiled(packed.read_bytes(), draw))
        return packed
    return root


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="needs an alarm clock")
@pytest.mark.filterwarnings("ignore")
def test_spoiled_datasets_are_read_or_refused_in_words(tmp_path, monkeypatch):
    monkeypatch.setattr(ferlab.data.cache, "_write_cache", lambda *_: None)
    outcomes, said = Counter(), Counter()
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail(f"it hangs: seed {seed}"))
    for seed in range(SEED, SEED + FUZZ):
        draw, root = random.Random(seed), tmp_path / str(seed)
        path = a_spoiled_dataset(root, draw)
        signal.alarm(20)
        try:
            source = find(path)
            parts = [
                RAFDBDataset(source, split, skip_bad=split == "train" and seed % 2 == 0)
                for split in ("train", "test")
            ]
            for part in parts:
                assert part.images.shape == (len(part), 3, 100, 100) and min(part.counts) > 0
                for image, label in zip(part.names, part.labels.tolist()):
                    number = image.split("_")[1:2]  # names tell the labels here
                    assert not number or label == (int(number[0]) - 1) // 2, f"seed {seed}: {image}"
            outcomes["read"] += 1
        except UserError as error:
            assert str(tmp_path) in in_words(error), f"seed {seed}: {error}"
            outcomes["refused"] += 1
            said[str(error).split(str(root))[-1][:40]] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
        finally:
            signal.alarm(0)
            shutil.rmtree(root, ignore_errors=True)
            root.with_suffix(".zip").unlink(missing_ok=True)
    print(f"datasets: {dict(outcomes)} of {FUZZ} from seed {SEED}, in {len(said)} ways")
    assert min(outcomes["read"], outcomes["refused"]) > FUZZ // 50


@pytest.fixture(scope="module")
def trees(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("labels")
    return kaggle(folder / "kaggle"), official(folder / "official")


def name(split: str, number: int) -> str:
    return f"{split}_{number:05d}_aligned.jpg" if split == "train" else f"{split}_{number:04d}_aligned.jpg"


ROWS = [(name("train", n + 1), str(n // 2 + 1)) for n in range(14)]
ODD = [*map(str, range(9)), "-100", "1.0", "", " 3 ", "\u0663", *(image for image, _ in ROWS)]
CELL = st.sampled_from(ODD) | st.text(max_size=8)
ENDS = st.sampled_from(["\n", "\r\n", "\r", "\n\n"])
EDIT = st.tuples(st.integers(0, 14), st.sampled_from(["put", "drop", "twice", "label"]), CELL, CELL)


def edited(edits) -> list[tuple[str, str]]:
    rows = list(ROWS)
    for i, what, image, label in edits:
        old = rows[i : i + 1]
        rows[i : i + 1] = {
            "put": [(image, label)],
            "drop": [],
            "twice": old * 2,
            "label": [(name, label) for name, _ in old],
        }[what]
    return rows


@QUICK
@given(edits=st.lists(EDIT, max_size=3), ends=ENDS, bom=st.booleans(), noise=st.binary(max_size=4))
def test_label_files_are_what_the_folders_say_or_refused(trees, edits, ends, bom, noise):
    lines = ["image,label", *(",".join(row) for row in edited(edits))]
    data = ("\ufeff" * bom + ends.join(lines)).encode("utf-8", "replace") + noise
    (trees[0] / "train_labels.csv").write_bytes(data)
    try:
        rows = find(trees[0]).rows["train"]
    except UserError as error:
        assert "train_labels.csv" in in_words(error)
        assert edits or noise
    else:
        assert [(row.name, str(row.label)) for row in rows] == ROWS


@QUICK
@given(edits=st.lists(EDIT, max_size=3), ends=ENDS, space=st.sampled_from(" \t"), noise=st.binary(max_size=4))
def test_the_release_s_label_file_is_read_line_by_line_or_refused(trees, edits, ends, space, noise):
    test = [(name("test", n + 1), str(n // 2 + 1)) for n in range(14)]
    lines = [space.join((image.replace("_aligned", ""), label)) for image, label in edited(edits) + test]
    data = ends.join(lines).encode("utf-8", "replace") + noise
    (trees[1] / "basic/EmoLabel/list_patition_label.txt").write_bytes(data)
    try:
        rows = find(trees[1]).rows["train"]
    except UserError as error:
        assert "list_patition_label.txt" in in_words(error)
        assert edits or noise
    else:  # nothing else tells the labels here: they are the last word of the image's one line
        words = [line.split() for line in data.decode().splitlines() if line.startswith("train")]
        found = {line[0][:11] + "_aligned.jpg": line[1] for line in words}
        assert {row.name: str(row.label) for row in rows} == found and len(words) == 14
        assert set(found.values()) == set("1234567")
