"""What an evaluation measures: of every picture, of a row of pictures, of the bundle and of the machine."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from genartisan.config import StyleConfig
from genartisan.evaluation.jobs import Job, Machine
from genartisan.evaluation.judge import Judge
from genartisan.evaluation.preservation import edge_share, preservation
from genartisan.io.images import Photo, fitted, read_photo
from genartisan.method.regions import RegionMap
from genartisan.method.stylizer import Stylizer
from genartisan.method.targets import FeatureExtractor
from genartisan.networks.bundle import MANIFEST, read_manifest, resolve

SIDE = 384  # pixels, the long side at which edges and people are compared, whatever the size of the picture


@dataclass(frozen=True)
class Reference:
    """A photo that pictures are measured against.

    Attributes:
        photo: at its own size.
        regions: where its people are, at that size.
        people: whether it shows any; None where only the regions tell.
    """

    photo: Photo
    regions: RegionMap
    people: bool | None = None

    @property
    def called_person(self) -> float:
        """The share of its pixels that the bundle calls a person."""
        return float(self.regions.portrait.float().mean())

    def preserved(self, picture: Photo, extractor: FeatureExtractor) -> dict[str, float]:
        """The edge share of a picture's background and, where there are people, how well they are preserved."""
        size = fitted(self.photo.size, SIDE)
        photo, stylised = (at_size(each.pixels, size) for each in (self.photo, picture))  # (3, h, w)
        portrait = self.regions.resized(size).portrait  # (h, w)
        measures = {"edge_share": edge_share(photo, stylised, ~portrait)}
        people = None if self.people is False else preservation(extractor, photo, stylised, portrait)
        if people is not None:
            measures |= {"portrait_vgg": people["vgg"], "portrait_ssim": people["ssim"]}
        return measures


def at_size(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Pixels, ``(3, H, W)``, at (width, height) ``size``, by antialiased bicubic."""
    return F.interpolate(pixels[None], size=size[::-1], mode="bicubic", antialias=True)[0].clamp(0, 1)  # (3, h, w)


def measure(job: Job, work: Path, reference: Reference, judge: Judge, extractor: FeatureExtractor) -> dict[str, Any]:
    """All that is measured of one picture, which lies in the folder ``work``."""
    picture = read_photo(job.picture(work))
    background = ~reference.regions.resized(picture.size).portrait
    preserved = {name: round(value, 4) for name, value in reference.preserved(picture, extractor).items()}
    seconds = job.report(work)["seconds"]["total"]
    return {**verdict(judge, job, picture.pixels, background), **preserved, "seconds": round(seconds, 2)}


def verdict(judge: Judge, job: Job, picture: Tensor, background: Tensor) -> dict[str, Any]:
    """What the judge takes a picture for, and the place of the right style, 1 being the first."""
    ranking = judge.ranking(picture, background)
    names = [name for name, _ in ranking]
    return {
        "photo": job.photo.name,
        "style": job.style,
        "place": names.index(job.style) + 1,
        "taken_for": names[0],
        "probability": round(dict(ranking)[job.style], 4),
    }


def summary(
    config: StyleConfig, pictures: Sequence[dict[str, Any]], reports: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """A row of the table: how its pictures were made, and what was measured of them all; None where nothing was."""

    def values(name: str) -> list[float]:
        return [picture[name] for picture in pictures if name in picture]

    def median(name: str) -> float | None:
        return round(statistics.median(values(name)), 4) if values(name) else None

    phases = dict.fromkeys(phase for report in reports for phase in report["seconds"])
    return {
        **config.model_dump(include={"size", "steps", "patches"}),
        "pictures": len(pictures),
        "styles": len({picture["style"] for picture in pictures}),
        "top1": placed(pictures, 1) / len(pictures),
        "top3": placed(pictures, 3) / len(pictures),
        "edge_share": median("edge_share"),
        "edge_share_p10": round(float(np.percentile(values("edge_share"), 10)), 4),
        "portrait_vgg": median("portrait_vgg"),
        "portrait_ssim": median("portrait_ssim"),
        "seconds": {
            phase: round(statistics.median(r["seconds"][phase] for r in reports if phase in r["seconds"]), 3)
            for phase in phases
        },
        "made_on": sorted(
            {f"{r['device']}, {r['precision']}, {r.get('hardware', {}).get('threads', '?')} threads" for r in reports}
        ),
    }


def placed(pictures: Sequence[dict[str, Any]], within: int) -> int:
    """How many pictures have the right style among the judge's first ones."""
    return sum(picture["place"] <= within for picture in pictures)


def bundle_facts(machine: Machine, stylizer: Stylizer) -> dict[str, Any]:
    """Which bundle it is, its size, and what its training measured."""
    return {
        "name": stylizer.bundle.name,
        "sha256": machine.bundle_hash,
        "megabytes": round(megabytes(machine.bundle), 2),
        "figures": {role: network.figures for role, network in stylizer.bundle.manifest.networks.items()},
    }


def megabytes(bundle: str) -> float:
    """Size of a bundle's files, in units of 1 000 000 bytes."""
    folder = resolve(bundle)
    files = [MANIFEST, *(entry.file for entry in read_manifest(folder).networks.values())]
    return sum((folder / file).stat().st_size for file in files) / 1e6
