"""Saved styles: 100 style numbers with a name, with which the pastiche network draws any photo in one pass.

They come from a sentence, from pictures, or from an optimisation over several photos. A style is one safetensors file,
``NAME.safetensors``, with what it is in the header, and a folder of them is a mapping. Any two can be mixed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import safetensors
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from genartisan.atomic import write_whole
from genartisan.bundle import home
from genartisan.checks import STYLE_NAME, check_style_name, shown
from genartisan.decode import PictureSource
from genartisan.errors import BundleError, InputError
from genartisan.images import naming
from genartisan.mobilenet import NUMBERS
from genartisan.style_numbers import SEARCH
from genartisan.together import in_turns

if TYPE_CHECKING:
    from genartisan.config import StyleConfig
    from genartisan.engine import Step
    from genartisan.stylizer import Stylizer

HEADER = "genartisan"  # the key of `About` in a file's header
SUFFIX = ".safetensors"
MAX_PHOTOS = 100  # that a style is optimised over: the features of each are held meanwhile


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


def of_words_and_pictures(
    stylizer: Stylizer, prompt: str | None, pictures: Sequence[PictureSource], config: StyleConfig
) -> SavedStyle:
    """The style of a sentence, of pictures, or of both; several pictures count alike.

    Raises:
        InputError: there is neither, or one cannot be read.
    """
    if pictures:
        each = [stylizer.style_numbers(prompt, config=config, style_image=picture) for picture in pictures]
    else:
        each = [stylizer.style_numbers(prompt, config=config)]
    about = About(
        prompt=None if prompt is None else " ".join(prompt.split()),
        bundle=stylizer.bundle.name,
        pictures=len(pictures),
        config=config.model_dump(),
    )
    return SavedStyle(about, torch.stack(each).mean(dim=0).cpu())


class StyleTraining(Iterator["Step"]):
    """The steps in which style numbers are optimised over several photos in turn; then ask it for its ``result()``.

    Args:
        stylizer: without graphs.
        photos: to optimise over, up to `MAX_PHOTOS`; the more they differ, the better it does on others.
        config: the settings, with start ``draft``. Each photo gets ``steps`` steps, in which only the numbers move, at
            ``numbers_rate``, or, where that is 0, at a search's.
        seed: of the crops.

    Raises:
        InputError: no photos or too many, no steps, or as `Stylizer.steps`.
    """

    def __init__(
        self, stylizer: Stylizer, prompt: str, photos: Sequence[PictureSource], config: StyleConfig, seed: int = 0
    ) -> None:
        if not 1 <= len(photos) <= MAX_PHOTOS:
            raise InputError(f"photos are {len(photos)}; give 1 to {MAX_PHOTOS}.", "photos")
        for field, given, wrong in (
            ("steps", config.steps, config.steps == 0),
            ("start", config.start, config.start != "draft"),
            ("output_size", config.output_size, config.output_size is not None),
        ):
            if wrong:
                raise InputError(
                    f"{field} is {given}; a style is optimised over photos from the draft on, as by preset fast, with "
                    "steps and no output_size.",
                    field,
                )
        rate = config.numbers_rate or SEARCH.numbers_rate
        config = config.updated({"learning_rate": 0.0, "lambda_draft": 0.0, "numbers_rate": rate})
        self._runs = []
        for photo in photos:
            with naming(photo, "photos"):
                self._runs.append(stylizer.steps(photo, prompt, config=config, seed=seed).run)
        if any(run.config.regions.texts or len(run.directions) > 1 for run in self._runs):
            raise InputError(
                f"prompt {shown(prompt)} and regions have several texts; a style has one. Give the others with the "
                "pictures.",
                "prompt",
            )
        self._photos = photos
        self.total = config.steps * len(photos)
        self._steps = in_turns(self._runs)
        self._about = About(
            prompt=" ".join(prompt.split()),
            bundle=stylizer.bundle.name,
            photos=len(photos),
            seed=seed,
            config=config.model_dump(),
        )

    @property
    def warnings(self) -> list[str]:
        """What was remarked of the prompt and the photos."""
        told = dict[str, str | None]()  # warning -> the photo, if it is of one alone
        for photo, run in zip(self._photos, self._runs, strict=True):
            for warning in run.warnings:
                told[warning] = None if warning in told or not isinstance(photo, str | Path) else str(photo)
        return [warning if photo is None else f"{photo}: {warning}" for warning, photo in told.items()]

    def __next__(self) -> Step:
        return next(self._steps)

    def result(self) -> SavedStyle:
        """The style as it is now.

        Raises:
            InputError: the optimisation diverged.
        """
        numbers = self._runs[0].painter.get_parameter("numbers")[0].detach().cpu().clone()
        if not bool(torch.isfinite(numbers).all()):
            raise self._runs[0].divergence()
        last = [run.losses()[-1] for run in self._runs if run.history]
        losses = {name: round(sum(one[name] for one in last) / len(last), 4) for name in (last[0] if last else {})}
        return SavedStyle(self._about.model_copy(update={"losses": losses}), numbers)
