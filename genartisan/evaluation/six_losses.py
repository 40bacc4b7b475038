"""The six losses of the paper's comparison (§4.3.1) of any picture of a photo, by crops that are always the same."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from genartisan.config import StyleConfig
from genartisan.evaluation.comparison_subjects import Subject
from genartisan.method.engine import Run
from genartisan.method.losses import directional_distances, patch_loss
from genartisan.method.objective import LOSSES
from genartisan.method.perspective import warp
from genartisan.method.regions import PORTRAIT_LABEL
from genartisan.method.stylizer import Stylizer

MODES = ("clipstyler", "artisan")
CROPS_SEED = 20_220_723  # of the crops that pictures are measured by; no picture is made with them
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
    """Measures pictures of one photo for one prompt.

    The settings are the paper's, whatever the pictures were made with: 64 crops of 128 pixels, its thresholds; see
    StyleConfig's defaults. Content and total variation do not depend on the mode.

    Args:
        size: long side of the pictures, in pixels.

    Raises:
        InputError: the photo or the prompt is refused.
    """

    def __init__(self, stylizer: Stylizer, subject: Subject, prompt: str, size: int) -> None:
        self._runs = {mode: begun(stylizer, subject, prompt, size, mode) for mode in MODES}
        self.extractor = self._runs["artisan"].extractor
        self.photo = self._runs["artisan"].photo.pixels  # (3, H, W)
        regions = self._runs["artisan"].regions
        assert regions is not None  # in artisan mode there is always one
        self.portrait = regions.portrait  # (H, W)

    @torch.no_grad()
    def __call__(self, picture: Tensor) -> dict[str, float | None]:
        """The losses `SIX` of a picture, ``(3, H, W)``, without their weights; None where a photo has no such thing."""
        measured = {mode: self._mean(run, picture[None].to(run.device)) for mode, run in self._runs.items()}
        values: dict[str, float | None] = {name: measured[loss.mode][loss.term] for name, loss in SIX.items()}
        if not self._runs["artisan"].full.rows:
            values["semantic_direction"] = None  # of a photo of nothing but people
        return values

    @torch.no_grad()
    def shares(self, picture: Tensor) -> dict[str, float]:
        """What the crops on people, and those on the background, add to the semantic patch loss: `SHARES`."""
        run, told = self._runs["artisan"], dict.fromkeys(SHARES, 0.0)
        for number in range(SETS):
            batch = run.full.patches.at(number)
            crops = warp(picture[None].to(run.device), batch.boxes, batch.homographies, run.full.plan.side)
            distances = directional_distances(
                run.extractor.embed(run.extractor.crops(crops)), run.full.source, run.direction
            )
            on_people = (batch.regions == PORTRAIT_LABEL).float()  # (N,)
            for name, own in zip(SHARES, (on_people, 1 - on_people), strict=True):
                told[name] += float(patch_loss(distances, batch.weights * own, batch.thresholds)) / SETS
        return told

    def _mean(self, run: Run, picture: Tensor) -> dict[str, float]:
        sets = [run.objective.losses(picture, run.full, number) for number in range(SETS)]
        return dict(zip(LOSSES, torch.stack(sets).mean(dim=0).tolist(), strict=True))


def measuring(size: int, mode: str) -> StyleConfig:
    """The paper's settings at a size, with a step for each set of crops."""
    return StyleConfig(size=size, steps=SETS).updated({"mode": mode})


def begun(stylizer: Stylizer, subject: Subject, prompt: str, size: int, mode: str) -> Run:
    """A run that takes no step; it has the photo, its regions and the crops."""
    mask = subject.mask if mode == "artisan" else None
    return stylizer.steps(subject.photo, prompt, config=measuring(size, mode), mask=mask, seed=CROPS_SEED).run
