"""From the official weight files to a bundle's networks: names, number format, nothing more.

The names and shapes wanted are those of the networks that `networks.build` makes, so a file that lacks one is found
here, and everything else in it (classifiers, auxiliary heads) is left behind.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genartisan.errors import WeightsError
from genartisan.networks.factory import build

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
PREFIX = {"clip": "model.", "fcn": "model.", "vgg": ""}  # what our modules put before the official names


def converted(role: str, architecture: Mapping[str, Any], path: Path, dtype: torch.dtype) -> dict[str, Tensor]:
    """The weights of the network for ``role`` (clip, fcn, vgg) out of the official file ``path``, floats as ``dtype``.

    Floats that have 16 bits in the file, as most of OpenAI's have, stay as they are where ``dtype`` has 16, too: as
    bf16 they would lose three bits each and save nothing.

    The file's hash must have been checked before: OpenAI's is a TorchScript archive, which is code as well as numbers.

    Raises:
        WeightsError: the file cannot be read, or a tensor is missing or of another shape.
    """
    try:
        source = READERS[role](path)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"{path} cannot be read as the official {role} weights: {reason}") from error
    weights = {}
    for name, like in build(role, architecture).state_dict().items():
        official = name.removeprefix(PREFIX[role])
        tensor = source.pop(official, None)  # popped, so that what is converted need not stay in memory twice
        if tensor is None and official.endswith("num_batches_tracked"):
            continue  # files older than PyTorch 0.4.1 lack it, and only training reads it
        if tensor is None or tensor.shape != like.shape:
            got = "no such tensor" if tensor is None else f"shape {tuple(tensor.shape)}"
            raise WeightsError(f"{path} does not hold {official} of shape {tuple(like.shape)}, but {got}.")
        is_to_change = tensor.is_floating_point() and not (tensor.itemsize == dtype.itemsize == torch.half.itemsize)
        weights[name] = tensor.detach().to(dtype) if is_to_change else tensor.detach()
    return weights


def converted_size(role: str, architecture: Mapping[str, Any], dtype: torch.dtype) -> int:
    """Bytes of the weights that `converted` would return."""
    numbers: int = sum(prod(like.shape) for like in build(role, architecture).state_dict().values())
    return numbers * dtype.itemsize


def _read_torchscript(path: Path) -> dict[str, Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated; the format is OpenAI's choice, not ours
        return dict(torch.jit.load(str(path), map_location="cpu").state_dict())  # type: ignore[no-untyped-call]


def _read_state_dict(path: Path) -> dict[str, Tensor]:
    # torchvision's older files were saved before PyTorch's zip format, and only that one can be memory-mapped.
    weights = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise ValueError("it is not a dictionary of tensors")
    return dict(weights)


READERS: dict[str, Callable[[Path], dict[str, Tensor]]] = {
    "clip": _read_torchscript,
    "fcn": _read_state_dict,
    "vgg": _read_state_dict,
}
