"""How a server answers: pictures one after another, a stream, gRPC, drafts, more users than workers, too large a size.

    python benchmarks/served.py --device cuda
    python benchmarks/served.py --bundle embedded --size 64 --steps 4 --patches 4 --levels 1x10,2x10

Without ``--bundle`` the networks have the official shapes and random weights, which do not affect time. On a GPU steps
are captured, and a second server, with ``--fraction`` of the memory, is asked for a picture that does not fit. Writes a
JSON file to benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from full_size import make_bundle_apart
from PIL import Image
from servers import seconds_of, serving
from tqdm import tqdm

from genartisan.errors import GenartisanError
from genartisan.evaluation.provenance import command_of, provenance
from genartisan.io.files import SAMPLE
from genartisan.io.images import encode
from genartisan.serving.client import Client
from genartisan.serving.state import Server

HERE = Path(__file__).resolve().parent
LOCUSTFILE = HERE.parent / "loadtest" / "locustfile.py"
PROMPT = "Watercolor painting"
LIMIT = "PYTORCH_CUDA_ALLOC_CONF"  # environment variable that may limit a process's memory on the GPU
TOO_LARGE = {"size": 2048, "patches": 256}


def main() -> None:
    arguments, result = parse(), dict[str, Any]()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        for part in measured(arguments, Path(name)):
            result |= part  # and is kept if a later part fails
            arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


def measured(arguments: argparse.Namespace, work: Path) -> Iterator[dict[str, Any]]:
    """The parts of the result, one after another."""
    on_gpu = arguments.device == "cuda"
    changes = {"cuda_graphs": "true"} if on_gpu else {}
    bundle = arguments.bundle or work / "bundle"
    if not arguments.bundle:
        make_bundle_apart(bundle, "bf16")
    yield {
        **provenance(command_of("benchmarks/served.py"), torch.device(arguments.device), arguments.seed),
        "networks": arguments.bundle or "official ones' shapes, random weights",
        "params": params_of(arguments),
    }
    began = time.monotonic()
    with serving(bundle, changes) as server:
        yield {"seconds_to_pack_and_start": round(time.monotonic() - began, 1)}
        yield from answers(server, arguments)
        yield {"load": load(server, arguments, work / "load")}
    if on_gpu:
        limit = {LIMIT: f"per_process_memory_fraction:{arguments.fraction}"}
        with patch.dict(os.environ, limit), serving(bundle, changes) as server:
            yield {"too_large": {"fraction": arguments.fraction, **too_large(server, params_of(arguments))}}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="the one that the server will find")
    parser.add_argument("--bundle", help="serve this bundle instead of random full-size networks")
    parser.add_argument("--size", type=int, default=512, help="long side of the pictures, in pixels")
    parser.add_argument("--steps", type=int, default=60, help="steps of a picture, from random weights")
    parser.add_argument("--patches", type=int, default=64, help="patches per step")
    parser.add_argument("--pictures", type=int, default=10, help="pictures, one after another")
    parser.add_argument("--levels", default="1x20,4x20,16x40", help="users and seconds of the load")
    parser.add_argument("--fraction", type=float, default=0.1, help="of the GPU's memory, for the second server")
    parser.add_argument("--seed", type=int, default=0, help="of the first picture")
    parser.add_argument("--out", type=Path, help="the JSON file (default: results/served_DEVICE.json)")
    arguments = parser.parse_args()
    arguments.out = arguments.out or HERE / "results" / f"served_{arguments.device}.json"
    return arguments


def params_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings of a picture: those of the paper, but for size, steps and patches."""
    return {"preset": "paper", **{name: getattr(arguments, name) for name in ("size", "steps", "patches")}}


def answers(server: Server, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Seconds of pictures by HTTP, of gRPC, of drafts and of a stream, one after another."""
    params, photo = params_of(arguments), jpeg(arguments.size)
    with (
        Client(server.url, key_file=server.keys, retries=0) as client,
        Client(server.url, grpc=server.grpc, key_file=server.keys, retries=0) as rpc,
    ):
        seeds = tqdm(range(arguments.seed, arguments.seed + arguments.pictures), unit="picture")
        yield {"picture_seconds": [seconds_of(client, photo, PROMPT, {**params, "seed": seed}) for seed in seeds]}
        yield {"grpc_seconds": seconds_of(rpc, photo, PROMPT, params)}
        sketch = {"preset": "draft", "size": arguments.size}
        drafts = [seconds_of(client, photo, PROMPT, {**sketch, "seed": seed}) for seed in range(10)]
        yield {"draft_seconds": {"first": drafts[0], "median of the others": statistics.median(drafts[1:])}}
        began = time.monotonic()
        at = [time.monotonic() - began for _ in client.stream(photo, PROMPT, params={**params, "preview_every": 0})]
        yield {"stream_seconds": {"first event": round(at[0], 3), "last event": round(at[-1], 3), "events": len(at)}}


def load(server: Server, arguments: argparse.Namespace, report: Path) -> dict[str, Any]:
    """What Locust measures with each number of users."""
    flags = ["--host", server.url, "--grpc", str(server.grpc), "--key-file", str(server.keys), "--report", str(report)]
    flags += ["--levels", arguments.levels, "--presets", "paper", "--params", json.dumps(params_of(arguments))]
    flags += ["--check-share", "0" if arguments.device == "cuda" else "0.1"]
    command = [sys.executable, "-m", "locust", "--headless", "--only-summary", "-f", str(LOCUSTFILE), *flags]
    status = subprocess.run(command, stdout=sys.stderr).returncode  # 1 if jobs failed, which the levels count
    written = json.loads((report / "report.json").read_text(encoding="utf-8"))
    return {"exit_status": status, **{part: written[part] for part in ("words", "levels")}}


def too_large(server: Server, params: dict[str, Any]) -> dict[str, Any]:
    """The refusal of a picture that does not fit, then a picture of the size that it names, and a plain one."""
    photo = jpeg(TOO_LARGE["size"])
    with Client(server.url, key_file=server.keys, retries=0) as client:
        try:
            client.stylize(photo, PROMPT, params={**params, **TOO_LARGE})
        except GenartisanError as error:
            refusal = error.message
        else:
            sys.exit("the picture fitted into memory; lower --fraction")
        fitting = re.search(r"size (\d+) would fit", refusal)
        if not fitting:
            sys.exit(f"no size that would fit is named: {refusal}")
        size = int(fitting[1])
        return {
            "refusal": refusal,
            "seconds_of_the_size_that_fits": seconds_of(client, photo, PROMPT, {**params, **TOO_LARGE, "size": size}),
            "seconds_of_a_picture_after_it": seconds_of(client, photo, PROMPT, params),
        }


def jpeg(side: int) -> bytes:
    """The sample photo, square, with sides of ``side`` pixels."""
    with Image.open(SAMPLE) as photo:
        return encode(photo.convert("RGB").resize((side, side)), "image/jpeg")


if __name__ == "__main__":
    main()
