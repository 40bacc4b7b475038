"""The training set of the embedded CLIP: photos, drawn styles, and pictures that lie in between, each with its
strength.

A tower that sees only photos and finished styles learns the palette, which is the easiest tell, and then steers
pictures to flat colours. So part of the set has the style's colours without its strokes, or its strokes without its
colours, and says so.
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
from genartisan.embedded.photos import HELD_OUT, content, load_photos
from genartisan.embedded.styles import STYLES, draw

SIZE = 128  # pixels, the side of the method's patches
CLASSES = ("photo", *STYLES)
KINDS = {"full": 0.60, "photo": 0.14, "palette": 0.11, "strokes": 0.07, "blend": 0.08}  # shares of a training set
PALETTE_STRENGTH, STROKES_STRENGTH = 0.25, 0.5  # how much of a style its colours or its strokes alone are worth
CHUNK = 64  # pictures a task, each chunk with its own seed: the set does not depend on the number of processes


@dataclass
class Drawings:
    """N pictures (N, S, S, 3) uint8, the class of each (N,), and how strongly it shows it (N,) in [0, 1]."""

    pictures: NDArray[np.uint8]
    labels: NDArray[np.int64]
    strengths: NDArray[np.float32]


def generate(count: int, seed: int, *, held_out: bool = False, processes: int = 2) -> Drawings:
    """Draw `count` pictures; with `held_out`, only finished styles and photos, over photos that training never sees."""
    seeds = np.random.SeedSequence([seed, int(held_out)]).spawn(-(-count // CHUNK))
    with ProcessPoolExecutor(processes) as pool:
        chunks = list(
            tqdm(pool.map(_chunk, seeds, repeat(held_out)), total=len(seeds), desc="drawing", unit_scale=CHUNK)
        )
    pictures, labels, strengths = (np.concatenate(part)[:count] for part in zip(*chunks, strict=True))
    return Drawings(pictures, labels, strengths)


def _chunk(seed: np.random.SeedSequence, held_out: bool) -> tuple[Array, Array, Array]:
    cv2.setNumThreads(1)
    rng = np.random.default_rng(seed)
    photos = {name: photo for name, photo in load_photos().items() if (name in HELD_OUT) == held_out}
    drawn = [sample(photos, rng, finished=held_out) for _ in range(CHUNK)]
    pictures, labels, strengths = zip(*drawn, strict=True)
    return np.stack(pictures), np.array(labels, np.int64), np.array(strengths, np.float32)


def sample(photos: dict[str, Array], rng: np.random.Generator, *, finished: bool = False) -> tuple[Array, int, float]:
    """One picture (128, 128, 3) uint8, its class (an index into CLASSES) and its strength."""
    # Some are drawn larger and shrunk: the global loss sees a whole picture at the tower's size, its strokes smaller.
    side = int(rng.choice((SIZE, SIZE, SIZE, SIZE * 3 // 2, SIZE * 2)))
    photo = content(photos, rng, side, share_drawn=0.0 if finished else 0.3)
    label = int(rng.integers(1, len(CLASSES)))
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    if finished:
        kind, label = "full", int(rng.integers(len(CLASSES)))
    if kind == "photo" or label == 0:
        return _finish(photo if finished else degraded(photo, rng)), 0, 0.0
    styled = draw(CLASSES[label], photo, rng)
    if kind == "palette":
        smooth = photo if rng.random() < 0.4 else blur(photo, rng.uniform(1, 8))
        return _finish(with_colours_of(smooth, styled)), label, PALETTE_STRENGTH
    if kind == "strokes":
        return _finish(np.clip(with_strokes_of(photo, styled), 0, 1)), label, STROKES_STRENGTH
    if kind == "blend":
        share = float(rng.uniform(0.2, 0.8))
        return _finish(photo * (1 - share) + styled * share), label, share
    return _finish(styled), label, 1.0


def _finish(picture: Array) -> Array:
    small = cv2.resize(picture, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    return np.round(np.clip(small, 0, 1) * 255).astype(np.uint8)


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
    return blur(photo, 4) + (detail - blur(detail, 6))[..., None]
