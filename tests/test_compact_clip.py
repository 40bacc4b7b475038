"""The embedded CLIP: its shipped weights know the drawn styles by picture and by text; the styles draw as promised."""

from __future__ import annotations

import json
import math
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from genartisan.compact_clip import CompactClip, words_of
from genartisan.embedded import train_clip
from genartisan.embedded.captions import CAPTIONS, TEMPLATES, vocabulary
from genartisan.embedded.drawings import CLASSES, Drawings, sample
from genartisan.embedded.measure_clip import NEW_PHRASES, embed_pictures, embed_style
from genartisan.embedded.photos import HELD_OUT, load_photos, scene
from genartisan.embedded.styles import STYLES, draw

EMBEDDED = resources.files("genartisan.embedded")


@pytest.fixture(scope="module")
def clip() -> CompactClip:
    architecture = json.loads(EMBEDDED.joinpath("bundle.json").read_text())["networks"]["clip"]["architecture"]
    assert architecture.pop("kind") == "compact_clip"
    model = CompactClip(**architecture)
    with resources.as_file(EMBEDDED.joinpath("clip.safetensors")) as path:
        model.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return model.eval().requires_grad_(False)


@pytest.fixture
def small() -> CompactClip:
    torch.manual_seed(0)
    return CompactClip(
        image_size=32, widths=[8, 8], dim=16, vocabulary=["fire", "photo"], word_width=8, gram=4, gap=0.3
    )


def test_every_class_has_captions_and_the_vocabulary_holds_their_words() -> None:
    assert set(CAPTIONS) == set(CLASSES)
    assert len(TEMPLATES) == 79
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


def test_words_are_lower_case_and_plain() -> None:
    assert words_of("Café, stained-glass d'ÉTÉ!") == ["cafe", "stained", "glass", "d", "ete"]


def test_unknown_words_change_nothing(clip: CompactClip) -> None:
    plain, strange = clip.encode_text(["a painting of fire", "a Zyxwv painting of qwertyuiop FIRE"])
    torch.testing.assert_close(plain, strange)
    assert clip.unknown("a Zyxwv painting of qwertyuiop FIRE zyxwv") == ["zyxwv", "qwertyuiop"]
    assert clip.encode_text(["zyxwv", ""]).isfinite().all()


def test_the_gap_scales_every_cosine(small: CompactClip) -> None:
    style = small.encode_text(["fire"])[0] - small.encode_text(["photo"])[0]  # a text direction
    reachable = torch.zeros_like(style)
    reachable[: small.dim] = style[: small.dim]  # the image direction closest to it
    assert math.isclose(float(F.cosine_similarity(style, reachable, dim=0)), small.gap, rel_tol=1e-4)


def test_the_layout_takes_no_gradient(small: CompactClip) -> None:
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    layout = small.encode_image(images)[:, 2 * small.dim :]  # (2, 48)
    torch.testing.assert_close(layout.norm(dim=1), torch.full((2,), small.content))
    (gradient,) = torch.autograd.grad(layout.sum(), images)
    assert gradient.abs().max() == 0


@pytest.mark.parametrize("colour", [0.0, 0.5, 1.0])
def test_the_gradient_is_finite_on_a_flat_picture(clip: CompactClip, colour: float) -> None:
    images = torch.full((1, 3, clip.image_size, clip.image_size), (colour - 0.45) / 0.27, requires_grad=True)
    (gradient,) = torch.autograd.grad(clip.encode_image(images)[:, : clip.dim].sum(), images)
    assert gradient.isfinite().all()


def test_texts_in_new_phrases_find_their_style(clip: CompactClip) -> None:
    known = torch.stack([embed_style(clip, name) for name in CLASSES])  # (K, D)
    for phrase in NEW_PHRASES:
        found = (F.normalize(clip.encode_text([phrase.format(name) for name in CLASSES[1:]]), dim=1) @ known.T).argmax(
            1
        )
        assert (found == torch.arange(1, len(CLASSES))).float().mean() >= 0.9, phrase
    assert (embed_style(clip, "a Photo") @ known.T).argmax() == 0


def test_fresh_drawings_over_held_out_photos_are_retrieved(clip: CompactClip) -> None:
    photos = {name: photo for name, photo in load_photos().items() if name in HELD_OUT}
    rng = np.random.default_rng(77)
    drawn = [sample(photos, rng, finished=True) for _ in range(136)]
    pictures = torch.from_numpy(np.stack([picture for picture, _, _ in drawn])).permute(0, 3, 1, 2) / 255
    labels = torch.tensor([label for _, label, _ in drawn])
    known = torch.stack([embed_style(clip, "a Photo"), *(embed_style(clip, name) for name in CLASSES[1:])])
    right = (embed_pictures(clip, pictures) @ known.T).argmax(1) == labels
    assert right.float().mean() >= 0.8  # 0.91 of 1088 when the weights were made; oil paintings pass for photos


def test_training_resumed_is_training_uninterrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(64) % len(CLASSES)
    few = Drawings(rng.integers(0, 256, (64, 128, 128, 3), np.uint8), labels, (labels > 0).astype(np.float32))
    monkeypatch.setattr(train_clip, "generate", lambda *_, **__: few)
    monkeypatch.setattr(train_clip, "POLISH", 2)
    monkeypatch.setattr(train_clip, "ARCHITECTURE", {"image_size": 32, "widths": [8, 8], "dim": 16, "gram": 4})
    first, second = train_clip.Round(1, 1e-3, 0.02), train_clip.Round(2, 1e-3, 0.04)
    train_clip.train(tmp_path / "once", 3, rounds=(first, second))
    train_clip.train(tmp_path / "twice", 3, rounds=(first,))
    train_clip.train(tmp_path / "twice", 3, rounds=(first, second), resume=True)
    once, twice = (load_file(tmp_path / name / "clip.safetensors") for name in ("once", "twice"))
    assert all(torch.equal(once[name], twice[name]) for name in once)
    about = json.loads((tmp_path / "once" / "clip.json").read_text())
    assert about["architecture"]["kind"] == "compact_clip"
    assert 0 <= about["figures"]["retrieval"] <= 1
