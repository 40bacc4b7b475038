"""Woodcut, charcoal, comic, cubism and cyberpunk; drawn by `styles.draw`."""

# mypy: disable-error-code="no-any-return"
# Arithmetic on arrays of any number type is typed Any by numpy.

from __future__ import annotations

import cv2
import numpy as np

from genartisan.drawing.brushes import (
    Array,
    Colour,
    blur,
    edges,
    flow,
    fractal_noise,
    grey,
    palette,
    saturated,
    smeared,
    stretched,
    strokes,
)


def woodcut(photo: Array, rng: np.random.Generator) -> Array:
    """Cream gouge lines cut out of black along the contours, wider where the photo is lighter."""
    light = stretched(blur(grey(photo), 1.0))
    angle, width = flow(light, rng, 4.0), rng.uniform(1.0, 1.45)
    lines = rng.standard_normal(light.shape).astype(np.float32)
    for reach in (12, 24):  # band-passed noise, smeared and sharpened: parallel lines that fork and taper
        lines = smeared(blur(lines, width) - blur(lines, 1.8 * width), angle, reach)
        lines /= lines.std() + 1e-6
    cut = lines + 3.4 * (np.clip(light, 0.1, 0.82) - 0.47)  # some lines in the lightest and the darkest parts too
    rim = edges(light, 1.4)
    cut = cut + 2.5 * np.clip(blur(rim, 2.5) - 0.35, 0, 0.5) - 4.5 * np.clip(rim - 0.75, 0, 1)
    paper, ink = np.array((0.95, 0.9, 0.77), np.float32), np.array((0.06, 0.05, 0.05), np.float32)
    return np.where((cut > 0)[..., None], paper, ink)


def charcoal(photo: Array, rng: np.random.Generator) -> Array:
    """Broad soft black strokes, smudged in places, with the paper's texture showing through."""
    shape = photo.shape[:2]
    light = stretched(blur(grey(photo), 1.2))
    angle = rng.uniform(0.5, 1.1) * rng.choice((-1, 1)) + 0.9 * (fractal_noise(rng, shape, 50, 2) - 0.5)
    dark = np.repeat((0.14 + 0.8 * (1 - light))[..., None], 3, -1)
    side = strokes(
        dark * 0.5, dark, angle.astype(np.float32), rng, length=rng.uniform(22, 32), width=8, spacing=10, jitter=0.3
    )[..., 0]
    side = 0.62 * side + 0.38 * dark[..., 0]
    rubbed = blur(side, 3.0)
    rub = np.clip((fractal_noise(rng, shape, 50, 2) - 0.45) * 4, 0, 0.8)
    load = blur(side, 0.6) * (1 - rub) + rubbed * rub + 0.7 * np.clip(edges(light, 1.4) - 0.3, 0, 1)
    grain = rng.standard_normal(shape).astype(np.float32)
    tooth = blur(grain, 0.6) * 1.5 + 0.4 * smeared(grain, angle, 7, 5)
    # Charcoal adheres to the paper's ridges; the hollows fill only where it is dense or smudged.
    caught = np.clip(0.5 + (load - 0.48) * 1.75 + tooth * (0.2 - 0.14 * rub), 0, 1)
    paper = np.array((0.9, 0.89, 0.86), np.float32) * (1 + 0.015 * tooth)[..., None]
    return paper * (1 - 0.96 * caught[..., None] ** 1.1) + 0.015


def comic(photo: Array, rng: np.random.Generator) -> Array:
    """Bold outlines round flat bright colours, with hard shadows under slanting hatching."""
    shape = photo.shape[:2]
    simple = cv2.medianBlur(np.round(np.clip(photo, 0, 1) * 255).astype(np.uint8), 7)  # large shapes without specks
    soft = blur(simple.astype(np.float32) / 255, 1.2)
    light = stretched(grey(soft))
    # The noise gives flat areas shadows too, with a shape of their own.
    zone = 0.03 + light + 0.45 * (fractal_noise(rng, shape, 44, 2) - 0.5)
    level = np.clip(np.floor(zone * 3.2), 0, 2)
    poster = [(0.2, 0.28, 0.75), (0.98, 0.62, 0.2), (1.0, 0.93, 0.6)]
    bright = saturated(soft, 3.2)
    bright = bright / np.maximum(bright.max(-1, keepdims=True), 0.15)  # full value: the level alone says how dark
    colour = np.round(np.clip(bright, 0, 1) * 3) / 3
    chroma = (np.ptp(soft, -1) > 0.13)[..., None]  # grey areas take the poster's colours
    flat = (colour * chroma + palette(level / 2, poster) * ~chroma) * (0.6 + 0.2 * level)[..., None]
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    turn, period = rng.uniform(0.6, 1.0) * rng.choice((-1, 1)), rng.uniform(5.0, 6.5)
    wave = np.abs((((x * np.cos(turn) + y * np.sin(turn)) / period) % 1) - 0.5) * period
    thick = np.clip((0.5 - zone) * 6, 0, 3) / 2
    thick = np.maximum(thick, np.clip((fractal_noise(rng, shape, 30, 2) - 0.52) * 5, 0, 0.9))  # and some in the light
    hatch = np.clip(thick - wave + 0.5, 0, 1) * (thick > 0.12)
    outline = np.clip(edges(light, 1.1) * 1.6 - 0.9, 0, 1)
    outline = np.maximum(outline, np.clip(edges((level / 2).astype(np.float32), 0.8) * 1.6 - 0.8, 0, 1))
    ink = np.maximum(cv2.dilate(outline, np.ones((2, 2), np.uint8)), hatch)[..., None]
    return flat * (1 - ink) + 0.02 * ink


