"""Options from the command line: dataclass defaults < the script's recipe < what was typed; or a run's own,
on --resume.
"""

import argparse
import dataclasses
import difflib
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ferlab.errors import UserError

T = TypeVar("T", bound=Any)

# flags that people bring from timm, torchvision, ultralytics and Keras -> what this suite has for them
FOREIGN_FLAGS = {
    "workers num-workers j pin-mem pin-memory cache": "images are kept decoded in memory: no workers",
    "model arch a backbone cfg": "each model has its script, such as train_ResNet.py",
    "num-classes nc classes single-cls": "classes are those of the data (RAF-DB: seven)",
    "pretrained weights-backbone initial-checkpoint": "--weights imagenet, or --weights none",
    "freeze freeze-backbone freeze-layers": "all layers are trained; --lr sets how fast",
    "evaluate eval test-only val validate": "a run ends with its evaluation; predict.py runs a trained model",
    "wandb log-wandb use-wandb mlflow logger": "each run writes log.csv and metrics.json; also --tensorboard",
    "loss criterion focal-loss class-weight class-weights weighted-loss": "--balance, for loss and sampling",
    "sampler oversample weighted-sampler": "--balance sampler, or --balance sqrt-sampler",
    "imgsz img img-size input-size crop-size train-crop-size": "--image-size",
    "batch b bs train-batch-size": "--batch-size, images a step of all processes together",
    "data-path data-dir dataset root dataset-path": "--data",
    "project output-dir save-dir log-dir checkpoint-dir": "--output, with --name for the run",
    "experiment exp": "--name",
    "exist-ok": "--overwrite",
    "opt optimizer optim momentum": "AdamW, with --lr and --weight-decay",
    "learning-rate lr0 base-lr": "--lr",
    "wd decay": "--weight-decay",
    "sched scheduler lr-scheduler lrf lr-step-size lr-gamma min-lr": "a cosine after --warmup-epochs",
    "smoothing": "--label-smoothing",
    "model-ema model-ema-decay ema-decay": "--ema",
    "clip-grad clip-grad-norm gradient-clip-val max-norm": "--grad-clip",
    "early-stopping early-stop": "--patience",
    "validation-split val-split val-ratio val-fraction": "val is a fixed tenth of the training images",
    "aa auto-augment mixup cutmix reprob random-erase hflip no-aug": "--augment, the strength of all of it",
    "fp16 bf16 half mixed-precision precision native-amp no-amp": "--amp auto, bf16, fp16 or off",
    "gpu gpus gpu-id no-cuda cuda local-rank world-size dist-url": "--device, and torchrun for several GPUs",
    "torchcompile torch-compile": "--compile",
    "checkpoint load ckpt": "--resume PATH, or --weights PATH",
    "print-freq verbose log-interval": "a row is printed each epoch",
}
SYNONYMS = {
    "weightedrandomsampler": "sampler",
    "weighted-sampler": "sampler",
    "oversampling": "sampler",
    "oversample": "sampler",
    "class-weight": "weights",
    "class-weights": "weights",
    "balanced": "weights",
    "weighted": "weights",
    "focal-loss": "focal",
    "logit-adjustment": "logit-adjust",
    "true": "auto",
    "float16": "fp16",
    "half": "fp16",
    "bfloat16": "bf16",
    "false": "off",
    "fp32": "off",
}


ROLES = {
    "recipe": "the recipe (another value makes another experiment)",
    "run": "the run (another run of the same recipe)",
    "machine": "where and how (changes nothing that is learnt)",
}


def option(
    default,
    help: str,
    *,
    role: str = "machine",
    choices: Sequence[str] = (),
    low: float | None = None,
    high: float | None = None,
):
    """A dataclass field with its one line of help, its role and the values it may take (low and high
    included).
    """
    rules = {"help": help, "role": role, "choices": choices, "low": low, "high": high}
    return dataclasses.field(default=default, metadata=rules)


def flag(name: str) -> str:
    """--batch-size for batch_size."""
    return "--" + name.replace("_", "-")


