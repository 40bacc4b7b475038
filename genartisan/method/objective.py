"""The objective of a run: the weighted sum of the losses, and its gradient (eq 1, 23)."""

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
from genartisan.method.patches import PatchBatch
from genartisan.method.perspective import warp
from genartisan.method.targets import FeatureExtractor, ScaleTargets

LOSSES = ("total", "direction", "patch", "content", "tv", "pixel", "draft")
VIEWS_AT_ONCE = 24  # patches in a batch for CLIP on a CPU: larger ones cost memory and save no time


@dataclass
class Objective:
    """The losses of a picture, and their gradient.

    Args:
        directions: ΔT of each text, and the regions that follow it.
        layers: of the painter.
        pixels: of the photo at full size.

    Attributes:
        lambdas: weights of the losses after the total, in the order of `LOSSES`, ``(6,)``.
        rows: ΔT of each text, ``(T, D)``.
        rows_of: row of each region, by label, ``(R,)``, int64, on the device.
        layers_of: layer of each region, by label, ``(R,)``, int64.
        rejected: rejected patches of each region so far, ``(R,)``, int64.
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
    _rejected_last_step: int = field(default=0, init=False)  # counted on a CPU alone

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
        """Objectives of equal shape can share a captured step."""
        return (self.pixels, len(self.rows), len(self.layers), len(self.rows_of))

    def copied(self) -> Objective:
        """A copy with new tensors."""
        other = copy.copy(self)
        other.rows, other.rows_of, other.layers_of, other.lambdas, other.rejected = (
            tensor.clone() for tensor in self.tensors
        )
        return other

    def losses(self, layers: Tensor, targets: ScaleTargets, step: int) -> Tensor:
        """The losses of a picture in the order of `LOSSES`, ``(7,)`` (eq 1, 23).

        Args:
            layers: of a painter, ``(L, 3, H, W)``: a patch is cut from its region's layer; the other losses see all
                layers composed.
        """
        return torch.stack(list(self._parts(layers, targets, step))).sum(dim=0)

    def backward(self, layers: Tensor, targets: ScaleTargets, step: int) -> Tensor:
        """The losses of a step, ``(7,)``; adds their gradient to that of the painter's weights.

        The gradient of each part is computed before the next part, so that memory holds one part at a time.
        """
        leaf = layers.detach().requires_grad_()
        losses = torch.zeros(len(LOSSES), device=self.device)
        before = self._rejected_so_far()
        for part in self._parts(leaf, targets, step):
            with record_function("backward"):
                part[0].backward()  # type: ignore[no-untyped-call]
            losses += part.detach()
        self._rejected_last_step = self._rejected_so_far() - before
        with record_function("backward"):
            layers.backward(leaf.grad)  # type: ignore[no-untyped-call]
        return losses

    def _parts(self, layers: Tensor, targets: ScaleTargets, step: int) -> Iterator[Tensor]:
        """Losses ``(7,)`` that add up to those of a step: one part, or several on a CPU, to save memory."""
        patches, on_cpu = targets.patches.at(step), self.device.type == "cpu"
        count = len(patches.weights)
        if 2 * self._rejected_last_step > count:  # it takes less time to see all without a gradient first
            patches = self._kept(layers, targets, patches)
        groups = patches.split(VIEWS_AT_ONCE if on_cpu else count)
        terms = dict[str, Tensor]()
        for group in groups:
            if not (len(group.weights) or targets.rows):  # nothing was kept, and no text has a part of the picture
                continue
            views = self.cut(layers, targets, group, with_whole=group is groups[-1])  # (n, 3, S, S) or (n + G, 3, S, S)
            terms = self.directional_terms(self.embed(views), targets, group, count)
            if on_cpu:
                yield self.weighted(terms)
                terms = {}
        picture = composed(layers, targets.net_input)  # (1, 3, H, W)
        with record_function("vgg"):
            features = self.extractor.features(picture)
        yield self.weighted({**terms, **self.picture_terms(picture, features, targets)})

    def _rejected_so_far(self) -> int:
        """In all regions; 0 on other devices than a CPU, which would have to wait for it."""
        return int(self.rejected.numpy().sum()) if self.device.type == "cpu" else 0

    @torch.no_grad()
    def _kept(self, layers: Tensor, targets: ScaleTargets, patches: PatchBatch) -> PatchBatch:
        """The patches that are not rejected, for which alone a gradient is worth its time; counts the others."""
        groups = patches.split(VIEWS_AT_ONCE)
        kept = torch.cat([
            self._distances(self.embed(self.cut(layers, targets, group)), targets, group) > group.thresholds
            for group in groups
        ])  # fmt: skip
        self.rejected.scatter_add_(0, patches.regions, (~kept).long())
        # Embedded again in other batches, a distance may be rounded to its threshold.
        return PatchBatch(*(column[kept] for column in patches))._replace(
            thresholds=torch.full_like(patches.thresholds[kept], -1)
        )

    def cut(self, layers: Tensor, targets: ScaleTargets, patches: PatchBatch, with_whole: bool = False) -> Tensor:
        """Patches of the picture at CLIP's size, ``(N, 3, S, S)``.

        ``with_whole`` appends what the global losses see, ``(N + G, 3, S, S)``: the picture without its people (eq 20),
        or, for each text, the part of it that follows the text.
        """
        with record_function("warp"):
            views = self.extractor.crops(self._warped(layers, patches, targets.plan.side))
            if not with_whole or not targets.rows:
                return views
            picture = composed(layers, targets.net_input)
            whole = self.extractor.whole(picture if targets.masks is None else picture * targets.masks)
            return torch.cat((views, whole))

    def embed(self, views: Tensor) -> Tensor:
        """CLIP's embeddings, ``(N, D)``."""
        with record_function("clip"):
            return self.extractor.embed(views)

    def _warped(self, layers: Tensor, patches: PatchBatch, side: int) -> Tensor:
        """The patches, ``(N, 3, side, side)``, each from the layer of its region.

        A patch on an edge of the composed picture would train the other text's network, too.
        """
        if len(layers) == 1:
            return warp(layers, patches.boxes, patches.homographies, side)
        apart = F.pad(layers, (0, 0, 0, 1))  # a black row keeps rounding out of the next layer
        tall = apart.transpose(0, 1).flatten(1, 2)[None]  # (1, 3, L * (H + 1), W)
        down = apart.shape[-2] * self.layers_of[patches.regions]  # (N,), pixels
        boxes = patches.boxes + torch.stack((torch.zeros_like(down), down), dim=-1)  # (N, 2)
        return warp(tall, boxes, patches.homographies, side)

    def directional_terms(
        self, embeddings: Tensor, targets: ScaleTargets, patches: PatchBatch, count: int
    ) -> dict[str, Tensor]:
        """The patch loss of some of a step's ``count`` patches, and the direction loss.

        Args:
            embeddings: of the patches, ``(N, D)``, or, with the direction loss, ``(N + G, D)``; see `cut`.
        """
        some = len(patches.weights)
        distances = self._distances(embeddings[:some], targets, patches)
        self.rejected.scatter_add_(0, patches.regions, (distances.detach() <= patches.thresholds).long())
        terms = dict[str, Tensor]()
        if some:
            terms["patch"] = patch_loss(distances, patches.weights, patches.thresholds) * (some / count)
        if len(embeddings) > some:
            every = targets.rows == tuple(range(len(self.rows)))
            followed = self.rows if every else torch.stack([self.rows[row] for row in targets.rows])  # (G, D)
            whole = directional_distances(embeddings[some:], targets.global_source, followed)  # (G,)
            terms["direction"] = whole.sum()
        return terms

    def _distances(self, embeddings: Tensor, targets: ScaleTargets, patches: PatchBatch) -> Tensor:
        """The directional distance of each patch, ``(n,)``, given their embeddings, ``(n, D)``."""
        directions = self.rows if len(self.rows) == 1 else self.rows[self.rows_of[patches.regions]]  # (1, D) or (n, D)
        return directional_distances(embeddings, targets.source, directions)

    def picture_terms(self, picture: Tensor, features: list[Tensor], targets: ScaleTargets) -> dict[str, Tensor]:
        """The losses of the whole picture, ``(1, 3, H, W)``, given its VGG features."""
        terms = {
            "content": content_loss(features, targets.features),
            # Norms grow with the picture's side; this weights neighbours alike at every size.
            "tv": total_variation(picture) * math.sqrt(self.pixels / targets.pixels),
        }
        if targets.preserve_weight is not None:
            terms["pixel"] = pixel_loss(picture, targets.photo, targets.preserve_weight)
        if targets.draft_tones is not None:
            terms["draft"] = draft_loss(picture, targets.draft_tones)
        return terms

    def weighted(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The weighted total, then each term without its weight, ``(7,)``; a missing term is 0."""
        zero = self.lambdas.new_zeros(())
        each = torch.stack([terms.get(name, zero) for name in LOSSES[1:]])  # (6,)
        return torch.cat((torch.dot(self.lambdas, each)[None], each))


def backward_together(jobs: Sequence[tuple[Objective, Tensor, ScaleTargets, int]]) -> list[Tensor]:
    """`Objective.backward` for each (objective, layers, targets, step), with one pass through CLIP and VGG.

    Losses and gradients are those of each alone up to rounding. Memory holds all jobs.
    """
    leaves = [layers.detach().requires_grad_() for _, layers, _, _ in jobs]
    pictures = [composed(leaf, targets.net_input) for leaf, (_, _, targets, _) in zip(leaves, jobs, strict=True)]
    batches = [targets.patches.at(step) for _, _, targets, step in jobs]
    views = [
        objective.cut(leaf, targets, patches, with_whole=True)
        for (objective, _, targets, _), leaf, patches in zip(jobs, leaves, batches, strict=True)
    ]
    extractor = jobs[0][0].extractor
    with record_function("clip"):
        embeddings = torch.split(extractor.embed(torch.cat(views)), [len(each) for each in views])
    with record_function("vgg"):
        features = features_together(extractor, pictures)
    losses = [
        objective.weighted({
            **objective.directional_terms(embedded, targets, patches, len(patches.weights)),
            **objective.picture_terms(picture, maps, targets),
        })
        for (objective, _, targets, _), picture, patches, embedded, maps in zip(
            jobs, pictures, batches, embeddings, features, strict=True
        )
    ]  # fmt: skip
    with record_function("backward"):
        torch.stack(losses)[:, 0].sum().backward()  # type: ignore[no-untyped-call]
        torch.autograd.backward([layers for _, layers, _, _ in jobs], [leaf.grad for leaf in leaves])
    return [each.detach() for each in losses]


def features_together(extractor: FeatureExtractor, pictures: Sequence[Tensor]) -> list[list[Tensor]]:
    """VGG's maps of each picture, ``(1, 3, H, W)``; pictures of one size are one batch."""
    features: dict[int, list[Tensor]] = {}
    for size in dict.fromkeys(picture.shape for picture in pictures):
        places = [place for place, picture in enumerate(pictures) if picture.shape == size]
        maps = extractor.features(torch.cat([pictures[place] for place in places]))
        features.update(zip(places, map(list, zip(*(torch.split(each, 1) for each in maps), strict=True)), strict=True))
    return [features[place] for place in range(len(pictures))]
