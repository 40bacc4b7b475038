"""The baseline mode against CLIPstyler's own code, from a checkout whose path is in ``$CLIPSTYLER``.

Its training script runs as it is, but for the device that it hard-codes: same networks, same crops, same homographies.
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny
import torch
import torchvision
from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from torchvision import transforms

from genartisan.bundle import Bundle, write_bundle
from genartisan.compact_clip import CompactClip
from genartisan.config import StyleConfig
from genartisan.patches import PATCH, PatchPlan
from genartisan.stylenet import random_stylenet
from genartisan.stylizer import Stylizer

CHECKOUT = os.environ.get("CLIPSTYLER")
SIZE, SIDE, PATCHES, STEPS = 64, 32, 6, 3
CORNERS = [[0, 0], [SIDE - 1, 0], [SIDE - 1, SIDE - 1], [0, SIDE - 1]]
BLOCKS = {
    "first": "conv_init", "entry": "init", "encode.0": "down1", "encode.1": "down2", "encode.2": "down3",
    "down.0": "down1.downsample", "down.1": "down2.downsample", "down.2": "down3.downsample", "middle": "encoding",
    "decode.0": "up3", "decode.1": "up2", "decode.2": "up1", "exit": "out", "last": "conv_fin",
}  # fmt: skip

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


def crops() -> tuple[np.ndarray, list[list[list[int]]]]:
    """Boxes (x, y), ``(STEPS, PATCHES, 2)``, and the moved corners of each patch, in the order they are used."""
    rng = np.random.default_rng(0)
    boxes = rng.integers(0, SIZE - SIDE + 1, size=(STEPS, PATCHES, 2))
    inwards = rng.integers(0, SIDE // 4 + 1, size=(STEPS * PATCHES, 4, 2))
    return boxes, np.abs(np.array(CORNERS) - inwards).tolist()


def run_theirs(shared: Bundle, photo: Path, monkeypatch: pytest.MonkeyPatch, folder: Path) -> dict[str, Any]:
    """CLIPstyler's script with our networks and crops put in its way; returns its global names."""
    boxes, moved = crops()
    places, bends = iter(boxes.reshape(-1, 2).tolist()), iter(moved)
    assert CHECKOUT is not None
    script = Path(CHECKOUT, "train_CLIPstyler.py").read_text().replace("device='cuda'", "device='cpu'")
    (folder / "script.py").write_text(script)
    (folder / "outputs").mkdir()

    clip = ModuleType("clip")
    clip.load = lambda *args, **kwargs: (shared.clip, None)  # type: ignore[attr-defined]
    clip.tokenize = lambda texts: SimpleNamespace(to=lambda device: texts)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "clip", clip)
    monkeypatch.syspath_prepend(CHECKOUT)
    monkeypatch.setattr(torchvision.models, "vgg19", lambda pretrained: shared.vgg)
    their_crop = staticmethod(lambda image, size: (*next(places)[::-1], *size))  # top, left, height, width
    monkeypatch.setattr(transforms.RandomCrop, "get_params", their_crop)
    monkeypatch.setattr(transforms.RandomPerspective, "get_params", staticmethod(lambda *args: (CORNERS, next(bends))))

    import StyleNet  # type: ignore[import-not-found]

    network = StyleNet.UNet()
    network.load_state_dict({theirs(name): value for name, value in random_stylenet(0).state_dict().items()})
    monkeypatch.setattr(StyleNet, "UNet", lambda: network)
    monkeypatch.chdir(folder)
    flags = {"content_path": photo, "text": "fire", "img_width": SIZE, "img_height": SIZE, "crop_size": SIDE,
             "num_crops": PATCHES, "max_step": STEPS - 1}  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["script.py", *(f"--{name}={value}" for name, value in flags.items())])
    return runpy.run_path(str(folder / "script.py"))


def theirs(name: str) -> str:
    """CLIPstyler's name of one of our StyleNet's weights."""
    prefix = next(block for block in sorted(BLOCKS, key=len, reverse=True) if name.startswith(block + "."))
    return BLOCKS[prefix] + name[len(prefix) :]


def test_every_loss_equals_that_of_clipstylers_own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # oneDNN picks kernels by layout and processor, and Adam turns their rounding into different weights.
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    monkeypatch.setattr(CompactClip, "mean", OPENAI_DATASET_MEAN)  # which CLIPstyler's code hard-codes, too
    monkeypatch.setattr(CompactClip, "std", OPENAI_DATASET_STD)
    shared = bundle(tmp_path / "bundle")
    photo = tmp_path / "photo.png"
    tiny.picture(SIZE, SIZE, seed=4).save(photo)
    theirs_ran = run_theirs(shared, photo, monkeypatch, tmp_path)

    boxes, moved = crops()
    records = np.zeros((STEPS, PATCHES), PATCH)
    records["x"], records["y"], records["weight"], records["threshold"] = boxes[..., 0], boxes[..., 1], 1, 0.7
    records["corners"] = np.array(moved).reshape(STEPS, PATCHES, 4, 2)
    monkeypatch.setattr("genartisan.stylizer.plan", lambda *args: PatchPlan(records, SIDE))
    config = StyleConfig(mode="clipstyler", size=SIZE, steps=STEPS, patches=PATCHES, patch_size=SIDE)
    report = Stylizer(shared, "cpu", "fp32")(photo, "fire", config=config, seed=0).report

    totals = [entry["total"] for entry in report["history"]]
    assert totals == pytest.approx([loss.item() for loss in theirs_ran["total_loss_epoch"]], rel=1e-4)
    last = report["losses"]
    assert last["content"] == pytest.approx(theirs_ran["content_loss"].item(), rel=1e-4)
    assert last["patch"] == pytest.approx(theirs_ran["loss_patch"].item(), rel=1e-4)
    assert last["direction"] == pytest.approx(theirs_ran["loss_glob"].item(), rel=1e-4)
    assert last["tv"] * config.lambda_tv == pytest.approx(theirs_ran["reg_tv"].item(), rel=1e-4)
    assert min(last.values()) > 1e-3
