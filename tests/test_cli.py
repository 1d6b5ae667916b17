"""Flags that people bring from elsewhere get an answer that knows what was meant."""

import dataclasses
import re

import pytest

from ferlab import cli
from ferlab.errors import UserError
from ferlab.options import Options, names
from train_function import parse


@pytest.mark.parametrize(
    "typed, said",
    [
        (["--num-workers", "8"], "no option --num-workers here: images are kept decoded in memory"),
        (["-j", "8"], "no option -j here: images are kept"),
        (["--workers=4"], "no option --workers here"),
        (["--num_classes", "8"], "classes are those of the data"),
        (["--model", "resnet18"], "each model has its script"),
        (["--pretrained"], "use --weights imagenet"),
        (["--freeze", "10"], "all layers are trained"),
        (["--evaluate"], "a run ends with its evaluation"),
        (["--wandb"], "also --tensorboard"),
        (["--loss", "focal"], "use --balance"),
        (["imgsz=224"], "no option imgsz here: use --image-size"),
        (["--optimizer", "SGD"], "AdamW, with --lr"),
        (["--gpu", "0"], "use --device"),
        (["--class_weight"], "use --balance"),
        (["--validation-split", "0.2"], "val is a fixed tenth"),
        (["--batchsize", "3"], "did you mean --batch-size"),
        (["--epoch", "3"], "did you mean --epochs"),
    ],
)
def test_flags_from_elsewhere(typed, said):
    with pytest.raises(UserError, match=said):
        parse("ConvNet", {"none": {}}, typed)


@pytest.mark.parametrize(
    "typed, said",
    [
        (["--balance", "weightedrandomsampler"], "did you mean sampler"),
        (["--balance", "WeightedRandomSampler"], "did you mean sampler"),
        (["--balance", "class_weight"], "did you mean weights"),
        (["--amp", "float16"], "did you mean fp16"),
        (["--balance", "true"], "use one of none, sampler|did you mean"),
    ],
)
def test_values_from_elsewhere(typed, said):
    with pytest.raises(UserError, match=said):
        parse("ConvNet", {"none": {}}, typed)


def test_the_table_names_what_is_there_and_nothing_that_is():
    ours = {cli.flag(name) for name in Options.__dataclass_fields__}
    brought = [name for names in cli.FOREIGN_FLAGS for name in names.split()]
    assert len(brought) == len(set(brought)) and not {f"--{name}" for name in brought} & ours
    assert set(re.findall(r"--[a-z][a-z-]*", " ".join(cli.FOREIGN_FLAGS.values()))) <= ours
    choices = {choice for f in Options.__dataclass_fields__.values() for choice in f.metadata["choices"]}
    assert set(cli.SYNONYMS.values()) <= choices and not set(cli.SYNONYMS) & choices


def test_options_are_frozen():
    """32 at most; a new one needs a reason and a line here."""
    assert names("recipe") == (
        *("epochs", "batch_size", "lr", "weight_decay", "warmup_epochs", "image_size", "start_size"),
        *("patch_keep", "weights", "balance", "label_smoothing", "augment", "ema", "grad_clip", "patience"),
        *("train_fraction", "resolution", "face_size", "skip_bad"),
    )
    assert names("run") == ("seed", "amp", "deterministic", "test")
    assert names("machine") == (
        *("data", "output", "name", "device", "compile", "resume", "finish", "overwrite", "tensorboard"),
    )
    assert len(names("recipe", "run", "machine")) == len(dataclasses.fields(Options)) <= 32
    assert all(f.metadata["help"] for f in dataclasses.fields(Options))
