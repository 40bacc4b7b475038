"""Person segmentation by MediaPipe's network, confirmed by CompactFcn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genartisan.networks.compact_fcn import CompactFcn
from genartisan.networks.selfie_segmentation import SelfieSegmentation, shrunk


class ConfirmedSegmentation(nn.Module):
    """Accepts or rejects each connected area of one network by the mean probability of another.

    MediaPipe's network is made for video calls: its outlines follow hair and shoulders closely, but it finds a person
    in nearly every picture, be it a cat or a cup. CompactFcn has rough outlines and different false positives.

    Args:
        witness: arguments of the confirming `CompactFcn`, whose classes are background and person.
        agreement: mean person probability of the witness from which an area is accepted, in [0, 1].
    """

    GRID = 64  # cells per side of the square on which areas are connected

    classes = SelfieSegmentation.classes
    image_size = SelfieSegmentation.image_size

    def __init__(self, *, witness: Mapping[str, Any], agreement: float) -> None:
        super().__init__()
        if not 0 <= agreement <= 1:
            raise ValueError(f"agreement is {agreement!r}, not in [0, 1]")
        self.outline = SelfieSegmentation()
        self.witness = CompactFcn(**witness)
        if self.witness.classes != self.classes:
            raise ValueError(f"witness.classes is {list(self.witness.classes)}, not {list(self.classes)}")
        self.agreement = agreement

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """``{"out": logits}``, ``(N, 2, h, w)``, of ImageNet-normalised ``images``, ``(N, 3, h, w)``.

        The background's logit is 0. Rejected areas have their positive logits negated.
        """
        person = self.outline.person_logits(images)  # (N, 1, 256, 256)
        areas = connected_areas(F.adaptive_max_pool2d(person.detach(), self.GRID) > 0)
        cover = F.adaptive_avg_pool2d((person > 0).float(), self.GRID)
        accepted = area_means(self._witnessed(images), cover, areas) >= self.agreement  # (N, 1, GRID, GRID)
        accepted = F.interpolate(accepted.to(person.dtype), person.shape[-2:], mode="nearest") > 0
        return self.outline.as_output(torch.where(accepted, person, -person.abs()), images)

    @torch.no_grad()
    def _witnessed(self, images: Tensor) -> Tensor:
        """The witness's person probability in each cell, ``(N, 1, GRID, GRID)``, float32."""
        scale = self.witness.image_size / min(images.shape[-2:])
        size = [max(32, round(side * scale)) for side in images.shape[-2:]]
        probability = self.witness(shrunk(images, size))["out"].float().softmax(dim=1)[:, 1:]  # (N, 1, h, w)
        return shrunk(probability, (self.GRID, self.GRID))


def connected_areas(mask: Tensor) -> Tensor:
    """Labels the 8-connected areas of ``mask``, ``(N, 1, h, w)``, bool.

    Each cell starts with its position as its label. A round takes the maximum of the neighbours, writes it to the cell
    that the old label points to, and reads it back from there (pointer jumping), so that the number of rounds grows
    with the logarithm of an area's extent.

    Returns:
        Labels up to h·w, unique per area and picture, 0 outside; ``(N, 1, h, w)``, int64.
    """
    height, width = mask.shape[-2:]
    inside = mask.flatten(1).long()  # (N, h·w)
    areas = inside * torch.arange(1, height * width + 1, device=mask.device)
    while True:
        before = areas
        for _ in range(4):  # several between two comparisons, which wait for the device
            around = F.max_pool2d(areas.view(mask.shape).float(), 3, stride=1, padding=1).flatten(1).long() * inside
            numbers = F.pad(areas, (1, 0)).scatter_reduce(1, areas, around, "amax")  # (N, 1 + h·w), 0 first
            areas = numbers.gather(1, torch.maximum(numbers[:, 1:], around))
        if torch.equal(areas, before):
            return areas.view(mask.shape)


def area_means(values: Tensor, weights: Tensor, areas: Tensor) -> Tensor:
    """The weighted mean of ``values`` over each cell's area, 0 outside; all ``(N, 1, h, w)``, float32."""
    index = areas.flatten(1)  # (N, h·w)
    sums = values.new_zeros(len(index), index.shape[1] + 1)  # (N, h·w + 1)
    weighed = sums.scatter_add(1, index, (values * weights).flatten(1))
    totals = sums.scatter_add(1, index, weights.flatten(1))
    means = (weighed / totals.clamp(min=1e-6)).gather(1, index).view_as(values)
    return means * (areas > 0)
