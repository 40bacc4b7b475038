"""Styles made of strokes, dots and washes: pencil, ink and paint. Called through `styles.draw`."""

# mypy: disable-error-code="no-any-return"
# Arithmetic on arrays of any number type is typed Any by numpy.

from __future__ import annotations

import cv2
import numpy as np

from genartisan.embedded.brushes import (
    Array,
    blur,
    contour_angle,
    edges,
    fractal_noise,
    grey,
    palette,
    saturated,
    stretched,
    strokes,
    swirls,
)


def pencil(photo: Array, rng: np.random.Generator) -> Array:
    """Hatching along a few directions, one layer more for each darker tone, and a thin outline."""
    light = stretched(grey(photo))
    angle = np.full(light.shape, rng.uniform(0, np.pi), np.float32) + 0.3 * (fractal_noise(rng, light.shape, 60) - 0.5)
    paper = np.full(photo.shape, rng.uniform(0.94, 1), np.float32)
    lead = rng.uniform(0.15, 0.35)
    for layer, limit in enumerate((0.95, 0.5, 0.26)):  # darker parts get more layers of crossed hatching
        hatched = strokes(
            np.ones_like(photo), np.full_like(photo, lead), angle + layer * rng.uniform(0.6, 1.2), rng,
            length=rng.uniform(10, 18), width=1, spacing=rng.uniform(4.0, 5.5), jitter=0.12,
        )  # fmt: skip
        strength = np.clip((limit - light) * 2.0, 0.22 if layer == 0 else 0, 0.9)[..., None]
        paper = np.minimum(paper, 1 - strength * (1 - hatched))
    outline = np.clip(edges(light, 0.7) * 0.55 - 0.2, 0, 0.75)[..., None]
    return np.repeat(grey(paper * (1 - outline))[..., None], 3, -1)


def starry_night(photo: Array, rng: np.random.Generator) -> Array:
    """Bent strokes along whirls, night blue to cream by the photo's light, with a few stars."""
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
    """Pale washes with pigment gathered at their borders, and bare paper."""
    shape = photo.shape[:2]
    wobble = [(fractal_noise(rng, shape, 16) - 0.5) * 10 for _ in range(2)]
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    soft = blur(saturated(photo**0.7, 2.4), rng.uniform(1, 2))
    soft = cv2.remap(
        soft,
        (x + wobble[0]).astype(np.float32),
        (y + wobble[1]).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )
    # Washes: the tones in steps whose borders run with the noise, and pigment gathered dark at each border.
    bloom = fractal_noise(rng, shape, rng.uniform(24, 44), 4)
    level = stretched(grey(soft)) * 3.2 + bloom * 2.4
    pool = edges(np.floor(level).astype(np.float32), 0.8)
    wash = 0.34 + 0.66 * soft + 0.3 * (np.floor(level) / 5.5 - 0.45)[..., None] * (1 - soft * 0.5)
    grain = (fractal_noise(rng, shape, 3, 2) - 0.5) * 0.1
    white = np.clip((bloom - 0.74) * 5, 0, 0.75)[..., None]  # bare paper
    pigment = np.clip(1.1 - soft, 0.1, 1)  # darkens in its own colour, not in grey
    painted = wash * (1 - 0.45 * np.clip(pool / 3, 0, 1)[..., None] * pigment) + grain[..., None]
    return painted * (1 - white) + white * 0.98


def oil(photo: Array, rng: np.random.Generator) -> Array:
    """Thick strokes along the photo's contours, lit from the side."""
    rich = np.clip((saturated(photo, 1.5) - 0.5) * 1.25 + 0.48, 0, 1)
    light = blur(grey(photo), 2.0)
    angle = (
        contour_angle(light, 4)
        + 1.2 * (fractal_noise(rng, light.shape, 40, 2) - 0.5)
        + rng.uniform(0, np.pi) * (edges(light) < 0.02)
    )
    soft = blur(rich, 2.0)
    under = strokes(soft, soft, angle, rng, length=rng.uniform(16, 24), width=6, spacing=5, jitter=0.1)
    over = strokes(under, rich, angle, rng, length=rng.uniform(9, 14), width=3, spacing=4.5, jitter=0.13)
    # Thick paint: lit from the top left, so that each stroke has a bright and a dark rim.
    relief = blur(grey(over), 0.6)
    shine = relief - np.roll(relief, (1, 1), (0, 1))
    bristle = (
        cv2.remap(rng.random(light.shape).astype(np.float32), *_along(angle, light.shape), cv2.INTER_LINEAR) - 0.5
    ) * 0.08
    return over + (1.1 * shine + bristle)[..., None]


def _along(angle: Array, shape: tuple[int, int]) -> tuple[Array, Array]:
    """Sampling positions that squeeze a noise across the brush and draw it out along the angle."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    across = -np.sin(angle) * x + np.cos(angle) * y
    along = np.cos(angle) * x + np.sin(angle) * y
    return np.mod(across, shape[1] - 1).astype(np.float32), np.mod(along / 8, shape[0] - 1).astype(np.float32)


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
    """Bleeding black ink on warm paper, with dry strokes in the dark."""
    shape = photo.shape[:2]
    light = stretched(blur(grey(photo), 1.5))
    bleed = fractal_noise(rng, shape, rng.uniform(26, 44), 5)
    tone = np.clip((1 - light) * 1.1 + 1.3 * (bleed - 0.5), 0, 1)
    wash = 0.75 * tone**1.4 + 0.12 * np.clip(edges((tone > 0.35).astype(np.float32), 1.0), 0, 1)
    angle = contour_angle(light, 4) + 0.8 * (fractal_noise(rng, shape, 30) - 0.5)
    heavy = np.clip((tone - 0.55) * 4, 0, 1)[..., None]
    dry = strokes(
        np.ones_like(photo),
        np.full_like(photo, 0.08),
        angle,
        rng,
        length=22,
        width=3,
        spacing=9,
        jitter=0.08,
        bend=True,
    )
    fibre = (fractal_noise(rng, shape, 3, 2) - 0.5) * 0.08
    ink = (1 - wash + fibre)[..., None] * (1 - heavy * (1 - blur(dry, 0.6)))
    return ink * np.array((0.97, 0.95, 0.9), np.float32) + 0.02


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
