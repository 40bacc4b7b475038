"""What a server takes of a request: its limits, all in one place, and what a run costs."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from genartisan.config import MAX_OUTPUT, MAX_TEXTS, StyleConfig
from genartisan.errors import ExpiredError, InputError, TooLargeError
from genartisan.io.decode import MAX_BYTES, MAX_PIXELS, size_of
from genartisan.method.region_inputs import apply_region_prompts
from genartisan.method.style_images import ALL, style_image_field, with_their_regions
from genartisan.serving.request_headers import REQUEST_START
from genartisan.validation import MAX_PROMPT, mask_field

BESIDE_PHOTO = 16 * 1024 * 1024  # bytes of a request for masks, style pictures and settings, beside the largest photo
MARGIN = 300  # seconds from the longest deadline to the time at which the server takes the worker for dead
# GFLOP of a step of the official networks, forward and backward, counted: CLIP's for each view, the other networks' for
# each pixel of the picture.
PER_VIEW, PER_PIXEL, PER_PIXEL_OF_NET = 1155 / 65, 388 / 512**2, 96 / 512**2
PER_PIXEL_OUT = 1.7 * 96 / 3 / 512**2  # of StyleNet, once forward, for each pixel of a larger picture; tiles overlap
COARSE = 1 / 4  # of a picture's pixels, in the coarse steps


class Limits(BaseModel):
    """The limits of a server; none may be wider than the library's own."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    photo_bytes: int = Field(MAX_BYTES, gt=0, le=MAX_BYTES)
    """Bytes of an encoded photo, mask or style picture."""
    photo_pixels: int = Field(MAX_PIXELS, gt=0, le=MAX_PIXELS)
    """Pixels of a photo or style picture."""
    prompt_characters: int = Field(MAX_PROMPT, gt=0, le=MAX_PROMPT)
    """Characters of a prompt."""
    output_size: int = Field(MAX_OUTPUT, gt=0, le=MAX_OUTPUT)
    """Long side of a finished picture, in pixels."""
    cost: float = Field(10.0, gt=0)
    """What a run may cost, in runs with the paper's settings on a square photo."""
    timeout_s: float = Field(1800.0, gt=0)
    """Seconds after which a run ends where the request names no ``timeout_s``."""
    max_timeout_s: float = Field(3000.0, gt=0)
    """The longest ``timeout_s`` that a request may name."""

    @model_validator(mode="after")
    def _in_order(self) -> Limits:
        if self.timeout_s > self.max_timeout_s:
            raise ValueError(f"timeout_s is {self.timeout_s:g}, above max_timeout_s, {self.max_timeout_s:g}")
        return self

    @property
    def request_bytes(self) -> int:
        """Bytes of a whole request: the largest photo in base64, as JSON has it, and what comes with it."""
        return 4 * -(-self.photo_bytes // 3) + BESIDE_PHOTO

    @classmethod
    def of_server(cls, settings: object, response_timeout: float) -> Limits:
        """The limits in a server's settings.

        Args:
            response_timeout: seconds after which the server takes a silent worker for dead.

        Raises:
            ValueError: a setting is wrong, or a run could last until the worker is taken for dead.
        """
        try:
            limits = cls.model_validate(settings)
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"{'.'.join(('limits', *map(str, first['loc'])))}: {first['msg']}") from None
        if limits.max_timeout_s + MARGIN > response_timeout:
            raise ValueError(
                f"responseTimeout is {response_timeout:g} s; it has to be at least {MARGIN} s above "
                f"limits.max_timeout_s, {limits.max_timeout_s:g} s, or the server kills workers that are busy"
            )
        return limits

    def admit(
        self,
        photo: bytes,
        masks: Mapping[str, bytes],
        style_images: Mapping[str, bytes],
        prompt: str | None,
        config: StyleConfig,
    ) -> StyleConfig:
        """The settings with their deadline, if the request is within the limits.

        Args:
            masks, style_images: encoded, by the names of their regions.

        Raises:
            TooLargeError: it has too many bytes or pixels, asks for too many, or would cost too much.
            InputError: its photo or a style picture cannot be read, its prompt or its deadline is too long, or too many
                regions have a style of their own.
        """
        of_style = {style_image_field(name): picture for name, picture in style_images.items()}
        for field, content in {
            "photo": photo, **{mask_field(name): mask for name, mask in masks.items()}, **of_style,
        }.items():  # fmt: skip
            if len(content) > self.photo_bytes:
                raise TooLargeError(
                    f"{field} has {len(content):,} bytes; this server takes at most {self.photo_bytes:,}. "
                    "Send a smaller file.",
                    field,
                )
        for field, text in {"prompt": prompt, **config.texts}.items():
            if text is not None and len(text) > self.prompt_characters:
                raise InputError(
                    f"{field} has {len(text)} characters; this server takes at most {self.prompt_characters}. "
                    "Shorten it.",
                    field,
                )
        if config.long_side > self.output_size:
            raise TooLargeError(
                f"{'size' if config.output_size is None else 'output_size'} is {config.long_side}; this server makes "
                f"pictures of at most {self.output_size} pixels. Lower it.",
                "size" if config.output_size is None else "output_size",
            )
        for field, picture in of_style.items():
            self._check_pixels(size_of(picture, field), field)
        size = size_of(photo, "photo")
        self._check_pixels(size, "photo")
        told = with_their_regions(apply_region_prompts(prompt, config, masks)[1], style_images)
        styles = styles_of(told, style_images)
        if style_images and styles > 1 + MAX_TEXTS:
            raise InputError(
                f"style_image: {styles - 1} regions have a style of their own; at most {MAX_TEXTS} may. Send fewer "
                "style pictures, or one for all regions.",
                "style_image",
            )
        self._check_cost(size, told, styles)
        if config.timeout_s is not None and config.timeout_s > self.max_timeout_s:
            raise InputError(
                f"timeout_s is {config.timeout_s:g}; this server allows above 0 to {self.max_timeout_s:g} s.",
                "timeout_s",
            )
        return config.updated({"timeout_s": config.timeout_s or self.timeout_s})

    def _check_pixels(self, size: tuple[int, int], field: str) -> None:
        width, height = size
        if width * height > self.photo_pixels:
            raise TooLargeError(
                f"{field} is {width}x{height}, {width * height:,} pixels; this server takes at most "
                f"{self.photo_pixels:,}. Resize it.",
                field,
            )

    def _check_cost(self, size: tuple[int, int], config: StyleConfig, styles: int) -> None:
        width, height = (max(1, round(side * config.size / max(size))) for side in size)
        cost = run_cost(config, width * height, styles)
        if cost > self.cost:
            steps = int(config.steps * self.cost / cost)
            raise TooLargeError(
                f"steps is {config.steps}, which with {config.patches} patches at {width}x{height} pixels costs "
                f"{cost:.1f} times a run with the paper's settings; this server takes at most {self.cost:g}. "
                f"Lower steps to {max(1, steps)}, or size or patches.",
                "steps",
            )


