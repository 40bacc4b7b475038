"""The handler without a server: errors of ours, memory, deadlines, the cache, and what is logged."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import tiny
import torch
import yaml
from servers import ROOT

pytest.importorskip("ts")
from ts.context import Context, RequestProcessor
from ts.utils.util import PredictionException

from genartisan.cache import ByteCache
from genartisan.config import StyleConfig, preset
from genartisan.io.images import OUTPUTS, Photo, encode
from genartisan.method.engine import Run
from genartisan.method.saved_style import About, SavedStyle
from genartisan.method.step import Step
from genartisan.method.stylizer import Stylizer
from genartisan.networks.bundle import Bundle
from genartisan.networks.device import lower_priority, set_threads
from genartisan.serving.jobs import Jobs
from genartisan.serving.limits import Limits
from genartisan.serving.telemetry import Record, Telemetry
from genartisan.serving.worker import BYTES, Worker


class Metrics:
    """TorchServe's metrics, ignored."""

    def add_counter(self, *arguments: Any) -> None: ...

    def add_time(self, *arguments: Any) -> None: ...


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "handlers"))
    monkeypatch.delitem(sys.modules, "genartisan_handler", raising=False)
    import genartisan_handler

    return genartisan_handler  # type: ignore[no-any-return]


@pytest.fixture
def handler(module: ModuleType, tiny_stylizer: Stylizer, tmp_path: Path) -> Any:
    handler = module.GenartisanHandler()
    handler.worker = Worker(
        tiny_stylizer,
        "some-hash",
        {"max_response_bytes": 10_000_000, "precision": "auto"},
        Limits(),
        ByteCache(0),
        Telemetry(lambda name, value, labels: None, tmp_path, ("0", "tiny", "some-hash", "1.0")),
        Jobs(tmp_path),
        SimpleNamespace(at_work=contextlib.nullcontext, progress=lambda: None),  # type: ignore[arg-type]
    )
    return handler


def context(headers: dict[str, Any]) -> Context:
    request = Context("genartisan", ".", {}, 1, None, "0.12.0", True, Metrics(), {})
    request.request_processor = [RequestProcessor(headers)]
    request.request_ids = {0: "some-id"}
    return request


HTTP = {"Host": "127.0.0.1", "url_path": ""}
TINY = {"size": 32, "steps": 2, "patches": 1, "patch_size": 16, "mode": "clipstyler"}


def fields(photo: bytes, **params: Any) -> list[dict[str, Any]]:
    return [
        {"photo": bytearray(photo), "prompt": bytearray(b"fire"), "params": json.dumps({**TINY, **params}).encode()}
    ]


def numbers_of_mean(bundle: Bundle, photo: Photo) -> torch.Tensor:
    """Style numbers that differ between pictures, unlike the tiny predictor's."""
    return torch.randn(100, generator=torch.Generator().manual_seed(int(1e6 * photo.pixels.mean())))


def read_the_prompt(handler: Any, photo: bytes) -> None:
    """Caches the prompt's direction, so that no deadline passes before a later request's first step."""
    assert handler.handle(fields(photo), context(HTTP))[0].startswith(b"\x89PNG")


@pytest.fixture
def photo() -> bytes:
    from genartisan.serving.serve import tiny_photo

    return tiny_photo()


def test_the_module_has_one_class(module: ModuleType) -> None:
    assert [v.__name__ for v in vars(module).values() if isinstance(v, type) and v.__module__ == module.__name__] == [
        "GenartisanHandler"
    ]


