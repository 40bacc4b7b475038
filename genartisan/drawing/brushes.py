"""Shared tools of the drawn styles: noise, palettes, cells and brush strokes, on float32 in [0, 1]."""

# mypy: disable-error-code="no-any-return"
# Arithmetic on arrays of any number type is typed Any by numpy.

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]  # a picture (H, W, 3) or a map (H, W), float32 in [0, 1] unless said otherwise
Colour = tuple[float, float, float]


def grey(photo: Array) -> Array:
    """Luminance of a picture: (H, W, 3) -> (H, W)."""
    return cv2.cvtColor(photo.astype(np.float32), cv2.COLOR_RGB2GRAY)


def blur(picture: Array, sigma: float) -> Array:
    """Gaussian blur with a standard deviation in pixels."""
    return cv2.GaussianBlur(picture.astype(np.float32), (0, 0), sigma)


def stretched(light: Array) -> Array:
    """Contrast stretching: moves the 2nd and 98th percentiles towards 0 and 1."""
    low, high = np.percentile(light, (2, 98))
    gain = min(1 / max(high - low, 1e-3), 2.5)  # bounded, so as not to amplify sensor noise
    return np.clip((light - (low + high) / 2) * gain + 0.5, 0, 1).astype(np.float32)


def fractal_noise(rng: np.random.Generator, shape: tuple[int, int], scale: float, octaves: int = 3) -> Array:
    """Fractal noise (H, W), normalised to [0, 1]; `scale` is the size of its largest features in pixels."""
    height, width = shape
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        step = max(2.0, scale / 2**octave)
        grid = rng.standard_normal((int(height / step) + 3, int(width / step) + 3)).astype(np.float32)
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) / 2**octave
    return (total - total.min()) / (np.ptp(total) + 1e-6)


def palette(light: Array, colours: list[Colour]) -> Array:
    """Colours a map (H, W) by a ramp from dark to bright: (H, W, 3)."""
    table, at = np.array(colours, np.float32), np.linspace(0, 1, len(colours))
    return np.stack([np.interp(light, at, table[:, channel]) for channel in range(3)], -1).astype(np.float32)


def saturated(photo: Array, gain: float) -> Array:
    """The picture with its saturation multiplied by `gain`."""
    light = grey(photo)[..., None]
    return np.clip(light + (photo - light) * gain, 0, 1)


def contour_angle(light: Array, sigma: float = 3.0) -> Array:
    """The direction along a map's edges, in radians (H, W), from the smoothed structure tensor."""
    light = light.astype(np.float32)
    gx, gy = cv2.Sobel(light, cv2.CV_32F, 1, 0), cv2.Sobel(light, cv2.CV_32F, 0, 1)
    xx, yy, xy = blur(gx * gx, sigma), blur(gy * gy, sigma), blur(gx * gy, sigma)
    return 0.5 * np.arctan2(2 * xy, xx - yy) + np.pi / 2


def smeared(values: Array, angle: Array, reach: float, taps: int = 9) -> Array:
    """Line integral convolution: the mean of a map (H, W) over `reach` pixels along an angle (H, W, radians)."""
    y, x = np.mgrid[: angle.shape[0], : angle.shape[1]].astype(np.float32)
    u, v = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    values, total = values.astype(np.float32), np.zeros(angle.shape, np.float32)
    for shift in np.linspace(-reach / 2, reach / 2, taps, dtype=np.float32):
        total += cv2.remap(values, x + shift * u, y + shift * v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return total / taps


def flow(light: Array, rng: np.random.Generator, sigma: float) -> Array:
    """The direction along a map's contours, in radians (H, W); in flat areas, along those of smooth noise."""
    return contour_angle(blur(light, 1.5) + 0.12 * fractal_noise(rng, light.shape, 70, 2), sigma)


def edges(light: Array, sigma: float = 1.0) -> Array:
    """Edge strength (H, W), non-negative."""
    smooth = blur(light, sigma)
    return np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))


def swirls(rng: np.random.Generator, shape: tuple[int, int], count: int, radius: float) -> Array:
    """The angle (H, W) of a wavy flow with `count` whirls of about `radius` pixels."""
    height, width = shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    wave = fractal_noise(rng, shape, 3 * radius, 2) * 2.0 + rng.uniform(0, np.pi)
    u, v = np.cos(wave), np.sin(wave)
    for _ in range(count):
        dx, dy, turn = x - rng.uniform(0, width), y - rng.uniform(0, height), rng.choice((-1, 1))
        distance = np.hypot(dx, dy) + 1e-3
        pull = 6 * np.exp(-((distance / radius) ** 2))
        u, v = u - turn * pull * dy / distance, v + turn * pull * dx / distance
    return np.arctan2(v, u)


