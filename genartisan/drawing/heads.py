"""Drawing heads: shape, hair, hats, beards and glasses."""

from __future__ import annotations

import cv2
import numpy as np

from genartisan.drawing.canvas import Array, Canvas, Rng, any_colour, cloth, grey, noise, smooth
from genartisan.drawing.faces import draw_features, lend_face
from genartisan.drawing.head import Head


def draw_back_hair(canvas: Canvas, head: Head, rng: Rng) -> None:
    """The hair at the back, painted before or after the body."""
    w = head.width
    if head.hairstyle == "long":
        length, flare = rng.uniform(0.7, 1.5), rng.uniform(0.05, 0.25)
        hang = [
            (-w - 0.1, -0.2),
            (0, -0.56),
            (w + 0.1, -0.2),
            (w + flare, 0.3),
            (w + flare, length),
            (-w - flare, length),
            (-w - flare, 0.3),
        ]
        canvas.paint(smooth(head.at(*hang)), head.hair, person=True, relief=0.4)
    elif head.hairstyle in ("bob", "curly"):
        length, flare = rng.uniform(0.25, 0.6), rng.uniform(0.06, 0.2)
        hang = [
            (-w - flare, -0.1),
            (-0.25, -0.52),
            (0.25, -0.52),
            (w + flare, -0.1),
            (w + flare * 0.9, length),
            (-w - flare * 0.9, length),
        ]
        canvas.paint(smooth(head.at(*hang)), head.hair, person=True, relief=0.4)
    elif head.hairstyle == "afro":
        r = rng.uniform(0.5, 0.72)
        canvas.paint(head.oval(0, -0.15, r, r), head.hair, person=True, relief=0.4)
    elif head.hairstyle == "bun":
        canvas.paint(head.oval(rng.uniform(-0.15, 0.15), -0.6, 0.18, 0.16), head.hair, person=True, relief=0.5)
    if head.hat == "hood":
        canvas.paint(head.oval(0, 0.02, w + 0.2, 0.68), cloth(rng, canvas.size, head.height), person=True, relief=0.4)


def draw_head(canvas: Canvas, head: Head, rng: Rng, faces: Array) -> None:
    """Ears, face, features, hair and hat; ``faces`` are grey faces for shading, ``(K, 25, 25)`` in [0, 1]."""
    w, jaw = head.width, rng.uniform(0.16, 0.28)
    outline = [
        (-w, -0.12),
        (-w * 0.75, -0.4),
        (0, -0.5),
        (w * 0.75, -0.4),
        (w, -0.12),
        (w * 0.93, 0.15),
        (jaw, 0.42),
        (0, 0.5),
        (-jaw, 0.42),
        (-w * 0.93, 0.15),
    ]
    face = smooth(head.at(*outline))
    for side in (-1, 1):
        if side * head.turn > -0.5:
            canvas.paint(head.oval(side * w, 0.02, 0.06, 0.11), head.skin * 0.9, person=True, relief=0.4)
    if head.back:
        canvas.paint(face, head.hair if head.hairstyle != "bald" else head.skin, person=True, relief=0.6)
    else:
        canvas.paint(face, _complexion(canvas, head, rng), person=True, relief=rng.uniform(0.3, 0.8))
        if head.height > 10:
            if rng.random() < 0.35:
                lend_face(canvas, head, rng, faces)
            else:
                draw_features(canvas, head, rng)
            _draw_extras(canvas, head, rng)
        _draw_front_hair(canvas, head, rng)
    if head.hat and head.hat != "hood":
        _draw_hat(canvas, head, rng)


def _complexion(canvas: Canvas, head: Head, rng: Rng) -> Array:
    """The skin's blotchy texture, ``(H, W, 3)``."""
    unit = head.height
    blotches = noise(rng, canvas.size, (unit * 0.3, unit * 0.3), 3)[..., None]
    return np.clip(head.skin * (1 + 0.05 * blotches), 0, 1).astype(np.float32)


