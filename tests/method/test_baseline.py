"""The baseline mode has CLIPstyler's losses: its recorded ones and, given a checkout, those of its code as it runs.

Both see the same networks, crops and homographies. All random numbers are NumPy's legacy ones, whose streams are frozen
(NEP 19), so the record outlives versions of PyTorch. To run CLIPstyler's script, and to write the record anew:

    CLIPSTYLER=path/to/checkout python -m pytest tests/method/test_baseline.py
    CLIPSTYLER=path/to/checkout RECORD=1 python -m pytest tests/method/test_baseline.py
"""

from __future__ import annotations

import hashlib
import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from clipstyler import TheirClip, run_script
from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from PIL import Image
from torch import nn

from genartisan.config import StyleConfig
from genartisan.method.patches import PATCH, PatchPlan
from genartisan.method.perspective import crop_corners
from genartisan.method.stylizer import Stylizer
from genartisan.networks.bundle import REQUIRED, Bundle, write_bundle
from genartisan.networks.compact_clip import CompactClip
from genartisan.networks.stylenet import StyleNet

SOURCE = "https://github.com/cyclomon/CLIPstyler"
RECORD = Path(__file__).parents[1] / "data" / "clipstyler_losses.json"
CHECKOUT = os.environ.get("CLIPSTYLER")
TEXT, SIZE, SIDE, PATCHES, STEPS = "fire", 64, 32, 6, 3
LAMBDA_TV = StyleConfig().lambda_tv
THRESHOLD, SEED = 0.986, 100  # with these, some patches of each step are rejected, and none is a close decision
# CLIPstyler hard-codes a CLIP that sees 224 pixels.
SMALL = {"clip": {"image_size": 224, "gap": 1.0, "blocks": 4, "taps": [0, 2, 4], "dim": 32}}
# Adam's first steps follow the gradients' signs and so amplify rounding, which differs between processors: oneDNN and
# PyTorch's own kernels, of any instruction set and number of threads, differ by 0.6 of these at most.
TOLERANCES = (1e-4, 5e-3, 2e-2)  # of each step

Losses = list[dict[str, float]]  # of each step


def seed_weights(net: nn.Module, seed: int, gain: float = 6) -> nn.Module:
    """Uniform weights scaled by fan-in, by default He's, which keep the maps of a deep network alive; small biases."""
    rng = np.random.RandomState(seed)
    with torch.no_grad():
        for name, weight in net.named_parameters():
            bound = (gain / weight[0].numel()) ** 0.5 if weight.ndim > 1 else 0.05 * name.endswith("bias")
            if bound:
                weight.copy_(torch.from_numpy(rng.uniform(-bound, bound, tuple(weight.shape))))
    return net


def stylenet() -> StyleNet:
    net = StyleNet()
    seed_weights(net, SEED + 3, gain=1)  # PyTorch's initialisation
    return net


