"""The text directions of a run, and the regions that follow them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from genartisan.method.regions import BACKGROUND_LABEL, NAMES, RegionMap

MIN_SHARE = 1e-3  # of a picture's pixels: smaller regions vanish at CLIP's size


@dataclass(frozen=True)
class Directions:
    """The distinct text directions of a run.

    Attributes:
        rows: ΔT of each distinct text, ``(T, D)``.
        rows_of: row of each region, in the order of the region map's names.
        whole: for each region, whether the global loss of its text sees it: the background, and every region with a
            text of its own. Other regions are masked out, as the paper does with people (eq 22).
    """

    rows: Tensor
    rows_of: tuple[int, ...]
    whole: tuple[bool, ...]

    @classmethod
    def of(
        cls, prompt: Tensor, of_regions: Mapping[str, Tensor] | None = None, names: Sequence[str] = NAMES
    ) -> Directions:
        """Directions ``of_regions`` by name, each ``(D,)``; all other regions follow the prompt's, ``(D,)``."""
        of_regions = of_regions or {}
        rows, rows_of = list[Tensor](), list[int]()
        for name in names:
            direction = of_regions.get(name, prompt)
            same = [number for number, row in enumerate(rows) if row is direction or torch.equal(row, direction)]
            rows += [] if same else [direction]
            rows_of.append(same[0] if same else len(rows) - 1)
        whole = tuple(label == BACKGROUND_LABEL or name in of_regions for label, name in enumerate(names))
        return cls(torch.stack(rows), tuple(rows_of), whole)

    def __len__(self) -> int:
        return len(self.rows)

    def styles(self, prompt: Tensor, of_regions: Mapping[str, Tensor], names: Sequence[str]) -> Tensor:
        """Style numbers of each text, ``(T, 100)``: those ``of_regions`` by name, else the prompt's, ``(100,)``."""
        rows = [prompt] * len(self)
        for name, row in zip(names, self.rows_of, strict=True):
            rows[row] = of_regions.get(name, rows[row])
        return torch.stack(rows)

    def masks(self, regions: RegionMap | None) -> tuple[Tensor | None, tuple[int, ...]]:
        """Masks of the global losses, ``(G, 1, H, W)``, float32, or None without a mask; and the row of each.

        A text that applies to hardly any pixel has no global loss: two black pictures differ by rounding errors only.
        """
        if regions is None:
            return None, (0,)
        masks, rows = [], []
        for row in range(len(self)):
            labels = [label for label, followed in enumerate(self.rows_of) if followed == row and self.whole[label]]
            mask = torch.isin(regions.labels, torch.tensor(labels, dtype=torch.uint8))  # (H, W)
            if int(mask.sum()) > MIN_SHARE * mask.numel():
                masks.append(mask)
                rows.append(row)
        if not masks or (len(masks) == 1 and bool(masks[0].all())):
            return None, tuple(rows)
        return torch.stack(masks)[:, None].float(), tuple(rows)
