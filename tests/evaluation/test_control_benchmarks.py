"""The benchmarks of region control: what they measure of pictures that are known."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import controls
import pytest
import torch
import two_texts
from PIL import Image

from genartisan.config import StyleConfig, assignments
from genartisan.drawing.styles import STYLES
from genartisan.evaluation.jobs import Job

LEFT = torch.arange(64).expand(48, 64) < 30


def test_change_is_told_for_each_region_alone() -> None:
    photo = torch.rand(3, 48, 64, generator=torch.Generator().manual_seed(0)) / 2
    assert controls.changes(photo, torch.where(LEFT, photo + 0.25, photo), LEFT) == pytest.approx((0.25, 0))
    assert controls.changes(photo, torch.where(LEFT, photo, photo + 0.1), LEFT) == pytest.approx((0, 0.1), abs=1e-6)


def test_every_sweep_is_of_a_setting_and_goes_over_values_that_it_may_have() -> None:
    for control, values in controls.SWEEPS.items():
        assert len({StyleConfig().updated(assignments([f"{control}={value}"])) for value in values}) == len(values)


def test_a_strength_s_correlation_is_that_of_its_own_region() -> None:
    points = [controls.Point(v, portrait=v**2, background=1 - v) for v in (0.0, 0.5, 1.0)]
    assert controls.correlations("regions.portrait.strength", points) == {"rank_correlation": 1.0}
    assert controls.correlations("regions.background.strength", points) == {"rank_correlation": -1.0}
    assert controls.correlations("decision", points) == {}
    sweep = {"control": "regions.portrait.strength", "points": [p._asdict() for p in points], "rank_correlation": 1.0}
    assert controls.moved([sweep], "regions.portrait.strength") == {
        "portrait": 1.0, "background": 1.0, "least_rank_correlation": 1.0,
    }  # fmt: skip


def test_a_seam_is_told_from_strokes() -> None:
    noise = torch.rand(3, 48, 64, generator=torch.Generator().manual_seed(1))
    assert two_texts.seam(noise, LEFT) == pytest.approx(1, abs=0.15)
    cut = torch.where(LEFT, 0.1 * noise, 0.9 + 0.1 * noise)
    assert two_texts.seam(cut, LEFT) > 20
    ramp = torch.arange(64).expand(3, 48, 64) / 64
    middle = two_texts.gradient_energy(ramp)[:, 1:-1]
    torch.testing.assert_close(middle, torch.full_like(middle, 1 / 64**2))


def test_every_style_has_one_partner() -> None:
    pairs = two_texts.pairs_of(("photo", *STYLES))
    assert sorted(style for pair in pairs for style in pair) == sorted(STYLES)
    assert pairs == two_texts.pairs_of(("photo", *reversed(STYLES)))


def run(script: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> dict[str, Any]:
    out = folder / "told.json"
    flags = ["--size", "96", "--scenes", "1", "--processes", "1", "--resume", "--work", str(folder), "--out", str(out)]
    settings = ["steps=2", "patches=2", "patch_size=32", "feather=0"]
    monkeypatch.setattr(sys, "argv", [f"{script.__name__}.py", *flags, *more, "--set", *settings])
    script.main()
    Image.open(out.with_suffix(".jpg")).verify()
    return dict(json.loads(out.read_text(encoding="utf-8")))


def test_two_texts_are_judged_region_by_region(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = run(two_texts, tmp_path, monkeypatch, "--pairs", "1")
    assert [row["kind"] for row in told["pictures"]] == ["selfie", "selfie", "tour photo"]
    assert all(1 <= place <= len(STYLES) + 1 for row in told["pictures"] for place in row["places"])
    assert (told["summary"]["pictures"], told["config"]["steps"], told["config"]["size"]) == (3, 2, 96)


def test_a_control_s_pictures_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controls, "SWEEPS", {"regions.background.strength": (0.0, 1.0)})
    monkeypatch.setattr(controls, "draw", lambda sweeps, path: None)  # panels for all controls
    told = run(controls, tmp_path, monkeypatch, "--texts", "1")
    assert told["moved"]["regions.background.strength"]["least_rank_correlation"] == 1
    for sweep in told["sweeps"]:
        assert sweep["points"][0]["background"] < 1e-3 < sweep["points"][1]["background"]
    monkeypatch.setattr(Job, "make", lambda *arguments: pytest.fail("it was made already"))
    assert run(controls, tmp_path, monkeypatch, "--texts", "1")["sweeps"] == told["sweeps"]


def test_a_region_counts_by_its_own_style() -> None:
    rows = [{"places": [1, 1], "seam_over_photo": 1.0}, {"places": [2, 1], "seam_over_photo": 1.5}]
    told = two_texts.summary(rows)
    assert (told["portrait_named"], told["background_named"], told["regions_named"]) == (0.5, 1.0, 0.75)
    assert (told["median_seam_over_photo"], told["largest_seam_over_photo"]) == (1.25, 1.5)
