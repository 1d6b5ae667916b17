"""A face drawn from action units: what the muscles of the face do becomes lids, brows, lips and creases.

face_drawing.draw(units, numpy.random.default_rng(0)).save("face.png")   # units[12] = 1 for a smile
"""

import numpy as np
from PIL import Image, ImageFilter

from ferlab.synthetic.person import SCALE, SIDE, DrawnFace
from ferlab.synthetic.shapes import curve, oval, pair, stroke


def draw(units: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """One aligned face as RAF-DB has them, RGB 100 x 100.

    `units` (28,) holds the intensity, 0 to about 1, of each action unit of the Facial Action Coding System at
    the unit's number. Who it is, the pose, the light and the camera come from `rng`.
    """
    face = DrawnFace(rng)
    _head(face, units, rng)
    _creases(face, units)
    _eyes(face, units, rng)
    _mouth(face, units, rng)
    _hair_and_glasses(face, rng)
    return _photograph(face, rng)


def _head(face: DrawnFace, au: np.ndarray, rng: np.random.Generator) -> None:
    """Background, hair behind, neck, ears, head with its large shades, nose."""
    w, jaw, chin, tint = face.width, face.width * face.jaw, face.chin + 5 * au[26], rng.uniform(30, 225, 3)
    rows = 0.7 * tint.mean() + 0.3 * tint + np.linspace(*rng.normal(0, 25, (2, 3)), SIDE * SCALE)
    sky = Image.fromarray(rows.clip(0, 255)[:, None].astype(np.uint8))
    face.image.paste(sky.resize(face.image.size, Image.Resampling.NEAREST))
    end = 70 if not face.male and rng.random() < 0.6 else -22
    side = np.array([(20, -78), (w + 3, -50), (w + 8, -20), (w + 5, end)])
    face.paint(face.hair * 0.75, (1, curve([*side[::-1] * (-1, 1), *side])), lift=None)
    neck, ears = np.array([(-27, 10), (-29, 70), (29, 70), (27, 10)]), pair(1, oval(w + 1, -10, 5, 11))
    face.paint(face.skin * (0.74, 0.67, 0.65), (1, neck), *ears, lift=None)
    low = 25 + 2 * au[26]
    side = [(w / 2, -66), (0.9 * w, -46), (w, -20), (0.97 * w, 4), (jaw, low), (0.55 * jaw, chin - 7)]
    outline = curve([(0, -72), *side, (0, chin), *np.array(side[::-1]) * (-1, 1)], closed=True)
    face.paint(face.skin, (1, outline), soft=0.3, lift=None)
    face.outline = [face.place(outline, None)]
    blush, cheek = oval(26, 2 - 1.5 * au[6], 11, 8), oval(27, -3 - 1.5 * au[6], 9, 5)
    face.paint(face.skin * (1.05, 0.78, 0.74), *pair(0.4, blush), soft=4, inside=face.outline)
    bridge = stroke([(6, -24), (4.5, -12), (9, 4)], 6) * (1 if face.yaw < 0 else -1, 1)
    sockets, jaws = pair(0.28, oval(25, -21, 15, 9)), pair(0.2, oval(34, 22, 9, 12))
    face.paint(
        face.shadow,
        *sockets,
        *jaws,
        (0.3, bridge),
        (0.35, oval(0, 13, 10, 3)),
        (0.45, oval(0, 30 + 9 * au[26], 10, 3)),
        soft=3,
        inside=face.outline,
    )
    up, n = -2.2 * au[9] - 0.6 * au[10], face.nose + 0.9 * au[9] + 0.5 * au[12]
    face.paint(
        face.light,
        *pair(0.35 + 0.35 * au[6], cheek),
        (0.4, oval(0, -45, 24, 9)),
        (0.4, oval(0, chin - 6, 8, 4)),
        (0.5, stroke([(0, -18), (0, -6), (0, 4)], 5)),
        (0.6, oval(0, 5 + up, 5, 4)),
        soft=2.2,
        lift=5,
        inside=face.outline,
    )
    wing = stroke([(n - 1, 2 + up), (n + 1, 6 + up), (n - 1, 9.2 + up), (n - 4, 9.5 + up)], 1.8)
    nostrils = pair(0.85, oval(n * 0.5, 9 + up, 2.5, 1.3))
    face.paint(face.shadow * 0.7, *pair(0.55, wing), *nostrils, soft=0.5, lift=5)


def _creases(face: DrawnFace, au: np.ndarray) -> None:
    """Furrows that action units and age leave in the skin."""
    age, out, high = face.age**2, 2 * au[12] + 1.5 * au[20], 2.5 * max(au[1], au[2])
    brow = 0.4 * (au[1] + au[2]) * (0.5 + face.age) + 0.3 * age
    creases = [  # opacity, width, points of the right half
        *((brow, 1.5, [(0, -y - high), (8, -y - high), (20, 1.5 - y - high)]) for y in (40, 44.5, 49)),
        (0.7 * au[4] + 0.1 * age, 1.9, [(3, -34), (2.4, -29), (3.2, -24)]),
        (
            0.55 * au[12] + 0.5 * au[10] + 0.55 * au[9] + 0.2 * au[15] + 0.4 * age,
            2.4,
            [(face.nose + 1, 5 - 2 * au[9]), (15 + out, 11), (19 + out, 20 - 2 * au[12])],
        ),
        (0.65 * au[15] + 0.25 * age, 2, [(18 + 2 * au[20], 22), (19, 28), (17, 33)]),
        (0.5 * au[6] + 0.3 * au[7] + 0.3 * age, 2, [(13, -12.5), (22, -10), (31, -13)]),
        *((0.7 * au[9], 1.7, [(2, -12 + 3.4 * k), (5, -14 + 3.2 * k), (7.5, -18 + 4 * k)]) for k in range(3)),
        *((au[6] * (0.2 + 0.6 * age), 1.3, [(34, -20 + 1.5 * k), (39, -20 + 4 * k)]) for k in (-1, 0, 1)),
        (0.3 * au[17], 4, [(0, 35), (2, 35.5), (4, 37)]),
    ]
    shapes = [
        half
        for alpha, width, points in creases
        if alpha > 0.03
        for half in pair(min(alpha, 0.7), stroke(points, width))
    ]
    if shapes:
        face.paint(face.shadow, *shapes, soft=0.7, inside=face.outline)


def _eyes(face: DrawnFace, units: np.ndarray, rng: np.random.Generator) -> None:
    """Eyes and brows, a little uneven."""
    whites, lids, lashes, lines, irises, brows = [], [], [], [], [], []
    for side in (-1, 1):
        au = units * rng.normal(1, 0.06, 28)
        narrow = 0.3 * (au[6] + au[7] + au[9]) + 0.25 * min(au[1], au[15])
        up = face.eye_h * min(max(1 + 0.8 * au[5] - narrow, 0.2), 2)
        low = face.eye_h * max(0.62 + 0.25 * au[5] - 0.4 * au[7] - 0.5 * au[6] - 0.2 * au[9], 0.05)
        slope = 0.2 * au[1] * min(au[4] + au[15], 1)  # sad and fearful lids rise towards the nose
        middle, size = np.array([side * face.eye_x, -20]), (side * face.eye_w, 1)
        inner, outer = (-1, 0.8), (1, -face.tilt)
        upper = [inner, (-0.5, -up * (0.8 + slope)), (0.1, -up), (0.65, -up * (0.65 - slope)), outer]
        upper = middle + np.array(upper) * size
        lower = middle + np.array([outer, (0.5, low * 0.8), (0, low), (-0.6, low * 0.7), inner]) * size
        whites.append((1, np.concatenate([curve(upper), curve(lower)])))
        lids.append((0.55, stroke(upper + (0, 0.8), 2.2)))
        lashes.append((0.95, stroke(upper, 1.7 + face.made_up, (0.5, 1, 1, 0.7))))
        fold = upper[1:] - (0, 2.4 + 0.8 * face.fold)
        lines += [(0.6, stroke(lower, 1)), (0.6 * face.fold, stroke(fold, 1.3))]
        irises.append(middle + (4 * face.yaw, -0.6))
        start = -6.5 * au[1] + 6 * au[4] * max(0, 1 - 0.9 * au[1]) + 2.5 * au[9]
        arch = -3.2 * (au[1] + au[2]) + 3.4 * au[4] + au[9] - face.arch
        end = 2 - 6 * au[2] + 1.5 * au[4]
        brow = np.array([(9 - 2.8 * au[4], start), (17, (start + arch) / 2 - 0.5), (26, arch), (36, end)])
        brow = (brow + (face.eye_x - 23, face.brow_y)) * (side, 1)
        brows.append((0.88, stroke(brow, face.brow_w, (0.8, 1.15, 0.9, 0.2))))
    openings = [face.place(white) for _, white in whites]
    face.paint((232, 226, 222), *whites)
    for radius, shift, colour in (
        (4.6, 0, face.iris * 0.45),
        (3.9, 0, face.iris),
        (1.9, 0, (12, 12, 12)),
        (0.9, -1.5, (255, 255, 255)),
    ):
        circles = [(1, oval(*at + shift, radius, radius)) for at in irises]
        face.paint(colour, *circles, inside=openings, soft=0.2)
    face.paint((12, 12, 12), *lids, inside=openings, soft=0.7)
    face.paint(face.shadow * 0.35, *lashes, soft=0.25)
    face.paint(face.shadow * 0.85, *lines, soft=0.4)
    face.paint(face.hair * 0.7, *brows, soft=0.5)


def _mouth(face: DrawnFace, au: np.ndarray, rng: np.random.Generator) -> None:
    u = np.linspace(-1, 1, 21)  # from corner to corner
    w = face.mouth + 5 * au[12] + 4.5 * au[20] + au[10] - 3.5 * au[26] * (1 - min(au[12], 1)) - 1.5 * au[23]
    corner = 20 - 6 * au[12] + 5.5 * au[15] + 1.5 * au[20] + 2 * au[26] + u * rng.normal(0, 0.5)
    closed = 20 + 0.8 * au[12] - 2.2 * au[17] - au[15] - 1.5 * au[10]
    top = closed - 1.5 * au[25] - 2 * au[10] * au[25] - 2 * au[26]
    bottom = closed + 4 * au[25] * (1 - 0.3 * au[26]) + 12 * au[26]
    bow = (1 - u**2) ** (1 - 0.4 * min(au[26] + 0.5 * au[20], 1))
    above, below = corner + (top - corner) * bow, corner + (bottom - corner) * bow
    thin = max(1 - 0.45 * au[23] - 0.4 * au[24] - 0.2 * au[12] - 0.15 * au[20], 0.15)
    peak = (1 - np.abs(u) ** 2.2) * (1 - 0.3 * np.exp(-((u / 0.16) ** 2))) * (1 - 0.2 * au[10])
    lower_lip = below + face.lower_lip * thin * (1 - u**2) ** 0.8 * (1 + 0.25 * au[17])

    def band(colour: tuple | np.ndarray, first: np.ndarray, last: np.ndarray, **how) -> np.ndarray:
        points = np.stack([np.r_[u, u[::-1]] * w, np.r_[first, last[::-1]]], 1)
        face.paint(colour, (1, points), soft=0.3, lift=3, **how)
        return face.place(points, 3)

    band(face.lip * 0.88, above - face.upper_lip * thin * peak, above + 0.4)
    band(face.lip, below - 0.4, lower_lip)
    shine = oval(0, (below + lower_lip)[10] / 2, w * 0.45, 0.8)
    face.paint(face.lip * 1.3 + 20, (0.35, shine), soft=0.8, lift=3)
    if (gap := bottom - top) > 0.8:
        opening = [band((58, 18, 20), above, below)]
        teeth = min(5.0, 1.2 + 0.75 * gap) * (1 - 0.55 * min(au[26], 1)) * bow**0.5
        band((236, 230, 218), above - 1, above + teeth, inside=opening)
        if max(au[20], au[23]) > 0.4:
            band((206, 198, 186), below - 2.2 * bow, below + 1, inside=opening)
        tongue = (min(au[26], 0.9), oval(0, bottom + 1, w * 0.6, 5))
        face.paint((168, 70, 74), tongue, soft=1, inside=opening, lift=3)
    seam = stroke(np.stack([u * w, above], 1)[::2], 1.3 + 0.4 * au[24], (0.8, 1, 0.8))
    ends = [(0.6, oval(u[end] * w, corner[end], 1.3, 1.1)) for end in (0, -1)]
    face.paint(face.shadow * 0.4, (0.85, seam), *ends, soft=0.4, lift=3)


def _hair_and_glasses(face: DrawnFace, rng: np.random.Generator) -> None:
    w, thick, style, edge = face.width, rng.uniform(0.25, 0.85), rng.integers(4), rng.normal(-50, 2.5)
    if face.male and rng.random() < 0.35:
        moustache = stroke([(0, 14), (6, 13.5), (15, 17)], 4, (1, 1, 0.3))
        beard = stroke([(0, 44), (15, 41), (w * 0.72, 26), (w * 0.93, 4)], 12, (1.3, 0.9, 0.2))
        face.paint(
            face.hair * 0.9,
            *pair(thick, moustache),
            *pair(thick * (rng.random() < 0.7), beard),
            soft=1.2,
            lift=2,
            inside=face.outline,
        )
    if style < 3 or not face.male or face.age < 0.4:  # the others are bald
        x, y = (0.6 * w, edge) if style else (0.5 * w, -40)  # a high hairline or a fringe
        line = curve(
            [
                (-w - 3, -10),
                (-w * 0.89, -34),
                (-x, y),
                (rng.uniform(-25, 25), y - 3),
                (x, y + 5 * (style == 1)),
                (w * 0.89, -34),
                (w + 3, -10),
            ]
        )
        cap = np.concatenate([line, [(w + 6, -60), (40, -85), (-40, -85), (-w - 6, -60)]])
        face.paint(face.shadow, (0.35, cap + (0, 2)), soft=1.5)
        face.paint(face.hair, (1, cap), soft=0.5)
        for shade in (0.7, 1.35):
            roots = line[rng.integers(5, len(line) - 5, 5)]
            strands = [[p, p * (0.96, 1.1) + rng.normal(0, 1.5, 2), p * (0.75, 1.5)] for p in roots]
            face.paint(face.hair * shade, *((0.5, stroke(strand, 1.6)) for strand in strands), soft=0.5)
    if rng.random() < 0.12:
        x, rx, ry = face.eye_x, rng.uniform(12.5, 14.5), rng.uniform(8.5, 11.5)
        rim, temple = [*oval(x, -18, rx, ry), (x + rx, -18)], [(x + rx, -19), (w + 1, -21)]
        frame = [pair(1, stroke(part, 1.5, (1, 1))) for part in (rim, temple, [(0, -21), (x - rx, -19)])]
        face.paint(np.full(3, rng.uniform(10, 90)), *sum(frame, []), lift=4)


def _photograph(face: DrawnFace, rng: np.random.Generator) -> Image.Image:
    """Light from one side, colour cast, blur, noise, and at times no colour."""
    image = face.image.reduce(SCALE).filter(ImageFilter.BoxBlur(max(rng.normal(0, 0.9), 0)))
    angle, side = rng.normal(-1.57, 0.9), abs(rng.normal(0, 0.22))
    low, high = face.outline[0].min(0), face.outline[0].max(0)
    x, y = (2 * np.arange(SIDE)[:, None] - low - high).T / (high - low)[:, None]
    y = y[:, None]  # x and y go from -1 to 1 across the head
    light = 1 + np.clip(side * (x * np.cos(angle) + y * np.sin(angle)), -0.5, 0.5)
    light += 0.3 * np.sqrt(np.maximum(1 - x**2 - y**2, 0)) - 0.22  # a round head is darker at its edge
    gain = np.exp(rng.normal(0, 0.12) + rng.normal(0, 0.04, 3)) / 255
    pixels = (np.asarray(image) * (light[..., None] * gain).astype(np.float32)).clip(0, 1)
    pixels = 255 * pixels ** np.float32(np.exp(rng.normal(0, 0.15)))
    if rng.random() < 0.12:
        pixels[:] = (pixels @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
    pixels += rng.standard_normal((SIDE, SIDE, 1), np.float32) * np.float32(abs(rng.normal(0, 3.5)))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
