"""What the finished runs say about the questions of the project, in words made from the numbers.

print("\n".join(answer(sections, groups, in_words(groups))))     # Markdown bullets; groups: by study
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from ferlab.analysis.pages import HEADLINE, Section, machine
from ferlab.analysis.runs import Group
from ferlab.analysis.significance import METRICS, Claim, listed
from ferlab.analysis.studies import STUDIES, Study, by_label, make_cells, tested
from ferlab.analysis.tables import number, points
from ferlab.data.rafdb import NAME
from ferlab.options import INITIALISATIONS
from models import ARCHITECTURES, NAMES, has_imagenet

PHRASES = {  # of a claim's conclusion, where the one that is spoken of has the higher mean
    "better": "is better than {}",
    "better as trained": "is better as trained than {}",
    "overlap": "is not ranked before {} (the tests see a difference, but the intervals overlap)",
    "not significant": "does not differ significantly from {}",
}
AS_TRAINED = "As trained: one of the two, or both, has one seed, which ranks networks and not architectures."
MARKS = {"better": "**", "better as trained": "**", "overlap": "*"}  # of points, by a claim's conclusion
KEY = (
    "Studies have shorter schedules than the table: compare within a line only. **Bold**: significant by the "
    "paired tests (p < 0.05 after Holm's correction), and the intervals do not overlap; with one seed that "
    "ranks the trained networks only. *Italic*: significant, but the intervals overlap. Unmarked: not "
    "significant."
)
NOT_RUN = "not run yet."


def answer(
    sections: Sequence[Section], studies: dict[str, list[Group]], said: dict[str, list[str]]
) -> list[str]:
    """One bullet each: architectures, the three studies, cost, and what is missing.

    sections: of runs on RAF-DB; studies: their runs by the study's name; said: `in_words` of these.
    """
    lines = {"Architectures": [text for section in sections for text in _architectures(section)]}
    lines |= said
    lines["Cost"] = [text for section in sections for text in _cost(section)] + _hours(sections, studies)
    lines["Not run"] = _missing(sections, studies)
    return [
        f"- **{question}.** {' '.join(text[0].upper() + text[1:] for text in texts or [NOT_RUN])}"
        for question, texts in lines.items()
    ]


def in_words(studies: dict[str, list[Group]]) -> dict[str, list[str]]:
    """By each study's title: a text about its runs on RAF-DB, if there are any, with a nested bullet for each
    series.
    """
    lines = {}
    for name in ("resolution", "balance", "samples"):
        study = STUDIES[name]
        groups = [group for group in studies.get(name, []) if group.data == NAME]
        found = [_series(study, *series) for series in by_label(study, groups).items()]
        first = study.said.format(study.name(study.settings[0]))
        intro = f"Test accuracy (balanced accuracy), % with {first}, then points above or below that:"
        lines[study.title] = ["\n  - ".join([intro, *found])] if found else []
    return lines


def lacking(sections: Sequence[Section]) -> dict[str, list[str]]:
    """The models without a finished run, by initialisation; none is asked for that does not exist."""
    there = {(section.initialisation, model) for section in sections for model in section.best}
    asked = {INITIALISATIONS[0]: NAMES, INITIALISATIONS[1]: [name for name in NAMES if has_imagenet(name)]}
    return {kind: [name for name in names if (kind, name) not in there] for kind, names in asked.items()}


def _architectures(section: Section) -> list[str]:
    models = section.chosen
    if len(models) == 1:
        [(label, group)] = models.items()
        return [f"{section.initialisation} only {label} has run{_seeds([group])}: {_scores(group)}."]
    highest, compared = {}, {}
    for metric, name in METRICS.items():
        best = _best(section, metric)
        highest.setdefault(best, []).append(f"{100 * models[best].values(metric).mean():.1f} % {name}")
        compared[name] = f"{best} {_against(best, section.claims, metric, list(models))}"
    leading = [f"{label} with {listed(scores)}" for label, scores in highest.items()]
    ranking = _joined(compared)
    return [
        f"{section.initialisation}{_seeds(list(models.values()))}, highest: {listed(leading)}.",
        f"{ranking}.",
        *([AS_TRAINED] if "as trained" in ranking else []),
        *_families(section),
    ]


def _best(section: Section, metric: str) -> str:
    """The model with the highest mean."""
    return max(section.chosen, key=lambda label: section.chosen[label].values(metric).mean())


def _against(best: str, claims: Sequence[Claim], metric: str, others: Sequence[str]) -> str:
    """What the paired tests allow to say of the highest and those of `others` that it was compared with, in
    their order, one clause a kind.
    """
    found = defaultdict(list)
    for claim in claims:
        if claim.metric == metric and best in claim[1:3]:
            found[PHRASES[claim.conclusion]].append(claim.second if claim.first == best else claim.first)
    clauses = [phrase.format(listed(sorted(some, key=others.index))) for phrase, some in found.items()]
    return listed(clauses) if clauses else "is ranked with no other"


def _claim(name: str, other: str, claims: Sequence[Claim], metric: str) -> Claim:
    """The claim on these two, its difference as that of `name` minus that of `other`."""
    [claim] = [claim for claim in claims if claim.metric == metric and {name, other} == set(claim[1:3])]
    if claim.first == name:
        return claim
    return claim._replace(difference=-claim.difference, low=-claim.high, high=-claim.low)


def _gap(name: str, other: str, claims: Sequence[Claim], metric: str) -> str:
    """By how many points `name` is above `other` in the metric, with the paired difference's interval."""
    claim = _claim(name, other, claims, metric)
    return points(claim.difference, (claim.low, claim.high))


