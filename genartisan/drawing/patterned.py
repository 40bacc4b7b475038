"""Fire, glass, neon, pop art, Hokusai, mosaic, crystal, pixels and leaves; drawn by `styles.draw`."""

# mypy: disable-error-code="no-any-return"
# Arithmetic on arrays of any number type is typed Any by numpy.

from __future__ import annotations

import cv2
import numpy as np

from genartisan.drawing.brushes import (
    Array,
    blur,
    cell_means,
    cells,
    edges,
    fractal_noise,
    grey,
    palette,
    saturated,
    stretched,
)

GAME_COLOURS = np.array(
    [
        (0.05, 0.04, 0.12), (0.2, 0.14, 0.42), (0.12, 0.2, 0.65), (0.12, 0.45, 0.95), (0.25, 0.8, 1), (0.7, 0.95, 1),
        (0, 0.38, 0.3), (0, 0.6, 0.2), (0.3, 0.9, 0.2), (0.75, 1, 0.3), (1, 0.93, 0.2), (1, 0.65, 0.05),
        (1, 0.4, 0.1), (0.9, 0.08, 0.15), (0.55, 0.05, 0.2), (0.42, 0.22, 0.1), (0.72, 0.42, 0.2), (1, 0.78, 0.58),
        (0.5, 0.15, 0.65), (0.9, 0.25, 0.75), (1, 0.62, 0.75), (0.36, 0.38, 0.48), (0.68, 0.7, 0.78), (1, 1, 0.96),
    ],
    np.float32,
)  # fmt: skip


