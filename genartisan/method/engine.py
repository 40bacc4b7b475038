"""The optimisation of one painter for one photo and one sentence; progress is a value, a `Step` at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from genartisan.method.graphs import MIN_CAPTURE_STEPS, Graphs, Outputs, Take
from genartisan.method.objective import LOSSES, Objective
from genartisan.method.pace import Pace
from genartisan.method.painters import Layers, Painter, PastichePainter, StyleNets, adam, composed, drawn, layers_of
from genartisan.method.patches import PatchPlan, Records, plan
from genartisan.method.postprocess import postprocess
from genartisan.method.regions import BACKGROUND_LABEL, NAMES, RegionMap
from genartisan.method.targets import FeatureExtractor, Scale, halved, prepared, region_weights
from genartisan.method.tiling import RenderTarget, rendered
from genartisan.networks.bundle import Bundle
from genartisan.networks.stylenet import StyleNet, random_stylenet

PHASES = ("stylenet", "warp", "clip", "vgg", "backward", "adam")  # of a step, as PyTorch's profiler is told them
COARSE_WORK = 1 / 3  # of a step at the photo's size
COARSE_PATCHES = (0.75, 0.625, 0.5)  # of a patch's side in pixels, in the coarse steps: the first that will do


@dataclass(frozen=True)
class Step:
    """One step of a run.

    Attributes:
        index: of the step, from 1 to ``total``.
        total: steps that the run will take.
        seconds: since the run began.
        eta: seconds until the last step ends, going by those done.
    """

    index: int
    total: int
    seconds: float
    eta: float
    _losses: Tensor  # (7,), still on the device: reading it waits for the device
    _picture: Tensor  # (1, 3, H, W); a coarse step's is smaller than the photo
    _finish: Callable[[Tensor], Image.Image]

    @property
    def losses(self) -> dict[str, float]:
        """The loss before this step's update: the weighted ``total``, and each term without its weight."""
        return dict(zip(LOSSES, self._losses.tolist(), strict=True))

    def preview(self) -> Image.Image:
        """The picture as this step saw it, at the size of the photo: a coarse step's is enlarged."""
        return self._finish(self._picture)


