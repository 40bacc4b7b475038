"""Regions beyond people and background: masks of every kind, a text for each, strength and soft edges."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from tiny import from_mask
from torch import Tensor, nn

from genartisan.cli.flags import masks_of
from genartisan.config import StyleConfig, preset
from genartisan.errors import InputError, TooLargeError
from genartisan.io.images import read_classes, read_mask, read_photo, resized
from genartisan.method import region_inputs
from genartisan.method.batching import step_together
from genartisan.method.directions import Directions
from genartisan.method.engine import Run
from genartisan.method.losses import directional_distances
from genartisan.method.patches import controls_of_crops, limits_of, plan
from genartisan.method.regions import PORTRAIT_LABEL, RegionMap, from_classes, segment
from genartisan.method.saved_style import SavedStyle
from genartisan.method.stylizer import Stylizer
from genartisan.method.text import text_direction
from genartisan.networks.bundle import Bundle
from genartisan.networks.compact_fcn import CompactFcn
from genartisan.serving.request import read_body, read_form

WIDTH, HEIGHT = 64, 48
QUICK = StyleConfig(size=64, steps=3, patches=6, patch_size=24, learning_rate=2e-3, contrast=1.0)
LEFT, MIDDLE, RIGHT = slice(0, 20), slice(20, 40), slice(40, 64)  # columns
SKY = tiny.mask(box=(40, 0, 64, 48))
PEOPLE = tiny.mask(box=(0, 0, 20, 48))


def quick(**changes: object) -> StyleConfig:
    return QUICK.updated(changes)


def planes(image: Image.Image) -> Tensor:
    return read_photo(image).pixels


def three() -> RegionMap:
    """Portrait left, background in the middle, sky right."""
    return from_mask(read_mask(PEOPLE, (WIDTH, HEIGHT))).under({"sky": read_mask(SKY, (WIDTH, HEIGHT))})


# Masks


def test_black_and_white_makes_hard_edges_and_grey_soft_ones() -> None:
    hard = from_mask(read_mask(PEOPLE, (WIDTH, HEIGHT)))
    assert hard.covers is None
    grey = np.asarray(PEOPLE).copy()
    grey[:, 20:24] = (204, 140, 100, 51)
    soft = from_mask(read_mask(Image.fromarray(grey), (WIDTH, HEIGHT)))
    assert soft.covers is not None
    torch.testing.assert_close(soft.cover().sum(0), torch.ones(HEIGHT, WIDTH))
    assert soft.cover()[1, 0, 18:26].tolist() == pytest.approx([1, 1, 0.8, 140 / 255, 100 / 255, 0.2, 0, 0], abs=1e-6)
    assert soft.portrait[0, 18:26].tolist() == [True] * 4 + [False] * 4


def test_of_two_masks_that_overlap_the_later_lies_above() -> None:
    ones = torch.ones(4, 6, dtype=torch.bool)
    over = from_mask(ones).under({"sky": torch.arange(6).expand(4, 6) >= 3})
    assert over.names == ("background", "portrait", "sky")
    assert over.labels[0].tolist() == [1, 1, 1, 2, 2, 2]
    half = from_mask(ones).under({"sky": torch.full((4, 6), 0.25)})
    assert half.cover()[:, 0, 0].tolist() == [0, 0.75, 0.25]
    assert half.portrait.all()


def test_a_picture_of_classes_is_read_by_its_labels(tiny_stylizer: Stylizer) -> None:
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[:, LEFT], labels[:, MIDDLE], labels[:10, RIGHT] = 15, 12, 255  # person, dog, left open
    palette = Image.fromarray(labels).convert("P")
    palette.putdata(labels.ravel().tolist())  # its positions, whatever colours they have
    for picture in (Image.fromarray(labels), palette):
        read = read_classes(picture, (WIDTH, HEIGHT))
        assert (read.numpy() == np.where(labels == 255, 0, labels)).all()
    config = quick(regions={"dog": {"weight": 0.5}})
    result = tiny_stylizer(tiny.picture(), "fire", config=config, mask={"classes": palette})
    pixels = {region["name"]: region["pixels"] for region in result.report["regions"]}
    assert pixels == {"background": HEIGHT * 24, "portrait": HEIGHT * 20, "dog": HEIGHT * 20}
    assert from_classes(read, ["__background__", *["x"] * 14, "person"], ("background", "portrait")).pixels()[1] > 0


@pytest.mark.parametrize(
    ("masks", "field", "says"),
    [
        ({"sky": tiny.mask(40, 48)}, "mask.sky", "40x48 pixels and photo is 64x48"),
        ({"classes": tiny.mask(48, 64)}, "mask.classes", "48x64 pixels and photo is 64x48"),
        ({"classes": Image.new("L", (64, 48), 21)}, "mask.classes", "value 21"),
        ({"classes": Image.new("RGB", (64, 48))}, "mask.classes", "mode RGB"),
        ({"Sky!": SKY}, "mask.Sky!", "of no region"),
        ({"background": SKY}, "mask.background", "of no region"),
        ({"portrait": SKY, "person": SKY}, "mask", "given twice"),
        ({"portrait": Image.new("RGB", (64, 48), (192, 128, 128))}, "mask", "mask.classes"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(
    tiny_stylizer: Stylizer, masks: dict[str, Image.Image], field: str, says: str
) -> None:
    with pytest.raises(InputError) as caught:
        tiny_stylizer.steps(tiny.picture(), "fire", config=QUICK, mask=masks)
    assert (caught.value.field or "").startswith(field)
    assert says in caught.value.message


def test_masks_are_bounded_together(tiny_stylizer: Stylizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(region_inputs, "REGION_PIXELS", 3 * WIDTH * HEIGHT)
    masks = {"portrait": PEOPLE, "sky": SKY}
    tiny_stylizer.steps(tiny.picture(), "fire", config=QUICK, mask=masks)
    with pytest.raises(TooLargeError, match="4 regions of 64x48 pixels"):
        tiny_stylizer.steps(tiny.picture(), "fire", config=QUICK, mask={**masks, "sea": SKY})
    many = {f"r{number}": SKY for number in range(30)}
    with pytest.raises(InputError, match="at most 24"):
        tiny_stylizer.steps(tiny.picture(), "fire", config=QUICK, mask=many)


def test_a_region_that_nothing_can_show_is_refused_by_name(tiny_stylizer: Stylizer) -> None:
    with pytest.raises(InputError, match=r"regions\.dog.*portrait.*mask") as caught:
        tiny_stylizer.steps(tiny.picture(), "fire", config=quick(regions={"dog": {}}))
    assert caught.value.field == "regions.dog"


def test_fcn_finds_each_class_that_has_a_region() -> None:
    torch.manual_seed(3)
    fcn = CompactFcn(classes=["__background__", "person", "dog", "cat"], widths=[8, 8, 8, 8], image_size=64).eval()
    photo = read_photo(tiny.picture())
    scores = nn.functional.interpolate(fcn(_standardised(photo.pixels))["out"], (HEIGHT, WIDTH), mode="bilinear")[
        0
    ].detach()  # (4, H, W)
    found = segment(fcn, photo, ("background", "portrait", "dog"))
    other = torch.maximum(scores[0], scores[3])  # a cat is background here
    winner = torch.stack((other, scores[1], scores[2])).argmax(0)
    assert float((found.labels == winner).float().mean()) > 0.97  # the larger of two is not interpolated linearly
    assert segment(fcn, photo).labels.max() <= 1
    alone = segment(fcn, photo, ("background", "portrait", "dog"), unsought=("dog",))
    assert not (alone.labels == 2).any()


def _standardised(pixels: Tensor) -> Tensor:
    from genartisan.networks.normalization import IMAGENET_MEAN, IMAGENET_STD, standardized

    small = nn.functional.interpolate(pixels[None], (64, round(64 * WIDTH / HEIGHT)), mode="bilinear", antialias=True)
    return standardized(small, IMAGENET_MEAN, IMAGENET_STD)


# Patches and losses


def test_each_of_three_regions_keeps_its_share_weight_and_threshold() -> None:
    regions = {
        "portrait": {"share": 0.2, "weight": 0.3}, "background": {"share": 0.5},
        "sky": {"share": 0.4, "weight": 0.6, "threshold": 0.9},
    }  # fmt: skip
    config = StyleConfig(steps=50, patches=10, patch_size=16).updated({"regions": regions})
    result = plan(config, (WIDTH, HEIGHT), three(), seed=1)
    records = result.records
    assert result.warnings == ()
    for label, most in enumerate((5, 2, 4)):
        assert (records["region"] == label).sum(axis=1).max() == most
    sky = records[records["region"] == 2]
    assert set(sky["weight"]) == {np.float32(0.6)}
    assert set(sky["threshold"]) == {np.float32(0.9)}
    assert (sky["x"] + 16 > 40).all()


@pytest.mark.parametrize(("rule", "expected"), [("any", PORTRAIT_LABEL), ("coverage", 2)])
def test_one_portrait_pixel_makes_a_patch_portrait_whatever_else_it_has_more_of(rule: str, expected: int) -> None:
    person = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    person[HEIGHT // 2, WIDTH // 2] = True
    regions = from_mask(torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)).under(
        {"sky": torch.ones(HEIGHT, WIDTH, dtype=torch.bool)}
    )
    regions = regions.under({"portrait": person})
    config = StyleConfig(decision=0.5, decision_rule=rule).updated({"regions": {"sky": {}}})
    crops = controls_of_crops(regions, 16, config).regions.reshape(HEIGHT - 15, WIDTH - 15)
    assert crops[HEIGHT // 2 - 8, WIDTH // 2 - 8] == expected
    assert crops[0, 0] == 2
    assert (crops == PORTRAIT_LABEL).sum() == (64 if rule == "any" else 0)  # a window of 8 pixels


def test_a_share_that_cannot_be_kept_is_said() -> None:
    config = StyleConfig(steps=5, patches=10, patch_size=16).updated({"regions": {"sky": {"share": 0.1}}})
    everywhere = from_mask(torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)).under(
        {"sky": torch.ones(HEIGHT, WIDTH, dtype=torch.bool)}
    )
    result = plan(config, (WIDTH, HEIGHT), everywhere, seed=1)
    assert (result.records["region"] == 2).all()
    assert any("regions.sky.share of 0.1" in warning for warning in result.warnings)


def test_coverage_weighs_by_a_soft_mask() -> None:
    half = from_mask(torch.full((HEIGHT, WIDTH), 0.25))
    config = StyleConfig(steps=2, patches=4, patch_size=16, decision_rule="coverage")
    records = plan(config, (WIDTH, HEIGHT), half, seed=0).records
    assert records["weight"] == pytest.approx(np.full((2, 4), 0.25 * 0.3 + 0.75), rel=1e-6)
    assert (records["region"] == 0).all()


def test_patches_and_global_losses_follow_the_text_of_their_own_region(tiny_stylizer: Stylizer) -> None:
    config = quick(regions={"sky": {"prompt": "watercolor painting", "share": 1.0}})
    run = tiny_stylizer.steps(tiny.picture(), "fire", config=config, mask={"portrait": PEOPLE, "sky": SKY}).run
    clip = tiny_stylizer.bundle.clip
    fire, paint = (text_direction(clip, text, config.source_text) for text in ("fire", "watercolor painting"))
    assert run.directions.rows_of == (0, 0, 1)
    torch.testing.assert_close(run.directions.rows, torch.stack((fire, paint)))
    targets, objective = run.full, run.objective
    batch, picture = targets.patches.at(0), torch.rand(1, 3, HEIGHT, WIDTH)
    assert set(batch.regions.tolist()) >= {0, 2}
    with torch.no_grad():
        views = objective.cut(picture, targets, batch, with_whole=True)
        seen = run.extractor.embed(views)
        told = dict(zip(("total", "direction", "patch"), objective.losses(picture, targets, 0).tolist(), strict=False))
        each = [
            directional_distances(seen[[n]], targets.source, paint if region == 2 else fire)[0]
            for n, region in enumerate(batch.regions.tolist())
        ]
        patch = sum(
            float(weight * loss) if loss > threshold else 0.0
            for weight, loss, threshold in zip(batch.weights, each, batch.thresholds, strict=True)
        )
        assert told["patch"] == pytest.approx(patch / len(each), rel=1e-4)
        whole = 0.0
        for columns, direction in ((MIDDLE, fire), (RIGHT, paint)):
            mask = torch.zeros(1, 1, HEIGHT, WIDTH)
            mask[..., columns] = 1
            after, before = (
                run.extractor.embed(run.extractor.whole(image * mask)) for image in (picture, targets.photo)
            )
            before = nn.functional.normalize(before, dim=-1)
            whole += float(directional_distances(after, before, direction)[0])
        assert told["direction"] == pytest.approx(whole, rel=1e-3)


def test_people_without_a_text_of_their_own_are_masked_out_and_with_one_they_are_not() -> None:
    regions, fire, ice = three(), torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    masks, rows = Directions.of(fire, names=regions.names).masks(regions)
    assert masks is not None
    assert (rows, masks.shape) == ((0,), (1, 1, HEIGHT, WIDTH))
    assert masks[0, 0, 0].tolist() == [0.0] * 20 + [1.0] * 20 + [0.0] * 24
    own = Directions.of(fire, {"portrait": ice}, regions.names)
    masks, rows = own.masks(regions)
    assert masks is not None
    assert rows == (0, 1)
    assert masks[1, 0, 0].tolist() == [1.0] * 20 + [0.0] * 44
    same = Directions.of(fire, {"sky": fire.clone()}, regions.names)
    assert len(same) == 1
    masks, _ = same.masks(regions)
    assert masks is not None
    assert masks[0, 0, 0].tolist() == [0.0] * 20 + [1.0] * 44
    parts = regions.grouped(own.rows_of)
    assert parts.shape == (2, HEIGHT, WIDTH)
    assert bool((parts.sum(0) == 1).all())
    nobody = from_mask(torch.ones(4, 4, dtype=torch.bool))
    assert Directions.of(fire).masks(nobody) == (None, ())


# What is seen


def test_a_text_for_what_the_photo_lacks_is_told_and_costs_nothing(tiny_stylizer: Stylizer) -> None:
    config = quick(regions={"sky": {"prompt": "watercolor painting"}})
    nowhere = Image.new("L", (WIDTH, HEIGHT))
    run = tiny_stylizer.steps(tiny.picture(), "fire", config=config, mask={"portrait": PEOPLE, "sky": nowhere}).run
    assert len(run.directions) == 1
    assert "regions.sky.prompt is not used: the photo has no sky" in run.warnings


@pytest.mark.parametrize("steps", [0, 2])
def test_a_saved_style_draws_all_but_a_region_with_a_text_of_its_own(
    tiny_bundle: Bundle, tmp_path: Path, steps: int
) -> None:
    style = SavedStyle.load(tiny.write_style(tmp_path / "saved.safetensors"))
    stylizer = Stylizer(tiny_bundle, "cpu", "fp32", styles={"saved": style})
    config = preset("draft", {"size": 64, "feather": 0.0, "steps": steps, "style": "saved"})
    alone, both = (
        planes(stylizer(tiny.picture(), config=config.updated(changes), mask=PEOPLE).image)
        for changes in ({}, {"regions": {"portrait": {"prompt": "watercolor painting"}}})
    )
    if steps == 0:
        assert torch.equal(both[..., 20:], alone[..., 20:])
    assert not torch.equal(both[..., :20], alone[..., :20])


@pytest.mark.parametrize("name", ["names", "each", "copy", "json", "model_dump", "texts"])
def test_a_region_may_have_any_name(tiny_stylizer: Stylizer, name: str) -> None:
    config = quick(steps=1, regions={name: {"weight": 0.5}})
    regions = tiny_stylizer(tiny.picture(), "fire", config=config, mask={name: SKY}).report["regions"]
    assert regions[2]["name"] == name
    assert regions[2]["weight"] == 0.5
    assert config.updated({"steps": 2}).regions[name].weight == 0.5


@pytest.mark.parametrize("shares", [(0.4, 0.2, 0.2, 0.2), (0.3, 0.3, 0.4), (1.0, 0.2), (0.7, 0.3)])
@pytest.mark.parametrize("n", [16, 64, 7])
def test_limits_leave_no_patch_without_a_region(shares: tuple[float, ...], n: int) -> None:
    limits = limits_of(shares, n)
    assert limits.sum() >= n
    assert all(abs(limit - share * n) < 1 for limit, share in zip(limits, shares, strict=True))


def test_a_longer_run_begins_with_the_patches_of_a_shorter_one() -> None:
    regions = {"portrait": {"share": 0.2}, "background": {"share": 0.4}, "sky": {"share": 0.4}}
    config = StyleConfig(steps=30, patches=10, patch_size=16).updated({"regions": regions})
    long, short = (
        plan(config.updated({"steps": steps}), (WIDTH, HEIGHT), three(), seed=2).records for steps in (30, 11)
    )
    assert (long[:11] == short).all()


def test_a_wide_blur_is_what_a_narrow_one_would_be_at_a_larger_size() -> None:
    """However wide, it costs little, keeps the sum and goes over evenly."""
    half = RegionMap((torch.arange(512).expand(64, 512) < 256).to(torch.uint8))
    soft = half.cover(feather=256)
    torch.testing.assert_close(soft.sum(0), torch.ones(64, 512))
    row = soft[1, 32]
    assert (row.diff() <= 1e-6).all()
    expected = 0.5 * torch.erfc((torch.arange(512) + 0.5 - 256) / (64 * 2**0.5))
    torch.testing.assert_close(row, expected, atol=0.02, rtol=0)


def test_each_text_has_a_network_of_its_own_and_a_draft_shows_each_in_its_region(tiny_stylizer: Stylizer) -> None:
    photo, masks = tiny.picture(), {"portrait": PEOPLE, "sky": SKY}
    draft = preset("draft", {"size": 64, "feather": 0.0, "regions": {"portrait": {"strength": 1.0}}})

    def drawn(config: StyleConfig, prompt: str = "fire") -> Tensor:
        return planes(tiny_stylizer(photo, prompt, config=config, mask=masks).image)

    both = drawn(draft.updated({"regions": {"sky": {"prompt": "watercolor painting"}}}))
    fire, paint = drawn(draft.updated({"regions": {"sky": {}}})), drawn(draft, "watercolor painting")
    # Two layers at once round otherwise than one alone.
    torch.testing.assert_close(both[..., :40], fire[..., :40], atol=1.01 / 255, rtol=0)
    torch.testing.assert_close(both[..., 40:], paint[..., 40:], atol=1.01 / 255, rtol=0)
    assert not torch.equal(fire, paint)


def test_a_text_s_patches_draw_its_own_network_alone(tiny_stylizer: Stylizer) -> None:
    """Those on an edge, too: of the patch loss nothing reaches a network whose text no patch follows."""
    config = quick(
        patches=4, regions={"portrait": {"share": 0.0}, "sky": {"prompt": "watercolor painting", "share": 0.0}},
        lambda_direction=0.0, lambda_content=0.0, lambda_tv=0.0,
    )  # fmt: skip
    run = tiny_stylizer.steps(tiny.picture(), "fire", config=config, mask={"portrait": PEOPLE, "sky": SKY}).run
    next(run)
    fire, paint = ([weight.grad for weight in net.parameters()] for net in run.painter.nets)  # type: ignore[union-attr]
    assert any(bool(grad.any()) for grad in fire if grad is not None)
    assert not any(bool(grad.any()) for grad in paint if grad is not None)


def test_runs_with_several_texts_take_steps_together_as_they_would_alone(tiny_stylizer: Stylizer) -> None:
    config = quick(steps=2, regions={"sky": {"prompt": "watercolor painting"}})

    def begun() -> list[Run]:
        asked = ((tiny.picture(), config), (tiny.picture(seed=1), quick(steps=2)))
        return [
            tiny_stylizer.steps(p, "fire", config=c, mask={"sky": SKY} if c is config else None).run for p, c in asked
        ]

    together, alone = begun(), begun()
    for _ in range(2):
        step_together(together)
    for run in alone:
        list(run)
    for ours, theirs in zip(together, alone, strict=True):
        assert ours.losses()[0] == pytest.approx(theirs.losses()[0], rel=1e-3)
        assert ours.losses()[1] == pytest.approx(theirs.losses()[1], rel=2e-2)


def test_steps_move_each_text_s_network(tiny_stylizer: Stylizer) -> None:
    config = quick(steps=4, coarse_share=0.5, regions={"sky": {"prompt": "watercolor painting"}})
    run = tiny_stylizer.steps(tiny.picture(), "fire", config=config, mask={"sky": SKY}).run
    before = [value.clone() for value in run.painter.parameters()]
    losses = [step.losses["total"] for step in run]
    assert len(losses) == 4
    assert all(np.isfinite(losses))
    moved = [not torch.equal(a, b) for a, b in zip(before, run.painter.parameters(), strict=True)]
    assert sum(moved) > 0.8 * len(moved)
    large = tiny_stylizer(tiny.picture(256, 192), "fire", config=quick(regions=config.regions.model_dump(),
        output_size=128), mask={"sky": SKY.resize((256, 192))})  # fmt: skip
    assert large.image.size == (128, 96)


@pytest.mark.parametrize("region", ["background", "portrait", "sky"])
def test_strength_goes_from_the_photo_to_the_whole_style_and_touches_its_region_alone(
    tiny_stylizer: Stylizer, region: str
) -> None:
    photo = tiny.picture()
    columns = {"portrait": LEFT, "background": MIDDLE, "sky": RIGHT}[region]

    def made(strength: float) -> Tensor:
        config = quick(regions={"sky": {}, region: {"strength": strength}})
        return planes(tiny_stylizer(photo, "fire", config=config, mask={"portrait": PEOPLE, "sky": SKY}).image)

    whole, original = made(1.0), planes(photo)
    changes = []
    for strength in (0.0, 0.25, 0.5, 0.75, 1.0):
        picture = made(strength)
        inside = torch.zeros(WIDTH, dtype=torch.bool)
        inside[columns] = True
        assert torch.equal(picture[..., ~inside], whole[..., ~inside])
        changes.append(float((picture - original)[..., inside].abs().mean()))
    assert changes[0] == 0
    assert changes == sorted(changes)
    assert changes[2] == pytest.approx(changes[4] / 2, rel=0.1)


def test_colours_are_kept_and_luminance_is_the_picture_s(tiny_stylizer: Stylizer) -> None:
    photo = tiny.picture()
    made, kept = (
        planes(tiny_stylizer(photo, "fire", config=quick(keep_colors=keep), mask=PEOPLE).image)
        for keep in (False, True)
    )
    original, weights = planes(photo), torch.tensor([0.2989, 0.587, 0.114])[:, None, None]
    luminance = [(image * weights).sum(0) for image in (original, made, kept)]
    inside = ((kept > 0) & (kept < 1)).all(0)  # where nothing was cut off
    assert float(inside.float().mean()) > 0.5
    assert float((luminance[2] - luminance[1])[inside].abs().max()) < 0.01
    chroma = [image - y for image, y in zip((original, kept), (luminance[0], luminance[2]), strict=True)]
    assert float((chroma[1] - chroma[0])[:, inside].abs().max()) < 0.01
    assert not torch.equal(made, kept)


def test_feathered_regions_melt_into_each_other_and_are_themselves_further_away() -> None:
    regions = three()
    soft = regions.cover(feather=8)
    torch.testing.assert_close(soft.sum(0), torch.ones(HEIGHT, WIDTH))
    row = soft[1, 24]  # the portrait, which ends at column 20
    assert row[:13].tolist() == pytest.approx([1] * 13, abs=0.01)
    assert row[28:].tolist() == pytest.approx([0] * 36, abs=0.01)
    assert (row[14:26].diff() < 0).all()
    assert float(row[19] + row[20]) == pytest.approx(1, abs=1e-4)
    hard = torch.tensor([0.3] * 20 + [1.0] * 20 + [0.5] * 24).expand(48, 64)
    assert torch.equal(regions.weighed((1.0, 0.3, 0.5)), hard)


def test_a_soft_edge_is_as_wide_in_a_larger_picture_and_leaves_no_seam(tiny_stylizer: Stylizer) -> None:
    photo, mask = tiny.picture(256, 192), tiny.mask(256, 192, (0, 0, 128, 192))
    regions = {"portrait": {"strength": 0.0}}

    def step_across(**changes: object) -> float:
        config = quick(regions=regions, **changes)
        picture = planes(tiny_stylizer(photo, "fire", config=config, mask=mask).image)
        change = (picture - resized(read_photo(photo), picture.shape[-1]).pixels).mean((0, 1))  # by columns
        middle = picture.shape[-1] // 2
        return float((change[middle] - change[middle - 1]).abs())

    assert step_across(feather=16.0) < 0.5 * step_across()
    assert step_across(feather=16.0, output_size=256) < 0.5 * step_across(output_size=256)


def test_clipstyler_mode_sees_no_regions_and_says_so(tiny_stylizer: Stylizer) -> None:
    config = quick(mode="clipstyler", regions={"portrait": {"prompt": "watercolor painting", "strength": 0.0}})
    result = tiny_stylizer(tiny.picture(), "fire", config=config)
    plain = tiny_stylizer(tiny.picture(), "fire", config=quick(mode="clipstyler"))
    assert result.image.tobytes() == plain.image.tobytes()
    told = " ".join(result.report["warnings"])
    assert "regions.portrait.prompt is not used" in told
    assert "regions.portrait.strength is not used" in told


# How it is asked for


def test_the_prompt_may_tell_each_region_its_text(tiny_stylizer: Stylizer) -> None:
    masks = {"person": PEOPLE, "sky": SKY}
    told = tiny_stylizer(
        tiny.picture(), "person: watercolor painting; background: fire; sky: a painting", config=QUICK, mask=masks
    )
    as_background = {"share": 0.5, "weight": 1.0, "threshold": 0.7}
    regions = {"portrait": {"prompt": "watercolor painting", **as_background}, "sky": {"prompt": "a painting"}}
    same = tiny_stylizer(tiny.picture(), "fire", config=quick(regions=regions), mask=masks)
    assert told.image.tobytes() == same.image.tobytes()
    assert {region["name"]: region["prompt"] for region in told.report["regions"]} == {
        "background": None, "portrait": "watercolor painting", "sky": "a painting",
    }  # fmt: skip
    with pytest.raises(InputError, match="background"):
        tiny_stylizer.steps(tiny.picture(), "person: fire; sky: fire", config=QUICK, mask=masks)
    with pytest.raises(InputError, match=r"regions\.portrait\.prompt"):
        tiny_stylizer.steps(tiny.picture(), "person: fire; background: fire", config=quick(regions=regions), mask=masks)
    other = tiny_stylizer.steps(tiny.picture(), "fire: a painting", config=QUICK, mask=PEOPLE)  # no region's name
    assert len(other.run.directions) == 1


def test_a_form_a_body_and_flags_name_masks_alike() -> None:
    form = read_form({"photo": b"p", "prompt": b"fire", "mask": b"m", "mask.sky": b"s"}, None)
    assert form.masks == {"portrait": b"m", "sky": b"s"}
    body = read_body({"photo": "cA==", "prompt": "fire", "mask": {"portrait": "bQ==", "sky": "cw=="}}, "", None)
    assert body == form
    other = read_form({"photo": b"p", "prompt": b"fire", "mask": b"m", "mask.sea": b"s"}, None)
    assert len({form.key("x"), other.key("x"), read_form({"photo": b"p", "prompt": b"fire"}, None).key("x")}) == 3
    for name in ("mask.", "mask.Sky", "mask.background", "mask.a-b"):
        with pytest.raises(InputError) as caught:
            read_form({"photo": b"p", "prompt": b"fire", name: b"m"}, None)
        assert caught.value.field == name
    for twice in ("mask.portrait", "mask.person"):
        with pytest.raises(InputError, match="second mask of portrait"):
            read_form({"photo": b"p", "prompt": b"fire", "mask": b"m", twice: b"n"}, None)
    with pytest.raises(InputError, match="in JSON"):
        read_body({"photo": "cA==", "prompt": "fire", "mask.sky": "cw=="}, "", None)
    assert masks_of(Namespace(masks=["m.png", "sky=s.png"])) == {"portrait": Path("m.png"), "sky": Path("s.png")}
    assert masks_of(Namespace(masks=[])) is None
    assert masks_of(Namespace(masks=["a" * 300 + "=b.png"])) == {"portrait": Path("a" * 300 + "=b.png")}
    for wrong in (["a.png", "person=b.png"], ["sky="], ["background=b.png"]):
        with pytest.raises(InputError):
            masks_of(Namespace(masks=wrong))
