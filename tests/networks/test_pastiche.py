"""The pastiche network, the style predictor and MobileNetV2's maps, and that the shipped ones are the originals."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from torch import Tensor

from genartisan.io.images import read_photo
from genartisan.networks.bundle import Bundle
from genartisan.networks.mobilenet import NUMBERS, SIDE, MobileNetFeatures, MobileNetV2, StylePredictor
from genartisan.networks.normalization import IMAGENET_MEAN, IMAGENET_STD, standardized
from genartisan.networks.pastiche import PasticheNet
from genartisan.training.convert_magenta import PASTICHE_FILE, PREDICTOR_FILE

PRETRAINED = os.environ.get("GENARTISAN_PRETRAINED")  # folder of the original .onnx files


def photo(width: int = 64, height: int = 48, seed: int = 0) -> Tensor:
    """A smooth random photo, ``(1, 3, H, W)``."""
    return read_photo(tiny.picture(width, height, seed)).pixels[None]


def numbers(count: int = 1, seed: int = 0) -> Tensor:
    return torch.randn(count, NUMBERS, generator=torch.Generator().manual_seed(seed))


def pastiche() -> PasticheNet:
    return cast(PasticheNet, tiny.network("pastiche"))


def predictor() -> StylePredictor:
    return cast(StylePredictor, tiny.network("predictor"))


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


# The pastiche network


@pytest.mark.parametrize("size", [(64, 48), (16, 16), (17, 19), (61, 43), (18, 33), (100, 17)])
def test_a_picture_has_the_photo_s_size_and_is_rgb(size: tuple[int, int]) -> None:
    width, height = size
    picture = pastiche()(photo(width, height), numbers())
    assert picture.shape == (1, 3, height, width)
    assert picture.dtype == torch.float32
    assert 0 <= float(picture.min()) < float(picture.max()) <= 1


def test_a_photo_that_is_padded_is_drawn_as_one_that_goes_on_in_its_reflection() -> None:
    odd = photo(61, 43)
    padded = torch.nn.functional.pad(odd, (0, 3, 0, 1), mode="reflect")
    assert torch.equal(pastiche()(odd, numbers()), pastiche()(padded, numbers())[..., :43, :61])


def test_several_numbers_over_one_photo_are_each_what_they_are_alone() -> None:
    net, several = pastiche(), numbers(3)
    drawn = net(photo(61, 43), several)
    assert drawn.shape == (3, 3, 43, 61)
    for one, picture in zip(several, drawn, strict=True):
        torch.testing.assert_close(net(photo(61, 43), one[None])[0], picture, atol=1e-4, rtol=0)
    assert float((drawn[0] - drawn[1]).abs().mean()) > 0.05


def test_several_photos_each_have_their_own_numbers() -> None:
    net, photos, several = pastiche(), torch.cat([photo(seed=seed) for seed in range(3)]), numbers(3)
    for each, one, picture in zip(photos, several, net(photos, several), strict=True):
        torch.testing.assert_close(net(each[None], one[None])[0], picture, atol=1e-4, rtol=0)


def test_gradients_reach_numbers_and_every_weight() -> None:
    net, own = pastiche(), numbers().requires_grad_()
    with torch.enable_grad():
        net(photo(), own).square().mean().backward()
    assert own.grad is not None
    assert (own.grad != 0).float().mean() > 0.9
    without = [name for name, weight in net.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert without == []


def test_the_gradient_of_the_numbers_is_their_effect() -> None:
    net, own, direction = pastiche().double(), numbers().double().requires_grad_(), numbers(seed=1).double()

    def loss(of: Tensor) -> Tensor:
        x = photo().double()
        for contract in net.contract:
            x = torch.relu(contract(x))
        x = net.residuals[0](x, of)
        return x.square().mean()

    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(loss(own), own)
    step = 1e-5 * direction
    difference = float(loss(own + step) - loss(own - step)) / 2e-5
    assert float((gradient * direction).sum()) == pytest.approx(difference, rel=1e-4)


def test_half_precision_is_close_and_comes_out_single(embedded: Bundle) -> None:
    net = embedded.to(torch.device("cpu"), torch.float32).pastiche
    own = numbers_of_sample(embedded)
    with torch.autocast("cpu", torch.bfloat16):
        half = net(photo(160, 120), own)
    assert half.dtype == torch.float32
    difference = (half - net(photo(160, 120), own)).abs()
    assert 0 < float(difference.mean()) < 0.01
    assert float(difference.max()) < 0.2


def numbers_of_sample(bundle: Bundle) -> Tensor:
    """The style numbers, ``(1, 100)``, of a picture."""
    return cast(Tensor, bundle.to(torch.device("cpu"), torch.float32).predictor(photo(256, 256, seed=7)))


# The predictor, and the maps


@pytest.mark.parametrize("size", [(SIDE, SIDE), (64, 48), (33, 300), (700, 500)])
@pytest.mark.parametrize("count", [1, 3])
def test_pictures_of_any_size_have_100_numbers_each(size: tuple[int, int], count: int) -> None:
    net, pictures = predictor(), torch.cat([photo(*size, seed=seed) for seed in range(count)])
    told = net(pictures)
    assert told.shape == (count, NUMBERS)
    for picture, own in zip(pictures, told, strict=True):
        torch.testing.assert_close(net(picture[None])[0], own, atol=1e-3, rtol=1e-3)


def test_another_picture_has_other_numbers(tiny_bundle: Bundle) -> None:
    told = tiny_bundle.to(torch.device("cpu"), torch.float32).predictor(torch.cat([photo(), photo(seed=1)]))
    assert float((told[0] - told[1]).abs().mean()) > 0.05


def test_a_picture_s_size_hardly_changes_its_numbers(embedded: Bundle) -> None:
    net = embedded.to(torch.device("cpu"), torch.float32).predictor
    small, large, other = net(photo(256, 256)), net(photo(640, 640)), net(photo(256, 256, seed=1))
    assert float((small - large).norm()) < 0.3 * float((small - other).norm())


def test_maps_are_those_behind_the_blocks_and_nothing_deeper_is_computed() -> None:
    torch.manual_seed(0)
    trunk = MobileNetV2(6)
    stem, third, sixth = trunk.maps(photo(64, 48), [0, 3, 6])
    assert [tuple(each.shape) for each in (stem, third, sixth)] == [(1, 32, 24, 32), (1, 24, 12, 16), (1, 32, 6, 8)]
    trunk.blocks[3].register_forward_pre_hook(lambda *_: pytest.fail("a deeper block is computed"))
    assert torch.equal(trunk.maps(photo(64, 48), [3])[0], third)
    with pytest.raises(ValueError, match="17"):
        MobileNetV2(18)


@pytest.mark.parametrize("size", [(64, 48), (33, 47), (16, 16)])
def test_features_are_scaled_maps_of_pictures_as_vgg_takes_them(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    net = MobileNetFeatures(taps=[6, 13])
    net.get_buffer("scales").copy_(torch.tensor([2.0, 3.0]))
    picture = photo(*size)
    maps = net(standardized(picture, IMAGENET_MEAN, IMAGENET_STD))
    for scale, own, plain in zip((2, 3), maps, net.trunk.maps(picture, [6, 13]), strict=True):
        torch.testing.assert_close(own, scale * plain, atol=1e-4, rtol=1e-4)
    assert [each.shape[1] for each in maps] == [32, 96]


# The originals


def original(name: str, **inputs: Tensor) -> Tensor:
    """What an original network answers, run as it is stored."""
    runtime: Any = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = runtime.InferenceSession(str(Path(cast(str, PRETRAINED)) / name), options)
    given = {}
    for entry, value in zip(session.get_inputs(), inputs.values(), strict=True):
        given[entry.name] = value.numpy()
    return torch.from_numpy(session.run(None, given)[0])


def original_numbers(picture: Tensor) -> Tensor:
    """The original predictor's numbers, ``(1, 1, 1, 100)``, of ``(1, 3, 256, 256)``."""
    return original(PREDICTOR_FILE, picture=picture.permute(0, 2, 3, 1).contiguous())


