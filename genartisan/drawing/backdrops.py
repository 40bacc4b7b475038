"""Backgrounds and objects of the drawn scenes: photos, studios, rooms, landscapes, and things that are not people."""

from __future__ import annotations

import cv2
import numpy as np

from genartisan.drawing.canvas import Array, Canvas, Rng, any_colour, cloth, ellipse, grey, limb, moved, noise, smooth
from genartisan.drawing.head import random_skin

Photos = dict[str, Array]  # name to RGB in [0, 1], (H, W, 3)


def backdrop(rng: Rng, size: tuple[int, int], photos: Photos) -> Array:
    """A background without people, ``(H, W, 3)`` in [0, 1]."""
    kind = rng.random()
    if photos and kind < 0.4:
        return _photo(rng, size, photos)
    if kind < 0.6:
        return _studio(rng, size)
    if kind < 0.8:
        return _landscape(rng, size)
    return _room(rng, size)


def _photo(rng: Rng, size: tuple[int, int], photos: Photos) -> Array:
    """A random crop of a photo, sometimes flipped or recoloured."""
    photo = photos[str(rng.choice(sorted(photos)))]
    height, width = photo.shape[:2]
    scale = rng.uniform(0.35, 1.0)
    side = min(height / size[0], width / size[1]) * scale
    h, w = max(8, int(size[0] * side)), max(8, int(size[1] * side))
    y, x = rng.integers(height - h + 1), rng.integers(width - w + 1)
    interpolation = cv2.INTER_AREA if side > 1 else cv2.INTER_CUBIC
    crop = cv2.resize(np.ascontiguousarray(photo[y : y + h, x : x + w]), size[::-1], interpolation=interpolation)
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    if rng.random() < 0.4:
        crop = np.clip(crop, 0, 1)[..., rng.permutation(3)] ** rng.uniform(0.6, 1.6, 3)
    return np.clip(crop, 0, 1).astype(np.float32).copy()


def _studio(rng: Rng, size: tuple[int, int]) -> Array:
    """An unevenly lit wall or mottled canvas."""
    mottle = noise(rng, size, (size[0] * rng.uniform(0.1, 0.6), size[1] * rng.uniform(0.1, 0.6)), 4)[..., None]
    light = noise(rng, size, (size[0], size[1]))[..., None]
    second = any_colour(rng)
    base = any_colour(rng) * 0.6 + 0.3
    return np.clip((base + rng.uniform(0, 0.25) * mottle * (second - 0.3)) * (1 + 0.25 * light), 0, 1).astype(
        np.float32
    )


def _landscape(rng: Rng, size: tuple[int, int]) -> Array:
    """Sky, hills, ground and houses."""
    height, width = size
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    sky = np.array((0.45, 0.65, 0.95), np.float32) * rng.uniform(0.5, 1.1) + rng.uniform(-0.15, 0.15, 3)
    clouds = np.clip(noise(rng, size, (height * 0.2, width * 0.4), 4), 0, 1)[..., None]
    image = sky + down * rng.uniform(0, 0.4) + rng.uniform(0, 0.5) * clouds
    for depth in range(int(rng.integers(1, 4))):
        edge = height * (0.35 + 0.2 * depth + 0.1 * noise(rng, (1, width), (1, width * 0.3), 3)[0])
        tone = np.array((0.25, 0.4, 0.2), np.float32) * rng.uniform(0.5, 1.6) + rng.uniform(-0.1, 0.2, 3)
        land = tone * (1 + 0.3 * noise(rng, size, (height * 0.04, width * 0.08), 3)[..., None])
        image = np.where(np.arange(height)[:, None, None] > edge[None, :, None], land, image)
    canvas = Canvas(np.clip(image, 0, 1).astype(np.float32), _light(rng))
    for _ in range(int(rng.integers(0, 7))):
        _block(canvas, rng, windows=True)
    return canvas.image


def _room(rng: Rng, size: tuple[int, int]) -> Array:
    """A wall, a floor and patterned boxes for furniture, pictures and curtains."""
    height, width = size
    image = cloth(rng, size, height * rng.uniform(0.2, 1))
    floor = int(height * rng.uniform(0.5, 1.1))
    image[floor:] = cloth(rng, size, height * 0.5)[floor:]
    shade = 1 + 0.3 * noise(rng, size, (height, width))[..., None]
    canvas = Canvas(np.clip(image * shade, 0, 1).astype(np.float32), _light(rng))
    for _ in range(int(rng.integers(1, 8))):
        _block(canvas, rng, windows=False)
    return canvas.image


def _block(canvas: Canvas, rng: Rng, windows: bool) -> None:
    """A box: a house, a shelf or a frame."""
    height, width = canvas.size
    w, h = rng.uniform(0.05, 0.3) * width, rng.uniform(0.1, 0.6) * height
    x, y = rng.uniform(0, width), rng.uniform(0.1, 0.9) * height
    box = np.array(
        [(x - w / 2, y - h / 2), (x + w / 2, y - h / 2), (x + w / 2, y + h / 2), (x - w / 2, y + h / 2)], np.float32
    )
    canvas.paint(box, cloth(rng, canvas.size, w) if rng.random() < 0.4 else any_colour(rng), person=False, relief=0.3)
    if windows or rng.random() < 0.4:
        canvas.paint((box - (x, y)) * 0.75 + (x, y), any_colour(rng), person=False)


def _light(rng: Rng) -> Array:
    angle = rng.uniform(0, 2 * np.pi)
    return np.array((np.cos(angle), np.sin(angle)), np.float32)


