"""demo.py: what its page answers, and the real page asked over the network where gradio is installed."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_faces import detector  # noqa: F401  (a fixture)
from test_predict import run  # noqa: F401  (a fixture)
from trees import encode

import demo
from ferlab.data.rafdb import CLASS_NAMES
from ferlab.inference.recognizer import Recognizer

ROOT = Path(__file__).parents[1]


@pytest.fixture
def drawn_faces(tmp_path) -> list[str]:
    return demo.examples(tmp_path)


def test_a_drawn_face_is_answered(run, drawn_faces, detector):
    assert len(drawn_faces) == len(CLASS_NAMES)
    said, marked, rows, maps = demo.answer(drawn_faces[3], str(run))
    assert said.startswith("1 face, by ") and marked.size == (640, 480)
    [(number, expression, *shares)] = rows.to_numpy().tolist()
    assert (
        list(rows.columns) == ["face", "expression", *CLASS_NAMES]
        and number == 1
        and expression in CLASS_NAMES
    )
    assert sum(float(share.split()[0]) for share in shares) == pytest.approx(100, abs=0.5)
    [(heat, label)] = maps
    assert heat.size == (300, 300) and label == f"1  {expression}"


def test_what_is_no_photo_with_a_face_gets_a_sentence(run, tmp_path, detector):
    assert demo.answer(None, str(run))[0].startswith("Drop a photo")
    (tmp_path / "notes.jpg").write_text("notes")
    said, *rest = demo.answer(str(tmp_path / "notes.jpg"), str(run))
    assert said.startswith("This file: is not a JPEG") and rest == [None, [], []]
    (tmp_path / "nobody.png").write_bytes(encode(Image.new("RGB", (5000, 3000), "grey"), "PNG"))
    said, marked, *rest = demo.answer(str(tmp_path / "nobody.png"), str(run))
    assert said == "No face was found." and marked.size == (1600, 960) and rest == [[], []]


def test_a_heat_map_brightens_the_face_where_the_model_looked(run):
    [face] = Recognizer(run)(Image.new("RGB", (100, 100), "grey"), aligned=True)
    heat = torch.zeros(100, 100)
    heat[:, 50:] = 1
    pixels = np.asarray(demo.heated(face, heat)).astype(int)
    assert pixels[:, 200:].mean() > pixels[:, :100].mean() + 50


def test_the_best_model_is_offered_first(tmp_path, monkeypatch):
    for name in ("a/seed0", "b/seed0", "b/seed1"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "best_model.pth").touch()
    monkeypatch.setattr(demo, "best", lambda: tmp_path / "b/seed0/best_model.pth")
    assert demo.runs()[0] == str(tmp_path / "b/seed0") and len(demo.runs()) == 3


def test_without_gradio_one_sentence():
    code = "import sys; sys.modules['gradio'] = None; import demo; sys.argv = ['demo.py']; demo.main()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "pip install gradio" in done.stderr


def test_the_page_answers_over_the_network(run, drawn_faces, tmp_path, detector):
    pytest.importorskip("gradio", reason="pip install gradio")
    from gradio_client import Client, handle_file

    huge = Image.open(drawn_faces[3]).resize((8200, 6150))  # 50 million pixels, the face 4,000 of them wide
    huge.save(tmp_path / "huge.jpg")
    (tmp_path / "results/ConvNet").mkdir(parents=True)
    (tmp_path / "results/ConvNet/seed0").symlink_to(run)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-u", str(ROOT / "demo.py"), "--port", str(port)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    page = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert any("Running on" in line for line in page.stdout)
        client = Client(f"http://127.0.0.1:{port}", verbose=False)
        for photo in (drawn_faces[3], tmp_path / "huge.jpg"):
            said, marked, table, maps = client.predict(handle_file(str(photo)), "results/ConvNet/seed0",
                                                       api_name="/answer")  # fmt: skip
            assert said.startswith("1 face, by results/ConvNet/seed0") and len(maps) == 1
            assert max(Image.open(marked).size) in (640, 1600) and len(table["data"]) == 1
    finally:
        page.send_signal(signal.SIGTERM)
        page.wait(30)
