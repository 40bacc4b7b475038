"""The warm-up of a worker."""

from __future__ import annotations

from typing import Any

import pytest

from genartisan.method.stylizer import Stylizer
from genartisan.serving.warm_up import warm_up


def test_a_worker_warms_up_as_configured() -> None:
    pictures: list[Any] = []

    def stylizer(photo: Any, prompt: str, config: Any, mask: Any, seed: int) -> None:
        pictures.append((photo.size, config.steps, mask and mask.getbbox()))

    warm_up(stylizer, None)  # type: ignore[arg-type]
    warm_up(stylizer, [{"width": 90, "height": 60, "params": {"preset": "fast", "steps": 3}}])  # type: ignore[arg-type]
    small = [((64, 64), 1, None), ((64, 64), 1, (0, 0, 32, 64))]
    assert pictures == [*small, *small, ((90, 60), 3, None), ((90, 60), 3, (0, 0, 45, 60))]


def test_a_worker_for_drafts_makes_no_run() -> None:
    steps: list[int] = []
    each = [{"width": 90, "height": 60, "params": {"preset": preset}} for preset in ("fast", "draft", "paper")]
    warm_up(lambda *_, config, **__: steps.append(config.steps), each, drafts_only=True)  # type: ignore[arg-type, return-value]
    assert steps == [0] * 4


def test_a_real_stylizer_warms_up(tiny_stylizer: Stylizer) -> None:
    for none in ([], None):
        warm_up(tiny_stylizer, none)


@pytest.mark.parametrize(
    "wrong",
    [7, [{"width": 90}], [{"width": 90, "height": 60, "params": {"steps": -1}}], [{"width": "a", "height": 3}], [7]],
)
def test_a_malformed_setting_is_named(wrong: Any, tiny_stylizer: Stylizer) -> None:
    with pytest.raises(ValueError, match="warm_up"):
        warm_up(tiny_stylizer, wrong)
