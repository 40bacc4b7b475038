"""What a comparison measures of a picture: the paper's six losses (§4.3.1), what is preserved, the judge's verdict.

All pictures are measured with the same crops, once: the measures are stored beside the picture.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.functional import adjust_contrast
from tqdm import tqdm

from genartisan.config import StyleConfig
from genartisan.evaluation.jobs import StylizerSpec
from genartisan.evaluation.judge import Judge
from genartisan.evaluation.pairs import MODES, Entry, Pair
from genartisan.evaluation.photos import Subject
from genartisan.evaluation.preservation import PRESERVATION, Distance, preservation
from genartisan.io.atomic import write_whole
from genartisan.io.files import sha256
from genartisan.io.images import read_photo
from genartisan.method.engine import Run
from genartisan.method.losses import directional_distances, patch_loss
from genartisan.method.objective import LOSSES
from genartisan.method.perspective import warp
from genartisan.method.regions import PORTRAIT_LABEL
from genartisan.method.stylizer import Stylizer

PARTS = ("portrait", "background")
SEPARATOR = " | "  # of the warnings in a row
Row = dict[str, Any]
CROPS_SEED = 20_220_723  # of the crops for measuring; no picture is made with them
SETS = 4  # of 64 crops each: of one set, every crop that passes the threshold is a jump


@dataclass(frozen=True)
class Loss:
    """One of the six.

    Attributes:
        mode, term: whose loss it is, and its name in `LOSSES`.
        about: what it sees, in words.
    """

    label: str
    mode: str
    term: str
    about: str


SIX = {
    "direction": Loss("global", "clipstyler", "direction", "the whole picture, people included (eq 2-4)"),
    "patch": Loss("PatchCLIP", "clipstyler", "patch", "crops from anywhere, τ 0.7 (eq 5-9)"),
    "content": Loss("content", "clipstyler", "content", "VGG's maps of the whole picture"),
    "tv": Loss("total variation", "clipstyler", "tv", "differences of neighbouring pixels, everywhere"),
    "semantic_direction": Loss("semantic global", "artisan", "direction", "people blacked out (eq 19-22)"),
    "semantic_patch": Loss("semantic patch", "artisan", "patch", "each region's share, weight and τ (eq 10-18)"),
}
SHARES = {
    "semantic_patch_people": "of the last, by crops on people",
    "semantic_patch_background": "of the last, by crops on the background",
}  # that add up to the semantic patch loss


class SixLosses:
    """The six losses of pictures of one photo for one prompt.

    They have the paper's settings, StyleConfig's defaults, whatever the pictures were made with: 64 crops of 128
    pixels, its thresholds. Content and total variation do not depend on the mode.

    Args:
        size: long side of the pictures, in pixels.

    Raises:
        InputError: the photo or the prompt is refused.
    """

    def __init__(self, stylizer: Stylizer, subject: Subject, prompt: str, size: int) -> None:
        self.runs = {mode: measuring_run(stylizer, subject, prompt, size, mode) for mode in MODES}
        self.extractor = self.runs["artisan"].extractor
        self.photo = self.runs["artisan"].photo.pixels  # (3, H, W)
        regions = self.runs["artisan"].regions
        assert regions is not None  # in artisan mode there is always one
        self.portrait = regions.portrait  # (H, W)

    @torch.no_grad()
    def __call__(self, picture: Tensor) -> dict[str, float | None]:
        """The losses `SIX` of a picture, ``(3, H, W)``, without their weights; None without background."""
        measured = {mode: self._mean(run, picture[None].to(run.device)) for mode, run in self.runs.items()}
        values: dict[str, float | None] = {name: measured[loss.mode][loss.term] for name, loss in SIX.items()}
        if not self.runs["artisan"].full.rows:
            values["semantic_direction"] = None  # the photo shows nothing but people
        return values

    @torch.no_grad()
    def shares(self, picture: Tensor) -> dict[str, float]:
        """What crops on people and crops on the background add to the semantic patch loss: `SHARES`."""
        run, shares = self.runs["artisan"], dict.fromkeys(SHARES, 0.0)
        for number in range(SETS):
            batch = run.full.patches.at(number)
            crops = warp(picture[None].to(run.device), batch.boxes, batch.homographies, run.full.plan.side)
            distances = directional_distances(
                run.extractor.embed(run.extractor.crops(crops)), run.full.source, run.direction
            )
            on_people = (batch.regions == PORTRAIT_LABEL).float()  # (N,)
            for name, chosen in zip(SHARES, (on_people, 1 - on_people), strict=True):
                shares[name] += float(patch_loss(distances, batch.weights * chosen, batch.thresholds)) / SETS
        return shares

    def _mean(self, run: Run, picture: Tensor) -> dict[str, float]:
        sets = [run.objective.losses(picture, run.full, number) for number in range(SETS)]
        return dict(zip(LOSSES, torch.stack(sets).mean(dim=0).tolist(), strict=True))


def measuring_config(size: int, mode: str) -> StyleConfig:
    """The paper's settings at a size, with a step for each set of crops."""
    return StyleConfig(size=size, steps=SETS).updated({"mode": mode})


