"""How long drafts take on an idle server and during a run, and what they cost the run, for four ways to serve them.

    python benchmarks/drafts.py

One client asks for drafts of a photo without a pause, each with a new seed; the run is a stream that its deadline ends.
No cache answers.
"""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from servers import seconds_of, serving
from tqdm import tqdm

from genartisan.evaluation.provenance import command_of, provenance
from genartisan.io.files import SAMPLE
from genartisan.serving.client import Client
from genartisan.serving.state import Server

HERE = Path(__file__).resolve().parent
PROMPT = "The Starry Night by Vincent van Gogh"
WAYS: dict[str, dict[str, Any]] = {
    "workers of their own": {"nice": 10, "own": True, "workers": 1},
    "workers of their own, equal priority": {"nice": 0, "own": True, "workers": 1},
    "two workers of one thread, one kept free by a proxy": {"nice": 0, "own": False, "workers": 2},
    "one worker": {"nice": 10, "own": False, "workers": 1},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drafts", type=int, default=40, help="on the idle server (default: 40)")
    parser.add_argument("--seconds", type=float, default=40.0, help="of the run (default: 40)")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "drafts_cpu.json")
    arguments = parser.parse_args()
    result: dict[str, Any] = provenance(command_of("benchmarks/drafts.py"), torch.device("cpu"), 0)
    for name, way in tqdm(WAYS.items(), unit="way"):
        with server_of(**way) as server, Client(server.url, key_file=server.keys, retries=0) as client:
            result[name] = {**way, **measure(client, arguments.drafts, arguments.seconds)}
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({name: result[name] for name in WAYS}, indent=1))


def server_of(nice: int, own: bool, workers: int) -> AbstractContextManager[Server]:
    """A server with the embedded bundle."""
    changes = {"nice": nice, "minWorkers": workers, "maxWorkers": workers}
    return serving("embedded", changes, own_drafts=own)


def measure(client: Client, drafts: int, seconds: float) -> dict[str, Any]:
    """Seconds of drafts, and steps a second of a run: each alone, and together."""
    for seed in range(6):  # in each worker the first are slower
        draft(client, seed)
    idle = [draft(client, seed) for seed in range(drafts)]
    alone = run(client, seconds)
    steps: list[float] = []
    running = threading.Thread(target=lambda: steps.append(run(client, seconds)))
    running.start()
    time.sleep(5)  # the run has begun
    busy: list[float] = []
    while running.is_alive():
        busy.append(draft(client, len(busy)))
    running.join()
    return {
        "idle_seconds": percentiles(idle),
        "busy_seconds": percentiles(busy),
        "steps_per_second": {"alone": round(alone, 2), "with_drafts": round(steps[0], 2)},
    }


def draft(client: Client, seed: int) -> float:
    """Seconds of a draft."""
    return seconds_of(client, SAMPLE, PROMPT, {"preset": "draft", "seed": seed})


def run(client: Client, seconds: float) -> float:
    """Steps a second of a run, after its third step."""
    params = {"preset": "paper", "size": 256, "patches": 16, "timeout_s": seconds, "preview_every": 0}
    steps = [
        (event["seconds"], event["step"])
        for event in client.stream(SAMPLE, "Fire", params=params)
        if event["event"] == "progress" and event["step"] >= 3
    ]
    (began, first), (ended, last) = steps[0], steps[-1]
    return float((last - first) / (ended - began))


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Median, 95th percentile and number."""
    p95 = sorted(seconds)[min(len(seconds) - 1, int(0.95 * len(seconds)))]
    return {"p50": round(statistics.median(seconds), 2), "p95": round(p95, 2), "n": len(seconds)}


if __name__ == "__main__":
    main()
