"""Each strategy does what it claims. python -m pytest tests/test_balance.py"""

import pytest
import torch
import torch.nn.functional as F

from ferlab.training.imbalance import STRATEGIES, Balance

COUNTS = (40, 10, 20, 160, 60, 20, 90)
LABELS = torch.repeat_interleave(torch.arange(7), torch.tensor(COUNTS))


def shares(strategy, epochs=60):
    """How often each class is drawn, as shares."""
    balance = Balance(strategy, COUNTS)
    orders = [balance.order(LABELS, torch.Generator().manual_seed(i)) for i in range(epochs)]
    drawn = LABELS[torch.cat(orders)]
    return torch.bincount(drawn, minlength=7) / len(drawn)


@pytest.mark.parametrize("strategy", [s for s in STRATEGIES if "sampler" not in s])
def test_a_plain_epoch_is_a_permutation(strategy):
    order = Balance(strategy, COUNTS).order(LABELS, torch.Generator().manual_seed(0))
    assert torch.equal(order.sort().values, torch.arange(len(LABELS)))


def test_sampler_draws_classes_equally():
    assert shares("sampler") == pytest.approx([1 / 7] * 7, abs=0.01)


def test_sqrt_sampler_draws_by_the_root():
    roots = torch.tensor(COUNTS).float().sqrt()
    assert shares("sqrt-sampler") == pytest.approx((roots / roots.sum()).tolist(), abs=0.01)


def test_order_is_seeded():
    balance = Balance("sampler", COUNTS)
    a, b, c = (balance.order(LABELS, torch.Generator().manual_seed(i)) for i in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_weights_give_every_class_the_same_total():
    logits = torch.zeros(len(LABELS), 7)
    plain = F.cross_entropy(logits, LABELS)
    balance = Balance("weights", COUNTS)
    assert balance.loss(logits, LABELS) == pytest.approx(plain.item())  # weights average one over the images
    totals = [balance.loss(logits[LABELS == c], LABELS[LABELS == c]).item() * COUNTS[c] for c in range(7)]
    assert totals == pytest.approx([totals[0]] * 7)


def test_class_balanced_by_hand():
    logits = torch.zeros(2, 7)
    balance = Balance("class-balanced", COUNTS)
    rare, common = (balance.loss(logits, torch.tensor([c, c])).item() for c in (1, 3))
    effective = [(1 - 0.999**n) / (1 - 0.999) for n in (COUNTS[1], COUNTS[3])]
    assert rare / common == pytest.approx(effective[1] / effective[0], rel=1e-4)


def test_focal_by_hand():
    logits = torch.tensor([[2.0, 0, 0, 0, 0, 0, 0]])
    p = logits.softmax(1)[0, 0]
    expected = (-((1 - p) ** 2) * p.log()).item()
    focal, label = Balance("focal", COUNTS), torch.tensor([0])
    assert focal.loss(logits, label) == pytest.approx(expected)
    uniform = -logits.log_softmax(1).mean().item()  # smoothing keeps its hold on what is right already
    smooth = focal.loss(logits, label, label_smoothing=0.1).item()
    assert smooth == pytest.approx(0.9 * expected + 0.1 * uniform)


def test_logit_adjustment_by_hand_and_its_gradient():
    logits = torch.randn(5, 7, requires_grad=True)
    labels = torch.tensor([0, 1, 2, 3, 4])
    prior = torch.tensor(COUNTS) / sum(COUNTS)
    loss = Balance("logit-adjust", COUNTS).loss(logits, labels)
    balanced = logits.exp() * prior  # the balanced softmax of Ren et al.
    shares = balanced / balanced.sum(1, keepdim=True)
    assert loss.item() == pytest.approx(-shares[range(5), labels].log().mean().item())
    loss.backward()
    expected = ((balanced / balanced.sum(1, keepdim=True)) - F.one_hot(labels, 7)) / 5
    assert torch.allclose(logits.grad, expected, atol=1e-6)


def test_ldam_margins_and_deferred_weights():
    balance, logits = Balance("ldam-drw", COUNTS), torch.zeros(1, 7)
    early = [balance.loss(logits, torch.tensor([c]), progress=0.5).item() for c in (1, 3)]
    margins = [0.5 * (n / 10) ** -0.25 for n in (10, 160)]
    shifted = [torch.zeros(1, 7).index_fill(1, torch.tensor([c]), -m) for c, m in zip((1, 3), margins)]
    expected = [F.cross_entropy(z, torch.tensor([c])).item() for z, c in zip(shifted, (1, 3))]
    assert early == pytest.approx(expected)
    late = [balance.loss(logits, torch.tensor([c]), progress=0.9).item() for c in (1, 3)]
    assert late[0] > early[0] and late[1] < early[1]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_smoothing_is_used_and_gradients_are_finite(strategy):
    logits = torch.randn(20, 7, requires_grad=True)
    balance, labels = Balance(strategy, COUNTS), torch.arange(20) % 7
    loss = balance.loss(logits, labels, label_smoothing=0.1, progress=1.0)
    assert loss != balance.loss(logits, labels, progress=1.0)
    loss.backward()
    assert torch.isfinite(logits.grad).all() and logits.grad.abs().sum() > 0


def test_post_hoc_takes_off_what_the_training_put_on():
    torch.manual_seed(0)
    balance = Balance("post-hoc", COUNTS)
    clean = torch.randn(len(LABELS), 7) * 0.5 + F.one_hot(LABELS, 7)
    tau = balance.fit(clean + balance.log_prior, LABELS)
    assert 0.5 <= tau <= 1.5
    assert Balance("none", COUNTS).fit(clean, LABELS) == 0
    model = torch.nn.Sequential(torch.nn.Linear(4, 7))
    x = torch.randn(3, 4)
    before = model(x)
    balance.adjust(model, tau)
    assert torch.allclose(model(x), before - tau * balance.log_prior)


def test_unknown_strategy():
    with pytest.raises(ValueError, match="must be one of none, sampler"):
        Balance("oversample", COUNTS)
