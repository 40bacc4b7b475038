"""What a run minimises: the weighted sum of the losses, and its gradient (eq 1, 23)."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.profiler import record_function

from genartisan.config import StyleConfig
from genartisan.method.directions import Directions
from genartisan.method.losses import (
    content_loss,
    directional_distances,
    draft_loss,
    patch_loss,
    pixel_loss,
    total_variation,
)
from genartisan.method.painters import Layers, composed
from genartisan.method.patches import PatchBatch, warp
from genartisan.method.targets import FeatureExtractor, Scale

LOSSES = ("total", "direction", "patch", "content", "tv", "pixel", "draft")
VIEWS_AT_ONCE = 24  # patches that CLIP sees at a time on a CPU, which gains nothing by more and needs memory for each


@dataclass
class Objective:
    """The losses of a picture, as the frozen networks see it.

    Args:
        directions: ΔT of each text, and the regions that follow it.
        layers: of the painter whose pictures these are.
        pixels: of the photo at its full size.

    Attributes:
        lambdas: the weights of the losses after the total, in the order of `LOSSES`, ``(6,)``.
        rows: ΔT of each text, ``(T, D)``, and
        rows_of: which of them each region follows, ``(R,)``, int64, on the device.
        layers_of: which layer each region is drawn on, ``(R,)``, int64.
        rejected: how many patches of each region have been rejected so far, ``(R,)``, int64.
    """

    config: StyleConfig
    extractor: FeatureExtractor
    directions: Directions
    layers: Layers
    pixels: int
    lambdas: Tensor = field(init=False)
    rows: Tensor = field(init=False)
    rows_of: Tensor = field(init=False)
    layers_of: Tensor = field(init=False)
    rejected: Tensor = field(init=False)

    def __post_init__(self) -> None:
        weights = [getattr(self.config, f"lambda_{name}") for name in LOSSES[1:]]
        self.rows = self.directions.rows
        self.rows_of = torch.tensor(self.directions.rows_of, device=self.device)
        self.layers_of = torch.tensor(self.layers.of_regions, device=self.device)
        self.lambdas = torch.tensor(weights, device=self.device)
        self.rejected = torch.zeros_like(self.rows_of)

    @property
    def device(self) -> torch.device:
        return self.rows.device

    @property
    def tensors(self) -> list[Tensor]:
        return [self.rows, self.rows_of, self.layers_of, self.lambdas, self.rejected]

    @property
    def shape(self) -> tuple[int, ...]:
        """What two objectives have to have in common for one step's code to do for both."""
        return (self.pixels, len(self.rows), len(self.layers), len(self.rows_of))

    def copied(self) -> Objective:
        """The same with tensors of its own."""
        other = copy.copy(self)
        other.rows, other.rows_of, other.layers_of, other.lambdas, other.rejected = (
            tensor.clone() for tensor in self.tensors
        )
        return other

    def losses_of(self, layers: Tensor, scale: Scale, step: int) -> Tensor:
        """The losses of a picture in the order of `LOSSES`, ``(7,)`` (eq 1, 23).

        Args:
            layers: of a painter, ``(L, 3, H, W)``: a patch is cut from its region's layer, and the other losses see
                all layers composed.
        """
        return torch.stack(list(self._parts(layers, scale, step))).sum(dim=0)

    def descend(self, layers: Tensor, scale: Scale, step: int) -> Tensor:
        """The losses of a step, ``(7,)``; their gradient is added to that of the network which ``layers`` come from.

        A part's gradient is taken before the next part is computed, so that the memory of one of them suffices.
        """
        seen = layers.detach().requires_grad_()
        losses = torch.zeros(len(LOSSES), device=self.device)
        for part in self._parts(seen, scale, step):
            with record_function("backward"):
                part[0].backward()  # type: ignore[no-untyped-call]
            losses += part.detach()
        with record_function("backward"):
            layers.backward(seen.grad)  # type: ignore[no-untyped-call]
        return losses

    def _parts(self, layers: Tensor, scale: Scale, step: int) -> Iterator[Tensor]:
        """Losses ``(7,)`` that add up to those of a step: one; or on a CPU several, of which each needs less memory."""
        batch, on_cpu = scale.patches.at(step), self.device.type == "cpu"
        count = len(batch.weights)
        groups = batch.split(VIEWS_AT_ONCE if on_cpu else count)
        terms = dict[str, Tensor]()
        for group in groups:
            views = self._views(layers, scale, group, with_whole=group is groups[-1])  # (n, 3, S, S), or (n + G, …)
            terms = self._of_clip(self._seen_by_clip(views), scale, group, count)
            if on_cpu:
                yield self._weighted(terms)
                terms = {}
        picture = composed(layers, scale.content)  # (1, 3, H, W)
        with record_function("vgg"):
            features = self.extractor.features(picture)
        yield self._weighted({**terms, **self._of_pixels(picture, features, scale)})

    def _seen_by_clip(self, views: Tensor) -> Tensor:
        """Embeddings ``(N, D)``."""
        with record_function("clip"):
            return self.extractor.embed(views)

    def _views(self, layers: Tensor, scale: Scale, patches: PatchBatch, with_whole: bool = False) -> Tensor:
        """Patches of the picture at CLIP's size, ``(N, 3, S, S)``; and after them what the global losses see of it.

        The latter, which makes it ``(N + G, 3, S, S)``, only ``with_whole``: the picture without its people (eq 20), or
        for each text what follows it.
        """
        with record_function("warp"):
            views = self.extractor.crops(self._cut(layers, patches, scale.plan.side))
            if not with_whole or not scale.rows:
                return views
            picture = composed(layers, scale.content)
            whole = self.extractor.whole(picture if scale.masks is None else picture * scale.masks)
            return torch.cat((views, whole))

    def _cut(self, layers: Tensor, patches: PatchBatch, side: int) -> Tensor:
        """The patches, ``(N, 3, side, side)``, each from the layer of its region.

        Cut from the composed picture, a patch on an edge would draw the other text's network towards its own text.
        """
        if len(layers) == 1:
            return warp(layers, patches.boxes, patches.homographies, side)
        apart = F.pad(layers, (0, 0, 0, 1))  # a black row below, which rounding may touch instead of the next layer
        tall = apart.transpose(0, 1).flatten(1, 2)[None]  # (1, 3, L * (H + 1), W)
        down = apart.shape[-2] * self.layers_of[patches.regions]  # (N,), pixels
        boxes = patches.boxes + torch.stack((torch.zeros_like(down), down), dim=-1)  # (N, 2)
        return warp(tall, boxes, patches.homographies, side)

    def _of_clip(self, embeddings: Tensor, scale: Scale, patches: PatchBatch, count: int) -> dict[str, Tensor]:
        """What some of a step's patches, of which there are ``count``, add to the patch loss; and the direction loss.

        Args:
            embeddings: of the patches, ``(N, D)``; and, if the direction loss is wanted, of what it sees of the picture
                after them, ``(N + G, D)``.
        """
        some = len(patches.weights)
        own = self.rows if len(self.rows) == 1 else self.rows[self.rows_of[patches.regions]]  # (1, D) or (n, D)
        distances = directional_distances(embeddings[:some], scale.source, own)  # (n,)
        self.rejected.scatter_add_(0, patches.regions, (distances.detach() <= patches.thresholds).long())
        terms = {"patch": patch_loss(distances, patches.weights, patches.thresholds) * (some / count)}
        if len(embeddings) > some:
            every = scale.rows == tuple(range(len(self.rows)))
            followed = self.rows if every else torch.stack([self.rows[row] for row in scale.rows])  # (G, D)
            whole = directional_distances(embeddings[some:], scale.global_source, followed)  # (G,)
            terms["direction"] = whole.sum()
        return terms

    def _of_pixels(self, picture: Tensor, features: list[Tensor], scale: Scale) -> dict[str, Tensor]:
        """The other losses, given VGG's maps of the picture."""
        terms = {
            "content": content_loss(features, scale.features),
            # A norm grows with the side: weighed so, differences of neighbours count the same at every scale.
            "tv": total_variation(picture) * math.sqrt(self.pixels / scale.pixels),
        }
        if scale.kept is not None:
            terms["pixel"] = pixel_loss(picture, scale.photo, scale.kept)
        if scale.draft_tones is not None:
            terms["draft"] = draft_loss(picture, scale.draft_tones)
        return terms

    def _weighted(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The total, weighted, before the terms without their weights, ``(7,)``; a term that is missing is 0."""
        nothing = self.lambdas.new_zeros(())
        each = torch.stack([terms.get(name, nothing) for name in LOSSES[1:]])  # (6,)
        return torch.cat((torch.dot(self.lambdas, each)[None], each))


def descend_together(jobs: Sequence[tuple[Objective, Tensor, Scale, int]]) -> list[Tensor]:
    """What `Objective.descend` does with each (objective, layers, scale, step), in one pass through CLIP and VGG.

    The losses are those of each alone but for rounding, and so are the gradients: no loss depends on two pictures.
    It takes the memory of all.
    """
    layers = [each.detach().requires_grad_() for _, each, _, _ in jobs]
    pictures = [composed(each, scale.content) for each, (_, _, scale, _) in zip(layers, jobs, strict=True)]
    batches = [scale.patches.at(step) for _, _, scale, step in jobs]
    views = [
        own._views(each, scale, batch, with_whole=True)
        for (own, _, scale, _), each, batch in zip(jobs, layers, batches, strict=True)
    ]
    extractor = jobs[0][0].extractor
    with record_function("clip"):
        embeddings = torch.split(extractor.embed(torch.cat(views)), [len(each) for each in views])
    with record_function("vgg"):
        features = features_together(extractor, pictures)
    losses = [
        own._weighted({**own._of_clip(seen, scale, batch, len(batch.weights)), **own._of_pixels(picture, maps, scale)})
        for (own, _, scale, _), picture, batch, seen, maps in zip(
            jobs, pictures, batches, embeddings, features, strict=True
        )
    ]
    with record_function("backward"):
        torch.stack(losses)[:, 0].sum().backward()  # type: ignore[no-untyped-call]
        torch.autograd.backward([each for _, each, _, _ in jobs], [each.grad for each in layers])
    return [each.detach() for each in losses]


def features_together(extractor: FeatureExtractor, pictures: Sequence[Tensor]) -> list[list[Tensor]]:
    """VGG's maps of each picture, ``(1, 3, H, W)``; those of the same size go through it at once."""
    found: dict[int, list[Tensor]] = {}
    for size in dict.fromkeys(picture.shape for picture in pictures):
        alike = [place for place, picture in enumerate(pictures) if picture.shape == size]
        maps = extractor.features(torch.cat([pictures[place] for place in alike]))
        found.update(zip(alike, map(list, zip(*(torch.split(each, 1) for each in maps), strict=True)), strict=True))
    return [found[place] for place in range(len(pictures))]
