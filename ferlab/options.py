"""Every knob of a run, with its unit, its default and the values that it may take.

options = Options(epochs=20)                         # a train script: train_function.parse(name, RECIPES)
"""

from dataclasses import dataclass

from ferlab.cli import option
from ferlab.training.imbalance import STRATEGIES


@dataclass
class Options:
    """Every knob. A script's recipe overrides these defaults, the command line overrides the recipe."""

    data: str = option("raf-db-dataset", "folder or .zip of RAF-DB; or synthetic for drawn faces")
    output: str = option("results", "folder for the runs")
    name: str = option("", "name of the run (default seed<seed>, on drawn faces drawn-seed<seed>)")
    seed: int = option(0, "seed of weights, order, augmentation and dropout", low=0, high=2**31)
    epochs: int = option(60, "passes over the training images", low=1)
    batch_size: int = option(64, "images a step, all processes together", low=1)
    lr: float = option(1e-3, "highest learning rate", low=0)
    weight_decay: float = option(0.05, "AdamW's, for matrices and kernels only", low=0)
    warmup_epochs: float = option(2.0, "epochs of linear warm-up before the cosine", low=0)
    image_size: int = option(0, "pixels a side of the network's input (0: its own)", low=0, high=1024)
    start_size: int = option(0, "pixels a side in the first epochs, later more (0: off)", low=0, high=1024)
    patch_keep: float = option(1.0, "share of its patches that a ViT sees in training", low=0.05, high=1)
    weights: str = option("none", "imagenet, none, or the path of a checkpoint to start from")
    balance: str = option("none", "against imbalance: " + ", ".join(STRATEGIES), choices=tuple(STRATEGIES))
    label_smoothing: float = option(0.1, "share of every label given to all classes", low=0, high=0.99)
    augment: float = option(1.0, "strength of the augmentation (0: none)", low=0, high=4)
    ema: float = option(0.998, "decay of the weights' moving average (0: off)", low=0, high=0.99999)
    grad_clip: float = option(1.0, "largest norm of the gradient (0: off)", low=0)
    patience: int = option(0, "stop after this many epochs without a better val macro-F1 (0: never)", low=0)
    val_fraction: float = option(0.1, "share of the training images to choose by", low=0.01, high=0.5)
    train_fraction: float = option(1.0, "share of the remaining training images to use", low=0.001, high=1)
    resolution: int = option(0, "first reduce the faces to N x N pixels (0: as they are)", low=0, high=100)
    device: str = option("auto", "auto, cpu, cuda or cuda:N")
    amp: str = option("auto", "precision: auto, bf16, fp16 or off", choices=("auto", "bf16", "fp16", "off"))
    compile: bool = option(False, "torch.compile the model (pays back in long runs on a GPU)")
    resume: str = option("", "go on from the run's last.pth, or from the checkpoint PATH")
    finish: bool = option(False, "with --resume: train no further, evaluate and finish what is there")
    overwrite: bool = option(False, "replace a run that is there already")
    skip_bad: bool = option(False, "leave unreadable training images out (they are counted)")
    tensorboard: bool = option(False, "write TensorBoard files too, where it is installed")
    deterministic: bool = option(False, "the same numbers every time, on one machine and version")
    test: bool = option(True, "open the test set at the end; --no-test for trials, which val judges")

    @property
    def initial(self) -> str:
        """The weights to build the model with: a resumed run brings its own."""
        return "none" if self.resume else self.weights
