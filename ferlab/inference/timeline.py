"""What a video's faces showed over time, as a picture: a panel a person, a line an expression.

timeline(list(look("clip.mp4", Recognizer())), title="clip.mp4").save("timeline.png")
"""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from ferlab.analysis.plots import MARKERS, STYLE

MOST = 6  # persons, those that were seen in the most frames


def timeline(samples: Sequence, *, title: str) -> Image.Image:
    """The probabilities of each person in video.Sample's over the seconds; a line breaks where a frame does
    not show the person. At least one face must be there.
    """
    times = [sample.time for sample in samples]
    frames = [dict(sample.faces) for sample in samples]  # person's number -> prediction
    everybody = sorted({number for faces in frames for number in faces})
    seen = {number: sum(number in faces for faces in frames) for number in everybody}
    shown = sorted(sorted(everybody, key=lambda number: -seen[number])[:MOST])
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11, 1 + 2 * len(shown)), layout="constrained")
        panels = figure.subplots(len(shown), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        for axes, number in zip(panels, shown):
            known = [faces[number].probabilities if number in faces else {} for faces in frames]
            names = next(p for p in known if p)
            for name, (colour, marker) in zip(names, MARKERS):
                y = [100 * p.get(name, np.nan) for p in known]
                axes.plot(times, y, color=colour, marker=marker, markersize=3, linewidth=1.5, label=name)
            axes.set(ylabel=f"face {number}, %", ylim=(0, 101))
        panels[-1].set_xlabel("seconds")
        more = f"; {len(shown)} of {len(everybody)} faces" if len(shown) < len(everybody) else ""
        figure.suptitle(title + more, fontsize=11, parse_math=False)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", fontsize=9)
        canvas = FigureCanvasAgg(figure)
        figure.set_dpi(STYLE["savefig.dpi"])
        canvas.draw()
        return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
