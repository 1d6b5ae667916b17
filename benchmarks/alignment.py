"""Where RAF-DB has eyes and mouth, and whether faces found again in larger pictures get the same answers.

    python benchmarks/alignment.py --data raf-db-dataset --model results/ResNet18/seed0

Writes benchmarks/results/alignment.json. Needs the detector: pip install --no-deps facenet-pytorch
position    the detector's points on RAF-DB's own aligned training images; face_detection.py has their means
agreement   test images put into pictures of 800 x 600 pixels in three ways: "scaled" to 1 to 4 times their
            size, "tilted" by up to 20 degrees too, "turned" by any angle. Each face is then cut out again in
            three ways: by face_detection.py ("aligned"), as the detector's box alone ("box"), and back
            by the way it came ("known": what scaling alone costs)
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import models  # noqa: E402
from ferlab import cli  # noqa: E402
from ferlab.cli import option  # noqa: E402
from ferlab.errors import UserError, command  # noqa: E402
from ferlab.inference import face_detection  # noqa: E402
from ferlab.inference.predictor import find, probabilities  # noqa: E402
from ferlab.training.checkpoint import write_atomically  # noqa: E402
from RAFDB_dataset import RAFDBDataset, open_source  # noqa: E402

PICTURE = (800, 600)  # pixels
WAYS = {"scaled": 0, "tilted": 20, "turned": 180}  # by how many degrees at most, to either side
CUTS = ("aligned", "box", "known")
POINTS = ("left_eye", "right_eye", "mouth")


@dataclass
class Options:
    """What to measure."""

    data: str = option("raf-db-dataset", "folder or .zip of RAF-DB")
    model: str = option("", "a run's folder or its .pth, for the agreement (default: positions only)")
    images: int = option(1000, "training images to measure positions on", low=10)
    pictures: int = option(300, "test images to put into pictures", low=1)
    output: str = option(str(ROOT / "benchmarks/results/alignment.json"), "file of the results")


def spread_out(split: RAFDBDataset, n: int) -> list[int]:
    """Indices of `n` images at equal distances, so of all classes as they come."""
    return np.unique(np.linspace(0, len(split) - 1, min(n, len(split))).round().astype(int)).tolist()


def picture(pixels: torch.Tensor) -> Image.Image:
    """uint8 (3, H, W) as Pillow has it."""
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())


def positions(split: RAFDBDataset, n: int) -> dict:
    """Mean and standard deviation of x and y of each point in pixels, over the faces that are found."""
    chosen, found = spread_out(split, n), []
    for i in tqdm(chosen, "positions", leave=False, disable=None):
        if upright := face_detection.detect(picture(split.images[i])):
            found.append(min((points for *_, points in upright), key=lambda p: abs(p.mean(0) - 50).sum()))
    if len(found) < 2:
        raise UserError(f"the detector found {len(found)} faces in {len(chosen)} images of {split.layout}.")
    mean, deviation = np.mean(found, 0), np.std(found, 0, ddof=1)
    at = {
        name: {"mean": m.tolist(), "sd": s.tolist()}
        for name, m, s in zip(POINTS, mean.round(3), deviation.round(3))
    }
    return {"images": len(chosen), "found": len(found), "points": at}


def placed(face: np.ndarray, rng: np.random.Generator, degrees: float) -> tuple[Image.Image, np.ndarray]:
    """A picture with the face in it, turned by up to `degrees`, and the affine map (2, 3) from the picture's
    pixels to the face's. Around it the face's border goes on, as there is nothing else to go on with.
    """
    zoom = rng.uniform(1, 4)
    turn = np.exp(1j * np.radians(rng.uniform(-degrees, degrees))) / zoom
    half = 50 * zoom**2 * (abs(turn.real) + abs(turn.imag))  # of the upright square around the face
    centre = complex(*(rng.uniform(min(half, side / 2), max(side - half, side / 2)) for side in PICTURE))
    origin = complex(50, 50) - turn * centre
    to_face = np.array([[turn.real, -turn.imag, origin.real], [turn.imag, turn.real, origin.imag]])
    pad = sum(PICTURE)
    wide = Image.fromarray(np.pad(face, ((pad, pad), (pad, pad), (0, 0)), mode="edge"))
    matrix = to_face + [[0, 0, pad], [0, 0, pad]]
    return wide.transform(PICTURE, Image.Transform.AFFINE, matrix.ravel(), Image.Resampling.BICUBIC), to_face


def cut_out(photo: Image.Image, to_face: np.ndarray) -> dict[str, np.ndarray] | None:
    """The face cut out again in each of CUTS, uint8 (3, 100, 100); None where it is not found."""
    linear, shift = to_face[:, :2], to_face[:, 2]
    hits = []
    for face in face_detection.find_faces(photo):
        left, top, right, bottom = face.box
        centre = linear @ ((left + right) / 2, (top + bottom) / 2) + shift
        if ((centre > 20) & (centre < 80)).all():
            hits.append((abs(centre - 50).sum(), face))
    if not hits:
        return None
    face = min(hits, key=lambda hit: hit[0])[1]
    points = (face_detection.EYES_AND_MOUTH - shift) @ np.linalg.inv(linear).T
    box = photo.crop([round(side) for side in face.box])
    box = box.resize((face_detection.SIDE,) * 2, Image.Resampling.BICUBIC)
    return {
        "aligned": face.pixels,
        "box": np.asarray(box).transpose(2, 0, 1),
        "known": face_detection.align(photo, points),
    }


def agreement(split: RAFDBDataset, model: torch.nn.Module, n: int) -> dict:
    """Of each way: how many faces are found, and for each cut the share of them that get the same answer as
    RAF-DB's own image, and the accuracy before and after.
    """
    chosen = spread_out(split, n)
    labels, before = split.labels[chosen].numpy(), answers(model, split.images[chosen])
    result = {"images": len(chosen), "accuracy": share(before == labels)}
    for way, degrees in WAYS.items():
        rng, kept, cuts = np.random.default_rng(0), [], {name: [] for name in CUTS}
        for k, i in enumerate(tqdm(chosen, way, leave=False, disable=None)):
            photo, to_face = placed(np.asarray(picture(split.images[i])), rng, degrees)
            if again := cut_out(photo, to_face):
                kept.append(k)
                for name in CUTS:
                    cuts[name].append(again[name])
        result[way] = {"found": len(kept), "accuracy_of_found": share(before[kept] == labels[kept])}
        for name, pixels in cuts.items() if kept else ():
            after = answers(model, torch.from_numpy(np.stack(pixels)))
            result[way][name] = {
                "agreement": share(after == before[kept]),
                "accuracy": share(after == labels[kept]),
            }
    return result


def answers(model: torch.nn.Module, images: torch.Tensor) -> np.ndarray:
    return probabilities([model], images).argmax(1).numpy()


def share(hits: np.ndarray) -> float | None:
    return round(float(np.mean(hits)), 4) if len(hits) else None


@command
def main() -> None:
    options = Options(**cli.typed(Options, sys.argv[1:], description=__doc__.split("\n\n")[0]))
    cli.check(options)
    source = open_source(options.data)
    model = models.load(find(options.model)) if options.model else None
    train = RAFDBDataset(source, "train")
    result = {"data": train.kind, "detector": "facenet-pytorch MTCNN"}
    result["position"] = positions(train, options.images)
    if model:
        result["model"] = {**model.built, "epoch": model.checkpoint["best"].get("epoch")}
        result["agreement"] = agreement(RAFDBDataset(source, "test"), model, options.pictures)
    path = Path(options.output)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: file.write(f"{json.dumps(result, indent=1)}\n".encode()))
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
