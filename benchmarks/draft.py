"""How long a draft takes, one pass of the learned start: the whole call, from file to picture, and what its parts take.

    python benchmarks/draft.py --size 512
    python benchmarks/draft.py --size 512 --device cuda --repeats 200

In turns: in artisan mode with FCN's regions, and in clipstyler mode; with a sentence that was read before, and with one
that is new. The device is waited for. The JSON goes to benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tqdm import tqdm

from genartisan.bundle import Bundle
from genartisan.config import StyleConfig, preset
from genartisan.demo import PHOTO
from genartisan.evaluation_measures import provenance
from genartisan.flags import add_device_flags
from genartisan.images import encode
from genartisan.stylenet import drawn
from genartisan.stylizer import Stylizer

HERE = Path(__file__).resolve().parent
PROMPT, SEED = "The Starry Night by Vincent van Gogh", 0
WARM_UPS = 5


def main() -> None:
    arguments = parse()
    bundle = Bundle.load(arguments.bundle)
    stylizer = Stylizer(bundle, arguments.device, arguments.precision, styles={})
    forgetful = Stylizer(bundle, arguments.device, arguments.precision, prompt_bytes=0, styles={})
    photo = photo_of(arguments.size)
    calls = {
        "artisan": calling(stylizer, photo, arguments.size, "artisan"),
        "clipstyler": calling(stylizer, photo, arguments.size, "clipstyler"),
        "artisan, a new sentence": calling(forgetful, photo, arguments.size, "artisan"),
        "the pass alone": passing(stylizer, photo, arguments.size),
    }
    result = {
        **provenance("benchmarks/draft.py", stylizer, SEED),
        "size": arguments.size,
        "repeats": arguments.repeats,
        "milliseconds": measured(calls, arguments.repeats),
    }
    arguments.out = arguments.out or HERE / "results" / f"draft_{stylizer.device.type}.json"
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result["milliseconds"], indent=1))
    print(arguments.out)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512, help="side in pixels; the photo is square")
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--bundle", default="embedded", help="embedded, official or a folder; with a learned start")
    add_device_flags(parser)
    parser.add_argument("--out", type=Path, help="the JSON file (default: results/draft_DEVICE.json)")
    arguments = parser.parse_args()
    if arguments.repeats < 2:
        parser.error(f"repeats is {arguments.repeats}; give at least 2.")
    return arguments


def photo_of(size: int) -> bytes:
    """The sample photo at that size, as a JPEG."""
    with Image.open(PHOTO) as photo:
        return encode(photo.convert("RGB").resize((size, size)), "image/jpeg")


def draft(size: int, mode: str) -> StyleConfig:
    return preset("draft", {"size": size, "mode": mode})


def calling(stylizer: Stylizer, photo: bytes, size: int, mode: str) -> Callable[[], dict[str, float]]:
    """A whole call, which tells the seconds of its parts."""
    config = draft(size, mode)

    def call() -> dict[str, float]:
        seconds: dict[str, float] = stylizer(photo, PROMPT, config=config, seed=SEED).report["seconds"]
        return seconds

    return call


def passing(stylizer: Stylizer, photo: bytes, size: int) -> Callable[[], dict[str, float]]:
    """The network's pass over what it sees, which lies on the device."""
    run = stylizer.steps(photo, PROMPT, config=draft(size, "clipstyler"), seed=SEED).run

    @torch.no_grad()
    def call() -> dict[str, float]:
        drawn(run.stylenet, run.content, stylizer.dtype)
        if stylizer.device.type == "cuda":
            torch.cuda.synchronize(stylizer.device)
        return {}

    return call


def measured(calls: dict[str, Callable[[], dict[str, float]]], repeats: int) -> dict[str, Any]:
    """Milliseconds of every call, in turns: the median, the 95th percentile, and the medians of the parts."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    parts: dict[str, list[dict[str, float]]] = {name: [] for name in calls}
    for turn in tqdm(range(WARM_UPS + repeats), unit="turn"):
        for name, call in calls.items():
            began = time.perf_counter()
            told = call()
            if turn >= WARM_UPS:
                seconds[name].append(time.perf_counter() - began)
                parts[name].append(told)
    return {
        name: {
            "median": milliseconds(statistics.median(each)),
            "p95": milliseconds(statistics.quantiles(each, n=20)[-1]),
            "parts": {  # the report has whole milliseconds
                part: milliseconds(statistics.median(told[part] for told in parts[name])) for part in parts[name][0]
            },
        }
        for name, each in seconds.items()
    }


def milliseconds(seconds: float) -> float:
    return round(seconds * 1e3, 3)


if __name__ == "__main__":
    main()
