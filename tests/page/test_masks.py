"""Region maps: grown, painted, by area and by rectangle."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from genartisan.page.masks import (
    BACKGROUND,
    BRUSHES,
    PERSON,
    areas,
    decoded,
    encoded,
    overlay,
    painted,
    resized_people,
    share_of_people,
    with_area,
    with_rectangle,
)


@pytest.fixture
def labels() -> np.ndarray:
    """A person of 10 x 10 pixels left, another of 4 x 4 right."""
    made = np.zeros((40, 60), np.uint8)
    made[10:20, 10:20] = made[30:34, 50:54] = PERSON
    return made


def test_growing_and_shrinking_are_by_pixels(labels: np.ndarray) -> None:
    grown = resized_people(labels, 3)
    assert (grown[7:23, 7:23] == PERSON).all()
    assert (grown == PERSON).sum() == 16 * 16 + 10 * 10
    shrunk = resized_people(labels, -2)
    assert (shrunk == PERSON).sum() == 6 * 6
    assert set(np.unique(grown)) == {BACKGROUND, PERSON}


def test_other_classes_survive_growing(labels: np.ndarray) -> None:
    labels[10:20, 10:20] = 12  # a dog
    assert (resized_people(labels, 1)[10:20, 10:20] == 12).all()


def test_strokes_have_the_label_of_their_colour(labels: np.ndarray) -> None:
    strokes = Image.new("RGBA", (120, 80))  # twice the map's size
    draw = ImageDraw.Draw(strokes)
    draw.rectangle((20, 20, 39, 39), fill=(*BRUSHES[BACKGROUND], 255))
    draw.rectangle((0, 0, 9, 9), fill=(*BRUSHES[PERSON], 255))
    draw.rectangle((60, 60, 79, 79), fill=(*BRUSHES[PERSON], 20))  # almost transparent
    changed = painted(labels, strokes)
    assert (changed == PERSON).sum() == 5 * 5 + 4 * 4
    assert (painted(labels, Image.new("RGBA", (5, 5))) == labels).all()


def test_areas_are_connected_and_change_class(labels: np.ndarray) -> None:
    labels[20, 20] = PERSON  # touches the first only by a corner
    found = areas(labels)
    assert [(area.label, int(area.mask.sum())) for area in found] == [(0, 2400 - 117), (PERSON, 100), (PERSON, 16)]
    assert [area.place for area in found[1:]] == ["middle left", "bottom right"]
    assert share_of_people(with_area(labels, found[1], BACKGROUND)) == 17 / 2400
    ring = np.zeros((20, 20), np.uint8)
    ring[5:15, 5:15] = PERSON
    ring[8:12, 8:12] = BACKGROUND
    assert [int(area.mask.sum()) for area in areas(ring)] == [300, 84, 16]


def test_rectangles_take_their_sides_in_any_order(labels: np.ndarray) -> None:
    one, other = (with_rectangle(labels, box, PERSON) for box in ((50, 0, 100, 50), (100, 50, 50, 0)))
    assert (one == other).all()
    assert (one[:20, 30:] == PERSON).all()
    assert (with_rectangle(labels, (0, 0, 100, 100), BACKGROUND) == BACKGROUND).all()


def test_a_map_is_sent_at_the_photos_size(labels: np.ndarray) -> None:
    image = Image.open(io.BytesIO(encoded(labels, (600, 400))))
    assert (image.mode, image.size, image.format) == ("L", (600, 400), "PNG")
    assert (decoded(encoded(labels, (600, 400)), (60, 40)) == labels).all()


def test_the_overlay_tints_people_only(labels: np.ndarray) -> None:
    view = np.asarray(overlay(Image.new("RGB", (60, 40), "black"), labels))
    assert ((view.sum(axis=2) > 0) == (labels == PERSON)).all()
