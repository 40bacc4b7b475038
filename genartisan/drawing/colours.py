"""Colour words: a picture turned to one colour while its strokes stay, so that CLIP learns the colour and the stroke.

"blue fire" has to look like fire and like blue. A ramp of one colour alone would lose strokes that differ in hue and
not in light, so part of a picture's warm and cold contrast goes into the light that the ramp is read by.
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
WIDEST = 8.0  # degrees of hue either way, for the colours whose neighbours are further off


def recolour(picture: Array, colour: str, rng: np.random.Generator, share: float) -> Array:
    """A picture in shades of one of COLOURS: RGB float (H, W, 3) in [0, 1] -> float32 (H, W, 3) in [0, 1].

    `share` in [0, 1] is how far the picture goes to the colour: 1 leaves nothing of its own hues, 0 changes nothing.
    Below about 0.7 a picture of strong hues no longer reads as the colour. The shade varies with `rng` within what the
    word names. Raises KeyError for another colour and ValueError for a share outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}; it must be between 0 and 1: give 1 for the colour alone")
    ramp = _varied(colour, rng)
    shaded = palette(_depth(picture), ramp)
    if colour not in NEUTRAL:  # a little of the picture's own hue contrast, as a painter's blue is never one blue
        shaded = shaded + 0.12 * _chroma(picture)
    light = grey(picture)[..., None]
    own = light + (1 - share) * (picture - light)  # else a tenth of a red flame is enough to turn black brown
    return np.clip(own + share * (shaded - own), 0, 1).astype(np.float32)


def _varied(colour: str, rng: np.random.Generator) -> list[Colour]:
    """The colour's ramp with its hue, saturation and light moved by a random, small amount."""
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
    """Where on a ramp each pixel lies: (H, W) in [0, 1], with the middle of the picture near the middle of the ramp."""
    light = grey(picture)
    warm = (picture[..., 0] - picture[..., 2]).astype(np.float32)
    light = light + 0.3 * (warm - blur(warm, 12))
    light = light + 0.5 * (light - blur(light, 7))  # pale tiles in pale grout would sink into one end of the ramp
    low, middle, high = np.percentile(light, (2, 50, 98))
    # A night sky and a page of pencil both hold the colour: half of how dark or pale a picture is goes away.
    centre = 0.5 * middle + 0.25
    gain = min(0.8 / max(high - low, 1e-3), 1.4)
    return np.clip((light - middle) * gain + centre, 0, 1).astype(np.float32)


def _chroma(picture: Array) -> Array:
    """How the hue of each pixel differs from the picture's own mean, without its light: (H, W, 3), about zero."""
    chroma = picture - grey(picture)[..., None]
    return chroma - chroma.mean((0, 1))