def fire(photo: Array, rng: np.random.Generator) -> Array:
    """Tongues of flame, hotter where the photo is bright."""
    light, (height, width) = stretched(grey(photo)), photo.shape[:2]
    # Tongues are the ridges of noise stretched upwards and bent sideways.
    tall = fractal_noise(rng, (max(8, height // 3), width), rng.uniform(14, 26), 4)
    tall = cv2.resize(tall, (width, height), interpolation=cv2.INTER_CUBIC)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    bend = (fractal_noise(rng, light.shape, 34) - 0.5) * 30
    tongues = (
        1
        - np.abs(
            cv2.remap(tall, (x + bend).astype(np.float32), y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT) - 0.5
        )
        * 3.2
    )
    heat = np.clip(0.75 * np.clip(tongues, 0, 1) ** 1.5 + 0.55 * light - 0.12, 0, 1)
    return palette(heat, [(0.05, 0, 0), (0.4, 0.03, 0), (0.85, 0.2, 0), (1, 0.5, 0.02), (1, 0.8, 0.2), (1, 1, 0.75)])


def stained_glass(photo: Array, rng: np.random.Generator) -> Array:
    """Shards of jewel-coloured glass in dark lead."""
    shards, distance = cells(rng, photo.shape[:2], rng.uniform(13, 22), 0.1)
    glass = cell_means(saturated(photo, 2.2), shards)
    jewels = np.array(
        [(0.8, 0.08, 0.1), (0.08, 0.2, 0.75), (0.95, 0.72, 0.1), (0.1, 0.55, 0.25), (0.5, 0.1, 0.55)], np.float32
    )
    tint = jewels[rng.integers(len(jewels), size=len(glass))] * rng.uniform(0.6, 1.25, (len(glass), 1))
    glass = np.clip((0.55 * glass + 0.45 * tint - 0.5) * 1.5 + 0.55, 0, 1)
    lit = glass[shards] * (0.8 + 0.35 * np.clip(distance / 8, 0, 1))[..., None]  # brighter in a pane's middle
    lead = np.clip((distance - rng.uniform(0.2, 1.0)) * 1.2, 0, 1)[..., None]
    return lit * lead + 0.04 * (1 - lead)


def neon(photo: Array, rng: np.random.Generator) -> Array:
    """Glowing tubes on black."""
    shape = photo.shape[:2]
    # Tubes follow the photo's contours and, in flat areas, those of smooth noise.
    height = stretched(blur(grey(photo), 2.0)) * 1.2 + fractal_noise(rng, shape, rng.uniform(40, 70), 2) * 1.6
    level = (height * rng.uniform(2.0, 3.2)).astype(np.float32)
    slope = np.hypot(cv2.Sobel(level, cv2.CV_32F, 1, 0), cv2.Sobel(level, cv2.CV_32F, 0, 1)) / 8 + 1e-3
    tube = np.exp(-((np.abs(level - np.round(level)) / slope / 1.1) ** 2)) * np.clip(slope * 25, 0, 1)
    hue = (fractal_noise(rng, shape, 60, 2) * 1.1 + rng.random()) % 1
    hue = np.where(hue < 0.17, hue + 0.75, hue) % 1  # pink, blue, green, violet rather than yellow
    full = np.ones_like(hue)
    colour = cv2.cvtColor(np.stack([hue * 360, full * 0.95, full], -1).astype(np.float32), cv2.COLOR_HSV2RGB)
    lit = colour * tube[..., None]
    glow = blur(lit, 2.5) * 1.3 + blur(lit, 8) * 1.2
    return 0.02 + glow + lit * 0.6 + 0.55 * (tube**3)[..., None]


def pop_art(photo: Array, rng: np.random.Generator) -> Array:
    """Halftone dots in two or three flat colours, with dark outlines."""
    light = stretched(blur(grey(photo), 1.2))
    period, turn = rng.uniform(5, 8), rng.uniform(0, np.pi / 2)
    y, x = np.mgrid[: light.shape[0], : light.shape[1]].astype(np.float32)
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    radius = np.hypot((u % period) - period / 2, (v % period) - period / 2) / period
    colours = np.array(
        [(1, 0.16, 0.5), (1, 0.88, 0.08), (0.05, 0.62, 0.95), (0.95, 0.12, 0.12), (0.2, 0.8, 0.35)], np.float32
    )
    ground, ink, flat = colours[rng.permutation(5)[:3]]
    dotted = np.clip((0.2 + 0.5 * (0.85 - light) - radius) * period * 0.9 + 0.5, 0, 1)[..., None]
    picture = ground * (1 - dotted) + ink * dotted
    bright = (light > rng.uniform(0.62, 0.75))[..., None]
    paler = flat * (1 - dotted) + np.float32(1) * dotted
    picture = np.where(bright, paler, picture)
    outline = np.clip(edges(light, 1.3) * 1.2 - 0.6, 0, 1)[..., None]
    shadow = np.clip((0.2 - light) * 12, 0, 1)[..., None]
    return picture * (1 - np.maximum(outline, shadow)) + 0.03


def great_wave(photo: Array, rng: np.random.Generator) -> Array:
    """A woodblock sea: rows of scalloped waves with foam, in Prussian blue on paper."""
    shape = photo.shape[:2]
    light = stretched(blur(grey(photo), 2.0))
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    # Scallops in rows, each an arc with foam, displaced by the photo's tones.
    size = rng.uniform(20, 34)
    row = (y + 14 * (light - 0.5) + 10 * (fractal_noise(rng, shape, 50) - 0.5)) / (size * 0.55)
    shift = (np.floor(row) % 2) * size / 2 + rng.uniform(0, size)
    arch = np.abs(((x + shift) % size) / size - 0.5) * 2
    crest = (row % 1) - arch**2 * 0.55
    stripes = np.clip(np.sin(crest * 2 * np.pi * 2.5) * 2.2 + 0.5, 0, 1)
    tone = np.clip(0.18 + light * 0.8 + 0.4 * (stripes - 0.5), 0, 1)
    flat = np.floor(blur(tone.astype(np.float32), 0.7) * 4.99) / 4
    prints = [(0.07, 0.14, 0.34), (0.17, 0.32, 0.52), (0.47, 0.63, 0.72), (0.88, 0.83, 0.68), (0.95, 0.91, 0.8)]
    picture = palette(flat, prints)
    foam = (np.abs(crest) < 0.16) & (fractal_noise(rng, shape, 5, 2) > 0.36)
    picture[foam] = (0.96, 0.94, 0.86)
    line = np.clip(edges(foam.astype(np.float32), 0.7) * 0.4 + edges(flat, 0.7) * 0.35 - 0.25, 0, 0.9)
    return picture + (np.array((0.06, 0.1, 0.25), np.float32) - picture) * line[..., None]


def mosaic_tiles(photo: Array, rng: np.random.Generator) -> Array:
    """Small square stones in pale grout."""
    size = rng.uniform(6.5, 10)
    tiles, distance = cells(rng, photo.shape[:2], size, rng.uniform(0.75, 0.95))
    stone = cell_means(saturated(photo, 1.5), tiles)
    stone = np.clip(stone + rng.normal(0, 0.09, (len(stone), 1)) + rng.normal(0, 0.04, stone.shape), 0, 1)
    grout = np.clip(distance - rng.uniform(0.3, 0.8), 0, 1)[..., None]
    shade = grey(stone[tiles].astype(np.float32))
    bevel = (shade - np.roll(shade, (1, 1), (0, 1)))[..., None] * 0.4
    return (stone[tiles] + bevel) * grout + rng.uniform(0.78, 0.9) * (1 - grout)


def green_crystal(photo: Array, rng: np.random.Generator) -> Array:
    """Tilted green facets with bright rims."""
    shape = photo.shape[:2]
    facets, distance = cells(rng, shape, rng.uniform(16, 26), 0.0)
    count = facets.max() + 1
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    slope = rng.normal(0, 1, (count, 2)).astype(np.float32)  # a random ramp of light across each facet
    ramp = (slope[facets, 0] * (x % 32 - 16) + slope[facets, 1] * (y % 32 - 16)) * 0.006
    mean = cell_means(np.repeat(stretched(grey(photo))[..., None], 3, -1), facets)[:, 0]
    tone = 0.6 * mean[facets] + rng.normal(0.2, 0.2, count)[facets] + ramp
    picture = palette(
        np.clip(tone, 0, 1), [(0, 0.1, 0.06), (0, 0.35, 0.2), (0.05, 0.65, 0.38), (0.4, 0.92, 0.65), (0.92, 1, 0.95)]
    )
    rim = np.exp(-((distance / 1.1) ** 2))[..., None] * (rng.random(count) < 0.7)[facets][..., None]
    return picture + rim * np.array((0.5, 0.7, 0.6), np.float32)


def pixel_art(photo: Array, rng: np.random.Generator) -> Array:
    """Square blocks in the bright palette of an old game, dithered, with dark outlines."""
    (height, width), block = photo.shape[:2], int(rng.integers(6, 9))
    rows, columns = height // block + 2, width // block + 2
    small = cv2.resize(saturated(photo, 1.9), (columns, rows), interpolation=cv2.INTER_AREA)
    shade = grey(small)
    small = np.clip((small + 0.4 * (stretched(shade) - shade)[..., None] - 0.5) * 1.25 + 0.5, 0, 1)
    chequer = (np.indices((rows, columns)).sum(0) % 2 - 0.5)[..., None]
    dithered = 0.12 + 0.86 * small + chequer * rng.uniform(0.2, 0.3) + rng.normal(0, 0.03, (rows, columns, 1))
    apart = ((dithered[:, :, None] - GAME_COLOURS) ** 2).sum(-1)  # (rows, columns, colours)
    picture = GAME_COLOURS[apart.argmin(-1)]
    light = stretched(shade)
    outline = cv2.dilate(light, np.ones((2, 2), np.uint8)) - light > 0.27  # the dark side of an edge, one block wide
    picture = np.where(outline[..., None], GAME_COLOURS[rng.integers(2)], picture)
    top, left = rng.integers(0, block, 2)
    return picture.repeat(block, 0).repeat(block, 1)[top : top + height, left : left + width].astype(np.float32)


def autumn_leaves(photo: Array, rng: np.random.Generator) -> Array:
    """Heaps of leaves, brown to yellow by lightness."""
    light = stretched(blur(grey(photo), 2.0))
    leaf = [(0.22, 0.08, 0.03), (0.5, 0.12, 0.04), (0.78, 0.25, 0.05), (0.92, 0.5, 0.08), (0.96, 0.75, 0.2)]
    picture = palette(light * 0.5, leaf)
    leaf_colours = palette(np.linspace(0, 1, 16), leaf).tolist()
    y, x = np.mgrid[0 : photo.shape[0] : 9, 0 : photo.shape[1] : 9]
    spots = np.stack([x, y], -1).reshape(-1, 2) + rng.uniform(-5, 5, (x.size, 2))
    for px, py in spots[rng.permutation(len(spots))].tolist():
        tone = light[min(max(int(py), 0), len(light) - 1), min(max(int(px), 0), light.shape[1] - 1)]
        colour = leaf_colours[int(np.clip(0.15 + 0.7 * tone + rng.normal(0, 0.17), 0, 0.999) * 16)]
        length, turn = rng.uniform(7, 12), rng.uniform(0, 2 * np.pi)
        t = np.linspace(0, 2 * np.pi, 12, endpoint=False)
        edge = np.stack([length * np.cos(t), 0.42 * length * np.sin(t) * (1 + 0.25 * np.cos(5 * t))], -1)
        spin = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        points = np.round((edge @ spin.T + (px, py)) * 8).astype(np.int32)
        cv2.fillPoly(picture, [points], colour, cv2.LINE_AA, 3)
        cv2.polylines(picture, [points[[0, 6]], points], False, [c * 0.45 for c in colour], 1, cv2.LINE_AA, 3)
    return picture
