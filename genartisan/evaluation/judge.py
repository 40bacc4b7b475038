"""The judge: which style a picture shows, according to a network that has no part in making pictures.

A picture optimised under the bundle's CLIP cannot be judged by it. The judge has another architecture, another seed and
its own drawings, and nothing is ever trained on its answers, optimised under them or chosen by them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn
from torchvision.models import shufflenet_v2_x0_5

from genartisan.errors import BundleError, InputError

EMBEDDED = Path(__file__).with_name("judge_weights")  # the judge that comes with the package
KIND = "shufflenet_v2_x0_5"
GREY = 0.5  # painted over people; the judge is trained with such holes
BATCH = 64  # tiles at once
REMEDY = "Train it: python -m genartisan.training.train_judge --out FOLDER"


class Architecture(BaseModel):
    """The network of a ``judge.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["shufflenet_v2_x0_5"]
    classes: tuple[str, ...]  # "photo" and the styles, in the order of the network's outputs
    size: int  # pixels, the side of a tile


class About(BaseModel):
    """The content of ``judge.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    architecture: Architecture
    figures: dict[str, Any]  # what its training measured
    commit: str | None  # of the code that trained it
    seed: int


class Verdict(NamedTuple):
    """What the judge says of a picture in a style."""

    place: int  # of the right style, 1 being the first
    taken_for: str  # the first
    probability: float  # of the right style


@dataclass(frozen=True)
class Judge:
    """A classifier of drawn styles.

    Attributes:
        about: its classes, the side of its tiles, what its training measured.
        network: in evaluation mode, without gradients for its weights.
    """

    about: About
    network: nn.Module

    @property
    def classes(self) -> tuple[str, ...]:
        return self.about.architecture.classes

    @classmethod
    def load(cls, folder: str | Path = EMBEDDED) -> Judge:
        """Loads ``judge.json`` and ``judge.safetensors`` from a folder, on the CPU.

        Raises:
            BundleError: a file is missing, damaged or does not fit the other; it is named.
        """
        about_file, weights_file = Path(folder) / "judge.json", Path(folder) / "judge.safetensors"
        for path in (about_file, weights_file):
            if not path.is_file():
                raise BundleError(f"{path} is missing: there is no judge in {str(folder)!r}. {REMEDY}", "judge")
        try:
            about = About.model_validate_json(about_file.read_bytes())
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise BundleError(
                f"{about_file} does not describe a judge: {where}: {first['msg']}. {REMEDY}", "judge"
            ) from error
        network = new_network(len(about.architecture.classes))
        try:
            network.load_state_dict(safetensors.torch.load_file(weights_file))  # float16 in the file, float32 here
        except (safetensors.SafetensorError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise BundleError(f"{weights_file} does not fit {about_file.name}: {reason}. {REMEDY}", "judge") from error
        return cls(about, network.eval().requires_grad_(False))

    @torch.inference_mode()
    def probabilities(self, picture: Tensor, background: Tensor | None = None) -> Tensor:
        """The probability of each of `classes`, ``(classes,)``; they add up to 1.

        The mean over overlapping tiles of the picture as it is and, if it is large, of the picture shrunk; each tile
        is weighted by its share of background. People are painted grey first, so that they have no influence.

        Args:
            picture: RGB in [0, 1], ``(3, H, W)``.
            background: True where there is no person, ``(H, W)``, bool; None: everywhere.

        Raises:
            InputError: the mask has another size than the picture or no background.
        """
        if background is None:
            background = torch.ones(picture.shape[1:], dtype=torch.bool)
        if background.shape != picture.shape[1:]:
            sizes = f"{tuple(background.shape)}, the picture's {tuple(picture.shape[1:])}"
            raise InputError(f"background has the size {sizes}; give one of the same size.", "background")
        if not bool(background.any()):
            raise InputError("photo shows nothing but people; the judge needs some background.", "photo")
        painted = torch.where(background, picture, torch.tensor(GREY))  # (3, H, W)
        layers = torch.cat((painted, background.float()[None]))[None]  # (1, 4, H, W)
        tiles = torch.cat([tiles_of(view, self.about.architecture.size) for view in views_of(layers, self._size)])
        shares = tiles[:, 3].mean((1, 2))  # (N,)
        tiles, shares = tiles[shares > 0, :3], shares[shares > 0]
        parts = torch.split(tiles, BATCH)
        chances = torch.cat([self.network(standardised(part)).softmax(1) for part in parts])  # (N, K)
        return shares @ chances / shares.sum()

    def ranking(self, picture: Tensor, background: Tensor | None = None) -> list[tuple[str, float]]:
        """The classes with their probabilities, the most likely first; see `probabilities`."""
        chances, order = self.probabilities(picture, background).sort(descending=True, stable=True)
        return [(self.classes[number], chance) for number, chance in zip(order.tolist(), chances.tolist(), strict=True)]

    def verdict(self, style: str, picture: Tensor, background: Tensor | None = None) -> Verdict:
        """The place and probability of ``style``, one of `classes`; see `probabilities`."""
        ranking = self.ranking(picture, background)
        names = [name for name, _ in ranking]
        return Verdict(names.index(style) + 1, names[0], round(dict(ranking)[style], 4))

    @property
    def _size(self) -> int:
        return self.about.architecture.size


def new_network(classes: int) -> nn.Module:
    """An untrained network with that many classes: (N, 3, H, W), standardised -> logits (N, classes)."""
    return cast(nn.Module, shufflenet_v2_x0_5(weights=None, num_classes=classes))


def standardised(pictures: Tensor) -> Tensor:
    """Pictures in [0, 1], ``(N, 3, H, W)``, as the network takes them: grey is 0."""
    return (pictures - GREY) / 0.25


def views_of(layers: Tensor, side: int) -> list[Tensor]:
    """The layers ``(1, C, H, W)`` at a scale that fits tiles of ``side``, and at half of it if they fit twice.

    Strokes grow with the size of a picture; at half the size those of a large picture look like those of a small one.
    """
    short = min(layers.shape[2:])
    scales = [max(1.0, side / short)]
    if max(layers.shape[2:]) > 2 * side:
        scales.append(max(0.5, side / short))
    return [_scaled(layers, scale, side) for scale in dict.fromkeys(scales)]


def _scaled(layers: Tensor, scale: float, side: int) -> Tensor:
    if scale == 1:
        return layers
    size = [max(side, round(length * scale)) for length in layers.shape[2:]]
    return F.interpolate(layers, size=size, mode="bilinear", antialias=True)  # (1, C, h, w)


def tiles_of(layers: Tensor, side: int) -> Tensor:
    """Squares of ``side``, at most half of one apart, that cover ``(1, C, H, W)``: ``(N, C, side, side)``."""
    rows, columns = (_starts(length, side) for length in layers.shape[2:])
    return torch.cat([layers[..., y : y + side, x : x + side] for y in rows for x in columns])


def _starts(length: int, side: int) -> list[int]:
    steps = -(-(length - side) // (side // 2))
    return [round(step * (length - side) / max(steps, 1)) for step in range(steps + 1)]
