"""A found dataset: its rows, its classes, its name, and how to read its files.

source = find("raf-db-dataset"); source.dataset, source.counts, source.read(source.rows["test"][0].path)
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ferlab.data import rafdb
from ferlab.data.labels import DATASETS
from ferlab.data.rows import Row
from ferlab.data.splits import VAL, hash_of, split_indices
from ferlab.errors import UserError

KAGGLE, OFFICIAL = "Kaggle layout", "official layout"  # RAF-DB's; the others' classes are what they say
FOLDERS, CLASSES, TABLE = "a folder per class", "a folder per class and no splits", "a table"


class Source(NamedTuple):
    """A found dataset: its layout in words, its rows by split, and how to read one file's bytes."""

    layout: str
    root: Path
    drawn: bool
    rows: dict[str, list[Row]]
    read: Callable[[str], bytes]
    class_names: tuple[str, ...] = rafdb.CLASS_NAMES
    face_size: int = 0  # pixels a side that faces of any size are scaled to; 0: all must have RAF-DB's

    def scaled(self, face_size: int) -> "Source":
        """The same with its faces scaled to so many pixels a side; 0: none is scaled. Raises UserError."""
        if face_size and not 8 <= face_size <= 512:
            raise UserError(f"--face-size is {face_size}; it must be 8 to 512, or 0 to scale no face.")
        return self._replace(face_size=face_size)

    @property
    def side(self) -> int:
        """Pixels a side of its images as they are handed on."""
        return self.face_size or rafdb.SIDE

    @property
    def remedy(self) -> str:
        """A sentence on what to do when something in it is wrong."""
        if self.drawn:
            return (
                f"These are drawn faces: remove {self.root} and type python -m ferlab.synthetic.dataset "
                f"{self.root}"
            )
        if self.layout.startswith((FOLDERS, TABLE)):
            return f"Fix these files in {self.root}."
        return f"Fix these files, or remove {self.root} and fetch RAF-DB again with setup_dataset.ipynb."

    @property
    def counts(self) -> dict[str, tuple[int, ...]]:
        """Images by split and class, unreadable ones and those held out as val too."""
        n = len(self.class_names)
        return {
            split: tuple(map([row.label for row in rows].count, range(1, n + 1)))
            for split, rows in self.rows.items()
        }

    @property
    def dataset(self) -> str:
        """Its name: of a known dataset by its counts, "drawn faces", else its folder's or file's, in small
        letters, digits and dashes.
        """
        if self.drawn:
            return rafdb.DRAWN
        counts = self.counts
        for facts in DATASETS:
            if set(facts.CLASS_NAMES) == set(self.class_names):
                order = [facts.CLASS_NAMES.index(name) for name in self.class_names]
                known = {split: tuple(n[i] for i in order) for split, n in facts.COUNTS.items()}
                if counts == known:
                    return facts.NAME
        root = self.root.resolve()
        name = rafdb.slug(root.name if root.is_dir() else root.stem)
        return f"other-{name}" if name in map(rafdb.slug, (rafdb.NAME, rafdb.DRAWN)) else name

    @property
    def val_hash(self) -> str:
        """The hash of its val split, which runs on it have in their metrics.json as split_hash."""
        rows = self.rows.get("val", self.rows["train"])
        if "val" not in self.rows:
            held = split_indices(rows, self.class_names, "val", val_fraction=VAL, train_fraction=1.0)
            rows = [rows[i] for i in held]
        return hash_of([(row.name, row.label - 1) for row in rows])
