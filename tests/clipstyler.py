"""CLIPstyler's own training script, from a checkout, with networks of ours put in its way through its own imports.

The script runs as it is, but for the device that it hard-codes. https://github.com/cyclomon/CLIPstyler
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision import transforms

from genartisan.method.patches import Records
from genartisan.method.perspective import crop_corners
from genartisan.networks.bundle import Bundle
from genartisan.networks.stylenet import random_stylenet

BLOCKS = {
    "first": "conv_init", "entry": "init", "encode.0": "down1", "encode.1": "down2", "encode.2": "down3",
    "down.0": "down1.downsample", "down.1": "down2.downsample", "down.2": "down3.downsample", "middle": "encoding",
    "decode.0": "up3", "decode.1": "up2", "decode.2": "up1", "exit": "out", "last": "conv_fin",
}  # fmt: skip


class TheirClip:
    """A CLIP of ours as ``clip.load`` returns one: on CUDA it computes in half precision, elsewhere in single.

    OpenAI's function leaves the weights trainable, and the script does not freeze them, as it does VGG's: so each of
    its steps computes their gradients, for nothing.
    """

    def __init__(self, bundle: Bundle, device: torch.device) -> None:
        self.dtype = torch.float16 if device.type == "cuda" else torch.float32
        self.clip = cast(Any, bundle.to(device, self.dtype).clip)
        self.clip.requires_grad_(True)

    def encode_image(self, images: Tensor) -> Tensor:
        library = getattr(self.clip, "model", self.clip)  # open_clip's own code, not what we make of it
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
    seed: int = 0,
    on_step: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Runs ``train_CLIPstyler.py`` and returns its global names.

    Args:
        vgg: a `Vgg19`.
        photo: a file.
        folder: an empty one, where it writes its pictures.
        records: the crops of all steps, `genartisan.method.patches.PATCH` rows, ``(steps, patches)``.
        seed: of StyleNet's first weights, which are those that our ``start=random`` draws from it.
        on_step: called where a step begins.
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
             "num_crops": patches, "max_step": steps - 1}  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "clip", package)
        patch.syspath_prepend(str(checkout))
        patch.setattr(torchvision.models, "vgg19", lambda pretrained: vgg)
        crop = staticmethod(lambda image, size: (*next(boxes), *size))  # top, left, height, width
        patch.setattr(transforms.RandomCrop, "get_params", crop)
        patch.setattr(transforms.RandomPerspective, "get_params", staticmethod(lambda *args: (upright, next(corners))))

        import StyleNet  # type: ignore[import-not-found]

        network: nn.Module = StyleNet.UNet()
        network.load_state_dict({their_name(name): value for name, value in random_stylenet(seed).state_dict().items()})
        if on_step is not None:
            network.register_forward_pre_hook(lambda *_: on_step())
        patch.setattr(StyleNet, "UNet", lambda: network)
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["script.py", *(f"--{name}={value}" for name, value in flags.items())])
        return runpy.run_path(str(folder / "script.py"))


def their_name(name: str) -> str:
    """CLIPstyler's name of one of our StyleNet's weights."""
    prefix = next(block for block in sorted(BLOCKS, key=len, reverse=True) if name.startswith(block + "."))
    return BLOCKS[prefix] + name[len(prefix) :]
