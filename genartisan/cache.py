"""A cache that is bounded by bytes and forgets what was used the longest ago."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

V = TypeVar("V")


class ByteCache(Generic[V]):
    """Values under keys, at most so many bytes of them; for any threads.

    Args:
        limit: bytes; 0 keeps nothing.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0
        self._kept: OrderedDict[str, tuple[V, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> V | None:
        """The value, which now counts as the latest used; None if it is not kept."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def put(self, key: str, value: V, size: int) -> None:
        """Keeps a value of ``size`` bytes, unless it is larger than the whole cache."""
        if size > self.limit:
            return
        with self._lock:
            if key in self._kept:
                self.used -= self._kept.pop(key)[1]
            self._kept[key] = value, size
            self.used += size
            while self.used > self.limit:
                _, (_, freed) = self._kept.popitem(last=False)
                self.used -= freed

    def __len__(self) -> int:
        return len(self._kept)
