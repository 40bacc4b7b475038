"""Training batches for the person segmentation: augmented scenes and people pasted into other scenes.

Pasting combines every person with every backdrop at almost no cost (Simple Copy-Paste, Ghiasi et al. 2021).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genartisan.drawing.canvas import Array, Rng
from genartisan.drawing.people import person_free_photos
from genartisan.networks.normalization import IMAGENET_MEAN, IMAGENET_STD, standardized

PASTED = 0.4  # share of pictures with people pasted from another scene
NOBODY = 0.07  # share of photos without people, where a network trained on drawings errs most easily
MISTAKABLE = ("chelsea.png", "motorcycle_left.png", "coffee.png", "china.jpg", "flower.jpg", "rocket.jpg")

Scenes = Sequence[NDArray[np.uint8]]  # RGB and person mask (0 or 1), (S, S, 4) each


def training_batch(scenes: Scenes, rng: Rng, count: int, size: int) -> tuple[Tensor, Tensor]:
    """Normalised pictures ``(N, 3, size, size)`` and person masks, 0 or 1, ``(N, size, size)``."""
    pairs = []
    for kind in rng.random(count):
        scene = scenes[int(rng.integers(len(scenes)))]
        if kind < NOBODY:
            pairs.append((_recolour(rng, _photo(rng, size)), np.zeros((size, size), np.bool_)))
        elif kind < NOBODY + PASTED:
            pairs.append(pasted(scenes, scene, rng, size))
        else:
            pairs.append(_moved(scene, rng, size))
    images, masks = zip(*pairs, strict=True)
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)  # (N, 3, size, size)
    return standardized(pixels, IMAGENET_MEAN, IMAGENET_STD), torch.from_numpy(np.stack(masks)).long()


def _moved(scene: NDArray[np.uint8], rng: Rng, size: int) -> tuple[Array, NDArray[np.bool_]]:
    """A scene, transformed and recoloured."""
    place = _random_place(rng, scene.shape[0], size, rng.uniform(0.9, 1.2))
    warped = cv2.warpAffine(scene[..., :3], place, (size, size), borderMode=cv2.BORDER_REFLECT_101)
    mask = cv2.warpAffine(scene[..., 3] * 255, place, (size, size), borderMode=cv2.BORDER_REFLECT_101) > 127
    return _recolour(rng, np.asarray(warped, np.uint8)), mask


def pasted(scenes: Scenes, scene: NDArray[np.uint8], rng: Rng, size: int) -> tuple[Array, NDArray[np.bool_]]:
    """Pastes the people of ``scene``, rescaled and recoloured, over a photo or another scene.

    Returns:
        The picture, ``(size, size, 3)`` in [0, 1], and the mask of all people in it.
    """
    if rng.random() < 0.5:
        behind, mask = _recolour(rng, _photo(rng, size)), np.zeros((size, size), np.bool_)
    else:
        behind, mask = _moved(scenes[int(rng.integers(len(scenes)))], rng, size)
    person = scene[..., 3]
    # People cropped by the frame must stay at its edge, or a straight outline would give the paste away.
    smallest = 1.0 if person[:, 0].any() or person[:, -1].any() else 0.5
    place = _random_place(rng, scene.shape[0], size, rng.uniform(smallest, 1.3), foot=bool(person[-1].any()))
    front = _recolour(rng, np.asarray(cv2.warpAffine(scene[..., :3], place, (size, size)), np.uint8))
    cover = cv2.warpAffine(person * 255, place, (size, size)).astype(np.float32) / 255
    feather = cv2.GaussianBlur(cover, (0, 0), rng.uniform(0.3, 0.9))[..., None]
    picture = behind + feather * (front - behind)
    return picture.astype(np.float32), mask | (cover > 0.5)


def _random_place(rng: Rng, side: int, size: int, zoom: float, foot: bool = False) -> NDArray[np.float64]:
    """A random affine map from a scene to a picture of ``size``, with a small rotation and half of them mirrored.

    Args:
        side: of the scene, pixels.
        zoom: 1 fits the scene into the picture.
        foot: keep the scene's lower edge at or below the picture's.
    """
    scale = size / side * zoom
    mirror = 1 if rng.random() < 0.5 else -1
    stretch = rng.uniform(0.9, 1.12)
    angle = rng.normal(0, 0.06)
    c, s = np.cos(angle), np.sin(angle)
    linear = scale * np.array([[c * stretch * mirror, -s], [s * stretch * mirror, c]])
    room = abs(size * zoom - size) / 2  # largest shift of the crop or of the smaller scene
    x, y = rng.uniform(-room, room, 2)
    if foot and zoom < 1:
        y = room
    offset = size / 2 + np.array((x, y)) - linear @ (side / 2, side / 2)
    return np.column_stack((linear, offset))


def _photo(rng: Rng, size: int) -> NDArray[np.uint8]:
    """A crop of a photo without people, ``(size, size, 3)``; `MISTAKABLE` photos are preferred to textures."""
    photos = person_free_photos()
    things = [name for name in MISTAKABLE if name in photos]
    names = things if things and rng.random() < 0.7 else sorted(photos)
    photo = photos[names[rng.integers(len(names))]]
    height, width = photo.shape[:2]
    side = int(min(height, width) * rng.uniform(0.5, 1.0))
    y, x = rng.integers(height - side + 1), rng.integers(width - side + 1)
    crop = cv2.resize(photo[y : y + side, x : x + side], (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray((crop[:, ::-1] if rng.random() < 0.5 else crop) * 255, np.uint8)


def _recolour(rng: Rng, image: NDArray[np.uint8]) -> Array:
    """Random saturation, gamma, gain and noise; the result is in [0, 1], ``(H, W, 3)``."""
    if rng.random() < 0.3:
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        share = rng.uniform(0, 1.5)
        image = np.asarray(cv2.addWeighted(image, share, grey, 1 - share, 0), np.uint8)
    levels = np.linspace(0, 1, 256)[:, None] ** rng.uniform(0.75, 1.35) * rng.uniform(0.9, 1.1, 3)  # (256, 3)
    x: Array = cv2.LUT(image, levels.astype(np.float32)[None])
    if rng.random() < 0.3:
        x = x + np.float32(0.03) * rng.standard_normal(x.shape, np.float32)
    return np.clip(x, 0, 1)
