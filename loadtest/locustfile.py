"""Load test of a running server, over HTTP and gRPC; users verify the pictures they get.

    locust --headless --only-summary -f loadtest/locustfile.py --users 2 --run-time 30s --host http://127.0.0.1:8080

`make loadtest` starts a server and runs this. A picture that does not decode, has the wrong size or is the unchanged
photo counts as a failure; locust then exits with 1.
"""

from __future__ import annotations

import io
import json
import random
import time
from typing import Any

import grpc
from grpc.experimental import gevent as grpc_gevent
from locust import HttpUser, User, constant, events, task
from PIL import Image, ImageChops, ImageStat

from genartisan.serving.access import Access
from genartisan.serving.defaults import MODEL
from genartisan.serving.inference_grpc import METHOD, OPTIONS, decode_response, encode_request

grpc_gevent.init_gevent()  # or a gRPC call blocks all users

PROMPTS = ("Watercolor painting", "Pencil sketch", "Fire", "Neon light")
PARAMS = {"preset": "draft", "size": 128, "steps": 5, "patches": 4, "patch_size": 64}
SIZE = (128, 96)  # of the pictures


def draw_photo() -> Image.Image:
    """A bright disc before a gradient, 320 x 240."""
    photo = Image.linear_gradient("L").resize((320, 240)).convert("RGB")
    disc = Image.radial_gradient("L").resize((120, 120)).point(lambda value: 255 if value < 128 else 0)
    photo.paste((230, 180, 60), (100, 60), disc)
    return photo


def encoded(photo: Image.Image) -> bytes:
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


PHOTO = draw_photo()
FIELDS = {"photo": encoded(PHOTO)}


def request_fields() -> dict[str, bytes]:
    """A request with a random seed, so that no cache answers it."""
    params = {**PARAMS, "seed": random.randrange(2**31)}
    return {**FIELDS, "prompt": random.choice(PROMPTS).encode(), "params": json.dumps(params).encode()}


def fault(content: bytes) -> str | None:
    """What is wrong with a picture; None if it decodes, has the right size and differs from the photo."""
    try:
        picture = Image.open(io.BytesIO(content))
        picture.load()
    except Exception as error:  # decoders raise many kinds
        return f"no picture: {error}"
    if (picture.format, picture.size) != ("PNG", SIZE):
        return f"a {picture.format} of {picture.size}, not a PNG of {SIZE}"
    changed = ImageStat.Stat(ImageChops.difference(picture.convert("RGB"), PHOTO.resize(SIZE))).mean
    return None if max(changed) > 1 else "the unchanged photo"


class OverHttp(HttpUser):
    """Requests one picture after another over HTTP."""

    wait_time = constant(0)

    def on_start(self) -> None:
        self.access = access(self.environment, self.host or "")

    @task
    def picture(self) -> None:
        files = {name: (name, content, "application/octet-stream") for name, content in request_fields().items()}
        with (
            self.access.headers() as key,
            self.client.post(
                f"/predictions/{MODEL}", files=files, headers=key, name="HTTP", catch_response=True
            ) as answer,
        ):
            if answer.status_code != 200:
                answer.failure(f"{answer.status_code}: {answer.text[:200]}")
            elif wrong := fault(answer.content):
                answer.failure(wrong)


class OverGrpc(User):
    """Requests one picture after another over gRPC, which locust does not time by itself."""

    wait_time = constant(0)

    def on_start(self) -> None:
        self.access = access(self.environment, self.environment.parsed_options.grpc)
        self.channel = grpc.insecure_channel(self.environment.parsed_options.grpc, options=OPTIONS)
        self.predict = self.channel.unary_unary(METHOD)

    def on_stop(self) -> None:
        self.channel.close()

    @task
    def picture(self) -> None:
        message, began, content = encode_request(MODEL, request_fields()), time.perf_counter(), b""
        error: Exception | None = None
        try:
            with self.access.headers() as key:
                content = decode_response(self.predict(message, metadata=tuple(key.items())))
            if wrong := fault(content):
                error = ValueError(wrong)
        except grpc.RpcError as refusal:
            error = RuntimeError(f"{refusal.code().name}: {(refusal.details() or '')[:200]}")
        milliseconds = (time.perf_counter() - began) * 1000
        self.environment.events.request.fire(
            request_type="POST",
            name="gRPC",
            response_time=milliseconds,
            response_length=len(content),
            exception=error,
            context={},
        )


def access(environment: Any, address: str) -> Access:
    """The key of the server at ``address``, looked up as by `genartisan request`."""
    return Access.to(address, key_file=environment.parsed_options.key_file)


@events.init_command_line_parser.add_listener
def add_options(parser: Any) -> None:
    parser.add_argument(
        "--key-file", metavar="FILE", help="TorchServe's key_file.json; default: of a server started here"
    )
    parser.add_argument("--grpc", default="127.0.0.1:7070", metavar="HOST:PORT", help="the gRPC endpoint")


@events.quitting.add_listener
def summarise(environment: Any, **_: Any) -> None:
    """Prints p50, p95 and pictures a minute, by protocol and in total."""
    settings = ", ".join(f"{name} {value}" for name, value in PARAMS.items())
    users = environment.parsed_options.num_users
    print(f"\n{users} users, photo {PHOTO.width}x{PHOTO.height}, {settings}")
    stats = environment.stats
    seconds = (stats.total.last_request_timestamp or 0) - stats.total.start_time  # until the last answer
    for entry in (*stats.entries.values(), stats.total):
        pictures = entry.num_requests - entry.num_failures
        p50, p95 = (entry.get_response_time_percentile(share) / 1000 for share in (0.5, 0.95))
        rate = 60 * pictures / seconds if seconds > 0 else 0.0
        name = "both" if entry is stats.total else entry.name
        print(
            f"{name:>5}: p50 {p50:.2f} s, p95 {p95:.2f} s, {rate:.1f} pictures a minute, {entry.num_failures} failures"
        )
    if not stats.total.num_requests:
        environment.process_exit_code = 1