def cubism(photo: Array, rng: np.random.Generator) -> Array:
    """Overlapping angular planes in ochre, olive, brown and slate, each with its own ramp and a dark edge."""
    shape = photo.shape[:2]
    light = np.pad(stretched(blur(grey(photo), 1.5)), 8, mode="edge")
    tone, hue, line = light[8:-8, 8:-8].copy(), np.full(shape, rng.random(), np.float32), np.zeros(shape, np.uint8)
    lean = rng.uniform(0, np.pi)
    for size in (56, 32, 20):  # half a plane's length in pixels: the large planes lie under the small
        for _ in range(int(np.ceil(0.42 * tone.size / size**2))):
            middle = rng.uniform((0, 0), shape[::-1])
            turn = lean + rng.choice((0, 1.0, 1.6, 2.4)) + rng.normal(0, 0.12)
            long, wide = size * rng.uniform(0.7, 1.2), size * rng.uniform(0.3, 0.65)
            corners = np.array(
                [(-long, -wide), (long, -wide * rng.random()), (long, wide), (-long * rng.random(), wide)]
            )
            spin = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
            _lay_plane(tone, hue, line, light, np.round(corners @ spin + middle).astype(np.int32), rng)
    dabs = smeared(rng.standard_normal(shape), np.full(shape, rng.normal(0, 0.3), np.float32), 7, 5)
    tone = np.clip(0.04 + 0.58 * tone + 0.42 * light[8:-8, 8:-8] + 0.1 * dabs, 0, 1)
    line = np.maximum(line, 230 * np.clip(edges(light[8:-8, 8:-8], 1.2) * 0.9 - 0.45, 0, 1))
    warm = palette(tone, [(0.1, 0.07, 0.05), (0.36, 0.24, 0.13), (0.66, 0.49, 0.26), (0.95, 0.86, 0.63)])
    green = palette(tone, [(0.08, 0.08, 0.06), (0.27, 0.27, 0.16), (0.52, 0.51, 0.34), (0.92, 0.89, 0.7)])
    slate = palette(tone, [(0.07, 0.08, 0.1), (0.25, 0.29, 0.34), (0.5, 0.54, 0.57), (0.9, 0.91, 0.86)])
    kind = hue[..., None]
    picture = np.where(kind < 0.4, warm, np.where(kind < 0.7, green, slate))
    return picture * (1 - 0.82 * blur(line / np.float32(190), 0.6)[..., None])


