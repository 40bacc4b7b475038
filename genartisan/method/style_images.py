"""The pictures that a caller gives as styles: one for all regions, or any region's own by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genartisan.config import StyleConfig
from genartisan.errors import InputError
from genartisan.io.decode import PictureSource
from genartisan.io.images import Photo, read_photo, resized
from genartisan.method.region_inputs import pictures_by_region, to_be_seen
from genartisan.validation import CLASSES, PORTRAIT, region_by, shown

StyleImageSource = PictureSource | Mapping[str, PictureSource] | None
FIELD, ALL = "style_image", "all"  # the key of the picture for all regions that have no style of their own
LONGEST = 768  # pixels of a style picture's long side; the networks look at squares of 256 and less


def style_image_field(region: str) -> str:
    """The field of a request that is a region's style picture."""
    return FIELD if region == ALL else f"{FIELD}.{region}"


def check_style_image_name(name: object) -> str:
    """The region of a style picture by its name; a person is a portrait.

    Raises:
        InputError: no region can have that name.
    """
    region = region_by(name)
    if region is None or region == CLASSES:  # which is of masks only
        raise InputError(
            f"{FIELD}.{shown(name)} is of no region; name a style picture by up to 32 a-z, 0-9 and _, or {ALL}.",
            f"{FIELD}.{str(name)[:40]}",
        )
    return region


def named_style_images(style_image: StyleImageSource) -> dict[str, PictureSource]:
    """Style pictures by the names of their regions; one alone is for `ALL`.

    Raises:
        InputError: a name is none, or a region has two pictures.
    """
    return pictures_by_region(style_image, ALL, check_style_image_name, style_image_field)


def with_their_regions(config: StyleConfig, images: Mapping[str, Any]) -> StyleConfig:
    """Settings that have a region for each style picture; people who have one are to be seen in it."""
    new: dict[str, Any] = {name: {} for name in sorted(images) if name not in (*config.regions.names, ALL)}
    if PORTRAIT in images:
        new[PORTRAIT] = to_be_seen(config)
    return config.updated({"regions": new}) if new else config


def read_style_image(source: PictureSource, region: str) -> Photo:
    """A style picture, its long side at most `LONGEST` pixels.

    Raises:
        InputError: it cannot be read or is too large; the field is named.
    """
    picture = read_photo(source, style_image_field(region))
    return resized(picture, min(LONGEST, max(picture.size)))
