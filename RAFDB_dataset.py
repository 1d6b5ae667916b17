"""RAF-DB as tensors: files on disk -> uint8 images, labels and fixed splits; other labelled faces, too.

from RAFDB_dataset import RAFDBDataset
train = RAFDBDataset("raf-db-dataset", "train")     # also "val" and "test"; train.images is (N, 3, 100, 100)

python RAFDB_dataset.py raf-db-dataset               # checks the data and says what was found
python RAFDB_dataset.py my-faces 100                 # the same, faces of any size scaled to 100 x 100
"""

import ferlab  # noqa: F401  before torch is loaded: it words what goes wrong then

# isort: split
import argparse
import os
from pathlib import Path
from typing import Literal

import torch
from torch.utils.data import Dataset

from ferlab.data import duplicates
from ferlab.data.cache import cache_folder, decoded, take
from ferlab.data.layout import find
from ferlab.data.rafdb import DRAWN, NAME
from ferlab.data.source import KAGGLE, OFFICIAL, Source
from ferlab.data.splits import VAL, hash_of, split_indices
from ferlab.errors import UserError, command
from ferlab.files import locked
from ferlab.synthetic.dataset import VERSION, draw_dataset


class RAFDBDataset(Dataset):
    """One split of RAF-DB: `images` uint8 (N, 3, 100, 100), `labels` int64 (N,) by `class_names`, `names`.

    `root` is a folder or zip in either of RAF-DB's layouts, other faces in any layout of ferlab.data.layout,
    the word "synthetic" for drawn faces, or what `open_source` gave. "val" is a fixed stratified share of the
    official training images, chosen by a hash of the file name: the same on every machine, in either layout
    and for every seed; where the data bring a val of their own, it is that. `train_fraction` keeps a
    stratified share of "train"; a smaller share is part of every larger one. `skip_bad` leaves unreadable
    training images out and counts them in `skipped`; test images are never left out. `resized` counts those
    that were scaled, of train and val together, and `repeated` those that `leave_out` took. Raises UserError
    with a count and the first ten where files, labels or images are not as they should be.
    """

    def __init__(
        self,
        root: str | Path | Source,
        split: Literal["train", "val", "test"],
        *,
        val_fraction: float = VAL,
        train_fraction: float = 1.0,
        skip_bad: bool = False,
    ) -> None:
        if split not in ("train", "val", "test"):
            raise ValueError(f"split is {split!r}; it must be train, val or test")
        source = open_source(root)
        own = self.official = split if split in source.rows else "train"  # the part of the data it is in
        rows = source.rows[own]
        images, unreadable, self.resized = decoded(source, own, skip_bad=skip_bad and own == "train")
        keep = list(range(len(rows)))
        if own == "train":
            share = 0.0 if "val" in source.rows else val_fraction
            keep = split_indices(
                rows, source.class_names, split, val_fraction=share, train_fraction=train_fraction
            )
        keep = [i for i in keep if i not in unreadable]
        self.split, self.layout, self.drawn = split, source.layout, source.drawn
        self.skipped, self.repeated = len(unreadable), 0
        self.class_names, self.kind = source.class_names, source.dataset
        self.names = [rows[i].name for i in keep]
        self.labels = torch.tensor([rows[i].label - 1 for i in keep], dtype=torch.int64)
        if own == "train" and 0 in self.counts:
            raise UserError(
                f"without its {len(unreadable):,} unreadable images {source.root} has no "
                f"{self.class_names[self.counts.index(0)]} left in {split}. {source.remedy}"
            )
        self.images = torch.from_numpy(take(images, keep))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.images[index], int(self.labels[index])

    def leave_out(self, names: set[str]) -> None:
        """Forget the images of these names, and count them in `repeated`."""
        counts = self.counts
        kept = [i for i, name in enumerate(self.names) if name not in names]
        if len(kept) < len(self):
            self.repeated = len(self) - len(kept)
            self.names = [self.names[i] for i in kept]
            self.labels, self.images = self.labels[kept], self.images[kept]
            if any(before and not now for before, now in zip(counts, self.counts)):
                raise UserError(
                    f"without the images that are also in test, a class of {self.split} is empty."
                )

    @property
    def num_classes(self) -> int:
        """How many classes there are, in any split."""
        return len(self.class_names)

    @property
    def counts(self) -> list[int]:
        """Images per class, in class_names' order."""
        return torch.bincount(self.labels, minlength=self.num_classes).tolist()

    @property
    def hash(self) -> str:
        """Names and labels of this split as 16 hexadecimal digits: equal splits, equal hash."""
        return hash_of(list(zip(self.names, self.labels.tolist())))


