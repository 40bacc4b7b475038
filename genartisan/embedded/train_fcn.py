"""Trains the person segmentation on drawn scenes: ``python -m genartisan.embedded.train_fcn --out DIR --seed 0``.

Takes about an hour on two CPU cores, half of it for drawing the scenes (kept in DIR/scenes, used again by a next run).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.functional import normalize
from tqdm import tqdm

from genartisan.compact_fcn import CompactFcn
from genartisan.embedded.canvas import Rng
from genartisan.embedded.people import draw_scene, person_free_photos
from genartisan.embedded.training import command, fit, save_network
from genartisan.networks import IMAGENET_MEAN, IMAGENET_STD

MEAN, STD = list(IMAGENET_MEAN), list(IMAGENET_STD)  # as torchvision's FCN expects
ARCHITECTURE = {"classes": ["__background__", "person"], "widths": [16, 32, 64, 96], "image_size": 128}
FIRST_SEED = 10_000  # scenes below it are kept for measuring and for the tests
CHUNK = 250  # scenes a file


def train(
    out_dir: Path, seed: int = 0, *, steps: int = 2500, scenes: int = 4500, batch: int = 16, resume: bool = False
) -> dict[str, Any]:
    """Trains CompactFcn and writes fcn.safetensors and fcn.json; returns the figures."""
    torch.manual_seed(seed)
    model = CompactFcn(**ARCHITECTURE)  # type: ignore[arg-type]
    pool = draw_pool(out_dir / "scenes", scenes)

    def loss_at(step: int) -> Tensor:
        rng = np.random.default_rng([seed, step])
        size = int(
            rng.choice((80, 96, 112) if step < steps * 0.75 else (112, 128, 160))
        )  # coarse first: twice as many scenes
        images, person = training_batch(pool, rng, batch, size)
        return segmentation_loss(model(images)["out"], person)

    fit(model, loss_at, steps=steps, rate=2e-3, decay=1e-3, checkpoint=out_dir / "fcn_checkpoint.pt", resume=resume)
    figures = measure(model) | {
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": steps,
        "scenes": len(pool),
    }
    save_network(out_dir, "fcn", model, {"kind": "compact_fcn", **ARCHITECTURE}, figures)
    return figures


def draw_pool(folder: Path, count: int, size: int = 144) -> NDArray[np.uint8]:
    """Draws ``count`` scenes, or reads those drawn before: RGB and mask, ``(count, size, size, 4)``."""
    folder.mkdir(parents=True, exist_ok=True)
    chunks = []
    for start in tqdm(range(0, count, CHUNK), desc="scenes", unit_scale=CHUNK):
        path = folder / f"pool_{start:06d}.npy"
        if not path.is_file():
            drawn = [draw_scene(FIRST_SEED + start + index, (size, size)) for index in range(CHUNK)]
            np.save(path, np.stack([np.dstack((scene.image, scene.person)) for scene in drawn]))
        chunks.append(np.load(path))
    return np.concatenate(chunks)


def training_batch(pool: NDArray[np.uint8], rng: Rng, count: int, size: int) -> tuple[Tensor, Tensor]:
    """Scenes moved and recoloured: ``(N, 3, size, size)``, normalised, and 0 or 1, ``(N, size, size)``."""
    images, masks = [], []
    for scene in pool[rng.integers(len(pool), size=count)]:
        place = _random_place(rng, scene.shape[0], size)
        drawn = cv2.warpAffine(scene, place, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        masks.append(cv2.warpAffine(scene[..., 3] * 255, place, (size, size), borderMode=cv2.BORDER_REFLECT_101) > 127)
        images.append(_recolour(rng, np.asarray(drawn[..., :3], np.uint8)))
    # One whole photo without people a batch: what a network trained on drawings is most easily fooled by.
    images[0], masks[0] = _recolour(rng, _whole_photo(rng, size)), np.zeros((size, size), np.bool_)
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)  # (N, 3, size, size)
    return normalize(pixels, MEAN, STD), torch.from_numpy(np.stack(masks)).long()


def _random_place(rng: Rng, side: int, size: int) -> NDArray[np.float64]:
    """An affine map from a scene to a picture of ``size``: zoomed, turned, mirrored half the time."""
    zoom = size / side * rng.uniform(0.9, 1.2)
    mirror = 1 if rng.random() < 0.5 else -1
    stretch = rng.uniform(0.9, 1.12)
    angle = rng.normal(0, 0.06)
    c, s = np.cos(angle), np.sin(angle)
    linear = zoom * np.array([[c * stretch * mirror, -s], [s * stretch * mirror, c]])
    room = max(0.0, (zoom * side - size) / 2)  # how far the crop may wander
    offset = size / 2 + rng.uniform(-room, room, 2) - linear @ (side / 2, side / 2)
    return np.column_stack((linear, offset))


def _whole_photo(rng: Rng, size: int) -> NDArray[np.uint8]:
    """Most of a photo without people, ``(size, size, 3)``."""
    photos = person_free_photos()
    photo = photos[str(rng.choice(sorted(photos)))]
    height, width = photo.shape[:2]
    side = int(min(height, width) * rng.uniform(0.6, 1.0))
    y, x = rng.integers(height - side + 1), rng.integers(width - side + 1)
    crop = cv2.resize(photo[y : y + side, x : x + side], (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray((crop[:, ::-1] if rng.random() < 0.5 else crop) * 255, np.uint8)


def _recolour(rng: Rng, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Gamma, gain and saturation at random; the result is in [0, 1], ``(H, W, 3)``."""
    x = image.astype(np.float32) / 255
    if rng.random() < 0.3:
        mean = x.mean(2, keepdims=True)
        x = mean + (x - mean) * rng.uniform(0, 1.5)
    x = np.clip(x, 0, 1) ** rng.uniform(0.75, 1.35) * rng.uniform(0.9, 1.1, 3)
    if rng.random() < 0.3:
        x = x + rng.normal(0, 0.03, x.shape)
    return np.clip(x, 0, 1).astype(np.float32)


