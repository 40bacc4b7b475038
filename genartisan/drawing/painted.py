"""Pencil, watercolour, oil, ink wash, pointillism, van Gogh and Munch; drawn by `styles.draw`."""

# mypy: disable-error-code="no-any-return"
# Arithmetic on arrays of any number type is typed Any by numpy.

from __future__ import annotations

import cv2
import numpy as np

from genartisan.drawing.brushes import (
    Array,
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
    swirls,
)


def pencil(photo: Array, rng: np.random.Generator) -> Array:
    """Fine grey hatching on white, with more layers in darker tones, and a thin outline."""
    height, width = photo.shape[:2]
    light = stretched(grey(photo))
    bend = 0.3 * (fractal_noise(rng, light.shape, 60) - 0.5)
    # Hatched at twice the size: lines finer than a pixel distinguish pencil from ink.
    angle = cv2.resize((rng.uniform(0, np.pi) + bend).astype(np.float32), (2 * width, 2 * height))
    bare = np.ones((2 * height, 2 * width, 3), np.float32)
    lead = rng.uniform(0.2, 0.36)
    paper = np.ones_like(light)
    for layer, limit in enumerate((1.0, 0.56, 0.3)):  # darker parts get more layers of crossed hatching
        hatched = strokes(
            bare, bare * lead, angle + layer * rng.uniform(0.6, 1.2), rng,
            length=rng.uniform(24, 36), width=1, spacing=rng.uniform(7.0, 8.5), jitter=0.1,
        )[..., 0]  # fmt: skip
        fine = cv2.resize(hatched, (width, height), interpolation=cv2.INTER_AREA)
        strength = np.clip((limit - light) * 1.7, 0.3 if layer == 0 else 0, 1)
        paper = paper * (1 - strength * (1 - fine))
    outline = np.clip(edges(light, 0.7) * 0.55 - 0.2, 0, 0.7)
    sheet = rng.uniform(0.95, 1) * paper * (1 - outline)
    return np.repeat(sheet[..., None], 3, -1)


def starry_night(photo: Array, rng: np.random.Generator) -> Array:
    """Curved strokes along whirls, night blue to cream by lightness, with a few stars."""
    light = stretched(blur(grey(photo), 1.5))
    angle = swirls(rng, light.shape, int(rng.integers(1, 4)), rng.uniform(18, 36))
    stars = np.zeros(light.shape, np.float32)
    for _ in range(int(rng.integers(1, 4))):
        middle = (int(rng.integers(light.shape[1])), int(rng.integers(light.shape[0])))
        cv2.circle(stars, middle, int(rng.integers(4, 11)), 1.0, -1)
    tone = np.clip(0.08 + 0.62 * light + 0.3 * (fractal_noise(rng, light.shape, 24) - 0.5) + 0.9 * blur(stars, 3), 0, 1)
    night = [
        (0.03, 0.05, 0.2),
        (0.07, 0.16, 0.45),
        (0.16, 0.36, 0.7),
        (0.45, 0.66, 0.82),
        (0.86, 0.84, 0.5),
        (1, 0.82, 0.2),
    ]
    colours = palette(tone, night)
    under = strokes(colours, colours, angle, rng, length=16, width=5, spacing=5, jitter=0.12, bend=True)
    return strokes(under, colours, angle, rng, length=rng.uniform(12, 20), width=2, spacing=3.4, jitter=0.26, bend=True)


