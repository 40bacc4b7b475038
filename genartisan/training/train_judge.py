"""Trains the judge on its own drawings.

    python -m genartisan.training.train_judge --out genartisan/evaluation/judge_weights --seed 1234

The judge classifies the style of finished pictures in `genartisan evaluate --judge`. To stay independent it is never
used to train a network of the bundle, to optimise a picture or to choose between pictures, and its drawings have their
own seeds. Training takes about a quarter of an hour on one CPU core.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from genartisan.drawing.brushes import Array
from genartisan.drawing.photos import HELD_OUT, content, load_photos
from genartisan.drawing.space import CLASSES, PHOTO
from genartisan.drawing.styles import draw
from genartisan.evaluation.judge import GREY, KIND, new_network, standardised
from genartisan.evaluation.provenance import made_by
from genartisan.training.trainer import Recipe, command, fit, parameter_count, save_network

RECIPE = Recipe(steps=9000, rate=3e-3, batch=32, decay=1e-2, average=0.99)
DRAWINGS = 9000
SIZE = 128  # pixels: side of a tile
CROPS = (64, 96)  # pixels: sides of the crops in the first 60 % of the steps and the rest; cheaper than whole tiles
STREAM = 71_000  # first word of every seed here: no other program draws these pictures
PHOTO_SHARE = 0.08  # of the drawings: photos are confused with every style, so they get more than a class's share
CHUNK = 50  # drawings per seed

Rng = np.random.Generator


def train(
    out_dir: Path,
    seed: int = 1234,
    *,
    steps: int = RECIPE.steps,
    resume: bool = False,
    device: torch.device | None = None,
) -> dict[str, Any]:
    """Trains the judge and writes judge.safetensors and judge.json; returns the figures."""
    made, device = made_by(seed), device or torch.device("cpu")
    torch.set_num_threads(1)  # the order of sums, and so the weights, depends on the number of threads
    cv2.setNumThreads(1)
    torch.manual_seed(seed)
    network = new_network(len(CLASSES)).to(memory_format=torch.channels_last)
    pictures, labels = draw_set(DRAWINGS, seed)

    def loss_at(step: int) -> Tensor:
        rng = np.random.default_rng([STREAM, seed, 2, step])
        side = CROPS[0] if step < 0.6 * steps else CROPS[1]
        chosen = rng.integers(len(pictures), size=RECIPE.batch)
        crops = np.stack([augmented(pictures[index], rng, side) for index in chosen])
        logits: Tensor = network(as_input(crops).to(device))
        return F.cross_entropy(logits, torch.from_numpy(labels[chosen]).to(device), label_smoothing=0.05)

    recipe, checkpoint = replace(RECIPE, steps=steps), out_dir / "judge_checkpoint.pt"
    fit(network, loss_at, recipe, checkpoint=checkpoint, resume=resume, device=device)
    network.half().float()  # measure what is stored
    figures = measure(network, seed) | {"parameters": parameter_count(network), "steps": steps, "drawings": DRAWINGS}
    architecture = {"kind": KIND, "classes": list(CLASSES), "size": SIZE}
    save_network(out_dir, "judge", network, architecture, figures, made)
    checkpoint.unlink()
    return figures


def draw_set(count: int, seed: int, *, held_out: bool = False) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """``count`` drawings (N, 128, 128, 3) and their classes (N,).

    Held-out drawings are over photos excluded from training and have full strength; half of the others are blended
    with their photo, as optimised pictures are.
    """
    photos = {name: photo for name, photo in load_photos().items() if (name in HELD_OUT) == held_out}
    pictures, labels = np.empty((count, SIZE, SIZE, 3), np.uint8), np.empty(count, np.int64)
    for index in tqdm(range(count), desc="drawing", mininterval=10):
        if index % CHUNK == 0:
            rng = np.random.default_rng([STREAM, seed, int(held_out), index // CHUNK])
        if held_out:
            labels[index] = index % len(CLASSES)
        else:
            labels[index] = 0 if rng.random() < PHOTO_SHARE else rng.integers(1, len(CLASSES))
        share = 1.0 if held_out or rng.random() < 0.5 else rng.uniform(0.6, 1)
        pictures[index] = drawing(CLASSES[labels[index]], photos, rng, share)
    return pictures, labels


def drawing(name: str, photos: dict[str, Array], rng: Rng, share: float) -> NDArray[np.uint8]:
    """A photo blended with ``share`` of its drawing, (128, 128, 3); some are drawn larger, to vary the stroke size."""
    side = int(rng.choice((SIZE, SIZE, SIZE * 5 // 4, SIZE * 3 // 2)))
    photo = content(photos, rng, side)
    if rng.random() < 0.6:  # so that the colours of the few photos do not give the style away
        photo = np.ascontiguousarray(photo[..., rng.permutation(3)])
    styled = photo if name == PHOTO else photo * (1 - share) + draw(name, photo, rng) * share
    small = cv2.resize(styled, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    return np.round(np.clip(small, 0, 1) * 255).astype(np.uint8)


def augmented(picture: NDArray[np.uint8], rng: Rng, side: int) -> Array:
    """A random crop, float32 (side, side, 3) in [0, 1].

    It may be mirrored, recoloured, blurred, noisy, JPEG-compressed, or have grey holes like those of masked people.
    """
    cut = min(len(picture), int(side * rng.uniform(0.75, 1.35)))
    row, column = rng.integers(len(picture) - cut + 1, size=2)
    crop = cv2.resize(picture[row : row + cut, column : column + cut], (side, side), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.25:
        encoded = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 95))])[1]
        crop = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
    pixels: Array = crop[:, ::-1] if rng.random() < 0.5 else crop
    pixels = recoloured(pixels.astype(np.float32) / 255, rng)
    if rng.random() < 0.35:
        pixels = cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.3, 1.2))
    if rng.random() < 0.35:
        pixels = pixels + rng.uniform(0, 0.06) * rng.standard_normal(pixels.shape, np.float32)
    pixels = np.clip(pixels, 0, 1)
    if rng.random() < 0.35:
        pixels = np.where(blob(rng, side)[..., None], GREY, pixels)
    return pixels.astype(np.float32)


def recoloured(pixels: Array, rng: Rng) -> Array:
    """Random gains, saturation, contrast and brightness, (H, W, 3)."""
    pixels = pixels * rng.uniform(0.85, 1.15, 3).astype(np.float32)
    lightness = pixels.mean(2, keepdims=True)
    pixels = lightness + (pixels - lightness) * rng.uniform(0.5, 1.5)
    recoloured: Array = (pixels - 0.5) * rng.uniform(0.7, 1.35) + 0.5 + rng.uniform(-0.1, 0.1)
    return recoloured


def blob(rng: Rng, side: int) -> NDArray[np.bool_]:
    """A random smooth shape that covers 10 to 60 % of a square, (side, side)."""
    cells = int(rng.integers(3, 6))
    hills = cv2.resize(rng.random((cells, cells)), (side, side), interpolation=cv2.INTER_CUBIC)
    return np.asarray(hills > np.quantile(hills, 1 - rng.uniform(0.1, 0.6)), np.bool_)


def as_input(pictures: Array) -> Tensor:
    """(N, H, W, 3) in [0, 1] -> the network's input, (N, 3, H, W)."""
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    return standardised(pixels)


