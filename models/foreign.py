"""Weights from elsewhere: what fits a model by name and shape is loaded, the rest is named.

message = fit(model, torch.load("face.pth", weights_only=True), "face.pth")
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from torch import Tensor, nn

from ferlab.errors import UserError

PREFIXES = 50  # tried, the most frequent first, of which the first is none
COUNTER = "num_batches_tracked"  # batch norm's, of no use here and missing in older files


def fit(model: nn.Module, state: object, path: str | Path) -> str:
    """Load into `model` the tensors of `state` that have the name and the shape of its own; a sentence that
    counts them and names the others.

    The dict may be wrapped, as under "state_dict", and its names may have a prefix, such as "module.": what
    fits best is taken. Raises UserError where less than half of the model's tensors or weights
    are in it.
    """
    wanted = {key: value for key, value in model.state_dict().items() if not key.endswith(COUNTER)}
    found = max(_candidates(state), key=lambda names: len(_fitting(wanted, names)), default={})
    fitting = _fitting(wanted, found)
    unfitting = [
        f"{key} ({_shape(found.get(key))} there, {_shape(value)} here)"
        for key, value in wanted.items()
        if key not in fitting
    ]
    share = sum(value.numel() for value in fitting.values()) / sum(value.numel() for value in wanted.values())
    name, part = model.built["name"], f"{int(100 * share)} % of its weights"
    count = f"{len(fitting)} of the {len(wanted)} tensors of {name} ({part})"
    if 2 * len(fitting) < len(wanted) or share < 0.5:
        raise UserError(
            f"{path} has only {count} at {model.built['image_size']} pixels, by name and shape; not "
            f"{_first(unfitting)}. Take weights of this architecture, or --weights none."
        )
    for key, value in fitting.items():
        if not value.isfinite().all() or (key.endswith("running_var") and (value < 0).any()):
            raise UserError(f"{path} holds weights that cannot be used ({key}); take another file.")
    model.load_state_dict(fitting, strict=False)
    unused = sorted(key for key in found.keys() - fitting.keys() - wanted.keys() if not key.endswith(COUNTER))
    message = f"{path}: {count} fitted"
    message += f"; not {_first(unfitting)}" if unfitting else ""
    return message + (f"; of no use here: {_first(unused)}" if unused else "")


def _candidates(state: object, depth: int = 2) -> Iterator[dict[str, Tensor]]:
    """Every dict of tensors in `state`, with each prefix taken from the names that have it."""
    if not isinstance(state, dict):
        return
    tensors = {
        key: value for key, value in state.items() if isinstance(key, str) and isinstance(value, Tensor)
    }
    prefixes = Counter(
        "".join(f"{part}." for part in key.split(".")[:parts]) for key in tensors for parts in range(3)
    )
    for prefix, _ in prefixes.most_common(PREFIXES):
        yield {key.removeprefix(prefix): value for key, value in tensors.items()}
    for value in state.values() if depth else ():
        yield from _candidates(value, depth - 1)


def _fitting(wanted: dict[str, Tensor], found: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        key: found[key]
        for key, value in wanted.items()
        if key in found and found[key].shape == value.shape and found[key].is_floating_point()
    }


def _shape(value: Tensor | None) -> str:
    return "missing" if value is None else " x ".join(map(str, value.shape)) or "a number"


def _first(names: list[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