def _draw_extras(canvas: Canvas, head: Head, rng: Rng) -> None:
    """Sometimes a beard, sometimes glasses."""
    shift = head.turn * 0.13
    if rng.random() < 0.15:
        w = head.width
        beard = [
            (-w * 0.95, 0.1),
            (-0.22, 0.2),
            (shift, 0.2),
            (0.22, 0.2),
            (w * 0.95, 0.1),
            (0.24, 0.42),
            (0, 0.56),
            (-0.24, 0.42),
        ]
        canvas.paint(smooth(head.at(*beard)), head.hair, person=True, opacity=rng.uniform(0.55, 1), relief=0.3)
        canvas.paint(
            head.oval(shift, 0.3, 0.08, 0.025), head.skin * np.array((0.9, 0.55, 0.55), np.float32), person=True
        )
    if rng.random() < 0.18:
        frame, dark = any_colour(rng) * 0.5, rng.random() < 0.4
        for side in (-1, 1):
            ring = head.oval(side * 0.16 + shift, -0.02, 0.12, rng.uniform(0.07, 0.1))
            if dark:
                canvas.paint(ring, frame * 0.3, person=True)
            else:
                corners, thick = ring.reshape(-1, 1, 2).round().astype(np.int32), max(1, round(head.height * 0.02))
                cv2.polylines(canvas.image, [corners], True, frame.tolist(), thick, cv2.LINE_AA)


def _draw_front_hair(canvas: Canvas, head: Head, rng: Rng) -> None:
    if head.hairstyle == "bald":
        return
    w, top, part = head.width, -rng.uniform(0.5, 0.64), rng.uniform(-0.25, 0.25)
    line, side = -rng.uniform(0.2, 0.4), rng.uniform(-0.2, 0.05)
    reach = {"short": side, "side": side, "afro": -0.15, "bun": -0.2}.get(head.hairstyle, rng.uniform(0.1, 0.4))
    out = w + rng.uniform(0.02, 0.14)
    fringe = [
        (-w * 0.85, min(reach, line + 0.2)),
        (part - 0.15, line),
        (part + 0.15, line + rng.uniform(-0.05, 0.1)),
        (w * 0.85, min(reach, line + 0.2)),
    ]
    cap = [
        (-out, reach),
        (-out * 0.98, -0.2),
        (-out * 0.6, top * 0.9),
        (0, top),
        (out * 0.6, top * 0.9),
        (out * 0.98, -0.2),
        (out, reach),
        *fringe[::-1],
    ]
    canvas.paint(smooth(head.at(*cap)), head.hair, person=True, relief=0.6)


def _draw_hat(canvas: Canvas, head: Head, rng: Rng) -> None:
    colour, w, rim = cloth(rng, canvas.size, head.height), head.width, -rng.uniform(0.18, 0.3)
    if head.hat == "helmet":
        shell = np.clip(grey(rng.uniform(0.6, 1)) if rng.random() < 0.5 else any_colour(rng), 0, 1)
        dome = [(-w - 0.1, rim + 0.2), (-w - 0.08, -0.4), (0, -0.68), (w + 0.08, -0.4), (w + 0.1, rim + 0.2), (0, rim)]
        canvas.paint(smooth(head.at(*dome)), shell, person=True, relief=0.7)
        return
    dome = [(-w - 0.05, rim), (-w, -0.45), (0, -0.62), (w, -0.45), (w + 0.05, rim), (0, rim - 0.04)]
    if head.hat == "scarf":
        canvas.paint(
            smooth(
                head.at(
                    (-w - 0.05, 0.35),
                    (-w - 0.06, -0.3),
                    (0, -0.58),
                    (w + 0.06, -0.3),
                    (w + 0.05, 0.35),
                    (w * 0.8, -0.2),
                    (0, -0.32),
                    (-w * 0.8, -0.2),
                )
            ),
            colour,
            person=True,
            relief=0.5,
        )
        return
    canvas.paint(smooth(head.at(*dome)), colour, person=True, relief=0.6)
    if head.hat == "cap":
        canvas.paint(head.oval(head.turn * 0.3 + 0.05, rim, w * 0.9, 0.07), colour * 0.8, person=True, relief=0.3)
    elif head.hat == "brim":
        canvas.paint(head.oval(0, rim, w + rng.uniform(0.15, 0.4), 0.09), colour * 0.9, person=True, relief=0.3)
