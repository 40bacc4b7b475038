"""Saved styles: 100 style numbers with a name, with which the pastiche network draws any photo in one pass.

They come from a sentence, from pictures, or from an optimisation over several photos. A style is one safetensors file,
``NAME.safetensors``, with what it is in the header, and a folder of them is a mapping. Any two can be mixed.
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
    """What a saved style is.

    Attributes:
        prompt: the sentence, of a mixture both; None for that of a picture alone.
        parts: of a mixture, each style's description and its share; else nothing.
        pictures: how many style pictures it was read from.
        bundle: name of the bundle that told the numbers.
        photos: how many it was optimised over.
        seed, config: of the optimisation.
        losses: the mean over the photos at the last step of each, or none.
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
        """The sentence; of a mixture all, with their shares; of pictures, how many they are."""
        mixture = " + ".join(f"{share:.3g} {description}" for description, share in self.parts)
        return mixture or self.prompt or f"{self.pictures} picture{'s' if self.pictures > 1 else ''}"


@dataclass(frozen=True)
class SavedStyle:
    """Style numbers, ``(100,)``, float32, and what they are."""

    about: About
    numbers: Tensor

    @classmethod
    def load(cls, path: Path) -> SavedStyle:
        """Reads a style.

        Raises:
            BundleError: the file is missing, damaged or no style.
        """
        try:
            with safetensors.safe_open(path, "pt") as file:
                about = About.model_validate_json((file.metadata() or {}).get(HEADER, ""))
                numbers = file.get_tensor("numbers").float()
            if numbers.shape != (NUMBERS,) or not bool(torch.isfinite(numbers).all()):
                raise BundleError(f"it must hold {NUMBERS} finite numbers")
        except (OSError, safetensors.SafetensorError, RuntimeError, ValidationError, BundleError) as error:
            reason = " ".join(str(error).split())[:200]
            raise BundleError(
                f"{path} is no saved style ({reason}). Make it: genartisan style make.", "style"
            ) from error
        return cls(about, numbers)

    def save(self, path: Path) -> None:
        """Writes the style whole or not at all.

        Raises:
            OSError: it cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        header = {HEADER: self.about.model_dump_json()}
        write_whole(path, safetensors.torch.save({"numbers": self.numbers}, header))

    def mixed(self, other: SavedStyle, share: float) -> SavedStyle:
        """The style in between: this one's numbers, and a ``share`` of the way to the other's.

        Args:
            share: of the other, 0-1.

        Raises:
            InputError: the share is out of range.
        """
        if not 0 <= share <= 1:
            raise InputError(f"share is {share:g}; give how much of the second style is wanted, from 0 to 1.", "share")
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
    """The saved styles of a folder, by name; each is read when it is asked for, and a missing folder has none.

    Args:
        folder: by default that of `default_folder`, which is asked for when a style is: there may be none.
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
        """Where the style of that name is, or would be.

        Raises:
            InputError: no style can have that name.
        """
        try:
            return self.folder / f"{check_style_name(name)}{SUFFIX}"
        except ValueError as error:
            raise InputError(f"style is {shown(name)}; it {error}.", "style") from error


def default_folder() -> Path:
    """Where styles lie that are made on this machine."""
    return home() / "styles"


def find(styles: Mapping[str, SavedStyle], name: str) -> SavedStyle:
    """The style of that name.

    Raises:
        InputError: there is none; the message names those that there are.
    """
    try:
        return styles[name]
    except KeyError:
        known = f"known are {', '.join(list(styles)[:20])}" if len(styles) else "there are none yet"
        raise InputError(f"style is {shown(name)}; {known}. Make one: genartisan style make.", "style") from None
