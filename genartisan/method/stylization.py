"""One stylisation: its steps, its draft, and its result with a report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from PIL import Image

from genartisan.config import preset_name
from genartisan.io.images import fitted, to_image
from genartisan.method.engine import Run
from genartisan.method.inputs import Inputs
from genartisan.method.region_report import Explanation, region_plan, region_report
from genartisan.method.step import Step
from genartisan.networks.device import hardware
from genartisan.networks.factory import VOC_CLASSES
from genartisan.networks.memory import out_of_memory, return_freed_memory

T = TypeVar("T")


@dataclass(frozen=True)
class Result:
    """A finished picture.

    Attributes:
        image: RGB, or RGBA where the photo has alpha; its long side is ``config.long_side``.
        report: settings, timings, losses and regions, ready for JSON.
    """

    image: Image.Image
    report: dict[str, Any]

    @property
    def nbytes(self) -> int:
        """Approximate size in memory, bytes."""
        width, height = self.image.size
        return width * height * len(self.image.getbands()) + len(json.dumps(self.report))


class Stylization(Iterator[Step]):
    """The steps of one picture. `close` cancels it; `result` gives the picture so far at any time.

    Work begins with the first step, or with the draft or result.

    Args:
        inputs: of the request.
        prepare: makes the run.
        facts: of the request, for the report.
        release: frees memory that is held for other runs; returns whether there was any.

    Attributes:
        config: the settings, with a region for each mask, region prompt and style picture.
        size: (width, height) of the optimised photo, in pixels.
        phases: of its work so far, but the steps.
    """

    def __init__(
        self, inputs: Inputs, prepare: Callable[[Inputs], Run], facts: dict[str, Any], release: Callable[[], bool]
    ) -> None:
        self.config, self.size = inputs.config, inputs.photo.size
        self._inputs, self.phases = inputs, inputs.phases
        self._prepare, self._facts, self._release = prepare, facts, release
        self._closed = False

    @cached_property
    def run(self) -> Run:
        """The run whose steps these are."""
        return self._with_room(lambda: self._prepare(self._inputs))

    def _with_room(self, work: Callable[[], T]) -> T:
        """The result of ``work``; if memory runs out, a second try without what is held for other runs."""
        try:
            return work()
        except Exception as error:
            if not out_of_memory(error) or not self._release():
                raise
        self._release()  # the error's frames held memory until here
        return work()

    @property
    def prompt_cached(self) -> bool:
        """Whether the prompt's direction was cached. Not part of the report: the picture is the same."""
        return self.run.prompt_cached

    @property
    def has_picture(self) -> bool:
        """Whether there is a picture already: a step was taken, or the run starts from one."""
        return "run" in vars(self) and bool(self.run.history or self.run.begins_styled)

    def __next__(self) -> Step:
        if self._closed:
            raise StopIteration
        return next(self.run) if self.run.history else self._with_room(self._first_step)

    def _first_step(self) -> Step:
        """The first step; of a new run, if an error has ended the last one."""
        if self.run.failed:
            del self.run
        return next(self.run)

    def draft(self) -> Image.Image | None:
        """The draft, in one pass; None if the run starts from random weights.

        Raises:
            ValueError: the first step has been taken.
        """
        if self.run.history:
            raise ValueError("the draft is available before the first step only; take a step's preview")
        return self._with_room(self.run.picture) if self.run.begins_styled else None

    def close(self) -> None:
        """Ends the optimisation."""
        self._closed = True
        if "run" in vars(self):
            self.run.close()
            if self.run.history:
                return_freed_memory()

    def result(self, *, full_size: bool = True) -> Result:
        """The picture as it is now, with its report.

        Args:
            full_size: at ``output_size``, which may take half a minute; otherwise at the size of the optimisation.

        Raises:
            InputError: the optimisation diverged.
        """
        self.run.pace.settle()  # so that the time of the steps is not counted as rendering
        with self.phases.timed("render"):
            image = self._with_room(lambda: self.run.picture(self.run.render_target() if full_size else None))
        return Result(image, self._report(image))

    def explanation(self) -> Explanation:
        """What each region would get, without optimising."""
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
        regions = None if run.original is None else run.original.regions
        self.close()
        return Explanation(view, facts, None if regions is None else regions.as_classes(VOC_CLASSES))

    def _report(self, image: Image.Image) -> dict[str, Any]:
        run = self.run
        losses = run.losses()
        total = time.perf_counter() - run.began
        seconds = {"total": total, **self.phases, "optimise": total - sum(self.phases.values())}
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
