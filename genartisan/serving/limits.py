"""A server's limits on requests, and the cost of a run."""

from __future__ import annotations

from collections.abc import Collection

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from genartisan.config import MAX_OUTPUT, MAX_TEXTS, StyleConfig
from genartisan.errors import ExpiredError, InputError, TooLargeError
from genartisan.io.decode import MAX_BYTES, MAX_PIXELS, size_of
from genartisan.method.schedule import Schedule
from genartisan.method.style_images import ALL, style_image_field
from genartisan.serving.defaults import DRAFT, MODEL
from genartisan.serving.request import StyleRequest
from genartisan.serving.request_headers import REQUEST_START
from genartisan.validation import MAX_PROMPT, mask_field

BESIDE_PHOTO = 16 * 1024 * 1024  # bytes of a request for masks, style pictures and settings
MARGIN = 300  # seconds between the longest deadline and the time at which the server considers a worker dead
# GFLOP of a step of the official networks, forward and backward, as counted: CLIP for each view, the others per pixel.
PER_VIEW, PER_PIXEL, PER_PIXEL_OF_NET = 1155 / 65, 388 / 512**2, 96 / 512**2
PER_PIXEL_OUT = 1.7 * 96 / 3 / 512**2  # StyleNet forward once, per pixel of a larger picture; tiles overlap


class Limits(BaseModel):
    """The limits of a server; none may exceed the library's."""

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
    """Cost of a run, in runs with the paper's settings on a square photo."""
    timeout_s: float = Field(1800.0, gt=0)
    """Seconds after which a run ends if the request has no ``timeout_s``."""
    max_timeout_s: float = Field(3000.0, gt=0)
    """The longest ``timeout_s`` of a request, in seconds."""

    @model_validator(mode="after")
    def _in_order(self) -> Limits:
        if self.timeout_s > self.max_timeout_s:
            raise ValueError(f"timeout_s is {self.timeout_s:g}, above max_timeout_s, {self.max_timeout_s:g}")
        return self

    @property
    def request_bytes(self) -> int:
        """Bytes of a whole request: the largest photo in base64, as in JSON, and what comes with it."""
        return 4 * -(-self.photo_bytes // 3) + BESIDE_PHOTO

    @classmethod
    def of_server(cls, settings: object, response_timeout: float) -> Limits:
        """The limits in a server's settings.

        Args:
            response_timeout: seconds after which the server considers a silent worker dead.

        Raises:
            ValueError: a setting is invalid, or a run could outlast ``response_timeout``.
        """
        try:
            limits = cls.model_validate(settings)
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"{'.'.join(('limits', *map(str, first['loc'])))}: {first['msg']}") from None
        if limits.max_timeout_s + MARGIN > response_timeout:
            raise ValueError(
                f"responseTimeout is {response_timeout:g} s; it must be at least {MARGIN} s above "
                f"limits.max_timeout_s, {limits.max_timeout_s:g} s, or the server kills busy workers"
            )
        return limits

    def admit(self, request: StyleRequest) -> StyleConfig:
        """The settings with their deadline, if the request is within the limits that need no decoding.

        Raises:
            TooLargeError: it has too many bytes or pixels, or wants too many.
            InputError: the photo or a style picture cannot be read, or a prompt or the deadline is too long.
        """
        config = request.config
        masks = {mask_field(name): mask for name, mask in request.masks.items()}
        style_images = {style_image_field(name): picture for name, picture in request.style_images.items()}
        for field, content in {"photo": request.photo, **masks, **style_images}.items():
            if len(content) > self.photo_bytes:
                raise TooLargeError(
                    f"{field} has {len(content):,} bytes; this server accepts at most {self.photo_bytes:,}. "
                    "Send a smaller file.",
                    field,
                )
        for field, text in {"prompt": request.prompt or "", **config.texts}.items():
            if len(text) > self.prompt_characters:
                raise InputError(
                    f"{field} has {len(text)} characters; this server accepts at most {self.prompt_characters}. "
                    "Shorten it.",
                    field,
                )
        if config.long_side > self.output_size:
            field = "size" if config.output_size is None else "output_size"
            raise TooLargeError(
                f"{field} is {config.long_side}; this server makes pictures of at most {self.output_size} pixels. "
                "Lower it.",
                field,
            )
        for field, picture in {**style_images, "photo": request.photo}.items():
            width, height = size_of(picture, field)
            if width * height > self.photo_pixels:
                raise TooLargeError(
                    f"{field} is {width}x{height}, {width * height:,} pixels; this server accepts at most "
                    f"{self.photo_pixels:,}. Resize it.",
                    field,
                )
        if config.timeout_s is not None and config.timeout_s > self.max_timeout_s:
            raise InputError(
                f"timeout_s is {config.timeout_s:g}; this server allows above 0 to {self.max_timeout_s:g} s.",
                "timeout_s",
            )
        return config.updated({"timeout_s": config.timeout_s or self.timeout_s})

    def check_cost(self, size: tuple[int, int], config: StyleConfig, style_images: Collection[str]) -> None:
        """Refuses a run that costs too much.

        Args:
            size: width and height of the picture that is optimised, in pixels.
            config: the settings with the prompt's texts for regions (`Stylization.config`).
            style_images: the names of the regions of the style pictures.

        Raises:
            TooLargeError: the cost is above the limit.
            InputError: too many regions have a style of their own, some by pictures.
        """
        width, height = size
        styles = styles_of(config, style_images)
        if style_images and styles > 1 + MAX_TEXTS:
            raise InputError(
                f"style_image: {styles - 1} regions have a style of their own; at most {MAX_TEXTS} may. Send fewer "
                "style pictures, or one for all regions.",
                "style_image",
            )
        cost = run_cost(config, width * height, styles)
        if cost > self.cost:
            steps = int(config.steps * self.cost / cost)
            raise TooLargeError(
                f"steps is {config.steps}, which with {config.patches} patches at {width}x{height} pixels costs "
                f"{cost:.1f} times a run with the paper's settings; this server accepts at most {self.cost:g}. "
                f"Lower steps to {max(1, steps)}, or size or patches.",
                "steps",
            )


