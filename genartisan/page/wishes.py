"""What the visitor asks for: the controls' values as a request, and back."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from genartisan.config import MAX_OUTPUT, StyleConfig, preset
from genartisan.errors import InputError
from genartisan.page.gallery import label_of
from genartisan.page.picture_settings import PictureSettings
from genartisan.validation import MAX_SEED, check_prompt, shown

MIN_SIZE = 64  # pixels
OPTIMISED = StyleConfig().size  # pixels: a larger picture is drawn by the network that was optimised at this size

Values = dict[str, Any]  # of controls, by name


@dataclass(frozen=True)
class Wish:
    """A request without its pictures."""

    prompt: str | None
    params: dict[str, Any]


def read_wish(values: Values, has_style_image: bool) -> Wish:
    """The request that the controls describe.

    Raises:
        InputError: one is out of range; names the field.
    """
    text = str(values["prompt"] or "")
    if not text.strip() and not has_style_image:
        raise InputError("Describe a style, pick one below, or drop a picture as the style.", "prompt")
    size = _whole(values["size"], "size", "The long side", MIN_SIZE, MAX_OUTPUT)
    params = {
        "preset": values["preset"],
        "seed": _whole(values["seed"], "seed", "The seed", 0, MAX_SEED),
        "size": min(size, OPTIMISED),
        **({"output_size": size} if size > OPTIMISED else {}),
        **({"keep_colors": True} if values["keep_colors"] else {}),
        **({"style_image_share": _share(values["style_share"])} if has_style_image and text.strip() else {}),
        "regions": {name: {"strength": _share(values[name])} for name in ("portrait", "background")},
    }
    preset(params["preset"])
    return Wish(check_prompt(text) if text.strip() else None, params)


def controls_of(settings: PictureSettings) -> Values:
    """The controls' values for a picture's settings."""
    config = preset(settings.params.get("preset", "fast"), {"regions": settings.params.get("regions", {})})
    size = settings.params.get("output_size") or settings.params.get("size") or OPTIMISED
    return {
        "prompt": settings.prompt or "",
        "gallery": label_of(settings.prompt),
        "preset": settings.params.get("preset", "fast"),
        "seed": str(settings.params.get("seed", 0)),
        "size": str(size),
        "keep_colors": settings.params.get("keep_colors", False),
        "style_share": settings.params.get("style_image_share", StyleConfig().style_image_share),
        "portrait": config.regions.portrait.strength,
        "background": config.regions.background.strength,
    }


def title_of(wish: Wish) -> str:
    """The picture's name in the history."""
    style = wish.prompt or "Style of a picture"
    return f"{style[:40]}{'…' if len(style) > 40 else ''}, seed {wish.params['seed']}"


def file_name(wish: Wish) -> str:
    """What the download is called."""
    words = re.sub(r"[^a-z0-9]+", "-", (wish.prompt or "picture").lower()).strip("-")[:40].strip("-")
    return f"{words or 'picture'}-{wish.params['preset']}-{wish.params['seed']}.png"


def _whole(value: object, field: str, name: str, low: int, high: int) -> int:
    text = str(value if value is not None else "").strip()
    if not re.fullmatch(r"[0-9]{1,19}", text) or not low <= int(text) <= high:
        raise InputError(f"{name} is {shown(text, 30)}; give a whole number from {low} to {high}.", field)
    return int(text)


def _share(value: object) -> float:
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InputError(f"The strength is {shown(value, 30)}; give a number from 0 to 1.", "strength")
    return float(value)
