"""Every trained model under results/ run on the same few faces, for test.ipynb.

found = notebook.trained_models("results")
predictions = notebook.predict(found, [notebook.choose(test, "Disgust", 1)])
"""

import html
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from pandas.io.formats.style import Styler
from torch import Tensor

import models
from ferlab.data.rafdb import NAME
from ferlab.errors import UserError
from ferlab.inference.photos import faces_in
from ferlab.inference.predictor import trained
from ferlab.inference.recognizer import Recognizer
from ferlab.options import initialisation
from models import ARCHITECTURES

LEFT = [{"selector": "th, td, caption", "props": "text-align: left; white-space: nowrap"}]
RIGHT, WRONG, UNKNOWN = "#CDEBDD", "#F8D9C4", "#D5E6F2"  # pale green, orange, blue: black text stays readable


class LabelledFace(NamedTuple):
    """A face to predict: its title, its true expression (None where nobody knows), uint8 (3, 100, 100)."""

    title: str
    truth: str | None
    pixels: Tensor


class TrainedModel(NamedTuple):
    """A model and its run's best_model.pth, or None and the command that trains it."""

    model: str
    file: Path | None
    command: str


class Predictions(NamedTuple):
    """The answers about one face: probabilities (models x classes) and heat maps (models, 100, 100)."""

    face: LabelledFace
    shares: pd.DataFrame
    maps: Tensor


def choose(test, truth: str | None, which: int | str) -> LabelledFace:
    """The `which`-th face of the expression `truth` in the dataset `test`, counted from 1; or the test image
    of that name; or the largest face in a photo of your own, whose `truth` may be None.
    """
    names = test.class_names
    if truth is not None and truth not in names:
        raise UserError(f"there is no expression {truth!r}; take one of {', '.join(names)}, or None.")
    kind = "drawn face" if test.drawn else f"{test.kind}, test set"
    if isinstance(which, int):
        if truth is None:
            raise UserError(f"{which} of which expression? Name one, such as ('Surprise', {which}).")
        of_class = (test.labels == names.index(truth)).nonzero()[:, 0]
        if not 1 <= which <= len(of_class):
            raise UserError(f"the test set has {len(of_class)} faces with {truth}, and no number {which}.")
        index = int(of_class[which - 1])
        return LabelledFace(f"{truth} ({kind}, {test.names[index]})", truth, test.images[index])
    if which in test.names:
        index = test.names.index(which)
        label = names[test.labels[index]]
        if truth not in (None, label):
            raise UserError(f"{which} is labelled {label}, not {truth}.")
        return LabelledFace(f"{label} ({kind}, {which})", label, test.images[index])
    return LabelledFace(f"{truth or 'your photo'} ({which})", truth, _largest(which))


def faces_of(test, wanted: Sequence) -> list[LabelledFace]:
    """`choose` for each of `wanted`, pairs of an expression and which of its faces."""
    for one in wanted:
        if not isinstance(one, tuple | list) or len(one) != 2:
            raise UserError(f"FACES has {one!r}; write pairs, such as ('Surprise', 1) or (None, 'me.jpg').")
    if not wanted:
        raise UserError("FACES is empty; write a pair into it, such as ('Surprise', 1).")
    return [choose(test, *one) for one in wanted]


def trained_models(results: str | Path = "results", *, on: str = NAME, data: str = "") -> list[TrainedModel]:
    """All six models, each with the checkpoint of its best run by macro-F1 on val; runs on the dataset called
    `on` come first. `data` is what the missing ones are to be trained on, where it is not what the scripts
    take.
    """
    found = []
    for name in models.NAMES:
        command = shlex.join(["python", ARCHITECTURES[name].script, *(["--data", data] if data else [])])
        found.append(TrainedModel(name, trained(name, results, data=on), command))
    if not any(entry.file for entry in found):
        raise UserError(
            f"no model is trained yet: there is no {Path(results) / '<Model>' / '<run>'}/"
            f"best_model.pth. Train one, such as with: {found[0].command}"
        )
    return found


