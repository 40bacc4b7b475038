"""RenderTarget pictures: tiles without seams, and statistics that are those of the optimisation."""

from __future__ import annotations

import pytest
import torch

from genartisan.method import tiling
from genartisan.method.painters import Layers, Painter, PastichePainter, StyleNets
from genartisan.method.tiling import MARGIN, TILE, rendered, with_held_norms
from genartisan.networks.mobilenet import NUMBERS
from genartisan.networks.pastiche import PasticheNet
from genartisan.networks.stylenet import MULTIPLE, StyleNet


def network() -> StyleNet:
    torch.manual_seed(0)
    net = StyleNet(4)
    with torch.no_grad():
        for name, parameter in net.named_parameters():  # strong enough for a seam to show
            parameter.mul_(1.5).add_(0.1 * torch.randn_like(parameter) if "conv" in name else 0)
    return net


def pastiche(*strengths: float) -> PastichePainter:
    torch.manual_seed(0)
    layers = Layers.of(range(len(strengths)), strengths)
    net = PasticheNet((4, 8, 8)).requires_grad_(False)
    return PastichePainter(net, 3 * torch.randn(len(strengths), NUMBERS), torch.randn(NUMBERS), layers)


def content(height: int, width: int, channels: int = 3) -> torch.Tensor:
    noise = torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(height))
    return 0.7 * torch.nn.functional.interpolate(noise[..., ::9, ::9], (height, width), mode="bicubic") + 0.3 * noise


def in_two_parts(height: int, width: int) -> torch.Tensor:
    """What a painter of two layers sees."""
    photo_and_part = content(height, width, 4).clamp(0, 1)
    return torch.cat((photo_and_part, 1 - photo_and_part[:, 3:]), dim=1)


@pytest.mark.parametrize(("net", "seen"), [
    (network(), content(61, 83)),
    (StyleNets([network(), StyleNet(4)]), in_two_parts(61, 83)),
    (pastiche(1.0), content(64, 88)),
    (pastiche(1.0, 0.1), in_two_parts(64, 88)),
])  # fmt: skip
def test_what_was_optimised_is_rendered_as_it_was(net: Painter, seen: torch.Tensor) -> None:
    with torch.no_grad():
        torch.testing.assert_close(rendered(net, seen, seen), net(seen), atol=1e-5, rtol=1e-5)


def test_in_half_precision_it_is_rendered_as_it_was() -> None:
    net, seen = network(), content(64, 64)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(rendered(net, seen, seen), net(seen), atol=0.06, rtol=0)
        held = with_held_norms(net, seen)
        maps = net.entry.conv[0](net.first(seen))
        assert held.entry.conv[1](maps).dtype == net.entry.conv[1](maps).dtype


@pytest.mark.parametrize("size", [(400, 300), (331, 415)])
def test_tiles_leave_no_seam(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    net, seen, large = network(), content(64, 64), content(*size)
    whole = rendered(net, seen, large, tile=1024)
    torch.testing.assert_close(rendered(net, seen, large, tile=64), whole, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(with_held_norms(net, seen)(large), whole, atol=1e-5, rtol=1e-5)
    monkeypatch.setattr(tiling, "MARGIN", 16)  # less than a pixel depends on
    assert (rendered(net, seen, large, tile=64) - whole).abs().max() > 1e-3


def test_tiles_of_the_pastiche_network_leave_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    net, seen, large = pastiche(1.0, 0.6), in_two_parts(64, 64), in_two_parts(400, 304)
    whole = rendered(net, seen, large, tile=1024)
    torch.testing.assert_close(rendered(net, seen, large, tile=64), whole, atol=1e-5, rtol=1e-5)
    monkeypatch.setattr(tiling, "MARGIN", 8)  # less than a pixel depends on
    assert (rendered(net, seen, large, tile=64) - whole).abs().max() > 1e-3


def gradient(side: int) -> torch.Tensor:
    """A smooth picture, in which a seam would show most."""
    down, across = torch.meshgrid(torch.linspace(0, 1, side), torch.linspace(0, 1, side), indexing="ij")
    return torch.stack((down, across, 1 - (down + across) / 2))[None]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("net", [network(), pastiche(1.0)])
def test_a_gradient_shows_no_seam(net: Painter, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    def excess(margin: int) -> float:
        """How much more the picture bends across the tiles' edges than 8 to 24 pixels beside, on the strides' grid."""
        monkeypatch.setattr(tiling, "MARGIN", margin)
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            picture = rendered(net, gradient(64), gradient(1024), tile=256)
        bends = picture.diff(n=2, dim=-1).abs()
        edges = [edge + offset for edge in (256, 512, 768) for offset in (-2, -1)]
        beside = [edge + 8 * far for edge in edges for far in (-3, -2, -1, 1, 2, 3)]
        return float(bends[..., edges].mean() / bends[..., beside].mean())

    assert excess(MARGIN) < 1.2
    assert excess(0) > 1.4


def test_the_statistics_are_not_those_of_the_large_picture() -> None:
    net, seen = network(), content(64, 64)
    large = torch.cat((seen, 0.2 * seen), dim=3)
    with torch.no_grad():
        ours, plain, small = (picture[..., :8] for picture in (rendered(net, seen, large), net(large), net(seen)))
    torch.testing.assert_close(ours, small, atol=0.02, rtol=0)  # what the other half is changes nothing here
    assert (plain - small).abs().mean() > 5 * (ours - small).abs().mean()


def test_tiles_lie_on_the_grid_of_the_strides() -> None:
    assert TILE % MULTIPLE == 0
    assert MARGIN % MULTIPLE == 0


def test_the_network_is_left_as_it_was() -> None:
    net, seen = network(), content(64, 64)
    before = net(seen)
    rendered(net, seen, content(128, 128))
    assert torch.equal(net(seen), before)
    assert all(
        isinstance(m, torch.nn.InstanceNorm2d) for n, m in net.named_modules() if n.endswith(("conv.1", "conv.4"))
    )
