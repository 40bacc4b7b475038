"""Bundles: the frozen networks, loaded from one folder.

A bundle folder holds ``bundle.json`` and a safetensors file for each of clip, fcn, vgg, predictor and pastiche, and
optionally style_head. See `genartisan.networks.manifest` for its format.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import safetensors
import safetensors.torch
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from genartisan.errors import BundleError
from genartisan.io.atomic import replacing, write_whole
from genartisan.io.files import sha256
from genartisan.networks.factory import Clip, OpenClip, build
from genartisan.networks.manifest import FORMAT, REQUIRED, STYLE_HEAD, Manifest, NetworkEntry, Role
from genartisan.networks.mobilenet import StylePredictor
from genartisan.networks.pastiche import PasticheNet
from genartisan.networks.style_head import StyleHead
from genartisan.validation import PERSON, shown

MANIFEST = "bundle.json"
EMBEDDED = Path(__file__).parents[1] / "embedded"


@dataclass(frozen=True)
class Bundle:
    """Frozen networks in evaluation mode, shared by all runs.

    Attributes:
        manifest: the content of ``bundle.json``.
        clip, vgg: the networks of the losses.
        fcn: segments the photo into regions.
        predictor: predicts a picture's style numbers.
        pastiche: renders a photo with style numbers.
        style_head: predicts the style numbers of a text direction; None: they are found by search.
    """

    manifest: Manifest
    clip: Clip
    fcn: nn.Module
    vgg: nn.Module
    predictor: StylePredictor
    pastiche: PasticheNet
    style_head: StyleHead | None = None

    @property
    def name(self) -> str:
        return self.manifest.name

    @classmethod
    def load(cls, name: str | Path = "embedded") -> Bundle:
        """Loads ``embedded``, ``official`` (see `home`) or the bundle in a folder; on the CPU, memory-mapped.

        Raises:
            BundleError: a file is missing, truncated or differs from the manifest, or the networks do not fit together.
        """
        folder = resolve(name)
        manifest = read_manifest(folder)
        networks: dict[str, nn.Module] = {
            role: _load_network(folder, role, entry) for role, entry in manifest.networks.items()
        }
        check_fit(folder, networks)
        return cls(
            manifest,
            cast(Clip, networks["clip"]),
            networks["fcn"],
            networks["vgg"],
            cast(StylePredictor, networks["predictor"]),
            cast(PasticheNet, networks["pastiche"]),
            cast("StyleHead | None", networks.get(STYLE_HEAD)),
        )

    def to(self, device: torch.device, dtype: torch.dtype) -> Bundle:
        """A copy of the bundle on ``device``, its networks cast to ``dtype``.

        FCN and predictor stay float32 because they run once per photo; pastiche, because its weights may be optimised.
        On a CPU so do networks without large matrix products: depthwise convolutions are slow there in bf16.
        """
        head = self.style_head
        clip, vgg = (
            torch.float32 if device.type == "cpu" and not getattr(network, "multiplies", True) else dtype
            for network in (self.clip, self.vgg)
        )
        return Bundle(
            self.manifest,
            cast(Clip, self._placed("clip", cast(nn.Module, self.clip), device, clip)),
            self._placed("fcn", self.fcn, device, torch.float32),
            self._placed("vgg", self.vgg, device, vgg).to(memory_format=torch.channels_last),
            cast(StylePredictor, self._placed("predictor", self.predictor, device, torch.float32)),
            cast(
                PasticheNet,
                self._placed("pastiche", self.pastiche, device, torch.float32).to(memory_format=torch.channels_last),
            ),
            None if head is None else cast(StyleHead, self._placed(STYLE_HEAD, head, device, torch.float32)),
        )

    def _placed(self, role: str, network: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
        """A new module of the same architecture over converted weights, without initialising or copying twice."""
        weights = {
            name: tensor.to(device, dtype if tensor.is_floating_point() else tensor.dtype)
            for name, tensor in network.state_dict().items()
        }
        entry = self.manifest.networks[cast(Role, role)]
        return assembled(role, entry.architecture, weights).to(device)


def check_fit(folder: Path, networks: Mapping[str, nn.Module]) -> None:
    """Checks that the networks fit together.

    Raises:
        BundleError: the FCN lacks the class person, or the style head's input size differs from CLIP's embeddings.
    """
    classes = tuple(cast(Any, networks["fcn"]).classes)
    if PERSON not in classes or len(classes) < 2:
        reason = f"fcn.architecture.classes must contain {PERSON!r} and at least one more class"
        raise BundleError(f"{folder / MANIFEST}: {reason}; it is {shown(list(classes))}.", "fcn")
    head, dim = networks.get(STYLE_HEAD), cast(Any, networks["clip"]).embedding_dim
    if head is not None and head.dim != dim:
        reason = f"style_head.architecture.dim must equal clip's embedding size, {dim}"
        raise BundleError(f"{folder / MANIFEST}: {reason}; it is {shown(head.dim)}.", STYLE_HEAD)


def home() -> Path:
    """The folder for downloaded and converted weights: ``$GENARTISAN_HOME`` or ``~/.cache/genartisan``.

    Raises:
        BundleError: the variable is not set and the user has no home directory.
    """
    try:
        return Path(os.environ.get("GENARTISAN_HOME") or Path.home() / ".cache" / "genartisan")
    except RuntimeError as error:
        raise BundleError(
            "GENARTISAN_HOME is not set and this user has no home directory; set it to a folder for weights.",
            "GENARTISAN_HOME",
        ) from error


def resolve(name: str | Path) -> Path:
    """The folder of a bundle, by name or path.

    Raises:
        BundleError: no such folder, or no manifest in it.
    """
    folder = EMBEDDED if str(name) == "embedded" else home() / "official" if str(name) == "official" else Path(name)
    if (folder / MANIFEST).is_file():
        return folder
    remedy = (
        "run `genartisan weights fetch`"
        if str(name) == "official"
        else f"give embedded, official or a folder with a {MANIFEST}"
    )
    raise BundleError(f"bundle {str(name)!r} has no {MANIFEST} in {folder}: {remedy}.", "bundle")


def read_manifest(folder: Path) -> Manifest:
    """Reads and validates the manifest of the bundle in ``folder``.

    Raises:
        BundleError: it cannot be read or lacks a network.
    """
    path = folder / MANIFEST
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}.", "bundle") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise BundleError(f"{path} is not a manifest of format {FORMAT}: {where}: {first['msg']}.", "bundle") from error
    missing = [role for role in REQUIRED if role not in manifest.networks]
    if missing:
        raise BundleError(f"{path} lacks the networks {', '.join(missing)}.", "bundle")
    for role, entry in manifest.networks.items():
        if Path(entry.file).name != entry.file:
            raise BundleError(f"{path}: {role}.file is {entry.file!r}; it must be a plain file name.", "bundle")
    return manifest


def write_bundle(
    folder: Path,
    name: str,
    description: str,
    networks: Mapping[str, tuple[Mapping[str, Tensor] | None, dict[str, Any]]],
) -> Manifest:
    """Writes a bundle, the manifest last: a bundle with a manifest is complete.

    Args:
        networks: for each role its tensors (None if the file exists already) and its entry without file and hash.

    Raises:
        OSError: the disk is full, or a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    entries = {}
    for role, (tensors, entry) in networks.items():
        path = folder / f"{role}.safetensors"
        if tensors is not None:
            with replacing(path) as temporary, as_os_errors():
                safetensors.torch.save_file({key: t.contiguous() for key, t in tensors.items()}, temporary)
        entries[role] = {"file": path.name, "sha256": sha256(path), **entry}
    manifest = Manifest.model_validate(
        {"format": FORMAT, "name": name, "description": description, "networks": entries}
    )
    write_whole(folder / MANIFEST, json.dumps(manifest.model_dump(), indent=2) + "\n")
    return manifest