def crops() -> np.ndarray:
    """Boxes and bent corners of every step's crops."""
    rng = np.random.RandomState(0)
    records = np.zeros((STEPS, PATCHES), PATCH)
    records["weight"], records["threshold"] = 1, THRESHOLD
    records["x"], records["y"] = rng.randint(0, SIZE - SIDE + 1, size=(2, STEPS, PATCHES))
    records["corners"] = np.abs(crop_corners(SIDE) - rng.randint(0, SIDE // 4 + 1, size=(STEPS, PATCHES, 4, 2)))
    return records


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    monkeypatch.setattr(CompactClip, "mean", OPENAI_DATASET_MEAN)  # CLIPstyler hard-codes both
    monkeypatch.setattr(CompactClip, "std", OPENAI_DATASET_STD)
    entries: dict[str, Any] = {}
    for seed, role in enumerate(REQUIRED, SEED):
        architecture = {**tiny.ARCHITECTURES[role], **SMALL.get(role, {})}
        network = tiny.MAKERS[role](**{key: value for key, value in architecture.items() if key != "kind"})
        weights = seed_weights(network, seed).state_dict()
        entries[role] = (weights, {"architecture": architecture, "source": "seeded", "licence": "Apache-2.0"})
    write_bundle(tmp_path / "bundle", "baseline", "", entries)
    return Bundle.load(tmp_path / "bundle")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    coarse = np.random.RandomState(4).randint(0, 256, (6, 6, 3)).astype(np.uint8)
    Image.fromarray(coarse).resize((SIZE, SIZE), Image.Resampling.BICUBIC).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def ours(bundle: Bundle, photo: Path, monkeypatch: pytest.MonkeyPatch) -> Losses:
    monkeypatch.setattr("genartisan.method.stylizer.plan", lambda *args: PatchPlan(crops(), SIDE))
    monkeypatch.setattr("genartisan.method.painters.random_stylenet", lambda seed: stylenet())
    config = StyleConfig(mode="clipstyler", size=SIZE, steps=STEPS, patches=PATCHES, patch_size=SIDE)
    report = Stylizer(bundle, "cpu", "fp32")(photo, TEXT, config=config, seed=0).report
    assert all(step["pixel"] == step["draft"] == 0 for step in report["history"])  # CLIPstyler has no such losses
    return [
        {name: step[name] for name in ("total", "content", "patch", "direction", "tv")} for step in report["history"]
    ]


@pytest.fixture
def theirs(bundle: Bundle, photo: Path, tmp_path: Path) -> Losses:
    """The script returns the last step's losses: so one run for each number of steps."""
    clip = TheirClip(bundle, torch.device("cpu"))
    losses: Losses = []
    for steps in range(1, STEPS + 1):
        folder = tmp_path / f"{steps} steps"
        folder.mkdir()
        names = run_script(
            Path(CHECKOUT or ""), clip, bundle.vgg, photo, TEXT, folder, device=torch.device("cpu"), size=SIZE,
            patch_size=SIDE, records=crops()[:steps], stylenet=stylenet(),
        )  # fmt: skip
        losses.append({
            "total": names["total_loss"].item(), "content": names["content_loss"].item(),
            "patch": names["loss_patch"].item(), "direction": names["loss_glob"].item(),
            "tv": names["reg_tv"].item() / LAMBDA_TV,
        })  # fmt: skip
    return losses


def assert_equal(ours: Losses, theirs: Losses) -> None:
    for step, (got, expected, tolerance) in enumerate(zip(ours, theirs, TOLERANCES, strict=True), start=1):
        assert got == pytest.approx(expected, rel=tolerance), f"step {step}"
        assert min(got.values()) > 1e-3


def test_every_loss_equals_clipstylers_recorded_one(ours: Losses) -> None:
    assert_equal(ours, json.loads(RECORD.read_text(encoding="utf-8"))["losses"])


@pytest.mark.skipif(not CHECKOUT, reason=f"CLIPSTYLER does not name a checkout of {SOURCE}")
def test_every_loss_equals_that_of_clipstylers_own_code(ours: Losses, theirs: Losses) -> None:
    if os.environ.get("RECORD"):
        write_record(theirs)
    assert_equal(ours, theirs)


def write_record(losses: Losses) -> None:
    script = (Path(CHECKOUT or "") / "train_CLIPstyler.py").read_bytes()
    record = {
        "about": "losses of each step of CLIPstyler's script on the networks, photo and crops of "
        "tests/method/test_baseline.py, in fp32 on a CPU",
        "source": f"{SOURCE}: train_CLIPstyler.py, sha256 {hashlib.sha256(script).hexdigest()}",
        "command": "CLIPSTYLER=path/to/checkout RECORD=1 python -m pytest tests/method/test_baseline.py",
        "versions": {name: version(name) for name in ("torch", "torchvision", "numpy", "pillow")},
        "losses": losses,
    }
    RECORD.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
