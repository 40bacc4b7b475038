"""The person segmentation's batches: drawn scenes moved and recoloured, and people cut out of one and put in another.

Cutting and pasting makes every person meet every backdrop, for next to nothing (Simple Copy-Paste, Ghiasi et al. 2021).
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

PASTED = 0.4  # share of the pictures whose people are cut out of another scene
NOBODY = 0.07  # share of photos without people: what a network trained on drawings is most easily fooled by
MISTAKABLE = ("chelsea.png", "motorcycle_left.png", "coffee.png", "china.jpg", "flower.jpg", "rocket.jpg")

Scenes = Sequence[NDArray[np.uint8]]  # each RGB and mask (1 where a person is), (S, S, 4)


def training_batch(scenes: Scenes, rng: Rng, count: int, size: int) -> tuple[Tensor, Tensor]:
    """Pictures ``(N, 3, size, size)``, normalised, and where people are: 0 or 1, ``(N, size, size)``."""
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
    """A scene under another frame and light."""
    place = _random_place(rng, scene.shape[0], size, rng.uniform(0.9, 1.2))
    drawn = cv2.warpAffine(scene[..., :3], place, (size, size), borderMode=cv2.BORDER_REFLECT_101)
    mask = cv2.warpAffine(scene[..., 3] * 255, place, (size, size), borderMode=cv2.BORDER_REFLECT_101) > 127
    return _recolour(rng, np.asarray(drawn, np.uint8)), mask


def pasted(scenes: Scenes, scene: NDArray[np.uint8], rng: Rng, size: int) -> tuple[Array, NDArray[np.bool_]]:
    """The people of ``scene``, larger or smaller and in a light of their own, before a photo or another scene.

    Returns:
        The picture, ``(size, size, 3)`` in [0, 1], and where it shows people, those of the backdrop too.
    """
    if rng.random() < 0.5:
        behind, mask = _recolour(rng, _photo(rng, size)), np.zeros((size, size), np.bool_)
    else:
        behind, mask = _moved(scenes[int(rng.integers(len(scenes)))], rng, size)
    person = scene[..., 3]
    # Who is cut by the frame has to stay cut by it, or a straight edge would tell the paste.
    smallest = 1.0 if person[:, 0].any() or person[:, -1].any() else 0.5
    place = _random_place(rng, scene.shape[0], size, rng.uniform(smallest, 1.3), foot=bool(person[-1].any()))
    front = _recolour(rng, np.asarray(cv2.warpAffine(scene[..., :3], place, (size, size)), np.uint8))
    cover = cv2.warpAffine(person * 255, place, (size, size)).astype(np.float32) / 255
    feather = cv2.GaussianBlur(cover, (0, 0), rng.uniform(0.3, 0.9))[..., None]
    picture = behind + feather * (front - behind)
    return picture.astype(np.float32), mask | (cover > 0.5)


def _random_place(rng: Rng, side: int, size: int, zoom: float, foot: bool = False) -> NDArray[np.float64]:
    """An affine map from a scene to a picture of ``size``: turned a little, mirrored half the time.

    Args:
        side: the scene's, pixels.
        zoom: 1 fits the scene into the picture.
        foot: the scene's lower edge is to lie at the picture's, or below it.
    """
    scale = size / side * zoom
    mirror = 1 if rng.random() < 0.5 else -1
    stretch = rng.uniform(0.9, 1.12)
    angle = rng.normal(0, 0.06)
    c, s = np.cos(angle), np.sin(angle)
    linear = scale * np.array([[c * stretch * mirror, -s], [s * stretch * mirror, c]])
    room = abs(size * zoom - size) / 2  # how far the crop, or the small scene, may wander
    x, y = rng.uniform(-room, room, 2)
    if foot and zoom < 1:
        y = room
    offset = size / 2 + np.array((x, y)) - linear @ (side / 2, side / 2)
    return np.column_stack((linear, offset))


def _photo(rng: Rng, size: int) -> NDArray[np.uint8]:
    """Most of a photo without people, ``(size, size, 3)``; textures, which fool nobody, more seldom."""
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
    """Saturation, gamma and gain at random; the result is in [0, 1], ``(H, W, 3)``."""
    if rng.random() < 0.3:
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        share = rng.uniform(0, 1.5)
        image = np.asarray(cv2.addWeighted(image, share, grey, 1 - share, 0), np.uint8)
    levels = np.linspace(0, 1, 256)[:, None] ** rng.uniform(0.75, 1.35) * rng.uniform(0.9, 1.1, 3)  # (256, 3)
    x: Array = cv2.LUT(image, levels.astype(np.float32)[None])
    if rng.random() < 0.3:
        x = x + np.float32(0.03) * rng.standard_normal(x.shape, np.float32)
    return np.clip(x, 0, 1)
