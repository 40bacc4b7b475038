"""Stylizer: photo and sentence in, picture out."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any

import torch
from torch import Tensor

from genartisan.cache import ByteCache
from genartisan.config import StyleConfig
from genartisan.errors import InputError
from genartisan.io.decode import PictureSource
from genartisan.io.images import Photo, read_photo, resized
from genartisan.method.engine import Run
from genartisan.method.graphs import Graphs, cuda_capture
from genartisan.method.inputs import Inputs, check_words
from genartisan.method.patches import plan
from genartisan.method.phases import Phases
from genartisan.method.region_inputs import (
    MaskSource,
    check_findable,
    check_texts,
    named_masks,
    read_masks,
)
from genartisan.method.regions import NAMES, RegionMap, from_classes, segment
from genartisan.method.saved_style import SavedStyle, StyleFolder, find
from genartisan.method.style_encoder import StyleEncoder
from genartisan.method.style_images import (
    ALL,
    StyleImageSource,
    named_style_images,
    read_style_image,
)
from genartisan.method.style_numbers import numbers_of_picture
from genartisan.method.stylization import Result, Stylization
from genartisan.method.text import blend, nothing, unescaped
from genartisan.method.tiling import RenderTarget
from genartisan.networks.bundle import Bundle
from genartisan.networks.device import PRECISIONS, find_device, find_precision
from genartisan.networks.factory import VOC_CLASSES
from genartisan.networks.memory import keep_freed_memory, return_freed_memory
from genartisan.validation import CLASSES, check_prompt, check_seed

PROMPT_BYTES = 4 * 1024 * 1024  # cache of text directions and style numbers, 1 to 11 kB each


class Stylizer:
    """Stylises photos. It holds the frozen networks; requests share nothing else.

    Args:
        bundle: the networks.
        device: ``auto`` (CUDA, else MPS, else the CPU), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        precision: ``fp32``, ``bf16``, or ``auto``: bf16 on CUDA, and on a CPU that multiplies matrices in it much
            faster if the bundle's CLIP does little else; else fp32.
        prompt_bytes: size of the cache of text directions and style numbers; 0 disables it.
        graphs: on a CUDA device, capture a step of each size once and replay it (`genartisan.method.graphs`).
        styles: saved styles by name (`genartisan.method.saved_style`); by default those of this machine.

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
        styles: Mapping[str, SavedStyle] | None = None,
    ) -> None:
        self.styles = StyleFolder() if styles is None else styles
        self.device = find_device(device)
        self.precision = find_precision(precision, self.device, bundle.clip.multiplies)
        self.dtype = PRECISIONS[self.precision]
        if graphs and self.device.type != "cuda":
            raise InputError(f"graphs is true, but {self.device} captures none; leave it false.", "graphs")
        self.graphs = Graphs(self.dtype, partial(cuda_capture, self.device)) if graphs else None
        if self.device.type == "cpu":
            # Once the number is set, MKL no longer lowers it at will, which would change the rounding.
            torch.set_num_threads(torch.get_num_threads())
            keep_freed_memory()
        self.bundle = bundle.to(self.device, self.dtype)
        self._texts = ByteCache[Tensor](prompt_bytes)

    def __call__(
        self,
        photo: PictureSource,
        prompt: str | None = None,
        *,
        config: StyleConfig | None = None,
        mask: MaskSource = None,
        style_image: StyleImageSource = None,
        seed: int = 0,
    ) -> Result:
        """The photo in the style of ``prompt``. The same seed, device and precision give the same picture.

        On a CPU the pictures are equal bit for bit, in any thread, provided that the processor, PyTorch and its number
        of threads are the same (``hardware`` in the report): sums in another order round differently, and the steps
        amplify the difference. On a GPU they are equal up to rounding, because the gradients of the warps are summed
        in no fixed order.

        Args:
            photo: a path, encoded bytes or a PIL image.
            prompt: the style, such as "Watercolor painting"; may be left out with a style picture or a saved style.
            config: the settings; by default the paper's.
            mask: white where people are, grey at soft edges, of the photo's size; or masks by the names of their
                regions, of which ``classes`` is a picture of VOC's labels. FCN finds the regions that have none.
            style_image: a picture whose style is wanted, beside the prompt or alone; or pictures by the names of their
                regions, of which ``all`` is for every region without a style of its own.
            seed: of the crops and of a random start.

        Raises:
            InputError: an input that cannot be read or is out of range.
        """
        steps = self.steps(photo, prompt, config=config, mask=mask, style_image=style_image, seed=seed)
        with closing(steps):
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
        style_image: StyleImageSource = None,
        seed: int = 0,
        every_layer: bool = False,
        began: float | None = None,
        between: Callable[[], None] = nothing,
    ) -> Stylization:
        """The same as an iterator of `Step`, which can be closed early; its ``result()`` is the picture so far.

        The call checks the inputs, so that errors come at once; the work begins with the first step.

        Args:
            every_layer: prepare for other photos, which may have regions that this one lacks.
            began: when the request came in, by `time.perf_counter`; the deadline counts from here. Default: now.
            between: called between pieces of work before the first step; what it raises ends them.

        The first step, or the result, raises DeadlineError if the deadline passes before the texts are read.
        """
        inputs = self.check_inputs(
            photo, prompt, config=config, mask=mask, style_image=style_image, seed=seed, every_layer=every_layer,
            began=began, between=between,
        )  # fmt: skip
        facts: dict[str, Any] = {"prompt": inputs.prompt, "bundle": self.bundle.name, "precision": self.precision}
        if inputs.style_images:
            facts["style_images"] = sorted(inputs.style_images)
        return Stylization(inputs, self.prepare, facts, self.release)

    def check_inputs(
        self,
        photo: PictureSource,
        prompt: str | None = None,
        *,
        config: StyleConfig | None = None,
        mask: MaskSource = None,
        style_image: StyleImageSource = None,
        seed: int = 0,
        every_layer: bool = False,
        began: float | None = None,
        between: Callable[[], None] = nothing,
    ) -> Inputs:
        """Checks and decodes the inputs of `steps`, whose arguments these are.

        Raises:
            InputError: an input cannot be read or is out of range.
        """
        now, phases = time.perf_counter(), Phases()
        if began is not None:
            phases["queue"] = now - began
        config, seed = config or StyleConfig(), check_seed(seed)
        saved = None if config.style is None else find(self.styles, config.style)
        image_sources = named_style_images(style_image)
        mask_sources = named_masks(mask)
        prompt, text, config = check_words(prompt, config, saved, mask_sources, image_sources)
        with phases.timed("decode"):
            original = read_photo(photo)
            small = resized(original, config.size)
            masks = read_masks(mask_sources, original.size, config.regions.names)
            check_findable(config.regions.names, masks, self.bundle.fcn)
            images = {name: read_style_image(source, name) for name, source in image_sources.items()}
        return Inputs(
            prompt=prompt, text=text, config=config, seed=seed, photo=small, original=original, masks=masks,
            style_images=images, saved=saved, every_layer=every_layer, began=now if began is None else began,
            between=between, phases=phases,
        )  # fmt: skip

    def prepare(self, inputs: Inputs) -> Run:
        """The run of checked inputs, ready for its first step: segmented, texts encoded, patches planned.

        Raises:
            DeadlineError: the deadline passes first.
            InputError: a text means nothing.
        """
        config, photo, phases = inputs.config, inputs.photo, inputs.phases
        with phases.timed("segment"):
            original_regions = regions = None
            if config.mode == "artisan":
                original_regions = self._segment(inputs.original, inputs.masks, config.regions.names)
                regions = original_regions.resized(photo.size)
        with phases.timed("text"):
            encoder = self._encoder(config, inputs.draws_numbers, inputs.check_time)
            styles = encoder.of_regions(inputs.text, photo, inputs.saved, inputs.style_images, regions)
            style = styles.pop(ALL)
        with phases.timed("plan"):
            patches = plan(config, photo.size, regions, inputs.seed)
        run = Run(
            bundle=self.bundle,
            photo=photo,
            regions=regions,
            direction=style.direction,
            region_directions={name: each.direction for name, each in styles.items()},
            plan=patches,
            config=config,
            seed=inputs.seed,
            device=self.device,
            dtype=self.dtype,
            numbers=style.numbers,
            region_numbers={name: each.numbers for name, each in styles.items() if each.numbers is not None},
            photo_numbers=numbers_of_picture(self.bundle, photo) if inputs.draws_numbers else None,
            every_layer=inputs.every_layer,
            graphs=self.graphs,
            began=inputs.began,
            original=RenderTarget(inputs.original, original_regions),
            prompt_cached=encoder.all_cached,
        )
        run.warnings += self._warnings(inputs, list(styles), regions)
        return run

    def _warnings(self, inputs: Inputs, styled: Sequence[str], regions: RegionMap | None) -> list[str]:
        """Warnings about pictures, texts that CLIP cannot read, and inputs without effect.

        Args:
            styled: names of the regions with a style of their own.
        """
        config = inputs.config
        texts = {"prompt": inputs.text, "negative_prompt": config.negative_prompt} if inputs.uses_prompt else {}
        return [
            *(warning for picture in (inputs.original, *inputs.style_images.values()) for warning in picture.warnings),
            *self._remarks(texts),
            *inputs.odd_sizes(),
            *inputs.read_as_one(),
            *inputs.unused_prompt(),
            *self._remarks({f"regions.{name}.prompt": config.regions[name].prompt for name in styled}),
            *inputs.unused_regions(regions),
        ]

    def style_numbers(
        self, prompt: str | None = None, *, config: StyleConfig | None = None, style_image: PictureSource | None = None
    ) -> Tensor:
        """The style numbers, ``(100,)``, of a prompt, a picture, or both.

        Raises:
            InputError: there is neither, or one cannot be read.
        """
        config = config or StyleConfig()
        picture = None if style_image is None else read_style_image(style_image, ALL)
        text = check_prompt(prompt) if prompt is not None or picture is None else None
        check_texts(text, config)
        return self._encoder(config, True).numbers(text, picture, "prompt")

    def release(self) -> bool:
        """Frees captured steps and unreferenced memory; returns whether there were captured steps."""
        gc.collect()
        captured = self.graphs is not None and self.graphs.clear()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return_freed_memory()
        return captured

    def regions(self, photo: Photo, mask: MaskSource = None, names: Sequence[str] = NAMES) -> RegionMap:
        """The region map of ``photo``, at its own resolution: from masks, and from FCN where a region has none.

        Raises:
            InputError: a mask cannot be read, or a region is none of FCN's classes.
        """
        planes = read_masks(named_masks(mask), photo.size, names)
        return self._segment(photo, planes, names)

    def _segment(self, photo: Photo, masks: Mapping[str, Tensor], names: Sequence[str]) -> RegionMap:
        if CLASSES in masks:
            regions = from_classes(masks[CLASSES], VOC_CLASSES, names)
        else:
            regions = segment(self.bundle.fcn, photo, names, unsought=tuple(masks))
        return regions.under({name: plane for name, plane in masks.items() if name != CLASSES})

    def _encoder(self, config: StyleConfig, draws: bool, between: Callable[[], None] = nothing) -> StyleEncoder:
        return StyleEncoder(self.bundle, self.device, self.dtype, self._texts, config, draws, between)

    def _remarks(self, texts: Mapping[str, str | None]) -> list[str]:
        """What CLIP cannot read in texts, by field, for each part of a blend."""
        parts = [(field, unescaped(part.text)) for field, text in texts.items() if text for part in blend(text)]
        return [f"{field}: {remark}" for field, text in parts for remark in self.bundle.clip.remarks(text)]
