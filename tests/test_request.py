"""A request's fields and Accept header, without a server."""

from __future__ import annotations

import base64
import json

import pytest

from genartisan.errors import InputError
from genartisan.request import choose_media_type, read_body, read_form


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
def test_the_picture_in_an_answer_has_the_type_that_is_accepted_next(accept: str, types: tuple[str, str]) -> None:
    request = read_body({"photo": "AAAA", "prompt": "fire"}, "", accept)
    assert (request.media_type, request.picture_type) == types


def test_previews_are_no_setting_of_the_picture() -> None:
    body = {"photo": "AAAA", "prompt": "fire"}
    plain = read_body(body, "", None)
    often = read_body({**body, "params": {"preview_every": 1}}, "", None)
    assert (plain.preview_every, often.preview_every, often.config) == (10, 1, plain.config)
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
    assert (form.config.steps, form.config.regions.portrait.weight) == (80, 0.1)


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
