"""Finished runs, read back from their folders, checked against their own predictions, grouped by recipe.

groups, left_out = collect(Path("results"), script_options)    # [Group], [(folder, why it is not used)]
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from ferlab.analysis import metrics, records
from ferlab.data.rafdb import COUNTS
from ferlab.errors import UserError
from ferlab.files import shown
from ferlab.options import INITIALISATIONS, Options, initialisation, names
from models import ARCHITECTURES, NAMES

RECIPE = (*names("recipe"), "finish")  # a run that was closed early is another experiment than a whole one
NO_MODELS = ("studies", "sweeps", "plots")  # folders that hold no runs to compare
Recipe = Callable[[str, Sequence[str]], Options]  # what a model's script would train with: script_options


@dataclass
class Result:
    """One finished run. `test` is computed anew from its predictions, which are sorted by image."""

    folder: Path
    options: dict
    of_script: dict  # the options that the model's script has today
    numbers: dict  # metrics.json
    log: list[dict]
    images: list[str]
    labels: np.ndarray  # (N,)
    probabilities: np.ndarray  # (N, C)
    class_names: tuple[str, ...]
    test: dict

    @property
    def calibrated(self) -> np.ndarray:
        """The probabilities (N, C) as predict.py gives them, by the temperature that was fitted on val; runs
        older than that have none.
        """
        return metrics.scaled(self.probabilities, self.numbers.get("temperature", 1.0))

    @property
    def data(self) -> str:
        """The dataset that it saw: "RAF-DB", "drawn faces", or another one's name."""
        return self.numbers["data"]

    @property
    def initialisation(self) -> str:
        """What it began from, as one of INITIALISATIONS."""
        return initialisation(self.options["weights"])

    def recipe(self, *, without: Sequence[str] = ()) -> dict:
        """The options that two runs of one recipe share."""
        return {key: self.options[key] for key in sorted(RECIPE) if key not in without}

    def changed_options(self, *, without: Sequence[str] = ()) -> list[str]:
        """Where it differs from the script's recipe, such as "10 epochs instead of 40" or "balance focal"."""
        found = []
        for key, value in self.recipe(without=(*without, "weights")).items():
            default = self.of_script.get(key, value)
            if key == "epochs" and value != default:
                found.insert(0, f"{value} epochs instead of {default}")
            elif value != default:
                found.append(f"{key.replace('_', ' ')} {value}")
        return found


@dataclass(eq=False)  # a group is itself only, so it can be a key
class Group:
    """The runs of one model by one recipe, one for each seed, in the seeds' order."""

    runs: list[Result]
    varied: tuple[str, ...] = ()  # the options that a study varies: no part of the label
    label: str = field(init=False)

    def __post_init__(self) -> None:
        self.runs.sort(key=lambda run: run.options["seed"])
        self.first = self.runs[0]
        self.model, self.data = self.first.numbers["model"], self.first.data
        self.initialisation = self.first.initialisation
        changes = self.changed_options = self.first.changed_options(without=self.varied)
        self.label = f"{self.model} ({', '.join(changes)})" if changes else self.model
        self.seeds = ", ".join(str(run.options["seed"]) for run in self.runs)

    @cached_property
    def predicted(self) -> np.ndarray:
        """Class indices (S, N)."""
        return np.stack([run.probabilities.argmax(1) for run in self.runs])

    def values(self, key: str, *, split: str = "test") -> np.ndarray:
        """One number of each run (S,), as metrics.report names it."""
        return np.array([(run.test if split == "test" else run.numbers[split])[key] for run in self.runs])

    @property
    def val_macro_f1(self) -> float:
        """What recipes and models are chosen by: macro-F1 on val, mean over the seeds."""
        return float(self.values("macro_f1", split="val").mean())

    def cost(self, key: str) -> float | None:
        """A cost's median over the runs that know it."""
        known = [run.numbers["cost"][key] for run in self.runs if run.numbers["cost"][key] is not None]
        return float(np.median(known)) if known else None

    @cached_property
    def petaflops(self) -> float:
        """Training compute: three forward passes an image (backward costs two), mean over the seeds.

        An approximation: convolutions cost in proportion to the pixels, a ViT's layers to the patches it
        sees. Logs without the column image_size are of runs at full size.
        """
        full = self.first.options["image_size"]
        share = self.first.options["patch_keep"]
        passes = [
            share
            * sum(run.numbers["counts"]["train"])
            * sum((row.get("image_size", full) / full) ** 2 for row in run.log)
            for run in self.runs
        ]
        return float(3 * self.cost("gflops") * np.mean(passes) / 1e6)

    @property
    def confusion(self) -> np.ndarray:
        """The confusion matrices of all seeds, added up (C, C)."""
        return np.sum([run.test["confusion_matrix"] for run in self.runs], axis=0)


