"""Faces: drawn eyes, brows, nose and mouth, or the shading of a small real face."""

from __future__ import annotations

import cv2
import numpy as np

from genartisan.drawing.canvas import Array, Canvas, Rng, grey, smooth
from genartisan.drawing.head import Head


def lend_face(canvas: Canvas, head: Head, rng: Rng, faces: Array) -> None:
    """Multiplies the skin by a real face's brightness, for realistic shading."""
    face = faces[rng.integers(len(faces))]
    face = np.ascontiguousarray(face[:, ::-1] if rng.random() < 0.5 else face)  # (25, 25)
    corners = head.at((-0.42, -0.4), (0.42, -0.4), (-0.42, 0.46))
    place = cv2.getAffineTransform(np.array([(0, 0), (24, 0), (0, 24)], np.float32), corners)
    height, width = canvas.size
    light = cv2.warpAffine(
        face / face.mean(), place, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    cover = np.zeros(canvas.size, np.uint8)
    cv2.fillPoly(cover, [head.oval(0, 0.03, head.width * 0.8, 0.4).round().astype(np.int32)], 255)
    soft = (
        cv2.GaussianBlur(cover, (0, 0), max(head.height * 0.05, 0.6)).astype(np.float32)[..., None] / 255
    )  # (H, W, 1)
    # Shaded skin is redder than lit skin, because of subsurface scattering.
    tone = np.stack([np.clip(light, 0.05, 2) ** power for power in (0.85, 1.0, 1.1)], -1)  # (H, W, 3)
    canvas.image[:] = np.clip(canvas.image * (1 - soft + soft * tone), 0, 1)


def draw_features(canvas: Canvas, head: Head, rng: Rng) -> None:
    """Eyes, brows, nose and mouth."""

    def dab(points: Array, colour: Array, opacity: float = 1.0, soft: float = 0.0) -> None:
        canvas.paint(points, colour, person=True, opacity=opacity, soft=soft * head.height)

    shift, dark, skin = head.turn * 0.13, head.hair.mean((0, 1)) * 0.7, head.skin
    eye_y, apart, open_ = rng.uniform(-0.06, 0.02), rng.uniform(0.14, 0.18), rng.uniform(0.012, 0.035)
    iris = np.array([(0.2, 0.1, 0.05), (0.1, 0.06, 0.04), (0.3, 0.4, 0.5), (0.25, 0.33, 0.2)], np.float32)[
        rng.integers(4)
    ]
    for side in (-1, 1):
        x, brow = side * apart + shift, eye_y - rng.uniform(0.07, 0.1)
        dab(head.oval(x, eye_y - 0.01, 0.09, 0.06), skin * 0.6, 0.4, 0.02)
        dab(head.oval(x, eye_y, 0.06, open_), grey(0.9) * (0.5 + 0.5 * skin))
        dab(head.oval(x + rng.normal(0, 0.005), eye_y, 0.025, min(0.026, open_ + 0.004)), iris)
        dab(head.line((x - 0.065, eye_y - open_ * 0.6), (x + 0.065, eye_y - open_ * 0.6), 0.008), skin * 0.25)
        dab(
            head.line(
                (x - side * 0.07, brow), (x + side * 0.09, brow + rng.uniform(-0.02, 0.025)), rng.uniform(0.008, 0.02)
            ),
            dark,
            0.8,
        )
        dab(head.oval(side * 0.2 + shift, 0.15, 0.09, 0.07), skin * np.array((1.05, 0.8, 0.78), np.float32), 0.35, 0.03)
    nose_y = eye_y + rng.uniform(0.18, 0.23)
    dab(
        head.line((shift * 1.2 + 0.045, eye_y + 0.02), (shift * 1.4 + 0.05, nose_y - 0.02), 0.016),
        skin * 0.65,
        0.45,
        0.01,
    )
    dab(
        head.line((shift * 1.2 - 0.01, eye_y), (shift * 1.4, nose_y - 0.04), 0.02),
        np.clip(skin * 1.25, 0, 1),
        0.4,
        0.01,
    )
    dab(head.oval(shift * 1.4, nose_y + 0.015, 0.065, 0.025), skin * 0.6, 0.49, 0.01)
    for side in (-1, 1):
        dab(head.oval(shift * 1.4 + side * 0.03, nose_y + 0.01, 0.014, 0.009), skin * 0.3, 0.8)
    _draw_mouth(canvas, head, rng, nose_y + rng.uniform(0.11, 0.14), shift)
    dab(head.oval(shift, 0.42, 0.16, 0.05), skin * 0.7, 0.4, 0.03)


def _draw_mouth(canvas: Canvas, head: Head, rng: Rng, y: float, x: float) -> None:
    wide, smile = rng.uniform(0.09, 0.17), rng.uniform(-0.01, 0.05)
    lips = np.clip(head.skin * np.array((0.95, 0.6, 0.58), np.float32), 0, 1) * rng.uniform(0.8, 1.05)
    open_ = rng.uniform(0.02, 0.07) if rng.random() < 0.5 else 0.012
    shape = [
        (x - wide, y - smile),
        (x, y - 0.015),
        (x + wide, y - smile),
        (x + wide * 0.5, y + open_ * 0.8),
        (x, y + open_ + 0.01),
        (x - wide * 0.5, y + open_ * 0.8),
    ]
    canvas.paint(smooth(head.at(*shape)), lips, person=True)
    if open_ > 0.015:
        inner = [(x + (px - x) * 0.85, y + (py - y) * 0.6 + 0.003) for px, py in shape]
        canvas.paint(smooth(head.at(*inner)), grey(0.93) if rng.random() < 0.75 else head.skin * 0.25, person=True)
    else:
        canvas.paint(head.line((x - wide * 0.9, y), (x + wide * 0.9, y), 0.006), lips * 0.4, person=True)
