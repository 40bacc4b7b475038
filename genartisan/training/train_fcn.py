"""Trains the person segmentation on drawn scenes: ``python -m genartisan.training.train_fcn --out DIR --seed 0``.

Takes about half an hour of one CPU core, after four minutes for drawing the scenes, which all cores share (kept in
DIR/scenes, used again by a next run).
"""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from genartisan.drawing.collage import training_batch
from genartisan.drawing.people import draw_scene
from genartisan.evaluation.provenance import made_by
from genartisan.io.atomic import replacing
from genartisan.networks.compact_fcn import CompactFcn
from genartisan.training.measure_fcn import measure
from genartisan.training.trainer import command, fit, save_network

ARCHITECTURE = {"classes": ["__background__", "person"], "widths": [16, 32, 64, 128], "image_size": 144}
FIRST_SEED = 10_000  # scenes below it are kept for measuring and for the tests
SCENE_SIDE = 160  # pixels
CHUNK = 250  # scenes a file


def train(
    out_dir: Path,
    seed: int = 0,
    *,
    steps: int = 24000,
    scenes: int = 12000,
    batch: int = 8,
    resume: bool = False,
    device: torch.device | None = None,
) -> dict[str, Any]:
    """Trains CompactFcn and writes fcn.safetensors and fcn.json; returns the figures."""
    made = made_by(seed)
    torch.manual_seed(seed)
    model = CompactFcn(**ARCHITECTURE).to(memory_format=torch.channels_last)  # type: ignore[arg-type]
    drawn = [scene for chunk in draw_scenes(out_dir / "scenes", scenes) for scene in chunk]

    def loss_at(step: int) -> Tensor:
        rng = np.random.default_rng([seed, step])
        size = int(rng.choice(sizes_at(step / steps)))
        images, person = training_batch(drawn, rng, batch, size)
        return segmentation_loss(model(images.to(device))["out"], person.to(device))

    checkpoint = out_dir / "fcn_checkpoint.pt"
    fit(
        model,
        loss_at,
        steps=steps,
        rate=2e-3,
        decay=1e-2,
        average=0.998,
        checkpoint=checkpoint,
        resume=resume,
        device=device,
    )
    figures = measure(model) | {
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": steps,
        "scenes": scenes,
    }
    save_network(out_dir, "fcn", model, {"kind": "compact_fcn", **ARCHITECTURE}, figures, made)
    return figures


def sizes_at(progress: float) -> tuple[int, ...]:
    """Sides of a batch's pictures, pixels: small at first, for a scene then costs half; at last as they are used."""
    if progress < 0.5:
        return (80, 96, 112)
    return (96, 112, 128) if progress < 0.8 else (128, 144)


def draw_scenes(folder: Path, count: int) -> list[NDArray[np.uint8]]:
    """Draws ``count`` scenes on all cores, or opens those drawn before: RGB and mask, ``(CHUNK, S, S, 4)`` each."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {start: folder / f"scenes_{SCENE_SIDE}_{start:06d}.npy" for start in range(0, count, CHUNK)}
    missing = {start: path for start, path in paths.items() if not path.is_file()}
    if missing:
        with ProcessPoolExecutor(os.cpu_count()) as workers:
            list(tqdm(workers.map(_draw_chunk, missing, missing.values()), "scenes", len(missing), unit_scale=CHUNK))
    return [np.load(path, mmap_mode="r") for path in paths.values()]


def _draw_chunk(start: int, path: Path) -> None:
    cv2.setNumThreads(1)
    drawn = [draw_scene(FIRST_SEED + start + index, (SCENE_SIDE, SCENE_SIDE)) for index in range(CHUNK)]
    with replacing(path) as temporary, temporary.open("wb") as file:  # to a path save would add a suffix
        np.save(file, np.stack([np.dstack((scene.image, scene.person)) for scene in drawn]))


def segmentation_loss(logits: Tensor, person: Tensor) -> Tensor:
    """Cross-entropy, and 1 - a soft intersection over union of each picture that has a person."""
    entropy = F.cross_entropy(logits, person)
    chance, truth = logits.softmax(1)[:, 1], person.float()  # (N, h, w)
    both = (chance * truth).sum((1, 2))
    either = (chance + truth - chance * truth).sum((1, 2))
    there = (truth.sum((1, 2)) > 0).float()
    return entropy + 0.5 * ((1 - both / either.clamp(min=1)) * there).sum() / there.sum().clamp(min=1)


if __name__ == "__main__":
    command(train)
