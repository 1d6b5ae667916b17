"""Every knob of a run, with its unit, its default, the values that it may take, and its role.

    options = Options(epochs=20)                         # a train script: recipe.parse(name, RECIPES)
    names("recipe")                                      # ("epochs", "batch_size", ...)

Roles: a `recipe` option makes another experiment, a `run` option another run of the same one; a `machine`
option says where, and changes nothing that is learnt. What may change on --resume, which runs are one group,
what a results page puts in brackets behind a name and the groups of --help all follow from the role.
"""

import dataclasses
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ferlab.cli import option
from ferlab.training.imbalance import STRATEGIES

INITIALISATIONS = ("from scratch", "from ImageNet weights", "from a checkpoint")  # never in one column
recipe, run, machine = (partial(option, role=role) for role in ("recipe", "run", "machine"))


@dataclass
class Options:
    """Every knob. A script's recipe overrides these defaults, the command line overrides the recipe."""

    epochs: int = recipe(60, "passes over the training images", low=1)
    batch_size: int = recipe(64, "images a step, all processes together", low=1)
    lr: float = recipe(1e-3, "highest learning rate", low=0)
    weight_decay: float = recipe(0.05, "AdamW's, for matrices and kernels only", low=0)
    warmup_epochs: float = recipe(2.0, "epochs of linear warm-up before the cosine", low=0)
    image_size: int = recipe(0, "pixels a side of the network's input (0: its own)", low=0, high=1024)
    start_size: int = recipe(0, "pixels a side in the first epochs, later more (0: off)", low=0, high=1024)
    patch_keep: float = recipe(1.0, "share of its patches that a ViT sees in training", low=0.05, high=1)
    weights: str = recipe("none", "imagenet, none, or the path of a checkpoint or state dict to start from")
    balance: str = recipe("none", "against imbalance: " + ", ".join(STRATEGIES), choices=tuple(STRATEGIES))
    label_smoothing: float = recipe(0.1, "share of every label given to all classes", low=0, high=0.99)
    augment: float = recipe(1.0, "strength of the augmentation (0: none)", low=0, high=4)
    ema: float = recipe(0.998, "decay of the weights' moving average (0: off)", low=0, high=0.99999)
    grad_clip: float = recipe(1.0, "largest norm of the gradient (0: off)", low=0)
    patience: int = recipe(0, "stop after this many epochs without a better val macro-F1 (0: never)", low=0)
    train_fraction: float = recipe(1.0, "share of the remaining training images to use", low=0.001, high=1)
    resolution: int = recipe(0, "first reduce the faces to N x N pixels (0: as they are)", low=0, high=100)
    face_size: int = recipe(
        0, "scale faces of any size to N x N (0: they must be 100 x 100)", low=0, high=512
    )
    skip_bad: bool = recipe(False, "leave out and count training images that are unreadable or also in test")

    seed: int = run(0, "seed of weights, order, augmentation and dropout", low=0, high=2**31)
    amp: str = run("auto", "precision: auto, bf16, fp16 or off", choices=("auto", "bf16", "fp16", "off"))
    deterministic: bool = run(False, "the same numbers every time, on one machine and version")
    test: bool = run(True, "open the test set at the end; --no-test for trials, --resume --test after one")

    data: str = machine(
        "raf-db-dataset", "folder, .zip or table of labelled faces; or synthetic for drawn ones"
    )
    output: str = machine("results", "folder for the runs")
    name: str = machine("", "name of the run (default seed<seed>, on other data <data>-seed<seed>)")
    device: str = machine("auto", "auto, cpu, cuda, cuda:N, mps (Apple) or xpu (Intel)")
    compile: bool = machine(False, "torch.compile the model (pays back in long runs on a GPU)")
    resume: str = machine("", "go on from the run's last.pth, or from the checkpoint PATH")
    finish: bool = machine(False, "with --resume: train no further, evaluate and finish what is there")
    overwrite: bool = machine(False, "replace a run that already exists")
    tensorboard: bool = machine(False, "write TensorBoard files too, where it is installed")

    @property
    def model(self) -> dict:
        """What models.build takes of them. The weights of a resumed run come from its checkpoint."""
        weights = "none" if self.resume else self.weights
        return {"image_size": self.image_size, "weights": weights, "seed": self.seed}


def public(values: dict) -> dict:
    """Options as they are passed on with a run: of paths the last names only, so that no
    local path is published.
    """
    paths = ("data", "output", "resume", "weights")
    return {key: Path(value).name if key in paths else value for key, value in values.items()}


def initialisation(weights: str) -> str:
    """What a run with this --weights begins from, as one of INITIALISATIONS."""
    return INITIALISATIONS[{"none": 0, "imagenet": 1}.get(weights, 2)]


def names(*roles: str) -> tuple[str, ...]:
    """The options that have one of these roles."""
    return tuple(f.name for f in dataclasses.fields(Options) if f.metadata["role"] in roles)
