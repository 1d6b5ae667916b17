"""Which images belong to which split: by the hash of a name, the same on every machine and for every seed.

indices = split_indices(rows, class_names, "val", val_fraction=0.1, train_fraction=1.0)
"""

import hashlib
import json
from collections.abc import Sequence

from ferlab.data.rows import Row
from ferlab.errors import UserError

VAL = 0.1  # the share of the training images that is val
HELD_OUT = 0.2  # the share that is the test set where the data bring none


def split_indices(
    rows: list[Row], class_names: Sequence[str], split: str, *, val_fraction: float, train_fraction: float
) -> list[int]:
    """Indices of the training `rows` that are "val", a stratified share, or "train", which is a stratified
    share of the rest; in the rows' order. val_fraction 0: all rows are the rest. Raises UserError where a
    class has too few images for both.
    """
    kept: list[int] = []
    for label, class_name in enumerate(class_names, 1):
        ranked = in_hash_order([i for i, row in enumerate(rows) if row.label == label], rows, "val")
        n_val = max(1, round(len(ranked) * val_fraction)) if val_fraction else 0
        if split == "val":
            kept += ranked[:n_val]
            continue
        rest = in_hash_order(ranked[n_val:], rows, "train")
        if not rest:
            raise UserError(
                f"class {label} ({class_name}) has {len(ranked)} training images, too few to "
                f"give {val_fraction:g} of them to val; add images."
            )
        kept += rest[: max(1, round(len(rest) * train_fraction))]
    return sorted(kept)


def hold_out(rows: list[Row]) -> dict[str, list[Row]]:
    """train and test: a stratified fifth, of a class with one or two images nothing, is the test set."""
    held: set[int] = set()
    for label in {row.label for row in rows}:
        ranked = in_hash_order([i for i, row in enumerate(rows) if row.label == label], rows, "test")
        if len(ranked) > 2:
            held.update(ranked[: max(1, round(len(ranked) * HELD_OUT))])
    return {
        "train": [row for i, row in enumerate(rows) if i not in held],
        "test": [row for i, row in enumerate(rows) if i in held],
    }


def in_hash_order(indices: list[int], rows: list[Row], salt: str) -> list[int]:
    """In the order of a hash of the names: no seed, no machine and no other image moves one."""
    return sorted(indices, key=lambda i: hashlib.sha256(f"{salt}:{rows[i].name}".encode()).digest())


def hash_of(pairs: list[tuple[str, int]]) -> str:
    """Names and labels from 0 as 16 hexadecimal digits: equal splits, equal hash."""
    return hashlib.sha256(json.dumps(sorted(pairs)).encode()).hexdigest()[:16]
