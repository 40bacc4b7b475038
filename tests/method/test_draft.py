"""The draft: what the pastiche network draws in one pass, and what the steps after it do with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from PIL import Image
from torch import Tensor

from genartisan.config import PORTRAIT_STRENGTH, StyleConfig, preset
from genartisan.io.images import read_photo
from genartisan.method import style_encoder, style_numbers
from genartisan.method.engine import Run
from genartisan.method.painters import Layers, PastichePainter
from genartisan.method.region_inputs import MaskSource
from genartisan.method.style_images import StyleImageSource
from genartisan.method.stylizer import Stylizer
from genartisan.networks.bundle import Bundle
from genartisan.networks.pastiche import PasticheNet

WIDTH = 64
PEOPLE, SKY = tiny.mask(box=(0, 0, 20, 48)), tiny.mask(box=(40, 0, 64, 48))
MASKS: Mapping[str, Image.Image] = {"portrait": PEOPLE, "sky": SKY}
NEAR = {"atol": 1e-4, "rtol": 0}  # passes side by side round otherwise than one alone
STEP = {"atol": 1.01 / 255, "rtol": 0}  # of a picture's pixels
COLUMNS = {"portrait": slice(0, 20), "background": slice(20, 40), "sky": slice(40, 64)}
WHOLE: dict[str, Any] = {
    "size": 64, "feather": 0.0, "regions": {"portrait": {"strength": 1.0}, "background": {"strength": 1.0}},
}  # fmt: skip
DRAFT = preset("draft", WHOLE)
FAST = preset("fast", {**WHOLE, "steps": 4, "patches": 4, "patch_size": 32, "coarse_share": 0.5, "numbers_rate": 0.02})

Draw = Callable[..., Tensor]


@pytest.fixture
def draw(tiny_stylizer: Stylizer) -> Draw:
    """Draws the picture, ``(3, H, W)``, of a prompt; the photo and the masks are always the same."""

    def drawn(
        prompt: str | None = "fire",
        config: StyleConfig = DRAFT,
        style_image: StyleImageSource = None,
        mask: MaskSource = MASKS,
        **changes: object,
    ) -> Tensor:
        config = config.updated(changes)
        return planes(tiny_stylizer(tiny.picture(), prompt, config=config, mask=mask, style_image=style_image).image)

    return drawn


@pytest.fixture(scope="module")
def headless(headless_folder: Path) -> Bundle:
    return Bundle.load(headless_folder)


def planes(image: Image.Image) -> Tensor:
    return read_photo(image).pixels


def numbers_of(run: Run) -> Tensor:
    """The style numbers of a run's texts, ``(T, 100)``."""
    return run.painter.get_parameter("numbers").detach()


# One pass


def test_a_draft_is_one_pass_of_the_pastiche_network(tiny_stylizer: Stylizer, monkeypatch: pytest.MonkeyPatch) -> None:
    passes, forward = list[int](), PasticheNet.forward

    def counted(net: PasticheNet, photos: Tensor, numbers: Tensor) -> Tensor:
        passes.append(len(numbers))
        return forward(net, photos, numbers)

    monkeypatch.setattr(PasticheNet, "forward", counted)
    result = tiny_stylizer(tiny.picture(), "fire", config=DRAFT, mask=PEOPLE)
    assert passes == [1]
    assert (result.report["steps"], result.report["preset"], result.report["losses"]) == (0, "custom", {})
    photo = read_photo(tiny.picture()).pixels[None]
    numbers = tiny_stylizer.style_numbers("fire")[None]
    with torch.no_grad():
        expected = forward(tiny_stylizer.bundle.pastiche, photo, numbers)[0]
    torch.testing.assert_close(planes(result.image), expected, atol=1 / 255, rtol=0)


