"""Builds the bundle's person segmentation from MediaPipe's network and the CompactFcn that `train_fcn` trains.

    python -m genartisan.training.convert_selfie --selfie selfie_segmentation.tflite --trained DIR --out DIR

The file is in the npm package `PACKAGE`. Reading it needs ai-edge-litert; running the network does not.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from genartisan.evaluation.provenance import made_by
from genartisan.networks.confirmed_segmentation import ConfirmedSegmentation
from genartisan.networks.selfie_segmentation import SelfieSegmentation
from genartisan.training.measure_fcn import measure
from genartisan.training.trainer import parameter_count, save_network, trained_network

PACKAGE = "@mediapipe/selfie_segmentation@0.1.1675465747"  # npm, Apache-2.0
FILE = "selfie_segmentation.tflite"
SHA256 = "8d13b7fae74af625c641226813616a2117bd6bca19eb3b75574621fc08557f27"
# The witness gave at least 0.25 to the largest area in 154 of 156 crops of six photos with people, but also to three of
# 33 areas in crops of unseen pictures without people, and to coins with heads on them.
AGREEMENT = 0.25
# From TFLite's order of axes to torch's: (out, h, w, in), (1, h, w, channels), (out, h, w, in) of a transposed kernel.
AXES = {"CONV_2D": (0, 3, 1, 2), "DEPTHWISE_CONV_2D": (3, 0, 1, 2), "Convolution2DTransposeBias": (3, 0, 1, 2)}


def convert(path: Path) -> dict[str, Tensor]:
    """The weights of `SelfieSegmentation`, float16 converted to float32; needs ai-edge-litert.

    Convolutions are matched by their order of computation, in the file and in the module.

    Raises:
        ValueError: the file is not `FILE` of `PACKAGE`.
    """
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != SHA256:
        raise ValueError(f"{path} is not {FILE} of npm's {PACKAGE}: its sha256 is {digest}, not {SHA256}.")
    with torch.device("meta"):
        network = SelfieSegmentation()
    modules = {
        name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    }
    weights: dict[str, Tensor] = {}
    for name, (kernel, bias) in zip(modules, _convolutions(data), strict=True):
        weights[f"{name}.weight"], weights[f"{name}.bias"] = kernel, bias
    network.load_state_dict(weights, assign=True)  # checks names and shapes
    return weights


def _convolutions(data: bytes) -> list[tuple[Tensor, Tensor]]:
    """Kernel, in torch's axis order, and bias of each convolution of a TFLite model with float16 weights."""
    schema: Any = import_module("ai_edge_litert.schema_py_generated")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    graph = model.subgraphs[0]
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    sources = {}  # dequantised tensor -> tensor of the float16 values
    result = []
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        builtin = names[max(code.builtinCode, code.deprecatedBuiltinCode)]  # the older field holds codes below 127
        kind = code.customCode.decode() if builtin == "CUSTOM" else builtin
        if kind == "DEQUANTIZE":
            sources[operator.outputs[0]] = operator.inputs[0]
        elif kind in AXES:
            kernel, bias = (
                np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.float16).reshape(tensor.shape)
                for tensor in (graph.tensors[sources[index]] for index in operator.inputs[1:3])
            )
            result.append((_tensor(kernel.transpose(AXES[kind])), _tensor(bias)))
    return result


def _tensor(values: Any) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


def build_fcn(out_dir: Path, selfie_tflite: Path, trained_dir: Path) -> dict[str, Any]:
    """Writes fcn.safetensors and fcn.json of a `ConfirmedSegmentation`; returns the figures.

    Args:
        out_dir: must differ from ``trained_dir``, whose network would be overwritten.
        selfie_tflite: MediaPipe's file.
        trained_dir: contains `train_fcn`'s fcn.safetensors and fcn.json.

    Raises:
        ValueError: ``selfie_tflite`` is another file, or the folders are the same.
        FileNotFoundError: a file is missing.
    """
    if out_dir.resolve() == trained_dir.resolve():
        raise ValueError(f"out is {out_dir}, which contains the trained network; give another folder.")
    notes = json.loads((trained_dir / "fcn.json").read_text(encoding="utf-8"))
    witness = {name: value for name, value in notes["architecture"].items() if name != "kind"}
    arguments = {"witness": witness, "agreement": AGREEMENT}
    network = ConfirmedSegmentation(witness=witness, agreement=AGREEMENT)
    network.outline.load_state_dict(convert(selfie_tflite))
    network.witness.load_state_dict(trained_network(trained_dir, "fcn", torch.device("cpu")).state_dict())
    network.eval()
    figures = measure(network) | {"parameters": parameter_count(network), "witness": notes["figures"]}
    made = made_by(notes["seed"])
    save_network(out_dir, "fcn", network, {"kind": "confirmed_segmentation", **arguments}, figures, made)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=build_fcn.__doc__)
    parser.add_argument("--selfie", type=Path, required=True, help=f"{FILE} of npm's {PACKAGE}")
    parser.add_argument("--trained", type=Path, required=True, help="folder with train_fcn's fcn.safetensors, fcn.json")
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights and the figures")
    options = parser.parse_args()
    print(json.dumps(build_fcn(options.out, options.selfie, options.trained), indent=2))


if __name__ == "__main__":
    main()
