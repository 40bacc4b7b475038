"""Saved styles: 100 named style numbers, with which the pastiche network draws any photo in one pass.

A style is one file, ``NAME.safetensors``, with its description in the header; a folder of them is a mapping. Any two
can be mixed. `genartisan.method.style_training` makes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from genartisan.errors import BundleError, InputError
from genartisan.io.atomic import write_whole
from genartisan.networks.bundle import home
from genartisan.networks.mobilenet import NUMBERS
from genartisan.validation import STYLE_NAME, check_style_name, shown

HEADER = "genartisan"  # the key of `About` in a file's header
SUFFIX = ".safetensors"


class About(BaseModel):
    """Description of a saved style.

    Attributes:
        prompt: the sentence, or both of a mixture; None for a style of pictures alone.
        parts: descriptions and shares of a mixture.
        pictures: number of style pictures it was read from.
        bundle: name of the bundle that made the numbers.
        photos: number of photos it was optimised over.
        seed, config: of the optimisation.
        losses: means over the photos at their last steps.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: Literal[2] = 2
    prompt: str | None
    bundle: str
    pictures: int = 0
    photos: int = 0
    seed: int = 0
    config: dict[str, Any] = {}
    losses: dict[str, float] = {}
    parts: list[tuple[str, float]] = []

    @property
    def described(self) -> str:
        """The sentence, the sentences and shares of a mixture, or the number of pictures."""
        mixture = " + ".join(f"{share:.3g} {description}" for description, share in self.parts)
        return mixture or self.prompt or f"{self.pictures} picture{'s' if self.pictures > 1 else ''}"


@dataclass(frozen=True)
class SavedStyle:
    """Style numbers, ``(100,)``, float32, with their description."""

    about: About
    numbers: Tensor

    @classmethod
    def load(cls, path: Path) -> SavedStyle:
        """Reads a style.

        Raises:
            BundleError: the file is missing, damaged or not a style.
        """
        try:
            with safetensors.safe_open(path, "pt") as file:
                about = About.model_validate_json((file.metadata() or {}).get(HEADER, ""))
                numbers = file.get_tensor("numbers").float()
            if numbers.shape != (NUMBERS,) or not bool(torch.isfinite(numbers).all()):
                raise BundleError(f"expected {NUMBERS} finite numbers")
        except (OSError, safetensors.SafetensorError, RuntimeError, ValidationError, BundleError) as error:
            reason = " ".join(str(error).split())[:200]
            raise BundleError(
                f"{path} is not a saved style ({reason}). Make one: genartisan style make.", "style"
            ) from error
        return cls(about, numbers)

    def save(self, path: Path) -> None:
        """Writes the style atomically.

        Raises:
            OSError: it cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        header = {HEADER: self.about.model_dump_json()}
        write_whole(path, safetensors.torch.save({"numbers": self.numbers}, header))

    def mixed(self, other: SavedStyle, share: float) -> SavedStyle:
        """Linear interpolation between this style and another.

        Args:
            share: of the other, 0-1.

        Raises:
            InputError: the share is out of range.
        """
        if not 0 <= share <= 1:
            raise InputError(f"share is {share:g}; it must be 0 to 1, the share of the second style.", "share")
        prompts = [about.prompt for about in (self.about, other.about) if about.prompt]
        about = self.about.model_copy(update={
            "prompt": " and ".join(prompts) or None,
            "parts": [
                (description, part * weight)
                for about, weight in ((self.about, 1 - share), (other.about, share))
                for description, part in about.parts or [(about.described, 1.0)]
            ],
            "pictures": self.about.pictures + other.about.pictures,
            "photos": max(self.about.photos, other.about.photos),
            "losses": {},
        })  # fmt: skip
        return SavedStyle(about, torch.lerp(self.numbers, other.numbers, share))


class StyleFolder(Mapping[str, SavedStyle]):
    """The saved styles of a folder by name, read lazily; a missing folder is empty.

    Args:
        folder: default: `default_folder`, looked up on use, because there may be no home directory.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self._folder = folder

    @property
    def folder(self) -> Path:
        return default_folder() if self._folder is None else Path(self._folder)

    def __getitem__(self, name: str) -> SavedStyle:
        if not (path := self.path(name)).is_file():
            raise KeyError(name)
        return SavedStyle.load(path)

    def __iter__(self) -> Iterator[str]:
        names = (path.stem for path in self.folder.glob(f"*{SUFFIX}"))
        return iter(sorted(name for name in names if STYLE_NAME.fullmatch(name)))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def path(self, name: str) -> Path:
        """The file of a style, whether or not it exists.

        Raises:
            InputError: the name is invalid.
        """
        try:
            return self.folder / f"{check_style_name(name)}{SUFFIX}"
        except ValueError as error:
            raise InputError(f"style is {shown(name)}; it {error}.", "style") from error


def default_folder() -> Path:
    """The folder of styles made on this machine."""
    return home() / "styles"


def find(styles: Mapping[str, SavedStyle], name: str) -> SavedStyle:
    """The style of that name.

    Raises:
        InputError: there is none; the message lists known styles.
    """
    try:
        return styles[name]
    except KeyError:
        known = f"known are {', '.join(list(styles)[:20])}" if len(styles) else "there are none yet"
        raise InputError(f"style is {shown(name)}; {known}. Make one: genartisan style make.", "style") from None
