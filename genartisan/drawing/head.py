"""The geometry and looks of a head. Lengths are in head heights, chin to crown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genartisan.drawing.canvas import Array, Rng, any_colour, ellipse, limb, noise

# Estimated from photos, light to dark; a skin is a mix of two neighbours, slightly varied.
SKINS = np.array(
    [(0.98, 0.86, 0.78), (0.95, 0.78, 0.67), (0.88, 0.68, 0.54), (0.76, 0.56, 0.42), (0.58, 0.39, 0.28),
     (0.38, 0.25, 0.18), (0.24, 0.16, 0.12)],
    np.float32,
)  # fmt: skip
HAIRS = np.array(
    [(0.05, 0.04, 0.04), (0.16, 0.1, 0.07), (0.33, 0.21, 0.13), (0.52, 0.38, 0.22), (0.75, 0.6, 0.38),
     (0.55, 0.22, 0.1), (0.72, 0.72, 0.72)],
    np.float32,
)  # fmt: skip
HAIRSTYLES = ("bald", "short", "side", "bob", "long", "afro", "bun", "curly")
HATS = ("cap", "beanie", "helmet", "brim", "scarf", "hood")


@dataclass
class Head:
    """A head.

    Attributes:
        centre: between the ears, pixels, ``(2,)``.
        height: chin to crown, pixels.
        roll: radians.
        turn: sideways shift of the features, -1 (left profile) to 1 (right).
        skin: colour, ``(3,)``.
        hair: texture of the canvas's size, ``(H, W, 3)``.
    """

    centre: Array
    height: float
    roll: float
    turn: float
    skin: Array
    hair: Array
    hairstyle: str
    hat: str | None
    back: bool  # seen from behind
    width: float  # half the face's width, in head heights

    def at(self, *local: tuple[float, float]) -> Array:
        """Points in head heights, right and down from the centre, as pixels, ``(K, 2)``."""
        c, s = np.cos(self.roll), np.sin(self.roll)
        turned = np.asarray(local, np.float32) @ np.array([[c, s], [-s, c]], np.float32)
        return np.asarray(self.centre + self.height * turned, np.float32)

    def oval(self, x: float, y: float, rx: float, ry: float, angle: float = 0.0) -> Array:
        """Corners of an ellipse given in head heights."""
        return ellipse(self.at((x, y))[0], (rx * self.height, ry * self.height), self.roll + angle)

    def line(self, start: tuple[float, float], end: tuple[float, float], radius: float) -> Array:
        """Corners of a stroke given in head heights."""
        a, b = self.at(start, end)
        return limb(a, b, radius * self.height, radius * self.height * 0.7)


def random_skin(rng: Rng) -> Array:
    """A skin colour, ``(3,)``."""
    place = rng.uniform(0, len(SKINS) - 1.001)
    low = int(place)
    tone = SKINS[low] + (place - low) * (SKINS[low + 1] - SKINS[low])
    return np.asarray(np.clip(tone * rng.uniform(0.92, 1.08, 3), 0, 1), np.float32)


def random_head(rng: Rng, size: tuple[int, int], centre: Array, height: float) -> Head:
    """A head with random features."""
    hair = HAIRS[rng.integers(len(HAIRS))] * rng.uniform(0.8, 1.2, 3)
    if rng.random() < 0.04:
        hair = any_colour(rng)
    cell = (height * rng.uniform(0.1, 0.5), height * rng.uniform(0.015, 0.05))
    strands = noise(rng, size, cell, 2) + 0.6 * noise(rng, size, (height * 0.3, height * 0.3))
    return Head(
        centre=centre,
        height=height,
        roll=float(rng.normal(0, 0.12)),
        turn=float(np.clip(rng.normal(0, 0.35), -1, 1)),
        skin=random_skin(rng),
        hair=np.clip(hair * (1 + rng.uniform(0.15, 0.4) * strands[..., None]), 0, 1).astype(np.float32),
        hairstyle=str(rng.choice(HAIRSTYLES, p=(0.06, 0.24, 0.15, 0.17, 0.16, 0.06, 0.08, 0.08))),
        hat=str(rng.choice(HATS)) if rng.random() < 0.2 else None,
        back=bool(rng.random() < 0.08),
        width=float(rng.uniform(0.33, 0.42)),
    )
