"""Compare the finished runs in results/: the answer in words, tables, pictures, paired tests.

python compare.py [FOLDER]                    # writes FOLDER/README.md and FOLDER/plots/
python compare.py --readme                    # and the results in the README beside FOLDER
python compare.py --format latex              # prints the tables instead
"""

import argparse
import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path

from ferlab.analysis.answer import KEY, answer, in_words, lacking
from ferlab.analysis.metrics import SCORES
from ferlab.analysis.overview import overview
from ferlab.analysis.pages import HEADLINE, PICTURES, Section, costs, picture_name, png, published
from ferlab.analysis.runs import Group, collect
from ferlab.analysis.significance import listed
from ferlab.analysis.studies import STUDIES
from ferlab.analysis.tables import Table, between
from ferlab.data.rafdb import COUNTS, DRAWN, NAME, prefix
from ferlab.errors import UserError, command, first_ten
from ferlab.files import read_regular, replace_file
from ferlab.options import INITIALISATIONS
from models import NAMES
from train_function import script_options

Answers = Callable[[Sequence[Section]], list[str]]  # the answer's bullets, when the studies are known
PUBLISHED = Path(__file__).resolve().parent / "docs" / "published.csv"
TITLE, ON = "# Results", " on "
MARKS = "<!-- results -->", "<!-- /results -->"
HOW = """\
- Scores and ECE are per cent: mean ± standard deviation over the seeds [95 % interval], computed from each
  run's `predictions.csv`.
- Checkpoints are chosen on val (macro-F1); training evaluates the test set once, and `--flip` is an
  evaluation afterwards, which chooses nothing.
- The intervals resample test images and seeds, and in a paired test all models see the same images: McNemar's
  test and a paired bootstrap for accuracy, the bootstrap for balanced accuracy, Holm's correction over all
  pairs in both metrics; the intervals of differences are not corrected.
- A model is called better only where the corrected p is below 0.05, the two intervals do not overlap, and
  both have two seeds or more; better as trained where one has a single seed, which ranks these networks and
  not the architectures; `significance.py` says how and why.
- Where a model has several recipes, the one with the best val macro-F1 stands for it in tests and pictures.
  Brackets behind a name list the options that differ from the recipe of its script; such runs are not in the
  README's table.
- An ensemble takes the mean of the probabilities, by the temperature fitted on val where a run has one, first
  over a model's seeds, then over the models; its interval resamples test images only, and it is in no paired
  test. The models' own NLL and ECE are of the probabilities before a temperature is applied.
- Times, latencies and memory are of shared machines, which are named: do not compare times of two machines.
  So the picture shows training compute and not time. It counts three forward passes for an image, in
  proportion to the pixels of the epoch and to the share of patches that a ViT sees, which is an
  approximation."""
ON_DRAWN = (
    "**These are drawn faces, not RAF-DB: the numbers show that everything works and say nothing else.**"
)
NOTHING = "There is no finished run on RAF-DB here yet; `python train_ConvNet.py` makes one."
NO_RECIPE = "No run by a script's own recipe is finished yet; others are in [{0}]({0}/README.md)."


@command
def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the finished runs of all models.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("results"), help="default %(default)s")
    parser.add_argument(
        "--readme", action="store_true", help="also rewrite the results in the README beside the folder"
    )
    parser.add_argument(
        "--format",
        choices=("markdown", "latex"),
        default="markdown",
        help="latex prints the tables and writes nothing",
    )
    args = parser.parse_args()
    if not args.folder.is_dir():
        raise UserError(f"there is no folder {args.folder}; train a model first: python train_ConvNet.py")
    groups, left_out = collect(args.folder, script_options)
    studies = {
        name: collect(args.folder / "studies" / name, script_options, varied=study.varied)[0]
        for name, study in STUDIES.items()
    }
    by_data = {data: sections([g for g in groups if g.data == data]) for data in (NAME, *_others(groups))}
    real = by_data[NAME]
    if args.format == "latex":
        parts = (part for found in by_data.values() for section in found for part in section.parts())
        tables = (part for part in parts if isinstance(part, Table))
        print("\n\n".join(table.latex() for table in tables) or NOTHING)
        return
    answers = partial(answer, studies=studies, said=in_words(studies))
    text = summary(front(real), args.folder, answers) if real else NOTHING
    contents = pages(answers, by_data, left_out)
    files = {args.folder / name: content for name, content in contents.items()}
    if args.readme:
        readme = args.folder.resolve().parent / "README.md"
        files[readme] = between(readme, MARKS, text).encode()
    replace(args.folder, files)
    also = "".join(f", {data}: {args.folder / page_name(data)}" for data in by_data if data != NAME)
    unused = first_ten([f"{name}: {reason}" for name, reason in left_out])
    print(f"{text}\n\n{args.folder / 'README.md'} has it all{also}; folders not used: {len(left_out)}")
    if unused:
        print(unused)


def _others(groups: Sequence[Group]) -> list[str]:
    return sorted({group.data for group in groups} - {NAME})


def page_name(data: str) -> str:
    """The page of a dataset: README.md for RAF-DB's, drawn.md for drawn faces'."""
    return "README.md" if data == NAME else f"{prefix(data)[:-1]}.md"


def sections(groups: Sequence[Group]) -> list[Section]:
    """The groups by the weights they started from: numbers of two initialisations never share a column."""
    parts = ([group for group in groups if group.initialisation == kind] for kind in INITIALISATIONS)
    return [Section(part) for part in parts if part]


def front(real: Sequence[Section]) -> list[Section]:
    """What the README shows of it: only runs by the recipes that the scripts hold."""
    shown = []
    for section in (section for section in real if section.initialisation in INITIALISATIONS[:2]):
        groups = [group for group in section.groups if not group.changed_options]
        if groups:
            shown.append(section if groups == section.groups else Section(groups))
    return shown


