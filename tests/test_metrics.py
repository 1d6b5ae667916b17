"""Every number against scikit-learn. python -m pytest tests/test_metrics.py"""

import numpy as np
import pytest
import sklearn.metrics as sk
import torch
from torch.utils.flop_counter import FlopCounterMode

import models
from ferlab.analysis import metrics
from ferlab.data.rafdb import CLASS_NAMES
from ferlab.training.runtime import Runtime


@pytest.fixture
def scores():
    """Probabilities (300, 7), often right, one class never predicted; labels in RAF-DB's imbalance."""
    rng = np.random.default_rng(0)
    labels = rng.choice(7, 300, p=[0.1, 0.02, 0.06, 0.4, 0.16, 0.06, 0.2])
    logits = rng.normal(size=(300, 7)) + 1.5 * np.eye(7)[labels]
    logits[:, 1] -= 100  # Fear is never predicted
    p = np.exp(logits - logits.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True), labels


def test_against_scikit_learn(scores):
    p, y = scores
    found, predicted = metrics.report(p, y, CLASS_NAMES), p.argmax(1)
    assert found["n"] == 300
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(y, predicted))
    assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(y, predicted))
    assert found["macro_f1"] == pytest.approx(sk.f1_score(y, predicted, average="macro"))
    assert found["weighted_f1"] == pytest.approx(sk.f1_score(y, predicted, average="weighted"))
    assert found["top2"] == pytest.approx(sk.top_k_accuracy_score(y, p, k=2, labels=range(7)))
    assert found["top3"] == pytest.approx(sk.top_k_accuracy_score(y, p, k=3, labels=range(7)))
    assert found["nll"] == pytest.approx(sk.log_loss(y, np.clip(p, 1e-12, 1), labels=range(7)), rel=1e-6)
    assert found["confusion_matrix"] == sk.confusion_matrix(y, predicted, labels=range(7)).tolist()
    expected = sk.precision_recall_fscore_support(y, predicted, labels=range(7), zero_division=0)
    precision, recall, f1, n = expected
    for i, name in enumerate(CLASS_NAMES):
        row = found["per_class"][name]
        assert [row["precision"], row["recall"], row["f1"], row["n"]] == pytest.approx(
            [precision[i], recall[i], f1[i], n[i]]
        )


def test_a_class_that_is_absent_does_not_count():
    y, predicted = np.array([0, 0, 2, 3]), np.array([0, 2, 2, 3])
    found = metrics.report(np.eye(7)[predicted], y, CLASS_NAMES)
    assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(y, predicted))
    assert found["macro_f1"] == pytest.approx(sk.f1_score(y, predicted, average="macro"))


def test_calibration_by_hand():
    # two predictions at 0.55 of which one is right, two at 0.95 of which both are: gaps 0.05 and 0.05
    p = np.array([[0.55, 0.45], [0.55, 0.45], [0.95, 0.05], [0.95, 0.05]])
    y = np.array([0, 1, 0, 0])
    bins = metrics.reliability(p, y)
    found = [(b["n"], round(b["confidence"], 9), b["accuracy"]) for b in bins]
    assert found == [(2, 0.55, 0.5), (2, 0.95, 1.0)]
    padded = np.concatenate([p, np.zeros((4, 5))], 1)
    assert metrics.report(padded, y, CLASS_NAMES)["ece"] == pytest.approx(0.05)


def test_certainty_falls_into_the_last_bin():
    assert metrics.reliability(np.eye(7), np.arange(7)) == [{"confidence": 1.0, "accuracy": 1.0, "n": 7}]


def test_bootstrap_matches_resampling_of_images(scores):
    p, y = scores
    predicted = p.argmax(1)
    found = metrics.intervals(predicted, y, classes=7)
    assert found == metrics.intervals(predicted, y, classes=7)  # seeded
    rng = np.random.default_rng(1)
    samples = [rng.integers(0, len(y), len(y)) for _ in range(200)]
    for key, score in (("accuracy", sk.accuracy_score), ("balanced_accuracy", sk.balanced_accuracy_score)):
        low, high = np.percentile([score(y[i], predicted[i]) for i in samples], [2.5, 97.5])
        assert found[key] == pytest.approx([low, high], abs=0.03)


def test_confusion_matrix_is_additive():
    y, predicted = torch.randint(0, 7, (50,)), torch.randint(0, 7, (50,))
    parts = sum(metrics.confusion_matrix(predicted[i::3], y[i::3], classes=7) for i in range(3))
    assert torch.equal(parts, metrics.confusion_matrix(predicted, y, classes=7))


def test_cost_of_a_known_network():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 5, bias=False))
    runtime = Runtime(torch.device("cpu"), None)
    cost = metrics.cost(model, 2, runtime=runtime)
    assert cost["parameters"] == 60
    assert cost["gflops"] == pytest.approx(2 * 60 / 1e9)  # a multiply and an add for each weight
    assert cost["latency_ms"] > 0 and cost["images_per_second"] > 0


def test_the_cost_of_a_transformer_has_its_attention():
    tokens, width, blocks = 5, 768, 12
    block = 2 * tokens * width * (3 + 1 + 4 + 4) * width + 2 * 2 * tokens**2 * width
    patches, head = 2 * (tokens - 1) * 300 * width, 2 * width * 7
    cost = metrics.cost(
        models.build("ViT-mod", image_size=20), 20, runtime=Runtime(torch.device("cpu"), None)
    )
    assert cost["gflops"] * 1e9 == pytest.approx(blocks * block + head + patches, rel=1e-9)


def test_resnet18_costs_what_the_papers_say():
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        models.build("ResNet18").eval()(torch.zeros(1, 3, 224, 224))
    assert counter.get_total_flops() / 2e9 == pytest.approx(1.81, abs=0.02)  # He et al.: 1.8 G multiply-adds
