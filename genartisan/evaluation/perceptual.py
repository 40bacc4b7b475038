"""LPIPS and DISTS by torchmetrics, where it is installed and the official weights are on this machine already."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

Distance = Callable[[Tensor, Tensor], float]  # of two pictures, RGB in [0, 1], (3, H, W)
LIBRARY, LATEST = "torchmetrics", "torchmetrics.image.dists"  # the second came with release 1.8
REMEDY = "get it with: pip install 'genartisan[measures]'"
NEEDED = {"lpips": "AlexNet_Weights", "dists": "VGG16_Weights"}  # torchvision's networks; the rest is in torchmetrics


def distances() -> tuple[dict[str, Distance], list[str]]:
    """The distances that can be had without a download, and of each other one, in a sentence, why not."""
    if importlib.util.find_spec(LIBRARY) is None:
        return {}, [f"LPIPS and DISTS were not measured: {LIBRARY} is not installed; {REMEDY}."]
    if importlib.util.find_spec(LATEST) is None:
        return {}, [f"LPIPS and DISTS were not measured: {LIBRARY} {version(LIBRARY)} has no DISTS; {REMEDY}."]
    makers = {"lpips": _lpips, "dists": _dists}
    missing = {name: file for name, file in weight_files().items() if not file.is_file()}
    reasons = [
        f"{name.upper()} was not measured: its network's official weights, {file.name}, are not in torch's folder of "
        "checkpoints."
        for name, file in missing.items()
    ]
    return {name: make() for name, make in makers.items() if name not in missing}, reasons


def weight_files() -> dict[str, Path]:
    """Where torchvision keeps the networks that the distances look through; they are only ever read here."""
    import torchvision.models

    folder = Path(torch.hub.get_dir()) / "checkpoints"
    return {name: folder / Path(getattr(torchvision.models, kind).DEFAULT.url).name for name, kind in NEEDED.items()}


def _lpips() -> Distance:
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    return _distance(LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True))


def _dists() -> Distance:
    from torchmetrics.image.dists import DeepImageStructureAndTextureSimilarity

    return _distance(DeepImageStructureAndTextureSimilarity())


def _distance(metric: Callable[[Tensor, Tensor], Tensor]) -> Distance:
    @torch.no_grad()
    def distance(one: Tensor, other: Tensor) -> float:
        return float(metric(one[None].cpu(), other[None].cpu()))

    return distance
