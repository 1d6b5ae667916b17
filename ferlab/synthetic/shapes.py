"""Curves, strokes and ovals as polygons, of which a face is drawn.

face.paint(colour, (1, oval(0, 0, 10, 6)), (0.5, stroke([(-5, 0), (5, 0)], 2)))     # opacity, points (N, 2)
"""

import functools

import numpy as np

CIRCLE = np.stack([np.cos(np.arange(24) * np.pi / 12), np.sin(np.arange(24) * np.pi / 12)], 1)
Shape = tuple[float, np.ndarray]  # opacity, points (N, 2)


@functools.cache
def spline(n: int, closed: bool) -> np.ndarray:
    """Matrix (m, n) that draws a Catmull-Rom curve through n points."""
    p = np.eye(n)
    p = np.concatenate([p[-1:], p, p[:2]] if closed else [2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    a, b, c, d, t = p[:-3], p[1:-2], p[2:-1], p[3:], np.arange(6)[:, None, None] / 6
    curve = b + t / 2 * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    curve = curve.transpose(1, 0, 2).reshape(-1, n)
    return curve if closed else np.concatenate([curve, p[-2:-1]])


def curve(points: list | np.ndarray, *, closed: bool = False) -> np.ndarray:
    return spline(len(points), closed) @ points


@functools.cache
def widths(n: int, taper: tuple) -> np.ndarray:
    return np.interp(np.linspace(0, len(taper) - 1, n), range(len(taper)), taper)


def stroke(points: list | np.ndarray, width: float, taper: tuple = (0.2, 1, 0.2)) -> np.ndarray:
    """A curve of `width` as a polygon; `taper` is its relative width along the way."""
    p = curve(points)
    along = np.empty_like(p)
    along[1:-1], along[0], along[-1] = p[2:] - p[:-2], p[1] - p[0], p[-1] - p[-2]
    half = width / 2 * widths(len(p), taper) / (np.hypot(*along.T) + 1e-6)
    edge = along[:, ::-1] * (1, -1) * half[:, None]
    return np.concatenate([p + edge, (p - edge)[::-1]])


def oval(x: float, y: float, rx: float, ry: float) -> np.ndarray:
    return (x, y) + CIRCLE * (rx, ry)


def pair(alpha: float, points: np.ndarray) -> list[Shape]:
    return [(alpha, points), (alpha, points * (-1, 1))]