@pytest.mark.parametrize("broken", [RuntimeError("secret detail"), KeyError("secret detail")])
def test_unexpected_errors_are_answered_without_detail_and_logged_without_message_by_default(
    broken: Exception, handler: Any, photo: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: Any, **keywords: Any) -> None:
        raise broken

    monkeypatch.setattr(handler.worker.stylizer, "steps", fail)
    request = context(HTTP)
    (content,) = handler.handle(fields(photo), request)
    error = json.loads(content)["error"]
    assert (request.get_response_status(0)[0], error["code"]) == (500, "internal")
    assert "some-id" in error["message"]
    assert "secret detail" not in content.decode() + caplog.text
    assert f"builtins.{type(broken).__name__}" in caplog.text
    assert "in fail" in caplog.text  # where it came from
    handler.worker.settings["log_prompts"] = True
    handler.handle(fields(photo), context(HTTP))
    assert "secret detail" in caplog.text

    with pytest.raises(PredictionException) as caught:
        handler.handle(fields(photo), context({}))
    assert caught.value.error_code == 500
    assert "secret detail" not in caught.value.message
    monkeypatch.undo()
    assert handler.handle(fields(photo), context(HTTP))[0].startswith(b"\x89PNG")


def test_an_unexpected_error_in_a_stream_ends_it_with_an_event_without_detail(
    handler: Any, photo: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(run: Run) -> Step:
        raise RuntimeError("secret detail")

    sent = bytearray()
    request = context({**HTTP, "Accept": "application/x-ndjson"})
    request.cl_socket = SimpleNamespace(sendall=sent.extend)
    monkeypatch.setattr(Run, "__next__", fail)
    (last,) = handler.handle(fields(photo), request)
    assert b'"event": "accepted"' in sent
    event = json.loads(last)
    assert (event["event"], event["error"]["code"]) == ("error", "internal")
    assert "some-id" in event["error"]["message"]
    assert b"secret detail" not in sent + last
    assert "RuntimeError" in caplog.text


def test_an_answer_too_large_to_send_is_refused_before_it_kills_the_worker(handler: Any, photo: bytes) -> None:
    handler.worker.settings["max_response_bytes"] = 100
    request = context(HTTP)
    (content,) = handler.handle(fields(photo), request)
    assert request.get_response_status(0)[0] == 400
    assert json.loads(content)["error"]["field"] == "size"
    (content,) = handler.handle(fields(photo, output_size=600), request)
    assert json.loads(content)["error"]["field"] == "output_size"


def test_the_limits_leave_room_for_each_other() -> None:
    yaml = pytest.importorskip("yaml")
    model = yaml.safe_load((ROOT / "handlers" / "model-config.yaml").read_text())
    lines = (ROOT / "config.properties").read_text().splitlines()
    server = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    assert model["handler"]["max_response_bytes"] < int(server["max_response_size"])
    assert Limits.of_server(model["handler"]["limits"], model["responseTimeout"]) == Limits()
    assert model["batchSize"] == model["maxWorkers"] == 1
    side = StyleConfig.model_json_schema()["properties"]["output_size"]["anyOf"][0]["maximum"]
    assert side == 4096
    largest = side**2 * 4 * 1.01 * 4 / 3  # incompressible, with alpha, in base64
    assert largest < model["handler"]["max_response_bytes"]


def test_a_run_ends_by_its_deadline_and_keeps_its_presets_name(handler: Any, photo: bytes) -> None:
    read_the_prompt(handler, photo)
    handler.worker.limits = Limits(timeout_s=1e-6)
    request = context({**HTTP, "Accept": "application/json"})
    (content,) = handler.handle(fields(photo, steps=50), request)
    report = json.loads(content)["report"]
    assert 1 <= report["steps"] < 50
    assert report["warnings"]


def test_at_the_deadline_on_timeout_error_is_an_error(handler: Any, photo: bytes) -> None:
    read_the_prompt(handler, photo)
    data = fields(photo, steps=500, timeout_s=1e-6, on_timeout="error")
    request = context(HTTP)
    error = json.loads(handler.handle(data, request)[0])["error"]
    assert (request.get_response_status(0)[0], error["code"], error["field"]) == (504, "deadline", "timeout_s")
    assert "after 1 of 500 steps" in error["message"]
    with pytest.raises(PredictionException) as caught:
        handler.handle(data, context({}))
    assert caught.value.error_code == 504


def run_out_of_memory_above(
    monkeypatch: pytest.MonkeyPatch, handler: Any, side: int, error: Exception | None = None
) -> None:
    """Has VGG run out of memory on pictures with a longer side, in pixels."""
    vgg = handler.worker.stylizer.bundle.vgg
    forward = vgg.forward

    def limited(pixels: torch.Tensor, *arguments: Any) -> Any:
        if max(pixels.shape[-2:]) > side:
            raise error or MemoryError
        return forward(pixels, *arguments)

    monkeypatch.setattr(vgg, "forward", limited)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("accept", "error"),
    [("image/png", torch.OutOfMemoryError("CUDA out of memory")), ("application/x-ndjson", MemoryError())],
)
def test_out_of_memory_is_answered_with_a_size_that_was_tried(
    accept: str, error: Exception, handler: Any, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    largest = 100
    run_out_of_memory_above(monkeypatch, handler, largest, error)
    request = context({**HTTP, "Accept": accept})
    request.cl_socket = SimpleNamespace(sendall=lambda content: None)
    refused = json.loads(handler.handle(fields(photo, size=200), request)[0])["error"]
    assert (refused["code"], refused["field"]) == ("too_large", "size")
    assert "size is 200" in refused["message"]
    if accept == "image/png":
        assert request.get_response_status(0)[0] == 413
    (fits,) = map(int, re.findall(r"size (\d+) would fit", refused["message"]))
    assert 50 <= fits <= largest
    assert handler.handle(fields(photo, size=fits), context(HTTP))[0].startswith(b"\x89PNG")
    run_out_of_memory_above(monkeypatch, handler, 0)
    hopeless = json.loads(handler.handle(fields(photo, size=200), context(HTTP))[0])["error"]
    assert "lower patches" in hopeless["message"]


@pytest.mark.slow
def test_no_size_is_named_at_which_the_photo_would_be_too_thin(handler: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run_out_of_memory_above(monkeypatch, handler, 170)
    banner = encode(tiny.picture(512, 56))  # at 128 pixels 14 high, at 160 pixels 18
    refused = json.loads(handler.handle(fields(banner, size=512), context(HTTP))[0])["error"]
    assert (refused["code"], refused["field"]) == ("too_large", "photo")


def test_a_header_that_resembles_torchserves_changes_nothing(handler: Any, photo: bytes) -> None:
    for name in ("describe", "explain"):
        (content,) = handler.handle(fields(photo), context({**HTTP, name: "no"}))
        assert content.startswith(b"\x89PNG")


def test_an_identical_request_is_answered_from_the_cache(
    handler: Any, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler.worker.results = ByteCache(1_000_000)

    def ask(accept: str, control: str = "max-age=60", **params: Any) -> tuple[bytes, str]:
        request = context({**HTTP, "Accept": accept, "Cache-Control": control})
        request.cl_socket = SimpleNamespace(sendall=lambda content: None)
        (content,) = handler.handle(fields(photo, **params), request)
        return content, request.get_response_headers(0)["X-Genartisan-Cache"]

    picture, first = ask("image/png")
    report = json.loads(ask("application/json")[0])["report"]
    with monkeypatch.context() as patch:
        patch.setattr(handler.worker.stylizer, "steps", None)  # a hit makes no picture
        again, second = ask("image/png", timeout_s=50.0)
        streamed, third = ask("application/x-ndjson")
        jpeg, _ = ask("image/jpeg")
    assert (first, second, third) == ("miss", "hit", "hit")
    assert again == picture
    last = json.loads(streamed)
    assert (base64.b64decode(last["photo"]), last["report"]) == (picture, report)
    assert ask("image/png", "no-cache") == (picture, "miss")
    for other in ({"seed": 1}, {"steps": 3}, {"mode": "artisan"}):
        assert ask("image/png", **other)[1] == "miss"
    handler.worker.results = ByteCache(0)
    assert [ask("image/jpeg") for _ in range(2)] == [(jpeg, "miss")] * 2


def test_a_flag_ends_a_stream_after_the_next_step_with_the_picture_so_far(
    handler: Any, photo: bytes, records: list[Record], tmp_path: Path
) -> None:
    def cancel_after_two_steps(content: bytes) -> None:
        if b'"step": 2' in content:
            handler.worker.jobs.cancel("Bearer ours", "chosen")

    handler.worker.results = ByteCache(1_000_000)
    headers = {**HTTP, "Authorization": "Bearer ours", "X-Request-Id": "chosen", "Accept": "application/x-ndjson"}
    request = context(headers)
    request.cl_socket = SimpleNamespace(sendall=cancel_after_two_steps)
    asked = {"steps": 50, "preview_every": 1, "output_size": 600}
    (last,) = handler.handle(fields(photo, **asked), request)
    event = json.loads(last)
    assert (event["event"], event["report"]["steps"], event["report"]["size"]) == ("cancelled", 3, [32, 32])
    assert base64.b64decode(event["photo"]).startswith(b"\x89PNG")
    assert (records[0].outcome, records[0].status, records[0].details["steps"]) == ("cancelled", 200, 3)
    assert records[0].details["client_request_id"] == "chosen"
    assert list((tmp_path / "jobs").iterdir()) == []
    request = context(HTTP)
    handler.handle(fields(photo, **{**asked, "steps": 3}), request)
    assert request.get_response_headers(0)["X-Genartisan-Cache"] == "miss"


@pytest.mark.parametrize("accept", ["image/png", "application/x-ndjson"])
def test_a_request_is_cancelled_while_its_text_is_read(
    accept: str, handler: Any, photo: bytes, records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before there is a picture."""
    encode_text = handler.worker.stylizer.bundle.clip.encode_text

    def cancelling(*arguments: Any) -> Any:
        handler.worker.jobs.cancel("", "some-id")
        return encode_text(*arguments)

    monkeypatch.setattr(handler.worker.stylizer.bundle.clip, "encode_text", cancelling)
    request = context({**HTTP, "Accept": accept})
    request.cl_socket = SimpleNamespace(sendall=lambda content: None)
    (content,) = handler.handle(fields(photo, negative_prompt="an unread text"), request)
    answer = json.loads(content)
    if accept == "image/png":
        assert (request.get_response_status(0)[0], answer["error"]["code"]) == (499, "cancelled")
    else:
        assert answer == {"event": "cancelled"}
    assert records[0].outcome == "cancelled"


def test_a_request_that_was_cancelled_in_the_queue_is_not_even_read(handler: Any, records: list[Record]) -> None:
    handler.worker.jobs.cancel("", "some-id")
    request = context(HTTP)
    error = json.loads(handler.handle([{"photo": b"no picture"}], request)[0])["error"]
    assert (request.get_response_status(0)[0], error["code"]) == (499, "cancelled")
    handler.worker.jobs.cancel("", "chosen")
    with pytest.raises(PredictionException) as caught:
        handler.handle([{"x-request-id": b"chosen"}], context({}))
    assert caught.value.error_code == 499
    assert [record.outcome for record in records] == ["cancelled"] * 2


def test_style_pictures_reach_the_picture_and_the_cache(
    handler: Any, tiny_stylizer: Stylizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genartisan.method.stylizer.numbers_of_picture", numbers_of_mean)
    handler.worker.results = ByteCache(1_000_000)
    photo, wave, sky = (encode(tiny.picture(seed=seed)) for seed in (0, 7, 8))
    people = encode(tiny.mask())
    settings = json.dumps({**TINY, "mode": "artisan"}).encode()
    config = preset(changes={**TINY, "mode": "artisan"})

    def ask(**fields: bytes) -> tuple[dict[str, Any], str]:
        request = context({**HTTP, "Accept": "application/json"})
        named = {name.replace("__", "."): content for name, content in fields.items()}
        (content,) = handler.handle([{"photo": photo, "mask": people, "params": settings, **named}], request)
        return json.loads(content), request.get_response_headers(0).get("X-Genartisan-Cache", "")

    answers = []
    for fields, prompt, images in (
        ({"style_image": wave}, None, {"all": wave}),
        ({"prompt": b"fire", "style_image": wave}, "fire", {"all": wave}),
        ({"prompt": b"fire", "style_image__background": wave}, "fire", {"background": wave}),
        ({"style_image": sky, "style_image__background": wave}, None, {"all": sky, "background": wave}),
    ):
        answer, cache = ask(**fields)
        expected = tiny_stylizer(photo, prompt, config=config, mask=people, style_image=images)
        assert base64.b64decode(answer["photo"]) == encode(expected.image)
        assert (answer["report"]["style_images"], cache) == (sorted(images), "miss")
        assert ask(**fields) == (answer, "hit")
        answers.append(answer["photo"])
    assert len(set(answers)) == 4
    for field in ("style_image", "style_image.background"):
        error = ask(prompt=b"fire", **{field.replace(".", "__"): b"no picture"})[0]["error"]
        assert (error["code"], error["field"]) == ("unsupported_image", field)
    handler.worker.limits = Limits(photo_pixels=50)
    assert ask(style_image=wave)[0]["error"]["field"] == "style_image"


def test_an_explanation_includes_style_pictures(handler: Any, photo: bytes) -> None:
    request = context({**HTTP, "Accept": "application/json", "explain": "True"})
    data = {"photo": photo, "style_image": encode(tiny.picture(seed=7)), "params": json.dumps(TINY).encode()}
    (content,) = handler.handle([data], request)
    assert json.loads(content)["explanation"]["style_images"] == ["all"]


@pytest.mark.slow
def test_out_of_memory_with_a_style_picture_names_a_size(
    handler: Any, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_out_of_memory_above(monkeypatch, handler, 100)
    data = {"photo": photo, "style_image": encode(tiny.picture()), "params": json.dumps({**TINY, "size": 200}).encode()}
    assert "would fit" in json.loads(handler.handle([data], context(HTTP))[0])["error"]["message"]


def test_a_description_says_what_the_saved_styles_are(handler: Any, tiny_bundle: Bundle) -> None:
    pictured = SavedStyle(About(prompt=None, bundle="tiny", pictures=2), torch.zeros(100))
    worded = SavedStyle(About(prompt="fire", bundle="tiny"), torch.zeros(100))
    styles = {"words": worded, "pictures": pictured, "both": worded.mixed(pictured, 0.25)}
    handler.worker.stylizer = Stylizer(tiny_bundle, "cpu", "fp32", styles=styles)
    assert handler.worker.describe()["styles"] == {
        "words": "fire", "pictures": "2 pictures", "both": "0.75 fire + 0.25 2 pictures",
    }  # fmt: skip


def test_a_picture_cut_short_by_its_deadline_is_not_cached(handler: Any, photo: bytes) -> None:
    read_the_prompt(handler, photo)
    handler.worker.results = ByteCache(1_000_000)
    for _ in range(2):
        request = context(HTTP)
        handler.handle(fields(photo, steps=500, timeout_s=1e-6), request)
        assert request.get_response_headers(0)["X-Genartisan-Cache"] == "miss"


def test_the_servers_limits_apply(handler: Any, photo: bytes) -> None:
    handler.worker.limits = Limits(prompt_characters=3, max_timeout_s=20, timeout_s=10)
    request = context(HTTP)
    error = json.loads(handler.handle(fields(photo), request)[0])["error"]
    assert (request.get_response_status(0)[0], error["field"]) == (400, "prompt")


def test_fields_cannot_pass_for_headers(handler: Any, photo: bytes) -> None:
    """TorchServe puts an entry for every field among the headers."""
    (data,) = fields(photo)
    for name in ("host", "url_path", "describe", "explain"):
        with pytest.raises(PredictionException, match=f"{name} is no field"):
            handler.handle([{**data, name: b"True"}], context({name: {"content-type": ""}}))
    assert set(OUTPUTS) == {"image/png", "image/jpeg", "image/webp"}


@pytest.mark.slow
def test_out_of_memory_for_real() -> None:
    """In a process with 900 MB to spare: refused with a size, which then succeeds."""
    command = [sys.executable, str(ROOT / "benchmarks" / "out_of_memory.py"), "--megabytes", "900"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "would fit" in done.stdout


@pytest.mark.parametrize(
    ("threads_setting", "workers", "variable", "threads"),
    [("auto", 1, None, 8), ("auto", 3, None, 2), ("auto", 20, None, 1), ("auto", 2, "5", None), (3, 2, "5", 3)],
)
def test_workers_share_the_cores(
    monkeypatch: pytest.MonkeyPatch,
    threads_setting: int | str,
    workers: int,
    variable: str | None,
    threads: int | None,
) -> None:
    numbers: list[int] = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", numbers.append)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if variable is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    set_threads(threads_setting, workers)
    assert numbers == ([] if threads is None else [threads])


@pytest.mark.parametrize("niceness", ["low", -1, 20, 1.5, True])
def test_an_invalid_niceness_is_named(niceness: Any) -> None:
    with pytest.raises(ValueError, match="nice is"):
        lower_priority(niceness)


@pytest.mark.parametrize("threads", ["two", 0, -1, 1.5])
def test_an_invalid_number_of_threads_is_named(threads: Any) -> None:
    with pytest.raises(ValueError, match="threads is"):
        set_threads(threads, 1)


@pytest.mark.parametrize("name", BYTES)
@pytest.mark.parametrize("value", ["abc", -1, 1.5, True, None])
def test_an_invalid_number_of_bytes_is_named_before_the_networks_are_loaded(name: str, value: Any) -> None:
    config = yaml.safe_load((ROOT / "handlers" / "model-config.yaml").read_text(encoding="utf-8"))
    config["handler"][name] = value
    with pytest.raises(ValueError, match=f"{name} is {value!r}; give"):
        Worker.load(
            Path("no bundle"), {}, config, "cpu", drafts_only=True, version="1.0", shared=Path(), emit=lambda *_: None
        )


def test_a_request_that_expired_in_the_queue_is_refused_at_once(
    handler: Any, photo: bytes, records: list[Record]
) -> None:
    since = f"t={time.time() - 60:.3f}"
    patient = fields(photo, timeout_s=600.0)
    report = json.loads(
        handler.handle(patient, context({**HTTP, "Accept": "application/json", "x-Request-START": since}))[0]
    )["report"]
    assert report["seconds"]["total"] >= report["seconds"]["queue"] >= 60
    assert report["seconds"]["optimise"] < 30
    request = context({**HTTP, "X-Request-Start": since})
    handler.worker.stylizer = SimpleNamespace(styles={}, device=torch.device("cpu"))  # no work is begun
    error = json.loads(handler.handle(fields(photo, timeout_s=50.0), request)[0])["error"]
    assert (request.get_response_status(0)[0], error["code"], error["field"]) == (504, "deadline", "timeout_s")
    assert re.search(r"was sent (6\d|[7-9]\d|\d{3})\.", error["message"])
    (data,) = fields(photo, timeout_s=50.0)
    with pytest.raises(PredictionException) as caught:
        handler.handle([{**data, "x-request-start": since.encode()}], context({}))
    assert caught.value.error_code == 504
    assert [record.outcome for record in records] == ["ok", "expired", "expired"]
    assert all(60 <= record.seconds["queue"] < 120 for record in records)
    error = json.loads(handler.handle(patient, context({**HTTP, "X-Request-Start": "yesterday"}))[0])["error"]
    assert error["field"] == "x-request-start"


def test_a_deadline_counts_from_when_the_request_was_sent(handler: Any, photo: bytes) -> None:
    read_the_prompt(handler, photo)
    since = {"X-Request-Start": f"t={time.time() - 1000:.3f}", "Accept": "application/json"}
    (content,) = handler.handle(fields(photo, steps=5000, timeout_s=1000.5), context({**HTTP, **since}))
    assert json.loads(content)["report"]["steps"] < 5000


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip"])
def test_a_compressed_body_is_refused(encoding: str, handler: Any, photo: bytes) -> None:
    request = context({**HTTP, "CONTENT-encoding": encoding})
    for data in ([{"body": bytearray(b"\x1f\x8b...")}], [{}], fields(photo)):
        error = json.loads(handler.handle(data, request)[0])["error"]
        assert (request.get_response_status(0)[0], error["code"]) == (415, "unsupported_encoding")
        assert error["field"] == "content-encoding"
    assert handler.handle(fields(photo), context({**HTTP, "Content-Encoding": "identity"}))[0].startswith(b"\x89PNG")


def test_users_words_are_logged_only_with_log_prompts(
    handler: Any, photo: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "genartisan.serving.telemetry")
    (data,) = fields(photo)
    requests = [
        {**data, "prompt": b"zebra"},
        {**data, "zebra": b""},
        {**data, "mask.zebra": b"no mask"},
        {**data, "style_image.zebra": photo, "params": json.dumps({**TINY, "mode": "artisan"}).encode()},
        {**data, "params": b'{"zebra": 1}'},
        {**data, "params": b'{"style": "zebra"}'},
        {**data, "params": b'{"regions": {"zebra": {"weight": -1}}}'},
        {**data, "params": b'{"regions": {"zebra": {"prompt": ""}}}'},
        {**data, "params": b'{"zebra": 1, "zebra": 2}'},
    ]
    for request in requests:
        handler.handle([request], context(HTTP))
    records = [json.loads(record.message) for record in caplog.records]
    assert len(records) == len(requests)
    assert "zebra" not in caplog.text
    assert {"mask.*", "regions.*", "regions.*.weight", "style", "*"} <= {record.get("field") for record in records}
    handler.worker.settings["log_prompts"] = True
    handler.handle([requests[0]], context(HTTP))
    assert "zebra" in caplog.text


def test_over_grpc_every_reply_is_marked_as_the_last(handler: Any, photo: bytes) -> None:
    """StreamPredictions needs the mark, or TorchServe loses the worker."""
    request = context({})
    handler.handle(fields(photo), request)
    assert request.get_response_headers(0)["ts_stream_next"] == "false"
    request = context(HTTP)
    handler.handle(fields(photo), request)
    assert "ts_stream_next" not in request.get_response_headers(0)


def test_a_call_that_torchserve_cannot_answer_is_dropped(handler: Any, photo: bytes) -> None:
    """StreamPredictions2: any reply, or an error, would wedge the worker."""
    request = context({"ts_request_sequence_id": "some-sequence", "ts_request_sequence_end": "true"})
    assert handler.handle(fields(photo), request) == [b""]
    assert request.request_ids == {}
    assert handler.handle(fields(photo), context({**HTTP, "ts_request_sequence_id": "1"}))[0].startswith(b"\x89PNG")


def test_over_grpc_no_worker_is_held(handler: Any) -> None:
    """A streamed reply would wedge the worker."""
    with pytest.raises(PredictionException):
        handler.handle([{"body": json.dumps({"hold": os.getpid()}).encode()}], context({}))


@pytest.fixture
def records(handler: Any, monkeypatch: pytest.MonkeyPatch) -> list[Record]:
    """The records of the handler's requests."""
    ended: list[Record] = []
    monkeypatch.setattr(handler.worker.telemetry, "end", lambda record, peak_memory: ended.append(record))
    return ended
