"""Memory and seconds of steps, a search of style numbers and a draft, with random networks of the official sizes.

    python benchmarks/full_size.py --patches 64 --steps 3
    python benchmarks/full_size.py --device cuda --precision bf16 --steps 400

Without ``--bundle`` a subprocess first writes random checkpoints in the official formats (1.1 GB) and converts them, so
that the reported peak is that of loading and stylising alone.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from official_files import make_official_files
from PIL import Image

from genartisan.config import StyleConfig, preset
from genartisan.evaluation.provenance import command_of, provenance
from genartisan.io.images import encode
from genartisan.method.stylizer import Stylizer
from genartisan.networks.bundle import Bundle
from genartisan.weights import official_bundle

HERE = Path(__file__).resolve().parent
PROMPT = "Watercolor painting"
DRAFTS = 9  # of which the median counts: from an encoded photo to a picture, with cached style numbers


def main() -> None:
    arguments = parse()
    load = os.getloadavg()
    with ExitStack() as stack:
        folder = arguments.bundle or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "bundle"
        if not arguments.bundle:
            make_bundle_apart(folder, arguments.dtype)
        measured = measure(folder, arguments)
    result = {
        **provenance(command_of("benchmarks/full_size.py"), torch.device(arguments.device), 0),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "load_average": {"before": [round(n, 2) for n in load], "after": [round(n, 2) for n in os.getloadavg()]},
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "torchvision", "open_clip_torch")},
        },
        **measured,
    }
    text = json.dumps(result, indent=2) + "\n"
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(text, encoding="utf-8")
    print(text, end="")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patches", type=int, default=64, help="patches per step")
    parser.add_argument("--steps", type=int, default=3, help="steps; the first prepares the run and does not count")
    parser.add_argument("--size", type=int, default=512, help="side of the square photo, in pixels")
    parser.add_argument("--output-size", type=int, help="side of a larger result, in pixels")
    parser.add_argument("--dtype", choices=("bf16", "fp32"), default="bf16", help="precision of the bundle's files")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:N or mps")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="fp32", help="precision of the computation")
    parser.add_argument("--graphs", action="store_true", help="capture steps (GPU only)")
    parser.add_argument("--bundle", type=Path, help="measure this bundle instead of a random one")
    parser.add_argument("--out", type=Path, help="the JSON file (default: results/full_size_DEVICE.json)")
    arguments = parser.parse_args()
    arguments.out = arguments.out or HERE / "results" / f"full_size_{arguments.device.replace(':', '')}.json"
    return arguments


def make_bundle_apart(folder: Path, dtype: str) -> None:
    """Runs `make_bundle` in a subprocess; exits if it fails."""
    maker = multiprocessing.get_context("spawn").Process(target=make_bundle, args=(folder, dtype))
    maker.start()
    maker.join()
    if maker.exitcode:
        sys.exit(maker.exitcode)


def make_bundle(folder: Path, dtype: str) -> None:
    """Random checkpoints in the official formats, converted as `genartisan weights fetch --from` does."""
    carried = folder.parent / "carried"
    files = make_official_files(carried)
    official_bundle.fetch(from_dir=carried, dtype=dtype, out=folder, files=files)


def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Loads the bundle and stylises a JPEG of noise; reads peak memory after each phase."""
    peaks = {"imports": peak_mb()}
    began = time.perf_counter()
    stylizer = Stylizer(
        Bundle.load(folder), device=arguments.device, precision=arguments.precision, graphs=arguments.graphs
    )
    seconds = {"load": time.perf_counter() - began}
    peaks["load"] = peak_mb()

    config = StyleConfig(size=arguments.size, steps=arguments.steps, patches=arguments.patches).updated(
        {"output_size": arguments.output_size}
    )
    photo = encode(Image.effect_noise((arguments.size, arguments.size), 64).convert("RGB"), "image/jpeg")
    run = stylizer.steps(photo, PROMPT, config=config, seed=0)

    each: list[float] = []
    worked: list[float] = []  # CPU time of all threads, which says more than wall time on a busy machine
    began, began_work = time.perf_counter(), time.process_time()
    for step in run:
        if not all(map(math.isfinite, step.losses.values())):
            sys.exit(f"step {step.index}: losses are not finite: {step.losses}")
        each.append(time.perf_counter() - began)
        worked.append(time.process_time() - began_work)
        began, began_work = time.perf_counter(), time.process_time()
    peaks["steps"] = peak_mb()
    warm = each[1:] or each
    began = time.perf_counter()
    report = run.result().report
    seconds["render"] = time.perf_counter() - began
    peaks["render"] = peak_mb()
    draft = preset("draft", {"size": arguments.size})
    drafts = {"draft with search": draft, "draft": draft}  # the first searches numbers, which the second finds cached
    if arguments.output_size:
        drafts["draft at the output size"] = draft.updated({"output_size": arguments.output_size})
    for name, settings in drafts.items():
        each_draft: list[float] = []
        for _ in range(DRAFTS if name == "draft" else 1):
            began = time.perf_counter()
            stylizer(photo, PROMPT, config=settings)
            each_draft.append(time.perf_counter() - began)
        seconds[name] = statistics.median(each_draft)
        peaks[name] = peak_mb()
    return {
        "settings": {
            "mode": report["mode"],
            "size": report["size"],
            "output_size": config.output_size,
            "patches": config.patches,
            "patch_size": config.patch_size,
            "steps": config.steps,
            "device": arguments.device,
            "precision": arguments.precision,
            "graphs": arguments.graphs,
            "bundle": "random weights" if arguments.bundle is None else arguments.bundle.name,
            "bundle_dtype": arguments.dtype if arguments.bundle is None else None,
        },
        "seconds_a_step": round(sum(warm) / len(warm), 4),
        "seconds_of_each_step": [round(value, 4) for value in each],  # reading the losses waits for the device
        "cpu_seconds_of_each_step": [round(value, 2) for value in worked],
        "seconds": {name: round(value, 4) for name, value in seconds.items()},
        "peak_memory_mb_after": peaks,
        "gpu": gpu(stylizer.device),
        "losses": report["losses"],
    }


def peak_mb() -> int:
    """Peak memory of this process, in MB of 10^6 bytes (ru_maxrss is in KiB on Linux, in bytes on macOS)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * (1 if sys.platform == "darwin" else 1024) / 1e6)


def gpu(device: torch.device) -> dict[str, str | int] | None:
    """Name of a CUDA device and the peak memory that PyTorch reserved on it, in MB of 10^6 bytes."""
    if device.type != "cuda":
        return None
    return {"name": torch.cuda.get_device_name(device), "peak_mb": round(torch.cuda.max_memory_reserved(device) / 1e6)}


if __name__ == "__main__":
    main()
