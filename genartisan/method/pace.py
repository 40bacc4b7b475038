"""The host's clock and the device's: PyTorch comes back from a GPU step when it is launched, not when it is taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch


class Event(Protocol):
    """A mark in a device's work, such as `torch.Event`."""

    def record(self) -> None:
        """Puts the mark behind all work launched so far."""

    def synchronize(self) -> None:
        """Waits until the device has come to the mark."""


class Pace:
    """Lets the host be one step ahead of the device, and no more.

    So a deadline or a time left is told by what the device has done, and it never waits for its next step.

    Args:
        mark: makes an event; None where a step that Python comes back from is taken.
    """

    def __init__(self, mark: Callable[[], Event] | None) -> None:
        self._mark = mark
        self._latest: Event | None = None

    @classmethod
    def of(cls, device: torch.device) -> Pace:
        """The pace of a device; of a CPU, none."""
        return cls(None if device.type == "cpu" else lambda: torch.Event(device, blocking=True))

    def launched(self) -> None:
        """Notes that a step has been launched, and waits for the one before."""
        if self._mark is None:
            return
        before, self._latest = self._latest, self._mark()
        self._latest.record()
        if before is not None:
            before.synchronize()

    def settle(self) -> None:
        """Waits for the latest step."""
        if self._latest is not None:
            self._latest.synchronize()
