"""Trains the judge on its own drawings.

    python -m genartisan.training.train_judge --out genartisan/evaluation/judge_weights --seed 1234

The judge names the style of finished pictures in `genartisan evaluate --judge`. It is never used to train a network of
the bundle, to optimise a picture or to choose between pictures; its drawings have their own seeds. It takes about a
quarter of an hour on one CPU core.
"""

from __future__ import annotations

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
from genartisan.training.trainer import command, fit, save_network

SIZE = 128  # pixels, the side of a tile
CROPS = (64, 96)  # pixels, what the training sees, first and last: the tiles' own scale at a fraction of the cost
STREAM = 71_000  # the first word of every seed here: no other program draws these pictures
PHOTO_SHARE = 0.08  # of the drawings; a photo is every style's neighbour, so it gets more than one class's share
CHUNK = 50  # drawings a seed

Rng = np.random.Generator


def train(
    out_dir: Path,
    seed: int = 1234,
    *,
    steps: int = 9000,
    drawings: int = 9000,
    batch: int = 32,
    resume: bool = False,
    device: torch.device | None = None,
) -> dict[str, Any]:
    """Trains the judge and writes judge.safetensors and judge.json; returns the figures."""
    made, device = made_by(seed), device or torch.device("cpu")
    torch.set_num_threads(1)  # sums over threads depend on their number, and so would the weights
    cv2.setNumThreads(1)
    torch.manual_seed(seed)
    network = new_network(len(CLASSES)).to(memory_format=torch.channels_last)
    pictures, labels = draw_set(drawings, seed)

    def loss_at(step: int) -> Tensor:
        rng = np.random.default_rng([STREAM, seed, 2, step])
        side = CROPS[0] if step < 0.6 * steps else CROPS[1]
        chosen = rng.integers(len(pictures), size=batch)
        seen = np.stack([augmented(pictures[index], rng, side) for index in chosen])
        logits: Tensor = network(as_input(seen).to(device))
        return F.cross_entropy(logits, torch.from_numpy(labels[chosen]).to(device), label_smoothing=0.05)

    checkpoint = out_dir / "judge_checkpoint.pt"
    fit(
        network,
        loss_at,
        steps=steps,
        rate=3e-3,
        decay=1e-2,
        average=0.99,
        checkpoint=checkpoint,
        resume=resume,
        device=device,
    )
    network.half().float()  # measured is what is stored
    figures = measure(network, seed) | {
        "parameters": sum(p.numel() for p in network.parameters()),
        "steps": steps,
        "drawings": drawings,
    }
    architecture = {"kind": KIND, "classes": list(CLASSES), "size": SIZE}
    save_network(out_dir, "judge", network, architecture, figures, made)
    checkpoint.unlink()
    return figures


def draw_set(count: int, seed: int, *, held_out: bool = False) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """``count`` drawings (N, 128, 128, 3) and their numbers in CLASSES (N,).

    With ``held_out`` they are over photos that are never trained on, each at its full strength; of the others half have
    only a part of it, as optimised pictures do.
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
    """A photo, or a share of a style laid over it, (128, 128, 3); some are drawn larger, for strokes of other sizes."""
    side = int(rng.choice((SIZE, SIZE, SIZE * 5 // 4, SIZE * 3 // 2)))
    photo = content(photos, rng, side)
    if rng.random() < 0.6:  # a style may not be known by the colours of the few photos
        photo = np.ascontiguousarray(photo[..., rng.permutation(3)])
    styled = photo if name == PHOTO else photo * (1 - share) + draw(name, photo, rng) * share
    small = cv2.resize(styled, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    return np.round(np.clip(small, 0, 1) * 255).astype(np.uint8)


def augmented(picture: NDArray[np.uint8], rng: Rng, side: int) -> Array:
    """A crop of a drawing as a finished picture may show it, float32 (side, side, 3) in [0, 1]: mirrored, in other
    colours, soft, noisy, compressed, with grey holes where people were.
    """
    cut = min(len(picture), int(side * rng.uniform(0.75, 1.35)))
    row, column = rng.integers(len(picture) - cut + 1, size=2)
    seen = cv2.resize(picture[row : row + cut, column : column + cut], (side, side), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.25:
        written = cv2.imencode(".jpg", seen, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 95))])[1]
        seen = np.asarray(cv2.imdecode(written, cv2.IMREAD_COLOR), np.uint8)
    pixels: Array = seen[:, ::-1] if rng.random() < 0.5 else seen
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
    """Other gains, saturation, contrast and brightness, (H, W, 3)."""
    pixels = pixels * rng.uniform(0.85, 1.15, 3).astype(np.float32)
    lightness = pixels.mean(2, keepdims=True)
    pixels = lightness + (pixels - lightness) * rng.uniform(0.5, 1.5)
    recoloured: Array = (pixels - 0.5) * rng.uniform(0.7, 1.35) + 0.5 + rng.uniform(-0.1, 0.1)
    return recoloured


def blob(rng: Rng, side: int) -> NDArray[np.bool_]:
    """A shape with soft bends that covers 10 to 60 % of a square, (side, side)."""
    cells = int(rng.integers(3, 6))
    hills = cv2.resize(rng.random((cells, cells)), (side, side), interpolation=cv2.INTER_CUBIC)
    return np.asarray(hills > np.quantile(hills, 1 - rng.uniform(0.1, 0.6)), np.bool_)


def as_input(pictures: Array) -> Tensor:
    """(N, H, W, 3) in [0, 1] -> what the network takes, (N, 3, H, W)."""
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    return standardised(pixels)


@torch.no_grad()
def measure(network: nn.Module, seed: int, each: int = 16) -> dict[str, Any]:
    """Accuracy on drawings over photos that were never trained on, ``each`` of every class, plain and augmented."""
    network.eval()
    pictures, labels = draw_set(each * len(CLASSES), seed, held_out=True)
    truth, rng = torch.from_numpy(labels), np.random.default_rng([STREAM, seed, 3])
    seen = np.stack([augmented(picture, rng, CROPS[1]) for picture in pictures])
    plain = _ranks(network, (pictures / 255).astype(np.float32), truth)  # (N,)
    worn = _ranks(network, seen, truth)  # (N,)
    return {
        "held_out_pictures": len(labels),
        "held_out_accuracy": _share(plain < 1),
        "held_out_top_3": _share(plain < 3),
        "held_out_accuracy_augmented": _share(worn < 1),
        "classes": {name: _share(plain[truth == number] < 1) for number, name in enumerate(CLASSES)},
    }


def _ranks(network: nn.Module, pictures: Array, truth: Tensor) -> Tensor:
    """How many classes come before the right one, (N,)."""
    logits = torch.cat([network(part) for part in torch.split(as_input(pictures), 64)])  # (N, K)
    return (logits > logits.gather(1, truth[:, None])).sum(1)


def _share(right: Tensor) -> float:
    return round(float(right.float().mean()), 4)


if __name__ == "__main__":
    command(train)
