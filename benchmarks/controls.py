"""What each control moves, and what it leaves alone: every one swept over its range, the others as they are.

    python benchmarks/controls.py --size 256
    python benchmarks/controls.py --size 256 --set lambda_pixel=0 --out benchmarks/results/controls_no_pixel.json

Photos with people, by their exact masks or FCN's. Change is the mean absolute difference from the photo, of colours
from 0 to 1, inside the portrait and outside. For strength, Spearman's rank correlation with the change of its own
region. The JSON, its plot and a sheet, a row a control, go to benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from portraits import SEED, Portrait, Studio, add_flags
from scipy.stats import spearmanr
from torch import Tensor

from genartisan.config import assignments
from genartisan.evaluation.jobs import Job
from genartisan.evaluation.provenance import command_of, provenance
from genartisan.io.contact_sheet import contact_sheet
from genartisan.io.images import to_image
from genartisan.validation import merged

HERE = Path(__file__).resolve().parent
TEXTS = ("The Starry Night by Vincent van Gogh", "Watercolor painting", "Fire")
SWEEPS: dict[str, tuple[float, ...]] = {
    "regions.portrait.share": (0.0, 0.1, 0.2, 0.4, 0.8),
    "regions.portrait.weight": (0.0, 0.15, 0.3, 0.6, 1.0),
    "regions.portrait.threshold": (0.6, 0.7, 0.8, 0.9, 1.0),
    "decision": (0.05, 0.2, 0.4, 0.7, 1.0),
    "regions.portrait.strength": (0.0, 0.25, 0.5, 0.75, 1.0),
    "regions.background.strength": (0.0, 0.25, 0.5, 0.75, 1.0),
}


class Point(NamedTuple):
    """A picture's change against the photo, 0-1."""

    value: float
    portrait: float
    background: float


def main() -> None:
    arguments = parse()
    studio = Studio(arguments)
    sweeps, sheet = list[dict[str, Any]](), list[list[tuple[str, Image.Image]]]()
    swept = [
        (portrait, text, control, jobs_of(studio, portrait, text, control))
        for portrait in studio.portraits()
        for text in TEXTS[: arguments.texts]
        for control in SWEEPS
    ]
    studio.make([job for *_, jobs in swept for job in jobs])
    for portrait, text, control, jobs in swept:
        pictures = [studio.picture(job).pixels for job in jobs]
        told = [changes(portrait.photo.pixels, picture, portrait.people) for picture in pictures]
        points = [Point(value, *change) for value, change in zip(SWEEPS[control], told, strict=True)]
        found = {"points": [point._asdict() for point in points], **correlations(control, points)}
        sweeps.append({"photo": portrait.subject.photo.name, "text": text, "control": control, **found})
        if len(sheet) < len(SWEEPS):  # the first photo's, in the first text
            captions = (f"{control.removeprefix('regions.')}\n{value:g}" for value in SWEEPS[control])
            sheet.append(list(zip(captions, map(to_image, pictures), strict=True)))
    result = {
        **provenance(command_of("benchmarks/controls.py"), studio.stylizer.device, SEED),
        "precision": studio.stylizer.precision,
        "bundle": studio.stylizer.bundle.name,
        "config": studio.config.model_dump(),
        "moved": {control: moved(sweeps, control) for control in SWEEPS},
        "sweeps": sweeps,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    draw(sweeps, arguments.out.with_suffix(".png"))
    contact_sheet(sheet, side=160).save(arguments.out.with_suffix(".jpg"), quality=88)
    print(json.dumps(result["moved"], indent=1))
    print(arguments.out)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_flags(parser, HERE / "results" / "controls.json")
    parser.add_argument("--texts", type=int, default=len(TEXTS), choices=range(1, len(TEXTS) + 1), metavar="N")
    return parser.parse_args()


def jobs_of(studio: Studio, portrait: Portrait, text: str, control: str) -> list[Job]:
    """The pictures of a sweep, one a value of its control; that of the settings as they are is in every sweep."""
    jobs, style = [], text.split()[-1].lower()
    for value in SWEEPS[control]:
        changed = studio.config.updated(assignments([f"{control}={value}"]))
        name = "as_is" if changed == studio.config else f"{control.replace('.', '_')}_{value:g}"
        jobs.append(studio.job(portrait, f"{name}_{style}", text, changed))
    return jobs


def changes(photo: Tensor, picture: Tensor, portrait: Tensor) -> tuple[float, float]:
    """Mean absolute difference inside the portrait and outside, 0-1; of ``(3, H, W)`` and a mask ``(H, W)``."""
    difference = (picture - photo).abs().mean(dim=0)  # (H, W)
    return float(difference[portrait].mean()), float(difference[~portrait].mean())


def correlations(control: str, points: Sequence[Point]) -> dict[str, float]:
    """Spearman's rank correlation of a strength with the change of its own region."""
    if not control.endswith("strength"):
        return {}
    own = [point.portrait if "portrait" in control else point.background for point in points]
    return {"rank_correlation": round(float(spearmanr([point.value for point in points], own).statistic), 4)}


def moved(sweeps: Sequence[Mapping[str, Any]], control: str) -> dict[str, Any]:
    """Medians over photos and texts: how far the change of either region goes over the sweep, least to most."""
    of = [sweep for sweep in sweeps if sweep["control"] == control]
    span = {
        region: round(statistics.median(_span([point[region] for point in sweep["points"]]) for sweep in of), 4)
        for region in ("portrait", "background")
    }
    found = [sweep["rank_correlation"] for sweep in of if "rank_correlation" in sweep]
    return merged(span, {"least_rank_correlation": min(found)} if found else {})


def _span(values: Sequence[float]) -> float:
    return max(values) - min(values)


def draw(sweeps: Sequence[Mapping[str, Any]], path: Path) -> None:
    """A panel a control: the change of portrait and background over its values, a line a photo and text."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(12, 7), layout="constrained", sharey=True)
    for axis, control in zip(axes.flat, SWEEPS, strict=True):
        for sweep in sweeps:
            if sweep["control"] == control:
                values = [point["value"] for point in sweep["points"]]
                for region, colour in (("portrait", "tab:red"), ("background", "tab:blue")):
                    axis.plot(values, [point[region] for point in sweep["points"]], color=colour, marker=".", alpha=0.8)
        axis.set(title=control, xlabel="value", ylabel="change")
    for region, colour in (("portrait", "tab:red"), ("background", "tab:blue")):
        axes[0, 0].plot([], [], color=colour, label=region)
    axes[0, 0].legend()
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    main()
