"""A trained model on any labelled faces: all numbers, confusion matrix and predictions in one folder.

python evaluate.py results/ConvNet/seed0 --data path/to/fer2013.csv     # results/ConvNet/seed0/on-fer2013/
python evaluate.py results/ConvNet/seed0 --flip                         # on RAF-DB, mirror images counted in

The data may lie in any layout that the train scripts take, and have other classes than the model: what both
have counts. `python study.py transfer` does it for all trained models and compares them.
"""

import argparse
import contextlib
import json
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np

from ferlab.analysis import metrics, plots, records
from ferlab.analysis.flipped import mirrored
from ferlab.analysis.runs import RECIPE
from ferlab.analysis.transfer import Cell, write_page
from ferlab.data.rafdb import SIDE, slug
from ferlab.errors import UserError, command
from ferlab.files import write_atomically, write_text
from ferlab.inference.predictor import find
from ferlab.inference.transfer import NothingShared, SharedPredictions, shared_predictions
from ferlab.options import INITIALISATIONS, Options, initialisation
from ferlab.training.device import choose
from ferlab.training.report import to_csv, to_json
from ferlab.training.summary import commit, predictions_table
from models import Model, load
from RAFDB_dataset import RAFDBDataset, describe, open_source


@command
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    add = parser.add_argument
    add("run", metavar="RUN", help="a run's folder or its .pth")
    add(
        "--data",
        default=Options.data,
        help="folder, .zip or table of labelled faces, or synthetic for drawn ones; default %(default)s",
    )
    add("--split", choices=("test", "val", "train"), default="test", help="default %(default)s")
    add("--face-size", type=int, default=0, metavar="N", help="scale faces to N x N (default: as trained)")
    add("--flip", action="store_true", help="mean over each face and its mirror image, as predict.py --flip")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add("--overwrite", action="store_true", help="replace an evaluation that already exists")
    args = parser.parse_args()
    checkpoint = find(args.run)
    model = load(checkpoint).to(choose(args.device))
    source = open_source(args.data).scaled(args.face_size or trained_size(model))
    part = RAFDBDataset(source, args.split)
    folder = place(checkpoint, part, flip=args.flip)
    if (folder / "metrics.json").exists() and not args.overwrite:
        raise UserError(f"{folder} already exists; add --overwrite to replace it.")
    print(describe(part))
    numbers, _ = evaluate(model, checkpoint, part, flip=args.flip)
    print(summary(numbers))
    print(f"written: {folder}")


def place(checkpoint: Path, part: RAFDBDataset, *, flip: bool = False) -> Path:
    """Where the evaluation of the run's `checkpoint` on `part` goes: beside the run's own files."""
    name = mirrored(part.kind) if flip else f"on-{slug(part.kind)}"
    return checkpoint.parent / (name if part.split == "test" else f"{name}-{part.split}")


def evaluate(
    model: Model, checkpoint: Path, part: RAFDBDataset, *, flip: bool = False
) -> tuple[dict, SharedPredictions]:
    """Evaluate the model, which `checkpoint` holds, on a split of any dataset; what came out goes to
    `place`. flip: each answer is the mean over the face and its mirror image.
    """
    found = shared_predictions(model, part, flip=flip)
    names, folder = found.class_names, place(checkpoint, part, flip=flip)
    numbers = {
        "model": model.built["name"],
        "run": checkpoint.parent.name,
        "trained_on": model.checkpoint.get("data", "unknown data"),
        "tested_on": part.kind,
        "split": part.split,
        "flip": flip,
        "temperature": model.checkpoint.get("temperature", 1.0),  # by which the logits were divided
        "images_left_out": found.left_out,
        "scaled_images": part.resized,
        "test_hash": part.hash,
        "commit": commit(),
        "test": metrics.report(found.probabilities, found.labels, names),
    }
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made ({error.strerror}).", code=4) from None
    title = f"{model.built['name']}, trained on {numbers['trained_on']}: {part.kind}, {part.split}"
    draw = partial(plots.confusion, numbers["test"]["confusion_matrix"], names=names, title=title)
    write_atomically(folder / "confusion_matrix.png", draw)
    header, *rows = predictions_table(found.images, found.labels.tolist(), names, found.probabilities)
    for name, content in (("predictions.csv", to_csv(header, rows)), ("metrics.json", to_json(numbers))):
        write_text(folder / name, content)
    return numbers, found


def trained_size(model: Model) -> int:
    """Pixels a side of the faces that the model was trained on."""
    return model.checkpoint["options"].get("face_size") or SIDE


