"""Seconds per step and per run of genartisan and of CLIPstyler's own program, in turns, with full-size networks.

    python benchmarks/engine.py --clipstyler CHECKOUT --size 256 --patches 16 --steps 4 --turns 3
    python benchmarks/engine.py --clipstyler CHECKOUT --device cuda --size 512 --patches 64 --steps 400 --turns 1 \
        --graphs --compile --together 1 2 4 8
    python benchmarks/engine.py --clipstyler CHECKOUT --size 256 --patches 16 --steps 5 --our-environment
    python benchmarks/engine.py --clipstyler CHECKOUT --size 256 --patches 16 --steps 4 --our-environment --busy 1

All contestants get the same photo, text, initial weights, crops and homographies. Timings synchronise with the device.
Without ``--bundle`` the networks have the official shapes and random weights, which do not affect time. Writes a JSON
file, a plot, and a plot of a step by phase and kind of kernel to benchmarks/results.
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, redirect_stdout
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import torch
from clipstyler import TheirClip, run_script
from engine_report import draw, summary
from full_size import make_bundle_apart
from PIL import Image
from step_profile import Rates, draw_profiles, profiled
from torch import nn
from tqdm import tqdm

from genartisan.config import StyleConfig
from genartisan.environment import HUGE_PAGES, SPIN_COUNT, TUNABLES, WAIT_POLICY, set_defaults, variables
from genartisan.evaluation.provenance import command_of, provenance
from genartisan.io.files import SAMPLE
from genartisan.method.batching import step_together
from genartisan.method.engine import PHASES
from genartisan.method.graphs import MIN_CAPTURE_STEPS
from genartisan.method.patches import plan
from genartisan.method.stylizer import Stylizer
from genartisan.networks.bundle import Bundle
from genartisan.networks.device import PRECISIONS
from genartisan.networks.stylenet import StyleNet, random_stylenet

HERE = Path(__file__).resolve().parent
PROMPT, SEED = "Watercolor painting", 0
STEPS_TOGETHER = 12  # at most, when several photos share a step
Turn = Callable[[], dict[str, Any]]
Result = TypeVar("Result")
MATMUL = 4096  # side of the matrices whose product gives the hardware's rate
PROFILED = 4  # steps: one that makes the optimiser's state, and those of `profiled`
COPIED = 2**28  # bytes whose copy gives the memory's rate


def main() -> None:
    arguments = parse()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        folder = arguments.bundle or work / "bundle"
        if not arguments.bundle:
            make_bundle_apart(folder, "fp32")
        with busy_processes(arguments.busy):
            result = measure(folder, work, arguments)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    draw(result, arguments.out.with_suffix(".png"))
    profiles = {name: each["profile"]["kernels"] for name, each in result["contestants"].items() if "profile" in each}
    if profiles:
        draw_profiles(profiles, arguments.out.with_suffix(".profile.png"))
    print(summary(result))
    print(f"{arguments.out} and {arguments.out.with_suffix('.png')}")
    if result["failed"]:
        sys.exit("\n".join(f"{name} failed: {reason}" for name, reason in result["failed"].items()))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clipstyler", type=Path, help="checkout of cyclomon/CLIPstyler; default: none")
    parser.add_argument("--size", type=int, default=256, help="side of the square photo, in pixels, a multiple of 8")
    parser.add_argument("--patches", type=int, default=16, help="patches per step")
    parser.add_argument("--patch-size", type=int, default=128, help="side of a patch, in pixels")
    parser.add_argument("--steps", type=int, default=4, help="steps of each turn")
    parser.add_argument("--warm-up", type=int, default=1, help="first steps of each turn that do not count")
    parser.add_argument("--turns", type=int, default=3, help="turns of each contestant")
    parser.add_argument(
        "--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS), help="precisions of genartisan"
    )
    parser.add_argument("--graphs", action="store_true", help="also with captured steps (GPU only)")
    parser.add_argument("--compile", action="store_true", help="also with all networks compiled by PyTorch")
    parser.add_argument("--together", nargs="+", type=int, default=[], help="also with so many photos per step")
    parser.add_argument("--our-environment", action="store_true", help="also in a process with that of our programs")
    parser.add_argument("--busy", type=int, default=0, help="beside so many processes, each of which fills a core")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--bundle", type=Path, help="use this bundle instead of random full-size networks")
    parser.add_argument("--out", type=Path, help="the JSON file (default: results/engine_DEVICE_SIZE_PATCHES.json)")
    arguments = parser.parse_args()
    if not 0 <= arguments.warm_up < arguments.steps - 1:
        parser.error(f"warm-up is {arguments.warm_up}; it must leave at least two of the {arguments.steps} steps.")
    if arguments.graphs and not arguments.device.startswith("cuda"):
        parser.error(f"device is {arguments.device}; graphs need cuda.")
    if arguments.our_environment and HUGE_PAGES in os.environ.get(TUNABLES, ""):
        parser.error(f"{TUNABLES} is {os.environ[TUNABLES]}; --our-environment needs a process without.")
    if arguments.graphs and arguments.steps < MIN_CAPTURE_STEPS:
        parser.error(f"steps is {arguments.steps}; runs of fewer than {MIN_CAPTURE_STEPS} steps are not captured.")
    name = f"engine_{arguments.device.replace(':', '')}_{arguments.size}_{arguments.patches}.json"
    arguments.out = arguments.out or HERE / "results" / name
    return arguments


class Contest:
    """What takes turns, by name, with the networks in ``folder``."""

    def __init__(self, folder: Path, work: Path, arguments: argparse.Namespace) -> None:
        self.device, self.bundle = torch.device(arguments.device), Bundle.load(folder)
        self.config = StyleConfig(
            mode="clipstyler", size=arguments.size, steps=arguments.steps, patches=arguments.patches,
            patch_size=arguments.patch_size,
        )  # fmt: skip
        self.photo = work / "photo.png"
        Image.open(SAMPLE).convert("RGB").resize((arguments.size, arguments.size)).save(self.photo)
        stylizer_of = partial(Stylizer, self.bundle, arguments.device, prompt_bytes=0)  # without the cache of prompts
        self.stylizers = {name: stylizer_of(name) for name in arguments.precisions}
        self.turns: dict[str, Turn] = {}
        if arguments.clipstyler:
            clip = TheirClip(self.bundle, self.device)
            vgg = copy.deepcopy(self.bundle.vgg).to(self.device, torch.float32)
            self.turns["CLIPstyler"] = partial(
                run_theirs, arguments.clipstyler, clip, vgg, self.photo, self.config, work, self.device
            )
        for name, stylizer in self.stylizers.items():
            ours = {f"genartisan {name}": stylizer}
            if arguments.graphs:
                ours[f"genartisan {name}, graphs"] = stylizer_of(name, graphs=True)
            self.turns |= {of: partial(run_ours, each, self.photo, self.config) for of, each in ours.items()}
            if arguments.compile:
                for of, each in ours.items():
                    apart = compiled(stylizer_of(name, graphs=each.graphs is not None))
                    self.turns[f"{of}, compiled"] = partial(run_compiled, apart, self.photo, self.config)


def measure(folder: Path, work: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Times every contestant in turns, then counts operations and profiles phases. What fails stops nothing else."""
    contest, failed = Contest(folder, work, arguments), dict[str, str]()
    device, config, photo = contest.device, contest.config, contest.photo
    with ExitStack() as stack:
        twins = stack.enter_context(twins_of(contest, folder, work, arguments)) if arguments.our_environment else {}
        turns = taken(contest.turns | twins, arguments.turns, failed)
    copied = copy_rate(device)
    rates = {name: Rates(matmul_rate(device, PRECISIONS[name]), copied) for name in arguments.precisions}
    results = {name: figures(timings, arguments.warm_up) for name, timings in turns.items()}
    together: dict[str, dict[int, float]] = {}
    for name, stylizer in contest.stylizers.items():
        title, together[name] = f"genartisan {name}", {}
        if title not in results:
            continue
        profile = partial(profile_of, stylizer, photo, config, rates[name])
        if facts := attempted(failed, f"{title}, profile", profile):
            rate = facts["gflop_a_step"] * 1e9 / results[title]["seconds_a_step"]
            results[title] |= facts | {"share_of_matmul_rate": round(rate / rates[name].flops, 3)}
        for count in arguments.together:
            of_count = partial(seconds_together, stylizer, photo, config, count)
            if seconds := attempted(failed, f"{title}, {count} photos", of_count):
                together[name][count] = seconds
    words = ["CHECKOUT" if word == str(arguments.clipstyler) else word for word in sys.argv[1:]]
    return {
        **provenance(command_of("benchmarks/engine.py", words), device, SEED),
        "torchvision": version("torchvision"),
        "matmul_tflops": {name: round(rate.flops / 1e12, 3) for name, rate in rates.items()},
        "copy_gbytes_a_second": round(copied / 1e9, 1),
        "settings": {"networks": contest.bundle.name if arguments.bundle else "official ones' shapes, random weights",
                     "seed": SEED, **config.model_dump(include={"size", "steps", "patches", "patch_size"}),
                     "busy_processes": arguments.busy,
                     **{name: os.environ.get(name) for name in (WAIT_POLICY, SPIN_COUNT, TUNABLES)},
                     **({"our environment": variables(os.environ)} if arguments.our_environment else {})},
        "contestants": results,
        "seconds_a_step_of_so_many_photos": together,
        "turns": turns,
        "failed": failed,
    }  # fmt: skip


