"""The baseline mode against CLIPstyler's own code, from a checkout whose path is in ``$CLIPSTYLER``.

Its training script runs as it is, but for the device that it hard-codes: same networks, same crops, same homographies.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from clipstyler import TheirClip, run_script
from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

from genartisan.config import StyleConfig
from genartisan.method.patches import PATCH, PatchPlan
from genartisan.method.perspective import crop_corners
from genartisan.method.stylizer import Stylizer
from genartisan.networks.bundle import Bundle, write_bundle
from genartisan.networks.compact_clip import CompactClip

CHECKOUT = os.environ.get("CLIPSTYLER")
SIZE, SIDE, PATCHES, STEPS = 64, 32, 6, 3

pytestmark = pytest.mark.skipif(not CHECKOUT, reason="CLIPSTYLER does not name a checkout of cyclomon/CLIPstyler")


def bundle(folder: Path) -> Bundle:
    """Tiny networks, with a CLIP that sees 224 pixels, which CLIPstyler's code hard-codes."""
    entries: dict[str, Any] = {}
    for role, architecture in tiny.ARCHITECTURES.items():
        arguments = {**architecture, **({"image_size": 224} if role == "clip" else {})}
        torch.manual_seed(1)
        network = tiny.MAKERS[role](**{k: v for k, v in arguments.items() if k != "kind"})
        if role == "vgg":  # He's initialisation keeps thin random maps alive, so that the content loss is a number
            for module in network.modules():
                if isinstance(module, torch.nn.Conv2d):
                    torch.nn.init.kaiming_normal_(module.weight)
        entries[role] = (network.state_dict(), {"architecture": arguments, "source": "seeded", "licence": "Apache-2.0"})
    write_bundle(folder, "baseline", "", entries)
    return Bundle.load(folder)


def records() -> np.ndarray:
    """Crops and bent corners of every step."""
    rng = np.random.default_rng(0)
    drawn = np.zeros((STEPS, PATCHES), PATCH)
    drawn["weight"], drawn["threshold"] = 1, 0.7
    drawn["x"], drawn["y"] = rng.integers(0, SIZE - SIDE + 1, size=(2, STEPS, PATCHES))
    drawn["corners"] = np.abs(crop_corners(SIDE) - rng.integers(0, SIDE // 4 + 1, size=(STEPS, PATCHES, 4, 2)))
    return drawn


def test_every_loss_equals_that_of_clipstylers_own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # oneDNN picks kernels by layout and processor, and Adam turns their rounding into different weights.
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    monkeypatch.setattr(CompactClip, "mean", OPENAI_DATASET_MEAN)  # which CLIPstyler's code hard-codes, too
    monkeypatch.setattr(CompactClip, "std", OPENAI_DATASET_STD)
    shared = bundle(tmp_path / "bundle")
    photo = tmp_path / "photo.png"
    tiny.picture(SIZE, SIZE, seed=4).save(photo)
    (tmp_path / "theirs").mkdir()
    theirs_ran = run_script(
        Path(CHECKOUT or ""),
        TheirClip(shared, torch.device("cpu")),
        shared.vgg,
        photo,
        "fire",
        tmp_path / "theirs",
        device=torch.device("cpu"),
        size=SIZE,
        patch_size=SIDE,
        records=records(),
    )

    monkeypatch.setattr("genartisan.method.stylizer.plan", lambda *args: PatchPlan(records(), SIDE))
    config = StyleConfig(mode="clipstyler", size=SIZE, steps=STEPS, patches=PATCHES, patch_size=SIDE)
    report = Stylizer(shared, "cpu", "fp32")(photo, "fire", config=config, seed=0).report

    totals = [entry["total"] for entry in report["history"]]
    assert totals == pytest.approx([loss.item() for loss in theirs_ran["total_loss_epoch"]], rel=1e-4)
    last = report["losses"]
    assert last["content"] == pytest.approx(theirs_ran["content_loss"].item(), rel=1e-4)
    assert last["patch"] == pytest.approx(theirs_ran["loss_patch"].item(), rel=1e-4)
    assert last["direction"] == pytest.approx(theirs_ran["loss_glob"].item(), rel=1e-4)
    assert last["tv"] * config.lambda_tv == pytest.approx(theirs_ran["reg_tv"].item(), rel=1e-4)
    assert last.pop("pixel") == 0  # ours, in artisan mode only
    assert min(last.values()) > 1e-3
