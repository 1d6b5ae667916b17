"""What the finished runs say about the questions of the project, in words made from the numbers.

print("\n".join(answer(sections, {"balance": groups})))          # five Markdown bullets
"""

from collections import defaultdict
from collections.abc import Sequence

from ferlab.analysis.pages import HEADLINE, Section, machine
from ferlab.analysis.runs import Group
from ferlab.analysis.significance import METRICS, Claim, listed
from ferlab.analysis.studies import STUDIES, Study, by_label, make_cells, tested
from ferlab.analysis.tables import number
from ferlab.data.rafdb import NAME
from ferlab.options import INITIALISATIONS
from models import ARCHITECTURES, NAMES, has_imagenet

PHRASES = {  # of a claim's conclusion, where the one that is spoken of has the higher or the lower mean
    ("better", True): "is better than {}",
    ("better", False): "is worse than {}",
    ("one seed", True): "is better than {} with one seed (the networks, not the architectures)",
    ("one seed", False): "is worse than {} with one seed (the networks, not the architectures)",
    ("overlap", True): "is not ranked against {} (the tests see it ahead, but the intervals overlap)",
    ("overlap", False): "is not ranked against {} (the tests see it behind, but the intervals overlap)",
    ("no difference", True): "does not differ significantly from {}",
    ("no difference", False): "does not differ significantly from {}",
}
NOT_RUN = "not run yet."


def answer(sections: Sequence[Section], studies: dict[str, list[Group]], *, short: bool = False) -> list[str]:
    """One bullet each: architectures, low resolution, class imbalance, few samples, time and what is missing.

    sections: of runs on RAF-DB; studies: their runs by the study's name. A short answer leaves out which
    settings of a study could not be ranked.
    """
    told = {name: _study(name, studies.get(name, []), short=short) for name in STUDIES}
    lines = {"Architectures": [text for section in sections for text in _architectures(section)]}
    for name in ("resolution", "balance", "samples"):
        lines[STUDIES[name].title] = [text for texts in told[name].values() for text in texts]
    lines["Time, and what has not run"] = [*_time(sections), _missing(sections, told)]
    return [
        f"- **{question}.** {' '.join(text[0].upper() + text[1:] for text in texts or [NOT_RUN])}"
        for question, texts in lines.items()
    ]


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
    said, best = [], {}
    for metric, name in METRICS.items():
        best[metric] = max(models, key=lambda label: models[label].values(metric).mean())
        first, value = best[metric], 100 * models[best[metric]].values(metric).mean()
        said.append(f"in {name} {first} ({value:.1f} %) {_against(first, section.claims, metric)}")
    return [
        f"{section.initialisation}{_seeds(list(models.values()))}: {'; '.join(said)}.",
        _cheapest(section, best),
        _families(section),
    ]


def _against(
    name: str, claims: Sequence[Claim], metric: str, *, short: bool = False, show: str = "{}"
) -> str:
    """What the paired tests allow to say of `name` and those that it was compared with, one clause a kind.

    short: only what is ranked.
    """
    found = defaultdict(list)
    for claim in claims:
        ranked = claim.conclusion in ("better", "one seed")
        if claim.metric == metric and name in claim[1:3] and (ranked or not short):
            higher = claim.first == name
            other = claim.second if higher else claim.first
            found[PHRASES[claim.conclusion, higher]].append(show.format(other))
    said = [phrase.format(listed(others)) for phrase, others in found.items()]
    return listed(said) if said else "is ranked with no other"


def _cheapest(section: Section, best: dict[str, str]) -> str:
    """The least training compute among the best and what does not differ significantly from it."""
    cheapest = {}
    for metric, name in METRICS.items():
        level = {best[metric]} | {
            label
            for claim in section.claims
            if claim.conclusion == "no difference" and claim.metric == metric and best[metric] in claim[1:3]
            for label in claim[1:3]
        }
        label = min(level, key=lambda label: section.chosen[label].petaflops)
        cheapest[name] = f"{label} ({number(section.chosen[label].petaflops)} petaFLOPs)"
    return (
        f"Least training compute among the best and those not significantly different: {_joined(cheapest)}."
    )


