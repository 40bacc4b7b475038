"""StyleConfig: every setting of a run, with default, unit, range and source."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from genartisan.errors import InputError
from genartisan.validation import (
    BACKGROUND,
    CLASSES,
    MAX_PROMPT,
    PERSON,
    PORTRAIT,
    REGION_NAME,
    check_seed,
    check_style_name,
    merged,
    plain,
    shown,
    validated,
)

MAX_STEPS = 5000
MAX_OUTPUT = 4096  # long side of a finished picture, pixels
MAX_REGIONS = 24  # the 21 VOC classes and a few masks
MAX_TEXTS = 8  # of regions, and of a blend: each needs a network or 79 sentences of its own

Int = Annotated[int, Field(strict=True)]  # strict: in JSON, "12" and true are mistakes
Float = Annotated[float, Field(strict=True)]
Share = Annotated[Float, Field(ge=0, le=1)]
Weight = Annotated[Float, Field(ge=0, le=10)]
Threshold = Annotated[Float, Field(ge=0, le=2)]  # a patch's loss is 1 - cos, so within [0, 2]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class RegionConfig(_Frozen):
    """How strongly one region is styled, in artisan mode."""

    share: Share = 1.0  # of the patches, 0-1, METHOD: eq 17
    """Maximum fraction of a step's patches in the region (eq 17)."""
    weight: Weight = 1.0  # factor on the patch's loss, 0-10, eq 16
    """Factor on the loss of the region's patches (eq 16): lower is less style, and more of lambda_pixel."""
    threshold: Threshold = 0.7  # 1 - cos, 0-2, paper §5.2
    """Patches with a loss up to this value are rejected (eq 14, 15): higher is less style."""
    strength: Share = 1.0  # 0-1, ours
    """How much of the style shows: 0 is the photo, 1 the full style. With start draft it interpolates from the photo's
    own style numbers to the style's; with start random it mixes the finished picture with the photo."""
    prompt: str | None = None  # ours
    """The region's own style text, with a global loss of its own. Null: the request's prompt."""

    @field_validator("prompt")
    @classmethod
    def _plain_prompt(cls, prompt: str | None) -> str | None:
        return prompt if prompt is None else plain(prompt)


class PortraitConfig(RegionConfig):
    """The people in the photo."""

    share: Share = 0.2  # ours; the paper gives no number
    weight: Weight = 0.3  # ours; the paper wants less style on people
    threshold: Threshold = 0.8  # ours; the paper wants it above the background's