def pages(
    answers: Answers, by_data: dict[str, list[Section]], left_out: list[tuple[str, str]]
) -> dict[str, bytes]:
    """A page for each dataset, RAF-DB's in any case, and all pictures, by their names in the folder."""
    files = {}
    for kind, found in by_data.items():
        real, picture = kind == NAME, f"plots/{prefix(kind)}overview.png"
        parts: list[str | Table] = [TITLE + ("" if real else f"{ON}{kind}")]
        if not found:
            parts.append(NOTHING)
        else:
            data = found[0].data
            entries = [entry for section in found for entry in section.entries()]
            hollow = "; hollow: from ImageNet weights" if any(entry["hollow"] for entry in entries) else ""
            title = f"{data}, mean and 95 % interval{hollow}"
            files[picture] = png(overview, entries, title=title)
            parts += ["## The answer", KEY, "\n".join(answers(found))] if real else []
            parts += [ON_DRAWN] if kind == DRAWN else []
            parts += ["## How to read this", HOW, f"Test set: {data}."]
            if real and found[0].counts.tolist() != list(COUNTS["test"]):
                parts.append("**These are NOT the known test images of RAF-DB.**")
            parts.append(f"![Scores against cost]({picture})")
        for section in found:
            parts += section.parts()
            files |= {f"plots/{name}": content for name, content in section.pictures().items()}
        if real:
            parts += ["## Not used, not run", unused(found, left_out)]
            parts += ["## What others report on RAF-DB", published(PUBLISHED)]
        if found or real:
            text = (part.markdown() if isinstance(part, Table) else part for part in parts)
            files[page_name(kind)] = ("\n\n".join(text) + "\n").encode()
    return files


def unused(real: list[Section], left_out: list[tuple[str, str]]) -> str:
    """The folders that were not used, and the models that have no finished run."""
    lines = [f"- `{folder}`: {reason}" for folder, reason in left_out]
    lines += [f"- No finished run {kind}: {listed(names)}." for kind, names in lacking(real).items() if names]
    return "\n".join(lines) or "Everything was used, and every model has a finished run."


def summary(shown: list[Section], folder: Path, answers: Answers) -> str:
    """The README's table, a row for each model, columns for each initialisation, and the answer in words."""
    name = folder.resolve().name
    if not shown:
        return NO_RECIPE.format(name)
    header, rows = ["Model", "Parameters, M"], []
    for section in shown:
        header += [*(f"{SCORES[key]} {section.initialisation}, %" for key in HEADLINE)]
        header += ["GFLOPs", "Input, pixels", "Epochs", "Seeds"]
    for model in NAMES:
        groups = [section.best.get(model) for section in shown]
        known = next(filter(None, groups), None)
        row = [model, costs(known)[0] if known else ""]
        for section, group in zip(shown, groups):
            row += _cells(section, group) if group else [""] * 6
        rows.append(row)
    for ensembles in zip_longest(*(section.ensembles for section in shown)):
        row = [" / ".join(dict.fromkeys(one.label for one in ensembles if one)), ""]
        for section, one in zip(shown, ensembles):
            scores = [section.score(one, key) for key in HEADLINE] if one else ["", ""]
            row += [*scores, "", "", "", one.seeds if one else ""]
        rows.append(row)
    caption = (
        f"{shown[0].data}: mean ± standard deviation over seeds [95 % interval; with one seed it covers the "
        "test images only, not another training]; empty row: not run; ensembles are left out of the paired "
        f"tests. By `compare.py --readme`, more in [{name}]({name}/README.md)."
    )
    return "\n\n".join([Table(caption, header, rows).markdown(), KEY, "\n".join(answers(shown))])


def _cells(section: Section, group: Group) -> list[str]:
    """A model's cells in the README's table: scores, GFLOPs, pixels, epochs and the number of its seeds."""
    options = group.first.options
    scores = (section.score(group, key) for key in HEADLINE)
    return [
        *scores,
        costs(group)[1],
        f"{options['image_size']}",
        f"{options['epochs']}",
        f"{len(group.runs)}",
    ]


def replace(folder: Path, files: dict[Path, bytes]) -> None:
    """Write all files, each whole or not at all; then remove earlier ones that no run stands for now."""
    outdated, page = ["plots/comparison.png"], folder / "README.md"
    try:
        for data in (NAME, DRAWN, *_paged(folder)):
            outdated += [
                f"plots/{picture_name(data, kind, key)}" for kind in INITIALISATIONS for key in PICTURES
            ]
            outdated += [f"plots/{prefix(data)}overview.png", *([page_name(data)] if data != NAME else [])]
        if page.exists() and read_regular(page, limit=len(TITLE)) != TITLE.encode():
            raise UserError(
                f"{page} is not by compare.py, since it does not begin with {TITLE}, and is not "
                "replaced; move it away, or name the folder of the runs."
            )
        (folder / "plots").mkdir(exist_ok=True)
        for path, content in files.items():
            replace_file(path, lambda file: file.write(content))
        for path in (folder / name for name in outdated):
            if path not in files:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{error.filename} cannot be written ({error.strerror}).", code=4) from None


def _paged(folder: Path) -> list[str]:
    """The other datasets that earlier pages in `folder` are about."""
    begin, found = f"{TITLE}{ON}", []
    for path in folder.glob("*.md"):
        with contextlib.suppress(OSError):
            title = read_regular(path, limit=200).decode(errors="replace").partition("\n")[0]
            data = title.removeprefix(begin)
            if title.startswith(begin) and path.name == page_name(data):
                found.append(data)
    return found


if __name__ == "__main__":
    main()
