"""benchmarks/alignment.py: what was measured, the way back of what it does to faces, its table."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import alignment
from benchmarks.composites import faceless, placed
from ferlab.analysis.tables import between
from ferlab.inference import face_detection
from RAFDB_dataset import RAFDBDataset

MEASURED = Path(__file__).parents[1] / "benchmarks/results/alignment.json"


def test_the_constants_are_those_that_were_measured():
    position = json.loads(MEASURED.read_text())["position"]
    means = [position["points"][name]["mean"] for name in ("left_eye", "right_eye", "mouth")]
    assert position["found"] >= 300
    assert np.abs(face_detection.EYES_AND_MOUTH - means).max() <= 0.1  # pixels; about the means' own error


@pytest.mark.parametrize("placement", alignment.PLACEMENTS)
@pytest.mark.parametrize("around", [None, "scikit-learn 0"])
def test_the_measurement_knows_the_way_back(placement, around, drawn):
    """benchmarks/alignment.py: a face put into a picture and taken back by the known way is the same face."""
    pixels = RAFDBDataset(drawn, "test").images[3].numpy().transpose(1, 2, 0)
    around = around and faceless()[around]
    photo, to_face = placed(pixels, np.random.default_rng(1), *alignment.PLACEMENTS[placement], around=around)
    assert photo.size == (800, 600)
    corners = np.array([(0, 0), (100, 0), (0, 100), (100, 100)]) - to_face[:, 2]
    corners = corners @ np.linalg.inv(to_face[:, :2]).T
    assert corners.min() > -0.01 and (corners < np.array(photo.size) + 0.01).all()
    middle = corners.mean(0)
    faces = [
        face_detection.Face(pixels.transpose(2, 0, 1), (*(middle + shift - 20), *(middle + shift + 20)))
        for shift in (-300, 0)
    ]
    face, others = alignment.nearest(faces, to_face)
    assert face is faces[1] and others == 1 and alignment.nearest(faces[:1], to_face) == (None, 1)
    known = alignment.cuts(face_detection, photo, face, to_face)[2]
    difference = np.abs(known.astype(int) - pixels.transpose(2, 0, 1))[:, 3:-3, 3:-3].mean()
    assert difference < (4 if placement != "small" else 12)


def test_the_faces_table_is_written_between_its_marks(tmp_path):
    results, readme = json.loads(MEASURED.read_text()), tmp_path / "README.md"
    readme.write_text("above\n<!-- faces -->\nOLD\n<!-- /faces -->\nbelow")
    readme.write_text(between(readme, alignment.MARKS, alignment.markdown(results)))
    text, own = readme.read_text(), results["now"]["own"]
    assert text.startswith("above\n<!-- faces -->\nRAF-DB") and text.endswith("\n<!-- /faces -->\nbelow")
    assert f"| RAF-DB's own images | {own['found']} of {own['images']} | {own['false']} |" in text
    assert f"800x600 {results['now']['seconds']['800x600']:.3f} s" in text and "OLD" not in text
