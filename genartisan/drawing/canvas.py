"""A canvas for a picture and its person mask.

Everything is a polygon with a colour or a texture, painted on picture and mask alike, so the mask is exact. Points are
(x, y) in pixels, colours are RGB in [0, 1].
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]  # float32 unless said otherwise
Rng = np.random.Generator
SUBPIXEL = 4  # bits: cv2 draws polygons at 1/16 pixel


class Canvas:
    """A picture and its person mask.

    Attributes:
        image: RGB in [0, 1], ``(H, W, 3)``.
        person: share of each pixel that belongs to a person, in [0, 1], ``(H, W)``.
        light: direction of the light, a unit vector in the picture plane, ``(2,)``.
    """

    def __init__(self, image: Array, light: Array) -> None:
        self.image: Array = np.ascontiguousarray(image, np.float32)
        self.person: Array = np.zeros(image.shape[:2], np.float32)  # (H, W)
        self.light = light

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.image.shape[0], self.image.shape[1]

    def paint(
        self,
        points: Array,
        colour: Array,
        *,
        person: bool,
        opacity: float = 1.0,
        soft: float = 0.0,
        relief: float = 0.0,
    ) -> None:
        """Fills a polygon.

        Args:
            points: the corners, ``(K, 2)``.
            colour: ``(3,)``, or a texture of the canvas's size, ``(H, W, 3)``.
            person: whether the polygon belongs to a person; if not, it occludes people behind it.
            opacity: 0 to 1; below 0.5 the polygon is a shadow and leaves the mask unchanged.
            soft: blur of the outline, pixels.
            relief: strength of the shading that rounds the shape, 0 to 1.
        """
        height, width = self.size
        margin = 2 + int(3 * soft)
        low = np.maximum(np.floor(points.min(0)).astype(int) - margin, 0)
        high = np.minimum(np.ceil(points.max(0)).astype(int) + margin + 1, (width, height))
        if (low >= high).any():
            return
        box = slice(low[1], high[1]), slice(low[0], high[0])
        stencil = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)  # (h, w)
        corners = np.clip((points - low) * 2**SUBPIXEL, -(2**20), 2**20).round().astype(np.int32)
        cv2.fillPoly(stencil, [corners], 255, cv2.LINE_AA, SUBPIXEL)
        cover: Array = stencil.astype(np.float32) / 255
        if soft > 0:
            cover = cv2.GaussianBlur(cover, (0, 0), soft)
        fill: Array = colour[box] if colour.ndim == 3 else colour  # (h, w, 3) or (3,)
        if relief > 0:
            fill = np.minimum(fill * self._relief(cover, points, low, relief)[..., None], 1)
        alpha = (cover * opacity)[..., None]  # (h, w, 1)
        self.image[box] += alpha * (fill - self.image[box])
        if opacity >= 0.5:
            self.person[box] += cover * (float(person) - self.person[box])

    def _relief(self, cover: Array, points: Array, low: NDArray[np.int_], strength: float) -> Array:
        """Brightness of a rounded shape, lit from one side and darker towards its outline, ``(h, w)``."""
        centre, radius = points.mean(0) - low, max(float(np.ptp(points, 0).max()) / 2, 1.0)
        x = (np.arange(cover.shape[1], dtype=np.float32) - centre[0]) / radius  # (w,)
        y = (np.arange(cover.shape[0], dtype=np.float32) - centre[1]) / radius  # (h,)
        slope = x[None] * self.light[0] + y[:, None] * self.light[1]  # (h, w), about -1 to 1
        # Blurred at a low resolution: it is smooth anyway.
        small = cv2.resize(cover, (12, 12), interpolation=cv2.INTER_AREA)
        round_ = cv2.resize(cv2.blur(small, (5, 5)), cover.shape[::-1])  # (h, w)
        return np.asarray(1 + strength * np.clip(0.45 * slope + 0.9 * (round_ - 0.75), -1, 1), np.float32)


def noise(rng: Rng, size: tuple[int, int], cell: tuple[float, float], octaves: int = 1) -> Array:
    """Smooth noise in about [-1, 1], ``(H, W)``; ``cell`` is the height and width of its features in pixels."""
    height, width = size
    total = np.zeros(size, np.float32)
    for octave in range(octaves):
        shape = [max(2, int(n / max(c / 2**octave, 1)) + 2) for n, c in zip(size, cell, strict=True)]
        grid = rng.uniform(-1, 1, shape).astype(np.float32)
        interpolation = cv2.INTER_LINEAR if octave else cv2.INTER_CUBIC  # kinks do not show in finer octaves
        total += cv2.resize(grid, (width, height), interpolation=interpolation) / 2**octave
    return total  # (H, W)


def ellipse(centre: Array, radii: tuple[float, float], angle: float = 0.0) -> Array:
    """Corners of an ellipse, ``(24, 2)``; ``angle`` in radians."""
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    x, y = radii[0] * np.cos(turn), radii[1] * np.sin(turn)
    c, s = np.cos(angle), np.sin(angle)
    return np.asarray(centre + np.stack((c * x - s * y, s * x + c * y), 1), np.float32)


def limb(start: Array, end: Array, start_radius: float, end_radius: float) -> Array:
    """Corners of a tapered capsule, ``(16, 2)``."""
    along = np.arctan2(end[1] - start[1], end[0] - start[0])
    turn = np.linspace(np.pi / 2, 3 * np.pi / 2, 8) + along
    first = start + start_radius * np.stack((np.cos(turn), np.sin(turn)), 1)
    last = end - end_radius * np.stack((np.cos(turn), np.sin(turn)), 1)
    return np.concatenate((first, last)).astype(np.float32)


def smooth(corners: Array, steps: int = 6) -> Array:
    """A closed Catmull-Rom curve through ``corners``, ``(K, 2)`` to ``(K * steps, 2)``."""
    before, after, beyond = np.roll(corners, 1, 0), np.roll(corners, -1, 0), np.roll(corners, -2, 0)
    t = np.linspace(0, 1, steps, endpoint=False)[:, None, None]
    curve = 0.5 * (
        2 * corners
        + t * (after - before)
        + t**2 * (2 * before - 5 * corners + 4 * after - beyond)
        + t**3 * (3 * corners - before - 3 * after + beyond)
    )  # (steps, K, 2)
    return np.asarray(curve.transpose(1, 0, 2).reshape(-1, 2), np.float32)


def moved(point: Array, x: float, y: float) -> Array:
    """Points moved right by ``x`` and down by ``y`` pixels."""
    return np.asarray(point + np.array((x, y), np.float32))


def grey(value: float) -> Array:
    """A grey colour, ``(3,)``."""
    return np.full(3, value, np.float32)


def any_colour(rng: Rng) -> Array:
    """A random colour, ``(3,)``; 30 % are nearly grey."""
    if rng.random() < 0.3:
        return np.clip(grey(rng.uniform(0.03, 0.97)) + rng.uniform(-0.05, 0.05, 3), 0, 1).astype(np.float32)
    hsv = np.array([[[rng.uniform(0, 360), rng.uniform(0.2, 1), rng.uniform(0.15, 1)]]], np.float32)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0], np.float32)


def cloth(rng: Rng, size: tuple[int, int], unit: float) -> Array:
    """A fabric with folds, often with stripes, checks, dots or blotches, ``(H, W, 3)``.

    ``unit``, the head height in pixels, sets the pattern's scale.
    """
    height, width = size
    base, second = any_colour(rng), any_colour(rng)
    field = np.broadcast_to(base, (height, width, 3)).astype(np.float32)
    kind = rng.random()
    if kind < 0.4:
        period, angle = unit * rng.uniform(0.06, 0.6), rng.uniform(0, np.pi)
        x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        waves = np.sin(
            (x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period + 2 * noise(rng, size, (unit, unit))
        )
        across = np.sin((y * np.cos(angle) - x * np.sin(angle)) * 2 * np.pi / period)
        if kind < 0.2:
            pattern = waves > rng.uniform(-0.5, 0.7)
        elif kind < 0.3:
            pattern = (waves > 0) ^ (across > 0)
        else:
            pattern = waves + across > 1.2
        field = np.where(pattern[..., None], second, field)
    elif kind < 0.5:
        blotches = noise(rng, size, (unit * 0.3, unit * 0.3), 2) > 0.1
        field = np.where(blotches[..., None], second, field)
    folds = noise(rng, size, (unit * rng.uniform(0.3, 1.2), unit * rng.uniform(0.15, 0.5)), 3)
    return np.clip(field * (1 + rng.uniform(0.05, 0.25) * folds[..., None]), 0, 1).astype(np.float32)
