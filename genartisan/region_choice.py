"""What a caller says of regions: masks by their names, and texts in the prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from genartisan.config import BACKGROUND, CLASSES, PERSON, PORTRAIT, PortraitConfig, StyleConfig, merged, shown
from genartisan.errors import InputError, TooLargeError
from genartisan.images import MAX_PIXELS, PictureSource, read_classes, read_mask
from genartisan.networks import VOC_CLASSES
from genartisan.regions import channel_of
from genartisan.text import by_region

MaskSource = PictureSource | Mapping[str, PictureSource] | None  # the people's, or any region's by its name
MASK_PIXELS = 4 * MAX_PIXELS  # of all masks of a photo: each may take 4 bytes a pixel


def named_masks(mask: MaskSource) -> dict[str, PictureSource]:
    """Masks by the names of their regions; one alone is the people's."""
    if mask is None:
        return {}
    if not isinstance(mask, Mapping):
        return {PORTRAIT: mask}
    return {PORTRAIT if name == PERSON else name: source for name, source in mask.items()}


def told_by_region(prompt: str, config: StyleConfig, masks: Mapping[str, PictureSource]) -> tuple[str, StyleConfig]:
    """The text for all regions without one of their own; and settings that have a region for each mask and text.

    People that the prompt gives a text are styled as the background is, unless the settings say how.

    Raises:
        InputError: the prompt tells regions their texts, but not the background.
    """
    # A form keeps the order of its fields, a gRPC map does not: so of the masks that only come with the photo, none.
    changes: dict[str, Any] = {name: {} for name in sorted(masks) if name not in (*config.regions.names, CLASSES)}
    names = {*config.regions.names, *changes, *VOC_CLASSES[1:]}
    texts = by_region(prompt, names)
    if texts is not None:
        if BACKGROUND not in texts and config.regions.background.prompt is None:
            raise InputError(
                f"prompt {shown(prompt)} has texts for regions, and none for the rest; add '; background: …'.", "prompt"
            )
        texts = {PORTRAIT if name == PERSON else name: text for name, text in texts.items()}
        changes = merged(changes, {name: {"prompt": text} for name, text in texts.items() if name != BACKGROUND})
        if PORTRAIT in texts and config.regions.portrait == PortraitConfig():  # asked for, so it is to be seen
            as_background = config.regions.background.model_dump(include={"weight", "threshold"})
            changes = merged(changes, {PORTRAIT: {"share": 0.5, **as_background}})  # half of the patches for the rest
        prompt = texts.get(BACKGROUND) or config.regions.background.prompt or prompt
    return prompt, config.updated({"regions": changes}) if changes else config


def read_masks(masks: Mapping[str, PictureSource], size: tuple[int, int], names: Sequence[str]) -> dict[str, Tensor]:
    """The planes of masks by name, each ``(H, W)``, in the order of ``names``: the later lies above.

    ``classes`` is a picture of VOC's labels.

    Raises:
        InputError: one cannot be read, or has another size.
        TooLargeError: they have more than `MASK_PIXELS` together.
    """
    width, height = size
    if len(masks) * width * height > MASK_PIXELS:
        raise TooLargeError(
            f"masks are {len(masks)} of {width}x{height} pixels; together at most {MASK_PIXELS:,} pixels are allowed. "
            "Send a smaller photo, or fewer masks.",
            "mask",
        )
    planes = {}
    for name in (CLASSES, *names):
        if name not in masks:
            continue
        source = masks[name]
        field = "mask" if name == PORTRAIT else f"mask.{name}"
        planes[name] = (read_classes if name == CLASSES else read_mask)(source, size, field)
    return planes


def check_findable(names: Sequence[str], planes: Mapping[str, Tensor], fcn: nn.Module) -> None:
    """Refuses a region that neither a mask nor FCN can show.

    Raises:
        InputError: naming it.
    """
    for name in names[1:]:
        if name in planes:
            continue
        channel_of(name, VOC_CLASSES if CLASSES in planes else list(fcn.classes))  # type: ignore[arg-type]
