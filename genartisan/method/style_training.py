"""Makes saved styles: from a sentence, from pictures, or by an optimisation over several photos."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from genartisan.config import StyleConfig
from genartisan.errors import InputError
from genartisan.io.decode import PictureSource
from genartisan.io.images import naming
from genartisan.method.batching import in_turns
from genartisan.method.saved_style import About, SavedStyle
from genartisan.method.step import Step
from genartisan.method.style_numbers import SEARCH
from genartisan.method.stylizer import Stylizer
from genartisan.validation import shown

MAX_PHOTOS = 100  # of an optimisation, which holds the features of all


def of_words_and_pictures(
    stylizer: Stylizer, prompt: str | None, pictures: Sequence[PictureSource], config: StyleConfig
) -> SavedStyle:
    """The style of a sentence, of pictures, or of both; pictures have equal weight.

    Raises:
        InputError: there is neither, or a picture cannot be read.
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


class StyleTraining(Iterator[Step]):
    """An optimisation of style numbers over several photos in turn, step by step; `result` is the style so far.

    Args:
        stylizer: without graphs.
        photos: up to `MAX_PHOTOS`; varied photos generalise better.
        config: the settings, with start ``draft``. Each photo gets ``steps`` steps, in which only the numbers move, at
            ``numbers_rate`` or, if that is 0, at the rate of a search.
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
                    f"{field} is {given}; an optimisation over photos needs start draft, as in preset fast, at least "
                    "one step, and no output_size.",
                    field,
                )
        rate = config.numbers_rate or SEARCH.numbers_rate
        config = config.updated({"learning_rate": 0.0, "lambda_draft": 0.0, "numbers_rate": rate})
        self.runs = []
        for photo in photos:
            with naming(photo, "photos"):
                self.runs.append(stylizer.steps(photo, prompt, config=config, seed=seed).run)
        if any(run.config.regions.texts or len(run.directions) > 1 for run in self.runs):
            raise InputError(
                f"prompt {shown(prompt)} and regions have several texts; a style has one. Give the other texts when "
                "you stylise.",
                "prompt",
            )
        self._photos = photos
        self.total = config.steps * len(photos)
        self._steps = in_turns(self.runs)
        self._about = About(
            prompt=" ".join(prompt.split()),
            bundle=stylizer.bundle.name,
            photos=len(photos),
            seed=seed,
            config=config.model_dump(),
        )

    @property
    def warnings(self) -> list[str]:
        """Warnings about the prompt and the photos."""
        photo_of = dict[str, str | None]()  # warning -> its photo, or None if it concerns several
        for photo, run in zip(self._photos, self.runs, strict=True):
            for warning in run.warnings:
                photo_of[warning] = None if warning in photo_of or not isinstance(photo, str | Path) else str(photo)
        return [warning if photo is None else f"{photo}: {warning}" for warning, photo in photo_of.items()]

    def __next__(self) -> Step:
        return next(self._steps)

    def result(self) -> SavedStyle:
        """The style so far.

        Raises:
            InputError: the optimisation diverged.
        """
        numbers = self.runs[0].painter.get_parameter("numbers")[0].detach().cpu().clone()
        if not bool(torch.isfinite(numbers).all()):
            raise self.runs[0].divergence()
        last = [run.losses()[-1] for run in self.runs if run.history]
        losses = {name: round(sum(one[name] for one in last) / len(last), 4) for name in (last[0] if last else {})}
        return SavedStyle(self._about.model_copy(update={"losses": losses}), numbers)
