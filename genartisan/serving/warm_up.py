"""Pictures that a worker makes for itself before it takes requests, so that no user waits for kernels to be loaded."""

from __future__ import annotations

from typing import Any

from PIL import Image

from genartisan.config import from_params
from genartisan.errors import GenartisanError
from genartisan.method.stylizer import Stylizer

SMALL = {"preset": "fast", "size": 64, "steps": 1, "coarse_share": 0.0, "patches": 2, "patch_size": 32}


def warm_up(stylizer: Stylizer, named: Any) -> None:
    """Makes one small picture from its draft on, and those that are named, each with people in it and without.

    Args:
        named: a server's setting ``warm_up``: a list of ``{width, height, params}``; nothing names none.

    Raises:
        ValueError: it is no such list, or names a picture that cannot be made.
    """
    named = named or []
    if not isinstance(named, list):
        raise ValueError(f"warm_up is {named!r}; it must be a list")
    for wanted in ({"width": 64, "height": 64, "params": SMALL}, *named):
        try:
            size = wanted["width"], wanted["height"]
            photo, people = Image.linear_gradient("L").resize(size).convert("RGB"), Image.new("L", size)
            config, seed = from_params(wanted.get("params", {}))
            people.paste(255, (0, 0, size[0] // 2, size[1]))
            for mask in (None, people):  # FCN looks at the first
                stylizer(photo, "Warm-up", config=config, mask=mask, seed=seed)
        except (GenartisanError, LookupError, TypeError, AttributeError, ValueError, RuntimeError) as error:
            raise ValueError(f"warm_up: {wanted}: {error!r}") from error
