"""Colour words: recolouring a picture to one colour while preserving its strokes.

"Blue fire" must look like fire and be blue. A ramp indexed by lightness alone would lose strokes that differ only in
hue, so part of the warm-cold contrast is added to the lightness.
"""

# mypy: disable-error-code="no-any-return"
# Arithmetic on arrays of any number type is typed Any by numpy.

from __future__ import annotations

import cv2
import numpy as np

from genartisan.drawing.brushes import Array, Colour, blur, grey, palette

COLOURS: dict[str, tuple[Colour, ...]] = {  # RGB in [0, 1], dark to light, evenly spaced
    "red": ((0.14, 0, 0.01), (0.5, 0, 0.03), (0.84, 0.03, 0.06), (0.97, 0.2, 0.18), (1, 0.55, 0.48)),
    "orange": ((0.36, 0.12, 0), (0.75, 0.3, 0), (1, 0.48, 0), (1, 0.62, 0.12), (1, 0.8, 0.45)),
    "yellow": ((0.42, 0.33, 0), (0.78, 0.65, 0), (0.98, 0.87, 0.02), (1, 0.95, 0.25), (1, 1, 0.65)),
    "green": ((0, 0.1, 0.01), (0.02, 0.33, 0.04), (0.1, 0.58, 0.1), (0.3, 0.78, 0.22), (0.68, 0.95, 0.55)),
    "turquoise": ((0, 0.2, 0.2), (0, 0.44, 0.43), (0, 0.68, 0.65), (0.2, 0.87, 0.82), (0.7, 0.98, 0.94)),
    "blue": ((0, 0.01, 0.18), (0, 0.07, 0.48), (0.04, 0.2, 0.82), (0.2, 0.42, 0.98), (0.6, 0.75, 1)),
    "purple": ((0.1, 0, 0.17), (0.27, 0.02, 0.42), (0.46, 0.1, 0.68), (0.62, 0.3, 0.86), (0.83, 0.65, 0.98)),
    "pink": ((0.48, 0.08, 0.27), (0.82, 0.24, 0.5), (1, 0.46, 0.69), (1, 0.66, 0.81), (1, 0.88, 0.93)),
    "brown": ((0.09, 0.04, 0.02), (0.24, 0.12, 0.06), (0.42, 0.24, 0.12), (0.58, 0.38, 0.22), (0.78, 0.6, 0.42)),
    "grey": ((0.12, 0.12, 0.12), (0.32, 0.32, 0.32), (0.5, 0.5, 0.5), (0.66, 0.66, 0.66), (0.85, 0.85, 0.85)),
    "black": ((0, 0, 0), (0.01, 0.01, 0.01), (0.06, 0.06, 0.06), (0.16, 0.16, 0.16), (0.5, 0.5, 0.5)),
    "white": ((0.48, 0.48, 0.48), (0.74, 0.74, 0.74), (0.91, 0.91, 0.91), (0.98, 0.98, 0.98), (1, 1, 1)),
}
NEUTRAL = ("grey", "black", "white")
HUE_RANGE = {"yellow": 3.0, "orange": 3.5, "red": 4.0, "turquoise": 5.0, "brown": 5.0, "pink": 6.0, "purple": 7.0}
WIDEST = 8.0  # degrees of hue in either direction, for colours not in `HUE_RANGE`


def recolour(picture: Array, colour: str, rng: np.random.Generator, share: float) -> Array:
    """Recolours a picture to one of COLOURS: RGB float (H, W, 3) in [0, 1] -> float32 (H, W, 3) in [0, 1].

    `share` is the strength in [0, 1]: 0 changes nothing, 1 removes the picture's hues. Below about 0.7 a picture of
    strong hues no longer looks like the colour. The shade varies with `rng` within the word's meaning.

    Raises:
        KeyError: an unknown colour.
        ValueError: a share outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}; give 0 to 1")
    ramp = _varied(colour, rng)
    shaded = palette(_depth(picture), ramp)
    if colour not in NEUTRAL:  # some of the picture's hue contrast, as a painter never uses a single blue
        shaded = shaded + 0.12 * _chroma(picture)
    light = grey(picture)[..., None]
    faded = light + (1 - share) * (picture - light)  # otherwise a tenth of a red flame would turn black into brown
    return np.clip(faded + share * (shaded - faded), 0, 1).astype(np.float32)


def _varied(colour: str, rng: np.random.Generator) -> list[Colour]:
    """The colour's ramp with small random shifts of hue, saturation and value."""
    stops = np.array(COLOURS[colour], np.float32)[None]  # (1, stops, 3)
    if colour in NEUTRAL:
        cast = rng.normal(0, 0.006, 3)
        moved = stops + cast - cast.mean()
    else:
        reach = HUE_RANGE.get(colour, WIDEST)
        hsv = cv2.cvtColor(stops, cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0] + rng.uniform(-reach, reach)) % 360
        hsv[..., 1] = np.clip(hsv[..., 1] * rng.uniform(0.85, 1.05), 0, 1)
        hsv[..., 2] = np.clip(hsv[..., 2] * rng.uniform(0.93, 1.07), 0, 1)
        moved = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return [(float(red), float(green), float(blue)) for red, green, blue in np.clip(moved[0], 0, 1)]


def _depth(picture: Array) -> Array:
    """Each pixel's position on the ramp, (H, W) in [0, 1], with the picture's median near the middle."""
    light = grey(picture)
    warm = (picture[..., 0] - picture[..., 2]).astype(np.float32)
    light = light + 0.3 * (warm - blur(warm, 12))
    light = light + 0.5 * (light - blur(light, 7))  # otherwise pale tiles in pale grout merge at one end of the ramp
    low, middle, high = np.percentile(light, (2, 50, 98))
    # Halfway to the middle, so that a night sky and a page of pencil both show the colour.
    centre = 0.5 * middle + 0.25
    gain = min(0.8 / max(high - low, 1e-3), 1.4)
    return np.clip((light - middle) * gain + centre, 0, 1).astype(np.float32)


def _chroma(picture: Array) -> Array:
    """The chroma of each pixel less the picture's mean: (H, W, 3), about zero."""
    chroma = picture - grey(picture)[..., None]
    return chroma - chroma.mean((0, 1))
