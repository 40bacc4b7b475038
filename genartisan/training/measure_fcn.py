"""Figures of the person segmentation on held-out scenes, the astronaut and photos without people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import skimage
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from genartisan.drawing.people import draw_scene, person_free_photos
from genartisan.drawing.photos import load_photos
from genartisan.networks.normalization import IMAGENET_MEAN, IMAGENET_STD, standardized

ASTRONAUT_MASK = Path(__file__).parents[1] / "evaluation" / "astronaut_person.png"  # drawn by hand
# Pictures without people in scikit-image's wheel that CompactFcn is not trained on. The coins bear heads.
UNSEEN = (
    "cell.png", "clock_motion.png", "coins.png", "color.png", "horse.png", "logo.png", "moon.png", "page.png",
    "text.png",
)  # fmt: skip


class Segmenter(Protocol):
    """A segmentation network with the classes background and person."""

    image_size: int

    def __call__(self, images: Tensor) -> dict[str, Tensor]: ...


@torch.no_grad()
def person_share(model: Segmenter, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The person probability of each pixel, ``(H, W)``, of an RGB picture, ``(H, W, 3)``."""
    height, width = image.shape[:2]
    scale = model.image_size / min(height, width)
    small = (max(32, round(height * scale)), max(32, round(width * scale)))
    pixels = torch.from_numpy(image.astype(np.float32) / 255).permute(2, 0, 1)[None]  # (1, 3, H, W)
    pixels = F.interpolate(pixels, small, mode="bilinear", antialias=True).clamp(0, 1)
    logits = model(standardized(pixels, IMAGENET_MEAN, IMAGENET_STD))["out"]  # (1, 2, h, w)
    probability = logits.softmax(1)[:, 1:]  # (1, 1, h, w)
    return np.asarray(F.interpolate(probability, (height, width), mode="bilinear")[0, 0].numpy(), np.float32)


def confusion(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The confusion matrix in pixels: truth in rows, prediction in columns, background first, ``(2, 2)``."""
    return np.bincount((2 * truth + predicted).ravel(), minlength=4).reshape(2, 2)


def class_ious(table: NDArray[np.int64]) -> NDArray[np.float64]:
    """The IoUs of background and person, ``(2,)``, from a confusion matrix; their mean is VOC's mean IoU."""
    intersection = np.diag(table)
    return np.asarray(intersection / (table.sum(0) + table.sum(1) - intersection))


def measure(model: Segmenter, count: int = 300) -> dict[str, Any]:
    """IoUs and false positives on held-out scenes, the astronaut and photos without people.

    ``mean_iou`` pools the pixels of all scenes and averages over both classes, as VOC does; ``person_iou_by_scene`` is
    computed per scene, so that a small person counts as much as a large one.
    """
    table, by_scene, alarms = np.zeros((2, 2), np.int64), [], []
    for seed in range(count):
        scene = draw_scene(seed, (192, 192))
        predicted, truth = person_share(model, scene.image) > 0.5, scene.person > 0
        scene_table = confusion(predicted, truth)
        table += scene_table
        if truth.any():
            by_scene.append(class_ious(scene_table)[1])
        else:
            alarms.append(float(predicted.mean()))
    photos = {name: (photo * 255).astype(np.uint8) for name, photo in person_free_photos().items()}
    return {
        "drawn_scenes": {
            "scenes": count,
            **_rounded_ious(table),
            "person_iou_by_scene_mean": round(float(np.mean(by_scene)), 4),
            "person_iou_by_scene_median": round(float(np.median(by_scene)), 4),
            "scenes_without_people_false_share": round(float(np.mean(alarms)), 4),
        },
        "astronaut": _astronaut(model),
        "photos_without_people_false_share": _false_shares(model, photos),
        "unseen_pictures_without_people_false_share": _false_shares(model, _unseen_pictures()),
    }


def _false_shares(model: Segmenter, pictures: Mapping[str, NDArray[np.uint8]]) -> dict[str, float]:
    """The share of false positive pixels in each picture without people."""
    return {name: round(float((person_share(model, image) > 0.5).mean()), 4) for name, image in pictures.items()}


def _unseen_pictures() -> dict[str, NDArray[np.uint8]]:
    """The pictures of `UNSEEN` in the installed scikit-image, RGB."""
    folder = Path(skimage.__file__).parent / "data"
    paths = [folder / name for name in UNSEEN if (folder / name).is_file()]
    return {path.name: np.asarray(Image.open(path).convert("RGB"), np.uint8) for path in paths}


def _astronaut(model: Segmenter) -> dict[str, float] | None:
    """The IoUs on the astronaut; None outside a checkout, where the mask is missing."""
    mask = cv2.imread(str(ASTRONAUT_MASK), cv2.IMREAD_GRAYSCALE) if ASTRONAUT_MASK.is_file() else None
    if mask is None:
        return None
    return _rounded_ious(confusion(person_share(model, load_photos()["astronaut.png"]) > 0.5, mask > 127))


def _rounded_ious(table: NDArray[np.int64]) -> dict[str, float]:
    background, person = class_ious(table)
    return {
        "mean_iou": round(float((background + person) / 2), 4),
        "background_iou": round(float(background), 4),
        "person_iou": round(float(person), 4),
    }
