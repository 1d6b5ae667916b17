"""Compare the finished runs in results/: tables, pictures, paired tests, and who is better in words.

python compare.py [FOLDER]                    # writes FOLDER/README.md, its plots/ and the README's table
python compare.py --format latex              # prints the tables instead
"""

import argparse
from itertools import combinations
from pathlib import Path

import numpy as np

from fer import CLASS_NAMES, plots, significance
from fer.errors import UserError, command
from fer.metrics import reliability
from fer.results import STARTS, Group, collect
from fer.significance import bootstrap, interval, listed, words
from fer.tables import Table, number, percent
from models import NAMES, has_imagenet
from RAFDB_dataset import KNOWN_COUNTS

MAIN = {"accuracy": "Accuracy", "balanced_accuracy": "Balanced accuracy", "macro_f1": "Macro-F1"}
OTHER = {"weighted_f1": "Weighted F1", "top2": "Top-2", "top3": "Top-3", "ece": "ECE"}
COSTS = {"parameters": "Parameters, M", "gflops": "GFLOPs", "latency_ms": "Latency of one image, ms",
         "images_per_second": "Images/s", "train_seconds": "Training, min",
         "peak_memory_mib": "Peak memory, MiB"}
SCALE = {"parameters": 1e-6, "train_seconds": 1 / 60}
RECIPE = ("epochs", "batch_size", "lr", "weight_decay", "warmup_epochs", "image_size", "balance",
          "label_smoothing", "augment", "ema")
PICTURES = {"recall": "Recall by class", "confusion": "Confusion matrices",
            "reliability": "Reliability diagrams", "curves": "Training curves"}
HEADLINE = ("accuracy", "balanced_accuracy")
DRAWN_PAGE = "drawn.md"
MARKS = "<!-- results -->", "<!-- /results -->"
HOW = """\
Numbers are per cent: mean ± standard deviation over the seeds [95 % interval], computed from each run's
`predictions.csv`. Checkpoints are chosen on val (macro-F1); the test set is read once a run. The intervals
resample test images and seeds, and in a paired test all models see the same images: McNemar's test and a
paired bootstrap for accuracy, the bootstrap for balanced accuracy, Holm's correction over all pairs. A model
is called better only where the corrected p is below 0.05, the two intervals do not overlap, and both have two
seeds or more; `fer/significance.py` says how and why. Where a model has several recipes, the one with the
best val macro-F1 stands for it in tests and pictures. Brackets behind a name say where a run departs from the
recipe that its script holds today. Training compute counts three forward passes for an image."""
DRAWN = "**These are drawn faces, not RAF-DB: the numbers show that everything works and say nothing else.**"
NOTHING = "There is no finished run on RAF-DB here yet; `python train_ConvNet.py` makes one."


@command
def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the finished runs of all models.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("results"), help="default %(default)s")
    parser.add_argument("--format", choices=("markdown", "latex"), default="markdown",
                        help="latex prints the tables and writes nothing")
    args = parser.parse_args()
    if not args.folder.is_dir():
        raise UserError(f"there is no folder {args.folder}; train a model first: python train_ConvNet.py")
    groups, left_out = collect(args.folder)
    real, drawn = ([Chapter(part) for start in STARTS if (part := [
        g for g in groups if g.start == start and g.drawn is kind])] for kind in (False, True))
    if args.format == "latex":
        tables = (part for chapter in real + drawn for part in chapter.parts() if isinstance(part, Table))
        print("\n\n".join(table.latex() for table in tables) or NOTHING)
        return
    text = summary(real, args.folder.name)
    try:
        _write(args.folder, real, drawn, left_out)
        rewrite(args.folder.resolve().parent / "README.md", text)
    except OSError as error:
        raise UserError(f"{error.filename} cannot be written ({error.strerror}).", code=4) from None
    print(f"{text}\n\n{args.folder / 'README.md'} has it all; folders not used: {len(left_out)}"
          f"{f', drawn faces: {args.folder / DRAWN_PAGE}' if drawn else ''}.")