def measuring_run(stylizer: Stylizer, subject: Subject, prompt: str, size: int, mode: str) -> Run:
    """A run that takes no step, with the photo, its regions and the crops."""
    mask = subject.mask if mode == "artisan" else None
    return stylizer.steps(subject.photo, prompt, config=measuring_config(size, mode), mask=mask, seed=CROPS_SEED).run


@dataclass
class Measures:
    """Measures pictures and stores the numbers.

    Args:
        spec, stylizer: the networks.
        judge: None for no verdicts.
        judge_hash: of its weights.
        distances: LPIPS and DISTS, where available.
        size: long side of the pictures, in pixels.
        contrast: of the pictures as they are shown to the judge.
    """

    spec: StylizerSpec
    stylizer: Stylizer
    judge: Judge | None
    judge_hash: str | None
    distances: dict[str, Distance]
    size: int
    contrast: float
    _pair: Pair | None = field(default=None, init=False)
    _losses: SixLosses | None = field(default=None, init=False)

    def rows(self, entries: Sequence[Entry], work: Path, resume: bool) -> list[Row]:
        """A row for each picture in the folder ``work``; with ``resume``, stored numbers are reused."""
        rows = []
        for entry in tqdm(entries, unit="picture", desc="measures"):
            file, source = work / f"{entry.job.name}.measures.json", self._source(entry, work)
            numbers = read_stored(file, source) if resume else None
            if numbers is None:
                numbers = self.of_picture(entry.pair, read_photo(entry.job.picture(work)).pixels)
                write_whole(file, json.dumps({"measured_from": source, "numbers": numbers}, indent=1) + "\n")
            rows.append({**facts_of(entry, work), **numbers})
        return rows

    def of_picture(self, pair: Pair, picture: Tensor) -> Row:
        """The numbers of a picture of ``pair``, ``(3, H, W)``, without its final contrast."""
        if self._losses is None or pair != self._pair:
            self._pair, self._losses = pair, SixLosses(self.stylizer, pair.subject, pair.prompt, self.size)
        losses = self._losses
        numbers: Row = {**losses(picture), **losses.shares(picture)}
        with_people = pair.subject.kind != "no people"
        for part, where in zip(PARTS, (losses.portrait, ~losses.portrait), strict=True):
            measured = preservation(losses.extractor, losses.photo, picture, where) if with_people else None
            numbers |= {f"{part}_{name}": None if measured is None else measured[name] for name in PRESERVATION}
        for name, distance in self.distances.items():
            pasted = losses.photo.where(~losses.portrait, picture)  # the picture's people in the photo
            visible = with_people and bool(losses.portrait.any())  # small people may vanish at this size
            numbers[f"portrait_{name}"] = distance(losses.photo, pasted) if visible else None
        return numbers | self._verdict(pair, picture, ~losses.portrait)

    def _verdict(self, pair: Pair, picture: Tensor, background: Tensor) -> Row:
        """The judge's verdict on the background of the final picture; empty without a judge or a background."""
        if self.judge is None or not bool(background.any()):
            return {}
        verdict = self.judge.verdict(pair.style, adjust_contrast(picture, self.contrast), background)
        return {
            "judge_place": verdict.place,
            "judge_probability": verdict.probability,
            "judge_taken_for": verdict.taken_for,
        }

    def _source(self, entry: Entry, work: Path) -> Row:
        """Everything that the numbers of a picture depend on."""
        return {
            "picture": sha256(entry.job.picture(work)),
            "photo": sha256(entry.pair.subject.photo),
            "mask": sha256(entry.pair.subject.mask),
            "style": entry.pair.style,
            "prompt": entry.pair.prompt,
            "bundle": self.spec.bundle_hash,
            "device": self.spec.device,
            "precision": self.spec.precision,
            "config": [measuring_config(self.size, mode).model_dump() for mode in MODES],
            "crops": [CROPS_SEED, SETS],
            "contrast": self.contrast,
            "judge": self.judge_hash,
            "numbers": [*SIX, *SHARES, *PRESERVATION, *self.distances],
        }


def read_stored(file: Path, source: Row) -> Row | None:
    """The numbers measured from ``source``, if the file has them."""
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    numbers: Row | None = stored["numbers"] if stored.get("measured_from") == source else None
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
        "mask": "exact" if subject.exact else "FCN",
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
