"""Progressive resizing: training begins on smaller pictures, which cost less, and ends at the full size.

    size_at(0, epochs=20, start=64, full=96)             # 64; the last 6 of the 20 epochs are at 96

The idea is Howard's (fast.ai, DAWNBench 2018); MosaicML's Composer has it as "progressive resizing". A
network that only ever saw small pictures answers badly at a larger size (Touvron et al., NeurIPS 2019), hence
the last share at full size, and hence every epoch is evaluated at the size it was trained at.
"""

import math

FULL_SHARE = 0.3  # of the epochs, at full size; at least one epoch
STEP = 32  # pixels, the largest step between two sizes before they are rounded
MULTIPLE = 16  # pixels; even feature maps in all but the last stage of a network that halves five times


def size_at(epoch: int, *, epochs: int, start: int, full: int) -> int:
    """Pixels a side of the pictures in `epoch` (0 is the first): `full` always where `start` is 0."""
    growing = first_full(epochs=epochs, start=start, full=full)
    if epoch >= growing:
        return full
    sizes = math.ceil((full - start) / STEP)  # below the full one, equally long
    grown = (full - start) * (epoch * sizes // growing) / sizes
    return start + round(grown / MULTIPLE) * MULTIPLE


def first_full(*, epochs: int, start: int, full: int) -> int:
    """The first epoch at full size, counted from 0."""
    return epochs - max(1, round(FULL_SHARE * epochs)) if 0 < start < full else 0
