"""A request's fields and Accept header, without a server."""

from __future__ import annotations

import base64
import json
import time

import pytest

from genartisan.config import DEFAULT_PRESET, PRESETS, preset
from genartisan.errors import InputError
from genartisan.serving.duplicate_fields import repeats_kept
from genartisan.serving.media_types import choose_media_type
from genartisan.serving.request import StyleRequest, read_body, read_form, read_grpc
from genartisan.serving.request_headers import request_start, seconds_waited


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, "image/png"),
        ("", "image/png"),
        ("*/*", "image/png"),
        ("image/*", "image/png"),
        ("IMAGE/JPEG", "image/jpeg"),
        ("application/*", "application/json"),
        ("image/webp, image/jpeg", "image/webp"),
        ("image/webp;q=0.5, image/jpeg", "image/jpeg"),
        ("image/webp; q=0.5 , image/jpeg;q=0.500", "image/webp"),
        ("image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", "image/webp"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "image/png"),
        ("image/png;q=0, image/*", "image/jpeg"),
        ("*/*;q=0.1, application/json;q=0.2", "application/json"),
        ("image/png;q=broken", "image/png"),
        ("application/x-ndjson", "application/x-ndjson"),
        (" , ,", "image/png"),
    ],
)
def test_accept(accept: str | None, chosen: str) -> None:
    assert choose_media_type(accept) == chosen


@pytest.mark.parametrize("accept", ["text/html", "image/gif", "image/*;q=0", "*/*;q=0", "png"])
def test_accept_refused(accept: str) -> None:
    assert choose_media_type(accept) is None
    with pytest.raises(InputError, match="choose one of image/png") as caught:
        read_body({"photo": "AAAA", "prompt": "fire"}, "", accept)
    assert caught.value.field == "accept"


@pytest.mark.parametrize(
    ("accept", "types"),
    [
        ("image/webp", ("image/webp", "image/webp")),
        ("application/json", ("application/json", "image/png")),
        ("application/json, image/*;q=0.1", ("application/json", "image/png")),
        ("application/x-ndjson, image/jpeg;q=0.5", ("application/x-ndjson", "image/jpeg")),
        ("application/x-ndjson;q=0.4, image/jpeg;q=0.5", ("image/jpeg", "image/jpeg")),
    ],
)
def test_the_picture_in_an_answer_has_the_type_accepted_next(accept: str, types: tuple[str, str]) -> None:
    request = read_body({"photo": "AAAA", "prompt": "fire"}, "", accept)
    assert (request.media_type, request.picture_type) == types


@pytest.mark.parametrize(("steps", "every"), [(400, 10), (8, 2), (2, 1), (0, 1)])
def test_a_short_run_has_previews_too(steps: int, every: int) -> None:
    body = {"photo": "AAAA", "prompt": "fire", "params": {"steps": steps}}
    assert read_body(body, "", None).preview_every == every


def test_preview_every_is_no_setting_of_the_picture() -> None:
    body = {"photo": "AAAA", "prompt": "fire"}
    plain = read_body(body, "", None)
    often = read_body({**body, "params": {"preview_every": 1}}, "", None)
    assert (plain.preview_every, often.preview_every, often.config) == (2, 1, plain.config)
    for bad in (-1, 5001, 1.5, True, "1", None):
        with pytest.raises(InputError, match=r"preview_every is .*from 0") as caught:
            read_body({**body, "params": {"preview_every": bad}}, "", None)
        assert caught.value.field == "preview_every"


def test_a_form_and_a_body_give_the_same_request() -> None:
    params = {"preset": "fast", "seed": 4, "regions": {"portrait": {"weight": 0.1}}}
    form = read_form(
        {"photo": bytearray(b"\x89photo"), "prompt": b" fire ", "mask": b"mask", "params": json.dumps(params).encode()},
        None,
    )
    text = {"photo": base64.b64encode(b"\x89photo").decode(), "mask": "data:image/png;base64,bWFzaw=="}
    body = {**text, "prompt": " fire ", "params": params}
    assert read_body(body, "application/json", None) == form
    assert read_body(json.dumps(body).encode(), "application/JSON; charset=utf-8", None) == form
    assert (form.photo, form.masks["portrait"], form.prompt, form.seed) == (b"\x89photo", b"mask", "fire", 4)
    assert (form.config.steps, form.config.regions.portrait.weight) == (PRESETS["fast"]["steps"], 0.1)