@pytest.mark.skipif(not PRETRAINED, reason="GENARTISAN_PRETRAINED names no folder with the original files")
def test_the_shipped_networks_are_the_originals(embedded: Bundle) -> None:
    """But for the rounding of their activations, which are 8 bits there.

    On photos: of smooth blots, as the other tests draw them, the pictures differ by 0.04 to 0.12.
    """
    data: Any = pytest.importorskip("skimage.data")
    bundle = embedded.to(torch.device("cpu"), torch.float32)
    photos = [Image.fromarray(getattr(data, name)()) for name in ("astronaut", "coffee", "chelsea", "rocket")]
    for number, style in enumerate(photos):
        picture = read_photo(style.resize((SIDE, SIDE))).pixels[None]
        theirs = original_numbers(picture)
        assert np.corrcoef(theirs.flatten(), bundle.predictor(picture).flatten())[0, 1] > 0.999
        content = read_photo(photos[number - 1].resize((384, 384))).pixels[None]
        drawn = original(PASTICHE_FILE, content=content.permute(0, 2, 3, 1).contiguous(), style=theirs)
        ours = bundle.pastiche(content, theirs.flatten(1))
        assert float((drawn.permute(0, 3, 1, 2) - ours).abs().mean()) < 0.04


@pytest.mark.parametrize("count", [1, 2])
@torch.enable_grad()  # type: ignore[untyped-decorator]
def test_gradients_are_those_of_double_precision_in_any_memory_format(count: int) -> None:
    torch.manual_seed(0)
    photo, numbers, weights = torch.rand(1, 3, 64, 48), torch.randn(count, 100) / 4, torch.randn(count, 3, 64, 48)

    def gradient(dtype: torch.dtype, memory_format: torch.memory_format) -> Tensor:
        net = copy.deepcopy(random_net).requires_grad_(True).to(dtype).to(memory_format=memory_format)
        pictures = net(photo.to(dtype).contiguous(memory_format=memory_format), numbers.to(dtype))
        (pictures * weights).sum().backward()
        return net.residuals[0].first.conv.weight.grad.double()

    random_net = PasticheNet()
    exact = gradient(torch.float64, torch.contiguous_format)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        assert (gradient(torch.float32, memory_format) - exact).norm() < 1e-3 * exact.norm()
