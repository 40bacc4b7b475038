"""What each control moves, and what it leaves alone: every one swept over its range, the others as they are.

    python benchmarks/controls.py --size 256

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
from scipy.stats import spearmanr
from torch import Tensor
from tqdm import tqdm

from genartisan.bundle import Bundle
from genartisan.config import StyleConfig, assignments, merged, preset
from genartisan.evaluate import default_photos
from genartisan.evaluation_measures import provenance
from genartisan.images import read_photo, resized
from genartisan.sheets import contact_sheet
from genartisan.stylizer import Stylizer

HERE = Path(__file__).resolve().parent
SEED = 0
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
    stylizer = Stylizer(Bundle.load(arguments.bundle), arguments.device, arguments.precision, styles={})
    config = preset(arguments.preset, {"size": arguments.size})
    photos = arguments.photos or [default_photos()[0]]
    sweeps, sheet = list[dict[str, Any]](), list[list[tuple[str, Image.Image]]]()
    total = len(photos) * arguments.texts * sum(map(len, SWEEPS.values()))
    with tqdm(total=total, unit="picture") as bar:
        for photo in photos:
            for text in TEXTS[: arguments.texts]:
                for control, values in SWEEPS.items():
                    points, pictures = swept(stylizer, photo, text, config, control, values, bar)
                    found = {"points": [point._asdict() for point in points], **correlations(control, points)}
                    sweeps.append({"photo": photo.name, "text": text, "control": control, **found})
                    if (photo, text) == (photos[0], TEXTS[0]):
                        sheet.append(list(zip((f"{control} {value:g}" for value in values), pictures, strict=True)))
    result = {
        **provenance("benchmarks/controls.py", stylizer, SEED),
        "config": config.model_dump(),
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
    parser.add_argument("--size", type=int, default=256, help="long side in pixels")
    parser.add_argument("--photos", nargs="+", type=Path, help="with people (default: the astronaut)")
    parser.add_argument("--texts", type=int, default=len(TEXTS), choices=range(1, len(TEXTS) + 1), metavar="N")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--bundle", default="embedded")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "controls.json")
    return parser.parse_args()


def swept(
    stylizer: Stylizer, photo: Path, text: str, config: StyleConfig, control: str, values: Sequence[float], bar: Any
) -> tuple[list[Point], list[Image.Image]]:
    """The change of a photo's picture at each value of one control, and the pictures."""
    small = resized(read_photo(photo), config.size)
    portrait = stylizer.regions(read_photo(photo)).resized(small.size).portrait
    points, pictures = [], []
    for value in values:
        bar.set_postfix_str(f"{photo.stem}, {text[:16]}, {control} {value:g}")
        changed = config.updated(assignments([f"{control}={value}"]))
        picture = stylizer(photo, text, config=changed, seed=SEED).image
        points.append(Point(value, *changes(small.pixels, read_photo(picture).pixels, portrait)))
        pictures.append(picture)
        bar.update()
    return points, pictures


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
