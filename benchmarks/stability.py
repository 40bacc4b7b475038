"""Checks that many runs with random photos, sentences, sizes and seeds all end with finite losses and a picture.

    python benchmarks/stability.py --runs 1000 --device cuda --precision bf16
    python benchmarks/stability.py --runs 10 --preset fast
    python benchmarks/stability.py --set size=64 --set steps=20 --set patches=4 --set patch_size=32

The photos are synthetic: noise of every contrast and flat colours, including black and white, which are the hardest.
Writes a JSON file to benchmarks/results; the exit status is 1 if a run failed.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from genartisan.config import PRESETS, assignments, preset
from genartisan.evaluation.provenance import command_of, provenance
from genartisan.method.stylizer import Stylizer
from genartisan.networks.bundle import Bundle
from genartisan.networks.device import PRECISIONS

HERE = Path(__file__).resolve().parent
SIDES = (64, 96, 128, 192, 256)  # of a photo, in pixels
PROMPTS = (
    "The Starry Night by Vincent van Gogh", "a sketch with black pencil", "fire", "a purple watercolor", "neon light",
    "stained glass", "snow and ice", "golden",
)  # fmt: skip


def main() -> None:
    arguments = parse()
    stylizer = Stylizer(Bundle.load(arguments.bundle), arguments.device, arguments.precision, graphs=arguments.graphs)
    changes = assignments(arguments.settings)
    began, failed = time.perf_counter(), list[dict[str, Any]]()
    for seed in tqdm(range(arguments.runs), unit="run"):
        trouble = attempt(stylizer, arguments.preset, changes, seed)
        if trouble:
            failed.append({"seed": seed, "why": trouble})
    result = {
        **provenance(command_of("benchmarks/stability.py"), stylizer.device, 0),
        "precision": stylizer.precision,
        "runs": arguments.runs,
        "failed": failed,
        "seconds": round(time.perf_counter() - began, 1),
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"{arguments.runs - len(failed)} of {arguments.runs} runs ended well: {arguments.out}")
    sys.exit(bool(failed))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--preset", choices=[name for name in PRESETS if PRESETS[name].get("steps", 1)], default="fast")
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="NAME=VALUE", help="a setting, such as steps=20"
    )
    parser.add_argument("--bundle", default="embedded", help="embedded, official or a folder")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--precision", choices=("auto", *PRECISIONS), default="auto")
    parser.add_argument("--graphs", action="store_true", help="capture steps; on a GPU")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "stability.json")
    return parser.parse_args()


def attempt(stylizer: Stylizer, name: str, changes: dict[str, Any], seed: int) -> str:
    """The failure of a run, or ""."""
    rng = np.random.default_rng(seed)
    photo, mask = photo_of(rng)
    mode = ("artisan", "clipstyler")[seed % 2]
    try:
        config = preset(name, {**changes, "mode": mode})
        result = stylizer(photo, str(rng.choice(PROMPTS)), config=config, mask=mask, seed=seed)
    except Exception as error:  # whatever it is, the other runs go on
        return repr(error)
    bad = [entry for entry in result.report["history"] if not all(map(math.isfinite, entry.values()))]
    return f"losses of step {bad[0]['step']}: {bad[0]}" if bad else ""


def photo_of(rng: np.random.Generator) -> tuple[Image.Image, Image.Image]:
    """A photo, and a mask with a box for a person."""
    height, width = rng.choice(SIDES, 2)
    grain, contrast = int(rng.choice((1, 4, 16))), float(rng.choice((0, 0.01, 0.3, 1)))
    noise = rng.random((-(-height // grain), -(-width // grain), 3)).repeat(grain, 0).repeat(grain, 1)[:height, :width]
    colour = rng.choice((0.0, 0.5, 1.0), 3)
    pixels = np.clip(colour + contrast * (noise - 0.5), 0, 1)
    portrait = np.zeros((height, width), bool)
    top, left = rng.integers(0, height), rng.integers(0, width)
    portrait[top : top + height // 2, left : left + width // 2] = True
    return Image.fromarray((pixels * 255).astype(np.uint8)), Image.fromarray(portrait.astype(np.uint8) * 255)


if __name__ == "__main__":
    main()
