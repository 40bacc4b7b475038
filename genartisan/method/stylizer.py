"""Stylizer: the one call that a Python user makes."""

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
from genartisan.errors import DeadlineError, InputError
from genartisan.io.decode import PictureSource
from genartisan.io.images import Photo, read_photo, resized
from genartisan.method.engine import Run
from genartisan.method.graphs import Graphs, cuda_capture
from genartisan.method.patches import plan
from genartisan.method.region_inputs import (
    MaskSource,
    apply_region_prompts,
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
    style_image_field,
    with_their_regions,
)
from genartisan.method.style_numbers import numbers_of_picture
from genartisan.method.stylization import Begun, Result, Stylization, timed
from genartisan.method.text import blend, nothing, unescaped
from genartisan.method.tiling import RenderTarget
from genartisan.networks.bundle import Bundle
from genartisan.networks.device import PRECISIONS, find_device, find_precision
from genartisan.networks.factory import VOC_CLASSES
from genartisan.validation import CLASSES, check_prompt, check_seed

PROMPT_BYTES = 4 * 1024 * 1024  # of text directions and style numbers, 1 to 11 kB each, that are cached


class Stylizer:
    """Turns photos into pictures in the style of a sentence; holds the frozen networks, and no request in another.

    Args:
        bundle: the networks.
        device: ``auto`` (CUDA, else MPS, else the CPU), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        precision: ``fp32``, ``bf16``, or ``auto``: bf16 on CUDA, and on a CPU that multiplies matrices in it much
            faster if the bundle's CLIP does little else; else fp32.
        prompt_bytes: of the latest prompts' text directions that are kept; 0 keeps none.
        graphs: on a CUDA device, capture a step of each size once and replay it (`genartisan.method.graphs`).
        styles: the saved styles by name (`genartisan.method.saved_style`); by default those made on this machine.

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
            # The number stays; but once it is set, MKL may no longer use fewer at will, which rounds otherwise.
            torch.set_num_threads(torch.get_num_threads())
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

        On a CPU bit for bit, in any thread, as long as processor, PyTorch and its number of threads (`report` has them
        as ``hardware``) are the same, too: another order of adding up rounds otherwise, and the steps amplify that. On
        a GPU up to rounding, because the gradients of its warps add up in any order.

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
        """The same as an iterator of `Step`, which can be closed early; then ask it for its ``result()``.

        This checks the input, and the first step begins with the work: so bad input is told at once.

        Args:
            every_layer: make ready for other photos, which may have regions that this one lacks.
            began: when the request set out, by `time.perf_counter`, where that was earlier; deadlines count from it.
            between: called between the pieces of work before the first step, in which there is no `Step` yet.

        The first step, or the result, raises DeadlineError where the deadline comes before the texts are read.
        """
        config, seed = config or StyleConfig(), check_seed(seed)
        saved = None if config.style is None else find(self.styles, config.style)
        images = named_style_images(style_image)
        of_style = None if saved is None else saved.about.prompt
        if prompt is not None or not (of_style or ALL in images or (saved is not None and config.steps == 0)):
            prompt = check_prompt(prompt)
        prompt = of_style if prompt is None else prompt
        masks = named_masks(mask)
        main, config = apply_region_prompts(prompt, config, masks)
        config = with_their_regions(config, images)
        check_texts(main, config)
        now, seconds = time.perf_counter(), dict[str, float]()
        if began is None:
            began = now
        else:
            seconds["queue"] = now - began
        facts: dict[str, Any] = {"prompt": prompt, "bundle": self.bundle.name, "precision": self.precision}
        if images:
            facts["style_images"] = sorted(images)
        with timed(seconds, "decode"):
            original = read_photo(photo)
            small = resized(original, config.size)
            planes = read_masks(masks, original.size, config.regions.names)  # checked in both modes
            check_findable(config.regions.names, planes, self.bundle.fcn)
            pictures = {name: read_style_image(source, name) for name, source in images.items()}

        def check_time() -> None:
            between()
            if config.timeout_s is not None and time.perf_counter() - began > config.timeout_s:
                raise DeadlineError(
                    f"timeout_s of {config.timeout_s:g} s was over while the texts were read, before there was a "
                    "picture; raise it, or blend fewer texts.",
                    "timeout_s",
                )

        def begin() -> Begun:
            with timed(seconds, "segment"):
                regions = found = None
                if config.mode == "artisan":
                    found = self._found(original, planes, config.regions.names)
                    regions = found.resized(small.size)
            with timed(seconds, "text"):
                reader = self._reader(config, config.start == "draft" or saved is not None, check_time)
                looks = reader.of_regions(main, small, saved, pictures, regions)
                prompt_look = looks.pop(ALL)
            with timed(seconds, "plan"):
                patches = plan(config, small.size, regions, seed)
            run = Run(
                bundle=self.bundle,
                photo=small,
                regions=regions,
                direction=prompt_look.direction,
                own={name: look.direction for name, look in looks.items()},
                plan=patches,
                config=config,
                seed=seed,
                device=self.device,
                dtype=self.dtype,
                numbers=prompt_look.numbers,
                own_numbers={name: look.numbers for name, look in looks.items() if look.numbers is not None},
                photo_numbers=numbers_of_picture(self.bundle, small) if reader.draws else None,
                every_layer=every_layer,
                graphs=self.graphs,
                began=began,
            )
            for picture in (original, *pictures.values()):
                run.warnings += picture.warnings
            if saved is None or config.steps > 0:
                run.warnings += self._remarks({"prompt": main, "negative_prompt": config.negative_prompt})
            elif prompt != of_style:
                run.warnings.append(f"prompt is not used: style {config.style} draws in one pass; take steps to refine")
            texts = {name: config.regions[name].prompt for name in looks}
            run.warnings += self._remarks({f"regions.{name}.prompt": text for name, text in texts.items()})
            own = [*config.regions.texts, *(name for name in images if name != ALL)]
            if regions is None:
                unused = [*(["mask"] if masks else []), *config.region_settings]
                unused += [style_image_field(name) for name in images if name != ALL]
                run.warnings += [f"{field} is not used: mode clipstyler sees no regions" for field in unused]
            else:
                lost = [name for name in dict.fromkeys(own) if name not in looks]
                run.warnings += [
                    f"{style_image_field(name) if name in images else f'regions.{name}.prompt'} is not used: "
                    f"the photo has no {name}"
                    for name in lost
                ]

            def large() -> RenderTarget | None:
                if config.long_side == config.size:
                    return None
                photo = resized(original, config.long_side)
                return RenderTarget(photo, None if found is None else found.resized(photo.size))

            return Begun(run, reader.all_cached, large)

        return Stylization(begin, facts, seconds, self.release, config, small.size)

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
        return self._reader(config, True).numbers(text, picture, "prompt")

    def release(self) -> bool:
        """Gives back the memory of captured steps, and what nothing refers to any more; says whether steps were."""
        gc.collect()
        captured = self.graphs is not None and self.graphs.clear()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return captured

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

    def _reader(self, config: StyleConfig, draws: bool, between: Callable[[], None] = nothing) -> StyleEncoder:
        """What reads the looks of one request."""
        return StyleEncoder(self.bundle, self.device, self.dtype, self._texts, config, draws, between)

    def _remarks(self, texts: Mapping[str, str | None]) -> list[str]:
        """What CLIP cannot read of texts by their fields, each part of a blend for itself."""
        parts = [(field, unescaped(part.text)) for field, text in texts.items() if text for part in blend(text)]
        return [f"{field}: {remark}" for field, text in parts for remark in self.bundle.clip.remarks(text)]
