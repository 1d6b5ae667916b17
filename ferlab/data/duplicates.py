"""Images that stand in two splits under different names, found by their pixels: names tell of nothing.

found = between(train, val, test)       # {"val in train": [("train_00007_aligned.jpg", "copy.jpg")], ...}
raise_on_leakage(found)
"""

import hashlib

from torch import Tensor

from ferlab.errors import UserError, first_ten

SPLITS = (("val", "train"), ("test", "train"), ("test", "val"))


def between(*splits) -> dict[str, list[tuple[str, str]]]:
    """The names of the duplicates in any two of these RAFDBDatasets, as "val in train" and so on: each image
    with the first one that has the same pixels. All of RAF-DB takes 0.03 s.
    """
    by_name = {part.split: part for part in splits}
    rows = {name: _rows(part.images) for name, part in by_name.items()}
    return {
        f"{one} in {two}": _same(by_name[one], by_name[two], rows[one], rows[two])
        for one, two in SPLITS
        if one in by_name and two in by_name
    }


def copies(part, of) -> set[str]:
    """The names of all images of `part` that have the pixels of one of `of`, both RAFDBDatasets."""
    return {name for name, _ in _same(part, of, _rows(part.images), _rows(of.images))}


def _same(one, two, rows_one: list[bytes], rows_two: list[bytes]) -> list[tuple[str, str]]:
    """Each image of `one` that is in `two`, with the first one there that has its pixels, by their names."""
    shared = set(rows_one) & set(rows_two)
    first: dict[bytes, str] = {}
    for i in _having(shared, rows_two):
        first.setdefault(_digest(two.images[i]), two.names[i])
    found = ((one.names[i], first.get(_digest(one.images[i]))) for i in _having(shared, rows_one))
    return [(name, other) for name, other in found if other]


def raise_on_leakage(found: dict[str, list[tuple[str, str]]]) -> None:
    """Raise UserError where test images are trained on, or chosen by."""
    learnt = sorted([*found.get("test in train", ()), *found.get("test in val", ())])
    if learnt:
        listed = first_ten([f"{test} is {other}" for test, other in learnt])
        raise UserError(
            f"{len(learnt):,} test images are training images too, by their pixels:\n{listed}\n"
            "Remove these training images, or leave them out with --skip-bad: what is tested is not learnt."
        )


def _rows(images: Tensor) -> list[bytes]:
    """The middle row of the green pixels: few images share it by chance, and only those are read whole."""
    return [row.tobytes() for row in images[:, 1, images.shape[2] // 2].contiguous().numpy()]


def _having(shared: set[bytes], rows: list[bytes]) -> list[int]:
    return [i for i, row in enumerate(rows) if row in shared] if shared else []


def _digest(image: Tensor) -> bytes:
    return hashlib.sha256(image.contiguous().numpy().data).digest()
