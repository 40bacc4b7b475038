"""Two regions with two texts: does a judge name each region's own style? And is there a seam where they meet?

    python benchmarks/two_texts.py --size 384

People and background of each photo get styles of their own: each style once, in pairs drawn by lot. The judge, which
had no part in making the pictures, looks at either region alone. A seam is told by the gradient's energy, the mean
square of the luminance's differences, within `BAND` pixels of the outline over that further away, against the same
ratio of the photo. The JSON and a sheet, two rows a photo, go to benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from portraits import SEED, Portrait, Studio, add_flags
from torch import Tensor

from genartisan.evaluation.evaluate import prompt_of
from genartisan.evaluation.judge import Judge
from genartisan.evaluation.provenance import command_of, provenance
from genartisan.io.contact_sheet import contact_sheet
from genartisan.io.images import to_image

HERE = Path(__file__).resolve().parent
BAND = 2  # pixels on either side of the outline


def main() -> None:
    arguments = parse()
    studio, judge = Studio(arguments), Judge.load(arguments.judge)
    pairs = pairs_of(judge.classes)[: arguments.pairs]
    portraits = studio.portraits()
    jobs = [
        (portrait, styles, studio.job(portrait, name_of(styles), prompt_for(styles), studio.config))
        for portrait in portraits
        for styles in pairs
    ]
    studio.make([job for _, _, job in jobs])
    rows, cells = list[dict[str, Any]](), []
    for portrait, styles, job in jobs:
        picture = studio.picture(job).pixels
        rows.append(measured(judge, portrait, styles, picture))
        cells.append(("\n".join(styles), to_image(picture)))
    result = {
        **provenance(command_of("benchmarks/two_texts.py"), studio.stylizer.device, SEED),
        "precision": studio.stylizer.precision,
        "bundle": studio.stylizer.bundle.name,
        "config": studio.config.model_dump(),
        "summary": summary(rows),
        "pictures": rows,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    columns = -(-len(pairs) // 2)
    sheet = [
        cells[first:last]
        for start in range(0, len(cells), len(pairs))
        for first, last in ((start, start + columns), (start + columns, start + len(pairs)))
        if first < last
    ]
    contact_sheet(sheet, side=192).save(arguments.out.with_suffix(".jpg"), quality=88)
    print(json.dumps(result["summary"], indent=1))
    print(arguments.out)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_flags(parser, HERE / "results" / "two_texts.json")
    parser.set_defaults(set=["feather=8"])  # a seam is that of the soft edges which one would ask for
    parser.add_argument("--pairs", type=int, default=13, help="of styles; 13 take every style once")
    parser.add_argument("--judge", type=Path, default=HERE.parent / "tests" / "judge")
    return parser.parse_args()


def pairs_of(classes: Sequence[str]) -> list[tuple[str, str]]:
    """Each style once, two by two, by lot."""
    styles = sorted(name for name in classes if name != "photo")
    random.Random(SEED).shuffle(styles)
    return list(zip(styles[::2], styles[1::2], strict=False))


def prompt_for(styles: tuple[str, str]) -> str:
    """The first style for the people, the second for the rest."""
    return f"person: {prompt_of(styles[0])}; background: {prompt_of(styles[1])}"


def name_of(styles: tuple[str, str]) -> str:
    return "_and_".join(style.replace(" ", "_") for style in styles)


def measured(judge: Judge, portrait: Portrait, styles: tuple[str, str], picture: Tensor) -> dict[str, Any]:
    """What the judge says of people and background of a picture, and how strong its seam is."""
    masks = portrait.people, ~portrait.people
    rankings = [[name for name, _ in judge.ranking(picture, mask)] for mask in masks]
    ratio = seam(picture, portrait.people) / seam(portrait.photo.pixels, portrait.people)
    return {
        "photo": portrait.subject.photo.name,
        "kind": portrait.subject.kind,
        "portrait": styles[0],
        "background": styles[1],
        "places": [names.index(style) + 1 for names, style in zip(rankings, styles, strict=True)],
        "taken_for": [names[0] for names in rankings],
        "seam_over_photo": round(ratio, 3),
    }


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