def _families(section: Section) -> str:
    """The best convolutional network on val against the best transformer on val, where both have run."""
    families: dict[bool, tuple[str, Group]] = {}
    for label, group in section.chosen.items():
        kind = ARCHITECTURES[group.model].convolutional
        if kind not in families or group.val_macro_f1 > families[kind][1].val_macro_f1:
            families[kind] = label, group
    if len(families) < 2:
        return f"No {'transformer' if True in families else 'convolutional network'} has run yet."
    (ours, _), (other, _) = families[True], families[False]
    claims = [claim for claim in section.claims if {ours, other} == set(claim[1:3])]
    said = {name: f"{ours} {_against(ours, claims, metric)}" for metric, name in METRICS.items()}
    return f"Convolution or transformer, the best of each on val: {_joined(said)}."


def _joined(by_metric: dict[str, str]) -> str:
    """What holds in each metric, said once where it is the same."""
    if len(set(by_metric.values())) == 1:
        return f"{next(iter(by_metric.values()))} in {listed(list(by_metric))}"
    return "; ".join(f"in {name} {text}" for name, text in by_metric.items())


def _study(name: str, found: list[Group], *, short: bool) -> dict[str, list[str]]:
    """A sentence for each model and recipe that has finished runs on RAF-DB, by model."""
    study, said = STUDIES[name], defaultdict(list)
    groups = [group for group in found if group.data == NAME]
    for label, settings in by_label(study, groups).items():
        model = next(iter(settings.values())).model
        said[model].append(_series(study, label, settings, short=short))
    return dict(said)


def _series(study: Study, label: str, settings: dict[object, Group], *, short: bool) -> str:
    first = next(iter(settings.values())).first
    cells = [cell for cell in make_cells(study, label, settings)[0] if cell.line == label]
    claims, base = (
        tested(cells, first.labels, classes=len(first.class_names))[1],
        study.name(study.settings[0]),
    )
    ran = [setting for setting in study.settings if setting in settings]
    last = ran[-1] if study.axis else max(ran, key=lambda setting: settings[setting].val_macro_f1)
    show = "{} of the images" if study.option == "train_fraction" else "{}" if study.axis else "`{}`"
    values = [
        f"{_scores(settings[setting])} with {show.format(study.name(setting))}"
        for setting in dict.fromkeys([ran[0], last])
    ]
    if not study.axis and last != ran[0]:
        values[-1] += ", the best on val"
    said = (
        [
            f"in {name} {show.format(base)} {_against(base, claims, metric, short=short, show=show)}"
            for metric, name in METRICS.items()
        ]
        if claims
        else ["nothing to compare yet"]
    )
    return f"{label}{_seeds(list(settings.values()))}: {', '.join(values)}; {'; '.join(said)}."


def _time(sections: Sequence[Section]) -> list[str]:
    """Training minutes of one seed, median, by initialisation and by machine."""
    places = defaultdict(list)
    for section in sections:
        for label, group in section.chosen.items():
            if seconds := group.cost("train_seconds"):
                where = listed(list(dict.fromkeys(map(machine, group.runs))))
                places[section.initialisation, where].append(f"{label} {number(seconds / 60)} min")
    return [
        f"training one seed {kind} takes {', '.join(times)} on {where}."
        for (kind, where), times in places.items()
    ]


def _missing(sections: Sequence[Section], told: dict[str, dict]) -> str:
    gaps = [f"{kind} {listed(names)}" for kind, names in lacking(sections).items() if names]
    for name, study in STUDIES.items():
        rest = [model for model in NAMES if model not in told[name]]
        if rest:
            which = "any model" if len(rest) == len(NAMES) else listed(rest)
            gaps.append(f"{study.title.lower()} with {which}")
    return f"Not run: {'; '.join(gaps)}." if gaps else "Everything has run."


def _scores(group: Group) -> str:
    accuracy, balanced = (100 * group.values(key).mean() for key in HEADLINE)
    return f"{accuracy:.1f} % accuracy (balanced {balanced:.1f} %)"


def _seeds(groups: list[Group]) -> str:
    """How many seeds they have, to stand behind a name."""
    fewest, most = (pick(len(group.runs) for group in groups) for pick in (min, max))
    count = f"{fewest} to {most} seeds" if fewest < most else "one seed" if most == 1 else f"{most} seeds"
    return f", {count}{' each' if len(groups) > 1 and fewest == most else ''}"
