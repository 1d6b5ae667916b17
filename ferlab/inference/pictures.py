"""Faces to pictures for the notebooks: figures that a cell shows when it ends with one.

pictures.heat_maps(prediction.face.pixels, prediction.shares, prediction.maps)
"""

from collections.abc import Sequence

import matplotlib
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ferlab.analysis.plots import BLUE, GREEN, GREY, ORANGE, STYLE
from ferlab.training import augment

SIDE = 1.5  # inches of a face


def distribution(counts: dict[str, Sequence[int]], names: Sequence[str]) -> Figure:
    """Images by class, a panel for each split: their share as a bar, their number beside it."""
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(11, 3), layout="constrained")
        panels = figure.subplots(1, len(counts), sharex=True, sharey=True)
        for axes, (split, numbers) in zip(panels, counts.items()):
            shares = [100 * n / sum(numbers) for n in numbers]
            bars = axes.barh(names, shares, color=BLUE)
            axes.bar_label(
                bars, [f"{n:,} ({share:.1f} %)" for n, share in zip(numbers, shares)], padding=3, fontsize=9
            )
            axes.set(title=f"{split}: {sum(numbers):,} images", xlabel="share of the split, %")
        panels[0].set_xlim(0, 1.6 * panels[0].dataLim.x1)
        panels[0].invert_yaxis()
        return figure


def faces_row(images: Tensor, titles: Sequence[str]) -> Figure:
    """A row of uint8 faces (N, 3, H, W), as they are, each under its title."""
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(SIDE * len(images), SIDE + 0.3), layout="constrained")
        panels = figure.subplots(1, len(images), squeeze=False)[0]
        for axes, image, title in zip(panels, images, titles):
            _face(axes, image, title)
        return figure


def face_figure(image: Tensor, title: str) -> Figure:
    """One uint8 face (3, H, W), large."""
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(3, 3.2), layout="constrained")
        _face(figure.subplots(), image, "")
        figure.suptitle(title, fontsize=10, parse_math=False)  # a file's name may have a $
        return figure


def augmented(images: Tensor, *, variants: int = 7, strength: float = 1.0, seed: int = 0) -> Figure:
    """Every uint8 face (N, 3, H, W) as it is, then `variants` times as training sees it."""
    n, size = len(images), images.shape[-1]
    draws = augment.draw(n * variants, torch.Generator().manual_seed(seed), strength=strength)
    varied = augment.apply(images.repeat_interleave(variants, 0), size, draws)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (augment.MEAN, augment.STD))
    varied = ((varied * std + mean).clamp(0, 1) * 255).round().byte().unflatten(0, (n, variants))
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(1.35 * (variants + 1), 1.35 * n + 0.3), layout="constrained")
        grid = figure.subplots(n, variants + 1, squeeze=False)
        for number, (row, image, others) in enumerate(zip(grid, images, varied)):
            _face(row[0], image, "" if number else "as it is")
            for axes, other in zip(row[1:], others):
                _face(axes, other, "")
        grid[0, 1].set_title("as training sees it", fontsize=9, loc="left")
        return figure


def bars(shares: pd.DataFrame, truth: str | None) -> Figure:
    """Each model's probabilities (models x classes): the predicted class in green if right, in orange if not;
    the true class in bold.
    """
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        figure, panels = _a_panel_each(len(shares), height=2.2, least=3)
        for axes, (model, row) in zip(panels, shares.iterrows()):
            colours = [_colour(row, name, truth) for name in shares.columns]
            found = axes.barh(shares.columns, 100 * row, color=colours)
            axes.bar_label(found, [f"{100 * share:.0f}" for share in row], padding=2, fontsize=8)
            axes.set(title=model, xlim=(0, 125), xticks=(0, 50, 100), xlabel="%")
        for axes in panels:
            axes.sharey(panels[0]) if axes is not panels[0] else axes.invert_yaxis()
            axes.tick_params(labelleft=axes is panels[0])
        for label in panels[0].get_yticklabels():
            label.set_fontweight("bold" if label.get_text() == truth else "normal")
        return figure


def heat_maps(image: Tensor, shares: pd.DataFrame, maps: Tensor) -> Figure:
    """A uint8 face (3, H, W) and, for each model, where it looked (models, H, W): bright is where."""
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        figure, (first, *panels) = _a_panel_each(len(shares) + 1, height=1.9, least=4)
        _face(first, image, "the face")
        grey = image.float().mean(0)
        for axes, (model, row), heat in zip(panels, shares.iterrows(), maps):
            _face(axes, image, f"{model}\n{row.idxmax()}")
            axes.imshow(grey, cmap="gray", vmin=0, vmax=255)
            axes.imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=0.55, interpolation="bilinear")
        return figure


def _a_panel_each(n: int, *, height: float, least: int):
    """A figure of one row with n panels; fewer than `least` leave their room empty rather than grow."""
    figure = Figure(figsize=(11, height), layout="constrained")
    panels = list(figure.subplots(1, max(n, least)))
    for axes in panels[n:]:
        axes.set_visible(False)
    return figure, panels[:n]


def _colour(row: pd.Series, name: str, truth: str | None) -> str:
    if name != row.idxmax():
        return GREY
    return BLUE if truth is None else GREEN if name == truth else ORANGE


def _face(axes, image: Tensor, title: str) -> None:
    axes.imshow(image.permute(1, 2, 0))
    axes.set_title(title, fontsize=9)
    axes.axis("off")
