"""The embedded CLIP: its shipped weights know the drawn styles by picture and by text; the styles draw as promised."""

from __future__ import annotations

import json
import math
import random
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from open_clip import OPENAI_IMAGENET_TEMPLATES
from safetensors.torch import load_file

from genartisan.drawing.captions import CAPTIONS, COLOUR_WORDS, Wish, keywords, random_wish, vocabulary
from genartisan.drawing.colours import recolour
from genartisan.drawing.drawings import Drawings, held_out_sample, sample
from genartisan.drawing.photos import HELD_OUT, content, load_photos, scene
from genartisan.drawing.space import CLASSES, COLOURS, LOOKS, TECHNIQUES, Look
from genartisan.drawing.styles import STYLES, draw
from genartisan.method.text import TEMPLATES, text_direction
from genartisan.networks.compact_clip import CompactClip, Palette, StyleTower, words_of
from genartisan.networks.mobilenet import MobileNetV2
from genartisan.training import measure_clip, train_clip, trainer
from genartisan.training.measure_clip import embed_pictures, embed_style, read_texts

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
        image_size=64, vocabulary=["fire", "photo"], word_width=8, gap=0.3, blocks=4, taps=(0, 2, 4), dim=16
    )


def test_every_class_has_captions_and_the_vocabulary_holds_their_words() -> None:
    assert set(CAPTIONS) == set(CLASSES)
    known = set(vocabulary())
    assert all(set(words_of(caption)) <= known for captions in CAPTIONS.values() for caption in captions)


def test_the_templates_are_openais_but_one() -> None:
    openais = [template("{}") for template in OPENAI_IMAGENET_TEMPLATES]
    openais.remove("a photo of many {}.")
    assert list(TEMPLATES) == openais
    assert len(openais) == 79


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
    assert math.isclose(F.cosine_similarity(style, reachable, dim=0).item(), small.gap, rel_tol=1e-4)


def test_embeddings_are_unit_vectors(small: CompactClip) -> None:
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for embeddings in (small.encode_image(images), small.encode_text(["fire", "a photo", ""])):
        torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(3))


def test_the_tower_reads_means_and_deviations_of_the_maps() -> None:
    torch.manual_seed(0)
    tower = StyleTower(blocks=3, taps=(0, 3), dim=8)
    images = torch.rand(2, 3, 32, 32)
    statistics = tower.statistics(images)
    expected = [
        value
        for each in tower.trunk.maps(images, (0, 3))
        for value in (each.mean((2, 3)), (each.var((2, 3), correction=0) + tower.LEAST).sqrt())
    ]
    torch.testing.assert_close(statistics, torch.cat(expected, 1))
    many = torch.randn(50, statistics.shape[1]) * 3 + 1
    tower.standardise(many)
    torch.testing.assert_close(tower.mean, many.mean(0))
    torch.testing.assert_close(tower.embed(many), F.normalize(tower.head((many - tower.mean) / tower.deviation), dim=1))


def test_a_palette_is_nearest_where_the_colours_are_right_and_not_beyond() -> None:
    palette = Palette()
    shades = torch.rand(1, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    hue = torch.tensor([1.0, 0.5, 0.1])[:, None, None]
    pictures = torch.cat([0.5 + strength * (shades * hue - 0.5) for strength in torch.linspace(0, 1, 11)])
    palette.standardise(palette.statistics(pictures))
    embeddings = palette(pictures)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(11))
    assert (embeddings @ embeddings[6]).argmax() == 6


def test_a_technique_in_a_colour_without_pictures_is_where_its_parts_say() -> None:
    technique, other, colour = TECHNIQUES[0], TECHNIQUES[1], COLOURS[0]
    shown = [Look(), Look(technique), Look(other), Look(other, colour)]
    looks = torch.tensor([LOOKS.index(look) for look in shown for _ in range(50)])
    embeddings = 0.05 * torch.randn(200, 8, generator=torch.Generator().manual_seed(1))
    embeddings[50:, 0] += 1
    embeddings[100:, 1] += 1
    embeddings[150:, 2] += 1  # what the colour does
    means = train_clip.look_means(embeddings, looks)
    expected = torch.zeros(8)
    expected[0] = expected[2] = 1  # the technique, and what the colour did to the other one
    text = train_clip.wished(means, Wish("", (technique,), colour))
    assert F.cosine_similarity(text, expected, dim=0) > 0.999
    assert set(means.norm(dim=1).round().tolist()) <= {0.0, 1.0}


