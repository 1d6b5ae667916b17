"""Accuracy on the images a model is surest of, on numbers whose truth is known."""

import numpy as np
import pytest
from runs import make_run

from ferlab.analysis import coverage
from ferlab.analysis.pages import Section
from ferlab.analysis.runs import collect
from train_function import script_options


def test_the_surest_are_chosen():
    confidence = np.array([0.6, 0.9, 0.8, 0.7, 1.0])
    probabilities = np.stack([confidence, 1 - confidence], 1)
    labels = np.array([1, 0, 0, 1, 0])  # wrong at 0.6 and 0.7
    found = coverage.selective(probabilities, labels, (1, 0.8, 0.6, 0.001))
    assert found[1] == (pytest.approx(3 / 5), 0.6) and found[0.8] == (3 / 4, 0.7)
    assert found[0.6] == (1, 0.8) and found[0.001] == (1, 1.0)


def test_the_order_of_equally_sure_images_is_the_files():
    probabilities = np.full((4, 2), (0.9, 0.1))
    assert coverage.selective(probabilities, np.array([0, 0, 1, 1]), (0.5,)) == {0.5: (1, 0.9)}


def test_the_page_has_a_row_a_model(tmp_path):
    for seed in (0, 1):
        make_run(tmp_path, seed=seed, predicted=(np.arange(70) + (np.arange(70) < 35 * seed)) % 7)
    [section] = [Section(collect(tmp_path, script_options)[0])]
    [table] = [
        part for part in section.parts() if getattr(part, "caption", "").startswith("Accuracy in % on")
    ]
    [row] = table.rows
    assert len(table.header) == len(row) == 1 + len(coverage.COVERAGES)
    assert row[1] == "75.0 ± 35.4" and row[-1] == "50.0 ± 70.7"  # runs without a temperature
    for run in section.groups[0].runs:
        run.numbers["temperature"] = 0.5  # squares the odds, 0.6 to six times 0.4 / 6
    squared = 0.6**2 / (0.6**2 + 6 * (0.4 / 6) ** 2)
    assert coverage.table(section.groups).rows[0][-1].endswith(f"(from {squared:.2f})")
