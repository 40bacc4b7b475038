"""Style pictures: one for all regions, or one for each region by name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from genartisan.config import StyleConfig
from genartisan.errors import InputError
from genartisan.io.decode import PictureSource
from genartisan.io.images import Photo, read_photo, resized
from genartisan.method.region_inputs import pictures_by_region, portrait_controls
from genartisan.validation import CLASSES, PORTRAIT, region_by, shown

StyleImageSource = PictureSource | Mapping[str, PictureSource] | None
FIELD, ALL = "style_image", "all"  # key of the picture for all regions without a style of their own
MAX_SIDE = 768  # long side of a style picture, pixels; the networks see squares of 256 and less


def style_image_field(region: str) -> str:
    """A request's field for a region's style picture."""
    return FIELD if region == ALL else f"{FIELD}.{region}"


def check_style_image_name(name: object) -> str:
    """The region that a style picture names; ``person`` is portrait.

    Raises:
        InputError: the name is not valid for a region.
    """
    region = region_by(name)
    if region is None or region == CLASSES:  # for masks only
        raise InputError(
            f"{FIELD}.{shown(name)} names no region; use up to 32 of a-z, 0-9 and _, or {ALL}.",
            f"{FIELD}.{str(name)[:40]}",
        )
    return region


def named_style_images(style_image: StyleImageSource) -> dict[str, PictureSource]:
    """Style pictures by region; a single one is for `ALL`.

    Raises:
        InputError: a name is invalid, or a region has two pictures.
    """
    return pictures_by_region(style_image, ALL, check_style_image_name, style_image_field)


def with_their_regions(config: StyleConfig, images: Collection[str]) -> StyleConfig:
    """Settings with a region for each style picture; see `portrait_controls` for people with one."""
    new: dict[str, Any] = {name: {} for name in sorted(images) if name not in (*config.regions.names, ALL)}
    if PORTRAIT in images:
        new[PORTRAIT] = portrait_controls(config)
    return config.updated({"regions": new}) if new else config


def read_style_image(source: PictureSource, region: str) -> Photo:
    """A style picture, its long side at most `MAX_SIDE` pixels.

    Raises:
        InputError: it cannot be read or is too large; names the field.
    """
    picture = read_photo(source, style_image_field(region))
    return resized(picture, min(MAX_SIDE, max(picture.size)))
