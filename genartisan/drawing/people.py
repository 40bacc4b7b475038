"""Drawn scenes with and without people, and their exact masks: the training data of the person segmentation.

The drawings are crude but highly varied (domain randomisation): a network that finds people in all of them must rely
on what they share with photos, a head on a neck on a trunk.
``python -m genartisan.drawing.people PICTURE.jpg`` draws a sheet of scenes and masks.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from genartisan.drawing.backdrops import Photos, backdrop, draw_thing
from genartisan.drawing.bodies import draw_person
from genartisan.drawing.canvas import Array, Canvas, Rng, ellipse, grey, noise
from genartisan.drawing.photos import load_photos

# Photos in the wheels without people: not the astronaut (the test), the cameraman or the coins, which bear heads.
PERSONLESS = (
    "chelsea.png", "coffee.png", "rocket.jpg", "retina.jpg", "hubble_deep_field.jpg", "ihc.png", "motorcycle_left.png",
    "brick.png", "grass.png", "gravel.png", "china.jpg", "flower.jpg",
)  # fmt: skip
FACES = 100  # the first 100 pictures of lfw_subset are faces, the others are not


@dataclass(frozen=True)
class Scene:
    """A picture and its person mask.

    Attributes:
        image: RGB, uint8, ``(H, W, 3)``.
        person: 1 for person, else 0, uint8, ``(H, W)``.
    """

    image: NDArray[np.uint8]
    person: NDArray[np.uint8]


def draw_scene(seed: int, size: tuple[int, int] = (192, 192)) -> Scene:
    """A random scene, reproducible by seed and size (height, width)."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi)
    canvas = Canvas(backdrop(rng, size, person_free_photos()), np.array((np.cos(angle), np.sin(angle)), np.float32))
    heads = _place_heads(rng, size)
    reach = np.mean([height for _, height in heads]) if heads else min(size) * rng.uniform(0.1, 0.5)
    for _ in range(int(rng.integers(0, 5))):
        draw_thing(canvas, rng, float(reach) * rng.uniform(0.3, 1.5))
    for centre, height in heads:
        if rng.random() < 0.4:
            _cast_shadow(canvas, rng, centre, height)
        draw_person(canvas, rng, centre, height, real_faces())
    if rng.random() < 0.35:
        for _ in range(int(rng.integers(1, 3))):
            draw_thing(canvas, rng, float(reach) * rng.uniform(0.2, 0.9))  # occludes people
    flip = 1 if rng.random() < 0.5 else -1
    image = _photograph(rng, canvas.image)[:, ::flip]
    person = (canvas.person > 0.5).astype(np.uint8)[:, ::flip]
    return Scene(np.ascontiguousarray(image), np.ascontiguousarray(person))


def _place_heads(rng: Rng, size: tuple[int, int]) -> list[tuple[Array, float]]:
    """Centres and heights of the heads in a portrait, selfie, group, distant group or empty scene, small ones first."""
    height, width = size
    kind, short = rng.random(), min(size)
    if kind < 0.12:
        return []
    if kind < 0.4:  # half a body
        sizes, low = [rng.uniform(0.2, 0.42) * short], 0.25
    elif kind < 0.58:  # a selfie
        sizes, low = [rng.uniform(0.4, 0.75) * short for _ in range(int(rng.choice((1, 1, 2))))], 0.4
    elif kind < 0.8:  # a group, cut by the frame
        sizes, low = [rng.uniform(0.14, 0.35) * short for _ in range(int(rng.integers(2, 5)))], 0.3
    else:  # full bodies, far away
        sizes, low = [rng.uniform(0.055, 0.13) * height for _ in range(int(rng.integers(1, 6)))], 0.35
    places = []
    for head in sorted(sizes):
        x = rng.uniform(0.3, 0.7) * width if len(sizes) == 1 else rng.uniform(0.05, 0.95) * width
        y = max(head * rng.uniform(0.45, 0.8), rng.uniform(low - 0.17, low + 0.15) * height)
        places.append((np.array((x, y), np.float32), float(head)))
    return places


def _cast_shadow(canvas: Canvas, rng: Rng, centre: Array, height: float) -> None:
    """A person's soft shadow on the background."""
    place = centre + rng.uniform((-0.6, 0.5), (0.6, 3.0)).astype(np.float32) * height
    shape = ellipse(place, (height * rng.uniform(0.6, 1.2), height * rng.uniform(0.8, 2.5)))
    canvas.paint(shape, grey(0.05), person=False, opacity=rng.uniform(0.1, 0.4), soft=min(height * 0.3, 12))


def _photograph(rng: Rng, image: Array) -> NDArray[np.uint8]:
    """Simulates a camera: vignette, exposure, contrast, blur, noise and JPEG. Returns uint8, ``(H, W, 3)``."""
    size = image.shape[:2]
    if rng.random() < 0.5:
        image = image * (
            1 + rng.uniform(0.1, 0.5) * noise(rng, (size[0], size[1]), (size[0] * 0.7, size[1] * 0.7))[..., None]
        )
    image = np.clip(image, 0, 1) ** rng.uniform(0.65, 1.5) * rng.uniform(0.85, 1.12, 3)
    contrast = rng.uniform(0.7, 1.25)
    image = (image - 0.5) * contrast + 0.5 + rng.uniform(-0.08, 0.08)
    if rng.random() < 0.1:
        image = np.repeat(image.mean(2, keepdims=True), 3, 2)
    if rng.random() < 0.6:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.3))
    image = image + rng.normal(0, rng.uniform(0, 0.04), image.shape)
    coded = (np.clip(image, 0, 1) * 255).astype(np.uint8)
    if rng.random() < 0.4:
        _, data = cv2.imencode(".jpg", coded, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 95))])
        coded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return coded


@cache
def person_free_photos() -> Photos:
    """The installed photos without people, RGB in [0, 1]."""
    photos = load_photos()
    return {name: photos[name].astype(np.float32) / 255 for name in PERSONLESS if name in photos}


@cache
def real_faces() -> Array:
    """100 grey faces from scikit-image's subset of Labeled Faces in the Wild, ``(100, 25, 25)`` in [0, 1]."""
    import skimage.data

    faces = skimage.data.lfw_subset()  # type: ignore[no-untyped-call]
    return np.asarray(faces[:FACES], np.float32)


def contact_sheet(rows: int = 6, columns: int = 4, side: int = 144) -> NDArray[np.uint8]:
    """Scenes of seeds from 100, each beside its mask, RGB, ``(rows * side, columns * 2 * side, 3)``."""
    scenes = [draw_scene(100 + index, (side, side)) for index in range(rows * columns)]
    cells = [np.hstack((scene.image, np.repeat(scene.person[..., None] * np.uint8(255), 3, 2))) for scene in scenes]
    return np.vstack([np.hstack(cells[row * columns : (row + 1) * columns]) for row in range(rows)])


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw a sheet of people scenes and their masks.")
    parser.add_argument("path", type=Path)
    picture = cv2.cvtColor(contact_sheet(), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(parser.parse_args().path), picture, [cv2.IMWRITE_JPEG_QUALITY, 75])


if __name__ == "__main__":
    main()
