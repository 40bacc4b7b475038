"""Painters draw the picture of a run: the paper's StyleNet, one for each text, or the pastiche network.

A painter draws layers of the whole photo, ``(L, 3, H, W)``, which the region map composes. `Layers` assigns them: one
for each text, or, for the pastiche network, one for each text and strength.
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

FADE = 0.25  # strength below which the pastiche fades into the photo


@dataclass(frozen=True)
class Layers:
    """The layer of each region.

    Attributes:
        texts: text direction of each layer, a row of `Directions`.
        strengths: of each layer, 0-1; all 1 where post-processing applies strength.
        of_regions: layer of each region, by label.
    """

    texts: tuple[int, ...]
    strengths: tuple[float, ...]
    of_regions: tuple[int, ...]

    @classmethod
    def of(cls, texts: Sequence[int], strengths: Sequence[float]) -> Layers:
        """One layer for each distinct text and strength, given those of each region."""
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
    """One StyleNet for each text; each draws the part of the picture that follows its text.

    Input ``(1, 3 + L, H, W)``: the photo, and the share of each of L layers in each pixel, with the sum 1.
    Output ``(1, 3, H, W)``, RGB in [0, 1].

    One network cannot follow two texts: a convolution does not know which region it is in.
    """

    def __init__(self, nets: Sequence[StyleNet]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def layers(self, net_input: Tensor) -> Tensor:
        """The whole photo, drawn by each network, ``(L, 3, H, W)``."""
        return torch.cat([net(net_input[:, :3]) for net in self.nets])

    def forward(self, net_input: Tensor) -> Tensor:
        return composed(self.layers(net_input), net_input)


class PastichePainter(nn.Module):
    """The pastiche network with the style numbers of a run.

    Input and output are those of `StyleNets`. A layer's numbers are ``photo + strength · (style − photo)``. With the
    photo's numbers the network still paints, so below a strength of `FADE` the layer fades into the photo itself.

    Args:
        net: of the bundle.
        numbers: of each text, ``(T, 100)``; a parameter.
        photo_numbers: the photo's own, ``(100,)``.
        layers: text and strength of each layer.
        trains_net: whether the network's weights are trained, in a copy.
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

    def layers(self, net_input: Tensor) -> Tensor:
        """The whole photo in each layer's style, ``(L, 3, H, W)``."""
        photo = net_input[:, :3]
        numbers = torch.lerp(self.photo_numbers, self.numbers[self.texts], self.strengths)  # (L, 100)
        photo_nhwc = photo.contiguous(memory_format=torch.channels_last)
        if photo.device.type == "cpu" and torch.is_grad_enabled():
            # Recomputing each layer for its gradient costs a third more time and saves the memory of the others.
            layers = torch.cat([checkpoint(self.net, photo_nhwc, row[None], use_reentrant=False) for row in numbers])
        else:
            layers = self.net(photo_nhwc, numbers)
        if not self.fades:
            return layers
        return torch.lerp(photo.to(layers.dtype), layers, (self.strengths / FADE).clamp(max=1)[..., None, None])

    def forward(self, net_input: Tensor) -> Tensor:
        return composed(self.layers(net_input), net_input)


Painter = StyleNet | StyleNets | PastichePainter


def new_stylenets(layers: int, seed: int) -> Painter:
    """Trainable StyleNets of random weights, one for each layer, all drawn from the same seed."""
    nets = [random_stylenet(seed) for _ in range(layers)]
    net = nets[0] if layers == 1 else StyleNets(nets)
    return net.requires_grad_(True).train()


def composed(layers: Tensor, net_input: Tensor) -> Tensor:
    """The picture, ``(1, 3, H, W)``, of layers, ``(L, 3, H, W)``, weighted by the last L planes of ``net_input``."""
    return layers if len(layers) == 1 else (layers * net_input[0, -len(layers) :, None]).sum(dim=0, keepdim=True)


def draw_layers(net: Painter, net_input: Tensor, dtype: torch.dtype) -> Tensor:
    """A painter's layers, ``(L, 3, H, W)``, float32, computed in ``dtype``."""
    with record_function("stylenet"), torch.autocast(net_input.device.type, dtype, enabled=dtype != torch.float32):
        layers: Tensor = net(net_input) if isinstance(net, StyleNet) else net.layers(net_input)
    return layers.float()


def draw_picture(net: Painter, net_input: Tensor, dtype: torch.dtype) -> Tensor:
    """A painter's picture, ``(N, 3, H, W)``, float32, computed in ``dtype``."""
    with record_function("stylenet"), torch.autocast(net_input.device.type, dtype, enabled=dtype != torch.float32):
        picture: Tensor = net(net_input)
    return picture.float()


def adam(net: Painter, rate: float | Tensor, numbers_rate: float = 0.0) -> torch.optim.Adam:
    """Fused Adam over a painter's parameters. A CUDA graph needs a rate that is a tensor.

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
