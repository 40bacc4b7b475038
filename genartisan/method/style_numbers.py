"""Style numbers of a sentence, a picture or both: from the bundle's style head, its predictor, or a search."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from genartisan.config import StyleConfig
from genartisan.io.files import SAMPLE
from genartisan.io.images import Photo, read_photo, resized
from genartisan.method.engine import Run
from genartisan.method.patches import plan
from genartisan.method.text import blend, nothing
from genartisan.networks.bundle import Bundle
from genartisan.networks.style_head import StyleHead

SEARCH = StyleConfig(
    mode="clipstyler", size=256, steps=30, start="draft", learning_rate=0.0, numbers_rate=0.03, halve_every=20,
    patches=12, patch_size=96, contrast=1.0,
)  # fmt: skip


@torch.no_grad()
def numbers_of_picture(bundle: Bundle, picture: Photo) -> Tensor:
    """A picture's style numbers, ``(100,)``."""
    device = next(bundle.predictor.parameters()).device
    numbers: Tensor = bundle.predictor(picture.pixels[None].to(device))  # (1, 100)
    return numbers[0]


@torch.no_grad()
def numbers_of_text(
    head: StyleHead, direction_of: Callable[[str], Tensor], prompt: str, negative_prompt: str | None
) -> Tensor:
    """The style numbers of a prompt, ``(100,)``.

    The numbers of a blend are the weighted mean of its texts'. Their component from the mean style towards
    ``negative_prompt`` is removed.

    Args:
        direction_of: the direction of a single text, ``(D,)``.
    """

    def numbers(text: str) -> Tensor:
        parts = blend(text)
        directions = torch.stack([direction_of(part.text) for part in parts])  # (P, D)
        weights = directions.new_tensor([part.weight for part in parts])
        return cast(Tensor, weights @ head(directions))  # (100,)

    positive = numbers(prompt)
    if negative_prompt is None:
        return positive
    mean = cast(Tensor, head.mean)
    negative = numbers(negative_prompt) - mean
    share = torch.dot(positive - mean, negative) / negative.square().sum().clamp_min(1e-12)
    return positive - share.clamp_min(0) * negative


def searched_numbers(
    bundle: Bundle, direction: Tensor, device: torch.device, dtype: torch.dtype, between: Callable[[], None] = nothing
) -> Tensor:
    """The style numbers of a text direction, ``(100,)``, searched under the bundle's losses (eq 1-9).

    Adam moves only the 100 numbers, starting from those of a sample photo, at a small size.

    Args:
        between: called after each step; what it raises ends the search.
    """
    photo = resized(read_photo(SAMPLE), SEARCH.size)  # the same for all searches, so that a prompt has one result
    start = numbers_of_picture(bundle, photo)
    run = Run(
        bundle=bundle, photo=photo, regions=None, direction=direction, plan=plan(SEARCH, photo.size, None, 0),
        config=SEARCH, seed=0, device=device, dtype=dtype, numbers=start, photo_numbers=start,
    )  # fmt: skip
    for _ in run:
        between()
    return run.painter.get_parameter("numbers")[0].detach()
