"""What draws the picture of a run: the paper's StyleNet, one for each text, or the pastiche network.

A painter makes layers of the whole photo, ``(L, 3, H, W)``, which are composed by how much of each pixel is whose.
`Layers` says which layer is whose: one for each text, or, for the pastiche network, one for each text and strength.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.profiler import record_function
from torch.utils.checkpoint import checkpoint

from genartisan.config import StyleConfig
from genartisan.method.directions import Directions
from genartisan.method.regions import BACKGROUND_LABEL, RegionMap
from genartisan.networks.pastiche import PasticheNet
from genartisan.networks.stylenet import StyleNet, random_stylenet

FADE = 0.25  # strength below which the pastiche goes over into the photo itself


@dataclass(frozen=True)
class Layers:
    """Which layer each region is drawn on.

    Attributes:
        texts: of each layer, the number of its text direction.
        strengths: of each layer, 0-1; all 1 where strength is a matter of post-processing.
        of_regions: of each region, the number of its layer.
    """

    texts: tuple[int, ...]
    strengths: tuple[float, ...]
    of_regions: tuple[int, ...]

    @classmethod
    def of(cls, texts: Sequence[int], strengths: Sequence[float]) -> Layers:
        """One layer for each text and strength that some region has, given those of each region."""
        pairs = list(zip(texts, strengths, strict=True))
        each = list(dict.fromkeys(pairs))
        return cls(
            tuple(text for text, _ in each),
            tuple(strength for _, strength in each),
            tuple(each.index(pair) for pair in pairs),
        )

    def __len__(self) -> int:
        return len(self.texts)


def plan_layers(
    directions: Directions, regions: RegionMap | None, config: StyleConfig, styled: bool, every_layer: bool = False
) -> Layers:
    """One layer for each text; if the painter applies strength, for each text and strength of a region with pixels.

    Args:
        styled: whether the painter is the pastiche network, which applies strength.
        every_layer: keep the layers of regions without pixels, too.
    """
    texts = list(directions.rows_of)
    if not styled or regions is None:
        return Layers.of(texts, [1.0] * len(texts))
    strengths = [config.regions[name].strength for name in regions.names]
    for label, pixels in enumerate(regions.pixels()):
        if not pixels and not every_layer:
            texts[label], strengths[label] = texts[BACKGROUND_LABEL], strengths[BACKGROUND_LABEL]
    return Layers.of(texts, strengths)


class StyleNets(nn.Module):
    """Several StyleNets, of which each draws the part of the picture that follows its text.

    Input ``(1, 3 + L, H, W)``: the photo, and how much of each pixel each of the L draws, in [0, 1], with the sum 1.
    Output ``(1, 3, H, W)``, RGB in [0, 1].

    One network could not follow two texts: a convolution does not know in which region it is.
    """

    def __init__(self, nets: Sequence[StyleNet]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def layers(self, content: Tensor) -> Tensor:
        """The whole photo as each network draws it, ``(L, 3, H, W)``."""
        return torch.cat([net(content[:, :3]) for net in self.nets])

    def forward(self, content: Tensor) -> Tensor:
        return composed(self.layers(content), content)


class PastichePainter(nn.Module):
    """The pastiche network with the style numbers of a run.

    Input and output are those of `StyleNets`. A layer's numbers lie on the way from the photo's own to its style's:
    ``own + strength · (style − own)``. Below a strength of `FADE` what is drawn with the photo's numbers, which is a
    painting of it already, fades into the photo, so that 0 is the photo.

    Args:
        net: of the bundle.
        numbers: of each text, ``(T, 100)``; Adam may move them.
        photo_numbers: the photo's own, ``(100,)``.
        layers: which text, and how much of it, each layer shows.
        trains_net: whether the network's weights are to move; then it is a copy.
    """

    def __init__(
        self, net: PasticheNet, numbers: Tensor, photo_numbers: Tensor, layers: Layers, trains_net: bool = False
    ) -> None:
        super().__init__()
        self.net = copy.deepcopy(net).requires_grad_(True) if trains_net else net
        self.numbers = nn.Parameter(numbers.clone())  # (T, 100)
        device = numbers.device
        self.photo_numbers = nn.Buffer(photo_numbers.clone())  # (100,)
        self.texts = nn.Buffer(torch.tensor(layers.texts, device=device))  # (L,)
        self.strengths = nn.Buffer(torch.tensor(layers.strengths, device=device)[:, None])  # (L, 1)
        self.fades = min(layers.strengths) < FADE

    def layers(self, content: Tensor) -> Tensor:
        """The whole photo as each layer shows it, ``(L, 3, H, W)``."""
        photo = content[:, :3]
        numbers = torch.lerp(self.photo_numbers, self.numbers[self.texts], self.strengths)  # (L, 100)
        photo_nhwc = photo.contiguous(memory_format=torch.channels_last)
        if photo.device.type == "cpu" and torch.is_grad_enabled():
            # Each layer is drawn again for its gradient: for a third more work, the memory of one suffices.
            drawn = torch.cat([checkpoint(self.net, photo_nhwc, row[None], use_reentrant=False) for row in numbers])
        else:
            drawn = self.net(photo_nhwc, numbers)
        if not self.fades:
            return drawn
        return torch.lerp(photo.to(drawn.dtype), drawn, (self.strengths / FADE).clamp(max=1)[..., None, None])

    def forward(self, content: Tensor) -> Tensor:
        return composed(self.layers(content), content)


Painter = StyleNet | StyleNets | PastichePainter


def new_stylenets(layers: int, seed: int) -> Painter:
    """Trainable StyleNets of random weights, one for each layer, all drawn from the same seed."""
    nets = [random_stylenet(seed) for _ in range(layers)]
    net = nets[0] if layers == 1 else StyleNets(nets)
    return net.requires_grad_(True).train()


def composed(layers: Tensor, content: Tensor) -> Tensor:
    """The picture, ``(1, 3, H, W)``, of layers ``(L, 3, H, W)``, by the parts that lie last in ``content``."""
    return layers if len(layers) == 1 else (layers * content[0, -len(layers) :, None]).sum(dim=0, keepdim=True)


def layers_of(net: Painter, content: Tensor, dtype: torch.dtype) -> Tensor:
    """A painter's layers of the content, computed in ``dtype``: ``(L, 3, H, W)``, float32."""
    with record_function("stylenet"), torch.autocast(content.device.type, dtype, enabled=dtype != torch.float32):
        layers: Tensor = net(content) if isinstance(net, StyleNet) else net.layers(content)
    return layers.float()


def drawn(net: Painter, content: Tensor, dtype: torch.dtype) -> Tensor:
    """The picture that a painter makes of its input, computed in ``dtype``: ``(N, 3, H, W)``, float32."""
    with record_function("stylenet"), torch.autocast(content.device.type, dtype, enabled=dtype != torch.float32):
        picture: Tensor = net(content)
    return picture.float()


def adam(net: Painter, rate: float | Tensor, numbers_rate: float = 0.0) -> torch.optim.Adam:
    """Adam over what a painter has to learn, one kernel for all of it; a CUDA graph needs a rate that is a tensor.

    Args:
        rate: of networks' weights.
        numbers_rate: of style numbers.
    """
    weights = [weight for name, weight in net.named_parameters() if name != "numbers" and weight.requires_grad]
    groups = [{"params": weights, "lr": rate, "initial_lr": rate}] if weights else []
    if isinstance(net, PastichePainter):
        groups.append({"params": [net.numbers], "lr": numbers_rate, "initial_lr": numbers_rate})
    capturable = isinstance(rate, Tensor) and weights[0].is_cuda
    return torch.optim.Adam(groups, fused=True, capturable=capturable)
