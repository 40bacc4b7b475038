"""The settings of ``genartisan train-start`` and the files that it writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from genartisan.errors import InputError
from genartisan.validation import check_seed

CHECKPOINT, RECIPE, CURVE = "style_head_checkpoint.pt", "training.json", "curve.json"
DRAFTS, CURVE_PLOT = "drafts.jpg", "curve.png"
WRITTEN = (CHECKPOINT, RECIPE, CURVE, DRAFTS, CURVE_PLOT, "bundle.json")  # in ``out``, beside the networks
BATCH = 4  # pairs of photo and sentence per step
SENTENCES = 1000  # generated if no file is given
MIN_SIZE, MAX_SIZE = 64, 512  # pixels

Curve = list[dict[str, float]]  # the step and the mean losses of held-out pairs


@dataclass(frozen=True)
class Settings:
    """The settings of a training."""

    bundle: str  # embedded, official or a folder
    photos: Path  # a folder of at least two
    out: Path  # for the new bundle, the checkpoint, the curve and the contact sheet
    texts: Path | None = None  # a file with a sentence per line; None: generated ones
    steps: int = 1500  # of `BATCH` pairs each
    size: int = 128  # pixels: side of the photos' crops
    examine_every: int = 250  # steps
    seed: int = 0
    resume: bool = False  # from the checkpoint in ``out``
    device: str = "auto"
    precision: str = "auto"

    def check(self) -> None:
        """Refuses settings out of range."""
        check_seed(self.seed)
        for name in ("steps", "examine_every"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; give at least 1.", name)
        if not MIN_SIZE <= self.size <= MAX_SIZE:
            raise InputError(f"size is {self.size}; give {MIN_SIZE} to {MAX_SIZE} pixels.", "size")