def collect(
    root: Path, recipe: Recipe, *, varied: Sequence[str] = ()
) -> tuple[list[Group], list[tuple[str, str]]]:
    """The groups in root/<Model>/<run>/, by model; and the folders that were not used, each with the reason.

    Of the runs on one dataset only the ones on one and the same test set are used: RAF-DB's by its known
    counts, where there is such a run. Of two runs of one seed the one whose name begins
    with rerun- is left out.
    """
    results, left_out = _read_all(root, recipe)
    main = _main_test_sets(results)
    groups: dict[tuple, dict[int, Result]] = defaultdict(dict)
    for run in results:
        name = _name(run.folder, root)
        if _test_set(run) != main[run.data]:
            images = f"{len(run.images):,} images"
            left_out.append((name, f"tested on another test set ({images}) than the other runs"))
            continue
        data = (run.numbers[key] for key in ("model", "split_hash", "train_hash"))
        key = (*data, run.data, *run.recipe().items())  # in which 2 epochs of warm-up are 2.0 epochs
        same = groups[key].setdefault(run.options["seed"], run)
        if same is not run:
            left_out.append(
                (name, f"the recipe and seed of {shown(same.folder.name)} again; a seed counts once")
            )
    found = [Group(list(by_seed.values()), tuple(varied)) for by_seed in groups.values()]
    found.sort(key=lambda g: (NAMES.index(g.model), INITIALISATIONS.index(g.initialisation), g.label))
    _tell_apart(found)
    return found, sorted(left_out)


def _read_all(root: Path, recipe: Recipe) -> tuple[list[Result], list[tuple[str, str]]]:
    """The runs that can be used, reruns last; and the other folders, each with the reason."""
    results, left_out = [], []
    folders = (path for path in root.glob("*/*") if path.is_dir() and path.parent.name not in NO_MODELS)
    for folder in sorted(folders, key=lambda path: (path.name.startswith("rerun-"), path)):
        try:
            results.append(_read(folder, recipe))
        except ValueError as error:
            left_out.append((_name(folder, root), str(error)))
    return results, left_out


def _main_test_sets(results: Sequence[Result]) -> dict[str, tuple]:
    """The test set of each dataset: the one of RAF-DB's known counts where there is such a run, else the one
    that most runs have.
    """
    found = {}
    for data in {run.data for run in results}:
        used = Counter(_test_set(run) for run in results if run.data == data)
        found[data] = max(used, key=lambda test: (_counts(test) == COUNTS["test"], used[test]))
    return found


def _tell_apart(groups: list[Group]) -> None:
    """Make labels unique where only the training images or the checkpoint to start from differ."""

    def place(group: Group) -> tuple:
        varied = (group.first.options[key] for key in group.varied)
        return group.initialisation, group.data, group.label, *varied

    places = [place(group) for group in groups]
    for number, (group, where) in enumerate(zip(groups, places), 1):
        if places.count(where) > 1:
            group.label += f" [{number}: {shown(group.first.folder.name)}]"


def _name(folder: Path, root: Path) -> str:
    return shown(folder.relative_to(root).as_posix())


def _test_set(run: Result) -> tuple:
    return tuple(run.images), run.labels.tobytes(), run.class_names


def _counts(test: tuple) -> tuple:
    """Images per class of such a test set."""
    return tuple(np.bincount(np.frombuffer(test[1], np.int64), minlength=len(test[2])).tolist())


def _read(folder: Path, recipe: Recipe) -> Result:
    """The run in `folder`; ValueError with the reason where it cannot be used."""
    if folder.parent.name not in NAMES:
        raise ValueError(f"{shown(folder.parent.name)} is not a model of this suite")
    options = {**vars(Options()), **records.options(folder)}  # older runs lack newer options
    if not (folder / "metrics.json").exists():
        done = len(records.log(folder)) if (folder / "log.csv").exists() else 0
        raise ValueError(f"unfinished: {done} of {options['epochs']} epochs")
    numbers = records.numbers(folder)
    if "test" not in numbers:
        raise ValueError("it has no test scores (--no-test)")
    model, weights = numbers["model"], options["weights"]
    if model != folder.parent.name:
        raise ValueError(f"metrics.json is of {shown(model)}, the folder of {folder.parent.name}")
    try:
        of_script = vars(recipe(model, ["--weights", "imagenet" if weights == "imagenet" else "none"]))
    except FileNotFoundError:
        raise ValueError(f"there is no {ARCHITECTURES[model].script} to tell its recipe") from None
    except UserError as error:
        raise ValueError(str(error)) from None
    if options["image_size"] < 1:
        raise ValueError("options.json has no image_size")
    log = records.log(folder)
    images, labels, probabilities, class_names = records.predictions(folder)
    if len(log) != numbers["epochs"]:
        raise ValueError(f"log.csv has {len(log)} epochs, metrics.json says {numbers['epochs']}")
    test = metrics.report(probabilities, labels, class_names)
    if not _same(numbers["test"], test):
        raise ValueError("the test numbers in metrics.json do not follow from predictions.csv")
    return Result(folder, options, of_script, numbers, log, images, labels, probabilities, class_names, test)


def _same(stored: object, computed: object) -> bool:
    """Whether two trees of numbers are the same, to the digits that another machine may compute otherwise."""
    if isinstance(computed, dict):
        return isinstance(stored, dict) and all(_same(stored.get(key), computed[key]) for key in computed)
    if isinstance(computed, list | tuple):
        return isinstance(stored, list) and len(stored) == len(computed) and all(map(_same, stored, computed))
    if isinstance(computed, records.NUMBER):
        return isinstance(stored, records.NUMBER) and abs(stored - computed) < 1e-6
    return stored == computed
