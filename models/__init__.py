"""The six architectures by name: `build` makes one, `load` rebuilds a trained one from its checkpoint.

model = models.build("ResNet18", num_classes=7, image_size=224, weights="imagenet")
model = models.load("results/ResNet18/seed0/best_model.pth")
"""

import difflib
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from ferlab.errors import UserError
from ferlab.training.checkpoint import has_format, opened, read, validate
from models import VGG, GoogLeNet, ResNet, ViT, foreign
from models.ConvNet import convnet


@dataclass(frozen=True)
class Architecture:
    """All that the suite knows of one: everything else asks here."""

    make: Callable[..., nn.Module]  # (num_classes, image_size) -> a model with new weights
    script: str
    image_size: int  # pixels a side, its own
    colour: str  # in every picture, with its marker
    marker: str
    maps: str = ""  # the module whose maps Grad-CAM reads: the last that still know where; a ViT has none
    imagenet: ModuleType | None = None  # with its WEIGHTS, and HEADS, the names that these do not fill
    any_size: bool = False  # whether the same weights take pictures of any size
    smallest: int = 32  # image size, which is halved five times
    multiple: int = 1  # of which the image size is one: a ViT's patches

    @property
    def convolutional(self) -> bool:
        """channels_last pays for convolutions, not for transformers."""
        return bool(self.maps)


# cheapest first, by GFLOPs of the recipes from scratch; Okabe and Ito's colours, told apart by everybody
ARCHITECTURES = {
    "ConvNet": Architecture(convnet, "train_ConvNet.py", 100, "#0072B2", "o", maps="features", smallest=22),
    "GoogLeNet": Architecture(
        GoogLeNet.googlenet,
        "train_GoogLeNet.py",
        224,
        "#CC79A7",
        "D",
        maps="inception5b",
        imagenet=GoogLeNet,
        any_size=True,
    ),
    "ResNet18": Architecture(
        ResNet.resnet18, "train_ResNet.py", 224, "#D55E00", "s", maps="layer4", imagenet=ResNet, any_size=True
    ),
    "VGG16": Architecture(
        VGG.vgg16, "train_VGG16.py", 224, "#009E73", "^", maps="features.42", imagenet=VGG, any_size=True
    ),
    "ViT-B16": Architecture(
        ViT.vit_b16, "train_ViT-B16.py", 224, "#E69F00", "v", imagenet=ViT, smallest=16, multiple=16
    ),
    "ViT-mod": Architecture(ViT.vit_mod, "train_ViT-mod.py", 100, "#56B4E9", "P", smallest=10, multiple=10),
}
NAMES = tuple(ARCHITECTURES)


Model = Any  # an nn.Module with `built` and, once trained, `class_names` and `checkpoint`, unknown to mypy


