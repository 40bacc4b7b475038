"""Drawing on all cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

import cv2
from tqdm import tqdm

T = TypeVar("T")


def run_parallel(
    function: Callable[..., T], *arguments: Sequence[Any], description: str, unit_scale: int = 1
) -> list[T]:
    """``function`` over ``arguments`` as `map`, on all cores and with a progress bar.

    Args:
        unit_scale: units per call, for the progress bar.
    """
    with ProcessPoolExecutor(os.cpu_count(), initializer=_use_one_thread) as pool:
        results, total = pool.map(function, *arguments), len(arguments[0])
        return list(tqdm(results, description, total, unit_scale=unit_scale, mininterval=5))


def _use_one_thread() -> None:
    cv2.setNumThreads(1)
