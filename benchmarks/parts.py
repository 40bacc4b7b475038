"""Seconds of a step's parts, forward and back, in the ways that were compared: ours, open_clip's, layouts in memory.

    python benchmarks/parts.py

Networks in the official ones' shapes with random weights, fp32, 256 px and 17 views as in a step of 16 patches. The
JSON goes to benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.benchmark import Timer

from genartisan.evaluation_measures import hardware
from genartisan.networks import OpenClip, Vgg19
from genartisan.stylenet import StyleNet

HERE = Path(__file__).resolve().parent
MODEL, VIEWS, SIDE = "ViT-B-32-quickgelu", 17, 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5, help="times that each is taken; the median counts")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "parts_cpu.json")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    seconds = {}
    for name, part in parts().items():
        timer = Timer("part()", globals={"part": part}, num_threads=torch.get_num_threads())
        timer.timeit(1)  # warms up
        seconds[name] = round(
            torch.tensor([timer.timeit(1).median for _ in range(arguments.repeat)]).median().item(), 4
        )
        print(f"{name:40} {seconds[name]:.3f} s", flush=True)
    result = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": shlex.join(["python", "benchmarks/parts.py", *sys.argv[1:]]),
        "hardware": hardware(torch.device("cpu")),
        "settings": {"model": MODEL, "views": VIEWS, "size": SIDE, "precision": "fp32", "repeat": arguments.repeat},
        "seconds": seconds,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def parts() -> dict[str, Callable[[], None]]:
    """What is timed, by name."""
    frozen, trainable = (OpenClip(model=MODEL).eval().requires_grad_(grads) for grads in (False, True))
    views, photo = torch.randn(VIEWS, 3, 224, 224), torch.rand(1, 3, SIDE, SIDE)
    found = {
        "CLIP, open_clip's code, trainable": partial(to_pixels, trainable.model.encode_image, views),
        "CLIP, open_clip's code, frozen": partial(to_pixels, frozen.model.encode_image, views),
        "CLIP, ours": partial(to_pixels, frozen.encode_image, views),
    }
    for layout, memory in (("channels first", torch.contiguous_format), ("channels last", torch.channels_last)):
        vgg = Vgg19().eval().requires_grad_(False).to(memory_format=memory)
        found[f"VGG-19, {layout}"] = partial(to_pixels, vgg, photo)
        found[f"StyleNet, {layout}"] = partial(
            to_pixels, StyleNet().to(memory_format=memory), photo.to(memory_format=memory)
        )
    return found


def to_pixels(network: Any, images: Tensor) -> None:
    """One pass forward, and one back to the images and to whatever weights ask for it."""
    outputs = network(images.clone().requires_grad_())
    sum(output.square().mean() for output in (outputs if isinstance(outputs, list) else [outputs])).backward()


if __name__ == "__main__":
    main()
