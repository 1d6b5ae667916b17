"""Models that answer together: the mean of their probabilities, scored as one model is.

for ensemble in ensembles(groups): print(ensemble.label, ensemble.values("accuracy"))
"""

from collections.abc import Sequence

import numpy as np

from ferlab.analysis import metrics
from ferlab.analysis.runs import Group
from ferlab.analysis.significance import listed

BEST = 3  # so many models make the small ensemble


class Ensemble:
    """The mean over models of the mean over each model's seeds, of calibrated probabilities, as predict.py
    takes it; its numbers are named as a Group's.
    """

    def __init__(self, label: str, groups: Sequence[Group]) -> None:
        self.label, self.seeds = label, f"{sum(len(group.runs) for group in groups)} runs"
        models = [np.mean([run.calibrated for run in group.runs], axis=0) for group in groups]
        probabilities = np.mean(models, axis=0)  # (N, C); a model with more seeds counts no more
        self.test = metrics.report(probabilities, groups[0].first.labels, groups[0].first.class_names)
        self.predicted = probabilities.argmax(1)[None]  # (1, N)

    def values(self, key: str) -> np.ndarray:
        """One number on test (1,), as metrics.report names it."""
        return np.array([self.test[key]])


def ensembles(groups: Sequence[Group]) -> list[Ensemble]:
    """Of all groups (one for each model), and of the best three on val where there are more; none of one."""
    if len(groups) < 2:
        return []
    found = [Ensemble(f"Ensemble of {len(groups)}", groups)]
    if len(groups) > BEST:
        best = sorted(groups, key=lambda group: -group.val_macro_f1)[:BEST]
        models = listed([group.model for group in best])
        found.append(Ensemble(f"Ensemble of the best {BEST} on val ({models})", best))
    return found
