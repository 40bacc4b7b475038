"""The benchmark of stability tells runs that ended well from those that did not."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stability
import torch

from genartisan.config import PRESETS
from genartisan.method.engine import Run

QUICK = {"size": 64, "steps": 2, "patches": 2, "patch_size": 32, "start": "random"}


@pytest.fixture
def ran(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(runs: int) -> tuple[int, dict[str, Any]]:
        out = tmp_path / "stability.json"
        monkeypatch.setitem(PRESETS, "fast", QUICK)
        flags = ["--runs", str(runs), "--bundle", str(tiny_folder), "--device", "cpu", "--out", str(out)]
        monkeypatch.setattr(sys, "argv", ["stability.py", *flags])
        with pytest.raises(SystemExit) as ended:
            stability.main()
        return int(ended.value.code or 0), dict(json.loads(out.read_text(encoding="utf-8")))

    return run


def test_runs_that_end_well(ran: Any) -> None:
    status, result = ran(6)
    assert (status, result["runs"], result["failed"]) == (0, 6, [])
    assert result["hardware"]["device"] == "cpu"


def test_a_run_that_goes_wrong_is_named(ran: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Run.draw
    monkeypatch.setattr(Run, "draw", lambda run, scale: original(run, scale) * (torch.nan if run.seed == 1 else 1))
    status, result = ran(3)
    assert status == 1
    assert [failure["seed"] for failure in result["failed"]] == [1]


def test_photos_are_of_every_kind() -> None:
    photos = [np.asarray(stability.photo_of(np.random.default_rng(seed))[0]) for seed in range(60)]
    assert len({photo.shape for photo in photos}) > 10
    assert any(photo.std() == 0 for photo in photos)
    assert any(photo.std() > 60 for photo in photos)
