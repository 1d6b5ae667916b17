"""What the finished runs say about the questions of the project, in words made from the numbers.

print("\n".join(answer(sections, {"balance": groups})))          # Markdown bullets
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from ferlab.analysis.pages import HEADLINE, Section, machine
from ferlab.analysis.runs import Group
from ferlab.analysis.significance import METRICS, Claim, listed, scores
from ferlab.analysis.studies import STUDIES, Study, by_label, make_cells, tested
from ferlab.analysis.tables import number, points
from ferlab.data.rafdb import NAME
from ferlab.options import INITIALISATIONS
from models import ARCHITECTURES, NAMES, has_imagenet

PHRASES = {  # of a claim's conclusion, where the one that is spoken of has the higher or the lower mean
    ("better", True): "is better than {}",
    ("better", False): "is worse than {}",
    ("better as trained", True): "is better as trained than {}",
    ("better as trained", False): "is worse as trained than {}",
    ("overlap", True): "is not ranked before {} (the tests see a difference, but the intervals overlap)",
    ("overlap", False): "is not ranked behind {} (the tests see a difference, but the intervals overlap)",
    ("not significant", True): "does not differ significantly from {}",
    ("not significant", False): "does not differ significantly from {}",
}
AS_TRAINED = "As trained: one of the two has one seed, which ranks these networks and not the architectures."
NOT_RUN = "not run yet."


def answer(sections: Sequence[Section], studies: dict[str, list[Group]], *, short: bool = False) -> list[str]:
    """One bullet each: architectures, families, compute, the three studies, time, and what is missing.

    sections: of runs on RAF-DB; studies: their runs by the study's name. A short answer leaves out which
    settings of a study could not be ranked.
    """
    sentences = {name: _study(name, studies.get(name, []), short=short) for name in STUDIES}
    many = [section for section in sections if len(section.chosen) > 1]
    lines = {
        "Architectures": [_architectures(section) for section in sections],
        "Convolution or transformer": [_families(section) for section in many],
        "Training compute": [_cheapest(section) for section in many],
    }
    for name in ("resolution", "balance", "samples"):
        lines[STUDIES[name].title] = [text for texts in sentences[name].values() for text in texts]
    lines["Time"] = _time(sections)
    lines["Not run"] = _missing(sections, sentences)
    return [
        f"- **{question}.** {' '.join(text[0].upper() + text[1:] for text in texts or [NOT_RUN])}"
        for question, texts in lines.items()
    ]


def lacking(sections: Sequence[Section]) -> dict[str, list[str]]:
    """The models without a finished run, by initialisation; none is asked for that does not exist."""
    there = {(section.initialisation, model) for section in sections for model in section.best}
    asked = {INITIALISATIONS[0]: NAMES, INITIALISATIONS[1]: [name for name in NAMES if has_imagenet(name)]}
    return {kind: [name for name in names if (kind, name) not in there] for kind, names in asked.items()}


def _architectures(section: Section) -> str:
    models = section.chosen
    if len(models) == 1:
        [(label, group)] = models.items()
        return f"{section.initialisation} only {label} has run{_seeds([group])}: {_scores(group)}."
    highest, compared = {}, {}
    for metric, name in METRICS.items():
        best = _best(section, metric)
        highest.setdefault(best, []).append(f"{100 * models[best].values(metric).mean():.1f} % {name}")
        compared[name] = f"{best} {_against(best, section.claims, metric, list(models))}"
    leading = [f"{label} with {listed(scores)}" for label, scores in highest.items()]
    trained = any(claim.conclusion == "better as trained" for claim in section.claims)
    return (
        f"{section.initialisation}{_seeds(list(models.values()))}, highest: {listed(leading)}. "
        f"{_joined(compared)}.{f' {AS_TRAINED}' if trained else ''}"
    )


def _best(section: Section, metric: str) -> str:
    """The model with the highest mean."""
    return max(section.chosen, key=lambda label: section.chosen[label].values(metric).mean())


def _against(
    name: str,
    claims: Sequence[Claim],
    metric: str,
    others: Sequence[str],
    *,
    short: bool = False,
    show: str = "{}",
) -> str:
    """What the paired tests allow to say of `name` and those of `others` that it was compared with, in their
    order, one clause a kind.

    short: only what is ranked.
    """
    found = defaultdict(list)
    for claim in claims:
        ranked = claim.conclusion in ("better", "better as trained")
        if claim.metric == metric and name in claim[1:3] and (ranked or not short):
            higher = claim.first == name
            found[PHRASES[claim.conclusion, higher]].append(claim.second if higher else claim.first)
    clauses = [
        phrase.format(listed([show.format(other) for other in sorted(some, key=list(others).index)]))
        for phrase, some in found.items()
    ]
    return listed(clauses) if clauses else "is ranked with no other"


def _gap(name: str, other: str, claims: Sequence[Claim], metric: str) -> str:
    """By how many points `name` is above `other` in the metric, with the paired difference's interval."""
    [claim] = [claim for claim in claims if claim.metric == metric and {name, other} == set(claim[1:3])]
    if claim.first == name:
        return points(claim.difference, (claim.low, claim.high))
    return points(-claim.difference, (-claim.high, -claim.low))