def load_splits(options) -> tuple[RAFDBDataset, RAFDBDataset, RAFDBDataset | None]:
    """train, val and test, as the options of a run ask for them; no test set with --no-test.

    Raises UserError where the data are not as they should be: of several processes on one machine the first
    says why, the others that they end, too.
    """
    try:
        source = open_source(options.data).scaled(options.face_size)
        train = RAFDBDataset(
            source, "train", train_fraction=options.train_fraction, skip_bad=options.skip_bad
        )
        val = RAFDBDataset(source, "val", skip_bad=options.skip_bad)
        test = RAFDBDataset(source, "test") if options.test or options.skip_bad else None
        if options.skip_bad:
            for part in (train, val):
                part.leave_out(duplicates.copies(part, test))
        return train, val, test if options.test else None
    except UserError as error:
        if os.environ.get("LOCAL_RANK", "0") == "0":
            raise
        raise UserError("process 0 failed; see its message.", code=error.code) from None


def describe(*splits: RAFDBDataset, same: dict[str, list] | None = None) -> str:
    """One line: layout, images per split and class, duplicates across the splits, and whether the official
    counts are RAF-DB's; and a note where val has duplicates in train. same: what duplicates.between found, if
    it was asked.
    """
    first = splits[0]
    known = {NAME: "RAF-DB's known counts", DRAWN: "drawn faces, not RAF-DB"}
    unknown = "NOT RAF-DB's known counts" if first.layout.startswith((KAGGLE, OFFICIAL)) else "not RAF-DB"
    about = known.get(first.kind, f"{unknown}: filed as {first.kind}")
    short = [name[:2] for name in first.class_names]
    short = short if len(set(short)) == len(short) else [f"{name} " for name in first.class_names]
    parts = [
        f"{s.split} {len(s):,} ({' '.join(f'{name}{n}' for name, n in zip(short, s.counts))})" for s in splits
    ]
    skipped = f"; {first.skipped:,} unreadable training images skipped" if first.skipped else ""
    if repeated := sum(part.repeated for part in splits):
        skipped += f"; {repeated:,} images of train and val skipped that are in test, too"
    scaled = sum({part.official: part.resized for part in splits}.values())
    resized = f"; scaled to {first.images.shape[-1]} pixels a side: {scaled:,}" if scaled else ""
    pairs = duplicates.between(*splits) if same is None else same
    found = {key: len(names) for key, names in pairs.items() if names}
    by_pixels = "".join(f"; pixel-identical duplicates: {n:,} images of {key}" for key, n in found.items())
    note = ""
    if "val in train" in found:
        note = "\nnote: val images are also in train (data leakage), so scores on val are too high"
    return f"data: {first.layout}: {' · '.join(parts)}{by_pixels}; {about}{resized}{skipped}{note}"


def open_source(root: str | Path | Source) -> Source:
    """The dataset at `root`, found and checked; "synthetic" draws one. Give the result to several splits."""
    if isinstance(root, Source):
        return root
    if str(root) != "synthetic":
        return find(root)
    folder = cache_folder() / f"drawn-faces-{VERSION}"
    try:
        with locked(folder.parent):
            return find(draw_dataset(folder))
    except (ValueError, OSError) as error:
        raise UserError(f"no faces could be drawn in {folder} ({error}); remove it or make room.") from None


@command
def main() -> None:
    parser = argparse.ArgumentParser(description="Check a dataset: files, labels, sizes, counts, duplicates.")
    parser.add_argument("data", help="folder, .zip or table of labelled faces; or synthetic for drawn ones")
    parser.add_argument("face_size", nargs="?", type=int, default=0, help="scale faces of any size to N x N")
    args = parser.parse_args()
    if not 0 <= args.face_size <= 512:
        raise UserError(
            f"the face size is {args.face_size}; it must be 1 to 512, or 0 for faces as they are."
        )
    source = open_source(args.data).scaled(args.face_size)
    splits = [RAFDBDataset(source, split) for split in ("train", "val", "test")]
    same = duplicates.between(*splits)
    print(describe(*splits, same=same))
    duplicates.raise_on_leakage(same)


if __name__ == "__main__":
    main()