def check_not_expired(waited: float, config: StyleConfig) -> None:
    """Refuses a request whose time was over before anybody took it up.

    Args:
        waited: seconds since it set out.

    Raises:
        ExpiredError: its deadline was before now.
    """
    if config.timeout_s is not None and waited > config.timeout_s:
        raise ExpiredError(
            f"timeout_s is {config.timeout_s:g}, and by its {REQUEST_START} the request set out {waited:.1f} s ago: "
            "its time was over before a worker was free. Ask again later, raise it, or set the sender's clock.",
            "timeout_s",
        )


def styles_of(config: StyleConfig, style_images: Mapping[str, bytes]) -> int:
    """How many styles a picture has, each drawn by itself: one for all, and those that regions have of their own."""
    texts = config.regions.texts
    by_text = {text for name, text in texts.items() if name not in style_images}
    return 1 + len(by_text) + len(style_images.keys() - {ALL})


def run_cost(config: StyleConfig, pixels: int, styles: int | None = None) -> float:
    """What a run costs, in runs with the paper's settings on a square photo.

    Args:
        pixels: of the picture.
        styles: as `styles_of`; None: of the texts alone.
    """
    paper = StyleConfig()
    given = styles_of(config, {}) if styles is None else styles
    return _gflop(config, pixels, given) / _gflop(paper, paper.size**2, 1)


def _gflop(config: StyleConfig, pixels: int, styles: int) -> float:
    coarse = round(config.coarse_share * config.steps)
    full_steps = config.steps - coarse * (1 - COARSE)
    rendered = pixels * (config.long_side / config.size) ** 2 if config.long_side > config.size else 0.0
    views = config.steps * (config.patches + styles)
    per_pixel = PER_PIXEL + PER_PIXEL_OF_NET * styles
    return views * PER_VIEW + full_steps * per_pixel * pixels + PER_PIXEL_OUT * styles * rendered
