"""Stone wall, desert sand, gold, snow and ice, and blueprint; drawn by `styles.draw`."""

# mypy: disable-error-code="no-any-return"
# Arithmetic on arrays of any number type is typed Any by numpy.

from __future__ import annotations

import cv2
import numpy as np

from genartisan.drawing.brushes import Array, blur, cell_means, cells, edges, fractal_noise, grey, palette, stretched


def stone_wall(photo: Array, rng: np.random.Generator) -> Array:
    """Courses of rough blocks, grey to brown, in dark mortar."""
    shape = photo.shape[:2]
    light = stretched(blur(grey(photo), 1.2))
    block, joint = _courses(rng, shape)
    count = block.max() + 1
    face = 1 - np.exp(-np.maximum(joint - 1.2, 0) / 1.6)  # 0 in the mortar, 1 on the face of a block
    lean = rng.normal(0, 0.1, (2, count))[:, block]  # a random slope per block
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    relief = 2.2 * face + 3.4 * fractal_noise(rng, shape, 9, 3) * face + 1.2 * fractal_noise(rng, shape, 3, 2)
    shine = _shade(relief.astype(np.float32), -2.3) + lean[0] * (x % 24 - 12) / 24 + lean[1] * (y % 16 - 8) / 16
    mean = cell_means(np.repeat(light[..., None], 3, -1), block)[:, 0]
    tone = 0.08 + 0.5 * light + 0.26 * mean[block] + rng.normal(0, 0.07, count)[block] + 0.4 * shine
    tone = np.clip(tone, 0, 1)
    greys = palette(tone, [(0.1, 0.1, 0.1), (0.34, 0.34, 0.34), (0.6, 0.6, 0.59), (0.88, 0.87, 0.85)])
    browns = palette(tone, [(0.1, 0.08, 0.06), (0.4, 0.31, 0.23), (0.68, 0.56, 0.43), (0.92, 0.85, 0.72)])
    brown = rng.beta(0.8, 0.8, count)[block][..., None]
    stone = greys * (1 - brown) + browns * brown
    mortar = (0.07 + 0.1 * light + 0.08 * fractal_noise(rng, shape, 3, 2))[..., None] * np.array((1, 0.92, 0.82))
    solid = np.clip((joint - 0.7) * 0.8, 0, 1)[..., None]
    return stone * solid + mortar * (1 - solid)


