"""A step of a run, as its caller sees it: progress is a value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from genartisan.method.objective import LOSSES


@dataclass(frozen=True)
class Step:
    """One step of a run.

    Attributes:
        index: from 1 to ``total``.
        total: steps of the run.
        seconds: since the run began.
        eta: estimated seconds until the last step ends.
    """

    index: int
    total: int
    seconds: float
    eta: float
    _losses: Tensor  # (7,), on the device: reading it waits for the device
    _picture: Tensor  # (1, 3, H, W); a coarse step's is smaller than the photo
    _postprocess: Callable[[Tensor], Image.Image]

    @property
    def losses(self) -> dict[str, float]:
        """The losses before this step's update: the weighted ``total``, and each term without its weight."""
        return dict(zip(LOSSES, self._losses.tolist(), strict=True))

    def preview(self) -> Image.Image:
        """The picture before this step's update, at the size of the photo."""
        return self._postprocess(self._picture)
