"""Runs CLIPstyler's own training script from a checkout, with our networks in place of its imports.

The script runs unchanged but for the device, which it hard-codes. https://github.com/cyclomon/CLIPstyler
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import numpy as np
import torch
import torchvision
from torch import Tensor, nn
from torchvision import transforms

from genartisan.method.patches import Records
from genartisan.method.perspective import crop_corners
from genartisan.networks.bundle import Bundle
from genartisan.networks.stylenet import StyleNet

BLOCKS = {
    "first": "conv_init", "entry": "init", "encode.0": "down1", "encode.1": "down2", "encode.2": "down3",
    "down.0": "down1.downsample", "down.1": "down2.downsample", "down.2": "down3.downsample", "middle": "encoding",
    "decode.0": "up3", "decode.1": "up2", "decode.2": "up1", "exit": "out", "last": "conv_fin",
}  # fmt: skip


class TheirClip:
    """Our CLIP behind the interface of ``clip.load``'s: half precision on CUDA, single precision elsewhere.

    As with OpenAI's, the weights are trainable, and the script freezes only VGG's: each of its steps computes CLIP's
    gradients, too, and discards them.
    """

    def __init__(self, bundle: Bundle, device: torch.device) -> None:
        self.dtype = torch.float16 if device.type == "cuda" else torch.float32
        self.clip = cast(Any, bundle.to(device, self.dtype).clip)
        self.clip.requires_grad_(True)

    def encode_image(self, images: Tensor) -> Tensor:
        library = getattr(self.clip, "model", self.clip)  # open_clip's own encoder, not our faster one
        return cast(Tensor, library.encode_image(images.to(self.dtype)))

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        return cast(Tensor, self.clip.encode_text(texts))


def run_script(
    checkout: Path,
    clip: TheirClip,
    vgg: nn.Module,
    photo: Path,
    text: str,
    folder: Path,
    *,
    device: torch.device,
    size: int,
    patch_size: int,
    records: Records,
    stylenet: StyleNet,
    on_step: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Runs ``train_CLIPstyler.py`` and returns its global names.

    Args:
        vgg: a `Vgg19`.
        photo: a file.
        folder: an empty one, where the script writes its pictures.
        records: the crops of all steps, `genartisan.method.patches.PATCH` rows, ``(steps, patches)``, of one threshold.
        stylenet: gives the initial weights.
        on_step: called at the beginning of each step.
    """
    script = (checkout / "train_CLIPstyler.py").read_text().replace("device='cuda'", f"device='{device}'")
    (folder / "script.py").write_text(script)
    (folder / "outputs").mkdir()
    package: Any = ModuleType("clip")
    package.load = lambda *args, **kwargs: (clip, None)
    package.tokenize = lambda texts: SimpleNamespace(to=lambda device: texts)
    boxes = iter(np.stack((records["y"], records["x"]), -1).reshape(-1, 2).tolist())  # top, left
    corners = iter(records["corners"].reshape(-1, 4, 2).tolist())
    upright = crop_corners(patch_size).tolist()
    steps, patches = records.shape
    flags = {"content_path": photo, "text": text, "img_width": size, "img_height": size, "crop_size": patch_size,
             "num_crops": patches, "max_step": steps - 1, "thresh": float(records["threshold"].flat[0])}  # fmt: skip

    def crop_box(image: Tensor, size: tuple[int, int]) -> tuple[int, ...]:
        return (*next(boxes), *size)  # top, left, height, width

    with (
        imports_from(checkout, package),
        inside(folder),
        patch.object(sys, "argv", ["script.py", *(f"--{name}={value}" for name, value in flags.items())]),
        patch.object(torchvision.models, "vgg19", lambda pretrained: vgg),
        patch.object(transforms.RandomCrop, "get_params", staticmethod(crop_box)),
        patch.object(transforms.RandomPerspective, "get_params", staticmethod(lambda *args: (upright, next(corners)))),
    ):
        module: Any = import_module("StyleNet")
        unet: nn.Module = module.UNet()
        unet.load_state_dict({their_name(name): value for name, value in stylenet.state_dict().items()})
        if on_step is not None:
            unet.register_forward_pre_hook(lambda *_: on_step())
        with patch.object(module, "UNet", lambda: unet):
            return runpy.run_path(str(folder / "script.py"))


@contextmanager
def imports_from(checkout: Path, clip: ModuleType) -> Iterator[None]:
    """While it lasts, imports find the checkout's modules, and ``clip`` in place of OpenAI's package."""
    before = sys.modules.get("clip")
    sys.modules["clip"] = clip
    sys.path.insert(0, str(checkout))
    try:
        yield
    finally:
        sys.path.remove(str(checkout))
        if before is None:
            del sys.modules["clip"]
        else:
            sys.modules["clip"] = before


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """`contextlib.chdir`, which Python 3.10 lacks."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def their_name(name: str) -> str:
    """CLIPstyler's name for a weight of our StyleNet."""
    prefix = next(block for block in sorted(BLOCKS, key=len, reverse=True) if name.startswith(block + "."))
    return BLOCKS[prefix] + name[len(prefix) :]