def test_the_place_of_a_look_is_made_of_its_technique_and_its_colour(small: CompactClip) -> None:
    learner = train_clip.Learner(small.image_tower)
    places = learner.places()
    assert places.shape == (len(LOOKS), small.image_tower.head.out_features)
    for look in (Look(), Look(TECHNIQUES[3]), Look(None, COLOURS[2]), Look(TECHNIQUES[5], COLOURS[1])):
        technique = CLASSES.index(look.technique or CLASSES[0])
        part = learner.usual_colours[technique] if look.colour is None else learner.colours[COLOURS.index(look.colour)]
        expected = F.normalize(learner.techniques[technique] + part, dim=0)
        torch.testing.assert_close(places[LOOKS.index(look)], expected)


def test_an_attack_misleads_and_changes_no_pixel_by_much(small: CompactClip) -> None:
    learner = train_clip.Learner(small.image_tower)
    generator = torch.Generator().manual_seed(0)
    images, looks = torch.rand(8, 3, 64, 64, generator=generator), torch.arange(8)
    start = torch.rand(images.shape, generator=generator) * 2 - 1
    attacked = train_clip.attacked(learner, images, looks, start)
    assert (attacked - images).abs().max() <= train_clip.EPSILON + 1e-6
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    assert learner(attacked, looks) > learner(images, looks)


@pytest.mark.parametrize("colour", [0.0, 0.5, 1.0])
def test_the_gradient_is_finite_on_a_flat_picture(clip: CompactClip, colour: float) -> None:
    images = torch.full((1, 3, clip.image_size, clip.image_size), colour, requires_grad=True)
    (gradient,) = torch.autograd.grad(clip.encode_image(images)[:, : clip.dim].sum(), images)
    assert gradient.isfinite().all()


def test_texts_in_new_phrases_and_word_orders_find_their_style(clip: CompactClip) -> None:
    assert all(share >= 0.95 for share in read_texts(clip, count=300, seed=5).values())
    known = torch.stack([embed_style(clip, name) for name in CLASSES])  # (K, D)
    assert (embed_style(clip, "a Photo") @ known.T).argmax() == 0


def test_a_colour_word_turns_the_direction_towards_that_colour(clip: CompactClip) -> None:
    photos = {name: photo for name, photo in load_photos().items() if name in HELD_OUT}
    rng = np.random.default_rng(5)
    drawn = [draw("watercolor painting", content(photos, rng, 128, share_drawn=0), rng) for _ in range(12)]
    purple = [recolour(picture, "purple", rng, 1.0) for picture in drawn]
    plain_there, purple_there = (
        embed_pictures(clip, torch.from_numpy(np.stack(some)).permute(0, 3, 1, 2)) for some in (drawn, purple)
    )
    turned = embed_style(clip, "a purple watercolor painting") - embed_style(clip, "watercolor painting")
    assert ((purple_there - plain_there) @ turned > 0).all()
    names = torch.stack([embed_style(clip, f"a purple {name}") for name in TECHNIQUES])
    nearness = purple_there @ names.T  # (12, techniques)
    own = nearness[:, TECHNIQUES.index("watercolor painting")]
    assert (nearness > own[:, None]).sum(1).float().mean() < 3  # the strokes stay


def test_only_a_prompt_without_a_style_is_warned_of(clip: CompactClip) -> None:
    assert clip.remarks("a purple watercolor painting") == []
    (warning,) = clip.remarks("a painting of my dog")  # these words are known, and none asks for a style
    assert "fire" in warning
    assert "genartisan styles" in warning
    (warning,) = clip.remarks("a zyxwv of fire")
    assert "zyxwv" in warning
    assert set(keywords()) <= set(vocabulary())


def test_only_the_source_text_itself_has_no_direction(clip: CompactClip) -> None:
    for same in ("a photo", " A  Photo!", "a photo zyxwv"):  # to this CLIP
        assert float(text_direction(clip, same, "a Photo").norm()) == 0, same
    for other in ("a picture", "the photo", "Warm-up", "xyzzy", "un lago", "fire"):
        assert float(text_direction(clip, other, "a Photo").norm()) == pytest.approx(1), other
        assert bool(clip.remarks(other)) == (other != "fire"), other


