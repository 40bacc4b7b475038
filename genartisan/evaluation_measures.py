"""What an evaluation measures of a bundle without a judge: its CLIP on new drawings, its size, its speed."""

from __future__ import annotations

import copy
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from genartisan.bundle import MANIFEST, read_manifest, resolve
from genartisan.compact_clip import CompactClip
from genartisan.config import StyleConfig
from genartisan.evaluation_jobs import Machine
from genartisan.networks import Clip
from genartisan.stylizer import Stylizer

SEED = 4242  # of the drawings that CLIP is measured on; it trains on others


def clip_figures(clip: Clip, drawings: int) -> dict[str, Any] | None:
    """Held-out figures of an embedded CLIP, see `genartisan.embedded.measure_clip.figures`; None for other kinds.

    Computed in single precision on the CPU, wherever the pictures are made.
    """
    from genartisan.embedded.drawings import generate
    from genartisan.embedded.measure_clip import figures

    if not isinstance(clip, CompactClip):
        return None
    own = copy.deepcopy(clip).to("cpu", torch.float32)
    return figures(own, generate(drawings, SEED, held_out=True))


def megabytes(bundle: str) -> float:
    """Size of a bundle's files, in units of 1 000 000 bytes."""
    folder = resolve(bundle)
    files = [MANIFEST, *(entry.file for entry in read_manifest(folder).networks.values())]
    return sum((folder / file).stat().st_size for file in files) / 1e6


def seconds_to_load(machine: Machine) -> float:
    """Seconds until a Stylizer is ready, the median of three; importing PyTorch comes before and is left out."""
    return statistics.median(_seconds_of(machine.stylizer) for _ in range(3))


def seconds_to_stylise(stylizer: Stylizer, photo: Path, prompt: str, config: StyleConfig, seed: int) -> float:
    """Seconds for one picture from file to picture, with all threads and nothing else running; no warm-up."""
    return _seconds_of(lambda: stylizer(photo, prompt, config=config, seed=seed))


def _seconds_of(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def provenance(script: str, stylizer: Stylizer, seed: int) -> dict[str, Any]:
    """What stands with every number that a script measured: when, how, on what and with which networks."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": shlex.join(["python", script, *sys.argv[1:]]),
        "hardware": hardware(stylizer.device),
        "precision": stylizer.precision,
        "bundle": stylizer.bundle.name,
        "seed": seed,
    }


def hardware(device: torch.device) -> dict[str, Any]:
    """The processor, the threads PyTorch uses, the GPU if one is used, and the versions."""
    return {
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
