"""Full-size checkpoints of seeded random numbers in the three official formats, for tests and benchmarks.

- CLIP ViT-B/32: a TorchScript archive as OpenAI saved it, matrices in fp16 and the rest in fp32, with its three extra
  entries input_resolution, context_length and vocab_size.
- FCN-ResNet101: a state dict with the auxiliary head. VGG-19: a state dict with the classifier. Both in the format that
  torch.save wrote before it wrote zip files, because torchvision's files date from then.
"""

from __future__ import annotations

import hashlib
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import open_clip
import torch
from open_clip.model import convert_weights_to_fp16
from torch import Tensor, nn
from torchvision.models import vgg19
from torchvision.models.segmentation import fcn_resnet101

from genartisan.weights.official import OFFICIAL, OfficialFile


def make_official_files(folder: Path, seed: int = 0) -> tuple[OfficialFile, ...]:
    """Writes all three under their official names (1.1 GB); returns `OFFICIAL` with their hashes and sizes."""
    folder.mkdir(parents=True, exist_ok=True)
    makers = {"clip": make_clip, "fcn": make_fcn, "vgg": make_vgg}
    made = []
    for number, file in enumerate(OFFICIAL):
        path = folder / file.name
        makers[file.role](path, seed + number)
        made.append(replace(file, sha256=file_sha256(path), size=path.stat().st_size))
    return tuple(made)


def make_clip(path: Path, seed: int = 0) -> None:
    """CLIP ViT-B/32, as in OpenAI's TorchScript archive."""
    with torch.device("meta"):
        model = open_clip.CLIP(**open_clip.get_model_config("ViT-B-32-quickgelu"))
    convert_weights_to_fp16(model)
    weights = random_weights(model.state_dict(), seed)
    save_torchscript(weights, {"input_resolution": 224, "context_length": 77, "vocab_size": 49408}, path)


def save_torchscript(weights: Mapping[str, Tensor], extras: Mapping[str, int], path: Path) -> None:
    """Saves an archive that torch.jit.load reads and whose state dict holds the weights and the extras."""
    carrier = Carrier()
    for name, tensor in weights.items():
        carrier.place(name, nn.Parameter(tensor, requires_grad=False))
    for name, number in extras.items():
        carrier.register_buffer(name, torch.tensor(number))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        torch.jit.save(torch.jit.script(carrier), str(path))


def make_fcn(path: Path, seed: int = 0) -> None:
    """FCN-ResNet101 as torchvision saved it, with its auxiliary head."""
    with torch.device("meta"):
        model = fcn_resnet101(weights=None, weights_backbone=None, num_classes=21, aux_loss=True)
    torch.save(random_weights(model.state_dict(), seed), path, _use_new_zipfile_serialization=False)


def make_vgg(path: Path, seed: int = 0) -> None:
    """VGG-19 as torchvision saved it, with its classifier."""
    with torch.device("meta"):
        model = vgg19(weights=None)
    torch.save(random_weights(model.state_dict(), seed), path, _use_new_zipfile_serialization=False)


def random_weights(like: Mapping[str, Tensor], seed: int) -> OrderedDict[str, Tensor]:
    """Uniform numbers scaled by each layer's fan-in, which keeps the activations of a deep network finite."""
    generator = torch.Generator().manual_seed(seed)
    weights: OrderedDict[str, Tensor] = OrderedDict()
    for name, meta in like.items():
        if not meta.is_floating_point():
            weights[name] = torch.zeros(meta.shape, dtype=meta.dtype)
            continue
        if name.endswith("running_var"):
            low, high = 0.5, 1.5
        elif meta.ndim == 1 and name.endswith("weight"):  # of a norm
            low, high = 0.4, 0.6
        elif meta.ndim < 2:
            low, high = -0.05, 0.05
        else:
            high = (6 / meta[0].numel()) ** 0.5
            low = -high
        weights[name] = torch.empty(meta.shape).uniform_(low, high, generator=generator).to(meta.dtype)
    return weights


def file_sha256(path: Path) -> str:
    """Not the package's function, which tests check against this one."""
    with path.open("rb") as file:
        if hasattr(hashlib, "file_digest"):  # Python 3.11
            return hashlib.file_digest(file, "sha256").hexdigest()
        return hashlib.sha256(file.read()).hexdigest()


class Carrier(nn.Module):
    """Holds parameters under any dotted names, so that scripting it gives an archive with those names."""

    def place(self, name: str, parameter: nn.Parameter) -> None:
        *path, last = name.split(".")
        module: nn.Module = self
        for step in path:
            if step not in module._modules:
                module.add_module(step, Carrier())
            module = module.get_submodule(step)
        module.register_parameter(last, parameter)
