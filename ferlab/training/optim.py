"""The optimizer and its schedule: AdamW, linear warm-up, then half a cosine."""

import math

import torch
from torch import nn


def make_optimizer(model: nn.Module, *, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """Fused AdamW (Loshchilov and Hutter, ICLR 2019); biases, norms and single embeddings are not decayed."""
    decayed = [p for p in model.parameters() if p.squeeze().ndim > 1]
    plain = [p for p in model.parameters() if p.squeeze().ndim <= 1]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, fused=True)


class Schedule:
    """step -> learning rate: linear warm-up to `highest` in `warmup` steps, then a cosine to 0 at `total`."""

    def __init__(self, highest: float, *, warmup: float, total: int) -> None:
        self.highest, self.warmup, self.total = highest, warmup, total

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            return self.highest * (step + 1) / (self.warmup + 1)
        done = (step - self.warmup) / max(1, self.total - self.warmup)
        return self.highest * 0.5 * (1 + math.cos(math.pi * done))
