"""The drawn styles, their captions, colours and looks."""

from __future__ import annotations

import random

import numpy as np
import pytest

from genartisan.drawing.captions import CAPTIONS, random_wish, vocabulary
from genartisan.drawing.colours import recolour
from genartisan.drawing.drawings import sample
from genartisan.drawing.photos import load_photos, scene
from genartisan.drawing.space import CLASSES, COLOURS, LOOKS, TECHNIQUES, Look
from genartisan.drawing.styles import STYLES, draw
from genartisan.networks.compact_clip import words_of


def test_every_class_has_captions_and_the_vocabulary_holds_their_words() -> None:
    assert set(CAPTIONS) == set(CLASSES)
    known = set(vocabulary())
    assert all(set(words_of(caption)) <= known for captions in CAPTIONS.values() for caption in captions)


@pytest.mark.parametrize("name", STYLES)
def test_a_style_draws_in_range_and_the_same_again(name: str) -> None:
    photo = scene(np.random.default_rng(1), 96)[:, :80]
    first, again = (draw(name, photo, np.random.default_rng(2)) for _ in range(2))
    assert first.shape == photo.shape
    assert first.dtype == np.float32
    assert first.min() >= 0
    assert first.max() <= 1
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - draw(name, photo, np.random.default_rng(3))).mean() > 0.005
    assert np.isfinite(draw(name, np.zeros((64, 64, 3), np.float32), np.random.default_rng(4))).all()


def test_looks_are_all_different_and_begin_with_the_classes() -> None:
    assert len(set(LOOKS)) == len(LOOKS)
    assert LOOKS[: len(CLASSES)] == (Look(), *map(Look, TECHNIQUES))


@pytest.mark.parametrize("colour", COLOURS)
def test_a_recoloured_picture_has_the_colour(colour: str) -> None:
    rng = np.random.default_rng(3)
    picture = draw("fire", scene(rng, 64), rng)
    seen = recolour(picture, colour, rng, 1.0).mean((0, 1))
    others = {name: recolour(picture, name, np.random.default_rng(4), 1.0).mean((0, 1)) for name in COLOURS}
    distances = {name: float(np.abs(seen - other).sum()) for name, other in others.items()}
    assert colour in sorted(distances, key=lambda name: distances[name])[:2]


def test_training_sentences_and_pictures_are_drawn_from_their_seed() -> None:
    photos = dict(list(load_photos().items())[:2])
    picture, look = sample(photos, np.random.default_rng(9))
    other, same = sample(photos, np.random.default_rng(9))
    np.testing.assert_array_equal(picture, other)
    assert look == same
    assert [random_wish(random.Random(4)) for _ in range(3)] == [random_wish(random.Random(4)) for _ in range(3)]
