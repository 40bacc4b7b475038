"""Bodies: limbs, trunk, garments and accessories. Lengths are in head heights, from the base of the neck."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genartisan.drawing.canvas import Array, Canvas, Rng, any_colour, cloth, ellipse, grey, limb, moved, smooth
from genartisan.drawing.head import Head, random_head
from genartisan.drawing.heads import draw_back_hair, draw_head


@dataclass
class Body:
    """Posture, proportions and clothes.

    Attributes:
        root: base of the neck, pixels, ``(2,)``.
        unit: head height, pixels.
        lean: radians.
        bulk: thickness of body and limbs; 1 is slim, 1.6 a space suit.
        shoulder, waist, hip: half widths, head heights.
        top, bottom: textures of the garments, ``(H, W, 3)``.
        sleeve: 0 for bare arms, 1 for short sleeves, 2 for long ones.
        suit: a bulky suit with a neck ring, pockets, patches and straps.
    """

    root: Array
    unit: float
    lean: float
    bulk: float
    shoulder: float
    waist: float
    hip: float
    top: Array
    bottom: Array
    sleeve: int
    suit: bool

    def at(self, *local: tuple[float, float]) -> Array:
        """Points in head heights as pixels, ``(K, 2)``."""
        c, s = np.cos(self.lean), np.sin(self.lean)
        turned = np.asarray(local, np.float32) @ np.array([[c, s], [-s, c]], np.float32)
        return np.asarray(self.root + self.unit * turned, np.float32)


def draw_person(canvas: Canvas, rng: Rng, centre: Array, height: float, faces: Array) -> None:
    """A random person, perhaps cropped by the frame.

    Args:
        centre, height: of the head, pixels.
        faces: grey faces, ``(K, 25, 25)`` in [0, 1], for the shading of some heads.
    """
    head = random_head(rng, canvas.size, centre, height)
    body = _random_body(canvas, head, rng)
    hair_behind = rng.random() < 0.6
    if hair_behind:
        draw_back_hair(canvas, head, rng)
    _draw_legs(canvas, body, head, rng)
    poses = [(side, _random_pose(rng, side)) for side in (-1, 1)]
    in_front = [rng.random() < 0.7 for _ in poses]
    for (side, pose), front in zip(poses, in_front, strict=True):
        if not front:
            _draw_arm(canvas, body, head, side, pose, rng)
    if rng.random() < 0.5 and not body.suit:
        _draw_neck(canvas, body, head)
        _draw_trunk(canvas, body, rng)
    else:
        _draw_trunk(canvas, body, rng)
        _draw_ring(canvas, body, rng) if body.suit else _draw_neckline(canvas, body, head, rng)
        _draw_neck(canvas, body, head)
    _draw_worn_things(canvas, body, rng)
    for (side, pose), front in zip(poses, in_front, strict=True):
        if front:
            _draw_arm(canvas, body, head, side, pose, rng)
    if not hair_behind:
        draw_back_hair(canvas, head, rng)
    draw_head(canvas, head, rng, faces)


def _random_body(canvas: Canvas, head: Head, rng: Rng) -> Body:
    suit = rng.random() < 0.2
    bulk = rng.uniform(1.2, 1.7) if suit else rng.uniform(0.85, 1.35)
    lean = float(rng.normal(0, 0.1))
    neck = head.at((0.0, rng.uniform(0.58, 0.8)))[0]
    top = cloth(rng, canvas.size, head.height)
    bottom = top if suit or rng.random() < 0.2 else cloth(rng, canvas.size, head.height)
    shoulder = rng.uniform(0.72, 1.0) * bulk**0.6
    hip = shoulder * rng.uniform(0.7, 1.05)
    sleeve = 2 if suit else int(rng.choice((0, 1, 2), p=(0.15, 0.3, 0.55)))
    return Body(neck, head.height, lean, bulk, shoulder, hip * rng.uniform(0.75, 1.05), hip, top, bottom, sleeve, suit)


def _draw_neck(canvas: Canvas, body: Body, head: Head) -> None:
    thick = 0.2 * min(body.bulk, 1.25)
    points = limb(head.at((0.0, 0.3))[0], body.at((0.0, 0.12))[0], thick * body.unit, thick * 1.15 * body.unit)
    canvas.paint(points, np.clip(head.skin * 0.82, 0, 1), person=True, relief=0.5)


def _draw_trunk(canvas: Canvas, body: Body, rng: Rng) -> None:
    s, w, h, slope = body.shoulder, body.waist, body.hip, rng.uniform(0.1, 0.3)
    outline = [
        (-0.26, -0.12),
        (0.26, -0.12),
        (s * 0.7, slope * 0.4),
        (s, slope + 0.1),
        (s * 0.93, 0.9),
        (w, 1.7),
        (h, 2.5),
    ]
    full = [*outline, *[(-x, y) for x, y in outline[:1:-1]]]
    canvas.paint(smooth(body.at(*full)), body.top, person=True, relief=rng.uniform(0.2, 0.6))


def _draw_neckline(canvas: Canvas, body: Body, head: Head, rng: Rng) -> None:
    """A neckline: an opening, a shirt under a jacket or a scarf, sometimes with a collar."""
    kind, deep = rng.random(), rng.uniform(0.1, 0.5)
    if kind < 0.35:
        canvas.paint(
            smooth(body.at((-0.3, -0.1), (0.3, -0.1), (0.22, deep * 0.7), (0, deep), (-0.22, deep * 0.7))),
            head.skin * 0.93,
            person=True,
        )
    elif kind < 0.6:
        shirt, wide = cloth(rng, canvas.size, body.unit), rng.uniform(0.2, 0.4)
        canvas.paint(
            body.at((-wide, -0.1), (wide, -0.1), (0.03, rng.uniform(0.9, 2.2)), (-0.03, 1.0)), shirt, person=True
        )
        if rng.random() < 0.5:
            canvas.paint(
                body.at((-0.07, 0), (0.07, 0), (0.1, 1.1), (0, 1.3), (-0.1, 1.1)),
                any_colour(rng),
                person=True,
                relief=0.3,
            )
    elif kind < 0.8:
        left, right = body.at((-0.12, -0.1), (0.12, -0.1))
        canvas.paint(limb(left, right, 0.25 * body.unit, 0.25 * body.unit), body.top * 0.8, person=True, relief=0.4)
    if kind > 0.35 and rng.random() < 0.5:
        colour = any_colour(rng)
        for side in (-1, 1):
            canvas.paint(
                body.at((0, 0.15), (side * 0.3, -0.15), (side * 0.42, 0.1), (side * 0.2, 0.45)),
                colour,
                person=True,
                relief=0.3,
            )


def _draw_ring(canvas: Canvas, body: Body, rng: Rng) -> None:
    """The neck ring of a space or diving suit, with padding inside."""
    middle, wide, high = (
        body.at((rng.uniform(-0.1, 0.1), rng.uniform(0.0, 0.3)))[0],
        rng.uniform(0.55, 1.0),
        rng.uniform(0.3, 0.6),
    )
    tilt, metal = (
        body.lean + rng.normal(0, 0.25),
        grey(rng.uniform(0.08, 0.8)) + rng.uniform(-0.04, 0.04, 3).astype(np.float32),
    )
    for scale, colour in (
        (1.0, metal),
        (0.88, metal * 0.55),
        (0.8, any_colour(rng) * 0.6),
        (0.68, grey(rng.uniform(0.02, 0.3))),
    ):
        points = ellipse(middle, (wide * scale * body.unit, high * scale * body.unit), tilt)
        canvas.paint(points, np.clip(colour, 0, 1), person=True, relief=0.4)
    canvas.paint(
        smooth(body.at((-0.3, -0.35), (0.3, -0.35), (0.4, 0.2), (0, 0.35), (-0.4, 0.2))),
        grey(rng.uniform(0.02, 0.25)),
        person=True,
    )


def _draw_worn_things(canvas: Canvas, body: Body, rng: Rng) -> None:
    """Patches, badges, pockets, straps and a belt."""
    tone = cloth(rng, canvas.size, body.unit * 0.4)
    for _ in range(int(rng.integers(2, 7)) if body.suit else int(rng.integers(0, 3))):
        x, y, r = rng.uniform(-0.75, 0.75) * body.shoulder, rng.uniform(0.5, 2.0), rng.uniform(0.08, 0.32)
        place = body.at((x, y))[0]
        if rng.random() < 0.5:
            canvas.paint(ellipse(place, (r * body.unit, r * body.unit)), any_colour(rng), person=True)
            canvas.paint(ellipse(place, (r * 0.8 * body.unit, r * 0.8 * body.unit)), tone, person=True)
        else:
            high = r * rng.uniform(0.4, 1.2)
            canvas.paint(
                body.at((x - r, y - high), (x + r, y - high), (x + r, y + high), (x - r, y + high)), tone, person=True
            )
    for _ in range(int(rng.integers(0, 4)) if body.suit else int(rng.random() < 0.2)):
        x, drift = rng.uniform(-0.6, 0.6), rng.normal(0, 0.15)
        a, b = body.at((x, rng.uniform(-0.1, 0.8)), (x + drift, rng.uniform(1.4, 2.6)))
        canvas.paint(
            limb(a, b, rng.uniform(0.02, 0.08) * body.unit, rng.uniform(0.02, 0.08) * body.unit),
            any_colour(rng),
            person=True,
            relief=0.3,
        )
    if rng.random() < 0.15:
        y = rng.uniform(1.6, 2.3)
        canvas.paint(
            body.at((-body.hip, y), (body.hip, y), (body.hip, y + 0.15), (-body.hip, y + 0.15)),
            any_colour(rng) * 0.6,
            person=True,
        )


def _random_pose(rng: Rng, side: int) -> tuple[float, float]:
    """Angles of upper arm and forearm in radians: 0 is straight down, positive outwards."""
    kind = rng.random()
    if kind < 0.45:
        return rng.uniform(0.0, 0.35), rng.uniform(-0.3, 0.3)  # hanging
    if kind < 0.8:
        return rng.uniform(0.1, 0.7), rng.uniform(-2.2, -0.8)  # bent across the body
    if kind < 0.9:
        return rng.uniform(1.0, 2.8), rng.uniform(1.0, 3.0)  # raised
    return rng.uniform(0.3, 0.9), rng.uniform(0.5, 2.9)  # waving, or taking a selfie


def _draw_arm(canvas: Canvas, body: Body, head: Head, side: int, pose: tuple[float, float], rng: Rng) -> None:
    thick, length = 0.2 * body.bulk, rng.uniform(0.9, 1.0)
    shoulder = np.array((side * (body.shoulder - thick * 0.9), 0.32), np.float32)
    elbow = shoulder + 1.35 * length * np.array((side * np.sin(pose[0]), np.cos(pose[0])), np.float32)
    wrist = elbow + 1.1 * length * np.array((side * np.sin(pose[1]), np.cos(pose[1])), np.float32)
    hand = wrist + 0.22 * (wrist - elbow) / 1.1
    a, b, c, d = body.at(*[tuple(p) for p in (shoulder, elbow, wrist, hand)])
    glove = any_colour(rng) if body.suit and rng.random() < 0.6 else head.skin
    u = body.unit
    canvas.paint(limb(c, d, 0.11 * body.bulk * u, 0.13 * u), glove, person=True, relief=0.5)
    if u > 14:
        for finger in np.linspace(-0.4, 0.4, 4):
            reach = d + 0.25 * u * _turned(d - c, finger)
            canvas.paint(limb(d, reach, 0.04 * u, 0.03 * u), glove, person=True, relief=0.4)
    upper, lower = (body.top if body.sleeve >= 1 else head.skin), (body.top if body.sleeve == 2 else head.skin)
    shade = rng.uniform(0.75, 1.1)
    canvas.paint(limb(b, c, thick * 0.85 * u, thick * 0.65 * u), np.clip(lower * shade, 0, 1), person=True, relief=0.5)
    canvas.paint(limb(a, b, thick * 1.1 * u, thick * 0.85 * u), np.clip(upper * shade, 0, 1), person=True, relief=0.5)


def _turned(direction: Array, angle: float) -> Array:
    """``direction`` rotated by ``angle``, as a unit vector."""
    x, y = direction / max(float(np.hypot(*direction)), 1e-3)
    return np.array((x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)), np.float32)


def _draw_legs(canvas: Canvas, body: Body, head: Head, rng: Rng) -> None:
    thick, stride, seated = 0.3 * body.bulk, abs(rng.normal(0, 0.2)), rng.random() < 0.15
    thigh, shin = (0.7 if seated else 1.9), 1.8
    bare = rng.random() < 0.2
    shoe = any_colour(rng) * 0.6
    for side in (-1, 1):
        hip = np.array((side * body.hip * 0.5, 2.35), np.float32)
        spread = side * (stride + (0.4 if seated else 0.03))
        knee = hip + thigh * np.array((np.sin(spread), np.cos(spread)), np.float32)
        bend = rng.normal(0, 0.12)
        ankle = knee + shin * np.array((np.sin(spread * 0.6 + bend), np.cos(spread * 0.6 + bend)), np.float32)
        a, b, c, toe = body.at(*[tuple(p) for p in (hip, knee, ankle, moved(ankle, side * 0.2, 0.15))])
        u = body.unit
        canvas.paint(limb(c, toe, 0.14 * u * body.bulk, 0.12 * u), shoe, person=True, relief=0.4)
        canvas.paint(
            limb(b, c, thick * 0.75 * u, thick * 0.5 * u), head.skin if bare else body.bottom, person=True, relief=0.5
        )
        canvas.paint(limb(a, b, thick * u, thick * 0.8 * u), body.bottom, person=True, relief=0.5)
    if rng.random() < 0.2 and not body.suit:
        hem, wide = rng.uniform(3.2, 5.2), body.hip * rng.uniform(1.0, 1.8)
        skirt = [
            (-body.waist, 1.6),
            (body.waist, 1.6),
            (body.hip, 2.4),
            (wide, hem),
            (0, hem + 0.1),
            (-wide, hem),
            (-body.hip, 2.4),
        ]
        canvas.paint(smooth(body.at(*skirt)), body.bottom, person=True, relief=0.4)
