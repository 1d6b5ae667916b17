"""The moving average of the weights: by hand, with batch norm's counters, and without an average."""

import torch
from torch import nn

from ferlab.training.ema import EMA


def test_the_average_follows_by_hand_and_counters_are_copied():
    model = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1))
    model[0].weight.data.fill_(1.0)
    ema = EMA(model, 0.5)
    expected = 1.0
    for step, value in enumerate((3.0, 5.0, 7.0), 1):
        model[0].weight.data.fill_(value)
        model[1].num_batches_tracked.fill_(10 * step)
        ema.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
        assert torch.isclose(ema.average[0].weight, torch.tensor(expected)).all()
        assert int(ema.average[1].num_batches_tracked) == 10 * step
    assert not any(weight.requires_grad for weight in ema.average.parameters())


def test_a_model_without_counters_and_an_average_that_is_off():
    model = nn.Linear(2, 2)
    ema = EMA(model, 0.9)
    model.weight.data.fill_(2.0)
    ema.update()
    assert not torch.equal(ema.average.weight, model.weight)
    off = EMA(model, 0)
    off.update()
    assert off.average is model
