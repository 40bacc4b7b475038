"""The styles of a request, by region: a text direction for the losses, and style numbers for the draft."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from genartisan.cache import ByteCache
from genartisan.config import StyleConfig
from genartisan.errors import InputError
from genartisan.io.images import Photo
from genartisan.method.regions import RegionMap
from genartisan.method.saved_style import SavedStyle
from genartisan.method.style_images import ALL
from genartisan.method.style_numbers import SEARCH, numbers_of_picture, numbers_of_text, searched_numbers
from genartisan.method.targets import FeatureExtractor
from genartisan.method.text import nothing, text_direction
from genartisan.networks.bundle import Bundle
from genartisan.validation import shown

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EncodedStyle:
    """A direction in CLIP space, ``(D,)``, and style numbers, ``(100,)``, or None if the run does not need them."""

    direction: Tensor
    numbers: Tensor | None


@dataclass
class StyleEncoder:
    """Encodes the texts and style pictures of one request.

    Args:
        cache: of text directions and style numbers, shared by all requests.
        config: the request's settings.
        draws: whether the run starts from the draft, which needs style numbers.
        between: called between pieces of work; what it raises ends the work.

    Attributes:
        all_cached: whether every text so far was in the cache.
    """

    bundle: Bundle
    device: torch.device
    dtype: torch.dtype
    cache: ByteCache[Tensor]
    config: StyleConfig
    draws: bool
    between: Callable[[], None] = nothing
    all_cached: bool = field(default=True, init=False)

    def of_regions(
        self,
        prompt: str | None,
        photo: Photo,
        saved: SavedStyle | None,
        pictures: Mapping[str, Photo],
        regions: RegionMap | None,
    ) -> dict[str, EncodedStyle]:
        """The style of every region with one of its own, by name, and of the others under `ALL`.

        Raises:
            InputError: a text has no direction, or a saved style without a sentence takes steps.
        """
        styles = {ALL: self._of_all(prompt, photo, saved, pictures.get(ALL))}
        sizes = {} if regions is None else dict(zip(regions.names, regions.pixels(), strict=True))
        for name in self.config.regions.names:
            text, picture = self.config.regions[name].prompt, pictures.get(name)
            if (text or picture is not None) and sizes.get(name):
                place = f"regions.{name}.prompt"
                numbers = self.numbers(text, picture, place) if self.draws else None
                styles[name] = EncodedStyle(self.direction(text, picture, photo, place), numbers)
        return styles

    def direction(self, text: str | None, picture: Photo | None, photo: Photo, place: str) -> Tensor:
        """The direction of a text, a picture, or both, ``(D,)``.

        Args:
            photo: where the picture's direction starts.
            place: the text's field, for errors.
        """
        parts = list[Tensor]()
        if text is not None:
            parts.append((1 - self._share(text, picture)) * self._of_prompt(text, place))
        if picture is not None:
            parts.append(self._share(text, picture) * self._of_picture(picture, photo))
        return F.normalize(sum(parts[1:], parts[0]), dim=0)

    def numbers(self, text: str | None, picture: Photo | None, place: str) -> Tensor:
        """The style numbers of a text, a picture, or both, ``(100,)``."""
        parts = list[Tensor]()
        if text is not None:
            parts.append((1 - self._share(text, picture)) * self._numbers_of_prompt(text, place))
        if picture is not None:
            parts.append(self._share(text, picture) * numbers_of_picture(self.bundle, picture))
        return sum(parts[1:], parts[0])

    def _of_all(
        self, prompt: str | None, photo: Photo, saved: SavedStyle | None, picture: Photo | None
    ) -> EncodedStyle:
        """The style of regions without one of their own: a saved style, or the prompt and the picture."""
        if saved is None:
            direction = self.direction(prompt, picture, photo, "prompt")
            return EncodedStyle(direction, self.numbers(prompt, picture, "prompt") if self.draws else None)
        if self.config.steps == 0:  # no loss needs a direction
            direction = torch.zeros(self.bundle.clip.embedding_dim, device=self.device)
        elif prompt is None and picture is None:
            raise InputError(
                f"style {self.config.style} has no sentence to optimise for; give a prompt, or use preset draft.",
                "style",
            )
        else:
            direction = self.direction(prompt, picture, photo, "prompt")
        return EncodedStyle(direction, saved.numbers.to(self.device))

    def _share(self, text: str | None, picture: Photo | None) -> float:
        """Share of a picture beside a text, 0-1."""
        if picture is None:
            return 0.0
        return 1.0 if text is None else self.config.style_image_share

    @torch.no_grad()
    def _of_picture(self, picture: Photo, photo: Photo) -> Tensor:
        """The direction from the photo to the picture in CLIP space, ``(D,)``, of length 1, or 0 if they are equal."""
        extractor = FeatureExtractor(self.bundle, self.dtype)
        both = torch.cat([extractor.whole(each.pixels[None].to(self.device)) for each in (picture, photo)])
        target, source = F.normalize(extractor.embed(both), dim=-1)
        return F.normalize(target - source, dim=0)

    def _of_prompt(self, prompt: str, place: str) -> Tensor:
        """ΔT, ``(D,)``.

        Raises:
            InputError: it is zero.
        """
        source, negative = self.config.source_text, self.config.negative_prompt
        direction = self._text_direction(prompt, negative)
        if float(direction.norm()) == 0:
            other = f"negative_prompt {shown(negative)}" if negative else f"source_text {shown(source)}"
            raise InputError(f"{place} {shown(prompt)} means the same as {other}; describe a style.", place)
        return direction

    def _numbers_of_prompt(self, prompt: str, place: str) -> Tensor:
        """Style numbers, ``(100,)``, from the style head or a search."""
        direction, negative, head = self._of_prompt(prompt, place), self.config.negative_prompt, self.bundle.style_head

        def make() -> Tensor:
            if head is not None:
                return numbers_of_text(head, self._text_direction, prompt, negative)
            logger.info("searching style numbers for a prompt: %d steps", SEARCH.steps)
            return searched_numbers(self.bundle, direction, self.device, self.dtype, self.between)

        return self._cached("numbers", (prompt, self.config.source_text, negative), make)

    def _text_direction(self, text: str, negative: str | None = None) -> Tensor:
        """The direction of a text without its component towards a negative one, ``(D,)``."""
        texts = (text, self.config.source_text, negative)
        return self._cached("direction", texts, lambda: text_direction(self.bundle.clip, *texts, self.between))

    def _cached(self, kind: str, texts: tuple[str | None, ...], make: Callable[[], Tensor]) -> Tensor:
        key = json.dumps((kind, *texts))
        value = self.cache.get(key)
        if value is None:
            self.all_cached = False
            value = make()
            self.cache.put(key, value, value.nbytes + len(key))
        return value
