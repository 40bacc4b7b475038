"""Full-size random networks through the code that takes the official ones: over HTTP, converted, loaded, stepped."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from file_server import Request, Served, file_server
from official_files import make_official_files
from open_clip.openai import load_openai_model
from tiny import picture, write_tiny_bundle
from torchvision.models import vgg19
from torchvision.models.segmentation import fcn_resnet101

from genartisan.config import StyleConfig
from genartisan.errors import BundleError
from genartisan.method.stylizer import Stylizer
from genartisan.networks.bundle import Bundle
from genartisan.networks.manifest import REQUIRED
from genartisan.weights import official_bundle
from genartisan.weights.download import Patience
from genartisan.weights.official import OfficialFile

pytestmark = pytest.mark.slow


@dataclass
class Fetched:
    """What the tests of this file share; made once, 1.1 GB of files and a bundle of 0.9 GB."""

    folder: Path  # of the official files
    files: tuple[OfficialFile, ...]
    shared: Path
    out: Path  # the fp32 bundle
    requests: list[Request]

    def path(self, role: str) -> Path:
        return self.folder / next(file.name for file in self.files if file.role == role)


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fetched]:
    work = tmp_path_factory.mktemp("full_size")
    try:
        files = make_official_files(work / "official")
        shared = write_tiny_bundle(work / "shared")
        with pytest.MonkeyPatch.context() as patch, file_server() as web:
            patch.setenv("NO_PROXY", "127.0.0.1")
            for file in files:
                web.files[file.name] = Served(work / "official" / file.name)
            web.files[files[0].name].cuts = [200_000_000]
            at_server = tuple(replace(file, url=web.url(file.name)) for file in files)
            out = official_bundle.fetch(
                work / "downloads", dtype="fp32", out=work / "fp32", progress=False,
                files=at_server, shared=shared, patience=Patience(pause=0.0),
            )  # fmt: skip
        shutil.rmtree(work / "downloads")
        yield Fetched(work / "official", files, shared, out, web.requests)
    finally:
        shutil.rmtree(work)  # pytest keeps the folders of three runs: that would be 6 GB


@pytest.fixture(scope="module")
def bundle(fetched: Fetched) -> Bundle:
    return Bundle.load(fetched.out)


def test_a_cut_in_a_large_file_costs_no_byte(fetched: Fetched) -> None:
    assert [request.sent for request in fetched.requests if request.name == "ViT-B-32.pt"] == [
        200_000_000,
        fetched.path("clip").stat().st_size - 200_000_000,
    ]
    assert sum(request.sent for request in fetched.requests) == sum(file.size or 0 for file in fetched.files)


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
@torch.no_grad()
def test_clip_is_open_clips(fetched: Fetched, bundle: Bundle) -> None:
    theirs = load_openai_model(str(fetched.path("clip")), precision="fp32", device="cpu")
    weights_of = bundle.clip.model.state_dict()  # type: ignore[attr-defined]
    assert weights_of.keys() == theirs.state_dict().keys()
    assert all(torch.equal(tensor, weights_of[name]) for name, tensor in theirs.state_dict().items())
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    expected = theirs.encode_image(images)
    assert expected.isfinite().all()
    assert expected.std() > 0
    torch.testing.assert_close(bundle.clip.encode_image(images), expected, rtol=1e-4, atol=1e-5)
    texts = ["a photo", "a watercolor painting of a person"]
    expected = theirs.encode_text(bundle.clip.tokenizer(texts))  # type: ignore[attr-defined]
    torch.testing.assert_close(bundle.clip.encode_text(texts), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_fcn_is_torchvisions(fetched: Fetched, bundle: Bundle) -> None:
    with torch.device("meta"):
        theirs = fcn_resnet101(weights=None, weights_backbone=None, num_classes=21, aux_loss=True).eval()
    theirs.load_state_dict(torch.load(fetched.path("fcn")), assign=True)
    images = torch.randn(1, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    expected = theirs(images)["out"]
    assert expected.isfinite().all()
    assert expected.std() > 0
    torch.testing.assert_close(bundle.fcn(images)["out"], expected, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_vgg_is_torchvisions_with_the_maps_that_clipstyler_sees(fetched: Fetched, bundle: Bundle) -> None:
    with torch.device("meta"):
        theirs = vgg19(weights=None).eval()
    theirs.load_state_dict(torch.load(fetched.path("vgg")), assign=True)
    images = torch.randn(1, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    kept, x = [], images
    for number, layer in enumerate(theirs.features[:32]):
        x = layer(x)
        if number in (21, 30):  # conv4_2 and conv5_2, kept as they are: the next layer rectifies them in place
            kept.append(x)
    for got, expected in zip(bundle.vgg(images), kept, strict=True):
        assert (expected >= 0).all()
        assert expected.std() > 0
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


def test_the_whole_method_steps_at_512_pixels(bundle: Bundle) -> None:
    stylizer = Stylizer(bundle, device="cpu", precision="fp32")
    config = StyleConfig(size=512, steps=1, patches=4)
    result = stylizer(picture(640, 480), "Watercolor painting", config=config, seed=0)
    assert result.image.size == (512, 384)
    assert all(torch.tensor(value).isfinite() for value in result.report["losses"].values())
    assert result.report["bundle"] == "official"


def test_carried_files_become_a_bundle_of_half_the_size(fetched: Fetched, tmp_path: Path) -> None:
    try:
        out = official_bundle.fetch(
            from_dir=fetched.folder, dtype="bf16", out=tmp_path / "bf16", files=fetched.files, shared=fetched.shared
        )
        Bundle.load(out)
        for role in ("clip", "fcn", "vgg"):
            exact = safetensors.torch.load_file(fetched.out / f"{role}.safetensors")
            half = safetensors.torch.load_file(out / f"{role}.safetensors")
            assert half.keys() == exact.keys()
            for name, tensor in exact.items():
                if half[name].dtype == torch.float16:  # as in OpenAI's file
                    assert torch.equal(half[name].float(), tensor)
                else:
                    expected = tensor.to(torch.bfloat16) if tensor.is_floating_point() else tensor
                    assert torch.equal(half[name], expected)
            halves = sum(tensor.dtype == torch.float16 for tensor in half.values())
            assert (halves > 0.3 * len(half)) == (role == "clip")
    finally:
        shutil.rmtree(tmp_path / "bf16", ignore_errors=True)


@pytest.mark.parametrize("role", REQUIRED)
def test_a_flipped_bit_is_refused_by_name(fetched: Fetched, tmp_path: Path, role: str) -> None:
    for path in fetched.out.iterdir():
        (tmp_path / path.name).hardlink_to(path)
    tampered = tmp_path / f"{role}.safetensors"
    tampered.unlink()
    shutil.copyfile(fetched.out / tampered.name, tampered)
    with tampered.open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)[0]
        file.seek(-1, 2)
        file.write(bytes([last ^ 1]))
    try:
        with pytest.raises(BundleError, match=rf"{role}\.safetensors is truncated or modified"):
            Bundle.load(tmp_path)
    finally:
        tampered.unlink()
