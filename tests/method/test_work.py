"""What a step costs, counted and not timed: no noise can fail these tests, nor hide a loss.

A number here may fall at any time, and should then be lowered; if one has to rise, the commit says what for.
"""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

import pytest
import tiny
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from genartisan.config import StyleConfig
from genartisan.method.directions import Directions
from genartisan.method.engine import Run
from genartisan.method.objective import Objective
from genartisan.method.painters import Layers
from genartisan.method.patches import PatchBatch, plan
from genartisan.method.stylizer import Stylizer
from genartisan.method.targets import FeatureExtractor, ScaleTargets
from genartisan.networks.factory import build
from genartisan.networks.stylenet import StyleNet

# Of a step of the runs below, on networks whose architectures do not change with the bundle that ships.
FLOPS = 1_231_400_960  # risen with the tiny bundle's CLIP, whose image tower is MobileNetV2's trunk now
CALLS = (
    1_380  # PyTorch 2.15 counts 1,370; risen by 20 on a CPU, which takes CLIP's gradient before VGG's, for its memory
)
BYTES = 31_900_000
# Of a step at the paper's settings on the official networks, most of it CLIP's; with open_clip's own code 1637 GFLOP.
OFFICIAL_FLOPS = 1_559_986_452_480
OFFICIAL_CALLS = 1_860
OFFICIAL_BYTES = 10_200_000_000
# The host waits for what a device computes, or sends it what it could have had before the first step.
WAITS = {"_local_scalar_dense", "is_nonzero", "equal", "nonzero", "lift_fresh"}


class Calls(TorchDispatchMode):
    """Counts what PyTorch is told to compute, which on a GPU is about a kernel each, and the bytes of the results."""

    def __init__(self) -> None:
        super().__init__()
        self.names, self.bytes = Counter[str](), 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.names[func.overloadpacket.__name__] += 1
        if not func.is_view and not func._schema.is_mutable and isinstance(result, Tensor):
            self.bytes += result.nbytes
        return result


@pytest.fixture(params=["artisan", "clipstyler"])
def run(request: pytest.FixtureRequest, tiny_stylizer: Stylizer) -> Run:
    """A run in either mode after its first step, which makes the optimiser's state."""
    return begun(tiny_stylizer, mode=request.param)


def begun(stylizer: Stylizer, **changes: object) -> Run:
    config = StyleConfig(size=64, steps=4, patches=4, patch_size=32).updated(changes)
    run = stylizer.steps(tiny.picture(), "fire", config=config, mask=tiny.mask()).run
    next(run)
    return run


@pytest.fixture
def official() -> tuple[Objective, StyleNet, ScaleTargets]:
    """What a step of the paper's settings needs, in the official networks' shapes, without memory for any of it."""
    config, device = StyleConfig(), torch.device("meta")
    clip = cast(Any, build("clip", {"kind": "open_clip", "model": "ViT-B-32-quickgelu"}))
    vgg = build("vgg", {"kind": "vgg19"})
    for network in (clip, vgg):
        network.eval().requires_grad_(False)
    extractor = FeatureExtractor(cast(Any, SimpleNamespace(clip=clip, vgg=vgg)), torch.float32)
    patches = plan(config.updated({"steps": 1}), (512, 512), None, 0)
    photo, direction = torch.empty(1, 3, 512, 512, device=device), torch.empty(512, device=device)
    scale = ScaleTargets(
        photo=photo, preserve_weight=photo[:, :1], net_input=photo, masks=photo[:, :1], rows=(0,),
        features=extractor.features(photo), draft_tones=None, source=direction[None], global_source=direction[None],
        plan=patches, patches=PatchBatch(*(column.to(device) for column in patches.to(torch.device("cpu")))),
    )  # fmt: skip
    layers = Layers.of([0], [1.0])
    return Objective(config, extractor, Directions.of(direction), layers, scale.pixels), StyleNet().to(device), scale


def test_a_step_of_the_papers_settings_computes_no_more_than_it_has_to(
    official: tuple[Objective, StyleNet, ScaleTargets],
) -> None:
    objective, net, scale = official
    with FlopCounterMode(display=False) as counter, Calls() as calls:
        objective.backward(net(scale.net_input), scale, 0)
    assert all(parameter.grad is not None for parameter in net.parameters())
    assert 0.99 * OFFICIAL_FLOPS < counter.get_total_flops() <= OFFICIAL_FLOPS
    assert 0 < calls.names.total() <= OFFICIAL_CALLS, calls.names.most_common()
    assert 0 < calls.bytes <= OFFICIAL_BYTES


def test_a_step_computes_no_more_than_it_has_to(run: Run) -> None:
    with FlopCounterMode(display=False) as counter:
        next(run)
    assert 0 < counter.get_total_flops() <= FLOPS


def test_a_step_is_few_calls_and_little_memory(run: Run) -> None:
    with Calls() as calls:
        next(run)
    assert 0 < calls.names.total() <= CALLS, calls.names.most_common()
    assert 0 < calls.bytes <= BYTES


def test_nothing_in_a_step_waits_for_the_device(run: Run) -> None:
    assert_waits_for_nothing(run)


@pytest.mark.parametrize("start", ["random", "draft"])
def test_nothing_in_a_step_of_several_texts_waits_either(tiny_stylizer: Stylizer, start: str) -> None:
    texts = {"portrait": {"prompt": "ice", "share": 0.5}}
    assert_waits_for_nothing(begun(tiny_stylizer, start=start, regions=texts))


def assert_waits_for_nothing(run: Run) -> None:
    with Calls() as calls:
        next(run)
    assert calls.names["convolution_backward"] > 0
    assert {name: count for name, count in calls.names.items() if name in WAITS} == {}