def watercolor(photo: Array, rng: np.random.Generator) -> Array:
    """Pale washes on white paper with dark rims, blooms, runs, granulation and gaps."""
    shape = photo.shape[:2]
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    run = cv2.GaussianBlur(rng.standard_normal(shape).astype(np.float32), (0, 0), 2.0, sigmaY=9) * 30  # down the sheet
    across, down = (6 * (fractal_noise(rng, shape, 18) - 0.5) for _ in range(2))
    down = down - np.clip(run, 0, 7)
    soft = cv2.remap(
        blur(photo, 1.8), (x + across).astype(np.float32), (y + down).astype(np.float32),
        cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT,
    )  # fmt: skip
    # A grey photo gets colours too: cobalt, rose, ochre and sap green blend into each other.
    pigments = [(0.2, 0.42, 0.85), (0.86, 0.32, 0.48), (0.95, 0.7, 0.25), (0.35, 0.66, 0.4), (0.2, 0.42, 0.85)]
    tint = palette(fractal_noise(rng, shape, 60, 2), pigments)
    hue = saturated(soft, 2.6) + 0.12
    grey_share = np.clip(1 - 2.4 * np.ptp(soft, -1) / (soft.max(-1) + 0.1), 0.1, 0.6)[..., None]
    hue = np.clip(hue / np.maximum(hue.max(-1, keepdims=True), 0.1), 0.12, 1) * (1 - grey_share) + tint * grey_share
    # A wash is even up to its rim, where pigment accumulates as it dries.
    bloom = fractal_noise(rng, shape, rng.uniform(36, 56), 3)
    level = (1 - stretched(grey(soft))) * 5.0 + bloom * 1.8
    wash = np.floor(level).astype(np.float32)
    rim = np.clip(wash - blur(wash, 1.5), 0, 0.5) * 2
    pale = blur(np.clip(wash - blur(wash, 5), -0.6, 0), 0.8)
    grain = blur(rng.standard_normal(shape).astype(np.float32), 0.8) * 1.6
    load = 0.06 + 0.115 * wash + 0.36 * rim + 0.2 * pale
    load = np.clip(load * (1 + 0.24 * grain), 0, 0.9) * np.clip((level - 1.0) * 3, 0, 1)  # below: bare paper
    return 0.985 - (1 - hue) * load[..., None]


def oil(photo: Array, rng: np.random.Generator) -> Array:
    """Broad ridged strokes of thick paint over canvas, in warm colours under amber varnish."""
    shape = photo.shape[:2]
    light = stretched(blur(grey(photo), 2.0))
    earths = [(0.1, 0.05, 0.03), (0.36, 0.17, 0.07), (0.7, 0.43, 0.16), (0.94, 0.76, 0.42), (1, 0.94, 0.75)]
    rich = np.clip(0.72 * saturated(blur(photo, 1.0), 1.9) + 0.34 * palette(light, earths) - 0.04, 0, 1)
    angle = flow(light, rng, 5.0) + 0.9 * (fractal_noise(rng, shape, 44, 2) - 0.5)
    broad = strokes(
        rich, blur(rich, 2.5), angle, rng, length=rng.uniform(26, 36), width=11, spacing=9, jitter=0.13, bend=True
    )
    over = strokes(broad, rich, angle, rng, length=rng.uniform(15, 20), width=6, spacing=7.5, jitter=0.16, bend=True)
    # Thick paint: the furrows of the bristles and the rims of the strokes, lit from the top left.
    furrows = smeared(blur(rng.standard_normal(shape).astype(np.float32), 0.7), angle, 15)
    height = 0.32 * furrows / (furrows.std() + 1e-6) + 4.0 * blur(grey(over), 0.8)
    relief = height - np.roll(height, (1, 1), (0, 1))
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    thread = 2 * np.pi / rng.uniform(2.9, 3.6)
    weave = np.sin(thread * x) * np.sin(thread * y) * np.clip(fractal_noise(rng, shape, 40, 2) * 2 - 0.5, 0.15, 1)
    lit = over + (0.15 * np.clip(relief, -1.2, 1.6) + 0.06 * weave)[..., None]
    return np.clip(lit, 0, 1) * np.array((1.0, 0.9, 0.66), np.float32) + np.array((0.03, 0.015, 0), np.float32)