def _cheapest(section: Section) -> str:
    """The least training compute among the best and what does not differ significantly from it."""
    found = {}
    for metric, name in METRICS.items():
        best = _best(section, metric)
        level = [best] + [
            label
            for claim in section.claims
            if claim.conclusion == "not significant" and claim.metric == metric and best in claim[1:3]
            for label in claim[1:3]
        ]
        label = min(level, key=lambda label: section.chosen[label].petaflops)
        gap = "" if label == best else f", {_gap(label, best, section.claims, metric)} points"
        costs = [f"{one} {number(section.chosen[one].petaflops)}" for one in dict.fromkeys([label, best])]
        found[name] = f"{' against '.join(costs)} petaFLOPs{gap}"
    each = "; ".join(f"in {name} {text}" for name, text in found.items())
    return (
        f"{section.initialisation}, the cheapest that does not differ significantly from the highest: {each}."
    )


def _families(section: Section) -> str:
    """The best convolutional network on val against the best transformer on val, where both have run."""
    families: dict[bool, tuple[str, Group]] = {}
    for label, group in section.chosen.items():
        kind = ARCHITECTURES[group.model].convolutional
        if kind not in families or group.val_macro_f1 > families[kind][1].val_macro_f1:
            families[kind] = label, group
    if len(families) < 2:
        lacks = "transformer" if True in families else "convolutional network"
        return f"{section.initialisation}, no {lacks} has run yet."
    (ours, _), (other, _) = families[True], families[False]
    gaps = [f"{_gap(ours, other, section.claims, metric)} in {name}" for metric, name in METRICS.items()]
    return (
        f"{section.initialisation}, the best of each on val: {ours} against {other} {listed(gaps)} (points)."
    )


def _joined(by_metric: dict[str, str]) -> str:
    """What holds in each metric, said once where it is the same."""
    if len(set(by_metric.values())) == 1:
        return f"{next(iter(by_metric.values()))} in {listed(list(by_metric))}"
    return "; ".join(f"in {name} {text}" for name, text in by_metric.items())


def _study(name: str, found: list[Group], *, short: bool) -> dict[str, list[str]]:
    """A sentence for each model and recipe that has finished runs on RAF-DB, by model."""
    study, clauses = STUDIES[name], defaultdict(list)
    groups = [group for group in found if group.data == NAME]
    for label, settings in by_label(study, groups).items():
        model = next(iter(settings.values())).model
        clauses[model].append(_series(study, label, settings, short=short))
    return dict(clauses)