class Chapter:
    """What there is to say about groups of runs on one test set that started alike, so nothing mixes them."""

    def __init__(self, groups: list[Group]) -> None:
        self.groups, self.start, self.drawn = groups, groups[0].start, groups[0].drawn
        self.labels = groups[0].first.labels
        self.counts = np.bincount(self.labels, minlength=len(CLASS_NAMES))
        self.data = f"{'drawn faces' if self.drawn else 'RAF-DB'}, {len(self.labels):,} test images"
        self.draws = dict(zip(groups, bootstrap([group.predicted for group in groups], self.labels)))
        ranked = sorted(groups, key=lambda group: group.values("macro_f1", split="val").mean())
        self.best = {group.model: group for group in ranked}  # of a model's recipes the best on val
        self.chosen = {group.label: group for group in groups if self.best[group.model] is group}
        self.claims = significance.compare(
            {label: group.predicted for label, group in self.chosen.items()}, self.labels,
            [self.draws[group] for group in self.chosen.values()], list(combinations(self.chosen, 2)))

    def score(self, group: Group, key: str) -> str:
        """One of the main numbers as a table's cell."""
        return percent(group.values(key), interval(self.draws[group][key]))

    def parts(self) -> list[str | Table]:
        """Paragraphs and tables, in their order."""
        classes = [_by_class(self.groups, key) for key in ("recall", "precision", "f1")]
        tables = [_overall(self.groups, self.score), *[significance.table(self.claims)] * bool(self.claims),
                  *classes, _confused(list(self.chosen.values())), _cost(self.groups), _recipes(self.groups)]
        about = f", models {self.start}{' on drawn faces' if self.drawn else ''}."
        first, *rest = (table._replace(caption=table.caption.rstrip(".") + about) for table in tables)
        shown = [f"![{PICTURES[key]}](plots/{file})" for key, file in self.files().items()]
        return [f"## Models {self.start}", first, *[words(self.claims)] * bool(self.claims), *rest, *shown]

    def files(self) -> dict[str, str]:
        """The names of its pictures."""
        return {key: _picture(self.drawn, self.start, key) for key in PICTURES}

    def draw(self, folder: Path) -> None:
        """Draw them into `folder`."""
        files, chosen = {key: folder / name for key, name in self.files().items()}, self.chosen.items()
        title = f"{self.data}, models {self.start}"
        recalls = {label: np.mean([_values(run, "recall") for run in g.runs], axis=0) for label, g in chosen}
        plots.recalls(recalls, self.counts, files["recall"], title=f"Recall in %: {title}")
        plots.confusions({label: g.confusion for label, g in chosen}, files["confusion"],
                         title=f"Share of each true class in %: {title}")
        bins = {}
        for label, g in chosen:
            scores, labels = [run.probabilities for run in g.runs], np.tile(self.labels, len(g.runs))
            bins[label] = reliability(np.concatenate(scores), labels), g.values("ece").mean()
        plots.reliability(bins, files["reliability"], title=title)
        logs = [(group.label, run.log) for group in self.groups for run in group.runs]
        plots.all_curves(logs, files["curves"], title=f"All runs: {title}")

    def entries(self) -> list[dict]:
        """Its points in the picture of scores against cost."""
        return [{"label": label, "start": f"models {self.start}", "petaflops": petaflops(g),
                 **{key: (g.values(key).mean(), *interval(self.draws[g][key])) for key in HEADLINE}}
                for label, g in self.chosen.items()]


def _picture(drawn: bool, start: str, key: str) -> str:
    return f"{'drawn-' if drawn else ''}{key}-{start.split()[-1 if start == STARTS[2] else 1].lower()}.png"


def _write(folder: Path, real: list[Chapter], drawn: list[Chapter], left_out: list[tuple[str, str]]) -> None:
    """The two pages and their pictures; what an earlier call wrote and no run stands for any more goes."""
    for kind, page in ((False, "README.md"), (True, DRAWN_PAGE)):
        chapters, comparison = (real, drawn)[kind], f"{'drawn-' if kind else ''}comparison.png"
        for name in (comparison, *(_picture(kind, start, key) for start in STARTS for key in PICTURES)):
            (folder / "plots" / name).unlink(missing_ok=True)
        parts = [f"# Results{' on drawn faces' if kind else ''}"]
        if chapters:
            (folder / "plots").mkdir(exist_ok=True)
            for chapter in chapters:
                chapter.draw(folder / "plots")
            plots.comparison([entry for chapter in chapters for entry in chapter.entries()],
                             folder / "plots" / comparison, title=f"{chapters[0].data}: mean, 95 % intervals")
            foreign = not kind and chapters[0].counts.tolist() != list(KNOWN_COUNTS["test"])
            parts += [*[DRAWN] * kind, HOW, f"Test set: {chapters[0].data}.",
                      *["**These are NOT the known test images of RAF-DB.**"] * foreign,
                      f"![Scores against training compute](plots/{comparison})"]
        parts += [part for chapter in chapters for part in chapter.parts()]
        if not kind:
            parts += [NOTHING] * (not real) + ["## Not used, not run", _unused(real, left_out)]
        text = (part.markdown() if isinstance(part, Table) else part for part in parts)
        if chapters or not kind:
            (folder / page).write_text("\n\n".join(text) + "\n", encoding="utf-8")
        else:
            (folder / page).unlink(missing_ok=True)


def _unused(chapters: list[Chapter], left_out: list[tuple[str, str]]) -> str:
    lines = [f"- `{folder}`: {reason}" for folder, reason in left_out]
    there = {(chapter.start, model) for chapter in chapters for model in chapter.best}
    for start, names in ((STARTS[0], NAMES), (STARTS[1], [name for name in NAMES if has_imagenet(name)])):
        if lacking := [name for name in names if (start, name) not in there]:
            lines.append(f"- No finished run {start}: {listed(lacking)}.")
    return "\n".join(lines) or "Everything was used, and every model has a finished run."


