"""The benchmarks of export and video on small cases: what they write, and where. No time is asserted."""

import json

import numpy as np
import pytest
from test_faces import detector  # noqa: F401  (a fixture)

from benchmarks import export, notes, significance, video
from ferlab.analysis.tables import Table
from ferlab.errors import UserError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "NOTES.md").write_text(
        "before\n<!-- export -->\nold\n<!-- /export -->\n<!-- video --><!-- /video -->\n"
    )
    return tmp_path


def test_sizes_and_latency_are_written_between_the_marks(folder, capsys):
    pytest.importorskip("onnxscript", reason="pip install onnx onnxscript onnxruntime")
    export.run(["ConvNet"], folder, seconds=0)
    entry = json.loads((folder / "results/export.json").read_text())["models"]["ConvNet"]
    assert entry["onnx_int8"]["mb"] < entry["onnx"]["mb"] / 3 and entry["torch"]["ms"]["32"] > 0
    text = (folder / "NOTES.md").read_text()
    assert text.startswith("before\n<!-- export -->\n") and "old" not in text
    assert (
        f"| ConvNet | 100 | {entry['torch']['mb']:.1f} |" in text and "<!-- video --><!-- /video -->" in text
    )


def test_frames_a_second_are_written_between_the_marks(folder, detector, capsys):
    pytest.importorskip("cv2", reason="pip install opencv-python")
    video.run(folder, sizes=[(640, 480)], frames=3)
    [entry] = json.loads((folder / "results/video.json").read_text())["videos"]
    assert (entry["frames"], entry["faces"]) == (3, 6)
    assert f"| 640 x 480 | 2.0 | {entry['looked_at_per_second']:.1f} |" in (folder / "NOTES.md").read_text()


def test_equal_architectures_are_simulated(tmp_path, monkeypatch):
    (tmp_path / "NOTES.md").write_text("<!-- significance -->\n<!-- /significance -->")
    monkeypatch.setattr(significance, "IMAGES", 200)
    significance.run(tmp_path, pairs=4)
    found = json.loads((tmp_path / "results/significance.json").read_text())["called_different"]
    assert list(found) == ["1", "2", "3"] and all(0 <= p <= 1 for p in found["3"].values())
    labels, ease = np.zeros(4, int), np.array([0.0, 0.0, 1.0, 1.0])
    monkeypatch.setattr(significance, "SPREAD", 0.0)
    predicted = significance.answers(np.random.default_rng(0), labels, ease, 2)
    assert predicted.tolist() == [[1, 1, 0, 0]] * 2


def test_without_its_marks_nothing_is_written(tmp_path):
    (tmp_path / "NOTES.md").write_text("<!-- /x --> <!-- x -->")
    with pytest.raises(UserError, match="must have <!-- x --> and"):
        notes.record("x", {}, Table("", [], []), tmp_path)
    assert not (tmp_path / "results").exists()
