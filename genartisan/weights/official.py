"""The official weight files: sources, hashes and licences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class OfficialFile:
    """A weight file as published by its authors.

    Attributes:
        role: the bundle's network that it becomes.
        sha256: in hexadecimal. OpenAI publishes it in full; torchvision publishes the first eight digits, in the file's
            name, and the rest agrees with the records of several public projects.
        size: bytes.
        architecture: of the bundle's network, see `networks.build`.
    """

    role: str
    name: str
    url: str
    sha256: str
    size: int | None
    licence: str
    source: str
    architecture: Mapping[str, Any]

    def source_line(self, dtype: str) -> str:
        """The ``source`` of the converted network in a bundle's manifest."""
        halves = "" if dtype == "fp32" else ", fp16 kept"
        return f"{self.source}: {self.url}, SHA-256 {self.sha256}, converted to {dtype}{halves}"


# The URLs and hashes of open_clip's ("ViT-B-32-quickgelu", "openai") and torchvision's
# FCN_ResNet101_Weights.COCO_WITH_VOC_LABELS_V1 and VGG19_Weights.IMAGENET1K_V1, as a test verifies. Repeated here
# so that a release of those libraries cannot silently change the weights.
CLIP_SHA256 = "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"
TORCHVISION = "https://download.pytorch.org/models"
OFFICIAL = (
    OfficialFile(
        role="clip",
        name="ViT-B-32.pt",
        url=f"https://openaipublic.azureedge.net/clip/models/{CLIP_SHA256}/ViT-B-32.pt",
        sha256=CLIP_SHA256,
        size=353_976_522,
        licence="MIT (OpenAI CLIP)",
        source="OpenAI CLIP ViT-B/32",
        architecture={"kind": "open_clip", "model": "ViT-B-32-quickgelu"},
    ),
    OfficialFile(
        role="fcn",
        name="fcn_resnet101_coco-7ecb50ca.pth",
        url=f"{TORCHVISION}/fcn_resnet101_coco-7ecb50ca.pth",
        sha256="7ecb50ca17844860a70d5ed0c748d997cf8adb62932abaa0233430c68594d749",
        size=217_800_805,
        licence="BSD-3-Clause (torchvision); trained on COCO",
        source="torchvision FCN-ResNet101, COCO with VOC labels",
        architecture={"kind": "fcn_resnet101"},
    ),
    OfficialFile(
        role="vgg",
        name="vgg19-dcbb9e9d.pth",
        url=f"{TORCHVISION}/vgg19-dcbb9e9d.pth",
        sha256="dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
        size=574_673_361,
        licence="BSD-3-Clause (torchvision); trained on ImageNet",
        source="torchvision VGG-19, ImageNet",
        architecture={"kind": "vgg19"},
    ),
)
