"""The settings of ``genartisan train-start``, apart from the trainer so that `--help` need not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """Settings of a training."""

    bundle: str  # embedded, official or a folder
    photos: Path  # a folder of at least two; the more, the better
    out: Path  # for the new bundle, the checkpoint, the curve and the contact sheet
    texts: Path | None = None  # one sentence per line; None: generated ones
    steps: int = 1500  # of `BATCH` pairs each
    size: int = 128  # pixels: side of the photos' crops
    examine_every: int = 250  # steps
    seed: int = 0
    resume: bool = False  # from the checkpoint in ``out``
    device: str = "auto"
    precision: str = "auto"