def _courses(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[Array, Array]:
    """The block of each pixel (H, W, from 0) and its distance to the joint in pixels, non-negative."""
    height, width = shape
    margin = 8
    y, x = np.mgrid[:height, :width].astype(np.float32)
    y = y + 5 * (fractal_noise(rng, shape, 30, 3) - 0.5) + margin
    x = x + 6 * (fractal_noise(rng, shape, 14, 3) - 0.5) + margin
    beds = np.cumsum(np.r_[-rng.uniform(0, 14), rng.uniform(12, 18, (height + 2 * margin) // 12 + 2)])
    course = np.searchsorted(beds, y, "right") - 1
    across = np.arange(width + 2 * margin)
    label, left, right = (np.zeros((len(beds), len(across))) for _ in range(3))
    first = 0
    for row in range(len(beds)):
        joints = np.cumsum(np.r_[-rng.uniform(0, 26), rng.uniform(20, 34, len(across) // 20 + 3)])
        stone = np.searchsorted(joints, across, "right") - 1
        label[row], left[row], right[row] = first + stone, joints[stone], joints[stone + 1]
        first += int(stone.max()) + 1
    at = course, np.floor(x).astype(int)
    aside = np.maximum(np.minimum(x - left[at], right[at] - x), 0.01)
    above = np.maximum(np.minimum(y - beds[course], beds[course + 1] - y), 0.01)
    return label[at].astype(np.int64), (aside**-4 + above**-4) ** -0.25  # a soft minimum, which rounds the corners


def _shade(height: Array, angle: float) -> Array:
    """Shading of a relief (H, W, pixels) by a light at `angle` (radians, 0 is right): about -1 to 1."""
    dx, dy = cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=1 / 8)
    return np.tanh(-(dx * np.cos(angle) + dy * np.sin(angle)))


def desert_sand(photo: Array, rng: np.random.Generator) -> Array:
    """Wind-blown ripples of sand, lit from one side, ochre to pale yellow."""
    shape = photo.shape[:2]
    light = stretched(blur(grey(photo), 1.5))
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    wind, period = rng.uniform(0.9, 2.2), rng.uniform(6, 9)
    course = x * np.cos(wind) + y * np.sin(wind)
    bend = 24 * fractal_noise(rng, shape, 70, 2) + 5 * fractal_noise(rng, shape, 20, 2) + 4 * light
    turn = ((course + bend) / period) % 1
    # Ripples rise slowly and fall steeply: a wide lit slope and a narrow shadow.
    ridge = np.where(turn < 0.68, turn / 0.68, (1 - turn) / 0.32)
    ridge = blur(ridge.astype(np.float32), 0.7) * (0.7 + 0.7 * fractal_noise(rng, shape, 34, 2))
    dune = blur(light, 3) * 5
    lit = _shade((2.6 * ridge + dune).astype(np.float32), wind + np.pi)
    grain = rng.normal(0, 0.055, shape) + 0.1 * (fractal_noise(rng, shape, 3, 1) - 0.5)
    tone = np.clip(0.2 + 0.5 * light + 0.42 * lit + 0.1 * (ridge - 0.5) + grain, 0, 1)
    sand = [
        (0.3, 0.16, 0.08),
        (0.56, 0.34, 0.16),
        (0.8, 0.57, 0.29),
        (0.93, 0.76, 0.45),
        (0.99, 0.91, 0.66),
        (1, 0.97, 0.82),
    ]
    return palette(tone, sand)


def golden(photo: Array, rng: np.random.Generator) -> Array:
    """Hammered, polished gold with dents and swirls."""
    shape = photo.shape[:2]
    light = stretched(blur(grey(photo), 1.2))
    dents, rim = cells(rng, shape, rng.uniform(9, 13), 0.35)
    bowl = blur(np.minimum(rim, 5), 0.9)
    swirl = np.sin(2 * np.pi * (fractal_noise(rng, shape, 44, 2) * 3.2 + light * 1.6))
    relief = (0.8 * bowl + 1.3 * swirl + 3.0 * blur(light, 2)).astype(np.float32)
    dx, dy = cv2.Sobel(relief, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(relief, cv2.CV_32F, 0, 1, scale=1 / 8)
    # Metal reflects its surroundings: brightness oscillates with the slope, from black to white.
    room = rng.uniform(-2.7, -2.0)
    slope = -(dx * np.cos(room) + dy * np.sin(room))
    mirror = 0.5 + 0.5 * np.sin(2.2 * slope + 1.6 * (light - 0.5) + 0.6 * np.sin(3 * (dx - dy)))
    jitter = rng.normal(0, 0.05, dents.max() + 1)[dents]
    tone = np.clip(0.03 + 0.52 * light + 0.6 * (mirror - 0.35) + jitter, 0, 1)
    gold = [
        (0.07, 0.035, 0.005),
        (0.3, 0.16, 0.01),
        (0.62, 0.38, 0.03),
        (0.88, 0.64, 0.1),
        (1, 0.85, 0.33),
        (1, 0.95, 0.68),
    ]
    glint = np.clip((mirror * (0.55 + 0.45 * light) - 0.8) * 7, 0, 1)
    return palette(tone, gold) + blur(glint, 0.5)[..., None] * np.array((0.35, 0.4, 0.55)) * 0.9


def snow_ice(photo: Array, rng: np.random.Generator) -> Array:
    """Frost on ice: needles branching at 60 degrees, long cracks, blue shadows and snow."""
    shape = photo.shape[:2]
    light = stretched(blur(grey(photo), 1.5))
    cloud = fractal_noise(rng, shape, 36, 4)
    ice = [(0.1, 0.24, 0.46), (0.3, 0.52, 0.75), (0.56, 0.76, 0.9), (0.8, 0.91, 0.97), (0.96, 0.98, 1)]
    picture = palette(np.clip(0.1 + 0.74 * light + 0.3 * (cloud - 0.5), 0, 1), ice)
    shards, rim = cells(rng, shape, rng.uniform(34, 52), 0.0)
    pane = rng.normal(0, 0.06, shards.max() + 1)[shards][..., None]
    crack = np.exp(-((np.minimum(rim, 9) / 0.8) ** 2))[..., None]
    picture = picture + pane - crack * np.array((0.34, 0.24, 0.14))
    picture = picture + 0.35 * np.roll(crack, (1, 1), (0, 1)) * (1 - crack)
    frost = np.zeros(shape, np.float32)
    cv2.polylines(frost, _needles(rng, shape), False, 1.0, 1, cv2.LINE_AA, 3)
    white = np.clip(frost * (0.62 + 0.25 * light), 0, 1)[..., None]
    shadow = np.roll(frost, (1, 1), (0, 1))[..., None] * (1 - frost[..., None])
    picture = picture * (1 - shadow * np.array((0.26, 0.17, 0.08)))
    picture = picture + (np.array((0.97, 0.99, 1)) - picture) * white
    snow = (rng.random(shape) > 0.985 - 0.02 * light).astype(np.float32)
    return picture + (rng.normal(0, 0.03, shape) + 0.5 * blur(snow, 0.5))[..., None]


def _needles(rng: np.random.Generator, shape: tuple[int, int]) -> list[Array]:
    """Frost as polylines in eighths of a pixel: six-armed stars with side needles at 60 degrees."""
    height, width = shape
    stars = max(3, height * width // 700)
    middle = rng.uniform(0, 1, (stars, 1, 2)) * (width, height)
    arm = rng.uniform(0, np.pi / 3, (stars, 1)) + np.arange(6) * np.pi / 3
    reach = rng.uniform(9, 26, (stars, 1)) * rng.uniform(0.6, 1, (stars, 6))
    lines = [_rays(np.broadcast_to(middle, (stars, 6, 2)), arm, reach)]
    for part in (0.24, 0.5, 0.76):
        foot = middle + part * reach[..., None] * np.stack([np.cos(arm), np.sin(arm)], -1)
        for side in (-np.pi / 3, np.pi / 3):
            lines.append(_rays(foot, arm + side, reach * (1 - part) * 0.6))
    return list(np.concatenate(lines))


def _rays(foot: Array, angle: Array, reach: Array) -> Array:
    """Straight lines from `foot` (..., 2) along an angle: int32 (n, 2 points, 2) in eighths of a pixel."""
    tip = foot + reach[..., None] * np.stack([np.cos(angle), np.sin(angle)], -1)
    return np.round(np.stack([foot, tip], -2).reshape(-1, 2, 2) * 8).astype(np.int32)


def blueprint(photo: Array, rng: np.random.Generator) -> Array:
    """White contours and dimension lines on deep blue paper with a fine grid."""
    shape = photo.shape[:2]
    light = stretched(blur(grey(photo), 1.6))
    y, x = np.mgrid[: shape[0], : shape[1]]
    fine, offset = int(rng.integers(7, 11)), rng.integers(0, 40, 2)
    across, down = x + offset[0], y + offset[1]
    paper = palette(
        np.clip(0.12 + 0.62 * light + 0.1 * (fractal_noise(rng, shape, 40, 4) - 0.5), 0, 1),
        [(0.01, 0.05, 0.3), (0.03, 0.15, 0.52), (0.08, 0.28, 0.7), (0.2, 0.44, 0.84)],
    )
    grid = np.maximum((across % fine == 0) | (down % fine == 0), 0) * 0.24
    grid = np.maximum(grid, ((across % (4 * fine) == 0) | (down % (4 * fine) == 0)) * 0.46)
    # The photo's contours, thinner lines at each step of its lightness, and hatching in the dark.
    outline = np.maximum(np.clip(edges(light, 0.6) * 0.7 - 0.3, 0, 0.6), _border(np.floor(blur(light, 1.2) * 1.999)))
    step = 0.6 * _border(np.floor(blur(light, 2) * 3.999))
    hatch = (((x + y) % 5) == 0) * 0.4 * (light < 0.3)
    dimensions = np.zeros(shape, np.float32)
    for _ in range(max(3, shape[0] * shape[1] // 4000)):
        _draw_dimension(dimensions, rng)
    white = np.maximum.reduce([grid, outline, step, hatch, blur(dimensions, 0.4) * 0.95])[..., None]
    return paper + (np.array((0.88, 0.97, 1)) - paper) * white


def _border(level: Array) -> Array:
    """Thin lines at the steps of a map (H, W): (H, W) in [0, 1]."""
    change = (level != np.roll(level, 1, 0)) | (level != np.roll(level, 1, 1))
    change[0], change[:, 0] = False, False
    return np.clip(blur(change.astype(np.float32), 0.5) * 1.5, 0, 1)


def _draw_dimension(lines: Array, rng: np.random.Generator) -> None:
    """Draws in place a circle with centre lines, or a horizontal or vertical dimension line with arrows."""
    height, width = lines.shape
    at, reach = np.array((rng.integers(width), rng.integers(height))), int(rng.integers(7, 22))
    right, down = np.array((1, 0)), np.array((0, 1))
    if rng.random() < 0.45:
        cv2.circle(lines, at.tolist(), reach, 1.0, 1, cv2.LINE_AA)
        for way in (right, down):
            cv2.line(lines, (at - way * (reach + 4)).tolist(), (at + way * (reach + 4)).tolist(), 0.7, 1)
        return
    way, side = (right, down) if rng.random() < 0.5 else (down, right)
    for sign in (-1, 1):
        tip = at + sign * way * reach
        cv2.line(lines, at.tolist(), tip.tolist(), 1.0, 1)
        cv2.line(lines, (tip - side * 5).tolist(), (tip + side * 5).tolist(), 1.0, 1)
        for flank in (-2, 2):
            cv2.line(lines, tip.tolist(), (tip - sign * way * 4 + side * flank).tolist(), 1.0, 1, cv2.LINE_AA)
