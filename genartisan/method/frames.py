"""The frames of a film in one style, without flicker but for what the photos themselves change.

Each frame is one pass of the same network. Three things would make it flicker if each frame were a picture of its own,
and are held here: the photo's own style numbers and the instance norms' statistics, which any change in a corner of the
frame moves, and which are taken once from some frames of the whole film; the grid of the network's strides, which
follows the camera, so that a stroke stays on the thing it was drawn on; and the outline of people, which is found in
each frame anew and eased from one to the next.
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

SAMPLES = 8  # frames, spread over the film, that the norms' statistics are taken from
FRESH = 0.5  # of people's outline: the share of what is found in this frame; the rest is what was there before


class Film:
    """A network that draws frames one after another.

    Args:
        stylizer: the networks, and the saved styles.
        prompt: the style; None for that of the saved style in ``config``, or of ``style_image``.
        frames: of the film, all or some: what `SAMPLES` of them look like sets how it is drawn.
        config: the settings, with steps 0, as preset ``draft`` has them.
        style_image: a picture, or pictures by region, whose style is wanted.

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
            raise InputError("frames are none; give at least one picture.", "frames")
        for field, wanted in (("steps", 0), ("output_size", None), ("timeout_s", None), ("contrast", 1.0)):
            if (given := getattr(config, field)) != wanted:  # contrast is raised about a frame's own mean: it flickers
                raise InputError(
                    f"{field} is {given}, and for frames has to be {'left out' if wanted is None else wanted}: they "
                    "are drawn in one pass, as by preset draft.",
                    field,
                )
        self._stylizer = stylizer
        few = [frames[round(place)] for place in torch.linspace(0, len(frames) - 1, min(SAMPLES, len(frames))).tolist()]
        runs = []
        for frame in few:
            with naming(frame, "frames"):
                runs.append(stylizer.steps(frame, prompt, config=config, style_image=style_image, every_layer=True).run)
        self._run = runs[0]
        self._config = self._run.config  # the prompt may have told regions their texts
        self.warnings = list(dict.fromkeys(warning for run in runs for warning in run.warnings))
        self._names = NAMES if self._run.regions is None else self._run.regions.names
        painter = self._run.painter
        numbers = [run.painter.get_buffer("photo_numbers") for run in runs]
        painter.register_buffer("photo_numbers", torch.stack(numbers).mean(dim=0))
        self._net = with_held_norms(painter, *(run.net_input for run in runs))
        self._size = self._run.photo.size
        self._right = self._down = 0.0  # how far the camera's picture has moved since the first frame
        self._reference: tuple[Photo, float, float] | None = None  # a frame that this is measured from, and its own
        self._before: Photo | None = None
        self._covers: Tensor | None = None  # (1, R, H, W)

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
                f"{name_of(frame)} has {sizes[0]} pixels, the others {sizes[1]}; make all alike.", "frames"
            )
        moved = self._follow(photo)
        regions = self._found(original, photo, moved)
        picture = self._drawn(self._run.net_input_of(photo, regions))
        if not bool(torch.isfinite(picture).all()):
            raise InputError(f"style gives no picture of {name_of(frame)}, but numbers that are none.", "style")
        return self._run.postprocess(picture, photo, regions)

    def _follow(self, photo: Photo) -> tuple[int, int]:
        """Notes how far the camera's picture has moved; how many pixels right and down since the last frame.

        Measured from one frame for as long as that is seen: errors of each frame against the next would add up.
        """
        before, self._before = self._before, photo
        last = self._right, self._down
        if before is None or self._reference is None:
            self._reference = photo, 0.0, 0.0
            return 0, 0
        reference, right, down = self._reference
        found = shift_between(reference.pixels, photo.pixels)
        if found is None:
            self._reference = reference, right, down = before, *last
            found = shift_between(reference.pixels, photo.pixels) or (0.0, 0.0)
        self._right, self._down = right + found[0], down + found[1]
        return round(self._right) - round(last[0]), round(self._down) - round(last[1])

    def _found(self, original: Photo, photo: Photo, moved: tuple[int, int]) -> RegionMap | None:
        """The region map, its outlines eased from frame to frame; None in a mode that sees none."""
        if self._config.mode == "clipstyler":
            return None
        found = self._stylizer.regions(original, names=self._names).resized(photo.size)
        covers = found.cover()[None]  # (1, R, H, W)
        if self._covers is not None:
            known = shifted(torch.cat((self._covers, torch.ones_like(covers[:, :1])), dim=1), *moved)  # 0: it is new
            covers = torch.where(known[:, -1:] > 0, torch.lerp(known[:, :-1], covers, FRESH), covers)
        self._covers = covers
        return RegionMap(found.labels, found.names, covers[0])

    def _drawn(self, content: Tensor) -> Tensor:
        """The picture, ``(1, 3, H, W)``, on the CPU, with the network's strides where the camera's picture is."""
        height, width = content.shape[-2:]
        left, top = -round(self._right) % MULTIPLE, -round(self._down) % MULTIPLE
        padded = F.pad(content, (left, -(left + width) % MULTIPLE, top, -(top + height) % MULTIPLE), mode="reflect")
        with torch.autocast(self._run.device.type, self._run.dtype, enabled=self._run.dtype != torch.float32):
            picture: Tensor = self._net(padded.to(self._run.device))
        return picture.float().cpu()[..., top : top + height, left : left + width]


def check_alike(frames: Sequence[Path]) -> None:
    """Refuses frames of several sizes before the first is drawn.

    Raises:
        InputError: naming one that is unlike the first, or no picture.
    """
    sizes = {}
    for frame in frames:
        with naming(frame, "frames"):
            sizes[frame] = size_of(frame, "photo")
        if sizes[frame] != sizes[frames[0]]:
            (width, height), (first_width, first_height) = sizes[frame], sizes[frames[0]]
            raise InputError(
                f"{frame} has {width}x{height} pixels, the first frame {first_width}x{first_height}; make all alike.",
                "frames",
            )


def shifted(planes: Tensor, right: int, down: int) -> Tensor:
    """Planes, ``(N, C, H, W)``, moved by whole pixels; what comes in at a border is 0."""
    height, width = planes.shape[-2:]
    moved = torch.zeros_like(planes)
    if abs(right) < width and abs(down) < height:
        moved[..., max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)] = planes[
            ..., max(0, -down) : height + min(0, -down), max(0, -right) : width + min(0, -right)
        ]
    return moved


def flicker(pictures: Sequence[Tensor], shifts: Sequence[tuple[int, int]]) -> float:
    """How much consecutive pictures differ where they show the same thing: mean absolute difference, 0-1.

    Args:
        pictures: RGB in [0, 1], ``(3, H, W)``.
        shifts: how far each one's content lies right of and below that of the one before; one fewer than pictures.
    """
    differences = []
    for before, after, (right, down) in zip(pictures, pictures[1:], shifts, strict=False):
        moved = shifted(torch.cat((before, torch.ones_like(before[:1])))[None], right, down)[0]
        both = moved[3] > 0  # (H, W)
        differences.append(float((after - moved[:3]).abs()[:, both].mean()))
    return math.fsum(differences) / len(differences)
