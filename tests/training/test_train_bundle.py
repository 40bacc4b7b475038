"""The command that retrains the embedded bundle: every network in a process of its own, then one bundle."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from genartisan.networks.bundle import Bundle
from genartisan.training import train_bundle
from genartisan.training.pretrained import WITNESS
from genartisan.training.train_bundle import ROLES
from genartisan.training.trainer import save_network

MADE = {"commit": "abc1234", "seed": 7}


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What each training does, in Python; changed by a test. It is given the command's own arguments."""
    texts = dict.fromkeys((WITNESS, *ROLES), "print('step 1 of 1')")
    original = train_bundle.command
    monkeypatch.setattr(train_bundle, "fetch", lambda folder: folder.mkdir(exist_ok=True))  # no network in tests

    def instead(role: str, *arguments: Any) -> list[str]:
        return [sys.executable, "-c", texts[role], *original(role, *arguments)[3:]]

    monkeypatch.setattr(train_bundle, "command", instead)
    return texts


def save_tiny(out: Path) -> None:
    for role, architecture in tiny.ARCHITECTURES.items():
        save_network(out, role, tiny.network(role), architecture, {"parameters": 1}, MADE)


def test_a_bundle_says_what_made_each_network_and_how_good_it_is(tmp_path: Path) -> None:
    save_tiny(tmp_path)
    manifest = train_bundle.assemble(tmp_path)
    assert Bundle.load(tmp_path).manifest == manifest
    for role in ROLES:
        entry = manifest.networks[role]  # type: ignore[index]
        assert (entry.commit, entry.seed, entry.figures) == ("abc1234", 7, {"parameters": 1})


def test_the_shipped_bundle_says_what_makes_it_today() -> None:
    networks = Bundle.load().manifest.networks
    made = {role: (networks[role].source, networks[role].licence) for role in ROLES}
    assert made == train_bundle.ORIGINS


def test_a_network_that_fails_is_named_and_the_others_are_made(
    tmp_path: Path, scripts: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    save_tiny(tmp_path)
    scripts["clip"] = "raise SystemExit('the drawings are gone')"
    assert train_bundle.main(["--out", str(tmp_path), "--seed", "7"]) == 1
    said = capsys.readouterr()
    assert "clip: FAILED" in said.out
    assert "the drawings are gone" in said.out
    assert "--only clip style_head --resume" in said.err
    assert "style_head: FAILED: it is made from clip" in said.out
    assert not (tmp_path / "style_head.log").exists()
    for role in (WITNESS, "fcn", "predictor", "pastiche", "vgg"):
        assert f"{role}: done" in said.out
        assert "step 1 of 1" in (tmp_path / f"{role}.log").read_text()
    assert not (tmp_path / "bundle.json").exists()


def test_without_its_witness_there_is_no_fcn(
    tmp_path: Path, scripts: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    scripts[WITNESS] = "raise SystemExit(1)"
    assert train_bundle.main(["--out", str(tmp_path), "--only", "fcn"]) == 1
    said = capsys.readouterr()
    assert "fcn: FAILED: it is made from witness" in said.out
    assert "--only fcn --resume" in said.err


def test_a_witness_that_is_made_is_not_made_again(tmp_path: Path, scripts: dict[str, str]) -> None:
    (tmp_path / WITNESS).mkdir()
    (tmp_path / WITNESS / "fcn.json").write_text("{}")
    assert train_bundle.train(tmp_path, roles=["fcn"], resume=True) == []
    assert not (tmp_path / f"{WITNESS}.log").exists()
    assert train_bundle.train(tmp_path, roles=["fcn"]) == []
    assert (tmp_path / f"{WITNESS}.log").exists()


def test_seed_and_resume_reach_the_trainings_and_a_bundle_comes_out(tmp_path: Path, scripts: dict[str, str]) -> None:
    save_tiny(tmp_path)
    for role in (WITNESS, *ROLES):
        scripts[role] = "import sys, os\nprint(*sys.argv[1:], os.environ.get('OMP_NUM_THREADS'))"
    assert train_bundle.main(["--out", str(tmp_path), "--seed", "7", "--only", "vgg", "clip", "--resume"]) == 0
    assert json.loads((tmp_path / "bundle.json").read_text())["networks"]["vgg"]["seed"] == 7
    log = (tmp_path / "clip.log").read_text()
    assert f"--resume --out {tmp_path} --seed 7" in log
    assert f"vgg --out {tmp_path} --seed 7" in (tmp_path / "vgg.log").read_text()  # is converted: nothing to resume
    assert torch.cuda.is_available() or log.split()[-1] == "1"
    assert not (tmp_path / "fcn.log").exists()


def test_without_every_network_there_is_no_bundle(
    tmp_path: Path, scripts: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_bundle.main(["--out", str(tmp_path), "--only", "vgg"]) == 1
    assert "clip, fcn, vgg, predictor, pastiche, style_head not made" in capsys.readouterr().err
