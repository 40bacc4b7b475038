"""The embedded CLIP: its shipped weights know the drawn styles by picture and by text."""

from __future__ import annotations

import json
import math
from importlib import resources

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from genartisan.drawing.captions import COLOUR_WORDS, keywords, vocabulary
from genartisan.drawing.colours import recolour
from genartisan.drawing.drawings import held_out_sample
from genartisan.drawing.photos import HELD_OUT, content, load_photos
from genartisan.drawing.space import CLASSES, COLOURS, LOOKS, TECHNIQUES
from genartisan.drawing.styles import draw
from genartisan.method.text import text_direction
from genartisan.networks.compact_clip import CompactClip, Palette, StyleTower, words_of
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


def test_words_are_lower_case_and_plain() -> None:
    assert words_of("Café, stained-glass d'ÉTÉ!") == ["cafe", "stained", "glass", "d", "ete"]


def test_unknown_words_change_nothing(clip: CompactClip) -> None:
    plain, strange = clip.encode_text(["a painting of fire", "a Zyxwv painting of qwertyuiop FIRE"])
    torch.testing.assert_close(plain, strange)
    assert clip.unknown("a Zyxwv painting of qwertyuiop FIRE zyxwv") == ["zyxwv", "qwertyuiop"]
    assert clip.encode_text(["zyxwv", ""]).isfinite().all()


def test_the_gap_scales_every_cosine(compact_clip: CompactClip) -> None:
    style = compact_clip.encode_text(["fire"])[0] - compact_clip.encode_text(["photo"])[0]  # a text direction
    reachable = torch.zeros_like(style)
    reachable[: compact_clip.dim] = style[: compact_clip.dim]  # the image direction closest to it
    assert math.isclose(F.cosine_similarity(style, reachable, dim=0).item(), compact_clip.gap, rel_tol=1e-4)


def test_embeddings_are_unit_vectors(compact_clip: CompactClip) -> None:
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for embeddings in (compact_clip.encode_image(images), compact_clip.encode_text(["fire", "a photo", ""])):
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


@pytest.mark.parametrize("colour", [0.0, 0.5, 1.0])
def test_the_gradient_is_finite_on_a_flat_picture(clip: CompactClip, colour: float) -> None:
    images = torch.full((1, 3, clip.image_size, clip.image_size), colour, requires_grad=True)
    (gradient,) = torch.autograd.grad(clip.encode_image(images)[:, : clip.dim].sum(), images)
    assert gradient.isfinite().all()


@pytest.mark.slow
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


@pytest.mark.slow
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


def test_there_are_the_styles_and_colours_that_the_bundle_promises(clip: CompactClip) -> None:
    assert len(TECHNIQUES) >= 24
    assert len(COLOURS) >= 10
    assert clip.techniques == TECHNIQUES
    assert clip.colours == COLOURS == tuple(COLOUR_WORDS)


def test_gradients_of_an_embedding_are_the_same_each_time(compact_clip: CompactClip) -> None:
    """To the bit, with several threads as well: a picture follows from its seed."""
    threads = torch.get_num_threads()
    pictures = torch.rand(4, 3, 96, 96, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    torch.set_num_threads(8)
    try:
        gradients = [
            torch.autograd.grad(compact_clip.encode_image(pictures)[:, 0].sum(), pictures)[0] for _ in range(5)
        ]
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(gradient, gradients[0]) for gradient in gradients)


def test_an_embedding_says_nothing_of_places(compact_clip: CompactClip) -> None:
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    moved = picture.roll((16, 24), (2, 3))
    embeddings = compact_clip.encode_image(torch.cat((picture, moved)))
    assert F.cosine_similarity(*embeddings, dim=0) > 0.99
