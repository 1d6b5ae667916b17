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
            mine, theirs = self.average.state_dict(), model.state_dict()
            self._float = _values(mine, floating=True), _values(theirs, floating=True)
            self._counters = _values(mine, floating=False), _values(theirs, floating=False)

    @torch.no_grad()
    def update(self) -> None:
        """Move the average one step towards the model, weights and batch-norm statistics alike."""
        if self.decay:
            self.steps += 1
            decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
            torch._foreach_lerp_(*self._float, 1 - decay)
            if self._counters[0]:  # of batch norm's steps; one call for all, which on a GPU is one launch
                torch._foreach_copy_(*self._counters)


def _values(state: dict, *, floating: bool) -> list[torch.Tensor]:
    return [value for value in state.values() if value.is_floating_point() == floating]
