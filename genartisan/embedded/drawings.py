"""The training set of the embedded CLIP: photos, drawn styles, and pictures that lie in between, each with its look.

A tower that sees only photos and finished styles learns the palette, which is the easiest tell, and then steers
pictures to flat colours. So part of the set has the style's colours without its strokes, or its strokes without its
colours, and says so; and part has a colour word's colours instead of its own.
"""

# mypy: disable-error-code="no-any-return"
# Arithmetic on arrays of any number type is typed Any by numpy.

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from genartisan.embedded.brushes import Array, blur, grey
from genartisan.embedded.colours import recolour
from genartisan.embedded.photos import HELD_OUT, content, load_photos
from genartisan.embedded.space import CLASSES, COLOURS, LOOKS, PALETTE, PALETTES, TECHNIQUES, Look, finished
from genartisan.embedded.styles import draw

SIZE = 128  # pixels, the side of the method's patches
KINDS = {
    "full": 0.46, "coloured": 0.14, "photo": 0.12, "palette": 0.10, "blend": 0.07, "strokes": 0.06, "tinted": 0.05,
}  # shares of a training set  # fmt: skip
CHUNK = 64  # pictures a task, each chunk with its own seed: the set does not depend on the number of processes
NUMBER = {look: number for number, look in enumerate(LOOKS)}


@dataclass
class Drawings:
    """N pictures (N, S, S, 3) uint8, the number of each one's look in LOOKS (N,), and its share of that look (N,).

    A share below 1 is a picture between a photo and the look.
    """

    pictures: NDArray[np.uint8]
    looks: NDArray[np.int64]
    shares: NDArray[np.float32]


def generate(count: int, seed: int, *, held_out: bool = False, processes: int = 2) -> Drawings:
    """Draw `count` pictures; with `held_out`, only finished styles and photos, over photos that training never sees."""
    seeds = np.random.SeedSequence([seed, int(held_out)]).spawn(-(-count // CHUNK))
    with ProcessPoolExecutor(processes) as pool:
        chunks = list(
            tqdm(pool.map(_chunk, seeds, repeat(held_out)), total=len(seeds), desc="drawing", unit_scale=CHUNK)
        )
    pictures, looks, shares = (np.concatenate(part)[:count] for part in zip(*chunks, strict=True))
    return Drawings(pictures, looks, shares)


def _chunk(seed: np.random.SeedSequence, held_out: bool) -> tuple[Array, Array, Array]:
    cv2.setNumThreads(1)
    rng = np.random.default_rng(seed)
    photos = {name: photo for name, photo in load_photos().items() if (name in HELD_OUT) == held_out}
    drawn = [held_out_sample(photos, rng) if held_out else sample(photos, rng) for _ in range(CHUNK)]
    pictures, looks, shares = zip(*drawn, strict=True)
    return np.stack(pictures), np.array([NUMBER[look] for look in looks], np.int64), np.array(shares, np.float32)


def sample(photos: dict[str, Array], rng: np.random.Generator) -> tuple[Array, Look, float]:
    """One picture (128, 128, 3) uint8 of a random kind, its look and its share of it."""
    photo = content(photos, rng, _side(rng), share_drawn=0.3)
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    if kind == "photo":
        return _finish(degraded(photo, rng)), Look(), 1.0
    if kind == "tinted":
        colour = str(rng.choice(COLOURS))
        return _finish(recolour(photo, colour, rng, rng.uniform(0.8, 1))), Look(None, colour), 1.0
    some = {"palette": PALETTES, "strokes": tuple(PALETTE)}.get(kind, TECHNIQUES)
    technique = str(rng.choice(some))
    styled = draw(technique, photo, rng)
    if kind == "palette":
        smooth = photo if rng.random() < 0.5 else blur(photo, rng.uniform(1, 8))
        return _finish(with_colours_of(smooth, styled)), Look(None, technique), 1.0
    if kind == "strokes":
        return _finish(with_strokes_of(photo, styled)), Look(technique), 1.0
    if kind == "coloured":
        colour = str(rng.choice(COLOURS))
        return _finish(recolour(styled, colour, rng, rng.uniform(0.8, 1))), finished(technique, colour), 1.0
    share = float(rng.uniform(0.2, 0.8)) if kind == "blend" else 1.0
    return _finish(photo * (1 - share) + styled * share), finished(technique), share


def held_out_sample(photos: dict[str, Array], rng: np.random.Generator) -> tuple[Array, Look, float]:
    """A photo or a finished drawing, one in five of them in a colour word's colours."""
    photo = content(photos, rng, _side(rng), share_drawn=0.0)
    number = int(rng.integers(len(CLASSES)))
    if number == 0:
        return _finish(photo), Look(), 1.0
    technique = CLASSES[number]
    styled = draw(technique, photo, rng)
    if rng.random() < 0.2:
        colour = str(rng.choice(COLOURS))
        return _finish(recolour(styled, colour, rng, rng.uniform(0.8, 1))), finished(technique, colour), 1.0
    return _finish(styled), finished(technique), 1.0


def _side(rng: np.random.Generator) -> int:
    """Most are drawn smaller and enlarged: the method's warps shrink patches by a third, and strokes must survive."""
    return int(rng.choice((80, 96, 112, 128, 128, 160)))


def _finish(picture: Array) -> Array:
    how = cv2.INTER_AREA if len(picture) > SIZE else cv2.INTER_LINEAR
    sized = cv2.resize(picture, (SIZE, SIZE), interpolation=how)
    return np.round(np.clip(sized, 0, 1) * 255).astype(np.uint8)


def degraded(photo: Array, rng: np.random.Generator) -> Array:
    """A photo as it may look without any style: soft, noisy, over-sharpened, washed out, tinted or one flat colour."""
    what = rng.integers(7)
    if what == 0:
        photo = blur(photo, rng.uniform(1, 8))
    elif what == 1:
        photo = photo + rng.normal(0, rng.uniform(0.02, 0.2), photo.shape)
    elif what == 2:
        photo = photo + rng.uniform(1, 3) * (photo - blur(photo, 2))
    elif what == 3:
        photo = (photo - 0.5) * rng.uniform(0.2, 1.8) + rng.uniform(0.3, 0.7)
    elif what == 4:
        photo = photo * rng.uniform(0.4, 1.3, 3)
    elif what == 5 and rng.random() < 0.5:
        photo = photo * 0.05 + rng.random(3)
    return np.clip(photo, 0, 1).astype(np.float32)


def with_colours_of(photo: Array, styled: Array) -> Array:
    """The photo with the mean and covariance of the other's colours (Reinhard's transfer with the full covariance)."""
    source, target = photo.reshape(-1, 3), styled.reshape(-1, 3)
    whiten = _root(np.cov(source.T) + 1e-4 * np.eye(3), -0.5)
    colour = _root(np.cov(target.T) + 1e-6 * np.eye(3), 0.5)
    moved = (source - source.mean(0)) @ whiten @ colour + target.mean(0)
    return np.clip(moved, 0, 1).reshape(photo.shape).astype(np.float32)


def _root(matrix: Array, power: float) -> Array:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, 1e-9) ** power) @ vectors.T


def with_strokes_of(photo: Array, styled: Array) -> Array:
    """The photo with the fine lights and darks of the other laid over its own soft colours."""
    detail = grey(styled)
    return np.clip(blur(photo, 4) + (detail - blur(detail, 6))[..., None], 0, 1)
