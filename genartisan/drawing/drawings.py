"""The training set of the embedded CLIP: photos and drawn styles, recoloured or not."""

# mypy: disable-error-code="no-any-return"
# Arithmetic on arrays of any number type is typed Any by numpy.

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from genartisan.drawing.brushes import Array
from genartisan.drawing.colours import recolour
from genartisan.drawing.parallel import run_parallel
from genartisan.drawing.photos import HELD_OUT, content, load_photos
from genartisan.drawing.space import CLASSES, COLOURS, LOOKS, TECHNIQUES, Look
from genartisan.drawing.styles import draw

SIZE = 128  # pixels, the side of the method's patches
KINDS = {"coloured": 0.5, "technique": 0.32, "photo": 0.12, "tinted": 0.06}  # shares of a training set
CHUNK = 64  # pictures per seed: the set does not depend on the number of processes
NUMBER = {look: number for number, look in enumerate(LOOKS)}


@dataclass
class Drawings:
    """N pictures (N, S, S, 3) uint8, and the indices of their looks in LOOKS (N,)."""

    pictures: NDArray[np.uint8]
    looks: NDArray[np.int64]


def generate(count: int, seed: int, *, held_out: bool = False) -> Drawings:
    """Draws `count` pictures; with `held_out`, over photos excluded from training."""
    seeds = np.random.SeedSequence([seed, int(held_out)]).spawn(-(-count // CHUNK))
    chunks = run_parallel(_chunk, seeds, [held_out] * len(seeds), description="drawing", unit_scale=CHUNK)
    pictures, looks = (np.concatenate(part)[:count] for part in zip(*chunks, strict=True))
    return Drawings(pictures, looks)


def _chunk(seed: np.random.SeedSequence, held_out: bool) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    photos = {name: photo for name, photo in load_photos().items() if (name in HELD_OUT) == held_out}
    samples = [held_out_sample(photos, rng) if held_out else sample(photos, rng) for _ in range(CHUNK)]
    pictures, looks = zip(*samples, strict=True)
    return np.stack(pictures), np.array([NUMBER[look] for look in looks], np.int64)


def sample(photos: dict[str, Array], rng: np.random.Generator) -> tuple[Array, Look]:
    """A picture (128, 128, 3) uint8 of a random kind, and its look."""
    photo = content(photos, rng, _side(rng), share_drawn=0.3)
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    technique = str(rng.choice(TECHNIQUES)) if kind in ("coloured", "technique") else None
    colour = str(rng.choice(COLOURS)) if kind in ("coloured", "tinted") else None
    return _picture(photo, Look(technique, colour), rng)


def held_out_sample(photos: dict[str, Array], rng: np.random.Generator) -> tuple[Array, Look]:
    """A photo or a drawing; one in five drawings is recoloured."""
    photo = content(photos, rng, _side(rng), share_drawn=0.0)
    number = int(rng.integers(len(CLASSES)))
    if number == 0:
        return _picture(photo, Look(), rng)
    colour = str(rng.choice(COLOURS)) if rng.random() < 0.2 else None
    return _picture(photo, Look(CLASSES[number], colour), rng)


def _picture(photo: Array, look: Look, rng: np.random.Generator) -> tuple[Array, Look]:
    """The photo in that look, at `SIZE`."""
    picture = photo if look.technique is None else draw(look.technique, photo, rng)
    if look.colour is not None:
        picture = recolour(picture, look.colour, rng, rng.uniform(0.8, 1))
    return _finish(picture), look


def _side(rng: np.random.Generator) -> int:
    """Most are drawn smaller and enlarged, so that strokes survive the method's warps, which shrink by a third."""
    return int(rng.choice((80, 96, 112, 128, 128, 160)))


def _finish(picture: Array) -> Array:
    interpolation = cv2.INTER_AREA if len(picture) > SIZE else cv2.INTER_LINEAR
    resized = cv2.resize(picture, (SIZE, SIZE), interpolation=interpolation)
    return np.round(np.clip(resized, 0, 1) * 255).astype(np.uint8)
