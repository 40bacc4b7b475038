"""Stylizer: the one call that a Python user makes."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from genartisan.bundle import Bundle
from genartisan.cache import ByteCache
from genartisan.config import CLASSES, StyleConfig, check_prompt, check_seed, preset_name, shown
from genartisan.engine import Large, Run, Step
from genartisan.errors import InputError
from genartisan.graphs import Graphs, cuda_capture
from genartisan.images import Photo, PictureSource, fitted, read_photo, resized, to_image
from genartisan.kept import KeptStyle, StyleFolder, find
from genartisan.networks import VOC_CLASSES
from genartisan.patches import plan
from genartisan.region_choice import (
    MaskSource,
    check_findable,
    check_texts,
    named_masks,
    read_masks,
    told_by_region,
)
from genartisan.region_report import Explanation, region_plan, region_report
from genartisan.regions import NAMES, RegionMap, from_classes, segment
from genartisan.text import blend, text_direction

logger = logging.getLogger(__name__)

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
BF16_PAYS = 1.5  # times as fast as fp32, at least: half precision costs some accuracy
PROMPT_BYTES = 4 * 1024 * 1024  # of text directions, 2 to 11 kB each, that are kept


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
    large: Callable[[], Large | None]


class Stylization(Iterator[Step]):
    """The steps of one picture. Close it to cancel; `result` gives the picture so far at any time.

    Work begins when the first step, or the result, is asked for.
    """

    def __init__(self, begin: Callable[[], Begun], facts: dict[str, Any], seconds: dict[str, float]) -> None:
        self._begin, self._facts, self._seconds = begin, facts, seconds
        self._closed = False

    @cached_property
    def _begun(self) -> Begun:
        return self._begin()

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
        return next(self.run)

    def draft(self) -> Image.Image | None:
        """What the learned start or the kept style draws in one pass, before the first step; None if neither is used.

        Raises:
            ValueError: a step has been taken.
        """
        if self.run.history:
            raise ValueError("a draft is there before the first step only; previews come with the steps")
        return self.run.picture() if self.run.begins_styled else None

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
        with timed(self._seconds, "render"):
            image = self.run.picture(self._begun.large())
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
            "seconds": {name: round(value, 3) for name, value in seconds.items()},
            "losses": losses[-1] if losses else {},
            "history": [{"step": step, **values} for step, values in enumerate(losses, start=1)],
            "regions": region_report(run),
            "warnings": list(run.warnings),
            "config": run.config.model_dump(),
        }


class Stylizer:
    """Turns photos into pictures in the style of a sentence; holds the frozen networks, and no request in another.

    Args:
        bundle: the networks.
        device: ``auto`` (CUDA, else MPS, else the CPU), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        precision: ``fp32``, ``bf16``, or ``auto``: bf16 on CUDA, and on a CPU that multiplies matrices in it much
            faster if the bundle's CLIP does little else; else fp32.
        prompt_bytes: of the latest prompts' text directions that are kept; 0 keeps none.
        graphs: on a CUDA device, capture a step of each size once and replay it (`genartisan.graphs`).
        styles: the kept styles by name (`genartisan.kept`); by default those made on this machine.

    Raises:
        InputError: no such device or precision here, or graphs on a device that has none.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: str = "auto",
        precision: str = "auto",
        prompt_bytes: int = PROMPT_BYTES,
        graphs: bool = False,
        styles: Mapping[str, KeptStyle] | None = None,
    ) -> None:
        self.styles = StyleFolder() if styles is None else styles
        self.device = find_device(device)
        self.precision = find_precision(precision, self.device, bundle.clip.multiplies)
        self.dtype = PRECISIONS[self.precision]
        if graphs and self.device.type != "cuda":
            raise InputError(f"graphs is true, but {self.device} captures none; leave it false.", "graphs")
        self.graphs = Graphs(self.dtype, partial(cuda_capture, self.device)) if graphs else None
        if self.device.type == "cpu":
            # The number stays; but once it is set, MKL may no longer use fewer at will, which rounds otherwise.
            torch.set_num_threads(torch.get_num_threads())
        self.bundle = bundle.to(self.device, self.dtype)
        self._directions = ByteCache[Tensor](prompt_bytes)

    def __call__(
        self,
        photo: PictureSource,
        prompt: str | None = None,
        *,
        config: StyleConfig | None = None,
        mask: MaskSource = None,
        seed: int = 0,
    ) -> Result:
        """The photo in the style of ``prompt``. The same seed, device and precision give the same picture.

        On the CPU bit for bit; on a GPU up to rounding, because the gradients of its warps add up in any order.

        Args:
            photo: a path, encoded bytes or a PIL image.
            prompt: the style, such as "Watercolor painting"; with a kept style it may be left out, which then has
                its own.
            config: the settings; by default the paper's.
            mask: white where people are, grey at soft edges, of the photo's size; or masks by the names of their
                regions, of which ``classes`` is a picture of VOC's labels. FCN finds the regions that have none.
            seed: of the crops and of a random start.

        Raises:
            InputError: an input that cannot be read or is out of range.
        """
        with closing(self.steps(photo, prompt, config=config, mask=mask, seed=seed)) as steps:
            for _ in steps:
                pass
            return steps.result()

    def steps(
        self,
        photo: PictureSource,
        prompt: str | None = None,
        *,
        config: StyleConfig | None = None,
        mask: MaskSource = None,
        seed: int = 0,
    ) -> Stylization:
        """The same as an iterator of `Step`, which can be closed early; then ask it for its ``result()``.

        This checks the input, and the first step begins with the work: so bad input is told at once.
        """
        config, seed = config or StyleConfig(), check_seed(seed)
        kept = None if config.style is None else find(self.styles, config.style)
        of_style = None if kept is None else kept.about.prompt
        prompt = of_style if prompt is None and of_style is not None else check_prompt(prompt)
        if config.steps == 0 and kept is None and self.bundle.learned_start is None:
            raise InputError(
                f"steps is 0, but bundle {self.bundle.name!r} has no learned start, which would draw a picture in one "
                "pass; take more steps, or preset fast.",
                "steps",
            )
        masks = named_masks(mask)
        main, config = told_by_region(prompt, config, masks)
        check_texts(main, config)
        draws = config.start == "bundle" and self.bundle.learned_start is not None  # a draft for any text
        if config.steps == 0 and not draws and config.mode == "artisan" and config.regions.texts:
            name = next(iter(config.regions.texts))
            raise InputError(
                f"regions.{name}.prompt asks for a style beside {config.style}, which nothing draws in one pass; take "
                "steps, or a bundle with a learned start and start bundle.",
                f"regions.{name}.prompt",
            )
        began, seconds = time.perf_counter(), dict[str, float]()
        facts: dict[str, Any] = {"prompt": prompt, "bundle": self.bundle.name, "precision": self.precision}
        with timed(seconds, "decode"):
            original = read_photo(photo)
            small = resized(original, config.size)
            planes = read_masks(masks, original.size, config.regions.names)  # checked in both modes
            check_findable(config.regions.names, planes, self.bundle.fcn)

        def begin() -> Begun:
            with timed(seconds, "segment"):
                regions = found = None
                if config.mode == "artisan":
                    found = self._found(original, planes, config.regions.names)
                    regions = found.resized(small.size)
            with timed(seconds, "text"):
                if kept is not None and config.steps == 0:  # nothing of it is asked of CLIP
                    direction, cached = torch.zeros(self.bundle.clip.embedding_dim), True
                else:
                    direction, cached = self._direction(main, config)
                sizes = {} if regions is None else dict(zip(regions.names, regions.pixels(), strict=True))
                seen = {name: text for name, text in config.regions.texts.items() if sizes.get(name)}
                own = {name: self._direction(text, config, f"regions.{name}.prompt") for name, text in seen.items()}
            with timed(seconds, "plan"):
                patches = plan(config, small.size, regions, seed)
            run = Run(
                bundle=self.bundle,
                photo=small,
                regions=regions,
                direction=direction,
                own={name: found for name, (found, _) in own.items()},
                plan=patches,
                config=config,
                seed=seed,
                device=self.device,
                dtype=self.dtype,
                kept=None if kept is None else kept.stylenet,
                graphs=self.graphs,
                began=began,
            )
            if kept is None or config.steps > 0:
                run.warnings += self._remarks({"prompt": main, "negative_prompt": config.negative_prompt})
            elif prompt != of_style:
                run.warnings.append(f"prompt is not used: style {config.style} draws in one pass; take steps to refine")
            if kept is not None and (made := kept.about.config.get("grain", config.grain)) != config.grain:
                run.warnings.append(f"grain is {config.grain:g}; style {config.style} was made with {made:g}")
            run.warnings += self._remarks({f"regions.{name}.prompt": text for name, text in seen.items()})
            if regions is None:
                unused = [*(["mask"] if masks else []), *config.region_settings]
                run.warnings += [f"{field} is not used: mode clipstyler sees no regions" for field in unused]
            else:
                lost = [name for name in config.regions.texts if name not in seen]
                run.warnings += [f"regions.{name}.prompt is not used: the photo has no {name}" for name in lost]

            def large() -> Large | None:
                if config.long_side == config.size:
                    return None
                photo = resized(original, config.long_side)
                return Large(photo, None if found is None else found.resized(photo.size))

            return Begun(run, cached and all(known for _, known in own.values()), large)

        return Stylization(begin, facts, seconds)

    def regions(self, photo: Photo, mask: MaskSource = None, names: Sequence[str] = NAMES) -> RegionMap:
        """The region map of ``photo``, at its own resolution: from masks, and from FCN where a region has none.

        Raises:
            InputError: a mask cannot be read, or a region is none of FCN's classes.
        """
        planes = read_masks(named_masks(mask), photo.size, names)
        return self._found(photo, planes, names)

    def _found(self, photo: Photo, planes: Mapping[str, Tensor], names: Sequence[str]) -> RegionMap:
        if CLASSES in planes:
            found = from_classes(planes[CLASSES], VOC_CLASSES, names)
        else:
            found = segment(self.bundle.fcn, photo, names, unsought=tuple(planes))
        return found.under({name: plane for name, plane in planes.items() if name != CLASSES})

    def _remarks(self, texts: Mapping[str, str | None]) -> list[str]:
        """What CLIP cannot read of texts by their fields, each part of a blend for itself."""
        parts = [(field, part.text) for field, text in texts.items() if text for part in blend(text)]
        return [f"{field}: {remark}" for field, text in parts for remark in self.bundle.clip.remarks(text)]

    def _direction(self, prompt: str, config: StyleConfig, field: str = "prompt") -> tuple[Tensor, bool]:
        """ΔT, ``(D,)``, and whether it was known already."""
        texts = (prompt, config.source_text, config.negative_prompt)
        key = json.dumps(texts)
        direction = self._directions.get(key)
        if direction is not None:
            return direction, True
        direction = text_direction(self.bundle.clip, *texts)  # (D,)
        if float(direction.norm()) == 0:
            _, source, negative = texts
            other = f"negative_prompt {shown(negative)}" if negative else f"source_text {shown(source)}"
            raise InputError(f"{field} {shown(prompt)} means the same as {other}; describe a style.", field)
        self._directions.put(key, direction, direction.nbytes + len(key))
        return direction, False