def attempted(failed: dict[str, str], name: str, work: Callable[[], Result]) -> Result | None:
    """The result of ``work``; None after an error, which is noted under ``name``."""
    try:
        return work()
    except Exception as error:  # such as a compiler that is missing, or too little memory
        failed[name] = f"{type(error).__name__}: {error}"
        return None


def taken(contestants: dict[str, Turn], count: int, failed: dict[str, str]) -> dict[str, list[dict[str, Any]]]:
    """The timings of the turns of each contestant that does not fail, taken forwards and backwards."""
    timings: dict[str, list[dict[str, Any]]] = {name: [] for name in contestants}
    names = list(contestants)
    for name in tqdm([name for turn in range(count) for name in names[:: (1, -1)[turn % 2]]], unit="turn"):
        if name not in failed and (timing := attempted(failed, name, contestants[name])):
            timings[name].append(timing)
    return {name: turns for name, turns in timings.items() if name not in failed}


@contextmanager
def twins_of(contest: Contest, folder: Path, work: Path, arguments: argparse.Namespace) -> Iterator[dict[str, Turn]]:
    """The same contestants in a process with the environment of our programs."""
    apart = work / "apart"
    apart.mkdir()
    pool = ProcessPoolExecutor(1, get_context("spawn"), begin_twins, (folder, apart, arguments))
    with pool, patch.dict(os.environ):
        set_defaults(os.environ)
        yield {f"{name}, our environment": partial(twin_turn, pool, name) for name in contest.turns}