class RegionsConfig(_Frozen):
    """Controls of each region: portrait, background, and others by name.

    Other names are VOC classes, such as ``dog``, or names of masks in the request. ``person`` means portrait.
    """

    model_config = ConfigDict(extra="allow")
    OTHERS: ClassVar[type[BaseModel]] = RegionConfig  # type of other regions
    __pydantic_extra__: dict[str, RegionConfig] = Field(init=False)

    portrait: PortraitConfig = PortraitConfig()
    background: RegionConfig = RegionConfig()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all regions; the position is the label in a region map."""
        return BACKGROUND, PORTRAIT, *self.__pydantic_extra__

    @property
    def texts(self) -> dict[str, str]:
        """The regions' own style texts, by name."""
        return {name: text for name in self.names if (text := self[name].prompt)}

    @property
    def each(self) -> list[RegionConfig]:
        """Controls in the order of the names."""
        return [self[name] for name in self.names]

    def __getitem__(self, name: str) -> RegionConfig:
        standard: dict[str, RegionConfig] = {PORTRAIT: self.portrait, BACKGROUND: self.background}
        return standard[name] if name in standard else self.__pydantic_extra__[name]  # may be an attribute's name

    @model_validator(mode="before")
    @classmethod
    def _person_is_portrait(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or PERSON not in data:
            return data
        others = {name: value for name, value in data.items() if name != PERSON}
        return merged(others, {PORTRAIT: data[PERSON]})

    @model_validator(mode="after")
    def _are_regions(self) -> RegionsConfig:
        for name in self.__pydantic_extra__:
            if not REGION_NAME.fullmatch(name) or name == CLASSES:
                raise ValueError(f"must have names of up to 32 of a-z, 0-9 and _; {shown(name)} is not one")
        if len(self.names) > MAX_REGIONS:
            raise ValueError(f"must have at most {MAX_REGIONS} regions")
        if len(set(self.texts.values())) > MAX_TEXTS:
            raise ValueError(f"must have at most {MAX_TEXTS} different prompts")
        if math.fsum(region.share for region in self.each) < 1 - 1e-9:
            raise ValueError("must have shares with a sum of at least 1, so that every patch has a region")
        return self


class StyleConfig(_Frozen):
    """The settings of one run. The defaults are the preset ``paper``."""

    mode: Literal["artisan", "clipstyler"] = "artisan"
    """artisan: people-preserving (eq 10-23). clipstyler: the baseline (eq 1-9), without regions."""
    size: Int = Field(512, ge=32, le=2048)  # pixels, paper §5.2
    """Long side of the optimised photo and of the picture, in pixels; the aspect ratio stays."""
    output_size: Int | None = Field(None, ge=32, le=MAX_OUTPUT)  # pixels, ours
    """Long side of the finished picture in pixels, if larger than ``size``: the optimised network draws it from the
    larger photo, with strokes of the same size in pixels. Null: ``size``."""
    steps: Int = Field(400, ge=0, le=MAX_STEPS)  # optimiser steps, paper §5.2
    """Optimiser steps. 0: the picture is the draft, drawn in one pass."""
    coarse_share: Share = 0.0  # of the steps, 0-1, ours
    """Fraction of the steps, the first ones, on the photo at half its size: each takes about a third of the time."""
    style: str | None = None  # ours
    """Name of a saved style, whose style numbers replace the prompt's. It implies start draft."""
    style_image_share: Share = 0.5  # 0-1, ours
    """Weight of a style picture beside the prompt; without a prompt it is 1."""
    start: Literal["random", "draft"] = Field("random", validate_default=True)  # paper §3.2
    """What is optimised. random: a StyleNet of random weights. draft: the pastiche network with the prompt's style
    numbers, which draws the draft before the first step."""
    learning_rate: Float = Field(5e-4, ge=0, le=0.1)  # Adam, paper §5.2
    """Adam's initial learning rate for the network's weights; with start draft, 0 freezes them."""
    numbers_rate: Float = Field(0.0, ge=0, le=1)  # Adam, ours
    """Adam's initial learning rate for the style numbers, with start draft; 0 freezes them."""
    halve_every: Int = Field(100, ge=1, le=MAX_STEPS)  # steps, paper §5.2
    """Steps after which the learning rates are halved."""
    patches: Int = Field(64, ge=1, le=256)  # crops a step, paper §5.2
    """Random crops in each step (N in eq 8 and 13)."""
    patch_size: Int = Field(128, ge=16, le=512)  # pixels, paper §5.2
    """Side of a crop in pixels, at most the picture's short side."""
    distortion: Float = Field(0.5, ge=0, le=0.9)  # of half the patch, paper §3.2
    """Maximum inward shift of a patch's corners in the random perspective, as a fraction of half its side."""
    decision: Float = Field(0.2, gt=0, le=1)  # of the patch's side, eq 18, ours
    """Side of the window that decides a patch's region, as a fraction of the patch's side (eq 18)."""
    decision_window: Literal["center", "bottom"] = "center"  # ours
    """Position of that window: the patch's centre, or its whole bottom edge."""
    decision_rule: Literal["any", "coverage"] = "any"  # ours
    """any: one portrait pixel in the window makes a patch portrait. coverage: the patch's share of portrait pixels
    interpolates weight and threshold."""
    threshold: Threshold = 0.7  # 1 - cos, paper §5.2
    """In clipstyler mode, patches with a loss up to this value are rejected (eq 9)."""
    regions: RegionsConfig = RegionsConfig()
    """Controls of each region, in artisan mode."""
    lambda_direction: Float = Field(500.0, ge=0, le=1e6)  # paper §5.2
    """Weight of the global directional loss."""
    lambda_patch: Float = Field(9000.0, ge=0, le=1e6)  # paper §5.2
    """Weight of the patch loss."""
    lambda_content: Float = Field(150.0, ge=0, le=1e6)  # paper §5.2
    """Weight of the content loss."""
    lambda_tv: Float = Field(2e-3, ge=0, le=1e3)  # paper §5.2, misprinted there as 2x10^3
    """Weight of the total variation."""
    lambda_pixel: Float = Field(0.0, ge=0, le=1e6)  # ours
    """Weight of the pixel loss, in artisan mode: the mean absolute difference from the photo, weighted by 1 − the
    region's weight. It preserves people."""
    lambda_draft: Float = Field(0.0, ge=0, le=1e6)  # ours
    """Weight of the draft loss, with start draft: it preserves the draft's colours and light."""
    contrast: Float = Field(1.5, ge=0, le=4)  # factor, CLIPstyler's code
    """Contrast factor, applied after the last step; 1 leaves the picture unchanged."""
    keep_colors: bool = Field(False, strict=True)  # ours, after Gatys et al., arXiv 1606.05897
    """Keep the photo's colours, and take only the luminance from the picture."""
    feather: Float = Field(0.0, ge=0, le=256)  # pixels, ours
    """Width of the soft edges between regions in pixels, at ``size``; at most half of ``size``. 0: hard edges."""
    source_text: str = Field("a Photo", min_length=1, max_length=MAX_PROMPT)  # CLIPstyler's code
    """The photo in words: the text direction leads from here to the prompt."""
    negative_prompt: str | None = Field(None, max_length=MAX_PROMPT)  # ours
    """What the picture must not look like, in words: its component is removed from text directions."""
    timeout_s: Float | None = Field(None, gt=0, le=86_400)  # seconds, ours
    """Deadline in seconds from the start of the request. Null: none."""
    on_timeout: Literal["picture", "error"] = "picture"  # ours
    """Result at the deadline: the picture so far with a warning, or an error."""

    @property
    def texts(self) -> dict[str, str]:
        """All texts but the prompt, by field."""
        of_regions = {f"regions.{name}.prompt": text for name, text in self.regions.texts.items()}
        negative = {} if self.negative_prompt is None else {"negative_prompt": self.negative_prompt}
        return {**of_regions, **negative, "source_text": self.source_text}

    @property
    def region_settings(self) -> list[str]:
        """Fields with region settings of the caller's own, which have no effect without regions."""
        prompts = [f"regions.{name}.prompt" for name in self.regions.texts]
        names = [name for name in self.regions.names if self.regions[name].strength not in _preset_strengths(name)]
        return [*prompts, *(f"regions.{name}.strength" for name in names)]

    @property
    def long_side(self) -> int:
        """Long side of the finished picture, in pixels."""
        return self.output_size or self.size

    @field_validator("output_size")
    @classmethod
    def _at_least_size(cls, output_size: int | None, others: ValidationInfo) -> int | None:
        size = others.data.get("size")  # None if size itself is invalid
        if output_size is not None and size is not None and output_size < size:
            raise ValueError(f"must be at least size, {size}; lower size, or leave output_size out")
        return output_size

    @field_validator("feather")
    @classmethod
    def _at_most_half_of_size(cls, feather: float, others: ValidationInfo) -> float:
        size = others.data.get("size")
        if size is not None and feather > size / 2:
            raise ValueError(f"must be at most half of size, {size / 2:g}")
        return feather

    @field_validator("style")
    @classmethod
    def _style_name(cls, style: str | None) -> str | None:
        return style if style is None else check_style_name(style)

    @field_validator("start")
    @classmethod
    def _start_suits_steps(cls, start: str, others: ValidationInfo) -> str:
        if start != "draft" and others.data.get("steps") == 0 and others.data.get("style") is None:
            raise ValueError("must be draft if steps is 0: a StyleNet of random weights draws nothing")
        return start

    @field_validator("source_text")
    @classmethod
    def _plain_source_text(cls, text: str) -> str:
        return plain(text)

    @field_validator("negative_prompt")
    @classmethod
    def _plain_negative_prompt(cls, text: str | None) -> str | None:
        return text if text is None else plain(text)

    def updated(self, changes: Mapping[str, Any]) -> StyleConfig:
        """A validated copy with ``changes``, nested as in JSON.

        Raises:
            InputError: a field is unknown, of the wrong type or out of range; the message lists all such fields.
        """
        return validated(StyleConfig, merged(self.model_dump(), changes))


# Presets change the paper's settings. The pastiche network preserves the photo's contrast. A person at strength 0.5 is
# part of the painting and still recognisable.
PORTRAIT_STRENGTH = 0.5
_FROM_DRAFT: dict[str, Any] = {
    "start": "draft", "contrast": 1.0, "feather": 12.0, "regions": {"portrait": {"strength": PORTRAIT_STRENGTH}},
}  # fmt: skip
# Few, small steps from the draft on: more of them follow CLIP's direction and lose the picture. Lower thresholds than
# the paper's, because the draft satisfies those already.
_FAST_REGIONS: dict[str, Any] = {
    "background": {"strength": 0.95, "threshold": 0.66},
    "portrait": {"strength": PORTRAIT_STRENGTH, "threshold": 0.74},
}
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "fast": {
        **_FROM_DRAFT, "regions": _FAST_REGIONS, "steps": 8, "coarse_share": 0.625, "learning_rate": 1.5e-4,
        "patches": 12, "lambda_direction": 670.0, "lambda_patch": 12_000.0, "lambda_content": 1900.0, "lambda_tv": 0.2,
        "lambda_draft": 3e5,
    },
    "draft": {**_FROM_DRAFT, "steps": 0},
}  # fmt: skip
DEFAULT_PRESET = "fast"  # of commands and requests; `StyleConfig()` is the paper's


