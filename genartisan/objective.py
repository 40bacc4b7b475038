"""What a run minimises: the weighted sum of the losses, and its gradient (eq 1, 23)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.profiler import record_function

from genartisan.config import StyleConfig
from genartisan.losses import content_loss, directional_distances, patch_loss, pixel_loss, total_variation
from genartisan.patches import PatchBatch, warp
from genartisan.regions import NAMES
from genartisan.scales import Eyes, Scale

LOSSES = ("total", "direction", "patch", "content", "tv", "pixel")
VIEWS_AT_ONCE = 24  # patches that CLIP sees at a time on a CPU, which gains nothing by more and needs memory for each


@dataclass
class Objective:
    """The losses of a picture, as the frozen networks see it.

    Args:
        direction: ΔT, ``(D,)``.
        pixels: of the photo at its full size.

    Attributes:
        lambdas: the weights of the losses after the total, in the order of `LOSSES`, ``(5,)``.
        rejected: how many patches of each of `NAMES` have been rejected so far, ``(2,)``, int64.
    """

    config: StyleConfig
    eyes: Eyes
    direction: Tensor
    pixels: int
    lambdas: Tensor = field(init=False)
    rejected: Tensor = field(init=False)

    def __post_init__(self) -> None:
        weights = [getattr(self.config, f"lambda_{name}") for name in LOSSES[1:]]
        self.lambdas = torch.tensor(weights, device=self.direction.device)
        self.rejected = torch.zeros(len(NAMES), dtype=torch.int64, device=self.direction.device)

    def losses_of(self, picture: Tensor, scale: Scale, step: int) -> Tensor:
        """The losses of ``picture``, ``(1, 3, H, W)``, in the order of `LOSSES`, ``(6,)`` (eq 1, 23)."""
        return torch.stack(list(self._parts(picture, scale, step))).sum(dim=0)

    def descend(self, picture: Tensor, scale: Scale, step: int) -> Tensor:
        """The losses of a step, ``(6,)``; their gradient is added to that of the network which ``picture`` comes from.

        A part's gradient is taken before the next part is computed, so that the memory of one of them suffices.
        """
        seen = picture.detach().requires_grad_()
        losses = torch.zeros(len(LOSSES), device=self.direction.device)
        for part in self._parts(seen, scale, step):
            with record_function("backward"):
                part[0].backward()  # type: ignore[no-untyped-call]
            losses += part.detach()
        with record_function("backward"):
            picture.backward(seen.grad)  # type: ignore[no-untyped-call]
        return losses

    def _parts(self, picture: Tensor, scale: Scale, step: int) -> Iterator[Tensor]:
        """Losses ``(6,)`` that add up to those of a step: one, or several where there are many views for a CPU."""
        batch = scale.patches.at(step)
        count = len(batch.weights)
        groups = batch.split(VIEWS_AT_ONCE if self.direction.device.type == "cpu" else count)
        for group in groups[:-1]:
            yield self._weighted(patch=self._of_patches(picture, scale, group, count)[0])
        patch, direction = self._of_patches(picture, scale, groups[-1], count, with_whole=True)
        of_clip = {"direction": direction, "patch": patch}
        if len(groups) > 1:
            yield self._weighted(**of_clip)
            of_clip = {}
        with record_function("vgg"):
            content = content_loss(self.eyes.features(picture), scale.features)
        # A norm grows with the side: weighed so, the differences of neighbours count the same at every scale.
        tv = total_variation(picture) * math.sqrt(self.pixels / scale.pixels)
        pixel = None if scale.kept is None else pixel_loss(picture, scale.photo, scale.kept)
        yield self._weighted(**of_clip, content=content, tv=tv, pixel=pixel)

    def _weighted(
        self,
        direction: Tensor | None = None,
        patch: Tensor | None = None,
        content: Tensor | None = None,
        tv: Tensor | None = None,
        pixel: Tensor | None = None,
    ) -> Tensor:
        """The total, weighted, before the terms without their weights, ``(6,)``; a term that is None is 0."""
        given = (direction, patch, content, tv, pixel)
        terms = torch.stack([self.lambdas.new_zeros(()) if term is None else term for term in given])  # (5,)
        return torch.cat((torch.dot(self.lambdas, terms)[None], terms))

    def _of_patches(
        self, picture: Tensor, scale: Scale, patches: PatchBatch, count: int, with_whole: bool = False
    ) -> tuple[Tensor, Tensor]:
        """What some of a step's patches, of which there are ``count``, add to the patch loss; and the direction loss.

        The latter, and CLIP's view of the whole picture, only ``with_whole``; else 0.
        """
        eyes, direction = self.eyes, torch.zeros((), device=self.direction.device)
        with record_function("warp"):
            views = eyes.crops(warp(picture, patches.boxes, patches.homographies, scale.plan.side))  # (n, 3, S, S)
        with record_function("clip"):
            if with_whole:
                view = picture if scale.background is None else picture * scale.background  # (1, 3, H, W), eq 20
                views = torch.cat((views, eyes.whole(view)))  # (n + 1, 3, S, S)
            embeddings = eyes.embed(views)  # (n or n + 1, D)
        some = len(patches.weights)
        distances = directional_distances(embeddings[:some], scale.source, self.direction)  # (n,)
        self.rejected.scatter_add_(0, patches.regions, (distances.detach() <= patches.thresholds).long())
        if with_whole and scale.sees_background:
            direction = directional_distances(embeddings[some:], scale.global_source, self.direction).mean()
        return patch_loss(distances, patches.weights, patches.thresholds) * (some / count), direction
