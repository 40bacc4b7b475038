"""What a caller says of regions: masks by their names, and texts in the prompt."""

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

MaskSource = PictureSource | Mapping[str, PictureSource] | None  # the people's, or any region's by its name
REGION_PIXELS = 4 * MAX_PIXELS  # of all regions of a photo: each may take 4 bytes a pixel


def named_masks(mask: MaskSource) -> dict[str, PictureSource]:
    """Masks by the names of their regions; one alone is the people's.

    Raises:
        InputError: a name is none, or a region has two masks.
    """
    return pictures_by_region(mask, PORTRAIT, check_mask_name, mask_field)


def pictures_by_region(
    source: PictureSource | Mapping[str, PictureSource] | None,
    alone: str,
    check_name: Callable[[object], str],
    field: Callable[[str], str],
) -> dict[str, PictureSource]:
    """Pictures by the names of their regions.

    Args:
        alone: the name of one that comes without.
        check_name: gives a name as it is used, or refuses it.
        field: of a request, by the region's name.

    Raises:
        InputError: a name is none, or a region has two pictures.
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


def apply_region_prompts(
    prompt: str | None, config: StyleConfig, masks: Collection[str]
) -> tuple[str | None, StyleConfig]:
    """The text for all regions without one of their own; and settings that have a region for each mask and text.

    People that the prompt gives a text are to be seen in it: of their share, weight, threshold and strength, those that
    are at their defaults become half of the patches and the background's weight, threshold and strength.

    Args:
        masks: names of the regions that masks came for.

    Raises:
        InputError: the prompt tells regions their texts, but not the background, or one that the settings tell, too.
    """
    # A form keeps the order of its fields, a gRPC map does not: so of the masks that only come with the photo, none.
    changes: dict[str, Any] = {name: {} for name in sorted(masks) if name not in (*config.regions.names, CLASSES)}
    texts = None if prompt is None else by_region(prompt, {*config.regions.names, *changes, *VOC_CLASSES[1:]})
    if texts is not None:
        twice = [name for name in texts if name in config.regions.names and config.regions[name].prompt is not None]
        if twice:
            raise InputError(
                f"prompt gives {twice[0]} a text, and so does regions.{twice[0]}.prompt; leave one out, or write \\: "
                "where a colon is meant.",
                "prompt",
            )
        prompt = texts.pop(BACKGROUND, "") or config.regions.background.prompt or ""
        if not prompt:
            raise InputError(
                "prompt has texts for regions, and none for the rest; add '; background: …', or write \\: where a "
                "colon is meant.",
                "prompt",
            )
        changes = merged(changes, {name: {"prompt": text} for name, text in texts.items()})
        if PORTRAIT in texts:
            changes = merged(changes, {PORTRAIT: to_be_seen(config)})
    return prompt, config.updated({"regions": changes}) if changes else config


def check_texts(prompt: str | None, config: StyleConfig) -> None:
    """Refuses texts that look like blends and are none.

    Raises:
        InputError: naming the field.
    """
    for field, text in {**({} if prompt is None else {"prompt": prompt}), **config.texts}.items():
        try:
            blend(text)
        except InputError as error:
            raise InputError(f"{field}: {error.message}" if field != "prompt" else error.message, field) from error


def to_be_seen(config: StyleConfig) -> dict[str, float]:
    """What becomes of the portrait's controls at their defaults, where people have a style of their own."""
    own, usual, background = config.regions.portrait, PortraitConfig(), config.regions.background
    if own.strength == PORTRAIT_STRENGTH:  # of the presets
        usual = usual.model_copy(update={"strength": PORTRAIT_STRENGTH})
    wanted = {
        "share": 0.5,
        "weight": background.weight,
        "threshold": background.threshold,
        "strength": background.strength,
    }
    return {name: value for name, value in wanted.items() if getattr(own, name) == getattr(usual, name)}


def read_masks(masks: Mapping[str, PictureSource], size: tuple[int, int], names: Sequence[str]) -> dict[str, Tensor]:
    """The planes of masks by name, each ``(H, W)``, in the order of ``names``: the later lies above.

    ``classes`` is a picture of VOC's labels.

    Raises:
        InputError: one cannot be read, or has another size.
        TooLargeError: the regions have more than `REGION_PIXELS` together.
    """
    width, height = size
    if len(names) * width * height > REGION_PIXELS:
        raise TooLargeError(
            f"regions are {len(names)}, and the photo has {width}x{height} pixels; together at most {REGION_PIXELS:,} "
            "are allowed. Send a smaller photo, or ask for fewer regions.",
            "photo",
        )
    return {
        name: (read_classes if name == CLASSES else read_mask)(masks[name], size, mask_field(name))
        for name in (CLASSES, *names)
        if name in masks
    }


def check_findable(names: Sequence[str], planes: Mapping[str, Tensor], fcn: nn.Module) -> None:
    """Refuses a region that neither a mask nor FCN can show.

    Raises:
        InputError: naming it.
    """
    for name in names[1:]:
        if name in planes:
            continue
        channel_of(name, VOC_CLASSES if CLASSES in planes else list(fcn.classes))  # type: ignore[arg-type]
