"""Trains the StyleNet that a request starts from, one that copies its input.

``python -m genartisan.embedded.train_stylenet --out DIR --seed 0``

Takes about a quarter of an hour on one CPU core.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from genartisan.embedded.canvas import Array, Rng
from genartisan.embedded.photos import load_photos
from genartisan.embedded.training import command, fit, made_by, save_network
from genartisan.stylenet import ResidualBlock, StyleNet, random_stylenet

HELD_OUT = ("astronaut.png", "coffee.png", "motorcycle_left.png")  # measured, never trained on
SLOPE = 4.8  # of the logits over the brightness: the straight line that a sigmoid turns into the least error


def train(
    out_dir: Path,
    seed: int = 0,
    *,
    steps: int = 900,
    batch: int = 4,
    resume: bool = False,
    device: torch.device | None = None,
) -> dict[str, Any]:
    """Trains an identity StyleNet and writes stylenet.safetensors and stylenet.json; returns the figures."""
    made = made_by(seed)
    model = random_stylenet(seed)
    open_straight_path(model)
    photos = {name: photo.astype(np.float32) / 255 for name, photo in load_photos().items()}
    known = [photo for name, photo in sorted(photos.items()) if name not in HELD_OUT]

    def loss_at(step: int) -> Tensor:
        rng = np.random.default_rng([seed, step])
        size = (int(rng.choice((96, 128, 160, 192))), int(rng.choice((96, 128, 160))))
        pictures = np.stack([random_picture(rng, known, size) for _ in range(batch)])
        images = torch.from_numpy(pictures).permute(0, 3, 1, 2).to(device)  # (N, 3, H, W)
        error: Tensor = model(images) - images  # (N, 3, H, W)
        return error.abs().mean() + 5 * error.square().mean()

    checkpoint = out_dir / "stylenet_checkpoint.pt"
    fit(model, loss_at, steps=steps, rate=1e-3, checkpoint=checkpoint, resume=resume, device=device)
    figures = {
        "psnr_db": {name: round(psnr(model, photos[name]), 2) for name in HELD_OUT if name in photos},
        "steps": steps,
    }
    save_network(out_dir, "stylenet", model, {"kind": "stylenet"}, figures, made)
    return figures


@torch.no_grad()
def open_straight_path(model: StyleNet) -> None:
    """Rewires a random StyleNet so that it copies its input to begin with.

    Colour travels along the 1x1 residuals of the outermost blocks. Each block adds rectified,
    instance-normalised maps to it, which no small weight can quieten, for the norm undoes any scale. So a colour goes
    by two channels, once as it is and once negated, and both get the same map added: their difference is the colour.
    """
    colour, channels = range(3), model.last.in_channels
    model.first.weight[:3] = torch.eye(3)[:, :, None, None]
    cast(Tensor, model.first.bias)[:3] = 0
    _pair(model.entry)
    _pair(model.exit)
    for c in colour:
        model.entry.skip.weight[c, c], model.entry.skip.weight[c + 3, c] = 1, -1
        arrives = model.exit.skip.weight[:, channels + c : channels + c + 4 : 3, 0, 0]  # (c_out, 2): the entry's pair
        arrives[c], arrives[c + 3] = torch.tensor((0.5, -0.5)), torch.tensor((-0.5, 0.5))
    model.last.weight *= 0.05
    model.last.weight[:, :6] = 0
    for c in colour:
        model.last.weight[c, c], model.last.weight[c, c + 3] = SLOPE / 2, -SLOPE / 2
    cast(Tensor, model.last.bias).fill_(-SLOPE / 2)


def _pair(block: ResidualBlock) -> None:
    """Gives channels 3 to 5 the maps of channels 0 to 2, and clears the residual into all six."""
    last = cast(nn.Conv2d, block.conv[3])
    for tensor in (last.weight, cast(Tensor, last.bias)):
        tensor[3:6] = tensor[:3]
    block.skip.weight[:6] = 0
    cast(Tensor, block.skip.bias)[:6] = 0


def random_picture(rng: Rng, photos: list[Array], size: tuple[int, int]) -> Array:
    """A crop of a photo, often recoloured, ``(H, W, 3)`` in [0, 1]: every colour and contrast has to come through."""
    photo = photos[rng.integers(len(photos))]
    height, width = photo.shape[:2]
    scale = rng.uniform(0.3, 1.0) * min(height / size[0], width / size[1])
    h, w = max(8, int(size[0] * scale)), max(8, int(size[1] * scale))
    y, x = rng.integers(height - h + 1), rng.integers(width - w + 1)
    crop: Array = cv2.resize(
        np.ascontiguousarray(photo[y : y + h, x : x + w]), size[::-1], interpolation=cv2.INTER_AREA
    )
    crop = crop[:, ::-1] if rng.random() < 0.5 else crop
    if rng.random() < 0.7:
        crop = crop[..., rng.permutation(3)] ** rng.uniform(0.5, 1.8, 3)
        if rng.random() < 0.15:
            crop = 1 - crop
        if rng.random() < 0.2:
            crop = np.repeat(crop.mean(2, keepdims=True), 3, 2)
        if rng.random() < 0.3:
            low, high = np.sort(rng.uniform(0, 1, 2))
            crop = low + (high - low) * crop
        if rng.random() < 0.3:
            crop = (crop - 0.5) * rng.uniform(1, 2) + 0.5
    return np.clip(crop, 0, 1).astype(np.float32)


@torch.no_grad()
def psnr(model: StyleNet, photo: Array, short: int = 256) -> float:
    """Peak signal-to-noise ratio, dB, of the copy of a photo, ``(H, W, 3)`` in [0, 1], shrunk to ``short``."""
    scale = short / min(photo.shape[:2])
    small = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    image = torch.from_numpy(small).permute(2, 0, 1)[None]  # (1, 3, h, w)
    return float(-10 * torch.log10((model(image) - image).square().mean()))


if __name__ == "__main__":
    command(train)