def _lay_plane(tone: Array, hue: Array, line: Array, light: Array, corners: Array, rng: np.random.Generator) -> None:
    """Paints a plane (4 corners) over the maps in place: a shifted piece of the light with a ramp across it."""
    height, width = tone.shape
    left, top = np.clip(corners.min(0), 0, (width - 1, height - 1)).tolist()
    right, bottom = (np.clip(corners.max(0), 0, (width - 1, height - 1)) + 1).tolist()
    mask = np.zeros((bottom - top, right - left), np.uint8)
    hull = cv2.convexHull(corners)
    cv2.fillConvexPoly(mask, hull - (left, top), 1)
    inside = mask.astype(bool)
    dx, dy = rng.integers(4, 13, 2).tolist()  # the piece is seen from a little to the side
    piece = light[top + dy : bottom + dy, left + dx : right + dx]
    turn = rng.uniform(0, 2 * np.pi)
    across = np.cos(turn) * np.linspace(-0.5, 0.5, mask.shape[1], dtype=np.float32)
    down = np.sin(turn) * np.linspace(-0.5, 0.5, mask.shape[0], dtype=np.float32)
    mean, change = cv2.mean(piece, mask)[0], rng.normal(0, 0.06)
    values = 0.7 * piece + 0.36 * (across + down[:, None]) + np.float32(0.3 * mean + change)
    here = np.s_[top:bottom, left:right]
    np.copyto(tone[here], values, where=inside)
    np.copyto(hue[here], np.float32(rng.random()), where=inside)
    np.copyto(line[here], line[here] // 3, where=inside)  # a plane half hides the edges under it
    cv2.polylines(line, [hull], True, 255, 1, cv2.LINE_AA)


def cyberpunk(photo: Array, rng: np.random.Generator) -> Array:
    """A night city in teal and magenta: rain, lit windows, and bands that slip sideways."""
    shape = photo.shape[:2]
    light = stretched(blur(grey(photo), 1.0))
    tone = np.clip(0.02 + 0.76 * light**1.25 + 0.14 * edges(light, 1.0), 0, 1)
    teal: list[Colour] = [(0.01, 0.02, 0.07), (0.0, 0.14, 0.22), (0.0, 0.42, 0.5), (0.1, 0.85, 0.9), (0.8, 1, 1)]
    pink: list[Colour] = [(0.03, 0.0, 0.08), (0.2, 0.01, 0.26), (0.62, 0.02, 0.5), (1, 0.2, 0.75), (1, 0.8, 0.95)]
    side = np.clip((fractal_noise(rng, shape, 80, 2) - 0.5) * 3 + 0.5 + 0.5 * (light - 0.5), 0, 1)[..., None]
    picture = palette(tone, teal) * (1 - side) + palette(tone, pink) * side
    lit = _windows(shape, rng) * np.clip(1.15 - light, 0.25, 1)[..., None]
    picture = picture * (1 - 0.8 * lit.max(-1, keepdims=True)) + lit + 0.9 * blur(lit, 2) + 0.9 * blur(lit, 7)
    drops = rng.random(shape).astype(np.float32)
    rain = np.clip(cv2.GaussianBlur((drops > 0.985).astype(np.float32), (0, 0), 0.45, sigmaY=6) * 7, 0, 1)
    picture = picture + 0.5 * rain[..., None] * np.array((0.55, 0.75, 1), np.float32)
    picture = picture * (0.78 + 0.22 * (np.arange(shape[1]) % 3 > 0))[None, :, None]
    return _glitched(picture.astype(np.float32), rng)


def _windows(shape: tuple[int, int], rng: np.random.Generator) -> Array:
    """Lit windows on black (H, W, 3): towers of regular rows, mostly dark, and a few tall signs."""
    lit = np.zeros((*shape, 3), np.float32)
    colours = ((0.1, 0.95, 1.0), (1.0, 0.12, 0.75), (0.95, 0.3, 1.0), (0.1, 0.75, 0.95))
    left = -int(rng.integers(0, 12))
    while left < shape[1]:
        across, down, columns = int(rng.integers(4, 7)), int(rng.integers(5, 9)), int(rng.integers(3, 6))
        main, roof = int(rng.integers(4)), int(rng.uniform(-0.2, 0.6) * shape[0])
        for top in range(roof, shape[0], down):
            for column in np.flatnonzero(rng.random(columns) < 0.3).tolist():
                at = (left + column * across, top)
                colour = colours[main if rng.random() < 0.8 else int(rng.integers(4))]
                cv2.rectangle(lit, at, (at[0] + across - 3, top + down - 4), colour, -1)
        left += columns * across + int(rng.integers(2, 16))
    for _ in range(int(np.ceil(lit.size / 3 / 8000))):
        x, y = int(rng.integers(shape[1])), int(rng.integers(shape[0]))
        cv2.rectangle(
            lit, (x, y), (x + int(rng.integers(3, 6)), y + int(rng.integers(14, 30))), colours[int(rng.integers(4))], -1
        )
    return lit


def _glitched(picture: Array, rng: np.random.Generator) -> Array:
    """The picture with a few horizontal bands shifted sideways, by different amounts per channel."""
    picture = picture.copy()
    for _ in range(int(np.ceil(picture.shape[0] / 34))):
        top, tall = int(rng.integers(picture.shape[0])), int(rng.integers(2, 8))
        slip = int(rng.integers(4, 14) * rng.choice((-1, 1)))
        band = picture[top : top + tall]
        for channel, shift in enumerate((slip, slip // 2, slip + 4)):
            band[..., channel] = np.roll(band[..., channel], shift, 1)
        band += np.array(((0, 0.2, 0.24), (0.26, 0.0, 0.2))[int(rng.integers(2))], np.float32)
    return picture
