"""Items of a batch: the photo, words and settings of one picture, and the name of its file."""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, ConfigDict

from genartisan.config import StyleConfig, from_params
from genartisan.errors import InputError
from genartisan.io.storage import is_url, located
from genartisan.method.inputs import check_words
from genartisan.method.region_inputs import check_findable
from genartisan.method.saved_style import SavedStyle, find
from genartisan.method.style_images import style_image_field
from genartisan.networks.bundle import Bundle
from genartisan.validation import mask_field

STEM_BYTES, LABEL_BYTES = 120, 60  # of UTF-8 in a file's name, which may have 255
DIGEST = 8  # hexadecimal digits


class Item(BaseModel):
    """One picture to be made.

    Attributes:
        photo: path or URL; as it is given, that is from the folder of photos or of the manifest.
        masks, style_images: paths or URLs by region.
        params: settings and seed, as `genartisan.config.from_params` takes them.
        row: line of the manifest; None without one.
        folder: that the paths start from.
    """

    model_config = ConfigDict(frozen=True)
    photo: str
    prompt: str | None = None
    masks: dict[str, str] = {}
    style_images: dict[str, str] = {}
    params: dict[str, Any] = {}
    row: int | None = None
    folder: str

    @property
    def settings(self) -> tuple[StyleConfig, int]:
        """Settings and seed.

        Raises:
            InputError: one is invalid.
        """
        return _settings(json.dumps(self.params))

    @property
    def files(self) -> dict[str, str]:
        """Absolute paths or URLs of the photo, masks and style pictures by field."""
        masks = {mask_field(name): file for name, file in self.masks.items()}
        style_images = {style_image_field(name): file for name, file in self.style_images.items()}
        files = {"photo": self.photo, **masks, **style_images}
        return {field: located(file, self.folder) for field, file in files.items()}

    def name(self, suffix: str) -> str:
        """The picture's path below the output folder: folder and name of the photo, its style, and a digest.

        It depends on what the item says alone. The digest tells apart what would be written alike.
        """
        config, seed = self.settings
        said = [self.photo, self.prompt, self.masks, self.style_images, config.model_dump(exclude_defaults=True), seed]
        digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()[:DIGEST]
        folder, file = posixpath.split(posixpath.normpath(self.photo))
        inside = not (is_url(self.photo) or posixpath.isabs(folder) or folder.startswith(".."))
        label = self.prompt or config.style or next(iter(self.style_images.values()), "")
        stem = _readable(posixpath.splitext(file)[0], STEM_BYTES) or "photo"
        parts = [stem, _readable(posixpath.basename(label).lower(), LABEL_BYTES) or "style"]
        return posixpath.join(folder if inside else "", f"{'.'.join(parts)}-{digest}{suffix}")


def check(items: Sequence[Item], bundle: Bundle, styles: Mapping[str, SavedStyle]) -> dict[str, SavedStyle]:
    """Checks what the items say, before any picture is read, and returns the saved styles they name.

    Raises:
        InputError: an item is invalid, or says the same as another; names the row.
    """
    used, first = dict[str, SavedStyle](), dict[str, Item]()
    for item in items:
        with_row = "" if item.row is None else f"manifest line {item.row}: "
        try:
            config, _ = item.settings
            saved = None if config.style is None else find(styles, config.style)
            _, _, config = check_words(item.prompt, config, saved, item.masks, item.style_images)
            check_findable(config.regions.names, item.masks, bundle.fcn)
        except InputError as error:
            raise type(error)(with_row + error.message, error.field) from error
        if config.style is not None and saved is not None:
            used[config.style] = saved
        other = first.setdefault(item.name(""), item)
        if other is not item:
            earlier = "another prompt" if other.row is None else f"line {other.row}"
            raise InputError(f"{with_row}photo {item.photo!r} is to be made as by {earlier}; drop one.", "photo")
    return used


def of_photos(photos: Iterable[str], shared: Item, prompts: Sequence[str | None]) -> list[Item]:
    """An item for each photo and prompt, otherwise as ``shared``."""
    return [
        shared.model_copy(update={"photo": photo, "prompt": prompt}) for photo in photos for prompt in prompts or [None]
    ]


@lru_cache(1000)  # most items have the settings of others
def _settings(params: str) -> tuple[StyleConfig, int]:
    return from_params(json.loads(params))


def _readable(text: str, limit: int) -> str:
    """Letters, digits, dots, - and _ of a text, cut to ``limit`` bytes."""
    short = re.sub(r"[^\w.]+", "-", text).encode("utf-8", "ignore")[:limit].decode("utf-8", "ignore")
    return short.strip("-._")
