"""Options from the command line: dataclass defaults < the script's recipe < what was typed; or a run's own,
on --resume.
"""

import argparse
import dataclasses
import difflib
import math
import sys
from collections.abc import Sequence
from typing import TypeVar

from ferlab.errors import UserError

T = TypeVar("T")


def option(
    default, help: str, *, choices: Sequence[str] = (), low: float | None = None, high: float | None = None
):
    """A dataclass field with its one line of help and the values it may take (low and high included)."""
    return dataclasses.field(
        default=default, metadata={"help": help, "choices": choices, "low": low, "high": high}
    )


def flag(name: str) -> str:
    """--batch-size for batch_size."""
    return "--" + name.replace("_", "-")


def typed(cls: type[T], argv: Sequence[str], *, description: str = "") -> dict:
    """What was typed, as {field: value}. Raises UserError for unknown flags, with the closest one there
    is.
    """
    fields = {flag(f.name): f for f in dataclasses.fields(cls)}
    parser = _Parser(description=description, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    for name, f in fields.items():
        text = f.metadata["help"] + ("" if f.default == "" else f" (default {f.default})")
        if f.name == "resume":
            parser.add_argument(name, nargs="?", const="last", metavar="PATH", help=text, type=_path)
        elif isinstance(f.default, bool):
            parser.add_argument(name, action=argparse.BooleanOptionalAction, help=text)
        else:
            parser.add_argument(
                name, type=type(f.default), metavar=f.name.upper(), help=text.replace("%", "%%")
            )
    known, unknown = parser.parse_known_args(argv)
    if unknown:
        wrong = unknown[0].split("=")[0]
        close = difflib.get_close_matches(wrong, fields, 1, 0.5)
        raise UserError(
            f"there is no option {wrong}"
            + (f"; did you mean {close[0]}?" if close else "; --help lists them all.")
        )
    for name, value in vars(known).items():
        if isinstance(value, list):  # what argparse makes of --name=--
            raise UserError(f"{flag(name)} cannot be --.")
    return vars(known)


def restored(cls: type[T], found: object) -> T:
    """The options that a checkpoint holds. Raises UserError where they are not this version's."""
    default = {f.name: f.default for f in dataclasses.fields(cls)}
    if not isinstance(found, dict):
        raise UserError("the checkpoint holds no options; resume from a last.pth of this suite.")
    for key, value in found.items():
        if type(value) not in (type(default.get(key)), {float: int}.get(type(default.get(key)))):
            raise UserError(f"the checkpoint has the option {key} = {value!r}, which this version does not; "
                            "go on with the version that wrote it.")
    return cls(**found)


def check(options) -> None:
    """Raise UserError, naming the flag, for a value that an option cannot take."""
    for f in dataclasses.fields(options):
        value, rules = getattr(options, f.name), f.metadata
        if rules["choices"] and value not in rules["choices"]:
            close = difflib.get_close_matches(str(value), rules["choices"], 1, 0.4)
            hint = f"did you mean {close[0]}?" if close else f"use one of {', '.join(rules['choices'])}."
            raise UserError(f"{flag(f.name)} {value} is none; {hint}")
        low, high = rules["low"], rules["high"]
        too_low, too_high = low is not None and not value >= low, high is not None and not value <= high
        if too_low or too_high or value == math.inf:
            bounds = f"{low:g} or more" if high is None else f"{low:g} to {high:g}"
            bounds = "finite" if value == math.inf else bounds
            raise UserError(f"{flag(f.name)} is {value:g}; it must be {bounds}.")


def _path(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("it is empty; type a path, or --resume alone for the run's own")
    return text


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise UserError(f"{message} (see python {sys.argv[0]} --help)")
