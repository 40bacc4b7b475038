"""Reports on regions: pixels, patches and controls of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PIL import Image

from genartisan.method.engine import Run
from genartisan.method.patches import Records


@dataclass(frozen=True)
class Explanation:
    """The plan of a request.

    Attributes:
        overlay: the photo at the picture's size, with tinted regions; RGB.
        facts: ready for JSON.
        classes: the regions at the photo's own size as VOC labels, 8-bit grey, which the mask ``classes`` reads; None
            without regions, or if one of them is no VOC class.
    """

    overlay: Image.Image
    facts: dict[str, Any]
    classes: Image.Image | None = None


def region_report(run: Run) -> list[dict[str, Any]]:
    """Pixels, patches, rejected patches and controls of each region."""
    rejected = run.objective.rejected.tolist()
    regions = _regions(run, run.patches(len(run.history)))
    return [{**region, "rejected": rejected[label]} for label, region in enumerate(regions)]


def region_plan(run: Run) -> list[dict[str, Any]]:
    """Pixels, patches in all steps, shares of both, and controls of each region."""
    patches = run.patches(run.config.steps)
    width, height = run.photo.size
    return [
        {
            **region,
            "share_of_pixels": round(region["pixels"] / (width * height), 4),
            "share_of_patches": round(region["patches"] / max(1, patches.size), 4),
        }
        for region in _regions(run, patches)
    ]


def _regions(run: Run, patches: Records) -> list[dict[str, Any]]:
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
            "patches": int((patches["region"] == label).sum()),
            **controls[label],
        }
        for label, name in enumerate(names)
    ]
