"""The phases of a request's work, and how long each takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Phases(dict[str, float]):
    """Seconds by phase, of those that have ended.

    Attributes:
        began: when each phase began, by `time.perf_counter`, in their order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.began: dict[str, float] = {}

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Measures its block; one that fails has no duration."""
        began = self.began[phase] = time.perf_counter()
        yield
        self[phase] = time.perf_counter() - began
