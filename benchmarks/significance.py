"""How often the paired tests see a difference where there is none: simulated pairs of equal architectures.

python benchmarks/significance.py     # some minutes; writes results/significance.json, its table in NOTES.md

Each pair is two architectures whose seeds spread alike around the same accuracy; images are easy or hard for
all of them alike. A test that is right calls 5 % of such pairs different.
"""

import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import notes  # noqa: E402
from ferlab.analysis.significance import LEVEL, bootstrap, mcnemar, p_value  # noqa: E402
from ferlab.analysis.tables import Table  # noqa: E402
from ferlab.errors import command  # noqa: E402

IMAGES, CLASSES = 3068, 7  # as RAF-DB's test set
ACCURACY, SPREAD = 0.82, 0.0075  # mean, and standard deviation from seed to seed
PAIRS, RESAMPLES = 300, 1000
SEEDS = 1, 2, 3


def answers(rng: np.random.Generator, labels: np.ndarray, ease: np.ndarray, seeds: int) -> np.ndarray:
    """Class indices (seeds, N) of one architecture: an image is answered right with the probability `ease`,
    shifted by what the seed is better or worse.
    """
    shift = rng.normal(0, SPREAD, (seeds, 1))
    right = rng.random((seeds, len(labels))) < np.clip(ease + shift, 0, 1)
    return np.where(right, labels, (labels + 1) % CLASSES)


def p_values(rng: np.random.Generator, seeds: int) -> tuple[float, float]:
    """p of one pair: when images alone are resampled, and as `significance.compare` takes it in accuracy."""
    labels = rng.integers(CLASSES, size=IMAGES)
    ease = rng.beta(5 * ACCURACY, 5 * (1 - ACCURACY), IMAGES)  # most images are easy for every seed
    pair = [answers(rng, labels, ease, seeds) for _ in range(2)]
    first, second = (predicted == labels for predicted in pair)
    counts = rng.multinomial(IMAGES, np.full(IMAGES, 1 / IMAGES), size=RESAMPLES)
    alone = p_value(counts @ (first.mean(0) - second.mean(0)))
    a, b = (draws["accuracy"] for draws in bootstrap(pair, labels, classes=CLASSES, resamples=RESAMPLES))
    return alone, max(p_value(a - b), mcnemar(first, second))


def run(folder: Path = notes.FOLDER, *, pairs: int = PAIRS) -> None:
    """Simulate and write what came out."""
    results, rows = {}, []
    for seeds in SEEDS:
        rng = np.random.default_rng(seeds)
        found = np.array([p_values(rng, seeds) for _ in tqdm(range(pairs), f"{seeds} seeds", disable=None)])
        alone, ours = (found < LEVEL).mean(0).tolist()
        results[str(seeds)] = {"images_alone": alone, "ours": ours}
        rows.append([str(seeds), f"{100 * alone:.0f} %", f"{100 * ours:.0f} %"])
    about = (
        f"{pairs} pairs of equal architectures, accuracy {100 * ACCURACY:.0f} %, seeds that spread by "
        f"{100 * SPREAD:.2f} points, {IMAGES:,} test images: how many are called different at "
        f"{100 * LEVEL:.0f} %, before Holm's correction. `python benchmarks/significance.py`"
    )
    table = Table(about, ["seeds each", "images alone resampled", "as the results pages test"], rows)
    numbers = {"pairs": pairs, "spread": SPREAD, "called_different": results}
    notes.record("significance", numbers, table, folder)


@command
def main() -> None:
    run()


if __name__ == "__main__":
    main()
