"""Trains the person segmentation on drawn scenes: ``python -m genartisan.training.train_fcn --out DIR --seed 0``.

Takes an hour and a half on one CPU core, after twenty minutes of drawing the scenes. The scenes are cached in
DIR/scenes.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from genartisan.drawing.collage import training_batch
from genartisan.drawing.parallel import run_parallel
from genartisan.drawing.people import draw_scene
from genartisan.evaluation.provenance import made_by
from genartisan.io.atomic import replacing
from genartisan.networks.compact_fcn import CompactFcn
from genartisan.training.measure_fcn import measure
from genartisan.training.trainer import Recipe, command, fit, parameter_count, save_network

ARCHITECTURE = {"classes": ["__background__", "person"], "widths": [16, 32, 64, 128], "image_size": 144}
RECIPE = Recipe(steps=24_000, rate=2e-3, batch=8, decay=1e-2, average=0.998)
SCENES = 12_000
FIRST_SEED = 10_000  # lower seeds are held out, for measuring and tests
SCENE_SIDE = 160  # pixels
CHUNK = 250  # scenes per file


def train(
    out_dir: Path, seed: int = 0, *, steps: int = RECIPE.steps, resume: bool = False, device: torch.device | None = None
) -> dict[str, Any]:
    """Trains CompactFcn and writes fcn.safetensors and fcn.json; returns the figures."""
    made = made_by(seed)
    torch.manual_seed(seed)
    model = CompactFcn(**ARCHITECTURE).to(memory_format=torch.channels_last)  # type: ignore[arg-type]
    scenes = [scene for chunk in draw_scenes(out_dir / "scenes", SCENES) for scene in chunk]

    def loss_at(step: int) -> Tensor:
        rng = np.random.default_rng([seed, step])
        size = int(rng.choice(sizes_at(step / steps)))
        images, person = training_batch(scenes, rng, RECIPE.batch, size)
        return segmentation_loss(model(images.to(device))["out"], person.to(device))

    recipe, checkpoint = replace(RECIPE, steps=steps), out_dir / "fcn_checkpoint.pt"
    fit(model, loss_at, recipe, checkpoint=checkpoint, resume=resume, device=device)
    figures = measure(model) | {"parameters": parameter_count(model), "steps": steps, "scenes": SCENES}
    save_network(out_dir, "fcn", model, {"kind": "compact_fcn", **ARCHITECTURE}, figures, made)
    return figures


def sizes_at(progress: float) -> tuple[int, ...]:
    """Sides of a batch's pictures, pixels: small and cheap first, as in use at the end."""
    if progress < 0.5:
        return (80, 96, 112)
    return (96, 112, 128) if progress < 0.8 else (128, 144)


def draw_scenes(folder: Path, count: int) -> list[NDArray[np.uint8]]:
    """Draws ``count`` scenes unless cached in ``folder``: RGB and mask, ``(CHUNK, S, S, 4)`` each."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {start: folder / f"scenes_{SCENE_SIDE}_{start:06d}.npy" for start in range(0, count, CHUNK)}
    if missing := {start: path for start, path in paths.items() if not path.is_file()}:
        run_parallel(_draw_chunk, list(missing), list(missing.values()), description="scenes", unit_scale=CHUNK)
    return [np.load(path, mmap_mode="r") for path in paths.values()]


def _draw_chunk(start: int, path: Path) -> None:
    scenes = [draw_scene(FIRST_SEED + start + index, (SCENE_SIDE, SCENE_SIDE)) for index in range(CHUNK)]
    with replacing(path) as temporary, temporary.open("wb") as file:  # given a path, np.save appends a suffix
        np.save(file, np.stack([np.dstack((scene.image, scene.person)) for scene in scenes]))


def segmentation_loss(logits: Tensor, person: Tensor) -> Tensor:
    """Cross-entropy plus half of 1 - the soft IoU, averaged over the pictures with people."""
    entropy = F.cross_entropy(logits, person)
    probability, truth = logits.softmax(1)[:, 1], person.float()  # (N, h, w)
    intersection = (probability * truth).sum((1, 2))
    union = (probability + truth - probability * truth).sum((1, 2))
    peopled = (truth.sum((1, 2)) > 0).float()
    return entropy + 0.5 * ((1 - intersection / union.clamp(min=1)) * peopled).sum() / peopled.sum().clamp(min=1)


if __name__ == "__main__":
    command(train)
