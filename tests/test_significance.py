"""Tests and intervals against values worked out by hand, scipy, and what theory says."""

import numpy as np
import pytest
from scipy import stats

from ferlab.analysis import metrics
from ferlab.analysis.significance import Claim, bootstrap, compare, holm, interval, mcnemar, p_value

LABELS = np.arange(2100) % 7


def guesses(right: float, seeds: int, *, draw: int = 0) -> np.ndarray:
    """Predictions (seeds, 2100) that are right with this probability, image by image."""
    rng = np.random.default_rng([round(100 * right), seeds, draw])
    wrong = (LABELS + rng.integers(1, 7, (seeds, len(LABELS)))) % 7
    return np.where(rng.random((seeds, len(LABELS))) < right, LABELS, wrong)


def answers(only_first: int, only_second: int, both: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """Right or wrong of two models of one seed each, (1, N), with these discordant pairs."""
    first = np.repeat([1, 0, 1], [only_first, only_second, both])
    second = np.repeat([0, 1, 1], [only_first, only_second, both])
    return first[None].astype(bool), second[None].astype(bool)


def test_mcnemar_of_one_seed_is_the_exact_binomial_test():
    assert mcnemar(*answers(9, 2)) == pytest.approx(2 * (1 + 11 + 55) / 2**11)  # by hand
    for won, lost in ((0, 0), (1, 1), (30, 12), (700, 600)):
        expected = stats.binomtest(won, won + lost).pvalue if won + lost else 1
        assert mcnemar(*answers(won, lost)) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_of_several_seeds_is_chi_squared_and_a_repeated_seed_adds_nothing():
    first, second = answers(30, 12)
    expected = stats.chi2.sf((30 - 12) ** 2 / (30 + 12), 1)
    assert mcnemar(first.repeat(2, 0), second.repeat(2, 0)) == pytest.approx(expected)
    assert mcnemar(first.repeat(3, 0), second) == pytest.approx(expected)  # seeds need not be equally many
    assert mcnemar(first.repeat(2, 0), first.repeat(2, 0)) == 1


def test_mcnemar_of_seeds_that_answer_differently_by_hand():
    first = np.array([[1, 1, 1, 0], [1, 0, 1, 0]], bool)
    second = np.array([[0, 0, 1, 1], [0, 0, 1, 0]], bool)
    differences = [1, 0.5, 0, -0.5]  # of the shares of seeds that are right, image by image
    expected = stats.chi2.sf(sum(differences) ** 2 / sum(d * d for d in differences), 1)
    assert mcnemar(first, second) == pytest.approx(expected)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.5]) == [1, 1]
    assert holm([]) == []


def test_p_value_counts_both_tails_and_is_never_zero():
    assert p_value(np.array([-1.0, 1, 1, 1])) == pytest.approx(2 * (1 + 1) / 5)
    assert p_value(np.ones(999)) == pytest.approx(2 / 1000)
    assert p_value(np.zeros(10)) == 1


def test_the_interval_of_one_seed_is_the_one_in_metrics_json():
    predicted = guesses(0.7, 1)
    draws = bootstrap([predicted], LABELS, classes=7)[0]
    expected = metrics.intervals(predicted[0], LABELS, classes=7)
    for key in ("accuracy", "balanced_accuracy", "macro_f1"):
        assert interval(draws[key]) == pytest.approx(expected[key], abs=0.003)


def test_the_bootstrap_knows_how_far_seeds_spread():
    seeds = np.stack([LABELS, (LABELS + 1) % 7, LABELS])  # accuracy 1, 0, 1 whatever images are drawn
    accuracy = bootstrap([seeds], LABELS[:2100], classes=7)[0]["accuracy"]
    assert accuracy.mean() == pytest.approx(2 / 3, abs=0.01)
    assert accuracy.var() == pytest.approx(np.var([1, 0, 1], ddof=1) / 3, rel=0.05)


def test_differences_are_paired_by_image():
    first = guesses(0.7, 1)
    changed = np.arange(len(LABELS)) % 50 == 0  # the second model differs in 2 % of the images only
    second = np.where(changed, (LABELS + 1) % 7, first)
    a, b = bootstrap([first, second], LABELS, classes=7)
    difference = (first == LABELS).astype(float) - (second == LABELS)
    expected = difference.std() / np.sqrt(len(LABELS))
    assert (a["accuracy"] - b["accuracy"]).std() == pytest.approx(expected, rel=0.05)


def test_what_stands_beside_a_model_does_not_change_its_interval():
    first, second = guesses(0.7, 3), guesses(0.6, 2)
    alone, beside = bootstrap([first], LABELS, classes=7)[0], bootstrap([second, first], LABELS, classes=7)[1]
    assert (alone["macro_f1"] == beside["macro_f1"]).all()
    assert (alone["recall"] == beside["recall"]).all()


def claims_of(predictions: dict[str, np.ndarray]) -> dict[tuple, Claim]:
    pairs = [("A", "B"), ("B", "C"), ("C", "A")][: 3 if "C" in predictions else 1]
    claims = compare(
        predictions, LABELS, bootstrap(list(predictions.values()), LABELS, classes=7), pairs, classes=7
    )
    return {(claim.metric, frozenset((claim.first, claim.second))): claim for claim in claims}


def test_a_clear_winner_is_named_and_equal_models_are_not_ranked():
    claims = claims_of({"A": guesses(0.6, 3), "B": guesses(0.8, 3), "C": guesses(0.6, 3, draw=1)})
    for metric in ("accuracy", "balanced_accuracy"):
        claim = claims[metric, frozenset("AB")]
        assert (claim.first, claim.second, claim.conclusion) == ("B", "A", "better")
        assert claim.difference == pytest.approx(0.2, abs=0.03) and claim.low > 0.1
        assert claims[metric, frozenset("AC")].conclusion == "not significant"


def test_accuracy_takes_the_larger_of_its_two_p_values_before_holm():
    claims = claims_of({"A": guesses(0.70, 2), "B": guesses(0.71, 2)})
    accuracy, balanced = (claims[key, frozenset("AB")] for key in ("accuracy", "balanced_accuracy"))
    assert balanced.mcnemar is None
    assert [accuracy.p, balanced.p] == holm([max(accuracy.mcnemar, accuracy.bootstrap), balanced.bootstrap])


def test_one_seed_ranks_networks_but_no_recipes():
    claims = claims_of({"A": guesses(0.8, 1), "B": guesses(0.5, 3)})
    assert {claim.conclusion for claim in claims.values()} == {"better as trained"}


@pytest.mark.parametrize(
    ("p", "apart", "seeds", "conclusion"),
    [
        (0.04, True, 2, "better"),
        (0.04, False, 2, "overlap"),
        (0.05, True, 2, "not significant"),
        (0.04, True, 1, "better as trained"),
        (0.04, False, 1, "overlap"),
    ],
)
def test_conclusions(p, apart, seeds, conclusion):
    claim = Claim("accuracy", "A", "B", 0.1, 0.05, 0.15, p, p, p, apart, seeds)
    assert claim.conclusion == conclusion


def test_paired_tests_that_see_more_than_the_intervals_do_not_rank():
    first = guesses(0.7, 1).repeat(2, 0)  # two seeds that agree
    wrong = np.arange(len(LABELS)) % 60 == 0
    second = np.where(wrong & (first == LABELS), (LABELS + 1) % 7, first)
    claims = claims_of({"A": first, "B": second})
    assert claims["accuracy", frozenset("AB")].p < 0.001
    assert {claim.conclusion for claim in claims.values()} == {"overlap"}
