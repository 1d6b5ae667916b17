"""What folders and tables call the classes of their faces -> the classes' names and numbers.

names, number = classes(["happy", "3_sad"])       # ("Happiness", "Sadness"), {"happy": 1, "3_sad": 2}
compare("train_labels.csv", text, {"train_00001_aligned.jpg": 1}, number.get, problems)
"""

import csv
import io
import re
import string
from collections.abc import Callable, Iterable
from types import ModuleType

from ferlab.data import affectnet, fer2013, rafdb
from ferlab.data.rafdb import CLASS_NAMES
from ferlab.errors import UserError

EXPRESSIONS = (*CLASS_NAMES, "Contempt")  # what other datasets have beside RAF-DB's seven
SPELLINGS = (  # any beginning of one will do, from two letters on: su, sur, surprise
    ("surprised", "suprised"),
    ("fearful", "afraid", "scared"),
    ("disgusted",),
    ("happiness", "happy", "joyful"),
    ("sadness",),
    ("angry", "anger"),
    ("neutrality", "natural"),
    ("contemptuous",),
)
NUMBERS = ", ".join(f"{number} {name}" for number, name in enumerate(CLASS_NAMES, 1))
DATASETS = (rafdb, fer2013, affectnet)  # whose facts are known
LIST = "classes.txt"  # beside the images: what the numbers mean where the suite cannot know


def expression(text: str) -> str | None:
    """The one of EXPRESSIONS that `text` means in any usual spelling, or None. A number beside a name tells
    nothing: datasets count in different orders.
    """
    word = text.lower().strip(string.digits + " _-.()")
    found = (name for name, spelt in zip(EXPRESSIONS, SPELLINGS) for s in spelt if s.startswith(word))
    return next(found, None) if len(word) > 1 else None


def label(text: str) -> int | None:
    """The label 1..7 that `text` means, as RAF-DB's number or as a name in any usual spelling, or None."""
    if text in tuple("1234567"):
        return int(text)
    name = expression(text)
    return CLASS_NAMES.index(name) + 1 if name in CLASS_NAMES else None


def classes(
    words: Iterable[str], *, hint: str = "", listed: str = ""
) -> tuple[tuple[str, ...], dict[str, int]]:
    """The names of the classes that `words` mean, and each word's number, from 1.

    Expressions come in RAF-DB's order, with Contempt behind them, whatever their spelling; if one word is no
    expression, all words are names of classes as they stand, in alphabetical order. Numbers mean what
    `listed` says, the text of a classes.txt with lines such as "0 angry"; else what they mean in the
    dataset that the path `hint` names; else RAF-DB's 1..7. Raises UserError for other numbers.
    """
    words = sorted(set(words))
    numbers = _numbers(words, hint=hint, listed=listed)
    meant = {word: numbers.get(word, word) for word in words}
    found = {word: expression(text) for word, text in meant.items()}
    if all(found.values()):
        present = {*found.values(), *(CLASS_NAMES if numbers == _labels(rafdb) else ())}
        names = tuple(name for name in EXPRESSIONS if name in present)
        return names, {word: names.index(name) + 1 for word, name in found.items()}
    # Angry and angry are one
    spelt = {text.casefold(): text for text in sorted(meant.values(), reverse=True)}
    names = tuple(spelt[key] for key in sorted(spelt))
    return names, {word: names.index(spelt[text.casefold()]) + 1 for word, text in meant.items()}


def whose(hint: str) -> ModuleType:
    """Facts of the dataset whose numbers a tree at the path `hint` has: a part is called by it; or RAF-DB."""
    parts = [re.sub(r"\W|_", "", part.lower()) for part in re.split(r"[/\\]", hint)]
    called = (
        facts for facts in DATASETS for part in parts if re.fullmatch(rf"{facts.NAME}([^a-z].*)?", part)
    )
    return next(called, rafdb)


def _labels(facts: ModuleType) -> dict[str, str]:
    return {str(number): name for number, name in enumerate(facts.CLASS_NAMES, facts.FIRST)}


def _numbers(words: list[str], *, hint: str, listed: str) -> dict[str, str]:
    """What numbers mean here; nothing where there are none among the words."""
    numbers = [word for word in words if word.isdigit()]
    if not numbers:
        return {}
    if listed:
        lines = [line for line in listed.splitlines() if line.strip()]
        pairs = [re.fullmatch(r"\s*(\d+)[\s,:;]+(\S.*?)\s*", line) for line in lines]
        known = {pair[1]: pair[2] for pair in pairs if pair}
        if len(known) < len(lines):
            raise UserError(
                f'each line of {LIST} must be a number and its class, such as "0 angry", once each.'
            )
    else:
        known = _labels(whose(hint))
    if unknown := [number for number in numbers if number not in known]:
        raise UserError(
            f"the label {unknown[0]} among {', '.join(words[:10])} is none of {', '.join(known)}, and "
            f"numbers mean other expressions in other datasets; say which in a file {LIST} beside them, "
            'with a line for each number, such as "0 angry".'
        )
    return known


def compare(
    name: str,
    text: str,
    labels: dict[str, int],
    number: Callable[[str], int | None],
    problems: dict[str, list[str]],
) -> None:
    """Add to `problems` what disagrees between the CSV `name`, which holds `text`, and the folders' `labels`.

    labels: image -> 1..C; number: a cell -> 1..C or None. problems: kind -> sentences.
    """
    table = csv.reader(io.StringIO(text, newline=None))  # any line ends
    listed: set[str] = set()
    try:
        header = next(table, [])
        if [cell.strip() for cell in header] != ["image", "label"]:
            problems[f"{name}: columns"].append(
                f"{name}, line 1: is {','.join(header)[:60]!r}, not 'image,label'"
            )
            return
        for cells in filter(None, table):
            where, image = f"{name}, line {table.line_num}", cells[0].strip()
            found = number(cells[1].strip()) if len(cells) == 2 else None
            if found is None:
                problems[f"{name}: rows"].append(
                    f"{where}: {','.join(cells)[:60]!r} is not an image name and a label 1..7"
                )
            elif image in listed:
                problems[f"{name}: twice"].append(f"{where}: {image} is listed twice")
            elif image not in labels:
                problems[f"{name}: no image"].append(f"{where}: there is no image {image[:60]!r}")
            elif labels[image] != found:
                problems[f"{name}: labels"].append(
                    f"{where}: {image} has label {found} but lies in folder {labels[image]}"
                )
            listed.add(image)
    except csv.Error as error:
        problems[f"{name}: CSV"].append(f"{name}, line {table.line_num}: {error}")
        return
    for image in labels:
        if image not in listed:
            problems[f"{name}: no row"].append(f"{name}: has no row for image {image}")