def _preset_strengths(region: str) -> set[float]:
    """Strengths of a region in the presets."""
    return {1.0} | {each.get("regions", {}).get(region, {}).get("strength", 1.0) for each in PRESETS.values()}


def preset(name: str = DEFAULT_PRESET, changes: Mapping[str, Any] | None = None) -> StyleConfig:
    """A preset's settings with ``changes``, nested as in JSON.

    Raises:
        InputError: there is no such preset, or a change is invalid.
    """
    if not isinstance(name, str) or name not in PRESETS:
        raise InputError(f"preset is {shown(name)}; choose one of {', '.join(PRESETS)}.", "preset")
    return StyleConfig().updated(merged(PRESETS[name], changes or {}))


def preset_name(config: StyleConfig) -> str:
    """Name of the preset with these settings, or ``custom``; mode, style, output size and deadline do not matter."""
    chosen = config.model_dump(include={"mode", "style", "timeout_s", "on_timeout"})
    config = config.model_copy(update={"output_size": None})
    return next((name for name in PRESETS if preset(name, chosen) == config), "custom")


def from_params(params: object) -> tuple[StyleConfig, int]:
    """Settings and seed from a request's ``params``: any field of StyleConfig, plus ``preset`` and ``seed``.

    Raises:
        InputError: as `preset` and `check_seed`, or ``params`` is not an object.
    """
    if not isinstance(params, Mapping):
        raise InputError(f'params is {shown(params)}; it must be a JSON object such as {{"steps": 60}}.', "params")
    changes = dict(params)
    name, seed = changes.pop("preset", DEFAULT_PRESET), check_seed(changes.pop("seed", 0))
    return preset(name, changes), seed


def assignments(pairs: Sequence[str]) -> dict[str, Any]:
    """Nested settings from ``["regions.portrait.weight=0.1"]``; a value is JSON, or else a string.

    Raises:
        InputError: a pair has no ``=`` or no name.
    """
    changes: dict[str, Any] = {}
    for pair in pairs:
        path, equals, text = pair.partition("=")
        keys = path.strip().split(".")
        if not equals or not all(keys):
            raise InputError(f"--set got {shown(pair)}; write NAME=VALUE, as in regions.portrait.weight=0.1.", "set")
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = text
        changes = merged(changes, nested(keys, value))
    return changes


def nested(keys: Sequence[str], value: Any) -> dict[str, Any]:
    """``{"a": {"b": value}}`` of the keys a and b."""
    for key in reversed(keys):
        value = {key: value}
    return dict(value)


def preview_interval(steps: int) -> int:
    """Steps between two previews, which cost time: every tenth step of a long run, four previews of a short one."""
    return max(1, min(10, steps // 4))
