"""A real TorchServe: its pictures, its protocols, and what it does not reveal."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import shutil
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import psutil
import pytest
import servers
import tiny
import torch
from PIL import Image
from ray_servers import Door
from servers import TINY, call, managed, post, send

import genartisan
from genartisan.cli.main import main
from genartisan.config import StyleConfig, from_params
from genartisan.environment import HUGE_PAGES, TUNABLES
from genartisan.errors import DeadlineError, InputError, ServeError, TooLargeError, UnsupportedImageError
from genartisan.io.files import sha256
from genartisan.io.images import encode, read_photo, resized, to_image
from genartisan.method.saved_style import SavedStyle
from genartisan.method.stylizer import Stylizer
from genartisan.networks.bundle import Bundle
from genartisan.serving import client, serve
from genartisan.serving.defaults import DRAFT, Ports
from genartisan.serving.inference_grpc import METHOD, decode_response, encode_request
from genartisan.serving.limits import Limits
from genartisan.serving.management import Models
from genartisan.serving.telemetry import COUNTERS, LABELS, WITHIN

pytestmark = pytest.mark.server


def photo(width: int = 72, height: int = 56, kind: str = "PNG") -> bytes:
    """Noise, the same every time."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def mask(width: int = 72, height: int = 56) -> bytes:
    buffer = io.BytesIO()
    image = Image.new("L", (width, height))
    image.paste(255, (0, 0, width // 2, height))
    image.save(buffer, "PNG")
    return buffer.getvalue()


FIELDS = {"photo": photo(), "prompt": b"Watercolor painting", "params": json.dumps(TINY).encode()}


def test_the_same_seed_gives_the_same_bytes_everywhere(
    server: serve.Server, tiny_folder: Path, tiny_stylizer: Stylizer, tmp_path: Path
) -> None:
    for mode, with_mask in (("artisan", True), ("artisan", False), ("clipstyler", False)):
        params = {**TINY, "mode": mode, "steps": 4}
        config, seed = from_params(params)
        chosen = mask() if with_mask else None
        library = encode(tiny_stylizer(photo(), "Watercolor painting", config=config, mask=chosen, seed=seed).image)

        (tmp_path / "photo.png").write_bytes(photo())
        (tmp_path / "mask.png").write_bytes(mask())
        flags = ["--mask", str(tmp_path / "mask.png")] if with_mask else []
        settings = [flag for name, value in params.items() if name != "seed" for flag in ("--set", f"{name}={value}")]
        output = str(tmp_path / "out.png")
        common = [
            str(tmp_path / "photo.png"),
            "Watercolor painting",
            "-o",
            output,
            "--seed",
            str(seed),
            *flags,
            *settings,
        ]
        assert main(["stylize", *common, "--bundle", str(tiny_folder), "--device", "cpu", "--quiet"]) == 0
        command_line = Path(output).read_bytes()

        fields = {**FIELDS, "params": json.dumps(params).encode(), **({"mask": mask()} if with_mask else {})}
        over_http, over_grpc = post(server, fields), call(server, fields)
        assert (over_http.status, over_http.media_type, over_grpc.status) == (200, "image/png", "OK")
        assert library == command_line == over_http.content == over_grpc.content

        for protocol in (["--url", server.url], ["--grpc", server.grpc]):
            assert main(["request", *common, *protocol, "--key-file", server.keys]) == 0
            assert Path(output).read_bytes() == library


def test_masks_by_name_and_texts_by_region_are_served(server: serve.Server, tiny_stylizer: Stylizer) -> None:
    """As a form, as JSON and over gRPC alike; a mask of another size is refused by its field."""
    prompt, params = "person: fire; sky: a painting; background: Watercolor painting", {**TINY, "feather": 4.0}
    config, seed = from_params(params)
    whole = np.zeros((56, 72), np.uint8)
    whole[:20] = 255
    sky = encode(Image.fromarray(whole))
    masks = {"portrait": mask(), "sky": sky}
    expected = encode(tiny_stylizer(photo(), prompt, config=config, mask=masks, seed=seed).image)
    fields = {"photo": photo(), "prompt": prompt.encode(), "params": json.dumps(params).encode()}
    form = {**fields, "mask": mask(), "mask.sky": sky}
    assert post(server, form).content == call(server, form).content == expected
    ask = {"params": params, "url": server.url, "key_file": server.keys}
    assert client.request(photo(), prompt, mask=masks, **ask).content == expected
    in_base64 = {name: base64.b64encode(content).decode() for name, content in masks.items()}
    body = {"photo": base64.b64encode(photo()).decode(), "prompt": prompt, "params": params, "mask": in_base64}
    answer = json.loads(send(server, {"Accept": "application/json"}, json=body).content)
    assert base64.b64decode(answer["photo"]) == expected
    assert [region["name"] for region in answer["report"]["regions"]] == ["background", "portrait", "sky"]
    refused = json.loads(post(server, {**form, "mask.sky": mask(56, 72)}).content)["error"]
    assert (refused["code"], refused["field"]) == ("bad_input", "mask.sky")
    assert "56x72 pixels and photo is 72x56" in refused["message"]


def test_a_saved_style_is_served_by_its_name(server: serve.Server, tiny_bundle: Bundle, tmp_path: Path) -> None:
    """Without a prompt, in one pass or as a start; unknown names are refused with the known ones."""
    style = SavedStyle.load(tiny.write_style(tmp_path / "saved.safetensors"))
    library = Stylizer(tiny_bundle, "cpu", "fp32", styles={servers.STYLE: style})
    for steps in (0, 2):
        params = {**TINY, "steps": steps, "style": servers.STYLE, "contrast": 1.0}
        config, seed = from_params(params)
        expected = encode(library(photo(), config=config, seed=seed).image)
        fields = {"photo": photo(), "params": json.dumps(params).encode()}
        over_http, over_grpc = post(server, fields), call(server, fields)
        assert (over_http.status, over_grpc.status) == (200, "OK")
        assert expected == over_http.content == over_grpc.content
        where = {"url": server.url, "key_file": server.keys}
        assert client.request(photo(), params=params, **where).content == expected
    report = json.loads(post(server, fields, {"Accept": "application/json"}).content)["report"]
    assert (report["prompt"], report["config"]["style"]) == ("fire", servers.STYLE)
    unknown = {"photo": photo(), "params": b'{"style": "absent"}'}
    for refused in (post(server, unknown), call(server, unknown)):
        assert (refused.status, refused.error["field"]) in ((400, "style"), ("INVALID_ARGUMENT", "style"))
        assert f"known are {servers.STYLE}" in refused.error["message"]
    nothing = post(server, {"photo": photo(), "params": b'{"steps": 1}'})
    assert (nothing.status, nothing.error["field"]) == (400, "prompt")


def test_media_types(server: serve.Server) -> None:
    picture = Image.open(io.BytesIO(post(server, FIELDS).content))
    assert (picture.format, picture.size) == ("PNG", (64, 50))
    for media_type, kind in (("image/jpeg", "JPEG"), ("image/webp", "WEBP")):
        answer = post(server, FIELDS, {"aCCept": f"text/html, {media_type.upper()};q=0.9, */*;q=0.1"})
        assert (answer.status, answer.media_type) == (200, media_type)
        assert Image.open(io.BytesIO(answer.content)).format == kind
        assert call(server, {**FIELDS, "accept": media_type.encode()}).content == answer.content
    answer = post(server, FIELDS, {"Accept": "application/json"})
    assert (answer.status, answer.media_type) == (200, "application/json")
    content = json.loads(answer.content)
    assert Image.open(io.BytesIO(base64.b64decode(content["photo"]))).tobytes() == picture.tobytes()
    report = content["report"]
    assert (report["seed"], report["size"], report["steps"], report["bundle"]) == (7, [64, 50], 2, "tiny")
    assert report["preset"] == "custom"


def test_a_json_body_and_a_form_are_the_same_request(door: Door) -> None:
    form = post(door, {**FIELDS, "mask": mask()})
    text = {name: base64.b64encode(data).decode() for name, data in (("photo", photo()), ("mask", mask()))}
    body = {"prompt": "Watercolor painting", "params": TINY}
    assert send(door, json={**text, **body}).content == form.content
    urls = {name: f"data:image/png;base64,{data}" for name, data in text.items()}
    assert send(door, json={**urls, **body}).content == form.content


def test_text_parts_and_typed_parts_are_accepted(door: Door) -> None:
    """A browser names no type for text, curl names one for files; TorchServe decodes what is called text or JSON."""
    typed = {
        "photo": ("photo.png", photo(), "image/png"),
        "prompt": (None, b"Watercolor painting", "text/plain"),
        "params": (None, FIELDS["params"], "application/json"),
    }
    assert send(door, files=typed).content == post(door, FIELDS).content


def test_a_path_in_place_of_a_photo_is_never_opened(door: Door, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(photo())
    answer = send(door, files={**FIELDS, "photo": ("photo", str(path), "text/plain")})
    assert (answer.status, answer.error["field"]) == (415, "photo")


def test_large_photos_pass_over_both_protocols(server: serve.Server) -> None:
    params = json.dumps({**TINY, "steps": 1, "mode": "clipstyler"}).encode()
    large = {**FIELDS, "photo": photo(1600, 1500), "params": params}
    assert len(large["photo"]) > 7_000_000
    over_http, over_grpc = post(server, large), call(server, large)
    assert (over_http.status, over_grpc.status) == (200, "OK")
    assert over_http.content == over_grpc.content


def test_a_picture_comes_with_its_warnings(door: Door, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small, params = photo(16, 16), {**TINY, "size": 72}
    (tmp_path / "photo.png").write_bytes(small)
    reply = client.request(small, "Fire", params=params, url=door.url, key_file=door.keys)
    assert reply.media_type == "image/png"
    assert len(reply.warnings) == 1
    assert "16 x 16 pixels is enlarged" in reply.warnings[0]
    words = ["request", str(tmp_path / "photo.png"), "Fire", "-o", str(tmp_path / "out.png"), "--quiet", "--overwrite"]
    words += ["--url", door.url, "--key-file", door.keys]
    words += [flag for name, value in params.items() if name != "seed" for flag in ("--set", f"{name}={value}")]
    for flags in ([], ["--stream"]):
        assert main([*words, *flags]) == 0
        assert f"genartisan: warning: {reply.warnings[0]}" in capsys.readouterr().err


def test_workers_are_told_to_ask_for_huge_pages(door: Door) -> None:
    assert HUGE_PAGES in psutil.Process(servers.worker_pid(door)).environ()[TUNABLES]


def test_too_large_requests_are_refused(server: serve.Server) -> None:
    pid = servers.worker_pid(server)
    huge = bytes(servers.MAX_REQUEST + 1)
    assert post(server, {**FIELDS, "photo": huge}).status == 413
    assert call(server, {**FIELDS, "photo": huge}).status in ("CANCELLED", "RESOURCE_EXHAUSTED")
    for protocol in ({"url": server.url, "key_file": server.keys}, {"grpc": server.grpc, "key_file": server.keys}):
        with pytest.raises(TooLargeError, match="smaller photo"):
            client.request(huge, "fire", **protocol)  # type: ignore[arg-type]
    assert post(server, FIELDS).status == 200
    assert servers.worker_pid(server) == pid


def test_deadlines(server: serve.Server) -> None:
    def request_for(**params: Any) -> dict[str, bytes]:
        return {**FIELDS, "params": json.dumps({**TINY, "steps": 5000, **params}).encode()}

    post(server, FIELDS)  # the prompt is read now, and no deadline comes before the first step
    answer = post(server, request_for(timeout_s=0.2), {"Accept": "application/json"})
    report = json.loads(answer.content)["report"]
    assert 1 <= report["steps"] < 5000
    assert "timeout_s of 0.2 s ended the run" in report["warnings"][0]
    over_http, over_grpc = (ask(server, request_for(timeout_s=0.2, on_timeout="error")) for ask in (post, call))
    assert (over_http.status, over_grpc.status) == (504, "DEADLINE_EXCEEDED")
    assert over_http.error["code"] == over_grpc.error["code"] == "deadline"
    params = {**TINY, "steps": 5000, "timeout_s": 1.5, "on_timeout": "error"}  # our clients' wait counts
    for protocol in ({"url": server.url, "key_file": server.keys}, {"grpc": server.grpc, "key_file": server.keys}):
        with pytest.raises(DeadlineError, match=r"timeout_s of 1\.5 s ended the run"):
            client.request(photo(), "Watercolor painting", params=params, **protocol)  # type: ignore[arg-type]
    assert post(server, request_for(timeout_s=3001)).error["field"] == "timeout_s"


def test_an_explanation_lists_what_each_region_would_get(door: Door, tiny_stylizer: Stylizer) -> None:
    params = {**TINY, "steps": 50, "patches": 4, "regions": {"portrait": {"share": 0.25, "weight": 0.5}}}
    fields = {**FIELDS, "mask": mask(), "params": json.dumps(params).encode()}
    answer = send(door, {"Accept": "application/json"}, "explanations", files=fields)
    assert (answer.status, answer.media_type) == (200, "application/json")
    explained = json.loads(answer.content)
    background, portrait = explained["explanation"]["regions"]
    assert (portrait["name"], portrait["weight"], portrait["share_of_pixels"]) == ("portrait", 0.5, 0.5)
    assert portrait["patches"] + background["patches"] == 50 * 4
    assert 0 < portrait["share_of_patches"] <= 0.25
    report = json.loads(post(door, fields, {"Accept": "application/json"}).content)["report"]
    for planned, got in zip(explained["explanation"]["regions"], report["regions"], strict=True):
        assert {name: value for name, value in got.items() if name != "rejected"}.items() <= planned.items()

    picture = send(door, {"Accept": "image/png"}, "explanations", files=fields)
    assert (picture.media_type, base64.b64decode(explained["overlay"])) == ("image/png", picture.content)
    config, _ = from_params(params)
    people = tiny_stylizer.regions(read_photo(photo()), mask()).resized((64, 50))
    assert picture.content == encode(people.overlay(resized(read_photo(photo()), config.size)))
    refused = send(door, {"Accept": "application/x-ndjson"}, "explanations", files=fields)
    assert (refused.status, refused.error["field"]) == (400, "accept")
    assert send(door, path="explanations", files={"photo": photo()}).error["field"] == "prompt"


def test_the_classes_of_an_explanation_are_a_mask_of_classes(door: Door, tiny_stylizer: Stylizer) -> None:
    accept = {"Accept": "application/json"}
    explained = json.loads(send(door, accept, "explanations", files={**FIELDS, "mask": mask()}).content)
    classes = base64.b64decode(explained["classes"])
    image = Image.open(io.BytesIO(classes))
    assert (image.format, image.mode, image.size) == ("PNG", "L", (72, 56))
    assert np.array_equal(image, np.where(np.array(Image.open(io.BytesIO(mask()))) > 0, 15, 0))
    assert post(door, {**FIELDS, "mask.classes": classes}).content == post(door, {**FIELDS, "mask": mask()}).content
    again = json.loads(send(door, accept, "explanations", files={**FIELDS, "mask.classes": classes}).content)
    assert again["classes"] == explained["classes"]
    named = json.loads(send(door, accept, "explanations", files={**FIELDS, "mask.hat": mask()}).content)
    assert "classes" not in named  # VOC has no label for hats
    baseline = {**FIELDS, "params": json.dumps({**TINY, "mode": "clipstyler"}).encode()}
    assert "classes" not in json.loads(send(door, accept, "explanations", files=baseline).content)


def test_an_explanation_of_the_baseline_has_one_region(tiny_stylizer: Stylizer) -> None:
    config, seed = from_params({**TINY, "mode": "clipstyler"})
    explanation = tiny_stylizer.steps(photo(), "fire", config=config, seed=seed).explanation()
    (region,) = explanation.facts["regions"]
    assert (region["name"], region["share_of_pixels"], region["share_of_patches"]) == ("photo", 1, 1)
    assert explanation.overlay.tobytes() == to_image(resized(read_photo(photo()), config.size).pixels).tobytes()


def test_concurrent_requests_do_not_affect_each_other(server: serve.Server) -> None:
    requests = [{**FIELDS, "params": json.dumps({**TINY, "seed": seed}).encode()} for seed in range(4)]
    alone = [post(server, fields).content for fields in requests]
    assert len(set(alone)) == 4
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda n: (post, call)[n % 2](server, requests[n // 2]).content, range(8)))
    assert together == [content for content in alone for _ in range(2)]


def test_the_client_raises_the_servers_errors(server: serve.Server, tmp_path: Path) -> None:
    messages = set()
    for protocol in ({"url": server.url, "key_file": server.keys}, {"grpc": server.grpc, "key_file": server.keys}):
        with pytest.raises(InputError, match="steps is -1") as caught:
            client.request(photo(), "fire", params={"steps": -1}, **protocol)  # type: ignore[arg-type]
        assert caught.value.field == "steps"
        messages.add(caught.value.message)
        with pytest.raises(UnsupportedImageError) as unsupported:
            client.request(b"no picture", "fire", **protocol)  # type: ignore[arg-type]
        assert unsupported.value.field == "photo"
        (tmp_path / "photo.png").write_bytes(photo())
        reply = client.request(tmp_path / "photo.png", "fire", params=TINY, accept="image/webp", **protocol)  # type: ignore[arg-type]
        assert (reply.media_type, Image.open(io.BytesIO(reply.content)).format) == ("image/webp", "WEBP")
    assert len(messages) == 1


def test_both_clients_get_the_same_picture_in_every_way(server: serve.Server) -> None:
    expected = post(server, FIELDS).content
    request: dict[str, Any] = {"photo": photo(), "prompt": "Watercolor painting", "params": TINY}
    key = {"key_file": server.keys}
    with client.Client(server.url, **key) as http, client.Client(grpc=server.grpc, **key) as rpc:
        *_, last = http.stream(**request)
        pictures = [http.stylize(**request).content, rpc.stylize(**request).content, base64.b64decode(last["photo"])]
        regions = json.loads(http.explain(**request).content)["explanation"]["regions"]

    async def requested() -> list[bytes]:
        async with client.AsyncClient(server.url, **key) as http, client.AsyncClient(grpc=server.grpc, **key) as rpc:
            together = await asyncio.gather(http.stylize(**request), rpc.stylize(**request))
            events = [event async for event in http.stream(**request)]
            assert json.loads((await http.explain(**request)).content)["explanation"]["regions"] == regions
            return [*(reply.content for reply in together), base64.b64decode(events[-1]["photo"])]

    assert [*pictures, *asyncio.run(requested())] == [expected] * 6


def test_the_client_says_where_no_server_answers(tmp_path: Path) -> None:
    port = Ports.free().inference
    for address in ({"url": f"http://127.0.0.1:{port}"}, {"grpc": f"127.0.0.1:{port}"}):
        with pytest.raises(ServeError, match=f"no server answers at .*127.0.0.1:{port}.*genartisan serve"):
            client.request(photo(), "fire", timeout=20, **address)  # type: ignore[arg-type]
    with pytest.raises(ServeError, match="Write it as in http://"):
        client.request(photo(), "fire", url="127.0.0.1:8080")
    with pytest.raises(InputError, match="cannot be read"):
        client.request(tmp_path / "none.png", "fire")


def test_the_worker_runs_the_package_in_its_archive_with_torchs_own_threads(server: serve.Server) -> None:
    described = managed(server, "GET", "models/genartisan?customized=true").json()[0]
    description = described["customizedMetadata"]
    assert Path(description["package"]).is_relative_to(server.temporary)
    assert (description["bundle"]["name"], description["device"], description["precision"]) == ("tiny", "cpu", "fp32")
    assert description["threads"] == torch.get_num_threads()


def test_the_server_describes_its_input_limits_and_networks(server: serve.Server, tiny_folder: Path) -> None:
    (described,) = managed(server, "GET", "models/genartisan?customized=true").json()
    description = described["customizedMetadata"]
    assert description["version"] == genartisan.__version__
    assert description["limits"] == Limits().model_dump()
    assert set(description["input"]["presets"]) == {"paper", "fast", "draft"}
    assert "application/x-ndjson" in description["input"]["media_types"]
    assert set(StyleConfig.model_fields) | {"preset", "seed"} <= set(description["input"]["params"]["properties"])
    assert description["bundle"]["sha256"] == sha256(tiny_folder / "bundle.json")
    for name, expected in description["bundle"]["files"].items():
        assert sha256(tiny_folder / name) == expected


def test_what_users_send_is_in_no_log(server: serve.Server) -> None:
    post(server, {**FIELDS, "prompt": b"unmistakable zebra"})
    assert post(server, FIELDS, {"Authorization": "Bearer unmistakable-token"}).status == 400
    call(server, {**FIELDS, "prompt": b"unmistakable zebra"})
    call(server, {**FIELDS, "prompt": b"unmistakable zebra", "mask.unmistakable": b"no mask"})
    post(server, {**FIELDS, "params": b'{"regions": {"unmistakable": {"weight": -1}}}'})
    address = f"{server.url}/predictions/genartisan/1.0"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for url, body in (
        (f"{address}?prompt=unmistakable", b""),
        (f"{address}/unmistakable", b""),
        (f"{address}/unmistakable%zz", b""),
        (address, b"prompt=unmistakable%zz"),
        (f"{server.url}/last", b""),
    ):
        httpx.post(url, content=body, headers={**servers.key(server), **form}, trust_env=False)
    servers.log(server)
    logs = {path.name: path for path in Path(server.logs).iterdir()}
    servers.eventually(lambda: '"POST /last HTTP/1.1" 404' in logs["access.log"].read_text(), "the last line")
    texts = {name: path.read_text() for name, path in logs.items()}
    assert '"POST /predictions/genartisan HTTP/1.1" 200' in texts["access.log"]
    assert '"POST /predictions/genartisan/1.0 HTTP/1.1" 400' in texts["access.log"]
    assert "InferenceAPIsService/Predictions" in texts["access.log"]
    assert "java.lang.IllegalArgumentException\n\tat " in texts["unreadable.log"]
    secrets = ("unmistakable", *(servers.key(server, kind)["Authorization"][7:] for kind in ("inference", "API")))
    assert not [name for name, text in texts.items() if any(secret in text for secret in secrets)]


def metrics_of(server: serve.Server) -> dict[tuple[str, ...], float]:
    """Our metrics: (name, label value, ...) -> value."""
    values = {}
    for line in servers.metrics(server).splitlines():
        if line.startswith("genartisan_"):
            name, labels, value = re.fullmatch(r"(\w+){(.*)} (\S+)", line).groups()  # type: ignore[union-attr]
            by_label = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            by_label.pop("hostname", by_label.pop("Hostname", None))
            values[(name, *(by_label.pop(label) for label in LABELS[name]))] = float(value)
            assert not by_label
    return values


def test_metrics_count_outcomes_phases_and_work(server: serve.Server, tiny_folder: Path) -> None:
    post(server, FIELDS)
    before = metrics_of(server)
    post(server, FIELDS)
    post(server, {})
    post(server, {**FIELDS, "params": json.dumps({**TINY, "steps": 5000, "timeout_s": 0.1}).encode()})
    post(server, FIELDS, {"X-Request-Start": f"t={time.time() - 3600:.3f}"})
    after = metrics_of(server)

    def gained(*key: str) -> float:
        return after[key] - before[key]

    reading = 1  # is refused itself
    assert gained("genartisan_requests_total", "ok", "artisan") == 1
    assert gained("genartisan_requests_total", "refused", "none") == 1 + reading
    assert gained("genartisan_requests_total", "timeout", "artisan") == 1
    assert gained("genartisan_requests_total", "expired", "artisan") == 1
    assert gained("genartisan_prompts_total", "hit") == 2
    assert gained("genartisan_pixels_total", "artisan") == 2 * 64 * 50
    assert gained("genartisan_steps_total", "artisan") > 2
    assert after["genartisan_in_flight", "0"] == 0
    assert after["genartisan_peak_memory_bytes", "0"] > 1e8
    assert after["genartisan_steps_per_second", "0"] > 0
    for phase, times in (("total", 4 + reading), ("queue", 1), ("decode", 2), ("optimise", 2), ("encode", 2)):
        assert gained("genartisan_phases_total", phase) == times
        counts = [after["genartisan_phases_within_total", phase, seconds] for seconds in WITHIN]
        assert counts == sorted(counts)
        assert counts[-1] == after["genartisan_phases_total", phase]
        assert gained("genartisan_phase_seconds_total", phase) >= 0
    assert gained("genartisan_answers_within_total", "picture", "+Inf") == 2
    assert gained("genartisan_answers_within_total", "draft", "+Inf") == 0
    assert gained("genartisan_phase_seconds_total", "total") > 0.1
    assert gained("genartisan_phase_seconds_total", "queue") >= 3600
    build = (genartisan.__version__, "tiny", sha256(tiny_folder / "bundle.json"), "1.0")
    assert after[("genartisan_build_info", "0", *build)] == 1
    servers.eventually(
        lambda: abs(metrics_of(server)["genartisan_last_step_timestamp_seconds", "0"] - time.time()) < 60,
        "the time of the last step",
    )


def test_every_set_of_labels_is_there_from_the_start(server: serve.Server) -> None:
    metrics = metrics_of(server)
    for name, labels in COUNTERS.items():
        assert {key[1:] for key in metrics if key[0] == name} == set(product(*labels.values()))
    assert {key[0] for key in metrics} == set(LABELS)


def test_names_and_types_follow_prometheus_conventions(server: serve.Server) -> None:
    """The rules of ``promtool check metrics``; TorchServe's own metrics have names that we cannot choose."""
    metrics = servers.metrics(server)
    types = dict(re.findall(r"^# TYPE (\S+) (\w+)$", metrics, re.M))
    assert types.keys() == set(re.findall(r"^# HELP (\S+) \S", metrics, re.M))
    ours = {name: kind for name, kind in types.items() if name.startswith("genartisan_")}
    assert ours.keys() == LABELS.keys()
    for name, kind in ours.items():
        assert re.fullmatch(r"[a-z0-9_]+", name)
        assert (kind == "counter") == name.endswith("_total"), name
        assert kind in ("counter", "gauge")
        assert not name.endswith(("_bucket", "_sum", "_count"))
        assert not {"counter", "gauge", "ms", "s", "mb", "kb", "milliseconds", "minutes"} & set(name.split("_"))
    assert not {"le", "quantile"} & {label for labels in LABELS.values() for label in labels}
    if promtool := shutil.which("promtool"):
        done = subprocess.run([promtool, "check", "metrics"], input=metrics, capture_output=True, text=True)
        assert "genartisan_" not in done.stdout + done.stderr


def test_a_grpc_stream_has_one_message_and_the_worker_outlives_it(server: serve.Server) -> None:
    """StreamPredictions; and StreamPredictions2, which TorchServe cannot answer here."""
    pid, expected = servers.worker_pid(server), post(server, FIELDS).content
    key = [("authorization", servers.key(server)["Authorization"])]
    service = METHOD.rsplit("/", 1)[0]
    with grpc.insecure_channel(server.grpc, options=[("grpc.enable_http_proxy", 0)]) as channel:

        def streamed(fields: dict[str, bytes]) -> list[bytes]:
            ask = channel.unary_stream(f"{service}/StreamPredictions")
            answers = ask(encode_request("genartisan", fields), timeout=servers.PATIENCE, metadata=key)
            return [decode_response(answer) for answer in answers]

        assert streamed(FIELDS) == [expected]
        with pytest.raises(grpc.RpcError, match="steps is -1"):
            streamed({**FIELDS, "params": b'{"steps": -1}'})
        both_ways = channel.stream_stream(f"{service}/StreamPredictions2")
        sequence = bytes([4 << 3 | 2, 1]) + b"a"  # the field sequence_id
        with pytest.raises(grpc.RpcError):
            list(
                both_ways(
                    iter([encode_request("genartisan", FIELDS) + sequence]), timeout=servers.PATIENCE, metadata=key
                )
            )
        assert streamed(FIELDS) == [expected]
    assert post(server, FIELDS).content == expected
    assert servers.worker_pid(server) == pid


def test_metrics_are_declared_with_their_labels() -> None:
    yaml = pytest.importorskip("yaml")
    declared = yaml.safe_load((servers.ROOT / "handlers" / "metrics.yaml").read_text())["model_metrics"]
    ours = [metric for kind in declared.values() for metric in kind if metric["name"].startswith("genartisan_")]
    assert {metric["name"]: tuple(metric["dimensions"]) for metric in ours} == LABELS


def test_the_log_has_a_line_for_each_request_and_its_sender_the_same_number(server: serve.Server) -> None:
    url = f"{server.url}/predictions/genartisan"
    answer = httpx.post(url, files=FIELDS, headers=servers.key(server), timeout=servers.PATIENCE, trust_env=False)
    refused = httpx.post(url, files={}, headers=servers.key(server), timeout=servers.PATIENCE, trust_env=False)
    call(server, FIELDS)
    lines = servers.log(server).splitlines()
    logged = [json.loads(line[line.index("{") :]) for line in lines if '"request_id"' in line]
    records = {record["request_id"]: record for record in logged}
    assert len(records) == len(logged)
    answered, bad = records[answer.headers["x-request-id"]], records[refused.headers["x-request-id"]]
    assert (answered["outcome"], answered["status"], answered["steps"], answered["protocol"]) == ("ok", 200, 2, "http")
    assert answered["seconds"]["total"] >= answered["seconds"]["optimise"] > 0
    assert (bad["outcome"], bad["status"], bad["code"]) == ("refused", 400, "bad_input")
    assert logged[-2]["protocol"] == "grpc"  # the last is the one that `servers.log` makes
    assert not [record for record in logged if "prompt" in record]


def test_nobody_can_make_the_server_fetch_anything(server: serve.Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as trap:
        url = f"http://127.0.0.1:{trap.getsockname()[1]}/evil.mar"
        for path in ("models", "workflows"):
            for target in (url, "file:///etc/passwd", "../../etc/passwd"):
                assert managed(server, "POST", path, params={"url": target}).status_code >= 400
        trap.setblocking(False)
        with pytest.raises(BlockingIOError):
            trap.accept()
    addresses = {
        c.laddr.ip for c in psutil.Process(server.pid).net_connections("inet") if c.status == psutil.CONN_LISTEN
    }
    assert addresses <= {"127.0.0.1", "::ffff:127.0.0.1"}
    assert post(server, FIELDS).status == 200


def test_a_server_without_workers_for_drafts_still_makes_drafts(
    server: serve.Server, capsys: pytest.CaptureFixture[str]
) -> None:
    sketch = {"preset": "draft", "size": 64}
    for address in ({}, {"grpc": server.grpc}):
        with client.Client(server.url, key_file=server.keys, retries=0, **address) as asking:
            assert asking.stylize(photo(), "Fire", params=sketch).media_type == "image/png"
            assert json.loads(asking.explain(photo(), "Fire").content)["explanation"]
            assert list(asking.stream(photo(), "Fire", params=sketch))[-1]["event"] == "result"
    with pytest.raises(ServeError, match="have no workers of their own"):
        Models(server, model=DRAFT)
    assert main(["models", "scale", "2", "--drafts", "--state", str(server.state)]) == 2
    assert "config.properties" in capsys.readouterr().err
