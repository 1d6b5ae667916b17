"""What folders and tables call RAF-DB's seven classes, and whether a table says the same as the folders.

label("4") == label("happy") == label("3_joy") == 4
compare("train_labels.csv", text, {"train_00001_aligned.jpg": 1}, problems)
"""

import csv
import io
import string

from ferlab.data.rafdb import CLASS_NAMES

SPELLINGS = (  # any beginning of one will do, from two letters on: su, sur, surprise
    ("surprised", "suprised"),
    ("fearful", "afraid", "scared"),
    ("disgusted",),
    ("happiness", "happy", "joyful"),
    ("sadness",),
    ("angry", "anger"),
    ("neutrality", "natural"),
)
NUMBERS = ", ".join(f"{number} {name}" for number, name in enumerate(CLASS_NAMES, 1))


def label(text: str) -> int | None:
    """The label 1..7 that `text` means, as RAF-DB's number or as a name in any usual spelling, or None.

    A number beside a name tells nothing: other datasets count in other orders.
    """
    if text in tuple("1234567"):
        return int(text)
    word = text.lower().strip(string.digits + " _-.()")
    for number, names in enumerate(SPELLINGS, 1):
        if len(word) > 1 and any(name.startswith(word) for name in names):
            return number
    return None


def compare(name: str, text: str, labels: dict[str, int], problems: dict[str, list[str]]) -> None:
    """Add to `problems` what disagrees between the CSV `name`, which holds `text`, and the folders' `labels`.

    labels: image -> 1..7. problems: kind -> sentences.
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
            number = label(cells[1].strip()) if len(cells) == 2 else None
            if number is None:
                problems[f"{name}: rows"].append(
                    f"{where}: {','.join(cells)[:60]!r} is not an image name and a label 1..7"
                )
            elif image in listed:
                problems[f"{name}: twice"].append(f"{where}: {image} is listed twice")
            elif image not in labels:
                problems[f"{name}: no image"].append(f"{where}: there is no image {image[:60]!r}")
            elif labels[image] != number:
                problems[f"{name}: labels"].append(
                    f"{where}: {image} has label {number} but lies in folder {labels[image]}"
                )
            listed.add(image)
    except csv.Error as error:
        problems[f"{name}: CSV"].append(f"{name}, line {table.line_num}: {error}")
        return
    for image in labels:
        if image not in listed:
            problems[f"{name}: no row"].append(f"{name}: has no row for image {image}")
