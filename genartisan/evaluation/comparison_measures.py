"""What is measured of every picture of a comparison, once: the numbers are kept beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor
from torchvision.transforms.functional import adjust_contrast
from tqdm import tqdm

from genartisan.evaluation.comparison_jobs import Entry, Pair
from genartisan.evaluation.jobs import Machine
from genartisan.evaluation.judge import Judge
from genartisan.evaluation.perceptual import Distance
from genartisan.evaluation.preservation import PRESERVATION, preservation
from genartisan.evaluation.six_losses import CROPS_SEED, MODES, SETS, SHARES, SIX, SixLosses, measuring
from genartisan.io.atomic import write_whole
from genartisan.io.images import read_photo
from genartisan.method.stylizer import Stylizer
from genartisan.networks.bundle import sha256

PARTS = ("portrait", "background")
SEPARATOR = " | "  # of the warnings in a row
Row = dict[str, Any]


@dataclass
class Measures:
    """Measures pictures.

    Args:
        machine, stylizer: the networks, and what they are.
        judge: None: no verdicts.
        judge_hash: of its weights.
        distances: LPIPS and DISTS, where they can be had.
        size: long side of the pictures, in pixels.
        contrast: of the pictures as they are shown to the judge.
    """

    machine: Machine
    stylizer: Stylizer
    judge: Judge | None
    judge_hash: str | None
    distances: dict[str, Distance]
    size: int
    contrast: float
    _pair: Pair | None = field(default=None, init=False)
    _losses: SixLosses | None = field(default=None, init=False)

    def rows(self, entries: Sequence[Entry], work: Path, resume: bool) -> list[Row]:
        """A row for each picture in the folder ``work``; with ``resume``, numbers that are there already are kept."""
        rows = []
        for entry in tqdm(entries, unit="picture", desc="measures"):
            kept, source = work / f"{entry.job.name}.measures.json", self._source(entry, work)
            numbers = read_kept(kept, source) if resume else None
            if numbers is None:
                numbers = self.of_picture(entry.pair, read_photo(entry.job.picture(work)).pixels)
                write_whole(kept, json.dumps({"measured_from": source, "numbers": numbers}, indent=1) + "\n")
            rows.append({**facts_of(entry, work), **numbers})
        return rows

    def of_picture(self, pair: Pair, picture: Tensor) -> Row:
        """The numbers of a picture of ``pair``, ``(3, H, W)``, before its contrast is raised."""
        if self._losses is None or pair != self._pair:
            self._pair, self._losses = pair, SixLosses(self.stylizer, pair.subject, pair.prompt, self.size)
        losses = self._losses
        numbers: Row = {**losses(picture), **losses.shares(picture)}
        with_people = pair.subject.kind != "no people"
        for part, where in zip(PARTS, (losses.portrait, ~losses.portrait), strict=True):
            measured = preservation(losses.extractor, losses.photo, picture, where) if with_people else None
            numbers |= {f"{part}_{name}": None if measured is None else measured[name] for name in PRESERVATION}
        for name, distance in self.distances.items():
            laid = losses.photo.where(~losses.portrait, picture)  # the picture's people in the photo
            seen = with_people and bool(losses.portrait.any())  # a few people may be lost at this size
            numbers[f"portrait_{name}"] = distance(losses.photo, laid) if seen else None
        return numbers | self._verdict(pair, picture, ~losses.portrait)

    def _verdict(self, pair: Pair, picture: Tensor, background: Tensor) -> Row:
        """What the judge says of the background of the finished picture; nothing where there is no judge, or none."""
        if self.judge is None or not bool(background.any()):
            return {}
        ranking = self.judge.ranking(adjust_contrast(picture, self.contrast), background)
        names = [name for name, _ in ranking]
        return {
            "judge_place": names.index(pair.style) + 1,
            "judge_probability": round(dict(ranking)[pair.style], 4),
            "judge_taken_for": names[0],
        }

    def _source(self, entry: Entry, work: Path) -> Row:
        """All that the numbers of a picture depend on."""
        return {
            "picture": sha256(entry.job.picture(work)),
            "photo": sha256(entry.pair.subject.photo),
            "mask": sha256(entry.pair.subject.mask),
            "style": entry.pair.style,
            "prompt": entry.pair.prompt,
            "bundle": self.machine.bundle_hash,
            "device": self.machine.device,
            "precision": self.machine.precision,
            "config": [measuring(self.size, mode).model_dump() for mode in MODES],
            "crops": [CROPS_SEED, SETS],
            "contrast": self.contrast,
            "judge": self.judge_hash,
            "numbers": [*SIX, *SHARES, *PRESERVATION, *self.distances],
        }


def read_kept(file: Path, source: Row) -> Row | None:
    """The numbers that were measured from ``source``, if the file holds them."""
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    numbers: Row | None = kept["numbers"] if kept.get("measured_from") == source else None
    return numbers


def facts_of(entry: Entry, work: Path) -> Row:
    """What a picture is of."""
    subject, job, report = entry.pair.subject, entry.job, entry.job.report(work)
    return {
        "group": entry.group,
        "pair": entry.pair.name,
        "setting": entry.setting,
        "photo": subject.photo.name,
        "subject": subject.name,
        "kind": subject.kind,
        "mask": "true" if subject.true else "FCN",
        "people": round(subject.people, 4),
        "style": entry.pair.style,
        "prompt": entry.pair.prompt,
        "file": job.picture(Path()).name,
        "width": report["size"][0],
        "height": report["size"][1],
        "steps": report["steps"],
        "seed": job.seed,
        "seconds": report["seconds"]["total"],
        "warnings": SEPARATOR.join(report["warnings"]),
    }


def columns(rows: Sequence[Row]) -> list[str]:
    """The names of all that is known of any picture."""
    return list(dict.fromkeys(name for row in rows for name in row))
