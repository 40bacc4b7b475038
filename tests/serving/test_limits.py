"""What a server accepts and refuses, without a server."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from genartisan.config import StyleConfig, preset
from genartisan.errors import InputError, TooLargeError
from genartisan.io.images import encode, read_photo
from genartisan.method.stylizer import Stylizer
from genartisan.serving.limits import MARGIN, Limits, run_cost, styles_of
from genartisan.serving.request import StyleRequest


def picture(width: int = 64, height: int = 64) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


def request(config: StyleConfig, prompt: str | None = "fire", **changes: Any) -> StyleRequest:
    """A request for a picture of 64 x 64 pixels."""
    pictures: dict[str, Any] = {"photo": picture(), "masks": {}, "style_images": {}, **changes}
    return StyleRequest(
        prompt=prompt, config=config, seed=0, media_type="image/png", picture_type="image/png", preview_every=0,
        **pictures,
    )  # fmt: skip


Check = Callable[[Limits, StyleRequest], None]


@pytest.fixture
def check(tiny_stylizer: Stylizer) -> Check:
    """All checks of a server."""

    def checked(limits: Limits, request: StyleRequest) -> None:
        limits.admit(request)
        steps = tiny_stylizer.steps(**request.inputs())
        limits.check_cost(steps.size, steps.config, request.style_images)

    return checked


def test_the_papers_own_settings_cost_one() -> None:
    assert run_cost(StyleConfig(), 512 * 512) == pytest.approx(1)
    assert run_cost(StyleConfig(steps=40), 512 * 512) == pytest.approx(0.1)


@pytest.mark.parametrize("changes", [{"steps": 401}, {"patches": 65}])
def test_more_costs_more(changes: dict[str, int]) -> None:
    assert run_cost(StyleConfig(**changes), 512 * 512) > 1


def test_coarse_steps_cost_less() -> None:
    assert run_cost(StyleConfig(coarse_share=0.5), 512 * 512) < 1 < run_cost(StyleConfig(), 513 * 512)


def test_a_larger_output_costs_a_little_more() -> None:
    larger = run_cost(StyleConfig(output_size=4096), 512 * 512)
    assert 1.001 < larger < 1.01


def test_every_preset_is_within_the_limits(check: Check) -> None:
    for name in ("paper", "fast", "draft"):
        check(Limits(), request(preset(name)))
        assert Limits().admit(request(preset(name))).timeout_s == Limits().timeout_s


@pytest.mark.parametrize(
    ("limits", "field", "received", "allowed"),
    [
        ({"photo_bytes": 10}, "photo", r"\d+ bytes", "at most 10"),
        ({"photo_pixels": 4095}, "photo", "64x64, 4,096 pixels", "at most 4,095"),
        ({"prompt_characters": 3}, "prompt", "4 characters", "at most 3"),
        ({"output_size": 500}, "size", "size is 512", "at most 500"),
        ({"cost": 0.5}, "steps", "steps is 400, .* 64 patches at 512x512", "at most 0.5"),
        ({"max_timeout_s": 9, "timeout_s": 1}, "timeout_s", "timeout_s is 10", "to 9 s"),
    ],
)
def test_what_is_refused(limits: dict[str, float], field: str, received: str, allowed: str, check: Check) -> None:
    with pytest.raises(InputError) as caught:
        check(Limits(**limits), request(StyleConfig(timeout_s=10.0)))
    assert caught.value.field == field
    assert re.search(received, caught.value.message)
    assert allowed in caught.value.message


def test_a_mask_may_not_be_larger_than_a_photo() -> None:
    with pytest.raises(TooLargeError) as caught:
        Limits(photo_bytes=1000).admit(request(StyleConfig(), masks={"portrait": bytes(1001)}))
    assert caught.value.field == "mask"


def test_a_style_picture_may_not_be_larger_than_a_photo() -> None:
    for limits, style_image in ((Limits(photo_bytes=1000), bytes(1001)), (Limits(photo_pixels=5000), picture(72, 70))):
        for region, field in (("all", "style_image"), ("sky", "style_image.sky")):
            with pytest.raises(TooLargeError) as caught:
                limits.admit(request(StyleConfig(), None, style_images={region: style_image}))
            assert caught.value.field == field
            assert caught.value.message.startswith(f"{field} ")


def test_so_many_regions_may_have_a_style_of_their_own(check: Check) -> None:
    pictures = {f"region{number}": picture() for number in range(8)}
    limits = Limits(cost=1000.0)
    masks = {name: encode(Image.new("L", (64, 64), 255)) for name in (*pictures, "sky")}
    check(limits, request(StyleConfig(), None, masks=masks, style_images={"all": picture(), **pictures}))
    texts = {"regions": {"portrait": {"prompt": "fire"}}}
    for more, config in (({"sky": picture()}, StyleConfig()), ({}, StyleConfig().updated(texts))):
        with pytest.raises(InputError, match="9 regions have a style of their own; at most 8") as caught:
            check(limits, request(config, masks=masks, style_images={**pictures, **more}))
        assert caught.value.field == "style_image"


def test_a_style_of_a_region_costs_as_much_whether_it_is_a_text_or_a_picture(check: Check) -> None:
    config, by_text = StyleConfig(), StyleConfig().updated({"regions": {"portrait": {"prompt": "fire"}}})
    both = {"all": picture(), "portrait": picture()}
    assert (styles_of(config, {}), styles_of(config, {"all": b""}), styles_of(by_text, both)) == (1, 1, 2)
    assert run_cost(config, 512 * 512, 2) == run_cost(by_text, 512 * 512) > 1
    with pytest.raises(TooLargeError) as caught:
        check(Limits(cost=1.001), request(config, "water", style_images=both))
    assert caught.value.field == "steps"


def test_the_remedy_for_a_costly_run_works(check: Check) -> None:
    limits = Limits(cost=2.0)
    for config in (StyleConfig(steps=5000), StyleConfig(size=2048), StyleConfig(steps=900, patches=200)):
        with pytest.raises(TooLargeError) as caught:
            check(limits, request(config, photo=picture(300, 200)))
        (steps,) = map(int, re.findall(r"Lower steps to (\d+)", caught.value.message))
        check(limits, request(config.updated({"steps": steps}), photo=picture(300, 200)))


def test_what_is_no_picture_is_refused_with_the_decoders_message() -> None:
    for content in (b"", b"no picture", picture()[:20]):
        with pytest.raises(InputError) as refused:
            Limits().admit(request(StyleConfig(), photo=content))
        with pytest.raises(InputError) as unread:
            read_photo(content)
        assert (refused.value.message, refused.value.field) == (unread.value.message, unread.value.field)
        with pytest.raises(InputError) as refused:
            Limits().admit(request(StyleConfig(), None, style_images={"all": content}))
        assert refused.value.field == "style_image"


def test_a_request_keeps_its_own_deadline() -> None:
    assert Limits().admit(request(StyleConfig(timeout_s=7.0))).timeout_s == 7


def test_a_server_whose_deadlines_are_too_long_does_not_start() -> None:
    settings = {"max_timeout_s": 100, "timeout_s": 50}
    assert Limits.of_server(settings, 100 + MARGIN).max_timeout_s == 100
    with pytest.raises(ValueError, match="responseTimeout is 399 s"):
        Limits.of_server(settings, 99 + MARGIN)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"cost": "much"}, "limits.cost"), ({"pixels": 5}, "limits.pixels"), ({"cost": 0}, "limits.cost"),
        ({"photo_pixels": 65_000_000}, "limits.photo_pixels"), ({"timeout_s": 3001}, "timeout_s is 3001"),
        (None, "limits: "),
    ],
)  # fmt: skip
def test_malformed_limits_are_named(settings: object, named: str) -> None:
    with pytest.raises(ValueError, match=re.escape(named)) as caught:
        Limits.of_server(settings, 1e6)
    assert "\n" not in str(caught.value)
