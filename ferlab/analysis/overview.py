"""One picture of all models: scores against what they cost.

overview(section.entries(), Path("overview.png"), title="RAF-DB")
"""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from ferlab.analysis.plots import STYLE, legend, marker


def overview(entries: Sequence[dict], path: Path, *, title: str) -> None:
    """Accuracy and balanced accuracy with 95 % intervals against parameters and training compute (times are
    of different machines): a filled point for each model from scratch, a hollow one from ImageNet weights.

    An entry: label, hollow, the costs (None: not known), accuracy and balanced_accuracy as Estimates.
    """
    costs = {"parameters": "parameters, millions", "petaflops": "training compute, petaFLOPs"}
    with matplotlib.rc_context({**STYLE, "font.size": 9, "savefig.dpi": 200}):
        figure = Figure(figsize=(6.2, 5.2), layout="constrained")  # inches: a page's width, printed as it is
        grid = figure.subplots(2, 2, sharex="col", sharey="row", subplot_kw={"xscale": "log"})
        for row, key in zip(grid, ("accuracy", "balanced_accuracy")):
            for axes, cost in zip(row, costs):
                for entry in (entry for entry in entries if entry[cost]):
                    x, (mean, low, high) = entry[cost], (100 * value for value in entry[key])
                    colour, mark = marker(entry["label"])
                    place = axes.transData
                    if entry["hollow"] and cost == "parameters":  # as many from scratch: beside each other
                        place = place + ScaledTranslation(4 / 72, 0, figure.dpi_scale_trans)
                    axes.update_datalim([(x, low), (x, high)])  # which the shifted ones would not count in
                    axes.plot([x, x], [low, high], "_-", color=colour, lw=1, ms=4, alpha=0.8, transform=place)
                    axes.plot(
                        x,
                        mean,
                        mark,
                        color=colour,
                        mfc="white" if entry["hollow"] else colour,
                        ms=5,
                        label=entry["label"],
                        transform=place,
                    )
            row[0].set_ylabel(f"test {key.replace('_', ' ')}, %")
        for axes, (cost, name) in zip(grid[1], costs.items()):
            axes.set_xlabel(name)
            _plain_log(axes, [entry[cost] for entry in entries if entry[cost]] or [1])
        legend(figure, grid.flat)
        figure.suptitle(title, fontsize=10)
        figure.savefig(path)


def _plain_log(axes, values: Sequence[float], most: int = 5) -> None:
    """At most so many ticks with plain numbers on a log scale."""
    low, high = np.log10(min(values)), np.log10(max(values))
    margin = max(0.35, 0.08 * (high - low))  # a factor of 5 at least, in which two ticks lie
    low, high = low - margin, high + margin
    decades = range(int(np.floor(low)), int(np.ceil(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [step * 10.0**decade for decade in decades for step in steps]
        ticks = [tick for tick in ticks if low <= np.log10(tick) <= high]
        if len(ticks) <= most:
            break
    axes.set_xlim(10**low, 10**high)
    axes.minorticks_off()
    axes.set_xticks(ticks)
    axes.xaxis.set_major_formatter("{x:,g}")