@pytest.mark.parametrize("prompt", ["Fire \U0001fae8", r"dog: a tale\; cat: another", r"0.5 fire \+ ice", "-winter-"])
def test_prompts_arrive_unchanged_over_every_protocol(prompt: str) -> None:
    form = {"photo": b"photo", "prompt": prompt.encode()}
    body = {"photo": base64_of(b"photo"), "prompt": prompt}
    read = read_form(form, None), read_grpc(form), read_body(json.dumps(body).encode(), "application/json", None)
    assert {request.prompt for request in read} == {prompt}


def test_optional_fields_may_be_left_out_or_null() -> None:
    body = {"photo": "AAAA", "prompt": "fire"}
    assert read_body(body, "", None) == read_body({**body, "mask": None, "params": None}, "", None)


def test_text_in_place_of_a_picture_is_its_content_and_never_a_path() -> None:
    assert read_form({"photo": "/etc/passwd", "prompt": "fire"}, None).photo == b"/etc/passwd"


def test_base64_may_be_wrapped() -> None:
    content = bytes(range(256)) * 4
    wrapped = base64.encodebytes(content).decode()
    assert "\n" in wrapped
    assert read_body({"photo": wrapped, "prompt": "fire"}, "", None).photo == content


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def styled(**fields: bytes) -> StyleRequest:
    """A form's request for the style "fire"; two underscores stand for a dot in a field's name."""
    named = {name.replace("__", "."): content for name, content in fields.items()}
    return read_form({"photo": b"photo", "prompt": b"fire", **named}, None)


def test_style_pictures_come_by_form_by_json_and_by_grpc() -> None:
    form = {"photo": b"photo", "prompt": b"fire", "style_image": b"wave", "style_image.person": b"face"}
    expected = {"all": b"wave", "portrait": b"face"}
    assert read_form(form, None).style_images == read_grpc(form).style_images == expected
    body = {"photo": base64_of(b"photo"), "prompt": "fire"}
    by_name = {"all": base64_of(b"wave"), "portrait": base64_of(b"face")}
    assert read_body({**body, "style_image": by_name}, "", None) == read_form(form, None)
    alone = read_body({**body, "style_image": base64_of(b"wave")}, "", None)
    assert alone.style_images == {"all": b"wave"}
    assert (alone.masks, styled().style_images) == ({}, {})