def scream(photo: Array, rng: np.random.Generator) -> Array:
    """Wavy bands, orange for light and dark blue for shadow, in long strokes."""
    shape = photo.shape[:2]
    light = stretched(blur(grey(photo), 2.0))
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    turn = rng.normal(0, 0.35) + (np.pi / 2 if rng.random() < 0.3 else 0)
    across = y * np.cos(turn) + x * np.sin(turn)
    flow = across / rng.uniform(11, 17) + 3.2 * fractal_noise(rng, shape, 60, 2) + 1.6 * light
    band = 0.5 + 0.5 * np.sin(flow * 2 * np.pi * 0.6)
    sky = [(0.75, 0.18, 0.05), (0.92, 0.38, 0.08), (0.97, 0.6, 0.2), (0.95, 0.75, 0.4)]
    water = [(0.06, 0.1, 0.2), (0.12, 0.22, 0.38), (0.3, 0.4, 0.45), (0.5, 0.45, 0.3)]
    warm = np.clip((light - 0.45) * 4 + 2.4 * (fractal_noise(rng, shape, 70, 2) - 0.5) + 0.5, 0, 1)[..., None]
    colours = palette(band, sky) * warm + palette(band, water) * (1 - warm)
    flow = blur(flow.astype(np.float32), 1)
    angle = np.arctan2(cv2.Sobel(flow, cv2.CV_32F, 0, 1), cv2.Sobel(flow, cv2.CV_32F, 1, 0)) + np.pi / 2
    return strokes(colours, colours, angle, rng, length=rng.uniform(20, 32), width=2, spacing=4, jitter=0.14, bend=True)


def ink_wash(photo: Array, rng: np.random.Generator) -> Array:
    """Blue-black ink bleeding into warm paper: smooth washes, feathered rims, a few dry strokes."""
    shape = photo.shape[:2]
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    feather = [14 * (fractal_noise(rng, shape, 9, 3) - 0.5) for _ in range(2)]
    light = stretched(blur(grey(photo), 1.5))
    tone = np.clip((1 - light) * 1.2 - 0.26 + 0.9 * (fractal_noise(rng, shape, rng.uniform(34, 54), 2) - 0.5), 0, 1)
    # Three layers of ink with rims feathered by the wet paper, over a smooth wash.
    wash = 0.12 * blur(tone, 2.5)
    for limit, load in ((0.1, 0.14), (0.36, 0.2), (0.62, 0.2)):
        patch = np.clip((tone - limit) * 9, 0, 1).astype(np.float32)
        bled = cv2.remap(blur(patch, 1.0), (x + feather[0]).astype(np.float32), (y + feather[1]).astype(np.float32),
                         cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)  # fmt: skip
        wash = wash + load * (0.7 * bled + 0.3 * blur(patch, 3.0)) + 0.06 * np.clip(edges(bled, 0.8), 0, 1)
    angle = flow(light, rng, 4.0)
    white = np.ones_like(photo)
    dry = strokes(white, 0.05 * white, angle, rng, length=28, width=4, spacing=14, jitter=0.05, bend=True)[..., 0]
    hairs = smeared(rng.standard_normal(shape), angle, 13)
    brush = (1 - blur(dry, 0.5)) * np.clip((tone - 0.2) * 2.2 + 1.6 * hairs, 0, 1)
    brush = np.maximum(brush, np.clip(edges(light, 1.3) * 1.5 - 0.55 + 1.2 * hairs, 0, 1))
    ink = np.clip(np.maximum(wash, 0.95 * brush), 0, 0.96)[..., None]
    paper = np.array((0.96, 0.93, 0.85), np.float32) * (1 + 0.05 * (fractal_noise(rng, shape, 3, 2) - 0.5))[..., None]
    return paper * (1 - ink) + ink * np.array((0.05, 0.06, 0.1), np.float32)


def pointillism(photo: Array, rng: np.random.Generator) -> Array:
    """Dots of broken colour on a light ground."""
    rich = blur(saturated(photo, 2.0), 1.0) * 0.85 + 0.1
    picture = np.full_like(photo, rng.uniform(0.85, 0.95)) * np.array((1, 0.97, 0.88), np.float32)
    spots = rng.random((photo.size // 19, 2)) * (photo.shape[1] - 1, photo.shape[0] - 1)
    hues = rich[spots[:, 1].astype(int), spots[:, 0].astype(int)] + rng.normal(0, 0.16, (len(spots), 3))
    radii = rng.integers(11, 21, len(spots))  # eighths of a pixel
    for at, colour, radius in zip(np.round(spots * 8).astype(int).tolist(), hues.tolist(), radii.tolist(), strict=True):
        cv2.circle(picture, at, radius, colour, -1, cv2.LINE_8, 3)
    return picture