def typed(cls: type[T], argv: Sequence[str], *, description: str = "", used: T | None = None) -> dict:
    """What was typed, as {field: value}. Raises UserError for unknown flags, with the closest one there
    is. `used` are the options without anything typed, which --help shows.
    """
    fields = {flag(f.name): f for f in dataclasses.fields(cls)}
    parser = _Parser(description=description, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    groups = {role: parser.add_argument_group(title) for role, title in ROLES.items()}
    for name, f in fields.items():
        value, group = getattr(used or cls, f.name), groups[f.metadata["role"]]
        text = (f.metadata["help"] + ("" if value == "" else f" (default {value})")).replace("%", "%%")
        if f.name == "resume":
            group.add_argument(name, nargs="?", const="last", metavar="PATH", help=text, type=_path)
        elif isinstance(f.default, bool):
            group.add_argument(name, action=argparse.BooleanOptionalAction, help=text)
        else:
            group.add_argument(name, type=number(type(f.default)), metavar=f.name.upper(), help=text)
    known, unknown = parser.parse_known_args(argv)
    if unknown:
        wrong = unknown[0].split("=")[0]
        close = difflib.get_close_matches(wrong, fields, 1, 0.5)
        mistyped = difflib.get_close_matches(wrong, fields, 1, 0.9)
        if not mistyped and (known_as := _foreign_flag(wrong)):
            raise UserError(f"there is no option {wrong} here: {known_as}.")
        raise UserError(
            f"there is no option {wrong}"
            + (f"; did you mean {close[0]}?" if close else "; --help lists them all.")
        )
    for name, value in vars(known).items():
        if isinstance(value, list):  # what argparse makes of --name=--
            raise UserError(f"{flag(name)} cannot be --.")
    return vars(known)


def peek(argv: Sequence[str], name: str) -> str | None:
    """The value that the flag `name` has in argv, before anything is checked."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument(name, dest="value")
    return parser.parse_known_args(argv)[0].value


def _foreign_flag(wrong: str) -> str:
    """What this suite has in place of a flag from elsewhere; nothing where it is not known."""
    name = wrong.lstrip("-").lower().replace("_", "-")
    text = next((text for names, text in FOREIGN_FLAGS.items() if name in names.split()), "")
    return f"use {text}" if text.startswith("--") else text


def number(kind: type[T]) -> Callable[[str], T]:
    """What argparse makes an int or a float with, from plain digits only: Python itself also takes 1_0 for
    10, and 1e-400 for 0. Text is taken as it is.
    """

    def parse(text: str) -> T:
        value = kind(text)
        if kind is not str and (not text.isascii() or "_" in text):
            raise ValueError
        if kind is float and value == 0 and set("123456789") & set(text.lower().split("e")[0]):
            raise argparse.ArgumentTypeError(f"{text} is too small, and would be taken for 0")
        return value

    parse.__name__ = kind.__name__  # argparse's messages say it
    return parse


def restored(cls: type[T], found: object) -> T:
    """The options that a checkpoint holds. Raises UserError where they are not this version's."""
    if not isinstance(found, dict):
        raise UserError("the checkpoint holds no options; resume from a last.pth of this suite.")
    unknown = [key for key in found if key not in cls.__dataclass_fields__]
    wrong = stored_wrong(cls, found) or (f"has the option {unknown[0]!r}" if unknown else "")
    if wrong:
        raise UserError(
            f"the checkpoint {wrong}, which this version does not take; resume with the one that wrote it."
        )
    return cls(**found)


def stored_wrong(cls: type, found: dict) -> str:
    """What is wrong with options that a file holds, as "has epochs = -1" and why; nothing where all is well.
    Those that this version does not know may have any value.
    """
    default = {f.name: f.default for f in dataclasses.fields(cls)}
    for key, value in found.items():
        kind = type(default.get(key, value))
        if type(value) not in (kind, {float: int}.get(kind)) or not isinstance(key, str):
            return f"has the option {ascii(key)[:40]} = {ascii(value)[:40]}"
    try:
        check(cls(**{key: value for key, value in found.items() if key in default}))
    except UserError as error:
        return f"has an option that cannot be ({str(error).splitlines()[0].rstrip('.')})"
    return ""


def check(options) -> None:
    """Raise UserError, naming every flag whose option has a value that it cannot take."""
    wrong = [text for f in dataclasses.fields(options) if (text := _wrong(f, getattr(options, f.name)))]
    if wrong:
        raise UserError("\n".join(wrong))


def _wrong(f: dataclasses.Field, value) -> str:
    """What is wrong with an option's value, or nothing."""
    rules = f.metadata
    if rules["choices"] and value not in rules["choices"]:
        meant = SYNONYMS.get(str(value).lower().replace("_", "-"))
        close = difflib.get_close_matches(str(value), rules["choices"], 1, 0.4)
        close = [meant] if meant in rules["choices"] else close
        hint = f"did you mean {close[0]}?" if close else f"use one of {', '.join(rules['choices'])}."
        return f"{flag(f.name)} {value} is not a valid value; {hint}"
    if value == "" and f.default != "":
        return f"{flag(f.name)} is empty; give a value, or leave it out for {f.default}."
    low, high = rules["low"], rules["high"]
    too_low, too_high = low is not None and not value >= low, high is not None and not value <= high
    if too_low or too_high or value == math.inf:
        bounds = f"{low:g} or more" if high is None else f"{low:g} to {high:g}"
        return f"{flag(f.name)} is {value:g}; it must be {'finite' if value == math.inf else bounds}."
    return ""


def _path(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("it is empty; type a path, or --resume alone for the run's own")
    return text


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise UserError(f"{message} (see python {sys.argv[0]} --help)")
