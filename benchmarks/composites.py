"""Pictures whose faces are known: faces put into other pictures, and pictures that hold none.

photo, to_face = placed(face, np.random.default_rng(0), 30, (1, 4), around=faceless()["china"])
"""

import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps
from scipy import ndimage
from sklearn.datasets import load_sample_images

PICTURE = (800, 600)  # pixels
DRAWN = 12  # pictures of noise, and as many of shapes
SHIPPED = {  # pictures without a human face, three cats' among them, by packages that need not be installed
    "skimage": "brick cell chelsea clock_motion coffee coins color grass gravel horse hubble_deep_field ihc "
    "logo moon motorcycle_left page retina rocket text",
    "gradio": "cheetah cheetah1 cheetah2 lion tower",
}


def faceless() -> dict[str, Image.Image]:
    """RGB pictures of PICTURE's size without a human face, by name: those that scikit-learn and, where they
    are installed, scikit-image and gradio bring along, blurred noise, and overlapping shapes.
    """
    photos = {
        f"scikit-learn {i}": Image.fromarray(photo) for i, photo in enumerate(load_sample_images().images)
    }
    for package, names in SHIPPED.items():
        if found := importlib.util.find_spec(package):
            files = sorted(Path(found.origin).parent.rglob("*.[jp][pn]g"))
            photos |= {
                file.stem: Image.open(file).convert("RGB") for file in files if file.stem in names.split()
            }
    pictures = {
        name: ImageOps.fit(photo, PICTURE, Image.Resampling.BICUBIC) for name, photo in photos.items()
    }
    rng = np.random.default_rng(0)
    for i in range(DRAWN):
        noise = Image.fromarray(rng.integers(0, 256, (*PICTURE[::-1], 3), dtype=np.uint8))
        pictures[f"noise {i}"] = ImageOps.autocontrast(noise.filter(ImageFilter.GaussianBlur(2 * i)))
        scene = Image.new("RGB", PICTURE, tuple(rng.integers(0, 256, 3)))
        pen = ImageDraw.Draw(scene)
        for _ in range(60):
            corner, size = rng.uniform((0, 0), PICTURE), rng.uniform(5, 200, 2)
            shape = pen.ellipse if rng.random() < 0.5 else pen.rectangle
            shape((*corner, *(corner + size)), fill=tuple(rng.integers(0, 256, 3)))
        pictures[f"shapes {i}"] = scene
    return pictures


def placed(
    face: np.ndarray,
    rng: np.random.Generator,
    degrees: float,
    zoom: tuple[float, float],
    *,
    around: Image.Image | None = None,
) -> tuple[Image.Image, np.ndarray]:
    """A picture with the face, uint8 (100, 100, 3), in it, resized by a factor within `zoom` and turned by up
    to `degrees` to either side, and the affine map (2, 3) from the picture's pixels to the face's. Around it
    is the picture `around`, or else the face's border goes on.
    """
    scale, angle = np.exp(rng.uniform(*np.log(zoom))), np.radians(rng.uniform(-degrees, degrees))
    cos, sin = np.cos(angle), np.sin(angle)
    half = 50 * scale * (abs(cos) + abs(sin))  # of the upright square around the face
    centre = [rng.uniform(min(half, side / 2), max(side - half, side / 2)) for side in PICTURE]
    linear = np.array([[cos, -sin], [sin, cos]]) / scale
    to_face = np.column_stack([linear, (50, 50) - linear @ centre])
    grid = np.stack(np.meshgrid(*(np.arange(side) + 0.5 for side in PICTURE)), axis=-1)
    at = grid @ linear.T + to_face[:, 2] - 0.5
    smooth = ndimage.gaussian_filter(face.astype(float), (blur := 0.4 * max(1 / scale - 1, 0), blur, 0))
    pixels = [
        ndimage.map_coordinates(smooth[..., i], [at[..., 1], at[..., 0]], order=2, mode="nearest")
        for i in range(3)
    ]
    photo = Image.fromarray(np.stack(pixels, axis=-1).round().clip(0, 255).astype(np.uint8))
    if around:
        photo.paste(around, mask=Image.fromarray(((at < -0.5) | (at > 99.5)).any(-1)))
    return photo, to_face


def crowd(faces: np.ndarray, rng: np.random.Generator) -> tuple[Image.Image, np.ndarray]:
    """A picture of 1600 pixels' width in which `faces`, uint8 (N, 100, 100, 3), stand in rows of ten, 50 to
    150 pixels wide, on grey, and the faces' middles (N, 2).
    """
    middles = np.array([(i % 10 * 160 + 80, i // 10 * 160 + 80) for i in range(len(faces))])
    photo = Image.new("RGB", (1600, int(middles[-1, 1]) + 80), "grey")
    for face, middle in zip(faces, middles):
        side = int(rng.integers(50, 150))
        square = Image.fromarray(face).resize((side, side), Image.Resampling.BICUBIC)
        photo.paste(square, tuple((middle - side // 2).tolist()))
    return photo, middles