def test_with_a_style_picture_the_prompt_is_optional() -> None:
    request = read_form({"photo": b"photo", "style_image": b"wave"}, None)
    assert (request.prompt, request.config) == (None, preset(DEFAULT_PRESET))
    assert read_body({"photo": "AAAA", "style_image": "AAAA"}, "", None).prompt is None
    for fields, words in (
        ({}, "prompt is missing; .*style_image"),
        ({"style_image": None}, "prompt is missing"),
        ({"style_image.sky": b"wave"}, "style_image.sky is for its region alone"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            read_form({"photo": b"photo", **fields}, None)
        assert caught.value.field == "prompt"


@pytest.mark.parametrize(
    ("fields", "at", "words"),
    [
        ({"style_image__Sky": b"wave"}, "style_image.Sky", "use up to 32"),
        ({"style_image__": b"wave"}, "style_image.", "names no region"),
        ({"style_image__portrait": b"a", "style_image__person": b"b"}, "style_image.person", "second style picture"),
        ({"style_image": b"a", "style_image__all": b"b"}, "style_image.all", "second style picture of all"),
        ({"style_images": b"wave"}, "style_images", "known are photo, prompt, style_image, mask, params"),
        ({"style__image": b"wave"}, "style.image", "known are"),
    ],
)
def test_a_style_picture_that_cannot_be_placed_is_refused(fields: dict[str, bytes], at: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        styled(**fields)
    assert caught.value.field == at


@pytest.mark.parametrize(
    ("value", "at", "words"),
    [
        (3, "style_image", "base64 text, got a number"),
        ("no/base64!", "style_image", "is not base64"),
        ({"sky": True}, "style_image.sky", "base64 text, got a boolean"),
        ({"Sky": "AAAA"}, "style_image.Sky", "names no region"),
    ],
)
def test_in_json_a_bad_style_picture_is_named(value: object, at: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read_body({"photo": "AAAA", "prompt": "fire", "style_image": value}, "", None)
    assert caught.value.field == at


def test_in_json_style_pictures_of_regions_are_in_one_field() -> None:
    with pytest.raises(InputError, match="in JSON it is in style_image, by name") as caught:
        read_body({"photo": "AAAA", "prompt": "fire", "style_image.sky": "AAAA"}, "", None)
    assert caught.value.field == "style_image.sky"


def test_the_cache_distinguishes_style_pictures() -> None:
    requests = [
        styled(),
        styled(style_image=b"wave"),
        styled(style_image=b"other"),
        styled(style_image__portrait=b"wave"),
        styled(style_image__sky=b"wave"),
        styled(mask=b"wave"),
        styled(mask__sky=b"wave"),
        styled(style_image=b"wave", style_image__sky=b"other"),
        styled(style_image=b"other", style_image__sky=b"wave"),
        read_form({"photo": b"photo", "style_image": b"wave"}, None),
        read_form({"photo": b"wave", "style_image": b"photo"}, None),
    ]
    assert len({request.key("bundle") for request in requests}) == len(requests)
    turned = [
        styled(style_image__sky=b"a", style_image__sea=b"b"),
        styled(style_image__sea=b"b", style_image__sky=b"a"),
    ]
    assert turned[0].key("bundle") == turned[1].key("bundle")


def test_duplicates_are_refused() -> None:
    for twice, at in (
        ({"photo": b"x", "prompt": [b"fire", b"water"]}, "prompt"),
        ({"photo": [b"x", b"x"], "prompt": b"fire"}, "photo"),
        ({"photo": b"x", "prompt": b"fire", "mask.sky": [b"a", b"b", b"c"]}, "mask.sky"),
        ({"photo": b"x", "prompt": b"fire", "params": [b"{}", b"{}"]}, "params"),
    ):
        with pytest.raises(InputError, match=r"was sent [23] times") as caught:
            read_form(twice, None)
        assert caught.value.field == at
    for text, at in (
        ('{"photo": "AAAA", "photo": "AAAA", "prompt": "fire"}', "photo"),
        ('{"photo": "AAAA", "prompt": "fire", "params": {"seed": 1, "steps": 1, "seed": 1}}', "seed"),
        ('{"photo": "AAAA", "prompt": "fire", "mask": {"sky": "AAAA", "sky": "AAAA"}}', "sky"),
    ):
        with pytest.raises(InputError, match="a key twice") as caught:
            read_body(text.encode(), "application/json", None)
        assert caught.value.field == at
    with pytest.raises(InputError, match="weight is a key twice"):
        read_form(
            {"photo": b"x", "prompt": b"fire", "params": b'{"regions": {"sky": {"weight": 1, "weight": 1}}}'}, None
        )


def test_torchserves_decoding_keeps_duplicates() -> None:
    service = pytest.importorskip("ts.service")
    read = repeats_kept(service.Service.retrieve_data_for_inference)

    def batch(*fields: tuple[str, bytes]) -> list[dict[str, object]]:
        parameters = [{"name": name, "value": value, "contentType": ""} for name, value in fields]
        return [{"requestId": b"some-id", "headers": [], "parameters": parameters}]

    _, (fields,), ids = read(batch(("a", b"1"), ("b", b"2"), ("a", b"3"), ("c", b"4")))
    assert (fields, ids) == ({"a": [b"1", b"3"], "b": b"2", "c": b"4"}, {0: "some-id"})
    assert read(batch(("a", b"1")))[1] == [{"a": b"1"}]


def test_over_grpc_the_stamp_is_a_known_field() -> None:
    fields = {"photo": b"x", "prompt": b"fire", "x-request-start": b"t=1700000000"}
    assert read_grpc(fields).prompt == "fire"
    with pytest.raises(InputError, match="x-request-start is no field"):
        read_form(fields, None)


@pytest.mark.parametrize(
    ("stamp", "waited"),
    [
        ("t=1700000000", 100),
        ("t=1700000000.5", 99.5),
        (" 1700000000 ", 100),
        ("1700000000500", 99.5),
        ("t=1700000000500000", 99.5),
        (b"t=1700000000.000", 100),
        ("t=1700000999", 0),
        (None, None),
    ],
)
def test_seconds_waited(stamp: object, waited: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1700000100.0)
    assert seconds_waited(stamp) == (None if waited is None else pytest.approx(waited))


def test_our_own_stamp_is_valid() -> None:
    assert 0 <= (seconds_waited(request_start()) or 0.0) < 10


@pytest.mark.parametrize("stamp", ["yesterday", "", "t=", "t=-5", "t=nan", "t=1e9", "9" * 21, b"\xff", 5, "t=1 t=2"])
def test_a_malformed_stamp_is_refused(stamp: object) -> None:
    with pytest.raises(InputError, match="seconds since 1970") as caught:
        seconds_waited(stamp)
    assert caught.value.field == "x-request-start"
