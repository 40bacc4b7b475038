"""Regions in a request: masks by name, and texts in the prompt."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from genartisan.config import PORTRAIT_STRENGTH, PortraitConfig, StyleConfig
from genartisan.errors import InputError, TooLargeError
from genartisan.io.decode import MAX_PIXELS, PictureSource
from genartisan.io.images import read_classes, read_mask
from genartisan.method.regions import channel_of
from genartisan.method.text import blend, by_region
from genartisan.networks.factory import VOC_CLASSES
from genartisan.validation import BACKGROUND, CLASSES, PORTRAIT, check_mask_name, mask_field, merged

MaskSource = PictureSource | Mapping[str, PictureSource] | None  # people's, or by region
REGION_PIXELS = 4 * MAX_PIXELS  # of all regions together: each takes up to 4 bytes a pixel


def named_masks(mask: MaskSource) -> dict[str, PictureSource]:
    """Masks by region; a single one is for people.

    Raises:
        InputError: a name is invalid, or a region has two masks.
    """
    return pictures_by_region(mask, PORTRAIT, check_mask_name, mask_field)


def pictures_by_region(
    source: PictureSource | Mapping[str, PictureSource] | None,
    alone: str,
    check_name: Callable[[object], str],
    field: Callable[[str], str],
) -> dict[str, PictureSource]:
    """Pictures by region.

    Args:
        alone: the region of a single picture.
        check_name: normalises a name, or raises.
        field: of a request, for a region.

    Raises:
        InputError: a name is invalid, or a region has two pictures.
    """
    if source is None:
        return {}
    if not isinstance(source, Mapping):
        return {alone: source}
    pictures = dict[str, PictureSource]()
    for given, picture in source.items():
        name = check_name(given)
        if name in pictures:
            raise InputError(f"{field(name)} is given twice; give it once.", field(name))
        pictures[name] = picture
    return pictures


def nameable(config: StyleConfig, masks: Collection[str] = ()) -> set[str]:
    """The regions that a prompt may name: those of the settings, those with masks, and FCN's classes."""
    return {*config.regions.names, *masks, *VOC_CLASSES[1:]}


def apply_region_prompts(
    prompt: str | None, config: StyleConfig, masks: Collection[str]
) -> tuple[str | None, StyleConfig]:
    """The text for all regions without one of their own, and settings with a region for each mask and text.

    If the prompt has a text for people, their controls change; see `portrait_controls`.

    Args:
        masks: names of the regions with masks.

    Raises:
        InputError: the prompt has texts for regions but not for the background, or one that the settings have, too.
    """
    # Sorted, because a gRPC map has no order.
    changes: dict[str, Any] = {name: {} for name in sorted(masks) if name not in (*config.regions.names, CLASSES)}
    texts = None if prompt is None else by_region(prompt, nameable(config, changes))
    if texts is not None:
        twice = [name for name in texts if name in config.regions.names and config.regions[name].prompt is not None]
        if twice:
            raise InputError(
                f"prompt gives {twice[0]} a text, and so does regions.{twice[0]}.prompt; leave one out, or write \\: "
                "for a literal colon.",
                "prompt",
            )
        prompt = texts.pop(BACKGROUND, "") or config.regions.background.prompt or ""
        if not prompt:
            raise InputError(
                "prompt has texts for regions but none for the rest; add '; background: …', or write \\: for a literal "
                "colon.",
                "prompt",
            )
        changes = merged(changes, {name: {"prompt": text} for name, text in texts.items()})
        if PORTRAIT in texts:
            changes = merged(changes, {PORTRAIT: portrait_controls(config)})
    return prompt, config.updated({"regions": changes}) if changes else config


def check_texts(prompt: str | None, config: StyleConfig) -> None:
    """Checks that texts which look like blends are valid.

    Raises:
        InputError: one is not; names the field.
    """
    for field, text in {**({} if prompt is None else {"prompt": prompt}), **config.texts}.items():
        try:
            blend(text)
        except InputError as error:
            raise InputError(f"{field}: {error.message}" if field != "prompt" else error.message, field) from error


def portrait_controls(config: StyleConfig) -> dict[str, float]:
    """New values for the portrait's controls at their defaults, if people have a style of their own.

    They get half of the patches, and the background's weight, threshold and strength, so that the style shows.
    """
    portrait, defaults, background = config.regions.portrait, PortraitConfig(), config.regions.background
    if portrait.strength == PORTRAIT_STRENGTH:  # of the presets
        defaults = defaults.model_copy(update={"strength": PORTRAIT_STRENGTH})
    values = {
        "share": 0.5,
        "weight": background.weight,
        "threshold": background.threshold,
        "strength": background.strength,
    }
    return {name: value for name, value in values.items() if getattr(portrait, name) == getattr(defaults, name)}


def read_masks(masks: Mapping[str, PictureSource], size: tuple[int, int], names: Sequence[str]) -> dict[str, Tensor]:
    """Planes of masks by region, each ``(H, W)``, in the order of ``names``: later ones cover earlier ones.

    ``classes`` is a picture of VOC labels.

    Raises:
        InputError: a mask cannot be read, or has another size.
        TooLargeError: the regions have more than `REGION_PIXELS` together.
    """
    width, height = size
    if len(names) * width * height > REGION_PIXELS:
        raise TooLargeError(
            f"{len(names)} regions of {width}x{height} pixels are more than {REGION_PIXELS:,} pixels together; send a "
            "smaller photo, or ask for fewer regions.",
            "photo",
        )
    return {
        name: (read_classes if name == CLASSES else read_mask)(masks[name], size, mask_field(name))
        for name in (CLASSES, *names)
        if name in masks
    }


def check_findable(names: Sequence[str], planes: Collection[str], fcn: nn.Module) -> None:
    """Checks that each region has a mask or is a class of FCN.

    Raises:
        InputError: one has neither.
    """
    for name in names[1:]:
        if name in planes:
            continue
        channel_of(name, VOC_CLASSES if CLASSES in planes else list(fcn.classes))  # type: ignore[arg-type]
