"""What each region of a photo got in a run, or would get in one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PIL import Image

from genartisan.method.engine import Run
from genartisan.method.patches import Records


@dataclass(frozen=True)
class Explanation:
    """What a request would do.

    Attributes:
        overlay: the photo at the picture's size, people tinted; RGB.
        facts: ready for JSON.
    """

    overlay: Image.Image
    facts: dict[str, Any]


def region_report(run: Run) -> list[dict[str, Any]]:
    """For each region: its pixels, the patches drawn from it, those rejected, and the controls it got."""
    rejected = run.objective.rejected.tolist()
    regions = _regions(run, run.patches(len(run.history)))
    return [{**region, "rejected": rejected[label]} for label, region in enumerate(regions)]


def region_plan(run: Run) -> list[dict[str, Any]]:
    """For each region: its pixels, the patches that all steps will draw from it, shares of both, and its controls."""
    drawn = run.patches(run.config.steps)
    width, height = run.photo.size
    return [
        {
            **region,
            "share_of_pixels": round(region["pixels"] / (width * height), 4),
            "share_of_patches": round(region["patches"] / max(1, drawn.size), 4),
        }
        for region in _regions(run, drawn)
    ]


def _regions(run: Run, drawn: Records) -> list[dict[str, Any]]:
    if run.regions is None:
        width, height = run.photo.size
        names, pixels = ["photo"], [width * height]
        controls: list[Any] = [{"weight": 1.0, "threshold": run.config.threshold}]
    else:
        names, pixels = list(run.regions.names), run.regions.pixels()
        controls = [
            run.config.regions[name].model_dump(include={"weight", "threshold", "strength", "prompt"}) for name in names
        ]
    return [
        {
            "name": name,
            "pixels": pixels[label],
            "patches": int((drawn["region"] == label).sum()),
            **controls[label],
        }
        for label, name in enumerate(names)
    ]
