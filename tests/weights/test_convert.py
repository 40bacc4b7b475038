"""Conversion of official files: the formats that are read, and what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from tiny import ARCHITECTURES

from genartisan.errors import WeightsError
from genartisan.networks.factory import build
from genartisan.weights.convert import converted
from genartisan.weights.official import OFFICIAL

SMALL_VGG = ARCHITECTURES["vgg"]


@pytest.mark.parametrize("as_zip", [True, False])
@pytest.mark.parametrize("as_parameters", [True, False])
def test_all_formats_that_torchvision_used_are_read(tmp_path: Path, as_zip: bool, as_parameters: bool) -> None:
    expected = {name: torch.rand(t.shape) for name, t in build("vgg", SMALL_VGG).state_dict().items()}
    saved = {name: torch.nn.Parameter(t) for name, t in expected.items()} if as_parameters else expected
    torch.save(saved, tmp_path / "file", _use_new_zipfile_serialization=as_zip)
    got = converted("vgg", SMALL_VGG, tmp_path / "file", torch.float32)
    assert all(torch.equal(got[name], expected[name]) for name in expected)
    assert not any(tensor.requires_grad for tensor in got.values())


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "harm",))

    for as_zip in (True, False):
        torch.save({"features.0.weight": Hostile()}, tmp_path / "file", _use_new_zipfile_serialization=as_zip)
        with pytest.raises(WeightsError, match=r"file cannot be read as the official vgg weights"):
            converted("vgg", SMALL_VGG, tmp_path / "file", torch.float32)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", pickle.dumps([1, 2], protocol=2), b"\x80\x02}q\x00."])
@pytest.mark.parametrize("role", ["clip", "vgg"])
def test_what_is_no_checkpoint_is_named(tmp_path: Path, role: str, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    architecture = next(file.architecture for file in OFFICIAL if file.role == role)
    with pytest.raises(WeightsError, match=rf"file cannot be read as the official {role} weights"):
        converted(role, architecture, tmp_path / "file", torch.float32)


def test_a_tensor_that_is_missing_or_misshapen_is_named(tmp_path: Path) -> None:
    tensors = {name: torch.zeros(t.shape) for name, t in build("vgg", SMALL_VGG).state_dict().items()}
    torch.save({**tensors, "features.5.bias": torch.zeros(2)}, tmp_path / "file")
    with pytest.raises(WeightsError, match=r"features\.5\.bias must have shape \(8,\) but has shape \(2,\)"):
        converted("vgg", SMALL_VGG, tmp_path / "file", torch.float32)
    del tensors["features.30.weight"]
    torch.save(tensors, tmp_path / "file")
    with pytest.raises(WeightsError, match=r"features\.30\.weight must have shape .* but is missing"):
        converted("vgg", SMALL_VGG, tmp_path / "file", torch.float32)