def _cost(section: Section) -> list[str]:
    """The least training compute among the best and what does not differ significantly from it; minutes."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for metric, name in METRICS.items() if len(section.chosen) > 1 else ():
        best = _best(section, metric)
        level = [best] + [
            label
            for claim in section.claims
            if claim.conclusion == "not significant" and claim.metric == metric and best in claim[1:3]
            for label in claim[1:3]
        ]
        label = min(level, key=lambda label: section.chosen[label].petaflops)
        gap = "the highest" if label == best else f"{_gap(label, best, section.claims, metric)} points"
        found[label, best].append(f"{gap} in {name}")
    cheapest = []
    for (label, best), gaps in found.items():
        ours, its = (f"{number(section.chosen[one].petaflops)} petaFLOPs" for one in (label, best))
        than = "" if label == best else f" against {best} with {its}"
        cheapest.append(f"{label} with {ours}{than}, {listed(gaps)}")
    beginning = (
        f"{section.initialisation}, cheapest to train of what does not differ significantly from the highest"
    )
    return [*([f"{beginning}: {'; '.join(cheapest)}."] if cheapest else []), *_minutes(section)]


def _families(section: Section) -> list[str]:
    """The best convolutional network on val against the best transformer on val, where both have run."""
    families: dict[bool, tuple[str, Group]] = {}
    for label, group in section.chosen.items():
        kind = ARCHITECTURES[group.model].convolutional
        if kind not in families or group.val_macro_f1 > families[kind][1].val_macro_f1:
            families[kind] = label, group
    if len(families) < 2:
        return []
    (ours, _), (other, _) = families[True], families[False]
    gaps = [
        f"{_gap(ours, other, section.claims, metric)} points in {name}" for metric, name in METRICS.items()
    ]
    return [
        "The best CNN on val minus the best transformer on val, each by its own recipe: "
        f"{ours} minus {other}, {listed(gaps)}."
    ]


def _joined(by_metric: dict[str, str]) -> str:
    """What holds in each metric, said once where it is the same."""
    if len(set(by_metric.values())) == 1:
        return f"{next(iter(by_metric.values()))} in {listed(list(by_metric))}"
    return "; ".join(f"in {name} {text}" for name, text in by_metric.items())


def _series(study: Study, label: str, settings: dict[object, Group]) -> str:
    """The scores of a study's first setting, and how many points the others are above or below it."""
    settings = {setting: settings[setting] for setting in study.settings if setting in settings}
    names = {setting: study.name(setting) for setting in settings}
    first = settings.get(study.settings[0])
    if first is None or len(names) == 1:
        return f"{label}: not compared yet."
    pixels = f", input {first.first.options['image_size']} pixels" if study.option == "resolution" else ""
    text = f"{label}{pixels}{_seeds(list(settings.values()))}: "
    base, *others = names.values()
    cells = make_cells(study, label, settings)[0]
    claims = tested(cells, first.first.labels, classes=len(first.first.class_names))[1]
    accuracy, balanced = (100 * first.values(key).mean() for key in HEADLINE)
    changes = [
        f"{name if study.axis else study.said.format(name)} {_change(name, base, claims)}" for name in others
    ]
    text += f"{accuracy:.1f} ({balanced:.1f}); {', '.join(changes)}"
    last = cells[-1]
    if not study.axis:
        best = max(names, key=lambda setting: settings[setting].val_macro_f1)
        text += f"; highest macro-F1 on val: {study.said.format(names[best])}"
    elif last.line != label and last.against in others:
        change, pixels = _change(last.name, last.against, claims), last.against
        text += f"; trained at 100 and tested at {pixels}, against trained at {pixels}: {change}"
    return f"{text}."


