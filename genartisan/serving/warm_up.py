"""Warm-up: pictures that a worker makes before it accepts requests, so that no user waits for kernels to load."""

from __future__ import annotations

from typing import Any

from PIL import Image

from genartisan.config import from_params
from genartisan.errors import GenartisanError
from genartisan.method.stylizer import Stylizer

RUN = {"preset": "fast", "size": 64, "steps": 1, "coarse_share": 0.0, "patches": 2, "patch_size": 32}
SKETCH = {"preset": "draft", "size": 64}


def warm_up(stylizer: Stylizer, pictures: Any, *, drafts_only: bool = False) -> None:
    """Makes one small picture, and those of the server's settings, each with and without people.

    Args:
        pictures: the setting ``warm_up``, a list of ``{width, height, params}`` or None.
        drafts_only: leave out runs.

    Raises:
        ValueError: it is malformed, or a picture cannot be made.
    """
    pictures = pictures or []
    if not isinstance(pictures, list):
        raise ValueError(f"warm_up is {pictures!r}; it must be a list")
    for picture in ({"width": 64, "height": 64, "params": SKETCH if drafts_only else RUN}, *pictures):
        try:
            size = picture["width"], picture["height"]
            photo, people = Image.linear_gradient("L").resize(size).convert("RGB"), Image.new("L", size)
            config, seed = from_params(picture.get("params", {}))
            if drafts_only and config.steps:
                continue
            people.paste(255, (0, 0, size[0] // 2, size[1]))
            for mask in (None, people):  # without a mask, FCN runs
                stylizer(photo, "Warm-up", config=config, mask=mask, seed=seed)
        except (GenartisanError, LookupError, TypeError, AttributeError, ValueError, RuntimeError) as error:
            raise ValueError(f"warm_up: {picture}: {error!r}") from error