def transfer(
    names: Sequence[str],
    train: Sequence[str],
    test: Sequence[str],
    *,
    results: Path,
    device: str = "auto",
    face_size: int = 0,
) -> None:
    """Evaluate every finished run of the models `names` that was trained on one of the datasets `train` on
    the test images of each path in `test`, and write the page that compares them, transfer.md. Faces are
    scaled to face_size, or else to what each model was trained on.
    """
    groups = _trained(names, [slug(name) for name in train], results)
    sources = {source.dataset: source for source in map(open_source, test)}
    if len(sources) < len(test):
        raise UserError(f"two of the data are called {list(sources)[-1]}; rename the folder of one of them.")
    part = cache(lambda kind, size: RAFDBDataset(sources[kind].scaled(size), "test"))
    cells, not_shared = [], []
    for (label, data), files in groups:
        found: dict[str, list[SharedPredictions]] = {kind: [] for kind in sources}
        for file in files:
            model = load(file).to(choose(device))
            for kind in sources:
                try:
                    numbers, answers = evaluate(model, file, part(kind, face_size or trained_size(model)))
                except NothingShared as error:
                    not_shared.append(f"{label}, trained on {data}, on {kind}: {error}")
                    continue
                found[kind].append(answers)
                score = 100 * numbers["test"]["accuracy"]
                print(f"{file.parent} on {kind}: accuracy {score:.2f} %", flush=True)
        seeds = ", ".join(file.parent.name for file in files)
        for kind, given in found.items():
            if given:
                classes, labels, left_out = given[0].class_names, given[0].labels, given[0].left_out
                predicted = np.stack([answers.probabilities.argmax(1) for answers in given])
                unknown = sum(left_out.values())
                cells.append(Cell(label, data, kind, classes, seeds, labels, predicted, unknown))
    if not cells:
        raise UserError(not_shared[0])
    print(f"written: {write_page(results / 'studies', cells, list(dict.fromkeys(not_shared)))}")


def _trained(
    names: Sequence[str], wanted: Sequence[str], results: Path
) -> list[tuple[tuple[str, str], list[Path]]]:
    """The best_model.pth of the finished runs of `names` on the datasets `wanted`, by label and dataset: runs
    of one recipe on the same images together, one for each seed. Raises UserError where there are none.
    """
    groups: dict[tuple, dict[int, Path]] = {}
    others = set()
    for name in names:
        files = (results / name).glob("*/best_model.pth")
        for file in sorted(files, key=lambda path: (path.parent.name.startswith("rerun-"), path)):
            with contextlib.suppress(records.Unreadable):
                numbers = records.numbers(file.parent)
                options = vars(Options()) | records.options(file.parent)  # older runs lack newer options
                others.add(slug(numbers["data"]))
                if slug(numbers["data"]) in wanted:
                    begun = initialisation(options["weights"])
                    label = name if begun == INITIALISATIONS[0] else f"{name} {begun}"
                    images = [numbers[key] for key in ("split_hash", "train_hash")]
                    recipe = json.dumps([images, {key: options.get(key) for key in RECIPE}])
                    seeds = groups.setdefault((label, numbers["data"], recipe), {})
                    seeds.setdefault(options["seed"], file)
    if not groups:
        there = f"; there are runs on {', '.join(sorted(others))}" if others else "; train one first"
        raise UserError(f"no finished run in {results} was trained on {' or '.join(wanted)}{there}.")
    named = []
    for (label, data, _), seeds in groups.items():
        files = list(seeds.values())
        recipes = sum(key[:2] == (label, data) for key in groups)
        named.append(((f"{label} ({files[0].parent.name})" if recipes > 1 else label, data), files))
    return named


def summary(numbers: dict) -> str:
    """The numbers in a few short lines."""
    test = numbers["test"]
    low, high = (100 * value for value in test["intervals"]["accuracy"])
    lines = [
        f"{numbers['model']}, trained on {numbers['trained_on']}, on {numbers['tested_on']}, "
        f"{numbers['split']}: {test['n']:,} images{', mirror images counted in' if numbers['flip'] else ''}",
        f"accuracy {100 * test['accuracy']:.2f} % (95 % interval {low:.2f} to {high:.2f})",
        f"balanced accuracy {100 * test['balanced_accuracy']:.2f} %, macro-F1 {100 * test['macro_f1']:.2f} %",
    ]
    lines += [
        f"recall of {name:10} " + (f"{100 * v['recall']:5.1f} %  of {v['n']:,}" if v["n"] else "no images")
        for name, v in test["per_class"].items()
    ]
    if numbers["images_left_out"]:
        left_out = ", ".join(f"{n:,} of {name}" for name, n in numbers["images_left_out"].items())
        lines.append(f"left out, as the model does not know their class: {left_out}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
