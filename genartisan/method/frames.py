"""The frames of a film in one style, without flicker.

Each frame is one pass of the same network. Three things would flicker if frames were independent pictures: the photo's
own style numbers and the instance norms' statistics, which are computed once from sample frames; the grid of the
network's strides, which follows the camera, so that strokes stay on their objects; and the outline of people, which is
segmented in each frame and smoothed over time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from genartisan.config import StyleConfig
from genartisan.errors import InputError
from genartisan.io.decode import PictureSource, size_of
from genartisan.io.images import Photo, name_of, naming, read_photo, resized
from genartisan.method.motion import shift_between
from genartisan.method.regions import NAMES, RegionMap
from genartisan.method.style_images import StyleImageSource
from genartisan.method.stylizer import Stylizer
from genartisan.method.tiling import with_held_norms
from genartisan.networks.stylenet import MULTIPLE

SAMPLES = 8  # frames, spread over the film, for the norms' statistics
FRESH = 0.5  # share of this frame's segmentation in people's outline; the rest is the previous outline


class Film:
    """Draws frames one after another.

    Args:
        stylizer: the networks, and the saved styles.
        prompt: the style; None with a saved style in ``config`` or a ``style_image``.
        frames: all frames of the film, or some; `SAMPLES` of them set the statistics.
        config: the settings, with steps 0, as in preset ``draft``.
        style_image: a style picture, or pictures by region.

    Attributes:
        warnings: as in `Run`, of all samples.
        shift: of the camera's picture since the first frame, right and down, in pixels.
        cover: share of each region in each pixel of the last frame, ``(1, R, H, W)``, smoothed over time; None in
            clipstyler mode and before the first frame.

    Raises:
        InputError: there are no frames, ``config`` takes steps, or as `Stylizer.steps`.
    """

    def __init__(
        self,
        stylizer: Stylizer,
        prompt: str | None,
        frames: Sequence[PictureSource],
        config: StyleConfig,
        style_image: StyleImageSource = None,
    ) -> None:
        if not frames:
            raise InputError("frames is empty; give at least one picture.", "frames")
        for field, value in (("steps", 0), ("output_size", None), ("timeout_s", None), ("contrast", 1.0)):
            if (given := getattr(config, field)) != value:  # contrast depends on each frame's mean: it flickers
                raise InputError(
                    f"{field} is {given}; for frames it must be {'left out' if value is None else value}, because they "
                    "are drawn in one pass, as in preset draft.",
                    field,
                )
        self._stylizer = stylizer
        samples = [
            frames[round(place)] for place in torch.linspace(0, len(frames) - 1, min(SAMPLES, len(frames))).tolist()
        ]
        runs = []
        for frame in samples:
            with naming(frame, "frames"):
                runs.append(stylizer.steps(frame, prompt, config=config, style_image=style_image, every_layer=True).run)
        self._run = runs[0]
        self._config = self._run.config  # with region prompts applied
        self.warnings = list(dict.fromkeys(warning for run in runs for warning in run.warnings))
        self._names = NAMES if self._run.regions is None else self._run.regions.names
        painter = self._run.painter
        numbers = [run.painter.get_buffer("photo_numbers") for run in runs]
        painter.register_buffer("photo_numbers", torch.stack(numbers).mean(dim=0))
        self._net = with_held_norms(painter, *(run.net_input for run in runs))
        self._size = self._run.photo.size
        self.shift = (0.0, 0.0)
        self._reference: tuple[Photo, float, float] | None = None  # a reference frame and its shift
        self._previous: Photo | None = None
        self.cover: Tensor | None = None

    @torch.no_grad()
    def draw(self, frame: PictureSource) -> Image.Image:
        """The next frame of the film in its style.

        Raises:
            InputError: it cannot be read, or has another size than the others.
        """
        with naming(frame, "frames"):
            original = read_photo(frame)
            photo = resized(original, self._config.size)
        if photo.size != self._size:
            sizes = [f"{width}x{height}" for width, height in (photo.size, self._size)]
            raise InputError(
                f"{name_of(frame)} has {sizes[0]} pixels, the others {sizes[1]}; make all the same size.", "frames"
            )
        moved = self._follow(photo)
        regions = self._segment(original, photo, moved)
        picture = self._draw(self._run.net_input_of(photo, regions))
        if not bool(torch.isfinite(picture).all()):
            raise InputError(f"style gives no finite picture of {name_of(frame)}.", "style")
        return self._run.postprocess(picture, photo, regions)

    def _follow(self, photo: Photo) -> tuple[int, int]:
        """Tracks the camera; returns the shift right and down since the previous frame, in pixels.

        Shifts are measured against one reference frame while it is in view, because errors between frames add up.
        """
        before, self._previous = self._previous, photo
        last = self.shift
        if before is None or self._reference is None:
            self._reference = photo, 0.0, 0.0
            return 0, 0
        reference, right, down = self._reference
        shift = shift_between(reference.pixels, photo.pixels)
        if shift is None:
            self._reference = reference, right, down = before, *last
            shift = shift_between(reference.pixels, photo.pixels) or (0.0, 0.0)
        self.shift = right + shift[0], down + shift[1]
        return round(self.shift[0]) - round(last[0]), round(self.shift[1]) - round(last[1])

    def _segment(self, original: Photo, photo: Photo, moved: tuple[int, int]) -> RegionMap | None:
        """The region map, smoothed over time; None in clipstyler mode."""
        if self._config.mode == "clipstyler":
            return None
        regions = self._stylizer.regions(original, names=self._names).resized(photo.size)
        covers = regions.cover()[None]  # (1, R, H, W)
        if self.cover is not None:
            known = shifted(torch.cat((self.cover, torch.ones_like(covers[:, :1])), dim=1), *moved)  # 0: new
            covers = torch.where(known[:, -1:] > 0, torch.lerp(known[:, :-1], covers, FRESH), covers)
        self.cover = covers
        return RegionMap(regions.labels, regions.names, covers[0])

    def _draw(self, net_input: Tensor) -> Tensor:
        """The picture, ``(1, 3, H, W)``, on the CPU, with the network's strides aligned to the camera."""
        height, width = net_input.shape[-2:]
        left, top = (-round(pixels) % MULTIPLE for pixels in self.shift)
        padded = F.pad(net_input, (left, -(left + width) % MULTIPLE, top, -(top + height) % MULTIPLE), mode="reflect")
        with torch.autocast(self._run.device.type, self._run.dtype, enabled=self._run.dtype != torch.float32):
            picture: Tensor = self._net(padded.to(self._run.device))
        return picture.float().cpu()[..., top : top + height, left : left + width]


