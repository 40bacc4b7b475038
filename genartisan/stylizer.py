"""Stylizer: the one call that a Python user makes."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any

import torch
from torch import Tensor

from genartisan.bundle import Bundle
from genartisan.cache import ByteCache
from genartisan.checks import CLASSES, check_prompt, check_seed, shown
from genartisan.config import StyleConfig
from genartisan.device import PRECISIONS, find_device, find_precision
from genartisan.engine import Run
from genartisan.errors import InputError
from genartisan.graphs import Graphs, cuda_capture
from genartisan.images import Photo, PictureSource, read_photo, resized
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
from genartisan.regions import NAMES, RegionMap, from_classes, segment
from genartisan.render import Large
from genartisan.stylization import Begun, Result, Stylization, timed
from genartisan.text import blend, text_direction

PROMPT_BYTES = 4 * 1024 * 1024  # of text directions, 2 to 11 kB each, that are kept


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
