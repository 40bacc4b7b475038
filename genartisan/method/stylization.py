"""One picture in the making: its steps, its draft, and its result with a report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from PIL import Image

from genartisan.config import StyleConfig, preset_name
from genartisan.io.images import fitted, to_image
from genartisan.method.engine import Run, Step
from genartisan.method.region_report import Explanation, region_plan, region_report
from genartisan.method.tiling import RenderTarget
from genartisan.networks.device import hardware
from genartisan.networks.memory import out_of_memory

T = TypeVar("T")


@dataclass(frozen=True)
class Result:
    """A finished picture.

    Attributes:
        image: RGB, or RGBA where the photo has alpha; its long side is ``config.long_side``.
        report: what was done and measured, ready for JSON.
    """

    image: Image.Image
    report: dict[str, Any]

    @property
    def nbytes(self) -> int:
        """Bytes that it takes in memory, about."""
        width, height = self.image.size
        return width * height * len(self.image.getbands()) + len(json.dumps(self.report))


@dataclass(frozen=True)
class Begun:
    """A run whose work has begun.

    Attributes:
        prompt_cached: whether the prompt's direction was known already.
        large: makes what the finished picture is drawn from, or None where that is what was optimised.
    """

    run: Run
    prompt_cached: bool
    large: Callable[[], RenderTarget | None]


class Stylization(Iterator[Step]):
    """The steps of one picture. Close it to cancel; `result` gives the picture so far at any time.

    Work begins when the first step, or the result, is asked for.

    Args:
        begin: the work before the first step.
        facts: of the request, for the report.
        seconds: that its phases took so far.
        release: gives back memory that other runs will want again; says whether there was any.
        config: the settings, with a region for each mask, text and style picture.
        size: width and height of the picture that is optimised, in pixels.
    """

    def __init__(
        self,
        begin: Callable[[], Begun],
        facts: dict[str, Any],
        seconds: dict[str, float],
        release: Callable[[], bool],
        config: StyleConfig,
        size: tuple[int, int],
    ) -> None:
        self.config, self.size = config, size
        self._begin, self._facts, self._seconds, self._release = begin, facts, seconds, release
        self._closed = False

    @cached_property
    def _begun(self) -> Begun:
        return self._with_room(self._begin)

    def _with_room(self, work: Callable[[], T]) -> T:
        """What ``work`` gives; where memory runs out in it, once more without what is kept for other runs."""
        try:
            return work()
        except Exception as error:
            if not out_of_memory(error) or not self._release():
                raise
        self._release()  # what the error's frames held is free only now
        return work()

    @property
    def run(self) -> Run:
        """The run whose steps these are."""
        return self._begun.run

    @property
    def prompt_cached(self) -> bool:
        """Whether the prompt's direction was known already. No part of the report: the picture is the same."""
        return self._begun.prompt_cached

    def __next__(self) -> Step:
        if self._closed:
            raise StopIteration
        return next(self.run) if self.run.history else self._with_room(self._first_step)

    def _first_step(self) -> Step:
        """The first step; of a new run, if an error has ended the one before."""
        if self.run.failed:
            del self._begun
        return next(self.run)

    def draft(self) -> Image.Image | None:
        """The draft, drawn in one pass before the first step; None if the run starts from random weights.

        Raises:
            ValueError: a step has been taken.
        """
        if self.run.history:
            raise ValueError("a draft is there before the first step only; previews come with the steps")
        return self._with_room(self.run.picture) if self.run.begins_styled else None

    def close(self) -> None:
        """Ends the optimisation here."""
        self._closed = True
        if "_begun" in vars(self):
            self.run.close()

    def result(self) -> Result:
        """The picture as it is now, with its report.

        Raises:
            InputError: the optimisation diverged.
        """
        self.run.pace.settle()  # or the steps' time would be the rendering's
        with timed(self._seconds, "render"):
            image = self._with_room(lambda: self.run.picture(self._begun.large()))
        return Result(image, self._report(image))

    def explanation(self) -> Explanation:
        """What each region will get, without optimising."""
        run = self.run
        view = to_image(run.photo.pixels) if run.regions is None else run.regions.overlay(run.photo)
        facts = {
            **self._facts,
            "mode": run.config.mode,
            "preset": preset_name(run.config),
            "steps": run.config.steps,
            "size": list(run.photo.size),
            "output_size": list(fitted(run.photo.size, run.config.long_side)),
            "regions": region_plan(run),
            "warnings": list(run.warnings),
        }
        self.close()
        return Explanation(view, facts)

    def _report(self, image: Image.Image) -> dict[str, Any]:
        run = self.run
        losses = run.losses()
        total = time.perf_counter() - run.began
        seconds = {"total": total, **self._seconds, "optimise": total - sum(self._seconds.values())}
        return {
            **self._facts,
            "mode": run.config.mode,
            "preset": preset_name(run.config),
            "seed": run.seed,
            "steps": len(losses),
            "size": list(image.size),
            "device": str(run.device),
            "hardware": hardware(run.device),
            "seconds": {name: round(value, 3) for name, value in seconds.items()},
            "losses": losses[-1] if losses else {},
            "history": [{"step": step, **values} for step, values in enumerate(losses, start=1)],
            "regions": region_report(run),
            "warnings": list(run.warnings),
            "config": run.config.model_dump(),
        }


@contextmanager
def timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    """Notes under ``phase`` how long its block took."""
    began = time.perf_counter()
    yield
    seconds[phase] = time.perf_counter() - began
