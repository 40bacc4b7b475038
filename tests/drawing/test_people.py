"""Drawn scenes with people, and batches pasted from them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genartisan.drawing import collage
from genartisan.drawing.people import draw_scene


def white_person(box: tuple[slice, slice]) -> np.ndarray:
    """A black scene with a white person."""
    scene = np.zeros((64, 64, 4), np.uint8)
    scene[box] = (255, 255, 255, 1)
    return scene


def test_a_pasted_picture_shows_people_where_its_mask_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collage, "_recolour", lambda rng, image: image.astype(np.float32) / 255)
    monkeypatch.setattr(collage, "person_free_photos", lambda: {"night.png": np.zeros((80, 90, 3), np.float32)})
    person, other = white_person(np.s_[20:, 20:40]), white_person(np.s_[10:30, 5:15])
    covered = []
    for seed in range(20):
        picture, mask = collage.pasted([other], person, np.random.default_rng(seed), 48)
        assert picture.shape == (48, 48, 3)
        assert ((picture[..., 0] > 0.5) != mask).mean() < 0.03  # a feathered corner loses a pixel
        covered.append(mask.mean())
    assert min(covered) > 0.03
    assert max(covered) > 2 * min(covered)


@pytest.mark.slow
def test_a_batch_follows_from_its_generator() -> None:
    scenes = [np.dstack((scene.image, scene.person)) for scene in (draw_scene(seed, (64, 64)) for seed in range(4))]
    images, person = collage.training_batch(scenes, np.random.default_rng(3), 6, 48)
    again, _ = collage.training_batch(scenes, np.random.default_rng(3), 6, 48)
    assert images.shape == (6, 3, 48, 48)
    assert person.shape == (6, 48, 48)
    assert set(person.unique().tolist()) == {0, 1}
    assert torch.equal(images, again)


def test_a_scene_is_the_same_whenever_it_is_drawn() -> None:
    first, again, other = draw_scene(7, (96, 128)), draw_scene(7, (96, 128)), draw_scene(8, (96, 128))
    assert first.image.shape == (96, 128, 3)
    assert first.person.shape == (96, 128)
    assert (first.image == again.image).all()
    assert (first.person == again.person).all()
    assert (first.image != other.image).any()
    assert set(np.unique(first.person)) <= {0, 1}


def test_scenes_hold_people_of_all_sizes_and_none() -> None:
    shares = [draw_scene(seed, (64, 64)).person.mean() for seed in range(30)]
    assert min(shares) == 0
    assert max(shares) > 0.5
    assert sum(0 < share < 0.2 for share in shares) >= 2