def cells(rng: np.random.Generator, shape: tuple[int, int], size: float, regular: float) -> tuple[Array, Array]:
    """Voronoi cells about `size` pixels wide; `regular` is 1 for squares, 0 for scattered shards.

    Returns each pixel's cell (H, W, int32, from 0) and its distance to the cell's border in pixels.
    """
    height, width = shape
    rows, columns = np.mgrid[size / 2 : height : size, size / 2 : width : size]
    points = np.stack([rows, columns], -1).reshape(-1, 2)
    points = points + rng.uniform(-0.5, 0.5, points.shape) * size * (1 - regular)
    seeds = np.ones(shape, np.uint8)
    seeds[points[:, 0].astype(int) % height, points[:, 1].astype(int) % width] = 0
    metric = cv2.DIST_C if regular > 0.6 else cv2.DIST_L2  # the chessboard distance makes square cells
    _, labels = cv2.distanceTransformWithLabels(seeds, metric, 5, labelType=cv2.DIST_LABEL_PIXEL)
    border = (labels != np.roll(labels, 1, 0)) | (labels != np.roll(labels, 1, 1))
    distance = cv2.distanceTransform((~border).astype(np.uint8), cv2.DIST_L2, 3)
    return labels - 1, distance


def cell_means(values: Array, labels: Array) -> Array:
    """The mean colour of each cell, (cells, 3), of a picture (H, W, 3)."""
    flat, count = labels.ravel(), labels.max() + 1
    area = np.bincount(flat, minlength=count) + 1e-6
    return np.stack([np.bincount(flat, values[..., c].ravel(), count) / area for c in range(3)], -1).astype(np.float32)


def strokes(
    canvas: Array,
    colours: Array,
    angle: Array,
    rng: np.random.Generator,
    *,
    length: float,
    width: float,
    spacing: float,
    jitter: float,
    bend: bool = False,
) -> Array:
    """Paints brush strokes on a canvas (H, W, 3), about `spacing` pixels apart, in random order.

    A stroke takes the colour of `colours` (H, W, 3) at its middle, jittered by up to `jitter`, and runs along `angle`
    (H, W, radians) at its middle or, with `bend`, along its path. `length` and `width` are in pixels.
    """
    height, wide = angle.shape
    rows, columns = np.mgrid[0:height:spacing, 0:wide:spacing]
    at = np.stack([columns, rows], -1).reshape(-1, 2) + rng.uniform(-spacing, spacing, (rows.size, 2))
    at = np.clip(at[rng.permutation(len(at))], 0, (wide - 1, height - 1)).astype(np.float32)
    paths = [at]
    for way in (-1, 1):
        here, points = at, []
        direction = angle[at[:, 1].astype(int), at[:, 0].astype(int)]
        for _ in range(3 if bend else 1):
            step = length / 2 / (3 if bend else 1)
            here = here + way * step * np.stack([np.cos(direction), np.sin(direction)], -1)
            points.append(here)
            if bend:
                inside = np.clip(here, 0, (wide - 1, height - 1)).astype(int)
                direction = angle[inside[:, 1], inside[:, 0]]
        paths = [*points[::-1], *paths] if way < 0 else [*paths, *points]
    lines = np.round(np.stack(paths, 1) * 8).astype(np.int32)  # cv2 takes 1/8 pixels with shift=3
    shade = rng.uniform(-jitter, jitter, (len(at), 1)) + rng.uniform(-jitter, jitter, (len(at), 3)) / 4
    paint = np.clip(colours[at[:, 1].astype(int), at[:, 0].astype(int)] + shade, 0, 1).astype(float)
    thick = np.maximum(1, np.round(width * rng.uniform(0.7, 1.3, len(at)))).astype(int)
    canvas = np.ascontiguousarray(canvas, np.float32).copy()
    for line, colour, size in zip(lines, paint.tolist(), thick.tolist(), strict=True):
        cv2.polylines(canvas, [line], False, colour, size, cv2.LINE_8, 3)
    return canvas