def begin_twins(folder: Path, work: Path, arguments: argparse.Namespace) -> None:
    """Makes the contestants of this process."""
    _twins.update(Contest(folder, work, arguments).turns)


def twin_turn(pool: ProcessPoolExecutor, name: str) -> dict[str, Any]:
    """A contestant's turn in the other process."""
    return pool.submit(own_turn, name).result()


def own_turn(name: str) -> dict[str, Any]:
    """A contestant's turn in this process."""
    return _twins[name]()


_twins = dict[str, Turn]()


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """So many processes that fill a core each, within the block."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


class Clock:
    """Records when steps begin or end, synchronised with the device."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.times = device, list[float]()
        self.began = self.now()

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def tick(self) -> None:
        """Records the beginning or end of a step."""
        self.times.append(self.now())

    def turn(self, totals: Sequence[float]) -> dict[str, Any]:
        """The timings of a run that ends now, with its total losses.

        The steps are those between two ticks: all but the first if ticks mark ends, all but the last otherwise.
        """
        seconds = self.now() - self.began
        each = [round(after - before, 5) for before, after in pairwise(self.times)]
        return {"seconds_of_each_step": each, "seconds": round(seconds, 4), "total_losses": list(totals)}


def run_ours(stylizer: Stylizer, photo: Path, config: StyleConfig) -> dict[str, Any]:
    """A run of genartisan, with a tick at the end of each step."""
    clock = Clock(stylizer.device)
    steps = stylizer.steps(photo, PROMPT, config=config, seed=SEED)
    for _ in steps:
        clock.tick()
    return clock.turn([entry["total"] for entry in steps.result().report["history"]])


def compiled(stylizer: Stylizer) -> Stylizer:
    """The stylizer with CLIP and VGG compiled, in their first step."""
    clip: Any = stylizer.bundle.clip
    clip.encode_image = torch.compile(clip.encode_image)
    stylizer.bundle.vgg.compile()
    return stylizer