def draw_thing(canvas: Canvas, rng: Rng, reach: float) -> None:
    """A random object of about ``reach`` pixels, often as round, tall or skin-coloured as a person."""
    height, width = canvas.size
    centre = rng.uniform((0, 0.1 * height), (width, height)).astype(np.float32)
    tone = random_skin(rng) if rng.random() < 0.2 else any_colour(rng)
    texture = cloth(rng, canvas.size, reach) if rng.random() < 0.4 else tone
    kind = rng.choice(("ball", "dome", "pole", "flag", "bottle", "table", "rocket", "blob", "tree", "lamp"))
    if kind == "ball":
        canvas.paint(
            ellipse(centre, (reach * 0.5, reach * rng.uniform(0.35, 0.6)), rng.uniform(0, 3)),
            texture,
            person=False,
            relief=0.8,
        )
        for _ in range(int(rng.integers(0, 4))):
            spot = centre + rng.uniform(-0.25, 0.25, 2).astype(np.float32) * reach
            canvas.paint(ellipse(spot, (reach * 0.07, reach * 0.1)), grey(rng.uniform(0, 1)), person=False)
    elif kind == "dome":
        r = reach * 0.6
        canvas.paint(
            ellipse(centre, (r, r * 0.95), rng.uniform(0, 3)), grey(rng.uniform(0.5, 1)), person=False, relief=0.6
        )
        canvas.paint(
            ellipse(centre + r * 0.1, (r * 0.85, r * 0.85)), grey(rng.uniform(0, 0.2)), person=False, relief=0.8
        )
        glint = centre + rng.uniform(-0.4, 0.4, 2).astype(np.float32) * r
        canvas.paint(ellipse(glint, (r * 0.1, r * 0.14), rng.uniform(0, 3)), grey(0.9), person=False, soft=1.0)
    elif kind == "pole":
        end = centre + reach * rng.normal(0, (0.2, 2.0)).astype(np.float32)
        canvas.paint(limb(centre, end, reach * 0.06, reach * 0.06), texture, person=False, relief=0.5)
    elif kind == "flag":
        _flag(canvas, rng, centre, reach)
    elif kind in ("bottle", "rocket"):
        top, foot = moved(centre, 0, -reach), moved(centre, 0, reach)
        wide = reach * rng.uniform(0.15, 0.35)
        cone = reach * rng.uniform(0.1, 0.5)
        profile = [
            (-wide, 0),
            (-wide * 0.9, -reach),
            (-wide * 0.3, -reach - cone),
            (wide * 0.3, -reach - cone),
            (wide * 0.9, -reach),
            (wide, 0),
        ]
        canvas.paint(smooth(np.array(profile, np.float32) + foot), texture, person=False, relief=0.6)
        if kind == "rocket":
            canvas.paint(
                smooth(np.array(profile, np.float32) * 0.5 + moved(foot, wide, 0)),
                grey(rng.uniform(0.5, 1)),
                person=False,
                relief=0.6,
            )
            canvas.paint(limb(top, foot, wide * 0.2, wide * 0.2), any_colour(rng), person=False)
    elif kind == "table":
        y = centre[1] * 0.5 + height * 0.5
        canvas.paint(
            np.array(
                [
                    (centre[0] - reach * 1.5, y),
                    (centre[0] + reach * 1.5, y),
                    (centre[0] + reach * 1.8, height),
                    (centre[0] - reach * 1.8, height),
                ],
                np.float32,
            ),
            texture,
            person=False,
            relief=0.3,
        )
    elif kind == "blob":
        turn = np.linspace(0, 2 * np.pi, 9, endpoint=False)
        out = reach * rng.uniform(0.35, 1.1, 9)
        canvas.paint(
            smooth(centre + np.stack((out * np.cos(turn), out * np.sin(turn)), 1).astype(np.float32)),
            texture,
            person=False,
            relief=0.5,
        )
    elif kind == "tree":
        canvas.paint(
            limb(centre, moved(centre, 0, 2 * reach), reach * 0.1, reach * 0.15),
            np.array((0.3, 0.2, 0.12), np.float32),
            person=False,
        )
        for _ in range(6):
            canvas.paint(
                ellipse(centre + rng.normal(0, 0.35, 2).astype(np.float32) * reach, (reach * 0.4, reach * 0.35)),
                texture * rng.uniform(0.6, 1),
                person=False,
                relief=0.4,
            )
    else:
        canvas.paint(limb(centre, moved(centre, 0, 2 * reach), reach * 0.04, reach * 0.05), grey(0.2), person=False)
        canvas.paint(ellipse(centre, (reach * 0.4, reach * 0.3)), np.clip(tone + 0.2, 0, 1), person=False, relief=0.5)


def _flag(canvas: Canvas, rng: Rng, centre: Array, reach: float) -> None:
    """A hanging striped flag with dots in its canton."""
    first, second, field = any_colour(rng), grey(rng.uniform(0.7, 1)), any_colour(rng) * 0.6
    slope = rng.normal(0, 0.5)
    for stripe in range(7):
        top = reach * (stripe * 0.3 - 1)
        left, right = moved(centre, -reach, top), moved(centre, reach, top + reach * slope)
        corners = np.stack((left, right, moved(right, 0, reach * 0.32), moved(left, 0, reach * 0.32))).astype(
            np.float32
        )
        canvas.paint(corners, first if stripe % 2 else second, person=False, relief=0.2)
    corner = centre + np.array(
        [(-reach, -reach), (0, -reach * (1 - slope / 2)), (0, reach * slope / 2), (-reach, 0)], np.float32
    )
    canvas.paint(corner, field, person=False)
    for _ in range(6):
        canvas.paint(
            ellipse(centre + rng.uniform(-0.9, -0.1, 2).astype(np.float32) * reach, (reach * 0.07, reach * 0.07)),
            grey(0.95),
            person=False,
        )
