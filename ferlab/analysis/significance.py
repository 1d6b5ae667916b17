"""How sure a difference is: bootstrap over test images and seeds, McNemar's test, Holm's correction.

    draws = bootstrap([predicted_a, predicted_b], labels, classes=7)    # predictions (seeds, images) of each
    claims = compare({"A": predicted_a, "B": predicted_b}, labels, draws, [("A", "B")], classes=7)
    print(table(claims).markdown())

Several seeds: a resample draws test images once for all models, so that differences are paired by image, and
for each model S - 1 of its S seeds with replacement (Rao and Wu, JASA 1988: S of S would make the spread of
so few too small), whose scores are averaged. Resampling images alone ignores that another seed ends
elsewhere, and calls equal architectures different several times as often as it should; this seldom does, with
two seeds or three (simulated by benchmarks/significance.py, numbers in benchmarks/NOTES.md). With one seed
nothing can know that spread, so one seed ranks the trained networks and never the architectures.
"""

import zlib
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest, chi2

from ferlab.analysis.metrics import from_confusion
from ferlab.analysis.tables import Table, p_text, points

LEVEL = 0.05
METRICS = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy"}


def bootstrap(
    predictions: Sequence[np.ndarray],
    labels: np.ndarray,
    *,
    classes: int,
    resamples: int = 10_000,
    seed: int = 0,
) -> list[dict[str, np.ndarray]]:
    """For each model, the numbers of metrics.from_confusion in every resample: (R,) or by class (R, C).

    predictions: class indices (S, N) of each model's seeds; labels: (N,). Row r of every model is of the same
    resampled images.
    """
    rng, n = np.random.default_rng(seed), len(labels)
    seeds = [_seed_weights(p, resamples, seed) for p in predictions]
    cells = [np.eye(classes**2, dtype=np.float32)[labels * classes + p] for p in predictions]  # (S, N, C * C)
    parts = [defaultdict(list) for _ in predictions]
    for start in range(0, resamples, 500):  # in parts: all counts at once would take 120 MB on RAF-DB
        rows = min(500, resamples - start)
        drawn = rng.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float32)
        for part, cell, weight in zip(parts, cells, seeds):
            numbers = from_confusion((counts @ cell).reshape(len(cell), rows, classes, classes))
            for key, value in numbers.items():
                part[key].append(np.einsum("rs,sr...->r...", weight[start : start + rows], value))
    return [{key: np.concatenate(values) for key, values in part.items()} for part in parts]