def overview(found: Sequence[TrainedModel]) -> Styler:
    """Which models there are and how they were trained, and for the missing ones the command."""
    rows = {}
    for model, file, command in found:
        rows[model] = ["missing", "", "", f"train it with: {command}"]
        if file:
            try:
                recognizer = _load(model, file)
            except UserError as error:
                rows[model] = ["cannot be used", "", "", str(error)]
                continue
            checkpoint = recognizer.models[0].checkpoint
            kind = checkpoint["data"]
            kind += ": says nothing about real ones" if kind == "drawn faces" else ""
            begun = initialisation(checkpoint["options"].get("weights", "none"))
            score = f"{100 * checkpoint['best']['macro_f1']:.1f}"
            rows[model] = [file.parent.name, begun, score, kind]
    columns = ["run", "initialisation", "val macro-F1, %", "trained on"]
    frame = pd.DataFrame.from_dict(rows, "index", columns=columns)
    return frame.style.set_table_styles(LEFT)  # a bare frame would cut the commands short


def predict(found: Sequence[TrainedModel], faces: Sequence[LabelledFace]) -> list[Predictions]:
    """What every trained model answers about each face, and where it looked. One model is in memory at a
    time; those whose file cannot be used, or that tell other classes apart than the first, are left out.
    """
    pixels = torch.stack([face.pixels for face in faces])
    answers, maps, names = {}, [], ()
    for entry in found:
        try:
            recognizer = _load(entry.model, entry.file) if entry.file else None
        except UserError:
            continue  # overview says why
        if recognizer is not None and recognizer.class_names == (names or recognizer.class_names):
            names = recognizer.class_names
            answers[entry.model] = recognizer.probabilities(pixels).numpy()
            maps.append(recognizer.heat_maps(pixels))
    if not answers:
        raise UserError("none of the trained models can be used; train one again.")
    return [
        Predictions(
            face,
            pd.DataFrame({name: p[i] for name, p in answers.items()}, names).T,
            torch.stack([heat[i] for heat in maps]),
        )
        for i, face in enumerate(faces)
    ]


def table(prediction: Predictions) -> Styler:
    """Per cent by model and class; what each model predicts is coloured and marked right or wrong."""
    truth, best = prediction.face.truth, prediction.shares.idxmax(axis=1)
    shown = prediction.shares.map(lambda share: f"{100 * share:.1f}")
    for model, answer in best.items():
        shown.loc[model, answer] += "" if truth is None else " ✓" if answer == truth else " ✗"
    colour = {name: UNKNOWN if truth is None else RIGHT if name == truth else WRONG for name in shown.columns}

    def highlight(row: pd.Series) -> list[str]:
        style = f"background-color: {colour[best[row.name]]}; color: black; font-weight: bold"
        return [style if name == best[row.name] else "" for name in row.index]

    caption = f"{html.escape(prediction.face.title)}: probability of each expression, in %"
    return shown.style.apply(highlight, axis=1).set_caption(caption).set_table_styles(LEFT)


def latex(prediction: Predictions) -> str:
    r"""The same table for a paper, by pandas' `to_latex`: what a model predicts is bold, the true class in
    italics at the top. Needs \usepackage{booktabs}.
    """
    truth = prediction.face.truth
    heads = [rf"\textit{{{name}}}" if name == truth else name for name in prediction.shares]
    shown, best = (100 * prediction.shares).set_axis(heads, axis=1), prediction.shares.to_numpy().argmax(1)
    bold = np.where(np.arange(len(heads)) == best[:, None], "textbf:--rwrap;", "")
    note = f", of a face with {truth}" if truth else ""
    drawn = " (a drawn face)" if "drawn face" in prediction.face.title else ""
    return (
        shown.style.format(precision=1)
        .apply(lambda _: bold, axis=None)
        .to_latex(
            hrules=True,
            column_format="l" + "r" * len(heads),
            position_float="centering",
            caption=rf"Probability of each expression in \%{note}{drawn}.",
        )
    )


def _load(name: str, file: Path) -> Recognizer:
    recognizer = Recognizer(file, device="cpu")
    [model] = recognizer.models
    if model.built["name"] != name or not {"best", "options", "data"} <= model.checkpoint.keys():
        raise UserError(f"{file} holds a {model.built['name']}, or not all that a run of {name} writes.")
    return recognizer


def _largest(name: str) -> Tensor:
    """The largest face in a photo."""
    _, found = faces_in(name)
    if not found:
        raise UserError(f"{name}: no face was found")
    largest = max(found, key=lambda face: face.box[3] - face.box[1] if face.box else 0)
    return torch.from_numpy(np.array(largest.pixels))
