"""Somebody to draw: the build, the colours, the pose, and the picture that is painted on.

face = DrawnFace(numpy.random.default_rng(0)); face.paint(face.skin, (1, oval(0, 0, 40, 45)))
"""

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from ferlab.synthetic.shapes import Shape

SIDE, SCALE = 100, 2  # pixels of an image, and how much larger it is drawn for smooth edges
SKIN = ((252, 222, 200), (240, 196, 164), (222, 170, 130), (190, 130, 90), (138, 88, 58), (84, 54, 40))
HAIR = (
    (28, 22, 20),
    (52, 36, 26),
    (96, 62, 36),
    (168, 168, 168),
    (168, 124, 70),
    (214, 184, 128),
    (150, 66, 36),
)
IRIS = ((52, 34, 22), (84, 56, 32), (92, 104, 66), (84, 120, 150), (110, 124, 132))
BUILD = {  # face pixels: mean and spread over people
    "width": (42, 2),
    "jaw": (0.79, 0.05),
    "chin": (43, 2),
    "nose": (7.5, 0.9),
    "mouth": (16, 1.2),
    "upper_lip": (3, 0.6),
    "lower_lip": (4.2, 0.7),
    "eye_x": (23, 1.2),
    "eye_w": (9.3, 0.7),
    "eye_h": (4.1, 0.6),
    "tilt": (0.3, 0.8),
    "fold": (0.5, 0.3),
    "brow_y": (-31.5, 1.1),
    "brow_w": (3.2, 0.6),
    "arch": (2.2, 0.7),
}


class DrawnFace:
    """A person, a pose and the image; lengths in face pixels, (0, 0) between eyes and mouth, y down."""

    def __init__(self, rng: np.random.Generator) -> None:
        tone, self.male, self.age = 5 * rng.beta(1.1, 1.6), rng.random() < 0.5, rng.beta(1.2, 2.0)
        self.skin = [np.interp(tone, range(6), c) for c in zip(*SKIN, strict=True)] + rng.normal(0, 5, 3)
        self.shadow, self.light = self.skin * (0.55, 0.44, 0.40), self.skin * 1.22 + 14
        odds = np.array([3, 3, 2, 4 * max(self.age - 0.5, 0), *(np.array([1.5, 1, 0.5]) * (tone < 2))])
        self.hair = np.array(HAIR[rng.choice(7, p=odds / odds.sum())]) * rng.uniform(0.85, 1.15)
        self.iris = np.array(IRIS[rng.integers(5 if tone < 2 else 2)])
        self.made_up = 0 if self.male else rng.beta(0.8, 1.5)
        self.lip = self.skin * (0.86, 0.64, 0.62)
        self.lip += self.made_up * ((178, 42, 62) - self.lip)
        for name, (mean, spread) in BUILD.items():
            setattr(self, name, rng.normal(mean, spread))
        self.yaw, pitch, roll, size, *shift = rng.normal(0, (0.16, 0.07, 0.05, 0.04, 1.3, 1.3))
        turn = (1.02 + size) * np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
        self.across = np.cos([self.yaw, pitch])[:, None] * turn
        self.depth = np.sin([self.yaw, pitch]) @ turn
        self.centre = np.array([50, 54]) + shift - 36 * self.depth
        self.image = Image.new("RGB", (SIDE * SCALE, SIDE * SCALE))

    def place(self, points: np.ndarray, lift: float | None = 0.0) -> np.ndarray:
        """Face pixels -> image pixels. The face is an ellipsoid, `lift` stands out of it, None is its rim."""
        placed = points @ self.across + self.centre
        if lift is not None:
            x, y = points.T
            z = lift + 46 * np.sqrt(np.maximum(1 - (x / 52) ** 2 - (y / 72 + 0.08) ** 2, 0))
            placed += z[:, None] * self.depth
        return placed

    def paint(
        self,
        colour: tuple | np.ndarray,
        *shapes: Shape,
        soft: float = 0.0,
        lift: float | None = 0.0,
        inside: list[np.ndarray] | None = None,
    ) -> None:
        """Fill polygons with a colour; `soft` blurs their edges, `inside` holds placed polygons that clip."""
        every = SCALE * self.place(np.concatenate([points for _, points in shapes]), lift)
        margin = 2.5 * soft * SCALE + 1
        low = np.maximum(every.min(0) - margin, 0).astype(int)
        high = np.minimum(every.max(0) + margin + 1, SIDE * SCALE).astype(int)
        if (high <= low).any():
            return
        flat, start = (every - low).ravel().tolist(), 0
        mask = Image.new("L", tuple((high - low).tolist()))
        pencil = ImageDraw.Draw(mask)
        for alpha, points in shapes:
            pencil.polygon(flat[start : start + points.size], fill=round(255 * min(max(alpha, 0), 1)))
            start += points.size
        if soft:  # a Gaussian would take three times as long
            mask = mask.filter(ImageFilter.BoxBlur(1.4 * soft * SCALE if soft > 1 else soft * SCALE))
        if inside is not None:
            clip = Image.new("L", mask.size)
            pencil = ImageDraw.Draw(clip)
            for points in inside:
                pencil.polygon((SCALE * points - low).ravel().tolist(), fill=255)
            mask = ImageChops.multiply(mask, clip)
        colour = tuple(min(max(int(channel), 0), 255) for channel in colour)
        self.image.paste(colour, (*low.tolist(), *high.tolist()), mask)