def check_draft(config: StyleConfig) -> None:
    """Refuses a run where there are only drafts.

    Raises:
        InputError: ``steps`` is not 0.
    """
    if config.steps > 0:
        raise InputError(
            f"steps is {config.steps}; /predictions/{DRAFT} makes drafts only, with steps 0, as preset draft has. Send "
            f"it to /predictions/{MODEL}.",
            "steps",
        )


def check_not_expired(waited: float, config: StyleConfig) -> None:
    """Refuses a request whose deadline passed before a worker took it.

    Args:
        waited: seconds since it was sent.

    Raises:
        ExpiredError: that is above ``timeout_s``.
    """
    if config.timeout_s is not None and waited > config.timeout_s:
        raise ExpiredError(
            f"timeout_s is {config.timeout_s:g}, and by its {REQUEST_START} the request was sent {waited:.1f} s ago: "
            "its deadline passed before a worker was free. Try again later, raise it, or set the sender's clock.",
            "timeout_s",
        )


def out_of_memory_error(config: StyleConfig, fitting_size: int | None) -> TooLargeError:
    """The refusal of a run for which the memory does not suffice.

    Args:
        fitting_size: a size for which it does; None if none is known.
    """
    remedy = f"size {fitting_size} would fit"
    if not fitting_size:
        remedy = f"lower patches, which is {config.patches}"
        if config.output_size is not None:
            remedy += f", or output_size, which is {config.output_size}"
    return TooLargeError(f"size is {config.size}, for which the server's memory does not suffice; {remedy}.", "size")


def styles_of(config: StyleConfig, style_images: Collection[str]) -> int:
    """The number of styles in a picture, each drawn by itself: one for all, and those of single regions."""
    texts = {text for name, text in config.regions.texts.items() if name not in style_images}
    return 1 + len(texts) + len(set(style_images) - {ALL})


def run_cost(config: StyleConfig, pixels: int, styles: int | None = None) -> float:
    """The cost of a run, in runs with the paper's settings on a square photo.

    Args:
        pixels: of the picture that is optimised.
        styles: as `styles_of`; by default those of the texts alone.
    """
    paper = StyleConfig()
    styles = styles_of(config, ()) if styles is None else styles
    return _gflop(config, pixels, styles) / _gflop(paper, paper.size**2, 1)


def _gflop(config: StyleConfig, pixels: int, styles: int) -> float:
    rendered = pixels * (config.long_side / config.size) ** 2 if config.long_side > config.size else 0.0
    views = config.steps * (config.patches + styles)
    per_pixel = PER_PIXEL + PER_PIXEL_OF_NET * styles
    return views * PER_VIEW + Schedule.of(config).pixel_steps * per_pixel * pixels + PER_PIXEL_OUT * styles * rendered
