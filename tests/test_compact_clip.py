"""The embedded CLIP: its shipped weights know the drawn styles by picture and by text; the styles draw as promised."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from genartisan.compact_clip import CompactClip, words_of
from genartisan.embedded import train_clip
from genartisan.embedded.captions import CAPTIONS, COLOUR_WORDS, TEMPLATES, keywords, random_wish, vocabulary
from genartisan.embedded.colours import recolour
from genartisan.embedded.drawings import Drawings, held_out_sample, sample
from genartisan.embedded.measure_clip import embed_pictures, embed_style, read_texts
from genartisan.embedded.photos import HELD_OUT, load_photos, scene
from genartisan.embedded.space import AXES, CLASSES, COLOURS, LOOKS, PALETTES, TECHNIQUES, Look, finished, wished
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
    return CompactClip(image_size=64, dim=16, vocabulary=["fire", "photo"], word_width=8, gap=0.3)


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
    images = torch.rand(2, 3, 64, 64, requires_grad=True)
    layout = small.encode_image(images)[:, 2 * small.dim :]  # (2, 48)
    torch.testing.assert_close(layout.norm(dim=1), torch.full((2,), small.content))
    (gradient,) = torch.autograd.grad(layout.sum(), images)
    assert gradient.abs().max() == 0


@pytest.mark.parametrize("colour", [0.0, 0.5, 1.0])
def test_the_gradient_is_finite_on_a_flat_picture(clip: CompactClip, colour: float) -> None:
    images = torch.full((1, 3, clip.image_size, clip.image_size), (colour - 0.45) / 0.27, requires_grad=True)
    (gradient,) = torch.autograd.grad(clip.encode_image(images)[:, : clip.dim].sum(), images)
    assert gradient.isfinite().all()


def test_texts_in_new_phrases_and_word_orders_find_their_style(clip: CompactClip) -> None:
    assert all(share >= 0.95 for share in read_texts(clip, count=300, seed=5).values())
    known = torch.stack([embed_style(clip, name) for name in CLASSES])  # (K, D)
    assert (embed_style(clip, "a Photo") @ known.T).argmax() == 0


def test_a_colour_word_turns_the_direction_towards_that_colour(clip: CompactClip) -> None:
    plain = embed_style(clip, "watercolor painting")[: clip.dim]
    purple = embed_style(clip, "a purple watercolor painting")[: clip.dim]
    axis = AXES.index("purple")
    assert purple[axis] > plain[axis] + 0.15
    assert int((purple - plain).argmax()) == axis
    assert F.cosine_similarity(plain, purple, dim=0) > 0.6  # the strokes stay


def test_only_a_prompt_without_a_style_is_warned_of(clip: CompactClip) -> None:
    assert clip.remarks("a purple watercolor painting") == []
    (warning,) = clip.remarks("a painting of my dog")  # these words are known, and none asks for a style
    assert "fire" in warning
    assert "genartisan styles" in warning
    (warning,) = clip.remarks("a zyxwv of fire")
    assert "zyxwv" in warning
    assert set(keywords()) <= set(vocabulary())


def test_fresh_drawings_over_held_out_photos_are_retrieved(clip: CompactClip) -> None:
    photos = {name: photo for name, photo in load_photos().items() if name in HELD_OUT}
    rng = np.random.default_rng(77)
    drawn = [held_out_sample(photos, rng) for _ in range(220)]
    pictures = torch.from_numpy(np.stack([picture for picture, _, _ in drawn])).permute(0, 3, 1, 2) / 255
    labels = torch.tensor([CLASSES.index(look.strokes or CLASSES[0]) for _, look, _ in drawn])
    own = torch.tensor([LOOKS.index(look) < len(CLASSES) for _, look, _ in drawn])
    known = torch.stack([embed_style(clip, "a Photo"), *(embed_style(clip, name) for name in TECHNIQUES)])
    right = (embed_pictures(clip, pictures) @ known.T).argmax(1) == labels
    assert right[own].float().mean() >= 0.87


def test_colours_alone_reach_less_of_a_style_than_colours_and_strokes() -> None:
    for name in PALETTES:
        text, photo = wished((name,)) - Look().vector(), Look().vector()
        reached = [
            float(F.cosine_similarity(look.vector() - photo, text, dim=0))
            for look in (Look(None, name), Look(name), finished(name))
        ]
        assert reached[0] < reached[1] - 0.1 < reached[2] - 0.2
        assert reached[2] == pytest.approx(1, abs=1e-5)


def test_looks_are_unit_vectors_and_all_different() -> None:
    points = torch.stack([look.vector() for look in LOOKS])
    torch.testing.assert_close(points.norm(dim=1), torch.ones(len(LOOKS)))
    assert (points @ points.T - torch.eye(len(LOOKS))).max() < 0.99
    assert LOOKS[: len(CLASSES)] == (Look(), *map(finished, TECHNIQUES))


def test_there_are_the_styles_and_colours_that_the_bundle_promises(clip: CompactClip) -> None:
    assert len(TECHNIQUES) >= 24
    assert len(COLOURS) >= 10
    assert clip.techniques == TECHNIQUES
    assert clip.colours == COLOURS == tuple(COLOUR_WORDS)


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
    picture, look, share = sample(photos, np.random.default_rng(9))
    other, *rest = sample(photos, np.random.default_rng(9))
    np.testing.assert_array_equal(picture, other)
    assert [look, share] == rest
    assert [random_wish(random.Random(4)) for _ in range(3)] == [random_wish(random.Random(4)) for _ in range(3)]


def test_training_resumed_is_training_uninterrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    looks = np.arange(64) % len(LOOKS)
    few = Drawings(rng.integers(0, 256, (64, 128, 128, 3), np.uint8), looks, np.ones(64, np.float32))
    monkeypatch.setattr(train_clip, "generate", lambda *_, **__: few)
    monkeypatch.setattr(train_clip, "TEXT_STEPS", 2)
    monkeypatch.setattr(train_clip, "ARCHITECTURE", {"image_size": 64, "dim": len(AXES)})
    train_clip.train(tmp_path / "once", 3, steps=3)
    monkeypatch.setattr(train_clip, "train_tower", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train_clip.train(tmp_path / "twice", 3, steps=3)
    monkeypatch.undo()
    monkeypatch.setattr(train_clip, "generate", interrupt)  # everything is drawn already
    monkeypatch.setattr(train_clip, "see", kept(train_clip.see))
    monkeypatch.setattr(train_clip, "TEXT_STEPS", 2)
    monkeypatch.setattr(train_clip, "ARCHITECTURE", {"image_size": 64, "dim": len(AXES)})
    train_clip.train(tmp_path / "twice", 3, steps=3, resume=True)
    once, twice = (load_file(tmp_path / name / "clip.safetensors") for name in ("once", "twice"))
    assert all(torch.equal(once[name], twice[name]) for name in once)
    about = json.loads((tmp_path / "once" / "clip.json").read_text())
    assert about["architecture"]["kind"] == "compact_clip"
    assert 0 <= about["figures"]["retrieval"] <= 1
    assert about["seed"] == 3


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def kept(see: Callable[..., train_clip.Seen]) -> Callable[..., train_clip.Seen]:
    """`see`, which now must find its file."""

    def find(model: CompactClip, drawings: Drawings, path: Path, seed: int, **options: bool) -> train_clip.Seen:
        assert path.exists()
        return see(model, drawings, path, seed, **options)

    return find
