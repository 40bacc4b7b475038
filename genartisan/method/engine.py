"""The optimisation of one painter for one photo and one sentence, a `Step` at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.profiler import record_function

from genartisan.config import StyleConfig
from genartisan.errors import DeadlineError, InputError
from genartisan.io.images import Photo
from genartisan.method.directions import Directions
from genartisan.method.graphs import MIN_CAPTURE_STEPS, Graphs, Outputs, TakeStep
from genartisan.method.net_input import net_input, region_values
from genartisan.method.objective import LOSSES, Objective
from genartisan.method.pace import Pace
from genartisan.method.painters import (
    Painter,
    PastichePainter,
    adam,
    composed,
    draw_layers,
    draw_picture,
    new_stylenets,
    plan_layers,
)
from genartisan.method.patches import PatchPlan, Records, plan_coarse
from genartisan.method.postprocess import postprocess, region_strength
from genartisan.method.regions import NAMES, RegionMap
from genartisan.method.schedule import Schedule
from genartisan.method.step import Step
from genartisan.method.targets import FeatureExtractor, ScaleTargets, halved, region_weights, scale_targets
from genartisan.method.tiling import RenderTarget, rendered
from genartisan.networks.bundle import Bundle

PHASES = ("stylenet", "warp", "clip", "vgg", "backward", "adam")  # of a step, as PyTorch's profiler names them


@dataclass
class Run:
    """The state of one request, and an iterator of its steps. It shares nothing with other requests but the bundle.

    Closing it, or a deadline, ends it early; the picture so far is available at any time.

    Args:
        bundle: the frozen networks, on their device, in the precision to compute in.
        photo: at the size of the optimisation.
        regions: its region map in artisan mode; None in clipstyler mode.
        direction: ΔT of the prompt, ``(D,)``.
        region_directions: ΔT of regions with a text of their own, by name, each ``(D,)``.
        plan: the patches of all steps at full size.
        numbers: style numbers of the prompt, ``(100,)``, for a run from the draft on; None: from random weights.
        region_numbers: of regions with a style of their own, by name, each ``(100,)``.
        photo_numbers: the photo's own, ``(100,)``; required with ``numbers``.
        every_layer: keep layers for regions that this photo lacks, for other photos that will be drawn.
        graphs: captured steps on a GPU; None runs each step anew.
        began: when the request came in, by `time.perf_counter`; the deadline counts from here.
        original: the photo and its region map at their own size, for a larger picture.
        prompt_cached: whether the prompt's direction was cached.

    Attributes:
        history: the losses of each step so far, ``(7,)``.
        warnings: requests that could not be met, in sentences.
        failed: whether an error has ended the steps.
        pace: keeps the host from running ahead of the device.
    """

    bundle: Bundle
    photo: Photo
    regions: RegionMap | None
    direction: Tensor
    plan: PatchPlan
    config: StyleConfig
    seed: int
    device: torch.device
    dtype: torch.dtype
    numbers: Tensor | None = None
    photo_numbers: Tensor | None = None
    region_numbers: Mapping[str, Tensor] = field(default_factory=dict)
    every_layer: bool = False
    region_directions: Mapping[str, Tensor] = field(default_factory=dict)
    graphs: Graphs | None = None
    began: float = field(default_factory=time.perf_counter)
    original: RenderTarget | None = None
    prompt_cached: bool = False
    history: list[Tensor] = field(default_factory=list, init=False)
    warnings: list[str] = field(default_factory=list, init=False)
    failed: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        names = NAMES if self.regions is None else self.regions.names
        self.direction = self.direction.to(self.device)
        of_regions = {} if self.regions is None else self.region_directions
        self.directions = Directions.of(
            self.direction, {name: direction.to(self.device) for name, direction in of_regions.items()}, names
        )
        self.layers = plan_layers(self.directions, self.regions, self.config, self.begins_styled, self.every_layer)
        if self.numbers is None:
            painter = new_stylenets(len(self.layers), self.seed)
        else:
            assert self.photo_numbers is not None
            numbers = self.directions.styles(self.numbers, self.region_numbers, names)
            trains_net = self.config.steps > 0 and self.config.learning_rate > 0
            painter = PastichePainter(self.bundle.pastiche, numbers, self.photo_numbers, self.layers, trains_net)
        self.painter: Painter = painter.to(self.device)
        self.extractor = FeatureExtractor(self.bundle, self.dtype)
        width, height = self.photo.size
        self.objective = Objective(self.config, self.extractor, self.directions, self.layers, width * height)
        self.schedule = Schedule.of(self.config)
        coarse_steps = self.schedule.coarse_steps
        self.coarse_plan = plan_coarse(self.config, self.plan, *self._halved, self.seed) if coarse_steps else self.plan
        if self.config.steps:
            self.warnings += dict.fromkeys((*self.plan.warnings, *self.coarse_plan.warnings))
        self.pace = Pace.of(self.device)
        self._optimising_since, self._out_of_time = time.perf_counter(), False
        self._steps = self._optimise()

    @cached_property
    def optimizer(self) -> torch.optim.Adam:
        """Adam over the painter. A draft needs none, and PyTorch's first one imports torch._dynamo: 5 s."""
        return adam(self.painter, self.config.learning_rate, self.config.numbers_rate)

    def __iter__(self) -> Iterator[Step]:
        return self

    def __next__(self) -> Step:
        try:
            return next(self._steps)
        except Exception as error:
            self.failed = not isinstance(error, StopIteration)
            raise

    def close(self) -> None:
        """Ends the run; the picture so far stays available."""
        self._steps.close()  # type: ignore[attr-defined]

    def _optimise(self) -> Iterator[Step]:
        if self.config.steps:
            if self._pulled:
                self.draft  # noqa: B018 - drawn before anything moves
            self.targets_at(0), self.optimizer  # prepared outside the time of the first step
        self._optimising_since = time.perf_counter()
        with self._capturing() as take_step:
            while not self.is_over():
                index = len(self.history)
                yield self.record(*take_step(self.targets_at(index), index))

    def take_step(self, targets: ScaleTargets, index: int) -> Outputs:
        """One step of the method: the picture before its update, ``(1, 3, H, W)``, and its losses, ``(7,)``."""
        layers = self.draw(targets)  # (L, 3, H, W)
        self.optimizer.zero_grad(set_to_none=True)
        losses = self.objective.backward(layers, targets, index)  # cut, embed, losses, gradient
        self.update(index)
        return composed(layers.detach(), targets.net_input), losses

    def draw(self, targets: ScaleTargets) -> Tensor:
        """The painter's layers of the photo, ``(L, 3, H, W)``."""
        return draw_layers(self.painter, targets.net_input, self.dtype)

    def update(self, index: int) -> None:
        """Adam's update of step ``index``, counted from 0."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * self.schedule.rate_factor(index)
        with record_function("adam"):
            self.optimizer.step()

    def record(self, picture: Tensor, losses: Tensor) -> Step:
        """Records the outputs of a step."""
        self.history.append(losses)
        self.pace.launched()
        index, now = len(self.history), time.perf_counter()
        eta = self.schedule.eta(index, now - self._optimising_since)
        finish = partial(self.postprocess, photo=self.photo, regions=self.regions)
        return Step(index, self.config.steps, now - self.began, eta, losses, picture, finish)

    def is_over(self) -> bool:
        """Whether no step or no time is left.

        Raises:
            DeadlineError: no time is left, and ``on_timeout`` is ``error``.
        """
        config, index = self.config, len(self.history)
        if index == config.steps:
            return True
        if config.timeout_s is None or not index or time.perf_counter() - self.began <= config.timeout_s:
            return False
        if self._out_of_time:
            return True
        self._out_of_time = True
        ended = f"timeout_s of {config.timeout_s:g} s ended the run after {index} of {config.steps} steps"
        if config.on_timeout == "error":
            raise DeadlineError(f"{ended}; raise it, or lower steps, size or patches.", "timeout_s")
        self.warnings.append(ended)
        return True

    @contextmanager
    def _capturing(self) -> Iterator[TakeStep]:
        """Yields `take_step`, or its captured form, for which the weights move to the capture's buffers and back."""
        painter = self.painter
        if self.graphs is None or self.config.steps < MIN_CAPTURE_STEPS or self.begins_styled:
            yield self.take_step
            return
        with self.graphs.buffers_for(painter) as buffers:
            if buffers is None:
                yield self.take_step
                return
            replay = self.graphs.steps_in(buffers, self.objective)

            def take_captured_step(targets: ScaleTargets, index: int) -> Outputs:
                buffers.rate.fill_(self.config.learning_rate * self.schedule.rate_factor(index))
                return replay(targets, index)

            self.painter = buffers.painter
            try:
                yield take_captured_step
            finally:
                self.painter = painter
                painter.load_state_dict(buffers.painter.state_dict())

    def targets_at(self, index: int) -> ScaleTargets:
        """The photo at the size of step ``index``, counted from 0."""
        return self.coarse if index < self.schedule.coarse_steps else self.full

    @cached_property
    def full(self) -> ScaleTargets:
        """The photo at full size, with all that the losses compare a picture with."""
        return self._targets(self.photo, self.regions, self.plan, self.net_input, self.draft if self._pulled else None)

    @cached_property
    def coarse(self) -> ScaleTargets:
        """The same at half the size, for the coarse steps; `full` if there are none."""
        if not self.schedule.coarse_steps:
            return self.full
        photo, regions = self._halved
        inputs = self.net_input_of(photo, regions).to(self.device)
        return self._targets(photo, regions, self.coarse_plan, inputs, self._draw(inputs) if self._pulled else None)

    def _targets(
        self, photo: Photo, regions: RegionMap | None, patches: PatchPlan, inputs: Tensor, draft: Tensor | None
    ) -> ScaleTargets:
        masks, rows = self.directions.masks(regions)
        weights = torch.ones_like(photo.pixels[None, :1])  # (1, 1, H, W)
        if regions is not None:
            weights = region_values(regions, region_weights(self.config, regions.names), self.config)
        return scale_targets(photo, masks, rows, patches, self.extractor, self.device, inputs, weights, draft)

    @property
    def begins_styled(self) -> bool:
        """Whether the painter draws the style before its first step."""
        return self.numbers is not None

    @property
    def _pulled(self) -> bool:
        """Whether the draft loss counts."""
        return self.begins_styled and self.config.lambda_draft > 0

    @cached_property
    def net_input(self) -> Tensor:
        """The painter's input, ``(1, 3, H, W)`` or ``(1, 3 + L, H, W)``, on the device."""
        return self.net_input_of(self.photo, self.regions).to(self.device)

    def net_input_of(self, photo: Photo, regions: RegionMap | None) -> Tensor:
        """The painter's input for a photo of any size, on the CPU."""
        return net_input(photo, regions, self.layers, self.config)

    @cached_property
    def draft(self) -> Tensor:
        """The picture before the first step, ``(1, 3, H, W)``; to be read before that step."""
        return self._draw(self.net_input)

    @torch.no_grad()
    def _draw(self, inputs: Tensor) -> Tensor:
        """The painter's picture, ``(1, 3, H, W)``."""
        return draw_picture(self.painter, inputs, self.dtype)

    def picture(self, target: RenderTarget | None = None) -> Image.Image:
        """The picture so far, of the photo at full size or of a larger ``target``.

        Raises:
            InputError: the optimisation diverged.
        """
        if target is not None:
            picture = self._render(target)
        else:
            picture = self._draw(self.net_input) if self.history else self.draft
        if not bool(torch.isfinite(picture).all()):
            raise self.divergence()
        photo, regions = (self.photo, self.regions) if target is None else (target.photo, target.regions)
        return self.postprocess(picture, photo, regions)

    def _render(self, target: RenderTarget) -> Tensor:
        """The picture at the size of ``target``, ``(1, 3, H, W)``, on the CPU."""
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return rendered(self.painter, self.net_input, self.net_input_of(target.photo, target.regions))

    def render_target(self) -> RenderTarget | None:
        """The photo and its regions at ``output_size``; None if the picture has the size of the optimisation."""
        if self.original is None or self.config.long_side == self.config.size:
            return None
        return self.original.resized(self.config.long_side)

    def postprocess(self, picture: Tensor, photo: Photo, regions: RegionMap | None) -> Image.Image:
        """Post-processing of a picture, ``(1, 3, H, W)``, of ``photo``."""
        strength = None if self.begins_styled else region_strength(regions, self.config)  # layers have theirs
        return postprocess(picture, photo, self.config.contrast, self.config.keep_colors, strength)

    def divergence(self) -> InputError:
        """The error for weights that are no longer finite."""
        return InputError(
            f"learning_rate is {self.config.learning_rate:g} and numbers_rate {self.config.numbers_rate:g}, with which "
            f"the optimisation diverged within {len(self.history)} steps; lower them.",
            "learning_rate",
        )

    def patches(self, steps: int) -> Records:
        """The patches of the first steps: `PATCH` rows, ``(steps, N)``."""
        coarse_steps = self.schedule.coarse_steps
        return np.concatenate((self.coarse_plan.records[:coarse_steps], self.plan.records[coarse_steps:]))[:steps]

    def losses(self) -> list[dict[str, float]]:
        """The losses of every step so far, read from the device at once."""
        if not self.history:
            return []
        rows: list[list[float]] = torch.stack(self.history).tolist()
        return [dict(zip(LOSSES, row, strict=True)) for row in rows]

    @cached_property
    def _halved(self) -> tuple[Photo, RegionMap | None]:
        """Photo and regions of the coarse steps."""
        photo = halved(self.photo)
        return photo, None if self.regions is None else self.regions.resized(photo.size)