def run_compiled(stylizer: Stylizer, photo: Path, config: StyleConfig) -> dict[str, Any]:
    """A run with a compiled StyleNet, too, which PyTorch compiles once for all runs."""
    with patch.object(StyleNet, "forward", torch.compile(StyleNet.forward)):
        return run_ours(stylizer, photo, config)


def seconds_together(stylizer: Stylizer, photo: Path, config: StyleConfig, count: int) -> float:
    """Median seconds of warm steps in which CLIP and VGG process ``count`` runs at once."""
    runs = [stylizer.steps(photo, PROMPT, config=config, seed=SEED + number).run for number in range(count)]
    clock = Clock(stylizer.device)
    for _ in range(min(config.steps, STEPS_TOGETHER)):
        step_together(runs)
        clock.tick()
    return round(statistics.median(after - before for before, after in pairwise(clock.times)), 5)


def run_theirs(
    checkout: Path,
    clip: TheirClip,
    vgg: nn.Module,
    photo: Path,
    config: StyleConfig,
    work: Path,
    device: torch.device,
) -> dict[str, Any]:
    """A run of CLIPstyler's program with genartisan's crops and homographies."""
    records = plan(config, (config.size, config.size), None, SEED).records
    with tempfile.TemporaryDirectory(dir=work) as folder, redirect_stdout(io.StringIO()):
        clock = Clock(device)
        names = run_script(
            checkout,
            clip,
            vgg,
            photo,
            PROMPT,
            Path(folder),
            device=device,
            size=config.size,
            patch_size=config.patch_size,
            records=records,
            stylenet=random_stylenet(SEED),
            on_step=clock.tick,
        )
        return clock.turn([float(loss) for loss in names["total_loss_epoch"]])


def figures(turns: list[dict[str, Any]], warm_up: int) -> dict[str, Any]:
    """Medians over the warm steps of all turns, and over the turns."""
    steps = [seconds for turn in turns for seconds in turn["seconds_of_each_step"][warm_up:]]
    return {
        "seconds_a_step": round(statistics.median(steps), 5),
        "fastest_step": round(min(steps), 5),
        "seconds_a_run": round(statistics.median(turn["seconds"] for turn in turns), 4),
        "seconds_of_first_run": turns[0]["seconds"],  # includes loading kernels, capturing and compiling
        "total_losses": turns[-1]["total_losses"],
    }


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a product of two large square matrices: the rate that the machine reaches in practice."""
    side = MATMUL if device.type == "cuda" else MATMUL // 2
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    clock, seconds = Clock(device), list[float]()
    while len(seconds) < 8 and sum(seconds) < 2:  # bf16 is very slow on a CPU without support
        began = clock.now()
        a @ b
        seconds.append(clock.now() - began)
    return 2 * side**3 / min(seconds)


def copy_rate(device: torch.device) -> float:
    """Bytes/s that a large copy reads and writes."""
    source = torch.ones(COPIED, dtype=torch.uint8, device=device)
    target, clock, seconds = torch.empty_like(source), Clock(device), list[float]()
    for _ in range(8):
        began = clock.now()
        target.copy_(source)
        seconds.append(clock.now() - began)
    return 2 * COPIED / min(seconds)


def profile_of(stylizer: Stylizer, photo: Path, config: StyleConfig, rates: Rates) -> dict[str, Any]:
    """The profile of a warm step, seconds of each phase, and the operations that PyTorch counts in a step.

    Those are of convolutions and matrix products, forward and backward.
    """
    run = stylizer.steps(photo, PROMPT, config=config.updated({"steps": PROFILED}), seed=SEED).run
    next(run)
    profile, seconds = profiled(partial(next, run), stylizer.device, rates), dict.fromkeys(PHASES, 0.0)
    run.close()
    for row in profile["kernels"]:
        seconds["backward" if row["phase"].endswith(", backward") else row["phase"]] += row["ms"] / 1000
    gflop = round(sum(row["gflop"] for row in profile["kernels"]), 2)
    phases = {phase: round(spent, 5) for phase, spent in seconds.items()}
    return {"profile": profile, "phases": phases, "gflop_a_step": gflop}


if __name__ == "__main__":
    main()
