"""The call a Python user makes: pictures, reports, seeds, cancelling, deadlines, regions and modes."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from tiny import from_mask
from torch import nn

from genartisan.config import StyleConfig, preset
from genartisan.errors import InputError
from genartisan.io.images import Photo, read_photo
from genartisan.method import engine
from genartisan.method.objective import LOSSES
from genartisan.method.painters import Painter
from genartisan.method.regions import BACKGROUND_LABEL, RegionMap
from genartisan.method.stylization import Result
from genartisan.method.stylizer import Stylizer
from genartisan.method.targets import ScaleTargets, halved
from genartisan.method.tiling import rendered
from genartisan.networks.bundle import Bundle
from genartisan.networks.device import bf16_gain, find_device, find_precision, processor
from genartisan.networks.stylenet import StyleNet, random_stylenet

QUICK = StyleConfig(size=64, steps=4, patches=4, patch_size=32, learning_rate=2e-3)


def quick(**changes: object) -> StyleConfig:
    return QUICK.updated(changes)


def test_same_seed_same_picture_and_another_seed_another(tiny_stylizer: Stylizer) -> None:
    first, second, third = (
        tiny_stylizer(tiny.picture(), "fire", config=QUICK, mask=tiny.mask(), seed=seed).image.tobytes()
        for seed in (1, 1, 2)
    )
    assert first == second
    assert first != third


def test_a_call_gives_what_it_gives_alone_whatever_came_before(tiny_bundle: Bundle) -> None:
    alone = Stylizer(tiny_bundle, "cpu")(tiny.picture(seed=1), "fire", config=QUICK).image.tobytes()
    stylizer = Stylizer(tiny_bundle, "cpu")
    stylizer(tiny.picture(seed=2), "watercolor painting", config=quick(start="draft", steps=3))
    torch.manual_seed(99)  # nor does the global generator matter
    assert stylizer(tiny.picture(seed=1), "fire", config=QUICK).image.tobytes() == alone


def test_neither_bundle_nor_global_generator_is_touched(tiny_bundle: Bundle) -> None:
    stylizer = Stylizer(tiny_bundle, "cpu")
    networks: list[nn.Module] = [
        getattr(bundle, name)
        for bundle in (tiny_bundle, stylizer.bundle)
        for name in ("clip", "fcn", "vgg", "predictor", "pastiche", "style_head")
    ]
    before = [[value.clone() for value in network.state_dict().values()] for network in networks]
    state = torch.get_rng_state()
    for start in ("random", "draft"):
        stylizer(tiny.picture(), "fire", config=quick(start=start, numbers_rate=0.1))
    assert torch.equal(torch.get_rng_state(), state)
    for network, values in zip(networks, before, strict=True):
        assert all(map(torch.equal, network.state_dict().values(), values))
        assert all(weight.grad is None for weight in network.parameters())


def test_a_random_start_is_pytorch_s_own_and_draws_from_its_seed_alone() -> None:
    state, net = torch.get_rng_state(), random_stylenet(5)
    assert torch.equal(torch.get_rng_state(), state)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(5)
        usual = StyleNet().state_dict()
    for name, weight in net.state_dict().items():
        torch.testing.assert_close(weight, usual[name])
    assert not torch.equal(net.first.weight, random_stylenet(6).first.weight)


@pytest.mark.parametrize("start", ["random", "draft"])
def test_two_calls_in_two_threads_are_each_what_they_are_alone(tiny_bundle: Bundle, start: str) -> None:
    stylizer = Stylizer(tiny_bundle, "cpu", "fp32", prompt_bytes=3000)  # room for the texts of one call
    config = quick(start=start, steps=3, numbers_rate=0.05)

    def made(seed: int) -> bytes:
        prompt = ("fire", "watercolor painting")[seed % 2]
        return stylizer(tiny.picture(seed=seed), prompt, config=config, mask=tiny.mask(), seed=seed).image.tobytes()

    alone = [made(seed) for seed in range(4)]
    for _ in range(3):
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(made, range(4))) == alone


@pytest.mark.parametrize("size", [(64, 48), (48, 64), (61, 43), (100, 17), (64, 64)])
def test_any_aspect_ratio_is_kept(tiny_stylizer: Stylizer, size: tuple[int, int]) -> None:
    result = tiny_stylizer(tiny.picture(*size), "fire", config=quick(steps=1, size=max(size)))
    assert result.image.size == size
    assert result.report["size"] == list(size)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["random", "draft"])
def test_a_larger_picture_is_drawn_from_the_larger_photo(
    tiny_stylizer: Stylizer, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo, mask, seen = tiny.picture(512, 384), tiny.mask(512, 384, (0, 0, 256, 384)), []

    def watched(net: Painter, small: torch.Tensor, content: torch.Tensor) -> torch.Tensor:
        seen.append((small, content))
        return rendered(net, small, content)

    monkeypatch.setattr(engine, "rendered", watched)
    config = quick(
        start=start, steps=3, size=256, contrast=1.0, regions={"portrait": {"strength": 0.25}},
        learning_rate=1e-4 if start == "draft" else 2e-3,
    )  # fmt: skip
    small, large, same = (
        tiny_stylizer(photo, "fire", config=config.updated({"output_size": size}), mask=mask).image
        for size in (None, 512, 256)
    )
    assert (small.size, large.size) == ((256, 192), (512, 384))
    assert same.tobytes() == small.tobytes()
    again = np.asarray(large.resize(small.size, Image.Resampling.BOX))
    assert np.corrcoef(again.ravel(), np.asarray(small).ravel())[0, 1] > 0.9
    ((optimised_on, content),) = seen
    assert optimised_on.shape[-2:] == (192, 256)
    pixels = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None] / 255
    torch.testing.assert_close(content[:, :3], pixels)
    assert content.shape[1] == (5 if start == "draft" else 3)
    if start == "draft":  # and how much of each pixel is drawn by which strength
        background = torch.cat((torch.zeros(384, 256), torch.ones(384, 256)), 1)
        assert torch.equal(content[0, 3:], torch.stack((background, 1 - background)))


def test_an_explanation_tells_the_larger_size_and_draws_nothing(tiny_stylizer: Stylizer) -> None:
    config = quick(size=48, output_size=90)
    facts = tiny_stylizer.steps(tiny.picture(96, 64), "fire", config=config).explanation().facts
    assert (facts["size"], facts["output_size"]) == ([48, 32], [90, 60])


def test_a_larger_picture_keeps_its_alpha(tiny_stylizer: Stylizer) -> None:
    photo = tiny.picture(96, 64, mode="RGBA")
    result = tiny_stylizer(photo, "fire", config=quick(steps=1, size=48, output_size=96))
    assert np.array_equal(np.asarray(result.image)[..., 3], np.asarray(photo)[..., 3])
    assert result.report["size"] == [96, 64]
    assert result.report["seconds"]["render"] > 0


def test_alpha_is_put_back(tiny_stylizer: Stylizer) -> None:
    photo = tiny.picture(mode="RGBA")
    image = tiny_stylizer(photo, "fire", config=quick(steps=1)).image
    assert image.mode == "RGBA"
    assert np.array_equal(np.asarray(image)[..., 3], np.asarray(photo)[..., 3])


def test_the_iterator_gives_the_same_picture_as_the_call(tiny_stylizer: Stylizer) -> None:
    steps = tiny_stylizer.steps(tiny.picture(), "fire", config=QUICK, seed=3)
    seen = [(step.index, step.total) for step in steps]
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert steps.result().image.tobytes() == tiny_stylizer(tiny.picture(), "fire", config=QUICK, seed=3).image.tobytes()


def test_interrupted_at_step_k_it_is_where_a_full_run_is_at_step_k(tiny_stylizer: Stylizer) -> None:
    full = tiny_stylizer.steps(tiny.picture(), "fire", config=QUICK)
    losses = [step.losses for step in full]
    cut = tiny_stylizer.steps(tiny.picture(), "fire", config=QUICK)
    next(cut)
    second = next(cut)
    cut.close()
    assert second.losses == losses[1]
    assert list(cut) == []
    result = cut.result()
    assert result.report["steps"] == 2
    shorter = tiny_stylizer(tiny.picture(), "fire", config=quick(steps=2))
    assert result.image.tobytes() == shorter.image.tobytes()


def test_a_preview_is_a_picture_of_the_final_size(tiny_stylizer: Stylizer) -> None:
    step = next(tiny_stylizer.steps(tiny.picture(), "fire", config=QUICK))
    assert step.preview().size == (64, 48)
    assert step.seconds > 0


def test_bad_input_is_told_before_any_work_is_begun(tiny_stylizer: Stylizer, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []

    def noted(fcn: torch.nn.Module, photo: Photo, names: object, unsought: object) -> RegionMap:
        begun.append(photo)
        return from_mask(torch.zeros(48, 64, dtype=torch.bool))

    monkeypatch.setattr("genartisan.method.stylizer.segment", noted)
    with pytest.raises(InputError, match="send a mask of the photo's size"):
        tiny_stylizer.steps(tiny.picture(64, 48), "fire", config=QUICK, mask=tiny.picture(32, 32))
    cancelled = tiny_stylizer.steps(tiny.picture(64, 48), "fire", config=QUICK)
    cancelled.close()
    assert (list(cancelled), begun) == ([], [])
    assert len(list(tiny_stylizer.steps(tiny.picture(64, 48), "fire", config=QUICK))) == QUICK.steps
    assert len(begun) == 1


def test_what_is_left_is_told_in_seconds(tiny_stylizer: Stylizer) -> None:
    told = [step.eta for step in tiny_stylizer.steps(tiny.picture(), "fire", config=quick(steps=8, coarse_share=0.5))]
    assert told[-1] == 0
    assert all(eta > 0 for eta in told[:-1])


def test_a_deadline_returns_the_picture_so_far_with_a_warning(tiny_stylizer: Stylizer) -> None:
    result = tiny_stylizer(tiny.picture(), "fire", config=quick(steps=5000, timeout_s=0.3))
    assert 1 <= result.report["steps"] < 5000
    assert any("timeout_s" in warning for warning in result.report["warnings"])


def test_the_deadline_counts_from_the_request_and_the_report_counts_everything(tiny_stylizer: Stylizer) -> None:
    config = quick(steps=1000, patches=128, timeout_s=0.5)
    began = time.perf_counter()
    report = tiny_stylizer(tiny.picture(), "fire", config=config).report
    elapsed = time.perf_counter() - began
    assert report["steps"] < 1000
    assert 0.8 * elapsed < report["seconds"]["total"] <= elapsed
    parts = [value for name, value in report["seconds"].items() if name != "total"]
    assert sum(parts) == pytest.approx(report["seconds"]["total"], abs=0.01)


def test_a_run_that_is_out_of_time_says_so_once(tiny_stylizer: Stylizer) -> None:
    run = tiny_stylizer.steps(tiny.picture(), "fire", config=quick(timeout_s=1e-6)).run
    list(run)
    assert run.is_over()
    assert run.is_over()
    assert len([warning for warning in run.warnings if "timeout_s" in warning]) == 1


@pytest.mark.parametrize(("prompt", "remark"), [
    ("xyzzy", "finds no style"), ("\u6c34\u5f69\u753b", "finds no style"), ("!!!", "finds no style"),
    ("fire xyzzy", "does not know xyzzy"), ("fire \u706b", "does not know \u706b"),
])  # fmt: skip
def test_words_that_the_bundle_cannot_read_are_named(tiny_stylizer: Stylizer, prompt: str, remark: str) -> None:
    warnings = tiny_stylizer(tiny.picture(), prompt, config=quick(steps=1)).report["warnings"]
    assert any(remark in warning for warning in warnings)


def test_a_mask_is_checked_in_both_modes_and_said_to_be_unused_in_one(tiny_stylizer: Stylizer) -> None:
    config = quick(mode="clipstyler", steps=1)
    with pytest.raises(InputError) as caught:
        tiny_stylizer(tiny.picture(), "fire", config=config, mask=tiny.mask(8, 8))
    assert caught.value.field == "mask"
    assert "mask" in tiny_stylizer(tiny.picture(), "fire", config=config, mask=tiny.mask()).report["warnings"][0]


def test_the_report_says_what_was_done_in_json(tiny_stylizer: Stylizer) -> None:
    config = quick(regions={"portrait": {"share": 0.5}})
    report = tiny_stylizer(tiny.picture(), " fire ", config=config, mask=tiny.mask(), seed=5).report
    assert json.loads(json.dumps(report)) == report
    assert (report["prompt"], report["mode"], report["seed"], report["bundle"]) == ("fire", "artisan", 5, "tiny")
    assert [entry["step"] for entry in report["history"]] == [1, 2, 3, 4]
    assert {k: v for k, v in report["history"][-1].items() if k != "step"} == report["losses"]
    c, last = StyleConfig(), report["losses"]
    weighted = (
        c.lambda_direction * last["direction"] + c.lambda_patch * last["patch"]
        + c.lambda_content * last["content"] + c.lambda_tv * last["tv"]
        + c.lambda_pixel * last["pixel"] + c.lambda_draft * last["draft"]
    )  # fmt: skip
    assert last["total"] == pytest.approx(weighted, rel=1e-5)
    background, portrait = report["regions"]
    assert (background["name"], portrait["name"]) == ("background", "portrait")
    assert background["pixels"] == portrait["pixels"] == 32 * 48
    assert background["patches"] + portrait["patches"] == 4 * 4
    assert portrait["patches"] <= 2 * 4
    assert (portrait["weight"], portrait["threshold"]) == (0.3, 0.8)


def test_every_patch_is_rejected_under_a_threshold_of_two(tiny_stylizer: Stylizer) -> None:
    config = quick(regions={"portrait": {"threshold": 2.0}, "background": {"threshold": 2.0}})
    report = tiny_stylizer(tiny.picture(), "fire", config=config, mask=tiny.mask()).report
    assert all(region["rejected"] == region["patches"] for region in report["regions"])
    assert report["losses"]["patch"] == 0


def test_no_person_is_clipstyler_mode(tiny_stylizer: Stylizer) -> None:
    nobody = tiny.mask(box=(0, 0, 0, 0))
    artisan = tiny_stylizer(tiny.picture(), "fire", config=QUICK, mask=nobody)
    baseline = tiny_stylizer(tiny.picture(), "fire", config=quick(mode="clipstyler"))
    assert artisan.image.tobytes() == baseline.image.tobytes()
    changed = quick(regions={"background": {"threshold": 2.0}})
    assert artisan.image.tobytes() != tiny_stylizer(tiny.picture(), "fire", config=changed, mask=nobody).image.tobytes()


def test_nothing_but_a_person_leaves_only_the_portraits_controls(tiny_stylizer: Stylizer) -> None:
    everyone = tiny.mask(box=(0, 0, 64, 48))

    def styled(regions: dict[str, object], **changes: object) -> bytes:
        config = quick(regions=regions, **changes)
        return tiny_stylizer(tiny.picture(), "fire", config=config, mask=everyone).image.tobytes()

    plain = styled({})
    assert styled({"background": {"weight": 5.0, "threshold": 0.1}}) == plain
    assert styled({}, lambda_direction=0.0) == plain
    assert styled({"portrait": {"weight": 0.9}}) != plain


def gradient_of(loss: str, stylizer: Stylizer, monkeypatch: pytest.MonkeyPatch, **changes: object) -> torch.Tensor:
    """The gradient of one loss alone for each pixel of the picture, ``(3, H, W)``."""
    caught: list[torch.Tensor] = []
    original = engine.Run.draw

    def kept(run: engine.Run, scale: ScaleTargets) -> torch.Tensor:
        picture = original(run, scale)
        if picture.requires_grad:
            picture.register_hook(lambda gradient: caught.append(gradient.clone()))
        return picture

    monkeypatch.setattr(engine.Run, "draw", kept)
    lambdas = {f"lambda_{name}": 100.0 * (name == loss) for name in LOSSES[1:]}
    stylizer(tiny.picture(), "fire", config=quick(steps=1, **lambdas, **changes), mask=tiny.mask())
    return caught[0][0]


def test_the_global_loss_reaches_no_masked_pixel(tiny_stylizer: Stylizer, monkeypatch: pytest.MonkeyPatch) -> None:
    gradient = gradient_of("direction", tiny_stylizer, monkeypatch)
    assert not gradient[:, :, :32].any()
    assert gradient[:, :, 32:].any()


def test_the_pixel_loss_holds_a_region_by_what_its_weight_lacks_of_one(
    tiny_stylizer: Stylizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for weight, expected in ((0.25, 0.75), (0.0, 1.0), (1.0, 0.0), (7.0, 0.0)):
        regions = {"portrait": {"weight": weight}}
        gradient = gradient_of("pixel", tiny_stylizer, monkeypatch, regions=regions) * 3 * 64 * 48 / 100
        assert gradient[:, :, :32].abs().unique().tolist() == pytest.approx([expected])
        assert not gradient[:, :, 32:].any()


@pytest.mark.parametrize("start", ["random", "draft"])
def test_the_pixel_loss_keeps_people(tiny_stylizer: Stylizer, start: str) -> None:
    photo = read_photo(tiny.picture(), 64).pixels

    def change(**changes: object) -> float:
        config = quick(contrast=1.0, start=start, steps=12, **changes)
        picture = tiny_stylizer(tiny.picture(), "fire", config=config, mask=tiny.mask()).image
        return float((torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255 - photo).abs()[:, :, :32].mean())

    assert change(lambda_pixel=1e5) < 0.8 * change()
    assert change(lambda_pixel=1e5, mode="clipstyler") == change(mode="clipstyler")


def test_learning_rate_is_halved_after_every_interval(tiny_stylizer: Stylizer, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    step = torch.optim.Adam.step

    def noted(optimizer: torch.optim.Adam, *args: object, **kwargs: object) -> object:
        rates.append(optimizer.param_groups[0]["lr"])
        return step(optimizer, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.optim.Adam, "step", noted)
    tiny_stylizer(tiny.picture(), "fire", config=quick(steps=6, halve_every=2, learning_rate=8e-4))
    assert rates == pytest.approx([8e-4, 8e-4, 4e-4, 4e-4, 2e-4, 2e-4])


@pytest.mark.parametrize(("share", "coarse"), [(0.0, 0), (0.5, 2), (0.7, 3), (1.0, 4)])
def test_the_first_steps_see_half_the_photo_and_the_picture_is_whole(
    tiny_stylizer: Stylizer, share: float, coarse: int
) -> None:
    steps = tiny_stylizer.steps(tiny.picture(63, 48), "fire", config=quick(coarse_share=share, size=63))
    sizes: list[tuple[int, ...]] = []
    steps.run.painter.register_forward_hook(lambda net, photo, picture: sizes.append(tuple(picture.shape[-2:])))
    assert {step.preview().size for step in steps} == {(63, 48)}
    result = steps.result()
    assert sizes == [(24, 32)] * coarse + [(48, 63)] * (4 - coarse) + [(48, 63)]
    assert result.image.size == (63, 48)
    assert [entry["step"] for entry in result.report["history"]] == [1, 2, 3, 4]


@pytest.mark.parametrize("start", ["random", "draft"])
@pytest.mark.parametrize("mode", ["artisan", "clipstyler"])
@pytest.mark.parametrize("box", [(0, 0, 32, 48), (0, 0, 0, 0), (0, 0, 64, 48)])
def test_coarse_steps_keep_the_patches_size_and_budget_and_repeat_bit_for_bit(
    tiny_stylizer: Stylizer, start: str, mode: str, box: tuple[int, int, int, int]
) -> None:
    config = quick(mode=mode, coarse_share=0.75, patches=10, start=start, lambda_draft=100.0)

    def run(share: float) -> Result:
        changed = config.updated({"coarse_share": share})
        return tiny_stylizer(tiny.picture(), "fire", config=changed, mask=tiny.mask(box=box), seed=1)

    fine, first, again = run(0.0), run(0.75), run(0.75)
    assert first.image.tobytes() == again.image.tobytes() != fine.image.tobytes()
    drawn = {region["name"]: region["patches"] for region in first.report["regions"]}
    assert sum(drawn.values()) == config.steps * config.patches
    if mode == "artisan" and box == (0, 0, 32, 48):
        assert 0 < drawn["portrait"] <= config.regions.portrait.share * config.steps * config.patches
    steps = tiny_stylizer.steps(tiny.picture(), "fire", config=config, mask=tiny.mask(box=box), seed=1)
    assert steps.run.coarse.plan.side == min(round(0.75 * config.patch_size), 24)  # of the half-size picture's pixels
    assert steps.run.full.plan.side == min(config.patch_size, 48)


def test_coarse_steps_see_the_background_beside_a_person_in_the_middle(tiny_stylizer: Stylizer) -> None:
    config = preset("fast")
    side = config.size
    person = tiny.mask(side, side, box=(side // 4, side // 8, side * 3 // 4, side))
    steps = tiny_stylizer.steps(tiny.picture(side, side), "fire", config=config, mask=person)
    records = steps.run.coarse.plan.records
    assert (records["region"] == BACKGROUND_LABEL).mean() >= 1 - config.regions.portrait.share
    assert not any("share" in warning for warning in steps.run.warnings)


@pytest.mark.slow
def test_coarse_steps_serve_the_picture_at_its_full_size(tiny_stylizer: Stylizer) -> None:
    """The first fine step after them finds more than half of the loss gone that fine steps alone take away."""
    full = quick(mode="clipstyler", steps=30, patches=8, threshold=0.0, contrast=1.0)
    coarse_gain = fine_gain = 0.0  # over seeds: with networks so small a single run goes up and down
    for seed in range(4):
        fine, coarse = (
            [step["total"] for step in tiny_stylizer(tiny.picture(), "fire", config=c, seed=seed).report["history"]]
            for c in (full, full.updated({"coarse_share": 0.9}))
        )
        fine_gain += fine[0] - fine[27]
        coarse_gain += fine[0] - coarse[27]
    assert coarse_gain > 0.5 * fine_gain > 0


def test_losses_of_a_coarse_step_are_close_to_those_of_a_fine_one(tiny_stylizer: Stylizer) -> None:
    config = quick(mode="clipstyler", start="draft", size=128, patch_size=64, patches=16, threshold=0.0)
    fine, coarse = (
        next(tiny_stylizer.steps(tiny.picture(128, 96), "fire", config=config.updated({"coarse_share": share}))).losses
        for share in (0.0, 1.0)
    )
    for name in ("direction", "patch"):
        assert coarse[name] == pytest.approx(fine[name], rel=0.1)
    assert 0.5 < coarse["tv"] / fine["tv"] < 2


@pytest.mark.parametrize(("size", "half"), [
    ((64, 48), (32, 24)), ((63, 43), (32, 22)), ((16, 16), (16, 16)), ((40, 20), (32, 16)), ((100, 17), (95, 16)),
])  # fmt: skip
def test_half_a_photo_is_never_too_small_for_the_networks(
    tiny_stylizer: Stylizer, size: tuple[int, int], half: tuple[int, int]
) -> None:
    assert halved(read_photo(tiny.picture(*size))).size == half
    config = quick(coarse_share=0.5, steps=2, size=max(32, *size))
    report = tiny_stylizer(tiny.picture(*size), "fire", config=config).report
    assert all(np.isfinite(value) for value in report["losses"].values())


def test_a_deadline_among_the_coarse_steps_gives_a_whole_picture(tiny_stylizer: Stylizer) -> None:
    result = tiny_stylizer(tiny.picture(), "fire", config=quick(steps=5000, coarse_share=1.0, timeout_s=0.3))
    assert result.image.size == (64, 48)
    assert any("timeout_s" in warning for warning in result.report["warnings"])


def test_contrast_of_one_leaves_the_picture_and_zero_makes_it_flat(tiny_stylizer: Stylizer) -> None:
    plain, strong, flat = (
        np.asarray(tiny_stylizer(tiny.picture(), "fire", config=quick(steps=1, contrast=c)).image, float)
        for c in (1, 1.5, 0)
    )
    assert flat.std() < 1 < plain.std() < strong.std()


def test_divergence_is_an_error_and_no_picture(tiny_stylizer: Stylizer) -> None:
    steps = tiny_stylizer.steps(tiny.picture(), "fire", config=QUICK)
    next(steps)
    with torch.no_grad():
        steps.run.painter.get_parameter("last.weight")[0] = torch.nan  # what a last update may do to it
    with pytest.raises(InputError, match="learning_rate"):
        steps.result()


def test_bf16_runs_and_stays_close_to_fp32(tiny_bundle: Bundle) -> None:
    config = quick(steps=1, learning_rate=1e-5)
    fp32 = Stylizer(tiny_bundle, "cpu", "fp32")(tiny.picture(), "fire", config=config)
    bf16 = Stylizer(tiny_bundle, "cpu", "bf16")(tiny.picture(), "fire", config=config)
    assert bf16.report["precision"] == "bf16"
    difference = np.asarray(fp32.image, float) - np.asarray(bf16.image, float)
    assert 0 < np.abs(difference).mean() < 6
    assert bf16.report["losses"]["total"] == pytest.approx(fp32.report["losses"]["total"], rel=0.05)


def test_the_same_words_as_the_source_text_are_refused(tiny_stylizer: Stylizer) -> None:
    with pytest.raises(InputError) as caught:
        tiny_stylizer(tiny.picture(), "a Photo", config=QUICK)
    assert caught.value.field == "prompt"


def test_photos_may_be_paths_bytes_and_images(tiny_stylizer: Stylizer, tmp_path: object) -> None:
    path = f"{tmp_path}/photo.png"
    tiny.picture().save(path)
    with open(path, "rb") as file:
        data = file.read()
    pictures = {tiny_stylizer(p, "fire", config=quick(steps=1)).image.tobytes() for p in (path, data, Image.open(path))}
    assert len(pictures) == 1


@pytest.mark.parametrize("name", ["cuda:99", "tpu", "nothing", ""])
def test_a_device_that_is_not_here_is_refused(name: str) -> None:
    with pytest.raises(InputError) as caught:
        find_device(name)
    assert caught.value.field == "device"


@pytest.mark.slow
def test_precision_is_chosen_by_device_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_precision("auto", torch.device("cpu")) == "fp32"
    for gain, chosen in ((0.5, "fp32"), (4.0, "bf16")):
        monkeypatch.setattr("genartisan.networks.device.bf16_gain", lambda gain=gain: gain)
        assert find_precision("auto", torch.device("cpu"), multiplies=True) == chosen
        assert find_precision("auto", torch.device("cpu")) == "fp32"  # no network that multiplies large matrices
    monkeypatch.undo()
    assert 0.005 < bf16_gain() < 50  # 0.02 where bf16 is emulated
    with pytest.raises(InputError, match="fp32 or bf16"):
        find_precision("fp16", torch.device("cpu"))


def test_a_report_names_a_limit_of_the_instruction_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    named = processor.__wrapped__()  # not the one that is kept
    assert named.endswith("ONEDNN_MAX_CPU_ISA=AVX2")
    assert "AMX" not in named


def test_a_narrow_picture_is_warned_of_unless_a_larger_one_is_asked_for(tiny_stylizer: Stylizer) -> None:
    config = StyleConfig(size=64, steps=1, patches=1, patch_size=16)
    for output_size, is_warned in ((None, True), (128, False)):
        result = tiny_stylizer(tiny.picture(320, 80), "fire", config=config.updated({"output_size": output_size}))
        assert any("picture is 64 x 16 pixels" in text for text in result.report["warnings"]) == is_warned
