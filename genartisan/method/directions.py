"""Where each region of a picture is to go in CLIP space: one text direction, or several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from genartisan.method.regions import BACKGROUND_LABEL, NAMES, RegionMap

LEAST = 1e-3  # of a picture's pixels: what has fewer is not seen when the picture is squeezed to CLIP's square


@dataclass(frozen=True)
class Directions:
    """The distinct text directions of a run, and whose each is.

    Attributes:
        rows: ΔT of each distinct text, ``(T, D)``.
        rows_of: for each region of the map, by position, which of them it follows.
        whole: for each region, whether the global loss of its text sees it. It sees the background, and every region
            with a text of its own; a region that only its controls tell from the background is masked out, as the
            paper does with people (eq 22).
    """

    rows: Tensor
    rows_of: tuple[int, ...]
    whole: tuple[bool, ...]

    @classmethod
    def of(cls, prompt: Tensor, own: Mapping[str, Tensor] | None = None, names: Sequence[str] = NAMES) -> Directions:
        """The directions of regions by name: their ``own``, each ``(D,)``, or else the prompt's, ``(D,)``."""
        own = own or {}
        rows, rows_of = list[Tensor](), list[int]()
        for name in names:
            wanted = own.get(name, prompt)
            known = [number for number, row in enumerate(rows) if row is wanted or torch.equal(row, wanted)]
            rows += [] if known else [wanted]
            rows_of.append(known[0] if known else len(rows) - 1)
        whole = tuple(label == BACKGROUND_LABEL or name in own for label, name in enumerate(names))
        return cls(torch.stack(rows), tuple(rows_of), whole)

    def __len__(self) -> int:
        return len(self.rows)

    def masks(self, regions: RegionMap | None) -> tuple[Tensor | None, tuple[int, ...]]:
        """What the global losses see: masks ``(G, 1, H, W)``, float32, and the row of each; None masks nothing.

        A text of which hardly a pixel is left has no global loss: two black pictures have no direction, only rounding
        errors, and two that are black but for a speck hardly more.
        """
        if regions is None:
            return None, (0,)
        masks, rows = [], []
        for row in range(len(self)):
            positions = [label for label, own in enumerate(self.rows_of) if own == row and self.whole[label]]
            mask = torch.isin(regions.labels, torch.tensor(positions, dtype=torch.uint8))  # (H, W)
            if int(mask.sum()) > LEAST * mask.numel():
                masks.append(mask)
                rows.append(row)
        if not masks or (len(masks) == 1 and bool(masks[0].all())):
            return None, tuple(rows)
        return torch.stack(masks)[:, None].float(), tuple(rows)
