"""The official files: fetched, verified and converted into a bundle."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path

import open_clip
import pytest
import safetensors.torch
import torch
from disks import full_disk
from file_server import FileServer, Served
from official_files import save_torchscript
from tiny import ARCHITECTURES, network, write_tiny_bundle
from torchvision.models import VGG19_Weights
from torchvision.models.segmentation import FCN_ResNet101_Weights

from genartisan.errors import BundleError, InputError, WeightsError
from genartisan.networks.bundle import Bundle, read_manifest, write_bundle
from genartisan.networks.manifest import REQUIRED, STYLE_HEAD
from genartisan.weights import official_bundle
from genartisan.weights.disk import locked
from genartisan.weights.download import Patience
from genartisan.weights.official import OFFICIAL, OfficialFile

QUICK = Patience(tries=4, pause=0.0, timeout=20.0)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_table_is_that_of_the_libraries() -> None:
    clip, fcn, vgg = OFFICIAL
    entry = open_clip.get_pretrained_cfg("ViT-B-32-quickgelu", "openai")
    assert clip.url == entry["url"]
    assert f"/{clip.sha256}/" in entry["url"]
    for file, theirs in ((fcn, FCN_ResNet101_Weights.COCO_WITH_VOC_LABELS_V1), (vgg, VGG19_Weights.IMAGENET1K_V1)):
        assert file.url == theirs.url
        assert file.name == file.url.rpartition("/")[2]
        assert file.name.endswith(f"-{file.sha256[:8]}.pth")
        assert len(file.sha256) == 64
        assert file.size == pytest.approx(theirs.meta["_file_size"] * 2**20, rel=1e-5)


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """The bundle whose style predictor and pastiche network are shared."""
    return write_tiny_bundle(tmp_path / "shared")


@pytest.fixture
def carried(tmp_path: Path) -> Path:
    """A folder with files in the official formats, of tiny networks."""
    folder = tmp_path / "carried"
    folder.mkdir()
    for file in OFFICIAL:
        weights_of = network(file.role).state_dict()
        if file.role == "clip":
            save_torchscript(weights_of, {"input_resolution": 32}, folder / file.name)
        else:
            torch.save({**weights_of, "classifier.0.weight": torch.zeros(9, 9)}, folder / file.name)
    return folder


def described(folder: Path, web: FileServer | None = None) -> tuple[OfficialFile, ...]:
    """`OFFICIAL` for the files in ``folder``, on ``web`` if there is one."""
    return tuple(
        replace(
            file,
            sha256=hashlib.sha256((folder / file.name).read_bytes()).hexdigest(),
            size=(folder / file.name).stat().st_size,
            url=web.url(file.name) if web else f"http://127.0.0.1:9/{file.name}",
            architecture=ARCHITECTURES[file.role],
        )
        for file in OFFICIAL
    )


def test_a_second_fetch_only_verifies(web: FileServer, carried: Path, shared: Path, tmp_path: Path) -> None:
    files = described(carried, web)
    for file in files:
        web.files[file.name] = Served(carried / file.name)
    where = {"folder": tmp_path / "dl", "out": tmp_path / "out", "shared": shared, "files": files, "patience": QUICK}

    out = official_bundle.fetch(dtype="fp32", progress=False, **where)
    assert out == tmp_path / "out"
    assert names(tmp_path / "dl") == sorted([".lock", *(file.name for file in files)])
    assert names(out) == ["bundle.json", *(f"{role}.safetensors" for role in sorted(REQUIRED))]
    assert all(check.ok for check in official_bundle.verify(out))
    assert all(check.ok for check in official_bundle.verify(tmp_path / "dl", files=files))
    loaded = Bundle.load(out)
    for role in REQUIRED:
        expected = network(role).state_dict()
        got = getattr(loaded, role).state_dict()
        assert all(torch.equal(got[name], expected[name]) for name in expected)
    made = (out / "bundle.json").stat().st_mtime_ns

    official_bundle.fetch(dtype="fp32", **where)
    assert len(web.requests) == 3
    assert (out / "bundle.json").stat().st_mtime_ns == made

    shutil.rmtree(tmp_path / "dl")  # a whole bundle needs no downloads
    official_bundle.fetch(dtype="fp32", **where)
    assert len(web.requests) == 3


def test_only_what_is_wrong_is_made_again(web: FileServer, carried: Path, shared: Path, tmp_path: Path) -> None:
    files = described(carried, web)
    for file in files:
        web.files[file.name] = Served(carried / file.name)
    where = {"folder": tmp_path / "dl", "out": tmp_path / "out", "shared": shared, "files": files, "progress": False}
    out = official_bundle.fetch(dtype="fp32", **where)
    clip = (out / "clip.safetensors").stat().st_ino

    os.truncate(out / "vgg.safetensors", 1000)
    (check,) = [check for check in official_bundle.verify(out) if not check.ok]
    assert (check.file, check.detail[:5]) == ("vgg.safetensors", "wrong")
    with pytest.raises(BundleError, match=r"vgg\.safetensors is truncated or modified"):
        Bundle.load(out)
    official_bundle.fetch(dtype="fp32", **where)
    assert len(web.requests) == 3  # made from the download, which is still right
    assert (out / "clip.safetensors").stat().st_ino == clip
    Bundle.load(out)

    official_bundle.fetch(dtype="bf16", **where)
    tensors = safetensors.torch.load_file(out / "vgg.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    assert {t.dtype for t in safetensors.torch.load_file(out / "pastiche.safetensors").values()} == {torch.float32}

    with (tmp_path / "dl" / files[2].name).open("ab") as opened:
        opened.write(b"!")
    official_bundle.fetch(dtype="fp32", **where)
    assert [request.name for request in web.requests[3:]] == [files[2].name]
    assert all(check.ok for check in official_bundle.verify(tmp_path / "dl", files=files))


def test_other_shared_networks_are_taken_over(carried: Path, shared: Path, tmp_path: Path) -> None:
    files = described(carried)
    out = official_bundle.fetch(from_dir=carried, out=tmp_path / "out", files=files, shared=shared)
    entry = read_manifest(shared).networks["pastiche"].model_dump(exclude={"file", "sha256"})
    tensors = {name: tensor + 1 for name, tensor in network("pastiche").state_dict().items()}
    networks = dict.fromkeys(REQUIRED, (None, entry))
    write_bundle(shared, "shared", "changed", {**networks, "pastiche": (tensors, entry)})
    shutil.rmtree(carried)
    official_bundle.fetch(tmp_path / "dl", out=out, files=files, shared=shared)
    got = safetensors.torch.load_file(out / "pastiche.safetensors")
    assert all(torch.equal(got[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize("role", official_bundle.SHARED)
def test_a_shared_network_that_was_changed_is_refused(role: str, carried: Path, shared: Path, tmp_path: Path) -> None:
    with (shared / f"{role}.safetensors").open("ab") as opened:
        opened.write(b"!")
    with pytest.raises(WeightsError, match=rf"{role}\.safetensors cannot be copied: wrong: expected SHA-256"):
        official_bundle.fetch(from_dir=carried, out=tmp_path / "out", files=described(carried), shared=shared)


def test_a_style_head_that_was_trained_for_the_bundle_stays(carried: Path, shared: Path, tmp_path: Path) -> None:
    where = {"from_dir": carried, "out": tmp_path / "out", "files": described(carried), "shared": shared}
    out = official_bundle.fetch(**where)
    assert Bundle.load(out).style_head is None  # the shared bundle's reads another CLIP's directions
    entries = read_manifest(out).networks
    networks = {role: (None, entry.model_dump(exclude={"file", "sha256"})) for role, entry in entries.items()}
    head = {"architecture": ARCHITECTURES[STYLE_HEAD], "source": "trained here", "licence": ""}
    write_bundle(out, "official", "", {**networks, STYLE_HEAD: (network(STYLE_HEAD).state_dict(), head)})
    os.truncate(out / "vgg.safetensors", 1000)
    assert Bundle.load(official_bundle.fetch(**where)).style_head is not None


def test_carried_files_need_no_network_and_stay_as_they_are(carried: Path, shared: Path, tmp_path: Path) -> None:
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in carried.iterdir()}
    out = official_bundle.fetch(
        tmp_path / "dl", carried, "fp32", tmp_path / "out", files=described(carried), shared=shared
    )
    Bundle.load(out)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in carried.iterdir()} == before
    assert not (tmp_path / "dl").exists()


def test_carried_files_that_are_truncated_or_missing_are_named(carried: Path, shared: Path, tmp_path: Path) -> None:
    files = described(carried)
    os.truncate(carried / files[2].name, 5000)
    (carried / files[1].name).unlink()
    with pytest.raises(WeightsError) as caught:
        official_bundle.fetch(from_dir=carried, out=tmp_path / "out", files=files, shared=shared)
    message = str(caught.value)
    assert f"{files[2].name}: wrong: expected SHA-256 {files[2].sha256}, got " in message
    assert "(5,000 bytes)" in message
    assert f"{files[1].name}: missing" in message
    assert files[1].url in message
    assert files[0].name not in message
    assert not (tmp_path / "out").exists()


def test_the_list_tells_what_is_there(carried: Path, tmp_path: Path) -> None:
    files = described(carried)
    os.truncate(carried / files[0].name, 100)
    (carried / files[1].name).unlink()
    (carried / f"{files[1].name}.part").write_bytes(b"12345")
    rows = official_bundle.table(carried, files=files)
    assert [row["role"] for row in rows] == ["clip", "fcn", "vgg"]
    assert [str(row["state"])[:20] for row in rows] == ["wrong: expected SHA-", "5 bytes have arrived", "verified"]
    assert {row["state"] for row in official_bundle.table(tmp_path / "nowhere")} == {"missing"}


def test_verifying_at_home_asks_for_the_bundle_and_what_is_kept(
    carried: Path, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENARTISAN_HOME", str(tmp_path / "home"))
    files = described(carried)
    assert [check.detail for check in official_bundle.verify(files=files)] == ["missing"] * 3
    official_bundle.fetch(from_dir=carried, files=files, shared=shared)
    Bundle.load("official")
    assert [check.ok for check in official_bundle.verify(files=files)] == [True] * 5
    (tmp_path / "home" / "downloads").mkdir()
    (tmp_path / "home" / "downloads" / files[1].name).write_bytes(b"not it")
    assert [check.file for check in official_bundle.verify(files=files) if not check.ok] == [files[1].name]


def test_verifying_names_a_bundle_that_has_no_readable_manifest(tmp_path: Path) -> None:
    (tmp_path / "bundle.json").write_text("{")
    (check,) = official_bundle.verify(tmp_path)
    assert (check.file, check.ok) == ("bundle.json", False)


def test_bad_arguments_name_field_and_remedy(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"dtype is 'fp16'; give bf16 or fp32"):
        official_bundle.fetch(dtype="fp16")
    with pytest.raises(InputError, match=r"not a folder; give the one with the files"):
        official_bundle.fetch(from_dir=tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"give another folder"):
        official_bundle.fetch(out=tmp_path, shared=tmp_path / ".")


def test_too_little_room_is_said_before_the_first_byte(
    web: FileServer, carried: Path, shared: Path, tmp_path: Path
) -> None:
    files = tuple(replace(file, size=10**16) for file in described(carried, web))
    with pytest.raises(WeightsError, match=r"disk is full: 30,0\d\d,\d{3},\d{3},\d{3},\d{3} more bytes are needed"):
        official_bundle.fetch(tmp_path / "dl", out=tmp_path / "out", files=files, shared=shared, patience=QUICK)
    assert not web.requests


def test_a_disk_that_fills_up_while_converting_leaves_no_bundle(carried: Path, shared: Path, tmp_path: Path) -> None:
    files = described(carried)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.partial").write_text("somebody else's")
    with full_disk(300_000), pytest.raises(WeightsError, match="disk is full"):
        official_bundle.fetch(from_dir=carried, out=tmp_path / "out", dtype="fp32", files=files, shared=shared)
    left = [name for name in names(tmp_path / "out") if name == "bundle.json" or name.endswith(".partial")]
    assert left == ["mine.partial"]
    with pytest.raises(BundleError, match=r"no bundle\.json"):
        Bundle.load(tmp_path / "out")
    official_bundle.fetch(from_dir=carried, out=tmp_path / "out", dtype="fp32", files=files, shared=shared)
    Bundle.load(tmp_path / "out")


def test_a_folder_that_cannot_be_made_is_named(carried: Path, shared: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    where = {"files": described(carried), "shared": shared}
    for folders in (
        {"from_dir": carried, "out": tmp_path / "file"},
        {"from_dir": carried, "out": tmp_path / "file" / "out"},
        {"folder": tmp_path / "file", "out": tmp_path / "out"},
    ):
        with pytest.raises(WeightsError, match=rf"{tmp_path / 'file'}.*"):
            official_bundle.fetch(**folders, **where)


def test_a_second_fetch_at_the_same_time_is_refused(carried: Path, shared: Path, tmp_path: Path) -> None:
    with locked(tmp_path / ".out.lock"), pytest.raises(WeightsError, match="Another process is fetching"):
        official_bundle.fetch(from_dir=carried, out=tmp_path / "out", files=described(carried), shared=shared)
