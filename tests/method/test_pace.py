"""The host is one step ahead of an asynchronous device, and no more."""

from __future__ import annotations

import tiny
import torch

from genartisan.config import StyleConfig
from genartisan.method.pace import Pace
from genartisan.method.stylizer import Stylizer


class Device:
    """Takes a step only when it is waited for."""

    def __init__(self) -> None:
        self.launched = self.taken = 0

    def mark(self) -> Mark:
        return Mark(self)


class Mark:
    def __init__(self, device: Device) -> None:
        self._device = device

    def record(self) -> None:
        self._device.launched += 1
        self._place = self._device.launched

    def synchronize(self) -> None:
        self._device.taken = max(self._device.taken, self._place)


def test_each_step_waits_for_the_one_before_and_the_result_for_all(tiny_stylizer: Stylizer) -> None:
    device = Device()
    config = StyleConfig(size=64, steps=4, patches=2, patch_size=32)
    steps = tiny_stylizer.steps(tiny.picture(), "fire", config=config)
    steps.run.pace = Pace(device.mark)
    for step in steps:
        assert device.launched == step.index
        assert device.taken == step.index - 1
    steps.result()
    assert device.taken == 4


def test_a_cpu_has_nothing_to_wait_for() -> None:
    pace = Pace.of(torch.device("cpu"))
    pace.launched()
    pace.settle()
