"""The command line: the same pictures and checks as the library, errors in one line, exit status 2 for bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
from PIL import Image

import genartisan
from genartisan.cli import main
from genartisan.config import StyleConfig
from genartisan.stylizer import Stylizer

QUICK = ["--size", "64", "--steps", "2", "--set", "patches=3", "--set", "patch_size=32"]


@pytest.fixture
def photo(tmp_path: Path) -> str:
    path = tmp_path / "photo.png"
    tiny.picture().save(path)
    return str(path)


def stylize(photo: str, folder: Path, out: Path, *flags: str) -> int:
    return main(
        [
            "stylize",
            photo,
            "fire",
            "-o",
            str(out),
            "--bundle",
            str(folder),
            "--device",
            "cpu",
            "--quiet",
            *QUICK,
            *flags,
        ]
    )


def test_stylize_gives_the_librarys_picture_bit_for_bit(
    photo: str, tmp_path: Path, tiny_folder: Path, tiny_stylizer: Stylizer
) -> None:
    out, report = tmp_path / "out.png", tmp_path / "report.json"
    flags = ["--seed", "3", "--mode", "clipstyler", "--report", str(report)]
    assert stylize(photo, tiny_folder, out, *flags) == 0
    config = StyleConfig(mode="clipstyler", size=64, steps=2, patches=3, patch_size=32)
    expected = tiny_stylizer(photo, "fire", config=config, seed=3)
    assert np.array_equal(np.asarray(Image.open(out)), np.asarray(expected.image))
    written = json.loads(report.read_text())
    assert {k: v for k, v in written.items() if k != "seconds"} == {
        k: v for k, v in expected.report.items() if k != "seconds"
    }


@pytest.mark.parametrize(("name", "kind"), [("a.png", "PNG"), ("a.JPG", "JPEG"), ("a.webp", "WEBP")])
def test_the_output_s_suffix_chooses_the_format(
    photo: str, tmp_path: Path, tiny_folder: Path, name: str, kind: str
) -> None:
    assert stylize(photo, tiny_folder, tmp_path / name) == 0
    assert Image.open(tmp_path / name).format == kind


def test_a_mask_from_segment_is_a_mask_for_stylize(photo: str, tmp_path: Path, tiny_folder: Path) -> None:
    mask = tmp_path / "mask.png"
    assert main(["segment", photo, "-o", str(mask), "--bundle", str(tiny_folder)]) == 0
    assert Image.open(mask).size == (64, 48)
    assert set(np.unique(np.asarray(Image.open(mask)))) <= {0, 255}
    assert stylize(photo, tiny_folder, tmp_path / "a.png", "--mask", str(mask)) == 0


def test_settings_reach_the_run(photo: str, tmp_path: Path, tiny_folder: Path) -> None:
    report = tmp_path / "report.json"
    flags = ["--set", "regions.portrait.weight=0.1", "--set", "decision_window=bottom", "--report", str(report)]
    assert stylize(photo, tiny_folder, tmp_path / "a.png", *flags) == 0
    config = json.loads(report.read_text())["config"]
    assert config["regions"]["portrait"]["weight"] == 0.1
    assert config["decision_window"] == "bottom"


@pytest.mark.parametrize(("flags", "words"), [
    (["--steps", "0"], ["steps", "from 1 to 5000"]),
    (["--steps", "many"], ["steps", "'many'"]),
    (["--seed", "-1"], ["seed", "from 0"]),
    (["--preset", "best"], ["preset", "paper, fast, draft"]),
    (["--mode", "x"], ["mode", "'artisan' or 'clipstyler'"]),
    (["--set", "regions.portrait.weight=99"], ["regions.portrait.weight", "from 0 to 10"]),
    (["--set", "steps"], ["--set", "NAME=VALUE"]),
    (["--set", "nothing=1"], ["nothing", "known are"]),
    (["--device", "cuda:7"], ["device", "auto or cpu"]),
    (["--precision", "fp8"], ["precision", "fp32 or bf16"]),
    (["--bundle", "nowhere"], ["bundle", "embedded, official"]),
    (["--mask", "nowhere.png"], ["mask", "cannot be read"]),
    (["-o", "a.tiff"], ["output", ".png"]),
    (["-o", "no/such/folder/a.png"], ["output", "no folder"]),
])  # fmt: skip
def test_bad_input_is_one_line_and_exit_status_2(
    photo: str,
    tmp_path: Path,
    tiny_folder: Path,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    words: list[str],
) -> None:
    assert stylize(photo, tiny_folder, tmp_path / "a.png", *flags) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert all(word in error for word in words)
    assert not (tmp_path / "a.png").exists()


def test_schema_prints_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert set(schema["properties"]) == set(StyleConfig.model_fields)
    assert set(schema["presets"]) == {"paper", "fast", "draft"}


def test_help_and_errors_do_not_wait_for_pytorch() -> None:
    code = "import sys\nfrom genartisan import cli\ncli.build_parser().format_help()\nsys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_public_names_are_where_they_are_said_to_be() -> None:
    assert all(getattr(genartisan, name).__name__ == name for name in genartisan.__all__ if name != "PRESETS")
    with pytest.raises(AttributeError):
        _ = genartisan.nothing
