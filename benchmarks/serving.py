"""Overhead of serving over the library call, and seconds to a stream's first event, on an otherwise idle server.

    python benchmarks/serving.py --size 512 --steps 10 --repeat 9

Library, HTTP and gRPC take turns with the same photo, prompt, settings and seed, with a new seed per round; only the
source text is spelled differently ("a photo", "A photo"), so that no cache answers. The pictures of a round must be
equal. The library runs in this process, with as many threads as a worker; give both the same OMP_WAIT_POLICY.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from genartisan.config import from_params
from genartisan.evaluation.provenance import command_of, provenance
from genartisan.io.files import SAMPLE
from genartisan.io.images import encode, read_photo, resized, to_image
from genartisan.method.stylizer import Stylizer
from genartisan.networks.bundle import Bundle
from genartisan.serving import serve
from genartisan.serving.client import Client
from genartisan.serving.replies import Reply

HERE = Path(__file__).resolve().parent
PROMPT = "Watercolor painting"


def main() -> None:
    arguments = parse()
    photo = encode(to_image(resized(read_photo(SAMPLE), arguments.size).pixels), "image/jpeg")
    stylizer = Stylizer(Bundle.load(arguments.bundle))
    with tempfile.TemporaryDirectory() as folder:
        serve.archive(arguments.bundle, Path(folder) / "store")
        server = serve.start(Path(folder) / "store", state=Path(folder) / "state", say=print)
        try:
            seconds = measure(stylizer, server, photo, arguments)
        finally:
            serve.stop(Path(folder) / "state")
    added = {name: added_seconds(seconds["library"], seconds[name]) for name in ("http", "grpc")}
    result = {
        **provenance(command_of("benchmarks/serving.py"), stylizer.device, 0),
        "bundle": stylizer.bundle.name,
        "photo_bytes": len(photo),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", "library: unset, worker: PASSIVE"),
        "median_seconds": {name: round(statistics.median(values), 4) for name, values in seconds.items()},
        "overhead_ms": {name: round(1000 * value, 1) for name, value in added.items()},
        "overhead": {name: round(value / statistics.median(seconds["library"]), 4) for name, value in added.items()},
        "seconds": {name: [round(value, 4) for value in values] for name, values in seconds.items()},
    }
    arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({name: result[name] for name in ("median_seconds", "overhead_ms", "overhead")}, indent=1))


def added_seconds(library: list[float], served: list[float]) -> float:
    """Median over the rounds of the seconds that serving adds; calls are paired, because a machine's speed drifts."""
    return statistics.median(total - bare for total, bare in zip(served, library, strict=True))


def measure(
    stylizer: Stylizer, server: serve.Server, photo: bytes, arguments: argparse.Namespace
) -> dict[str, list[float]]:
    """Seconds of each call, by interface; the first round is a warm-up and does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in ("library", "http", "grpc", "first_event")}
    keys = server.keys
    with (
        Client(server.url, retries=0, key_file=keys) as http,
        Client(grpc=server.grpc, retries=0, key_file=keys) as rpc,
    ):
        for seed in tqdm(range(arguments.repeat + 1), unit="round"):
            params = {
                "size": arguments.size, "steps": arguments.steps, "patches": arguments.patches, "seed": seed,
            }  # fmt: skip
            ways = {
                "library": partial(in_process, stylizer, photo, params),
                "http": partial(http.stylize, photo, PROMPT, params=params),
                "grpc": partial(rpc.stylize, photo, PROMPT, params={**params, "source_text": "a photo"}),
            }
            pictures = set()
            for name, way in ways.items():
                began = time.perf_counter()
                reply = way()
                seconds[name].append(time.perf_counter() - began)
                pictures.add(reply.content)
            assert len(pictures) == 1, "library, HTTP and gRPC gave different pictures"
            seconds["first_event"].append(first_event(http, photo, {**params, "source_text": "A photo"}))
    return {name: values[1:] for name, values in seconds.items()}


def in_process(stylizer: Stylizer, photo: bytes, params: dict[str, Any]) -> Reply:
    """The library call as a server makes it: from params to settings, from picture to PNG."""
    config, seed = from_params(params)
    return Reply(encode(stylizer(photo, PROMPT, config=config, seed=seed).image), "image/png")


def first_event(http: Client, photo: bytes, params: dict[str, Any]) -> float:
    """Seconds from the request to the first event of its stream."""
    began = time.perf_counter()
    events = http.stream(photo, PROMPT, params={**params, "preview_every": 0})
    assert next(events)["event"] == "accepted"
    seconds = time.perf_counter() - began
    for _ in events:  # so that the next request does not wait for this one
        pass
    return seconds


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bundle", default="embedded")
    parser.add_argument("--size", type=int, default=512, help="long side of photo and picture, in pixels")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--patches", type=int, default=16)
    parser.add_argument("--repeat", type=int, default=9, help="rounds that count, after a warm-up")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "serving.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