@contextmanager
def timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    """Notes under ``phase`` how long its block took."""
    began = time.perf_counter()
    yield
    seconds[phase] = time.perf_counter() - began


def find_device(name: str) -> torch.device:
    """The device of that name, or the best there is for ``auto``.

    Raises:
        InputError: there is no such device here.
    """
    if name == "auto":
        best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(best)
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"device is {name!r}; give auto, cpu, cuda, cuda:N or mps.", "device") from error
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (device.index or 0) >= count.get(device.type, 0):
        raise InputError(f"device is {name!r}, which this machine lacks; use auto or cpu.", "device")
    return device


def find_precision(name: str, device: torch.device, multiplies: bool = False) -> str:
    """fp32 or bf16; ``auto`` is bf16 on a CUDA device that computes in it, or on a CPU where it pays, and else fp32.

    Args:
        multiplies: whether products of large matrices are most of the work.

    Raises:
        InputError: another name, or the device cannot compute in it.
    """
    bf16_on_cuda = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if name == "auto":
        pays = bf16_on_cuda or (device.type == "cpu" and multiplies and bf16_gain() >= BF16_PAYS)
        return "bf16" if pays else "fp32"
    if name not in PRECISIONS:
        raise InputError(f"precision is {name!r}; choose auto, {' or '.join(PRECISIONS)}.", "precision")
    if name == "bf16" and device.type == "cuda" and not bf16_on_cuda:
        raise InputError("precision is 'bf16', which this GPU does not compute in; use fp32.", "precision")
    return name


@cache
def bf16_gain() -> float:
    """How many times as fast as in fp32 this CPU multiplies matrices in bf16. Takes some hundredths of a second.

    Measured, for what a processor says that it can do does not tell: of two that have AVX-512 with bf16, one was three
    times as fast in it, and the other half as fast.
    """
    seconds = dict.fromkeys(PRECISIONS.values(), float("inf"))
    matrices = {dtype: torch.ones(768, 768, dtype=dtype) for dtype in seconds}
    for _ in range(5):
        for dtype, matrix in matrices.items():
            began = time.perf_counter()
            matrix @ matrix
            seconds[dtype] = min(seconds[dtype], time.perf_counter() - began)
    gain = seconds[torch.float32] / seconds[torch.bfloat16]
    logger.info("products of matrices in bf16 are %.2f times as fast as in fp32", gain)
    return gain
