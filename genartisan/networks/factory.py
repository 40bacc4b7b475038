"""The kinds of network in a bundle, built from their ``architecture``.

`build` takes, for instance, ``{"kind": "vgg19", "width": 0.125}`` and returns a module on the meta device, which costs
neither time nor memory; `Bundle` then assigns the memory-mapped weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from genartisan.errors import BundleError
from genartisan.networks.compact_clip import CompactClip
from genartisan.networks.compact_fcn import CompactFcn
from genartisan.networks.confirmed_segmentation import ConfirmedSegmentation
from genartisan.networks.mobilenet import MobileNetFeatures, StylePredictor
from genartisan.networks.pastiche import PasticheNet
from genartisan.networks.selfie_segmentation import SelfieSegmentation
from genartisan.networks.style_head import StyleHead

VOC_CLASSES = (
    "__background__", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


TEMPLATE_TOKENS = 9  # tokens that the longest of the 79 templates adds to a prompt


class Clip(Protocol):
    """The interface of a CLIP: two encoders, and the image encoder's input size and normalisation."""

    embedding_dim: int  # D
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    multiplies: bool  # whether large matrix products dominate its work: bf16 may speed them up

    def encode_image(self, images: Tensor) -> Tensor:
        """Embeddings ``(N, D)`` of ``(N, 3, image_size, image_size)``, normalised by ``mean`` and ``std``."""

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embeddings ``(N, D)`` of N texts."""

    def remarks(self, text: str) -> list[str]:
        """Warnings about the parts of ``text`` that the text encoder ignores, for a report."""

    def styles(self) -> dict[str, list[str]] | None:
        """The names of the known ``techniques`` and ``colours``; None for a CLIP with an open vocabulary."""


class OpenClip(nn.Module):
    """A CLIP of open_clip, by its configuration's name, such as ``ViT-B-32-quickgelu``."""

    multiplies = True

    def __init__(self, *, model: str) -> None:
        import open_clip  # takes over a second, and the other kinds of CLIP do not need it

        from genartisan.networks import fast_vit

        super().__init__()
        config = open_clip.get_model_config(model)
        if config is None:
            raise BundleError(f"architecture.model is {model!r}, which open_clip does not know.")
        self.model = open_clip.CLIP(**config)
        self.embedding_dim = int(config["embed_dim"])
        self.image_size = int(config["vision_cfg"]["image_size"])
        self.mean = cast(tuple[float, float, float], open_clip.OPENAI_DATASET_MEAN)
        self.std = cast(tuple[float, float, float], open_clip.OPENAI_DATASET_STD)
        self.tokenizer = open_clip.get_tokenizer(model)
        self._encode = fast_vit.encode if fast_vit.is_plain(self.model.visual) else None

    def materialize_buffers(self) -> None:
        """Rebuilds the causal mask, which is not stored with the weights."""
        length = self.model.context_length
        mask = torch.full((length, length), float("-inf"), device="cpu").triu_(1)
        self.model.register_buffer("attn_mask", mask, persistent=False)

    def encode_image(self, images: Tensor) -> Tensor:
        if self._encode is None:
            return cast(Tensor, self.model.encode_image(images))  # (N, 512)
        return self._encode(self.model.visual, images)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        tokens = self.tokenizer(list(texts)).to(self.model.text_projection.device)  # (N, 77)
        return cast(Tensor, self.model.encode_text(tokens))  # (N, 512)

    def remarks(self, text: str) -> list[str]:
        room = self.model.context_length - 2 - TEMPLATE_TOKENS  # without the start and end tokens
        if len(self.tokenizer.encode(text)) <= room:
            return []
        return [f"CLIP reads about {room} tokens and ignores the rest; shorten it"]

    def styles(self) -> None:
        return None


class Vgg19(nn.Module):
    """VGG-19's ``features`` up to the ReLU after conv5_2, with channels scaled by ``width``.

    Returns rectified maps on purpose: CLIPstyler's "conv4_2" and "conv5_2" are rectified too, because torchvision's
    ReLUs work in place.
    """

    LAYERS = (64, 64, "M", 128, 128, "M", 256, 256, 256, 256, "M", 512, 512, 512, 512, "M", 512, 512)
    RELU4_2, RELU5_2 = 22, 31  # positions in `features`

    def __init__(self, *, width: float = 1.0) -> None:
        from torchvision.models.vgg import make_layers  # takes seconds, and the other kinds do not need it

        super().__init__()
        self.features = make_layers([n if isinstance(n, str) else round(n * width) for n in self.LAYERS])

    def forward(self, images: Tensor) -> list[Tensor]:
        """``[relu4_2, relu5_2]`` of ImageNet-normalised ``images``, ``(N, 3, H, W)``."""
        middle = self.features[: self.RELU4_2 + 1](images)  # (N, 512 width, H/8, W/8)
        return [middle, self.features[self.RELU4_2 + 1 :](middle)]  # the second: (N, 512 width, H/16, W/16)


class FcnResnet101(nn.Module):
    """torchvision's FCN-ResNet101; ``classes`` names its output channels."""

    image_size = 520  # short side, as in FCN_ResNet101_Weights.COCO_WITH_VOC_LABELS_V1

    def __init__(self, *, classes: Sequence[str] = VOC_CLASSES) -> None:
        from torchvision.models.segmentation import fcn_resnet101  # as above

        super().__init__()
        self.classes = tuple(classes)
        self.model = fcn_resnet101(weights=None, weights_backbone=None, num_classes=len(self.classes))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """``{"out": logits}``, ``(N, classes, h, w)``, of ImageNet-normalised ``images``, ``(N, 3, h, w)``."""
        return cast(dict[str, Tensor], self.model(images))


KINDS: dict[str, dict[str, Callable[..., nn.Module]]] = {
    "clip": {"open_clip": OpenClip, "compact_clip": CompactClip},
    "fcn": {
        "fcn_resnet101": FcnResnet101,
        "compact_fcn": CompactFcn,
        "selfie_segmentation": SelfieSegmentation,
        "confirmed_segmentation": ConfirmedSegmentation,
    },
    "vgg": {"vgg19": Vgg19, "mobilenet_v2": MobileNetFeatures},
    "predictor": {"mobilenet_v2": StylePredictor},
    "pastiche": {"pastiche": PasticheNet},
    "style_head": {"style_head": StyleHead},
}


def build(role: str, architecture: Mapping[str, Any]) -> nn.Module:
    """A network for ``role``, one of `KINDS`, on the meta device, without weights.

    Raises:
        BundleError: the architecture's kind is unknown or its arguments are invalid.
    """
    arguments = dict(architecture)
    kind = arguments.pop("kind", None)
    known = KINDS[role]
    if not isinstance(kind, str) or kind not in known:
        raise BundleError(f"{role}.architecture.kind is {kind!r}; this version knows {', '.join(sorted(known))}.", role)
    try:
        with torch.device("meta"):
            return known[kind](**arguments)
    except (TypeError, ValueError, LookupError, ArithmeticError) as error:
        raise BundleError(f"{role}.architecture does not fit {kind}: {error}.", role) from error