def build(
    name: str,
    *,
    num_classes: int = 7,
    image_size: int | None = None,
    weights: str | Path = "none",
    seed: int = 0,
) -> Model:
    """A model that maps float images (B, 3, image_size, image_size) to logits (B, num_classes).

    weights: "none" for new ones drawn from `seed`, "imagenet" for torchvision's with a new head, or the path
    of a checkpoint of the same architecture, or of a plain state dict from elsewhere, of which loads what
    fits (`model.loaded` then says what did). Raises UserError for an unknown name, a size the architecture
    cannot take, or weights that cannot be loaded. `model.built` remembers what it was built from, which a
    checkpoint stores.
    """
    if name not in ARCHITECTURES:
        close = difflib.get_close_matches(name, NAMES, 1, 0.4)
        raise UserError(
            f"there is no model {name!r}; did you mean {close[0] if close else ', '.join(NAMES)}?"
        )
    architecture = ARCHITECTURES[name]
    image_size, multiple = image_size or architecture.image_size, architecture.multiple
    if image_size < architecture.smallest or image_size % multiple:
        needed = f"a multiple of {multiple}" if multiple > 1 else f"{architecture.smallest} or more"
        raise UserError(f"image_size is {image_size}; {name} needs {needed}: change --image-size.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Model = architecture.make(num_classes=num_classes, image_size=image_size)
    model.built = {"name": name, "num_classes": num_classes, "image_size": image_size}
    if weights == "imagenet":
        _load_imagenet(model, architecture)
    elif weights != "none":
        _load_weights(model, Path(weights))
    return model


def load(path: str | Path) -> Model:
    """The trained model of a `best_model.pth` or `last.pth`, in eval mode, on the CPU; `model.class_names`
    are its classes and `model.checkpoint` holds the rest. Of a last.pth these are the averaged weights, which
    its log describes.

    Raises UserError where the file is not a whole checkpoint of this suite.
    """
    checkpoint = read(path)
    model = build(**checkpoint["model"])
    model.load_state_dict(_matching(model, _evaluated(checkpoint), path))
    del checkpoint["weights"]
    model.checkpoint, model.class_names = checkpoint, tuple(checkpoint["class_names"])
    return model.eval()


def has_imagenet(name: str) -> bool:
    """Whether torchvision offers ImageNet weights for this architecture."""
    return ARCHITECTURES[name].imagenet is not None


def imagenet_file(name: str) -> Path:
    """Where torchvision keeps this architecture's ImageNet weights once they are downloaded."""
    return (
        Path(torch.hub.get_dir()) / "checkpoints" / ARCHITECTURES[name].imagenet.WEIGHTS.url.rsplit("/", 1)[1]
    )


def _load_imagenet(model: Model, architecture: Architecture) -> None:
    name, module = model.built["name"], architecture.imagenet
    if module is None:
        raise UserError(f"{name} has no ImageNet weights; train it with --weights none.")
    file = imagenet_file(name)
    try:
        state = module.WEIGHTS.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"{name}'s ImageNet weights could not be loaded ({error}). Download {module.WEIGHTS.url} and put "
            f"it as {file}, or train from scratch with --weights none."
        ) from None
    except (pickle.UnpicklingError, EOFError, ValueError):
        raise UserError(
            f"{file} is damaged, or holds something else than {name}'s weights. Delete it and start again."
        ) from None
    if hasattr(module, "fit_positions"):
        state = module.fit_positions(state, model.built["image_size"])
    dropped = module.HEADS + getattr(module, "DROPPED", ())
    state = {key: value for key, value in state.items() if not key.startswith(dropped)}
    missing, unexpected = model.load_state_dict(state, strict=False)
    wrong = [key for key in missing if not key.startswith(module.HEADS)] + unexpected
    if wrong:
        raise UserError(
            f"{file} is not {name}'s: {len(wrong)} names do not fit, such as {wrong[0]}. Delete it and "
            "start again."
        )


def _load_weights(model: Model, path: Path) -> None:
    state = opened(path)
    if not has_format(state):
        model.loaded = foreign.fit(model, state, path)
        return
    checkpoint = validate(path, state)
    name, wanted = checkpoint["model"]["name"], model.built["name"]
    if name != wanted:
        raise UserError(f"{path} holds a {name}, not a {wanted}.")
    model.load_state_dict(_matching(model, _evaluated(checkpoint), path))


def _evaluated(checkpoint: dict) -> dict:
    """The weights that training evaluates: the moving average, where the checkpoint holds a run's state."""
    return checkpoint.get("ema") or checkpoint["weights"]


def _matching(model: nn.Module, weights: dict, path: str | Path) -> dict:
    """`weights`, after making sure that they fit the model name by name and shape by shape."""
    expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in weights.items()}
    for key in sorted(expected.keys() | found.keys()):
        if expected.get(key) != found.get(key):
            raise UserError(
                f"{path} does not fit {model.built['name']} at {model.built['image_size']} pixels: {key} is "
                f"{found.get(key, 'missing')} there and {expected.get(key, 'missing')} here."
            )
    return weights
