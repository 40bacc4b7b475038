"""Tiny seeded networks of every kind, and simple pictures: what the unit tests run on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image
from torch import nn

from genartisan.config import PORTRAIT
from genartisan.method.regions import RegionMap
from genartisan.method.saved_style import About, SavedStyle
from genartisan.networks.bundle import write_bundle
from genartisan.networks.compact_clip import CompactClip
from genartisan.networks.compact_fcn import CompactFcn
from genartisan.networks.factory import Vgg19
from genartisan.networks.mobilenet import NUMBERS, StylePredictor
from genartisan.networks.pastiche import PasticheNet
from genartisan.networks.style_head import StyleHead

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "clip": {
        "kind": "compact_clip",
        "image_size": 32,
        "gap": 0.5,
        "vocabulary": ["a", "photo", "fire", "watercolor", "painting", "of", "the"],
    },
    "fcn": {"kind": "compact_fcn", "classes": ["__background__", "person"], "widths": [8, 8, 8, 8], "image_size": 64},
    "vgg": {"kind": "vgg19", "width": 0.0625},
    "predictor": {"kind": "mobilenet_v2"},
    "pastiche": {"kind": "pastiche", "widths": [4, 4, 8], "residuals": 1},
}
MAKERS = {
    "clip": CompactClip, "fcn": CompactFcn, "vgg": Vgg19, "predictor": StylePredictor, "pastiche": PasticheNet,
    "style_head": StyleHead,
}  # fmt: skip


def network(role: str, seed: int = 0) -> nn.Module:
    """A network of that role with seeded random weights."""
    arguments = {key: value for key, value in ARCHITECTURES[role].items() if key != "kind"}
    torch.manual_seed(seed)
    made = cast(nn.Module, MAKERS[role](**arguments))
    with torch.no_grad():
        if isinstance(made, StyleHead):
            made.get_buffer("deviation").fill_(4)
        if isinstance(
            made, StylePredictor
        ):  # its 53 convolutions would shrink what differs between pictures to nothing
            for module in made.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_uniform_(module.weight)
            made.head.weight.mul_(4)
            assert made.head.bias is not None
            made.head.bias.sub_(made(torch.full((1, 3, 64, 64), 0.5))[0])
    return made


DIM = cast(CompactClip, network("clip")).embedding_dim
ARCHITECTURES["style_head"] = {"kind": "style_head", "dim": DIM, "width": 8}


def write_tiny_bundle(folder: Path, *, without: str = "") -> Path:
    """Writes a bundle of tiny random networks, of every role but ``without``."""
    entries = {
        role: (
            network(role).state_dict(),
            {"architecture": architecture, "source": "seeded random values", "licence": "Apache-2.0"},
        )
        for role, architecture in ARCHITECTURES.items()
        if role != without
    }
    write_bundle(folder, "tiny", "tiny random networks", entries)
    return folder


def write_style(path: Path) -> Path:
    """Writes a saved style: random numbers for "fire"."""
    numbers = torch.randn(NUMBERS, generator=torch.Generator().manual_seed(5))
    SavedStyle(About(prompt="fire", bundle="tiny", seed=5), numbers).save(path)
    return path


def picture(width: int = 64, height: int = 48, seed: int = 0, mode: str = "RGB") -> Image.Image:
    """A smooth random picture."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 4, 6, 6, generator=generator)
    planes = nn.functional.interpolate(coarse, size=(height, width), mode="bicubic")[0].clamp(0, 1).mul(255).byte()
    return Image.fromarray(planes.permute(1, 2, 0).numpy()).convert(mode)


def mask(width: int = 64, height: int = 48, box: tuple[int, int, int, int] = (0, 0, 32, 48)) -> Image.Image:
    """A portrait mask: white in the box (left, top, right, bottom)."""
    image = Image.new("L", (width, height))
    image.paste(255, box)
    return image


def from_mask(people: torch.Tensor) -> RegionMap:
    """The map of a mask of people, ``(H, W)``: bool, True for people, or float in [0, 1] for soft edges."""
    return RegionMap(torch.zeros(people.shape, dtype=torch.uint8)).under({PORTRAIT: people})