def summary(chapters: list[Chapter], folder: str) -> str:
    """The top README's table: a row for each model, columns for each start, empty where nothing ran."""
    if not chapters:
        return NOTHING
    header, rows = ["Model", "Parameters, M", "GFLOPs"], []
    for chapter in chapters:
        header += [*(f"{MAIN[key]} {chapter.start}, %" for key in HEADLINE), "Seeds"]
    for name in NAMES:
        groups = [chapter.best.get(name) for chapter in chapters]
        known = next(filter(None, groups), None)
        row = [name, *(_costs(known)[:2] if known else ["", ""])]
        for chapter, group in zip(chapters, groups):
            row += [chapter.score(group, key) for key in HEADLINE] if group else ["", ""]
            row += [f"{len(group.runs)}{group.label.removeprefix(name)}" if group else ""]
        rows.append(row)
    caption = (f"{chapters[0].data}: mean ± standard deviation over seeds [95 % interval]; empty: not run. "
               f"By `compare.py`, more in [{folder}]({folder}/README.md).")
    said = [f"Models {chapter.start}:\n\n{words(chapter.claims)}" for chapter in chapters if chapter.claims]
    return "\n\n".join([Table(caption, header, rows).markdown(), *said])


def rewrite(readme: Path, text: str) -> None:
    """Put `text` between the two marks of `readme`, if it is there and has both."""
    if readme.is_file():
        before, start, rest = readme.read_text(encoding="utf-8").partition(MARKS[0])
        _, end, after = rest.partition(MARKS[1])
        if start and end:
            readme.write_text(f"{before}{start}\n{text}\n{end}{after}", encoding="utf-8")


def petaflops(group: Group) -> float:
    """Training compute: three forward passes an image (backward costs two), mean over the seeds."""
    steps = [run.numbers["epochs"] * sum(run.numbers["counts"]["train"]) for run in group.runs]
    return 3 * group.cost("gflops") * np.mean(steps) / 1e6


def _values(run, key: str) -> np.ndarray:
    """recall, precision or f1 of every class (7,)."""
    return np.array([run.test["per_class"][name][key] for name in CLASS_NAMES])


def _overall(groups: list[Group], score) -> Table:
    rows = [[g.label, ", ".join(str(run.options["seed"]) for run in g.runs), *(score(g, key) for key in MAIN),
             *(percent(g.values(key)) for key in OTHER), f"{g.values('nll').mean():.3f}"] for g in groups]
    return Table("Overall, %", ["Model", "Seeds", *MAIN.values(), *OTHER.values(), "NLL"], rows)


def _by_class(groups: list[Group], key: str) -> Table:
    counts = np.bincount(groups[0].first.labels, minlength=len(CLASS_NAMES))
    rows = [[g.label, *(percent(np.array(values), digits=1)
                        for values in zip(*(_values(run, key) for run in g.runs)))] for g in groups]
    header = [f"{name} (n = {n:,})" for name, n in zip(CLASS_NAMES, counts)]
    return Table(f"{key.capitalize()} by class, %", ["Model", *header], rows)


def _confused(groups: list[Group], most: int = 5) -> Table:
    rows = []
    for g in groups:
        counts, n = g.confusion, len(g.runs)
        shares = counts / np.maximum(counts.sum(1, keepdims=True), 1) * ~np.eye(len(counts), dtype=bool)
        pairs = [divmod(int(i), len(counts)) for i in np.argsort(-shares, axis=None, kind="stable")[:most]]
        rows.append([g.label, *(f"{CLASS_NAMES[i]} → {CLASS_NAMES[j]} {100 * shares[i, j]:.0f} % "
                                f"({number(counts[i, j] / n)})" for i, j in pairs if counts[i, j])])
        rows[-1] += [""] * (most + 1 - len(rows[-1]))
    header = ["Model", *(f"{rank}." for rank in range(1, most + 1))]
    return Table("Most confused, true → predicted, in % of the true class (and images a seed)", header, rows)


def _costs(group: Group) -> list[str]:
    costs = {key: group.cost(key) for key in COSTS}
    return [number(None if cost is None else cost * SCALE.get(key, 1)) for key, cost in costs.items()]


def _cost(groups: list[Group]) -> Table:
    rows = []
    for g in groups:
        there = [run.numbers["environment"] for run in g.runs]
        names = dict.fromkeys((e["gpu"] or f"{e['cpu']}, {e['threads']} threads") + f", {e['precision']}"
                              for e in there)
        rows.append([g.label, *_costs(g), number(petaflops(g)), "; ".join(names)])
    header = ["Model", *COSTS.values(), "Training petaFLOPs", "Measured on"]
    return Table("Cost, medians over the seeds; two FLOPs a multiply-add", header, rows)


def _recipes(groups: list[Group]) -> Table:
    rows = [[g.label, *(f"{g.first.options.get(key, '')}" for key in RECIPE)] for g in groups]
    return Table("Recipes", ["Model", *(key.replace("_", " ").capitalize() for key in RECIPE)], rows)


if __name__ == "__main__":
    main()
