"""A trained model on faces of any dataset, over the classes that both have.

answers = shared_predictions(model, RAFDBDataset("fer2013", "test"))     # probabilities (N, C), labels
"""

from typing import NamedTuple

import numpy as np
import torch

from ferlab.data.labels import expression
from ferlab.errors import UserError
from ferlab.inference.predictor import probabilities
from models import Model


class NothingShared(UserError):
    """A model and a dataset that have fewer than two classes in common."""


class SharedPredictions(NamedTuple):
    """What a model says of the images whose class it knows."""

    class_names: tuple[str, ...]  # those that both have, by the model's names and in its order
    images: list[str]
    labels: np.ndarray  # (N,)
    probabilities: np.ndarray  # (N, C), of these classes alone: they sum to 1
    left_out: dict[str, int]  # images of each class that the model does not know


def shared_predictions(model: Model, part, *, flip: bool = False) -> SharedPredictions:
    """The model's answers to a split `part` of a dataset, with `flip` the means over each face and its mirror
    image. A class is the same where it has the same name, or
    both names mean the same expression; of the model's probabilities those of the shared classes are kept,
    and made to sum to 1. Raises UserError where fewer than two classes are shared.
    """
    ours = {name: i for i, name in enumerate(model.class_names)}
    meant = [expression(name) for name in model.class_names]
    ours |= {name: i for i, name in enumerate(meant) if name and meant.count(name) == 1 and name not in ours}
    theirs = [ours.get(name, ours.get(expression(name) or "")) for name in part.class_names]
    shared = sorted({i for i in theirs if i is not None})
    if len(shared) < 2:
        raise NothingShared(
            f"the model knows {', '.join(model.class_names)}, the data have {', '.join(part.class_names)}: "
            "fewer than two classes are the same."
        )
    place = torch.tensor([-1 if i is None else shared.index(i) for i in theirs])
    labels = place[part.labels]
    known = labels >= 0
    if not known.any():
        raise UserError(f"no image of {part.split} has a class that the model knows.")
    p = probabilities([model], part.images[known], flip=flip).double()[:, shared]
    counts = {name: n for name, n, i in zip(part.class_names, part.counts, theirs) if i is None and n}
    return SharedPredictions(
        tuple(model.class_names[i] for i in shared),
        [name for name, keep in zip(part.names, known.tolist()) if keep],
        labels[known].numpy(),
        (p / p.sum(1, keepdim=True).clamp(min=1e-12)).numpy(),
        counts,
    )