@torch.no_grad()
def measure(network: nn.Module, seed: int, each: int = 16) -> dict[str, Any]:
    """Accuracy on held-out drawings, ``each`` per class, plain and augmented."""
    network.eval()
    pictures, labels = draw_set(each * len(CLASSES), seed, held_out=True)
    truth, rng = torch.from_numpy(labels), np.random.default_rng([STREAM, seed, 3])
    crops = np.stack([augmented(picture, rng, CROPS[1]) for picture in pictures])
    plain = _ranks(network, (pictures / 255).astype(np.float32), truth)  # (N,)
    degraded = _ranks(network, crops, truth)  # (N,)
    return {
        "held_out_pictures": len(labels),
        "held_out_accuracy": _share(plain < 1),
        "held_out_top_3": _share(plain < 3),
        "held_out_accuracy_augmented": _share(degraded < 1),
        "classes": {name: _share(plain[truth == number] < 1) for number, name in enumerate(CLASSES)},
    }


def _ranks(network: nn.Module, pictures: Array, truth: Tensor) -> Tensor:
    """The rank of the true class, 0 for a correct prediction, (N,)."""
    logits = torch.cat([network(part) for part in torch.split(as_input(pictures), 64)])  # (N, K)
    return (logits > logits.gather(1, truth[:, None])).sum(1)


def _share(correct: Tensor) -> float:
    return round(float(correct.float().mean()), 4)


if __name__ == "__main__":
    command(train)