def segmentation_loss(logits: Tensor, person: Tensor) -> Tensor:
    """Cross-entropy, and 1 - a soft intersection over union of each picture that has a person."""
    entropy = F.cross_entropy(logits, person)
    chance, truth = logits.softmax(1)[:, 1], person.float()  # (N, h, w)
    both = (chance * truth).sum((1, 2))
    either = (chance + truth - chance * truth).sum((1, 2))
    there = (truth.sum((1, 2)) > 0).float()
    return entropy + 0.5 * ((1 - both / either.clamp(min=1)) * there).sum() / there.sum().clamp(min=1)


@torch.no_grad()
def person_share(model: CompactFcn, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The probability of a person at each pixel, ``(H, W)``, of an RGB picture, ``(H, W, 3)``."""
    height, width = image.shape[:2]
    scale = model.image_size / min(height, width)
    small = (max(32, round(height * scale)), max(32, round(width * scale)))
    pixels = torch.from_numpy(image.astype(np.float32) / 255).permute(2, 0, 1)[None]  # (1, 3, H, W)
    pixels = F.interpolate(pixels, small, mode="bilinear", antialias=True).clamp(0, 1)
    chance = model(normalize(pixels, MEAN, STD))["out"].softmax(1)[:, 1:]  # (1, 1, h, w)
    return np.asarray(F.interpolate(chance, (height, width), mode="bilinear")[0, 0].numpy(), np.float32)


def intersection_over_union(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """1 where both are empty."""
    either = int((found | truth).sum())
    return float((found & truth).sum()) / either if either else 1.0


def measure(model: CompactFcn, count: int = 200) -> dict[str, Any]:
    """IoU on held-out drawn scenes with people, and the share of photos without any that is taken for people."""
    model.eval()
    scores, alarms = [], []
    for seed in range(count):
        scene = draw_scene(seed, (192, 192))
        found, truth = person_share(model, scene.image) > 0.5, scene.person > 0
        if truth.any():
            scores.append(intersection_over_union(found, truth))
        else:
            alarms.append(float(found.mean()))
    photos = {
        name: float((person_share(model, (photo * 255).astype(np.uint8)) > 0.5).mean())
        for name, photo in person_free_photos().items()
    }
    return {
        "drawn_iou_mean": round(float(np.mean(scores)), 4),
        "drawn_iou_median": round(float(np.median(scores)), 4),
        "drawn_scenes_measured": len(scores),
        "drawn_empty_scenes_false_share": round(float(np.mean(alarms)), 4),
        "training_photos_false_share": {name: round(share, 4) for name, share in photos.items()},
    }


if __name__ == "__main__":
    command(train)