def check_alike(frames: Sequence[Path]) -> None:
    """Checks that all frames have the same size.

    Raises:
        InputError: one differs from the first, or is not a picture.
    """
    sizes = {}
    for frame in frames:
        with naming(frame, "frames"):
            sizes[frame] = size_of(frame, "photo")
        if sizes[frame] != sizes[frames[0]]:
            (width, height), (first_width, first_height) = sizes[frame], sizes[frames[0]]
            raise InputError(
                f"{frame} has {width}x{height} pixels, the first frame {first_width}x{first_height}; give one size.",
                "frames",
            )


def shifted(planes: Tensor, right: int, down: int) -> Tensor:
    """Planes, ``(N, C, H, W)``, shifted by whole pixels and filled with 0."""
    height, width = planes.shape[-2:]
    moved = torch.zeros_like(planes)
    if abs(right) < width and abs(down) < height:
        moved[..., max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)] = planes[
            ..., max(0, -down) : height + min(0, -down), max(0, -right) : width + min(0, -right)
        ]
    return moved


def flicker(pictures: Sequence[Tensor], shifts: Sequence[tuple[int, int]]) -> float:
    """Mean absolute difference of consecutive pictures where they show the same thing, 0-1.

    Args:
        pictures: RGB in [0, 1], ``(3, H, W)``.
        shifts: right and down, of each picture after the first against the previous one, in pixels.
    """
    differences = []
    for before, after, (right, down) in zip(pictures, pictures[1:], shifts, strict=False):
        moved = shifted(torch.cat((before, torch.ones_like(before[:1])))[None], right, down)[0]
        both = moved[3] > 0  # (H, W)
        differences.append(float((after - moved[:3]).abs()[:, both].mean()))
    return math.fsum(differences) / len(differences)