def _change(name: str, base: str, claims: Sequence[Claim]) -> str:
    """How many points `name` is above `base` in accuracy (balanced accuracy), marked as KEY says."""
    shown = []
    for metric in METRICS:
        claim = _claim(name, base, claims, metric)
        mark = MARKS.get(claim.conclusion, "")
        shown.append(f"{mark}{points(claim.difference)}{mark}")
    return f"{shown[0]} ({shown[1]})"


def _minutes(section: Section) -> list[str]:
    """Training minutes of one seed, the median of those on one machine, by machine, and their sum."""
    places: dict[str, dict[str, float]] = defaultdict(dict)
    for label, group in section.chosen.items():
        by_machine = defaultdict(list)
        for run in group.runs:
            if seconds := run.numbers["cost"]["train_seconds"]:
                by_machine[machine(run)].append(seconds / 60)
        for where, minutes in by_machine.items():
            places[where][label] = float(np.median(minutes))
    texts = []
    for where, times in places.items():
        each = ", ".join(f"{label} {number(minutes)}" for label, minutes in times.items())
        together = f", these {len(times)} together {number(sum(times.values()))}," if len(times) > 1 else ""
        texts.append(f"{each}{together} on {where}")
    return [f"minutes for one seed {section.initialisation}: {'; '.join(texts)}."] if texts else []


def _hours(sections: Sequence[Section], studies: dict[str, list[Group]]) -> list[str]:
    """The training time of everything that was run, on whatever machines."""
    groups = [group for section in sections for group in section.groups]
    groups += [group for found in studies.values() for group in found if group.data == NAME]
    runs = [run for group in groups for run in group.runs if "copied_from" not in run.numbers]
    seconds = sum(run.numbers["cost"]["train_seconds"] or 0 for run in runs)
    return [f"all {len(runs)} runs, studies included, together {seconds / 3600:.1f} hours."] if runs else []


def _missing(sections: Sequence[Section], studies: dict[str, list[Group]]) -> list[str]:
    run = {section.initialisation for section in sections}
    gaps = [
        f"{kind} {listed(names) if kind in run else 'any model'}"
        for kind, names in lacking(sections).items()
        if names
    ]
    models, settings = defaultdict(list), []  # the studies that lack some models; what others lack of a study
    for name, study in STUDIES.items():
        ran: dict[str, set] = defaultdict(set)
        for group in studies.get(name, []):
            if group.data == NAME:
                ran[group.model].add(group.first.options[study.option])
        there = [model for model in NAMES if model in ran]
        if len(there) < len(NAMES):
            rest = [model for model in NAMES if model not in ran]
            which = listed(rest) if len(rest) < len(there) else "any model"
            but = f" but {listed(there)}" if there and which == "any model" else ""
            models[which + but].append(study.title.lower())
        for model in there:
            if left := [study.name(one) for one in study.settings if one not in ran[model]]:
                settings.append(f"{study.title.lower()} of {model} with {listed(left)}")
    gaps += [f"{listed(titles)} with {which}" for which, titles in models.items()] + settings
    return [f"{'; '.join(gaps)}."] if gaps else ["nothing is missing."]


def _scores(group: Group) -> str:
    accuracy, balanced = (100 * group.values(key).mean() for key in HEADLINE)
    return f"{accuracy:.1f} % accuracy (balanced {balanced:.1f} %)"


def _seeds(groups: list[Group]) -> str:
    """How many seeds they have, to stand behind a name."""
    fewest, most = (pick(len(group.runs) for group in groups) for pick in (min, max))
    count = f"{fewest} to {most} seeds" if fewest < most else "one seed" if most == 1 else f"{most} seeds"
    return f", {count}{' each' if len(groups) > 1 and fewest == most else ''}"