@dataclass
class Run:
    """The state of one request, and an iterator of its steps; nothing of it is in any other request.

    Closing it, or a deadline, ends it early; the picture so far can be had at any time.

    Args:
        bundle: the frozen networks, on their device and in the precision to compute in.
        photo: the photo at the size of the optimisation.
        regions: its region map in artisan mode; None in clipstyler mode.
        direction: ΔT of the prompt, ``(D,)``.
        own: ΔT of the regions that have a text of their own, by name, each ``(D,)``.
        plan: the patches of all steps at the photo's size.
        numbers: style numbers of the prompt, ``(100,)``, of a run from the draft on; None: from random weights.
        own_numbers: of the regions that have a style of their own, by name, each ``(100,)``.
        photo_numbers: the photo's own, ``(100,)``; wanted where there are ``numbers``.
        every_layer: draw layers for regions, too, that this photo has not: other photos will be drawn.
        graphs: where steps are captured and replayed, on a GPU; None takes each step anew.
        began: when the request came in, by `time.perf_counter`; the deadline counts from here.

    Attributes:
        history: the losses of each step so far, ``(7,)``.
        warnings: what could not be done as asked, in sentences.
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
    own_numbers: Mapping[str, Tensor] = field(default_factory=dict)
    every_layer: bool = False
    own: Mapping[str, Tensor] = field(default_factory=dict)
    graphs: Graphs | None = None
    began: float = field(default_factory=time.perf_counter)
    history: list[Tensor] = field(default_factory=list, init=False)
    warnings: list[str] = field(default_factory=list, init=False)
    failed: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.direction = self.direction.to(self.device)
        own = {name: direction.to(self.device) for name, direction in self.own.items()}
        names = NAMES if self.regions is None else self.regions.names
        self.directions = Directions.of(self.direction, {} if self.regions is None else own, names)
        self.layers = self._planned_layers(names)
        self.painter = self._fresh_painter(names)
        self.extractor = FeatureExtractor(self.bundle, self.dtype)
        width, height = self.photo.size
        self.objective = Objective(self.config, self.extractor, self.directions, self.layers, width * height)
        self.coarse_steps = round(self.config.coarse_share * self.config.steps)
        self.coarse_plan = self._planned_coarsely() if self.coarse_steps else self.plan
        self.optimizer = adam(self.painter, self.config.learning_rate, self.config.numbers_rate)
        if self.config.steps:
            self.warnings += dict.fromkeys((*self.plan.warnings, *self.coarse_plan.warnings))
        self._first, self._out_of_time = time.perf_counter(), False
        self.pace = Pace.of(self.device)
        self._steps = self._optimise()

    @cached_property
    def content(self) -> Tensor:
        """What the painter sees of the photo, ``(1, 3, H, W)`` or ``(1, 3 + L, H, W)``, on the device."""
        return self.seen(self.photo, self.regions).to(self.device)

    @cached_property
    def draft(self) -> Tensor:
        """The picture before the first step, ``(1, 3, H, W)``; to be asked for before it."""
        return self._drawn(self.content)

    @cached_property
    def full(self) -> Scale:
        """The photo at its size, as the last steps see it."""
        return self._prepared(self.photo, self.regions, self.plan, self.content, self.draft if self._pulled else None)

    @cached_property
    def coarse(self) -> Scale:
        """The photo at half its size, as the first steps see it; the same as `full` where all steps are alike."""
        if not self.coarse_steps:
            return self.full
        photo, regions = self._halved()
        content = self.seen(photo, regions).to(self.device)
        return self._prepared(photo, regions, self.coarse_plan, content, self._drawn(content) if self._pulled else None)

    @property
    def _pulled(self) -> bool:
        """Whether the picture is held to its draft."""
        return self.numbers is not None and self.config.lambda_draft > 0

    def __iter__(self) -> Iterator[Step]:
        return self

    def __next__(self) -> Step:
        try:
            return next(self._steps)
        except Exception as error:
            self.failed = not isinstance(error, StopIteration)
            raise

    def close(self) -> None:
        """Ends the run here; the picture so far stays."""
        self._steps.close()  # type: ignore[attr-defined]

    def picture(self, large: RenderTarget | None = None) -> Image.Image:
        """The picture that the painter gives now, of the photo or of a larger one.

        Raises:
            InputError: the optimisation diverged.
        """
        if large is not None:
            picture = self._rendered(large)
        else:
            picture = self._drawn(self.content) if self.history else self.draft
        if not bool(torch.isfinite(picture).all()):
            raise self.divergence()
        photo, regions = (self.photo, self.regions) if large is None else (large.photo, large.regions)
        return self.finish(picture, photo, regions)

    def finish(self, picture: Tensor, photo: Photo, regions: RegionMap | None) -> Image.Image:
        """What `finished` makes of a picture, ``(1, 3, H, W)``, of that photo, by the run's settings."""
        strength = None  # the pastiche network's layers have it already
        if (
            self.numbers is None
            and regions is not None
            and any(self.config.regions[name].strength < 1 for name in regions.names)
        ):
            strength = self._weighed([self.config.regions[name].strength for name in regions.names], regions)
        return postprocess(picture, photo, self.config.contrast, self.config.keep_colors, strength)

    def divergence(self) -> InputError:
        """What to say of a network whose weights are no numbers."""
        return InputError(
            f"learning_rate is {self.config.learning_rate:g} and numbers_rate {self.config.numbers_rate:g}, with which "
            f"the optimisation diverged within {len(self.history)} steps; lower them.",
            "learning_rate",
        )

    def patches(self, steps: int) -> Records:
        """The records of the patches of the first steps, `PATCH` rows, ``(steps, N)``."""
        coarse, fine = self.coarse_plan.records[: self.coarse_steps], self.plan.records[self.coarse_steps :]
        return np.concatenate((coarse, fine))[:steps]

    def losses(self) -> list[dict[str, float]]:
        """The losses of every step so far, read back at once."""
        if not self.history:
            return []
        rows: list[list[float]] = torch.stack(self.history).tolist()
        return [dict(zip(LOSSES, row, strict=True)) for row in rows]

    def _optimise(self) -> Iterator[Step]:
        if self.config.steps:
            if self._pulled:
                self.draft  # noqa: B018 - is drawn now, before anything moves
            self.scale_of(0)  # is prepared now, or the first step would seem to take that long
        self._first = time.perf_counter()
        with self._takes() as take:
            while not self.is_over():
                index = len(self.history)
                yield self.done(*take(self.scale_of(index), index))

    def is_over(self) -> bool:
        """Whether no step is left, or no time.

        Raises:
            DeadlineError: no time is left, and that is to be an error.
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

    def scale_of(self, index: int) -> Scale:
        """The photo as step ``index``, counted from 0, sees it."""
        return self.coarse if index < self.coarse_steps else self.full

    def done(self, picture: Tensor, losses: Tensor) -> Step:
        """Notes the losses of a step, which saw ``picture``."""
        self.history.append(losses)
        self.pace.launched()
        index, now = len(self.history), time.perf_counter()
        eta = (now - self._first) * (self._work(self.config.steps) / self._work(index) - 1)
        finish = partial(self.finish, photo=self.photo, regions=self.regions)
        return Step(index, self.config.steps, now - self.began, eta, losses, picture, finish)

    def update(self, index: int) -> None:
        """Moves the weights along the gradient, at the rate of step ``index``, counted from 0."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * self._halving(index)
        with record_function("adam"):
            self.optimizer.step()

    def _take(self, scale: Scale, index: int) -> Outputs:
        layers = self._stylised(scale)
        self.optimizer.zero_grad(set_to_none=True)
        losses = self.objective.descend(layers, scale, index)
        self.update(index)
        return composed(layers.detach(), scale.content), losses

    def _halving(self, index: int) -> float:
        """The factor on the learning rates of step ``index``, counted from 0."""
        return float(0.5 ** (index // self.config.halve_every))

    @contextmanager
    def _takes(self) -> Iterator[Take]:
        """What takes a step; where it is replayed, the weights are meanwhile where the captured steps have theirs."""
        own = self.painter
        if self.graphs is None or self.config.steps < MIN_CAPTURE_STEPS or not isinstance(own, StyleNet):
            yield self._take
            return
        with self.graphs.home_of(own) as home:
            if home is None:
                yield self._take
                return
            take = self.graphs.steps_in(home, self.objective)

            def replayed(scale: Scale, index: int) -> Outputs:
                home.rate.fill_(self.config.learning_rate * self._halving(index))
                return take(scale, index)

            self.painter = home.stylenet
            try:
                yield replayed
            finally:
                self.painter = own
                own.load_state_dict(home.stylenet.state_dict())

    def _work(self, steps: int) -> float:
        """How much work the first steps are, in steps at the photo's size."""
        coarse = min(steps, self.coarse_steps)
        return coarse * COARSE_WORK + steps - coarse

    def _stylised(self, scale: Scale) -> Tensor:
        """The painter's layers as they are now, ``(L, 3, H, W)``."""
        return layers_of(self.painter, scale.content, self.dtype)

    @property
    def begins_styled(self) -> bool:
        """Whether the painter draws in the style already before its first step."""
        return self.numbers is not None

    def _planned_layers(self, names: Sequence[str]) -> Layers:
        """One layer for each text; from the draft on, for each text and strength that the photo has a region of."""
        texts = list(self.directions.rows_of)
        if self.numbers is None or self.regions is None:
            return Layers.of(texts, [1.0] * len(texts))
        strengths = [self.config.regions[name].strength for name in names]
        for label, pixels in enumerate(self.regions.pixels()):
            if not pixels and not self.every_layer:
                texts[label], strengths[label] = texts[BACKGROUND_LABEL], strengths[BACKGROUND_LABEL]
        return Layers.of(texts, strengths)

    def _fresh_painter(self, names: Sequence[str]) -> Painter:
        """This run's own painter: nothing of an earlier request may be left in it."""
        if self.numbers is None:
            nets = [random_stylenet(self.seed) for _ in range(len(self.layers))]
            net = nets[0] if len(nets) == 1 else StyleNets(nets)
            return net.to(self.device).requires_grad_(True).train()
        assert self.photo_numbers is not None
        of_texts = [self.numbers] * len(self.directions)
        for name, text in zip(names, self.directions.rows_of, strict=True):
            of_texts[text] = self.own_numbers.get(name, of_texts[text])
        return PastichePainter(
            self.bundle.pastiche,
            torch.stack(of_texts).to(self.device),
            self.photo_numbers.to(self.device),
            self.layers,
            trains_net=self.config.steps > 0 and self.config.learning_rate > 0,
        ).to(self.device)

    def _halved(self) -> tuple[Photo, RegionMap | None]:
        """Photo and regions at half their size."""
        photo = halved(self.photo)
        return photo, None if self.regions is None else self.regions.resized(photo.size)

    def _planned_coarsely(self) -> PatchPlan:
        """What the coarse steps see of the photo at half its size: patches of more than half of theirs.

        A StyleNet draws strokes by pixels. Patches of half the size would have strokes drawn half as large, which the
        fine steps would have to draw anew; patches of the whole size leave few crops beside a person in the middle. So
        they have three quarters of their size, or less where a region would else be left without a crop.
        """
        photo, regions = self._halved()
        for share in COARSE_PATCHES:
            side = min(max(1, round(share * self.config.patch_size)), *photo.size)
            patches = plan(self.config, photo.size, regions, self.seed, side)
            if set(patches.warnings) <= set(self.plan.warnings):  # no size gives a crop of what the photo lacks
                break
        return patches

    @torch.no_grad()
    def _drawn(self, content: Tensor) -> Tensor:
        """The picture that the painter makes of its input now, ``(1, 3, H, W)``."""
        return drawn(self.painter, content, self.dtype)

    def _rendered(self, large: RenderTarget) -> Tensor:
        """The picture at the large size, ``(1, 3, H, W)``, on the CPU."""
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return rendered(self.painter, self.content, self.seen(large.photo, large.regions))

    def _prepared(
        self, photo: Photo, regions: RegionMap | None, patches: PatchPlan, content: Tensor, draft: Tensor | None
    ) -> Scale:
        masks, rows = self.directions.masks(regions)
        strengths = self._strengths(photo, regions)
        return prepared(photo, masks, rows, patches, self.extractor, self.device, content, strengths, draft)

    def seen(self, photo: Photo, regions: RegionMap | None) -> Tensor:
        """What the painter sees of a photo: its pixels, and how much of each is on which layer; on the CPU."""
        pixels = photo.pixels[None]  # (1, 3, H, W)
        if regions is None or len(self.layers) == 1:
            return pixels
        parts = regions.grouped(self.layers.of_regions, self._feather(regions))[None]  # (1, L, H, W)
        return torch.cat((pixels, parts), dim=1)

    def _strengths(self, photo: Photo, regions: RegionMap | None) -> Tensor:
        """How strongly each pixel is to be styled, ``(1, 1, H, W)``: the weight of its region, at most 1."""
        if regions is None:
            return torch.ones_like(photo.pixels[None, :1])
        return self._weighed(region_weights(self.config, regions.names), regions)

    def _weighed(self, weights: Sequence[float], regions: RegionMap) -> Tensor:
        """The number given for the region of each pixel, ``(1, 1, H, W)``, with soft edges if they are asked for."""
        return regions.weighed(weights, self._feather(regions))[None, None]

    def _feather(self, regions: RegionMap) -> float:
        """Width of the soft edges in a map's own pixels."""
        return self.config.feather * max(regions.size) / self.config.size
