"""An exponential moving average of a model's weights, which is what gets evaluated and saved (Polyak
averaging).
"""

import copy

import torch
from torch import nn


class EMA:
    """`average` follows `model` with weight 1 - decay a step, faster in the first steps; decay 0 is the model
    itself.

    torch's AveragedModel does the same but asks the device for its step count in every update.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.average = copy.deepcopy(model).requires_grad_(False) if decay else model
        if decay:
            mine, theirs = list(self.average.state_dict().values()), list(model.state_dict().values())
            floating = [i for i, value in enumerate(mine) if value.is_floating_point()]
            self._float = [mine[i] for i in floating], [theirs[i] for i in floating]
            self._other = [(m, t) for i, (m, t) in enumerate(zip(mine, theirs)) if i not in floating]

    @torch.no_grad()
    def update(self) -> None:
        """Move the average one step towards the model, weights and batch-norm statistics alike."""
        if self.decay:
            self.steps += 1
            decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
            torch._foreach_lerp_(*self._float, 1 - decay)
            for mine, theirs in self._other:  # batch norm's step counters
                mine.copy_(theirs)