def test_the_first_picture_of_a_run_is_its_draft(tiny_stylizer: Stylizer) -> None:
    steps = tiny_stylizer.steps(tiny.picture(), "fire", config=FAST, mask=PEOPLE)
    draft = steps.draft()
    assert draft is not None
    assert draft.tobytes() == tiny_stylizer(tiny.picture(), "fire", config=DRAFT, mask=PEOPLE).image.tobytes()
    next(steps)
    with pytest.raises(ValueError, match="before the first step"):
        steps.draft()
    assert tiny_stylizer.steps(tiny.picture(), "fire", config=StyleConfig(size=64)).draft() is None


def test_a_draft_takes_no_look_at_clip_s_or_vgg_s_pictures(draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("embed", "features"):
        monkeypatch.setattr(
            f"genartisan.method.targets.FeatureExtractor.{name}", lambda *_: pytest.fail("it is looked at")
        )
    draw()


# Strength


@pytest.mark.parametrize("region", ["background", "portrait", "sky"])
def test_strength_goes_from_the_photo_to_the_whole_style_and_touches_its_region_alone(
    embedded: Bundle, region: str
) -> None:
    own, inside = Stylizer(embedded, "cpu", "fp32"), torch.zeros(WIDTH, dtype=torch.bool)
    inside[COLUMNS[region]] = True
    small = Image.open(style_numbers.SAMPLE).resize((64, 48))
    photo, changes = planes(small), []

    def drawn(strength: float) -> Tensor:
        config = DRAFT.updated({"regions": {"sky": {}, region: {"strength": strength}}})
        return planes(own(small, "pencil sketch", config=config, mask=MASKS).image)

    whole = drawn(1.0)
    for strength in (0.0, 0.1, 0.25, 0.5, 0.75, 1.0):
        picture = drawn(strength)
        torch.testing.assert_close(picture[..., ~inside], whole[..., ~inside], **STEP)
        changes.append(float((picture - photo)[..., inside].abs().mean()))
        if strength == 0:
            assert torch.equal(picture[..., inside], photo[..., inside])
    assert all(one < other for one, other in pairwise(changes)), changes


def test_of_no_strength_anywhere_is_the_photo(draw: Draw) -> None:
    nothing = {name: {"strength": 0.0} for name in ("portrait", "background", "sky")}
    assert torch.equal(draw(regions=nothing), planes(tiny.picture()))


@pytest.mark.parametrize("prompt", ["pencil sketch", "stained glass", "fire"])
def test_the_shipped_networks_style_more_with_more_strength(embedded: Bundle, prompt: str) -> None:
    own, photo = Stylizer(embedded, "cpu", "fp32"), style_numbers.SAMPLE
    config = preset("draft", {"size": 192, "mode": "artisan", "feather": 0.0})
    everyone = Image.new("L", Image.open(photo).size, 255)
    original, changes = planes(own(photo, prompt, config=at(config, 0.0), mask=everyone).image), []
    for strength in (0.0, 0.1, 0.25, 0.5, 0.75, 1.0):
        picture = planes(own(photo, prompt, config=at(config, strength), mask=everyone).image)
        changes.append(float((picture - original).abs().mean()))
    assert changes[0] == 0
    assert all(one < other for one, other in pairwise(changes)), changes


def at(config: StyleConfig, strength: float) -> StyleConfig:
    """With that strength of people."""
    return config.updated({"regions": {"portrait": {"strength": strength}}})


def test_between_fade_and_whole_the_numbers_are_on_their_way() -> None:
    """From the photo's own to the style's; below, the painting fades into the photo."""
    net = tiny.network("pastiche").requires_grad_(False)
    assert isinstance(net, PasticheNet)
    own, style = torch.randn(100), torch.randn(1, 100)
    photo = planes(tiny.picture())[None]
    painter = PastichePainter(net, style, own, Layers.of([0] * 4, [0.0, 0.125, 0.5, 1.0]))
    nothing, faded, half, whole = painter.layers(photo).detach()
    torch.testing.assert_close(nothing, photo[0], **NEAR)
    torch.testing.assert_close(half, net(photo, 0.5 * own[None] + 0.5 * style)[0], **NEAR)
    torch.testing.assert_close(whole, net(photo, style)[0], **NEAR)
    eighth = net(photo, 0.875 * own[None] + 0.125 * style)[0]
    torch.testing.assert_close(faded, 0.5 * photo[0] + 0.5 * eighth, **NEAR)


def test_a_layer_for_each_text_and_strength_that_the_photo_has(tiny_stylizer: Stylizer) -> None:
    regions = {"sky": {"strength": 0.5}, "sea": {"strength": 0.3}}
    masks = {**MASKS, "sea": Image.new("L", (64, 48))}
    asked = DRAFT.updated({"regions": regions})
    run, every = (
        tiny_stylizer.steps(tiny.picture(), "fire", config=asked, mask=masks, every_layer=every).run
        for every in (False, True)
    )
    assert (run.layers.strengths, every.layers.strengths) == ((1.0, 0.5), (1.0, 0.5, 0.3))
    assert run.layers.of_regions == (0, 0, 1, 0)
    assert run.net_input.shape[1] == 3 + 2


def test_clipstyler_mode_warns_of_a_strength_that_was_asked_for_alone(tiny_stylizer: Stylizer) -> None:
    def warned(**portrait: float) -> list[str]:
        changes = {"mode": "clipstyler", "size": 64, "regions": {"portrait": portrait}}
        return tiny_stylizer(tiny.picture(), "fire", config=preset("draft", changes)).report["warnings"]

    assert warned() == []
    assert warned(strength=1.0) == []
    assert warned(strength=PORTRAIT_STRENGTH / 2) == [
        "regions.portrait.strength is not used: mode clipstyler sees no regions"
    ]


# Texts and pictures


def test_each_of_several_texts_is_drawn_in_its_region(draw: Draw) -> None:
    both = draw(regions={"sky": {"prompt": "watercolor painting"}})
    fire, paint = draw(regions={"sky": {}}), draw("watercolor painting", regions={"sky": {}})
    torch.testing.assert_close(both[..., :40], fire[..., :40], **STEP)
    torch.testing.assert_close(both[..., 40:], paint[..., 40:], **STEP)
    assert float((fire - paint).abs().mean()) > 0.01
    told = draw("sky: watercolor painting; background: fire")
    assert torch.equal(told, both)


def test_a_blend_lies_between_its_texts(tiny_stylizer: Stylizer) -> None:
    fire, paint = tiny_stylizer.style_numbers("fire"), tiny_stylizer.style_numbers("watercolor painting")
    blend = tiny_stylizer.style_numbers("0.75 fire + 0.25 watercolor painting")
    torch.testing.assert_close(blend, 0.75 * fire + 0.25 * paint)


def test_the_picture_of_a_blend_lies_between(draw: Draw) -> None:
    fire, paint = draw("fire"), draw("watercolor painting")
    distances = [
        float((draw(f"{share:.2f} fire + {1 - share:.2f} watercolor painting") - fire).abs().mean())
        for share in (0.9, 0.5, 0.1)
    ]
    assert 0 < distances[0] < distances[1] < distances[2] < float((paint - fire).abs().mean())


def test_a_negative_prompt_leaves_nothing_of_itself(tiny_stylizer: Stylizer) -> None:
    head = tiny_stylizer.bundle.style_head
    assert head is not None

    def of(prompt: str, negative: str | None = None) -> Tensor:
        config = StyleConfig(negative_prompt=negative)
        return tiny_stylizer.style_numbers(prompt, config=config) - head.get_buffer("mean")

    unwanted = of("painting")
    with_it, without = of("watercolor painting"), of("watercolor painting", "painting")
    assert float(with_it @ unwanted) > 0
    assert float(without @ unwanted) == pytest.approx(0, abs=1e-3 * float(with_it.norm() * unwanted.norm()))
    assert float(without @ with_it) > 0


def test_a_negative_prompt_changes_the_draft(draw: Draw) -> None:
    plain, without = draw("watercolor painting"), draw("watercolor painting", negative_prompt="painting")
    assert float((plain - without).abs().mean()) > 0.001


def test_colours_are_kept(draw: Draw) -> None:
    photo, made, kept = planes(tiny.picture()), draw(), draw(keep_colors=True)
    weights = torch.tensor([0.2989, 0.587, 0.114])[:, None, None]
    luminance = [(image * weights).sum(0) for image in (photo, made, kept)]
    inside = ((kept > 0) & (kept < 1)).all(0)
    assert float((luminance[2] - luminance[1])[inside].abs().max()) < 0.01
    assert float(((kept - luminance[2]) - (photo - luminance[0]))[:, inside].abs().max()) < 0.01
    assert not torch.equal(made, kept)


def test_a_style_picture_alone_beside_a_sentence_and_per_region(draw: Draw, tiny_stylizer: Stylizer) -> None:
    wave, words = tiny.picture(seed=7), tiny_stylizer.style_numbers("fire")
    of_wave = tiny_stylizer.style_numbers(style_image=wave)
    both = tiny_stylizer.style_numbers("fire", config=StyleConfig(style_image_share=0.25), style_image=wave)
    torch.testing.assert_close(both, 0.75 * words + 0.25 * of_wave)
    alone, beside, fire = draw(None, style_image=wave), draw("fire", style_image=wave), draw("fire")
    assert not torch.equal(alone, beside)
    assert not torch.equal(beside, fire)
    assert torch.equal(draw("fire", style_image=wave, style_image_share=0.0), fire)
    assert torch.equal(draw("fire", style_image=wave, style_image_share=1.0), alone)
    own = draw("fire", style_image={"sky": wave})
    torch.testing.assert_close(own[..., :40], fire[..., :40], **STEP)
    torch.testing.assert_close(own[..., 40:], alone[..., 40:], **STEP)
    assert torch.equal(draw(None, style_image={"all": wave}), alone)


def test_other_pictures_are_other_styles(draw: Draw) -> None:
    one, other = (draw(None, style_image=tiny.picture(seed=seed)) for seed in (7, 8))
    assert float((one - other).abs().mean()) > 0.005


# Without a style head


def test_without_a_head_the_numbers_are_searched_and_are_the_same_whatever_photo_comes_first(
    headless: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {"steps": 3, "size": 64, "patches": 4, "patch_size": 32}
    monkeypatch.setattr(style_numbers, "SEARCH", style_numbers.SEARCH.updated(few))
    searches, searched = list[Tensor](), style_numbers.searched_numbers

    def counted(*arguments: Any) -> Tensor:
        searches.append(searched(*arguments))
        return searches[-1]

    monkeypatch.setattr(style_encoder, "searched_numbers", counted)
    found = []
    for seeds in ((1, 2), (2, 1)):
        own = Stylizer(headless, "cpu", "fp32")
        runs = [own.steps(tiny.picture(seed=seed), "fire", config=DRAFT, seed=seed) for seed in seeds]
        found += [numbers_of(run.run) for run in runs]
        assert [run.prompt_cached for run in runs] == [False, True]
    assert len(searches) == 2
    assert all(torch.equal(numbers, found[0]) for numbers in found)
    own.steps(tiny.picture(), "watercolor painting", config=DRAFT).result()
    assert len(searches) == 3
    assert not torch.equal(searches[2], searches[0])
    start = style_numbers.numbers_of_picture(headless, read_photo(style_numbers.SAMPLE))
    assert float((searches[0] - start).abs().max()) > 0.01
    own.steps(tiny.picture(), "fire", config=StyleConfig(size=64, steps=1, patches=2, patch_size=32)).result()
    assert len(searches) == 3  # a random start asks for none


def test_a_search_makes_the_losses_less(headless: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {"steps": 8, "size": 64, "patches": 8, "patch_size": 32}
    monkeypatch.setattr(style_numbers, "SEARCH", style_numbers.SEARCH.updated(few))
    told, init = list[Run](), Run.__post_init__

    def noted(run: Run) -> None:
        told.append(run)
        init(run)

    monkeypatch.setattr(Run, "__post_init__", noted)
    Stylizer(headless, "cpu", "fp32").style_numbers("fire")
    (run,) = told
    losses = [step["patch"] for step in run.losses()]
    assert min(losses[-3:]) < losses[0]


# Steps after it


def test_fast_moves_away_from_its_draft_and_leaves_the_bundle_as_it_is(tiny_bundle: Bundle) -> None:
    own = Stylizer(tiny_bundle, "cpu", "fp32")
    networks = [own.bundle.pastiche, own.bundle.predictor, own.bundle.style_head]
    before = [[value.clone() for value in network.state_dict().values()] for network in networks if network]
    steps = own.steps(tiny.picture(), "fire", config=FAST, mask=PEOPLE)
    draft, weights = steps.draft(), {name: value.clone() for name, value in steps.run.painter.named_parameters()}
    for _ in steps:
        pass
    assert draft is not None
    assert not torch.equal(planes(draft), planes(steps.result().image))
    moved = [name for name, value in steps.run.painter.named_parameters() if not torch.equal(value, weights[name])]
    assert "numbers" in moved
    assert len(moved) > 0.8 * len(weights)
    for network, values in zip(networks, before, strict=True):
        assert network is not None
        assert all(map(torch.equal, network.state_dict().values(), values))
        assert all(weight.grad is None and not weight.requires_grad for weight in network.parameters())


@pytest.mark.parametrize(("rates", "moving"), [
    ({"learning_rate": 0.0, "numbers_rate": 0.05}, "numbers"), ({"learning_rate": 1e-3, "numbers_rate": 0.0}, "net."),
])  # fmt: skip
def test_a_rate_of_0_leaves_what_it_is_of(tiny_stylizer: Stylizer, rates: dict[str, float], moving: str) -> None:
    run = tiny_stylizer.steps(tiny.picture(), "fire", config=FAST.updated(rates), mask=PEOPLE).run
    before = {name: value.detach().clone() for name, value in run.painter.named_parameters()}
    list(run)
    moved = {name for name, value in run.painter.named_parameters() if not torch.equal(value, before[name])}
    assert moved
    assert all(name.startswith(moving) for name in moved)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tiny_stylizer: Stylizer) -> None:
    first, second, third = (
        tiny_stylizer(tiny.picture(), "fire", config=FAST, mask=PEOPLE, seed=seed).image.tobytes() for seed in (1, 1, 2)
    )
    assert first == second != third


def test_runs_of_several_photos_share_nothing(tiny_stylizer: Stylizer) -> None:
    def begun(seed: int) -> Run:
        return tiny_stylizer.steps(tiny.picture(seed=seed), "fire", config=FAST, mask=PEOPLE, seed=seed).run

    alone = [begun(seed) for seed in range(3)]
    for run in alone:
        list(run)
    in_turns = [begun(seed) for seed in range(3)]
    for _ in range(FAST.steps):
        for run in in_turns:
            next(run)
    for one, other in zip(alone, in_turns, strict=True):
        assert one.losses() == other.losses()
        assert one.picture().tobytes() == other.picture().tobytes()
    owned = [{value.data_ptr() for value in run.painter.parameters()} for run in in_turns]
    assert not set.intersection(*owned)


def test_the_draft_loss_holds_the_picture_to_its_draft(tiny_stylizer: Stylizer) -> None:
    def change(weight: float) -> float:
        config = FAST.updated({"steps": 12, "numbers_rate": 0.2, "learning_rate": 2e-3, "lambda_draft": weight})
        steps = tiny_stylizer.steps(tiny.picture(), "fire", config=config, mask=PEOPLE)
        draft = steps.draft()
        assert draft is not None
        for _ in steps:
            pass
        result = steps.result()
        assert (result.report["losses"]["draft"] > 0) == (weight > 0)
        tones = [torch.nn.functional.avg_pool2d(planes(image), 16) for image in (draft, result.image)]
        return float((tones[0] - tones[1]).abs().mean())

    assert change(1e6) < 0.7 * change(0.0)
