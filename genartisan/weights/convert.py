"""Conversion of the official weight files into a bundle's networks: tensor names and number format.

Names and shapes come from the networks that `networks.build` makes. A file that lacks a tensor is refused; the tensors
that they do not use (classifiers, auxiliary heads) are dropped.
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
PREFIX = {"clip": "model.", "fcn": "model.", "vgg": ""}  # of our tensor names, before the official ones


def converted(role: str, architecture: Mapping[str, Any], path: Path, dtype: torch.dtype) -> dict[str, Tensor]:
    """The weights of ``role`` (clip, fcn, vgg) from the official file ``path``, with floats as ``dtype``.

    16-bit floats, as most of OpenAI's, are not converted to another 16-bit type: bf16 would cost them three bits and
    save nothing.

    Verify the file's hash first: OpenAI's is a TorchScript archive, which contains code.

    Raises:
        WeightsError: the file cannot be read, or a tensor is missing or has another shape.
    """
    try:
        source = READERS[role](path)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"{path} cannot be read as the official {role} weights: {reason}") from error
    weights = {}
    for name, like in build(role, architecture).state_dict().items():
        official = name.removeprefix(PREFIX[role])
        tensor = source.pop(official, None)  # popped, to free the original as soon as it is converted
        if tensor is None and official.endswith("num_batches_tracked"):
            continue  # missing before PyTorch 0.4.1, and used in training only
        if tensor is None or tensor.shape != like.shape:
            actual = "is missing" if tensor is None else f"has shape {tuple(tensor.shape)}"
            raise WeightsError(f"{path}: {official} must have shape {tuple(like.shape)} but {actual}.")
        both_16_bit = tensor.itemsize == dtype.itemsize == torch.half.itemsize
        weights[name] = tensor.detach().to(dtype if tensor.is_floating_point() and not both_16_bit else tensor.dtype)
    return weights


def converted_size(role: str, architecture: Mapping[str, Any], dtype: torch.dtype) -> int:
    """Size in bytes of the result of `converted`, an upper bound."""
    numbers: int = sum(prod(like.shape) for like in build(role, architecture).state_dict().values())
    return numbers * dtype.itemsize


def _read_torchscript(path: Path) -> dict[str, Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, but it is OpenAI's format
        return dict(torch.jit.load(str(path), map_location="cpu").state_dict())  # type: ignore[no-untyped-call]


def _read_state_dict(path: Path) -> dict[str, Tensor]:
    # Only PyTorch's zip format can be memory-mapped; torchvision's older files precede it.
    weights = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise ValueError("not a dictionary of tensors")
    return dict(weights)


READERS: dict[str, Callable[[Path], dict[str, Tensor]]] = {
    "clip": _read_torchscript,
    "fcn": _read_state_dict,
    "vgg": _read_state_dict,
}