@contextmanager
def as_os_errors() -> Iterator[None]:
    """Turns safetensors' file system errors into OSErrors; safetensors gives the error number in the message only."""
    try:
        yield
    except safetensors.SafetensorError as error:
        code = re.search(r"os error (\d+)", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1]))) from error


def _load_network(folder: Path, role: str, entry: NetworkEntry) -> nn.Module:
    path = folder / entry.file
    if not path.is_file():
        raise BundleError(f"{path} is missing but listed in {MANIFEST}. Make or fetch the bundle again.", role)
    if sha256(path) != entry.sha256:
        raise BundleError(
            f"{path} is truncated or modified: its SHA-256 differs from {MANIFEST}. Make or fetch the bundle again.",
            role,
        )
    try:
        weights = safetensors.torch.load_file(path)  # memory-mapped
        return assembled(role, entry.architecture, weights)
    except (safetensors.SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise BundleError(
            f"{path} does not fit its architecture {entry.architecture['kind']}: {reason}", role
        ) from error


def assembled(role: str, architecture: Mapping[str, Any], weights: Mapping[str, Tensor]) -> nn.Module:
    """Builds a network and assigns its weights; in evaluation mode, without gradients.

    Raises:
        RuntimeError: the weights do not fit the architecture.
    """
    network = build(role, architecture)
    network.load_state_dict(weights, assign=True)
    if isinstance(network, OpenClip):
        network.materialize_buffers()
    if any(tensor.is_meta for tensor in (*network.parameters(), *network.buffers())):
        raise RuntimeError("the file lacks a tensor")
    return network.eval().requires_grad_(False)
