"""A request's inputs after `Stylizer.check_inputs`: checked, decoded, and with region prompts applied."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from torch import Tensor

from genartisan.config import StyleConfig
from genartisan.errors import DeadlineError
from genartisan.io.images import Photo
from genartisan.method.phases import Phases
from genartisan.method.region_inputs import apply_region_prompts, check_texts, nameable
from genartisan.method.regions import RegionMap
from genartisan.method.saved_style import SavedStyle
from genartisan.method.style_images import ALL, style_image_field, with_their_regions
from genartisan.method.text import has_whole_weights, lone_region
from genartisan.validation import check_prompt, shown

MOST_ENLARGED = 4  # times, of a photo, without a warning
NARROW = 4  # sides of a picture as 1 to so much, or more, are warned of


def check_words(
    prompt: str | None,
    config: StyleConfig,
    saved: SavedStyle | None,
    masks: Collection[str],
    style_images: Collection[str],
) -> tuple[str | None, str | None, StyleConfig]:
    """Checks what a request says, before its pictures are read: the first three attributes of `Inputs`.

    Args:
        masks, style_images: names of their regions.

    Raises:
        InputError: a text is missing or invalid.
    """
    saved_prompt = None if saved is None else saved.about.prompt
    optional = saved_prompt or ALL in style_images or (saved is not None and config.steps == 0)
    prompt = check_prompt(prompt) if prompt is not None or not optional else saved_prompt
    text, config = apply_region_prompts(prompt, config, masks)
    config = with_their_regions(config, style_images)
    check_texts(text, config)
    return prompt, text, config


@dataclass(frozen=True)
class Inputs:
    """All that a run depends on, apart from the networks.

    Attributes:
        prompt: as the request gives it, or the saved style's.
        text: style text of all regions without one of their own; None with a style picture or a saved style alone.
        config: the settings, with a region for each mask, region prompt and style picture.
        photo: at the size of the optimisation.
        original: the photo at its own size.
        masks: planes by region, ``(H, W)``; see `genartisan.method.region_inputs.read_masks`.
        style_images: by region, or `ALL`.
        saved: the saved style that ``config.style`` names.
        every_layer: keep layers for regions that the photo lacks.
        began: when the request came in, by `time.perf_counter`.
        between: called between pieces of work before the first step; what it raises ends them.
        phases: of the work so far.
    """

    prompt: str | None
    text: str | None
    config: StyleConfig
    seed: int
    photo: Photo
    original: Photo
    masks: Mapping[str, Tensor]
    style_images: Mapping[str, Photo]
    saved: SavedStyle | None
    every_layer: bool
    began: float
    between: Callable[[], None]
    phases: Phases

    def check_time(self) -> None:
        """Calls ``between``, then refuses to go on after the deadline.

        Raises:
            DeadlineError: ``timeout_s`` is over before there is a picture.
        """
        self.between()
        timeout = self.config.timeout_s
        if timeout is not None and time.perf_counter() - self.began > timeout:
            raise DeadlineError(
                f"timeout_s of {timeout:g} s was over while the texts were read, before there was a picture; raise it, "
                "or blend fewer texts.",
                "timeout_s",
            )

    @property
    def draws_numbers(self) -> bool:
        """Whether the picture starts from style numbers, or from random weights."""
        return self.config.start == "draft" or self.saved is not None

    @property
    def uses_prompt(self) -> bool:
        """Whether the prompt matters: a saved style draws its draft without it."""
        return self.saved is None or self.config.steps > 0

    def unused_prompt(self) -> list[str]:
        """A warning about a prompt that has no effect."""
        if self.uses_prompt or self.saved is None or self.prompt == self.saved.about.prompt:
            return []
        return [f"prompt is not used: style {self.config.style} draws in one pass; take steps to refine"]

    def read_as_one(self) -> list[str]:
        """Warnings about texts such as "person: Fire" and "2 fire + 1 ice", which may be meant otherwise."""
        warnings, prompt = list[str](), self.prompt or ""
        if self.config.mode != "clipstyler" and lone_region(prompt, nameable(self.config)) is not None:
            warnings.append(
                f"prompt {shown(prompt)} styles the whole picture; give each region a text, as in 'person: …; "
                "background: …', or set regions.background.strength=0 to style people alone"
            )
        for text in dict.fromkeys((self.text or "", *self.config.texts.values())):
            if has_whole_weights(text):
                warnings.append(f"{shown(text)} is read as one text; for a blend, write weights with a decimal point")
        return warnings

    def odd_sizes(self) -> list[str]:
        """Warnings about a photo that is enlarged much, and about a picture that is very narrow."""
        warnings, (width, height) = list[str](), self.photo.size
        given = " x ".join(map(str, self.original.size))
        if max(width, height) > MOST_ENLARGED * max(self.original.size):
            warnings.append(f"photo of {given} pixels is enlarged to {width} x {height}; lower size")
        if self.config.output_size is None and max(width, height) >= NARROW * min(width, height):
            warnings.append(f"picture is {width} x {height} pixels, since the photo is {given}; raise size")
        return warnings

    def unused_regions(self, regions: RegionMap | None) -> list[str]:
        """Warnings about masks, texts and pictures for regions that the mode ignores or the photo lacks."""
        with_image = [name for name in self.style_images if name != ALL]
        if regions is None:
            fields = [*(["mask"] if self.masks else []), *self.config.region_settings]
            fields += [style_image_field(name) for name in with_image]
            return [f"{name} is not used: mode clipstyler sees no regions" for name in fields]
        pixels = dict(zip(regions.names, regions.pixels(), strict=True))
        missing = [name for name in dict.fromkeys((*self.config.regions.texts, *with_image)) if not pixels.get(name)]
        return [
            f"{style_image_field(name) if name in with_image else f'regions.{name}.prompt'} is not used: "
            f"the photo has no {name}"
            for name in missing
        ]
