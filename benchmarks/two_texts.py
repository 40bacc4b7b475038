"""Two regions with two texts: does a judge name each region's own style? And is there a seam where they meet?

    python benchmarks/two_texts.py --size 384

People and background of each photo get styles of their own; the judge, which had no part in making the pictures, looks
at either alone. A seam is told by the gradient's energy, the mean square of the luminance's differences, within
`BAND` pixels of the outline over that further away, against the same ratio of the photo. The JSON and a sheet go to
benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from genartisan.bundle import Bundle
from genartisan.config import preset
from genartisan.evaluate import default_photos, prompt_of
from genartisan.evaluation_measures import provenance
from genartisan.images import read_photo, resized
from genartisan.judge import Judge
from genartisan.sheets import contact_sheet
from genartisan.stylizer import Stylizer

HERE = Path(__file__).resolve().parent
SEED = 0
PAIRS = (
    ("sketch with black pencil", "the starry night by vincent van gogh"), ("watercolor painting", "fire"),
    ("stained glass", "watercolor painting"), ("fire", "sketch with black pencil"),
    ("the starry night by vincent van gogh", "stained glass"), ("neon light", "watercolor painting"),
    ("cubism", "neon light"), ("pop art", "fire"),
)  # fmt: skip
BAND = 2  # pixels on either side of the outline


def main() -> None:
    arguments = parse()
    stylizer = Stylizer(Bundle.load(arguments.bundle), arguments.device, arguments.precision, styles={})
    judge = Judge.load(arguments.judge)
    rows, sheet = list[dict[str, Any]](), list[list[tuple[str, Image.Image]]]()
    photos = arguments.photos or [default_photos()[0]]
    with tqdm(total=len(photos) * len(PAIRS), unit="picture") as bar:
        for photo in photos:
            for styles in PAIRS:
                row, picture = measured(stylizer, judge, photo, styles, arguments)
                rows.append(row)
                sheet.append([(f"{styles[0]}\n{styles[1]}", picture)])
                bar.update()
    result = {
        **provenance("benchmarks/two_texts.py", stylizer, SEED),
        "summary": summary(rows),
        "pictures": rows,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    four = [[cell for row in sheet[start : start + 4] for cell in row] for start in range(0, len(sheet), 4)]
    contact_sheet(four).save(arguments.out.with_suffix(".jpg"), quality=88)
    print(json.dumps(result["summary"], indent=1))
    print(arguments.out)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=384, help="long side in pixels")
    parser.add_argument("--photos", nargs="+", type=Path, help="with people (default: the astronaut)")
    parser.add_argument("--feather", type=float, default=8.0, help="pixels")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--judge", type=Path, default="tests/judge")
    parser.add_argument("--bundle", default="embedded")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "two_texts.json")
    return parser.parse_args()


def measured(
    stylizer: Stylizer, judge: Judge, photo: Path, styles: tuple[str, str], arguments: argparse.Namespace
) -> tuple[dict[str, Any], Image.Image]:
    """A picture whose people have the first style and whose background the second, and what is measured of it."""
    config = preset(arguments.preset, {"size": arguments.size, "feather": arguments.feather})
    small = resized(read_photo(photo), arguments.size)
    portrait = stylizer.regions(read_photo(photo)).resized(small.size).portrait
    prompt = f"person: {prompt_of(styles[0])}; background: {prompt_of(styles[1])}"
    picture = stylizer(photo, prompt, config=config, seed=SEED).image
    pixels = read_photo(picture).pixels
    places = [
        [name for name, _ in judge.ranking(pixels, mask)].index(style) + 1
        for style, mask in zip(styles, (portrait, ~portrait), strict=True)
    ]
    ratio = seam(pixels, portrait) / seam(small.pixels, portrait)
    row = {"photo": photo.name, "portrait": styles[0], "background": styles[1], "places": places}
    return {**row, "seam_over_photo": round(ratio, 3)}, picture


def seam(picture: Tensor, region: Tensor) -> float:
    """The gradient's energy on a region's outline over that away from it; ``(3, H, W)`` and a mask ``(H, W)``."""
    energy = gradient_energy(picture)  # (H, W)
    inner, outer = widened(region, BAND), widened(~region, BAND)
    band = inner & outer
    away = ~(widened(region, 4 * BAND) & widened(~region, 4 * BAND))
    return float(energy[band].mean() / energy[away].mean())


def gradient_energy(picture: Tensor) -> Tensor:
    """The squared length of the luminance's gradient at each pixel, ``(H, W)``."""
    grey = (picture * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(dim=0)  # (H, W)
    padded = F.pad(grey[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    across, down = padded[1:-1, 2:] - padded[1:-1, :-2], padded[2:, 1:-1] - padded[:-2, 1:-1]
    return (across.square() + down.square()) / 4


def widened(mask: Tensor, by: int) -> Tensor:
    """A mask, ``(H, W)``, with all that lies within ``by`` pixels of it."""
    return F.max_pool2d(mask[None, None].float(), 2 * by + 1, stride=1, padding=by)[0, 0] > 0


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """In what share of the pictures each region's style is named first, or both; and the median seam."""
    first = [[place == 1 for place in row["places"]] for row in rows]
    return {
        "pictures": len(rows),
        "portrait_named": round(statistics.mean(one for one, _ in first), 3),
        "background_named": round(statistics.mean(two for _, two in first), 3),
        "regions_named": round(statistics.mean(named for both in first for named in both), 3),
        "median_seam_over_photo": round(statistics.median(row["seam_over_photo"] for row in rows), 3),
        "largest_seam_over_photo": max(row["seam_over_photo"] for row in rows),
    }


if __name__ == "__main__":
    main()
