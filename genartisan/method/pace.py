"""Keeps the host near the device: PyTorch returns from a GPU step when it is launched, not when it is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch


class Event(Protocol):
    """A marker in a device's queue, such as `torch.Event`."""

    def record(self) -> None:
        """Places the marker after all work launched so far."""

    def synchronize(self) -> None:
        """Waits until the device reaches the marker."""


class Pace:
    """Lets the host run at most one step ahead of the device.

    Deadlines and estimates then follow the device, which still never waits for its next step.

    Args:
        mark: makes an event; None if a step is done when Python returns from it.
    """

    def __init__(self, mark: Callable[[], Event] | None) -> None:
        self._mark = mark
        self._latest: Event | None = None

    @classmethod
    def of(cls, device: torch.device) -> Pace:
        """The pace of a device; a CPU needs none."""
        return cls(None if device.type == "cpu" else lambda: torch.Event(device, blocking=True))

    def launched(self) -> None:
        """Records the launch of a step, and waits for the previous one."""
        if self._mark is None:
            return
        previous, self._latest = self._latest, self._mark()
        self._latest.record()
        if previous is not None:
            previous.synchronize()

    def settle(self) -> None:
        """Waits for the latest step."""
        if self._latest is not None:
            self._latest.synchronize()