def test_fresh_drawings_over_held_out_photos_are_retrieved(clip: CompactClip) -> None:
    photos = {name: photo for name, photo in load_photos().items() if name in HELD_OUT}
    rng = np.random.default_rng(77)
    drawn = [held_out_sample(photos, rng) for _ in range(220)]
    pictures = torch.from_numpy(np.stack([picture for picture, _ in drawn])).permute(0, 3, 1, 2) / 255
    labels = torch.tensor([CLASSES.index(look.technique or CLASSES[0]) for _, look in drawn])
    own = torch.tensor([LOOKS.index(look) < len(CLASSES) for _, look in drawn])
    known = torch.stack([embed_style(clip, "a Photo"), *(embed_style(clip, name) for name in TECHNIQUES)])
    right = (embed_pictures(clip, pictures) @ known.T).argmax(1) == labels
    assert right[own].float().mean() >= 0.87


def test_looks_are_all_different_and_begin_with_the_classes() -> None:
    assert len(set(LOOKS)) == len(LOOKS)
    assert LOOKS[: len(CLASSES)] == (Look(), *map(Look, TECHNIQUES))


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
    picture, look = sample(photos, np.random.default_rng(9))
    other, same = sample(photos, np.random.default_rng(9))
    np.testing.assert_array_equal(picture, other)
    assert look == same
    assert [random_wish(random.Random(4)) for _ in range(3)] == [random_wish(random.Random(4)) for _ in range(3)]


def test_training_resumed_is_training_uninterrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    few = Drawings(rng.integers(0, 256, (64, 128, 128, 3), np.uint8), np.arange(64) % len(LOOKS))
    small = {"image_size": 32, "gap": 0.5, "blocks": 2, "taps": [1, 2], "dim": 16}
    few_steps = trainer.Recipe(steps=2, rate=1e-3, batch=4)
    recipes = dict.fromkeys(("RECIPE", "HEAD_RECIPE", "TEXT_RECIPE"), few_steps)
    for name, value in {"ARCHITECTURE": small, **recipes}.items():
        monkeypatch.setattr(train_clip, name, value)
    monkeypatch.setattr(train_clip, "predictor_weights", predictor_weights)
    monkeypatch.setattr(trainer, "SAVE_EVERY", 1)
    monkeypatch.setattr(measure_clip, "read_texts", lambda _: {})  # takes long, and has a test of its own
    attacked, begun = train_clip.attacked, list[object]()

    def killed(*arguments: Any) -> torch.Tensor:
        begun.append(arguments)
        if len(begun) > 2:
            raise KeyboardInterrupt
        return attacked(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(train_clip, "generate", lambda *_, **__: few)
        train_clip.train(tmp_path / "once", 3, steps=3)
        patch.setattr(train_clip, "attacked", killed)
        with pytest.raises(KeyboardInterrupt):
            train_clip.train(tmp_path / "twice", 3, steps=3)
    monkeypatch.setattr(train_clip, "generate", interrupt)  # everything is drawn already
    train_clip.train(tmp_path / "twice", 3, steps=3, resume=True)
    once, twice = (load_file(tmp_path / name / "clip.safetensors") for name in ("once", "twice"))
    assert all(torch.equal(once[name], twice[name]) for name in once)
    about = json.loads((tmp_path / "once" / "clip.json").read_text())
    assert about["architecture"]["kind"] == "compact_clip"
    assert 0 <= about["figures"]["retrieval"] <= 1
    assert about["seed"] == 3


def predictor_weights(_: Path) -> dict[str, torch.Tensor]:
    """Random weights of a style predictor."""
    torch.manual_seed(5)
    return {f"trunk.{name}": tensor for name, tensor in MobileNetV2().state_dict().items()}


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_gradients_of_an_embedding_are_the_same_each_time(small: CompactClip) -> None:
    """To the bit, with several threads as well: a picture follows from its seed."""
    threads = torch.get_num_threads()
    pictures = torch.rand(4, 3, 96, 96, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    torch.set_num_threads(8)
    try:
        gradients = [torch.autograd.grad(small.encode_image(pictures)[:, 0].sum(), pictures)[0] for _ in range(5)]
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(gradient, gradients[0]) for gradient in gradients)


def test_an_embedding_says_nothing_of_places(small: CompactClip) -> None:
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    moved = picture.roll((16, 24), (2, 3))
    embeddings = small.encode_image(torch.cat((picture, moved)))
    assert F.cosine_similarity(*embeddings, dim=0) > 0.99
