"""Fuzzing: damaged pictures for the decoder, and whatever the endpoint's description allows.

`make test-all` takes a few hundred examples; `make fuzz` takes new ones for ten minutes a test (FUZZ_SECONDS).
"""

from __future__ import annotations

import base64
import contextlib
import copy
import io
import json
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import icc
import numpy as np
import pytest
import schemathesis
import servers
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image
from ray_servers import Door
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from servers import TINY, call, post

from genartisan.errors import InputError
from genartisan.io.images import read_mask, read_photo
from genartisan.serving.schema import openapi
from genartisan.serving.serve import Server

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
EXTREMES = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0", b"\xff\xff", b"\x80\0\0\0", b"\0")
SIDE = 24


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def corpus() -> list[bytes]:
    """A small valid picture of every format, in each mode and with each extra that is decoded by separate code."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a picture"
    deep = Image.fromarray(np.arange(SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE) * 113)
    real = Image.fromarray(np.linspace(0, 1, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE))
    palette = noise.quantize(16)
    return [
        saved(noise, "PNG", exif=exif, icc_profile=bytes(128)),
        saved(deep, "PNG"),
        saved(noise.convert("RGBA"), "PNG"),
        saved(palette, "PNG", transparency=3),
        saved(noise, "JPEG", exif=exif),
        saved(noise, "JPEG", icc_profile=icc.DISPLAY_P3.profile()),
        saved(noise.convert("CMYK"), "JPEG", icc_profile=icc.cmyk()),
        saved(noise, "JPEG", progressive=True),
        saved(noise, "WEBP", exif=exif),
        saved(noise.convert("RGBA"), "WEBP", lossless=True),
        saved(noise, "BMP"),
        saved(palette, "BMP"),
        saved(noise, "TIFF", compression="tiff_lzw"),
        saved(noise, "TIFF", compression="jpeg"),
        saved(deep, "TIFF", compression="tiff_adobe_deflate"),
        saved(real, "TIFF"),
        saved(palette, "GIF", save_all=True, append_images=[palette.rotate(90)], transparency=1),
        saved(noise, "PPM"),
        saved(noise.convert("1"), "PPM"),
    ]


GOOD = corpus()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A picture with bytes changed, removed, duplicated or truncated, or spliced from another one."""
    data = bytearray(draw(st.sampled_from(GOOD)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.one_of(st.integers(0, min(160, len(data))), st.integers(0, len(data))))
        length = draw(st.integers(1, 32))
        kind = draw(st.sampled_from(("bytes", "extreme", "cut", "twice", "end", "other")))
        if kind == "bytes":
            data[at : at + 2] = draw(st.binary(min_size=1, max_size=2))
        elif kind == "extreme":
            value = draw(st.sampled_from(EXTREMES))
            data[at : at + len(value)] = value
        elif kind == "cut":
            del data[at : at + length]
        elif kind == "twice":
            data[at:at] = data[at : at + length]
        elif kind == "end":
            del data[at:]
        else:
            other = draw(st.sampled_from(GOOD))
            data[at : at + length] = other[at : at + length]
    return bytes(data)


def run(examples: int, strategy: st.SearchStrategy[Any], check: Callable[[Any], None]) -> None:
    """Checks a fixed set of examples; with FUZZ_SECONDS, new ones until the time is up."""
    deadline, number = time.monotonic() + SECONDS, 0
    while number == 0 or time.monotonic() < deadline:
        options = settings(
            max_examples=examples, deadline=None, database=None, print_blob=True,
            phases=(Phase.generate, Phase.shrink), suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        seed(number)(options(given(strategy)(check)))()
        number += 1


@pytest.mark.slow
def test_the_decoder_reads_or_refuses_any_bytes() -> None:
    def check(data: bytes) -> None:
        for read in (lambda: read_photo(data), lambda: read_mask(data, (SIDE, SIDE))):
            with contextlib.suppress(InputError):
                read()

    for data in GOOD:
        assert read_photo(data).size == (SIDE, SIDE)
    run(1500, damaged(), check)


@pytest.fixture
def same_worker(door: Door) -> Iterator[Door]:
    """A server, whose worker must outlive the test and log no traceback."""
    pid, before = servers.worker_pid(door), len(servers.log(door))
    yield door
    assert servers.worker_pid(door) == pid
    assert "Traceback" not in servers.log(door)[before:]


@pytest.mark.server
@pytest.mark.slow
def test_a_server_reads_or_refuses_damaged_pictures(same_worker: Door) -> None:
    params = json.dumps({**TINY, "steps": 1, "patch_size": 16, "size": 32}).encode()
    good = {"photo": GOOD[0], "prompt": b"fire", "params": params}

    def check(sent: tuple[bytes, str, bool]) -> None:
        data, field, over_http = sent
        fields = {**good, field: data}
        over_grpc = isinstance(same_worker, Server) and not over_http
        answer = call(same_worker, fields) if over_grpc else post(same_worker, fields)
        assert answer.status in (200, 400, 413, 415, "OK", "INVALID_ARGUMENT"), answer.content[:300]

    run(120, st.tuples(damaged(), st.sampled_from(("photo", "mask")), st.booleans()), check)


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.parametrize("path", ["predictions", "explanations"])
def test_the_endpoint_matches_its_description(same_worker: Door, path: str) -> None:
    """Schemathesis draws requests from the description; costly settings are lowered, and half get a photo."""
    operation = schemathesis.openapi.from_dict(openapi())[f"/{path}/genartisan"]["POST"]
    described = [status_code_conformance, content_type_conformance, response_schema_conformance]
    answered: set[int] = set()

    def check(example: tuple[Any, bool]) -> None:
        case, with_photo = example
        case.headers.pop("X-Request-Start", None)  # most would have expired
        if isinstance(case.body, dict):
            case.body = affordable(case.body, with_photo, case.media_type == "application/json")
        answer = case.call(base_url=same_worker.url, headers=servers.key(same_worker), timeout=60)
        answered.add(answer.status_code)
        # A request with a short timeout_s and on_timeout error gets 504.
        expired = answer.status_code == 504 and answer.json()["error"]["code"] == "deadline"
        case.validate_response(answer, checks=described if expired else [not_a_server_error, *described])

    run(100, st.tuples(operation.as_strategy(), st.booleans()), check)
    assert {200, 400} <= answered


def affordable(body: dict[str, Any], with_photo: bool, is_json: bool) -> dict[str, Any]:
    """The same request with a real photo, and at most two steps at small sizes."""
    body = copy.deepcopy(body)
    if with_photo:
        body["photo"] = base64.b64encode(GOOD[0]).decode() if is_json else GOOD[0]
        body.pop("mask", None)
        body.pop("style_image", None)
    params = body.get("params", {}) if is_json else {}
    if isinstance(params, dict):
        limits = {"steps": 2, "patches": 2, "size": 64}
        params = {**params, **{name: limit for name, limit in limits.items() if _more(params.get(name, 1e9), limit)}}
        if _more(params.get("output_size"), 128):
            params["output_size"] = 128
        body["params"] = params if is_json else json.dumps(params)
    return body


def _more(value: Any, limit: int) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and value > limit
