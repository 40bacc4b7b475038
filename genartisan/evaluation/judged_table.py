"""The judged table: how good a bundle's pictures are, a row for each preset, every style over every photo."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from genartisan.config import StyleConfig
from genartisan.errors import InputError
from genartisan.evaluation import figures
from genartisan.evaluation.jobs import Job, StylizerSpec
from genartisan.evaluation.judge import Judge
from genartisan.evaluation.judged_report import SIDE, blocks_of, placed, targets
from genartisan.evaluation.photos import PEOPLE_PHOTO, default_photos
from genartisan.evaluation.preservation import edge_share, preservation
from genartisan.evaluation.report import Target, write_report
from genartisan.evaluation.settings import JudgedRows, Settings, prompt_of
from genartisan.io.files import sha256
from genartisan.io.images import Photo, fitted, read_photo
from genartisan.method.regions import RegionMap
from genartisan.method.stylizer import Stylizer
from genartisan.method.targets import FeatureExtractor
from genartisan.networks.bundle import MANIFEST, read_manifest, resolve


class JudgedTable:
    """The study of `JudgedRows`.

    Raises:
        InputError: a photo cannot be read, or shows nothing but people.
    """

    def __init__(self, settings: Settings, study: JudgedRows, stylizer: Stylizer, judge: Judge) -> None:
        self.settings, self.study, self.stylizer, self.judge = settings, study, stylizer, judge
        self.references = {path: reference(path, stylizer) for path in settings.photos}
        if any(bool(each.regions.portrait.all()) for each in self.references.values()):
            raise InputError(
                "photos has one that shows nothing but people; the judge looks at backgrounds. Leave it out.", "photos"
            )

    @property
    def jobs(self) -> list[Job]:
        return [job for name in self.study.rows for job in jobs_of_row(self.settings, self.study, name)]

    def measure(self) -> dict[str, Any]:
        work, extractor = self.settings.work, FeatureExtractor(self.stylizer.bundle, self.stylizer.dtype)
        pictures, rows = list[dict[str, Any]](), {}
        for name, row in self.study.rows.items():
            jobs = jobs_of_row(self.settings, self.study, name)
            measured = [
                {"row": name, **measure(job, work, self.references[job.photo], self.judge, extractor)}
                for job in tqdm(jobs, unit="picture", desc=f"measures of {name}")
            ]
            rows[name] = summary(row.config, measured, [job.report(work) for job in jobs])
            pictures += measured
        about = self.judge.about.model_dump(include={"figures", "commit", "seed"})
        return {
            "bundle": bundle_facts(self.settings.spec, self.stylizer),
            "judge": {"classes": len(self.judge.classes), **about},
            "photos": [
                {"photo": path.name, "people": each.people, "called_person": round(each.called_person, 4)}
                for path, each in self.references.items()
            ],
            "prompts": {style: prompt_of(style) for style in self.study.styles},
            "configs": {name: row.config.model_dump() for name, row in self.study.rows.items()},
            "reductions": self.study.reductions(),
            "rows": rows,
            "pictures": pictures,
        }

    def targets(self, results: dict[str, Any]) -> list[Target]:
        return targets(results)

    def write(self, results: dict[str, Any]) -> None:
        """The Markdown file, its JSON and a sheet for each row, all named after it."""
        document = self.settings.document
        sheets = {}
        for name in self.study.rows:
            sheet = figures.file_of(document, f"{name}.jpg")
            pictures = [picture for picture in results["pictures"] if picture["row"] == name]
            files = [job.picture(self.settings.work) for job in jobs_of_row(self.settings, self.study, name)]
            figures.row_sheet(self.settings.photos, list(zip(pictures, files, strict=True)), sheet)
            sheets[name] = sheet
        write_report(document, blocks_of(results, sheets), results)


def jobs_of_row(settings: Settings, study: JudgedRows, name: str) -> list[Job]:
    """The pictures of a row: every style over every photo."""
    row = study.rows[name]
    stems = {photo: f"{name}_{photo.stem}_{sha256(photo)[:6]}" for photo in settings.photos}  # names may repeat
    return [
        Job(f"{stems[photo]}_{style.replace(' ', '_')}", photo, style, prompt_of(style), row.config, settings.seed)
        for style in row.styles
        for photo in settings.photos
    ]


@dataclass(frozen=True)
class Reference:
    """A photo that pictures are measured against.

    Attributes:
        photo: at its original size.
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


def reference(path: Path, stylizer: Stylizer) -> Reference:
    """A photo to measure pictures against; of the default photos it is known which one shows people."""
    photo = read_photo(path)
    return Reference(photo, stylizer.regions(photo), path.name == PEOPLE_PHOTO if path in default_photos() else None)


def at_size(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Pixels, ``(3, H, W)``, at (width, height) ``size``, by antialiased bicubic."""
    return F.interpolate(pixels[None], size=size[::-1], mode="bicubic", antialias=True)[0].clamp(0, 1)  # (3, h, w)


def measure(job: Job, work: Path, reference: Reference, judge: Judge, extractor: FeatureExtractor) -> dict[str, Any]:
    """All measures of one picture in the folder ``work``."""
    picture = read_photo(job.picture(work))
    verdict = judge.verdict(job.style, picture.pixels, ~reference.regions.resized(picture.size).portrait)
    return {
        "photo": job.photo.name,
        "style": job.style,
        **verdict._asdict(),
        **{name: round(value, 4) for name, value in reference.preserved(picture, extractor).items()},
        "seconds": round(job.report(work)["seconds"]["total"], 2),
    }


def summary(
    config: StyleConfig, pictures: Sequence[dict[str, Any]], reports: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """A row of the table: how its pictures were made and what was measured of them; None where nothing was."""

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


def bundle_facts(spec: StylizerSpec, stylizer: Stylizer) -> dict[str, Any]:
    """The bundle's name, hash and size, and what its training measured."""
    return {
        "name": stylizer.bundle.name,
        "sha256": spec.bundle_hash,
        "megabytes": round(megabytes(spec.bundle), 2),
        "figures": {role: network.figures for role, network in stylizer.bundle.manifest.networks.items()},
    }


def megabytes(bundle: str) -> float:
    """Size of a bundle's files, in units of 1 000 000 bytes."""
    folder = resolve(bundle)
    files = [MANIFEST, *(entry.file for entry in read_manifest(folder).networks.values())]
    return sum((folder / file).stat().st_size for file in files) / 1e6
