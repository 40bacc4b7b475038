"""One loading path for all bundles; a missing, truncated or tampered file is refused by name."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch

from genartisan.errors import BundleError
from genartisan.networks.bundle import Bundle, write_bundle
from genartisan.networks.manifest import REQUIRED, STYLE_HEAD
from genartisan.networks.style_head import StyleHead


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "bundle"))


def test_networks_come_back_with_their_weights_frozen_and_in_evaluation_mode(tiny_bundle: Bundle) -> None:
    expected = tiny.network("vgg").state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in tiny_bundle.vgg.state_dict().items())
    for role in (*REQUIRED, STYLE_HEAD):
        network = getattr(tiny_bundle, role)
        assert isinstance(network, torch.nn.Module)
        assert not network.training
        assert not any(p.requires_grad for p in network.parameters())


def test_moving_a_bundle_casts_a_second_one_and_leaves_the_first(tiny_bundle: Bundle) -> None:
    moved = tiny_bundle.to(torch.device("cpu"), torch.bfloat16)
    assert {p.dtype for p in moved.vgg.parameters()} == {torch.bfloat16}
    assert moved.style_head is not None
    for network in (moved.predictor, moved.pastiche, moved.style_head):
        assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert {p.dtype for p in tiny_bundle.vgg.parameters()} == {torch.float32}


@pytest.mark.parametrize("role", [*REQUIRED, STYLE_HEAD])
def test_a_missing_truncated_or_changed_file_is_named(folder: Path, role: str) -> None:
    path = folder / f"{role}.safetensors"
    whole = path.read_bytes()
    for damage in (whole[:-10], whole[:-1] + bytes([whole[-1] ^ 1]), b""):
        path.write_bytes(damage)
        with pytest.raises(BundleError, match=f"{role}.safetensors"):
            Bundle.load(folder)
    path.unlink()
    with pytest.raises(BundleError, match=f"{role}.safetensors is missing"):
        Bundle.load(folder)


def edited(folder: Path, change: object) -> None:
    path = folder / "bundle.json"
    manifest = json.loads(path.read_text())
    change(manifest)  # type: ignore[operator]
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(("change", "hint"), [
    (lambda m: m.update(format=1), "format"),
    (lambda m: m["networks"].pop("vgg"), "vgg"),
    (lambda m: m["networks"]["vgg"].pop("sha256"), "sha256"),
    (lambda m: m["networks"]["vgg"].update(file="../vgg.safetensors"), "plain file name"),
    (lambda m: m["networks"]["vgg"]["architecture"].update(kind="vgg99"), "vgg99"),
    (lambda m: m["networks"]["vgg"]["architecture"].update(kind=["vgg19"]), "vgg19"),
    (lambda m: m["networks"]["vgg"]["architecture"].update(depth=3), "depth"),
    (lambda m: m["networks"]["vgg"]["architecture"].update(width="wide"), "does not fit"),
    (lambda m: m["networks"]["fcn"]["architecture"].update(widths=[]), "does not fit"),
    (lambda m: m["networks"]["fcn"]["architecture"].update(classes=["cat", "dog"]), r"bundle\.json.*'person'"),
    (lambda m: m["networks"]["vgg"]["architecture"].update(width=0.125), "does not fit"),
    (lambda m: m["networks"]["style_head"]["architecture"].update(dim=512), "does not fit"),
    (lambda m: m["networks"].update(extra={}), "extra"),
])  # fmt: skip
def test_a_manifest_that_does_not_fit_says_where(folder: Path, change: object, hint: str) -> None:
    edited(folder, change)
    with pytest.raises(BundleError, match=hint):
        Bundle.load(folder)


def test_a_style_head_for_another_clip_is_refused(folder: Path) -> None:
    manifest = Bundle.load(folder).manifest
    entries = {role: (None, entry.model_dump(exclude={"file", "sha256"})) for role, entry in manifest.networks.items()}
    other = StyleHead(dim=512, width=8)
    entry = {**entries[STYLE_HEAD][1], "architecture": {**tiny.ARCHITECTURES[STYLE_HEAD], "dim": 512}}
    write_bundle(folder, "tiny", "with a head of another bundle", {**entries, STYLE_HEAD: (other.state_dict(), entry)})
    with pytest.raises(BundleError, match=rf"style_head\.architecture\.dim.*{tiny.DIM}.*512"):
        Bundle.load(folder)


def test_a_bundle_may_do_without_a_style_head(folder: Path) -> None:
    edited(folder, lambda m: m["networks"].pop("style_head"))
    assert Bundle.load(folder).style_head is None


def test_a_manifest_that_is_no_json_is_named(folder: Path) -> None:
    (folder / "bundle.json").write_text("{")
    with pytest.raises(BundleError, match=r"bundle\.json"):
        Bundle.load(folder)


def test_a_folder_without_a_bundle_gets_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BundleError, match="embedded, official"):
        Bundle.load(tmp_path)
    monkeypatch.setenv("GENARTISAN_HOME", str(tmp_path))
    with pytest.raises(BundleError, match="weights fetch"):
        Bundle.load("official")


def test_a_bundle_under_construction_has_no_manifest(folder: Path) -> None:
    entries = {"vgg": ({}, {"architecture": {"kind": "vgg19"}, "source": "x", "licence": "x"})}
    del entries["vgg"][1]["licence"]
    with pytest.raises(ValueError, match="licence"):
        write_bundle(folder, "broken", "", entries)
    assert not (folder / "bundle.json").exists()


@pytest.mark.slow
def test_a_draft_of_the_embedded_bundle_imports_nothing_that_takes_seconds_and_that_it_does_not_need() -> None:
    code = (
        "import sys, PIL.Image, genartisan as g; photo = PIL.Image.new('RGB', (64, 64)); "
        "g.Stylizer(g.Bundle.load('embedded'))(photo, 'Fire', config=g.StyleConfig(start='draft', steps=0, size=64)); "
        "sys.exit(str({'open_clip', 'torchvision', 'torch._dynamo', 'sympy'} & sys.modules.keys() or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stderr.strip() == ""