def _seed_weights(predicted: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """(R, S) shares of the seeds in each resample: S - 1 drawn of S, or the only one."""
    rng = np.random.default_rng([seed, zlib.crc32(predicted.tobytes())])  # whichever models stand beside it
    seeds, drawn = len(predicted), max(1, len(predicted) - 1)
    return rng.multinomial(drawn, np.full(seeds, 1 / seeds), size=resamples) / drawn


def interval(values: np.ndarray) -> tuple[float, float]:
    """95 % percentile interval of resampled values (R,)."""
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def p_value(differences: np.ndarray) -> float:
    """Two-sided p of "no difference" from resampled paired differences (R,); never below 2 / (R + 1)."""
    tail = min((differences <= 0).sum(), (differences >= 0).sum())
    return float(min(1, 2 * (1 + tail) / (len(differences) + 1)))


def mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """Two-sided p of "both are right equally often" from right or wrong (S, N) on the same images.

    One seed each: the exact test (McNemar, Psychometrika 1947). Several: chi-squared on each image's
    difference of the shares of seeds that are right, which takes an image's answers as one cluster (Durkalski
    et al., Statistics in Medicine 2003); seeds need not be equally many.
    """
    difference = first.mean(0) - second.mean(0)
    if len(first) == len(second) == 1:
        won, lost = int((difference > 0).sum()), int((difference < 0).sum())
        return float(binomtest(won, won + lost).pvalue) if won + lost else 1.0
    if not difference.any():
        return 1.0
    return float(chi2.sf(difference.sum() ** 2 / (difference**2).sum(), df=1))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction of p-values (Scandinavian Journal of Statistics, 1979), in their order."""
    corrected, largest = [0.0] * len(p), 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[i]))
        corrected[i] = largest
    return corrected


class Claim(NamedTuple):
    """One comparison of two models in one metric, the higher mean first; shares, not per cent."""

    metric: str
    first: str
    second: str
    difference: float
    low: float  # of the paired difference's 95 % interval
    high: float
    mcnemar: float | None  # raw p; for accuracy only
    bootstrap: float  # raw p
    p: float  # the larger of the two, after Holm
    intervals_disjoint: bool  # whether the two models' own 95 % intervals do not touch
    seeds: int  # of the one that has fewer

    @property
    def conclusion(self) -> str:
        """better, better as trained, overlap or not significant: only the first ranks architectures."""
        if self.p >= LEVEL:
            return "not significant"
        if not self.intervals_disjoint:
            return "overlap"
        return "better" if self.seeds > 1 else "better as trained"


def compare(
    predictions: dict[str, np.ndarray],
    labels: np.ndarray,
    draws: Sequence[dict[str, np.ndarray]],
    pairs: Sequence[tuple[str, str]],
    *,
    classes: int,
) -> list[Claim]:
    """A claim for each of `pairs` in accuracy and in balanced accuracy; Holm's correction is over all.

    predictions: class indices (S, N) by model; draws: what `bootstrap` gave for them, in the same order. A
    claim in accuracy takes the larger p of McNemar's test and of the bootstrap.
    """
    by_name = dict(zip(predictions, draws))
    means = {name: scores(predicted, labels, classes=classes) for name, predicted in predictions.items()}
    claims = []
    for metric in METRICS:
        ranks = sorted(predictions, key=lambda name: -means[name][metric].mean())
        for first, second in sorted(
            (sorted(pair, key=ranks.index) for pair in pairs),
            key=lambda pair: [ranks.index(name) for name in pair],
        ):
            a, b = by_name[first][metric], by_name[second][metric]
            tests = [p_value(a - b)]
            if metric == "accuracy":
                tests.append(mcnemar(predictions[first] == labels, predictions[second] == labels))
            claims.append(
                Claim(
                    metric,
                    first,
                    second,
                    float(means[first][metric].mean() - means[second][metric].mean()),
                    *interval(a - b),
                    tests[1] if len(tests) > 1 else None,
                    tests[0],
                    max(tests),
                    interval(a)[0] > interval(b)[1],
                    min(len(predictions[first]), len(predictions[second])),
                )
            )
    return [claim._replace(p=p) for claim, p in zip(claims, holm([claim.p for claim in claims]))]


def scores(predicted: np.ndarray, labels: np.ndarray, *, classes: int) -> dict[str, np.ndarray]:
    """The numbers of metrics.from_confusion for each seed: (S,) or by class (S, C)."""
    cells = [np.bincount(labels * classes + p, minlength=classes**2) for p in predicted]
    return from_confusion(np.reshape(cells, (-1, classes, classes)))


def table(claims: Sequence[Claim]) -> Table:
    """Every claim with its difference and p-values."""
    header = [
        "Metric",
        "Higher",
        "Lower",
        "Difference, points [95 %]",
        "McNemar p",
        "Bootstrap p",
        "Holm's p",
        "Conclusion",
    ]
    rows = [
        [
            METRICS[c.metric],
            c.first,
            c.second,
            points(c.difference, (c.low, c.high)),
            p_text(c.mcnemar),
            p_text(c.bootstrap),
            p_text(c.p),
            c.conclusion,
        ]
        for c in claims
    ]
    return Table("Paired tests on the same test images, Holm's correction over all rows.", header, rows)


def listed(names: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