def _series(study: Study, label: str, settings: dict[object, Group], *, short: bool) -> str:
    """The scores of a study's series: of all settings where they lie on an axis, else of the first and of the
    best on val; and what the tests say of the first.
    """
    first = next(iter(settings.values())).first
    labels, classes = first.labels, len(first.class_names)
    cells = make_cells(study, label, settings)[0]
    series = [cell for cell in cells if cell.line == label]
    claims = tested(series, labels, classes=classes)[1]
    ran = [setting for setting in study.settings if setting in settings]
    show = "{} of the images" if study.option == "train_fraction" else "{}" if study.axis else "`{}`"
    if study.axis:
        pairs = [(cell.name, scores(cell.predicted, labels, classes=classes)) for cell in cells]
        shown = [f"{_pair(found)} with {show.format(name)}" for name, found in pairs[: len(series)]]
        shown += [f"{_pair(found)} with {name}" for name, found in pairs[len(series) :][-1:]]
        values = f"accuracy (balanced), %: {', '.join(shown)}"
    else:
        best = max(ran, key=lambda setting: settings[setting].val_macro_f1)
        shown = [
            f"{_scores(settings[setting])} with {show.format(study.name(setting))}"
            for setting in dict.fromkeys([ran[0], best])
        ]
        values = ", ".join(shown) + (", the best on val" if best != ran[0] else "")
    base, names = study.name(study.settings[0]), [study.name(setting) for setting in study.settings]
    clauses = {
        name: f"{show.format(base)} {_against(base, claims, metric, names, short=short, show=show)}"
        for metric, name in METRICS.items()
    }
    compared = _joined(clauses) if claims else "nothing to compare yet"
    return f"{label}{_seeds(list(settings.values()))}: {values}; {compared}."


def _pair(numbers: dict) -> str:
    """Accuracy and balanced accuracy of `significance.scores`, means over the seeds, in per cent."""
    accuracy, balanced = (100 * numbers[key].mean() for key in HEADLINE)
    return f"{accuracy:.1f} ({balanced:.1f})"


def _time(sections: Sequence[Section]) -> list[str]:
    """Training minutes of one seed, the median of those on one machine, by initialisation and by machine."""
    texts = []
    for section in sections:
        places: dict[str, list[str]] = defaultdict(list)
        for label, group in section.chosen.items():
            by_machine = defaultdict(list)
            for run in group.runs:
                if seconds := run.numbers["cost"]["train_seconds"]:
                    by_machine[machine(run)].append(seconds / 60)
            for where, minutes in by_machine.items():
                places[where].append(f"{label} {number(float(np.median(minutes)))}")
        each = "; ".join(f"{', '.join(times)} on {where}" for where, times in places.items())
        if places:
            texts.append(f"minutes for one seed {section.initialisation}: {each}.")
    return texts


def _missing(sections: Sequence[Section], sentences: dict[str, dict]) -> list[str]:
    run = {section.initialisation for section in sections}
    gaps = [
        f"{kind} {listed(names) if kind in run else 'any model'}"
        for kind, names in lacking(sections).items()
        if names
    ]
    for name, study in STUDIES.items():
        rest = [model for model in NAMES if model not in sentences[name]]
        run = [model for model in NAMES if model in sentences[name]]
        if rest:
            which = (
                listed(rest) if len(rest) < len(run) else f"any model{f' but {listed(run)}' if run else ''}"
            )
            gaps.append(f"{study.title.lower()} with {which}")
    return [f"{'; '.join(gaps)}."] if gaps else ["nothing is missing."]


def _scores(group: Group) -> str:
    accuracy, balanced = (100 * group.values(key).mean() for key in HEADLINE)
    return f"{accuracy:.1f} % accuracy (balanced {balanced:.1f} %)"


def _seeds(groups: list[Group]) -> str:
    """How many seeds they have, to stand behind a name."""
    fewest, most = (pick(len(group.runs) for group in groups) for pick in (min, max))
    count = f"{fewest} to {most} seeds" if fewest < most else "one seed" if most == 1 else f"{most} seeds"
    return f", {count}{' each' if len(groups) > 1 and fewest == most else ''}"
