"""The command line: pictures and checks as in the library, one-line errors, exit status 2 for bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

import genartisan
from genartisan.cli.main import main
from genartisan.cli.outputs import MEDIA_TYPES
from genartisan.config import PRESETS, StyleConfig, preset
from genartisan.io.files import SAMPLE
from genartisan.io.images import OUTPUTS
from genartisan.method.stylizer import Stylizer
from genartisan.networks.compact_clip import CompactClip
from genartisan.serving import archive
from genartisan.weights import convert

QUICK = ["--size", "64", "--steps", "2", "--set", "patches=3", "--set", "patch_size=32"]


def stylize(photo: str, folder: Path, out: Path, *flags: str) -> int:
    common = ["--bundle", str(folder), "--device", "cpu", "--quiet", *QUICK]
    return main(["stylize", photo, "fire", "-o", str(out), *common, *flags])


def test_stylize_gives_the_librarys_picture_bit_for_bit(
    photo: str, tmp_path: Path, tiny_folder: Path, tiny_stylizer: Stylizer
) -> None:
    out, report = tmp_path / "out.png", tmp_path / "report.json"
    flags = ["--seed", "3", "--mode", "clipstyler", "--report", str(report)]
    assert stylize(photo, tiny_folder, out, *flags) == 0
    config = preset(changes={"mode": "clipstyler", "size": 64, "steps": 2, "patches": 3, "patch_size": 32})
    expected = tiny_stylizer(photo, "fire", config=config, seed=3)
    assert np.array_equal(np.asarray(Image.open(out)), np.asarray(expected.image))
    written = json.loads(report.read_text())
    assert {k: v for k, v in written.items() if k != "seconds"} == {
        k: v for k, v in expected.report.items() if k != "seconds"
    }


def test_the_text_may_come_after_flags(
    photo: str, tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--bundle", str(tiny_folder), "--device", "cpu", "--quiet", *QUICK]
    for number, order in enumerate((["fire", "-o", "OUT"], ["-o", "OUT", "fire"])):
        out = str(tmp_path / f"{number}.png")
        assert main(["stylize", photo, *[out if word == "OUT" else word for word in order], *common]) == 0
    assert (tmp_path / "0.png").read_bytes() == (tmp_path / "1.png").read_bytes()
    assert main(["stylize", photo, "-o", out, *common]) == 2
    assert "prompt is missing" in capsys.readouterr().err
    assert main(["stylize", photo, "-o", out, *common, "fire", "water"]) == 2


def test_a_note_about_dashes_is_for_texts_alone(capsys: pytest.CaptureFixture[str]) -> None:
    for words, is_noted in (
        (["--overwrit", "-o", "x"], False),
        (["fire"], False),
        (["-winter-", "-o", "x", "fire"], True),
    ):
        assert main(["stylize", "photo.jpg", *words]) == 2
        assert ("dash" in capsys.readouterr().err) == is_noted


def test_a_text_may_begin_with_a_dash(
    photo: str, tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, report = str(tmp_path / "a.png"), tmp_path / "r.json"
    common = ["-o", out, "--bundle", str(tiny_folder), "--device", "cpu", "--quiet", "--report", str(report), *QUICK]
    for words in ([photo, *common, "--", "-winter-"], [*common, "--", photo, "-winter-"]):
        assert main(["stylize", *words]) == 0
        assert json.loads(report.read_text())["prompt"] == "-winter-"
    capsys.readouterr()
    assert "after --" in refused(capsys, "stylize", photo, *common, "-winter-")
    refused(capsys, "stylize", photo, *common, "--", "-winter-", "-spring-")
    refused(capsys, "stylize", photo, *common, "--no-flag", "--", "-winter-")


def test_a_style_picture_with_or_without_a_text(
    photo: str, tmp_path: Path, tiny_folder: Path, tiny_stylizer: Stylizer, capsys: pytest.CaptureFixture[str]
) -> None:
    wave, sky = tmp_path / "wave.png", tmp_path / "sky=1.png"
    tiny.picture(seed=7).save(wave)
    tiny.picture(seed=8).save(sky)
    out, report = str(tmp_path / "a.png"), tmp_path / "report.json"
    common = ["-o", out, "--bundle", str(tiny_folder), "--device", "cpu", "--quiet", *QUICK, "--report", str(report)]
    config = preset(changes={"size": 64, "steps": 2, "patches": 3, "patch_size": 32})
    for flags, text, images in (
        (["--style-image", str(wave)], None, wave),
        (["fire", "--style-image", f"background={sky}", "--style-image", str(wave)], "fire",
         {"background": sky, "all": wave}),
        (["--style-image", str(sky)], None, sky),
    ):  # fmt: skip
        assert main(["stylize", photo, *flags, *common]) == 0
        expected = tiny_stylizer(photo, text, config=config, style_image=images)
        assert Image.open(out).tobytes() == expected.image.tobytes()
        assert json.loads(report.read_text())["style_images"] == expected.report["style_images"]
    (tmp_path / "words.png").write_text("no picture")
    for flags, words in (
        (["fire", "--style-image", "nowhere.png"], "style_image 'nowhere.png' cannot be read"),
        (["fire", "--style-image", f"background={tmp_path / 'words.png'}"], "style_image.background is not an image"),
        (["fire", "--style-image", "sky="], "style_image 'sky=' names no file"),
        (["fire", "--style-image", str(wave), "--style-image", str(sky)], "style_image of all is given twice"),
        (["fire", "--style-image", f"person={wave}", "--style-image", f"portrait={sky}"], "style_image of portrait"),
        (["--style-image", str(wave), "--set", "style_image_share=2"], "style_image_share is 2"),
    ):
        assert words in refused(capsys, "stylize", photo, *flags, *common)


@pytest.mark.parametrize(("name", "kind"), [("a.png", "PNG"), ("a.JPG", "JPEG"), ("a.webp", "WEBP")])
def test_the_output_s_suffix_chooses_the_format(
    photo: str, tmp_path: Path, tiny_folder: Path, name: str, kind: str
) -> None:
    assert stylize(photo, tiny_folder, tmp_path / name) == 0
    assert Image.open(tmp_path / name).format == kind


def test_a_region_that_is_not_found_is_told_of(
    photo: str, tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told, empty = list[bool](), list[bool]()
    for region in ("portrait", "background"):
        mask = tmp_path / f"{region}.png"
        assert main(["segment", photo, "-o", str(mask), "--region", region, "--bundle", str(tiny_folder)]) == 0
        told.append(f"no {region} was found" in capsys.readouterr().err)
        empty.append(not np.asarray(Image.open(mask)).any())
    assert told == empty == [True, False]


def test_a_mask_from_segment_is_a_mask_for_stylize(photo: str, tmp_path: Path, tiny_folder: Path) -> None:
    mask = tmp_path / "mask.png"
    assert main(["segment", photo, "-o", str(mask), "--bundle", str(tiny_folder)]) == 0
    assert Image.open(mask).size == (64, 48)
    assert set(np.unique(np.asarray(Image.open(mask)))) <= {0, 255}
    assert stylize(photo, tiny_folder, tmp_path / "a.png", "--mask", str(mask)) == 0
    rest, report = tmp_path / "rest.png", tmp_path / "report.json"
    assert main(["segment", photo, "-o", str(rest), "--region", "background", "--bundle", str(tiny_folder)]) == 0
    assert (np.asarray(Image.open(rest)) == 255 - np.asarray(Image.open(mask))).all()
    flags = ["--mask", f"person={mask}", "--mask", f"sky={rest}", "--report", str(report)]
    assert stylize(photo, tiny_folder, tmp_path / "b.png", *flags) == 0
    pixels = {region["name"]: region["pixels"] for region in json.loads(report.read_text())["regions"]}
    assert pixels["background"] == 0
    assert pixels["portrait"] + pixels["sky"] == 64 * 48


def test_settings_reach_the_run(photo: str, tmp_path: Path, tiny_folder: Path) -> None:
    report = tmp_path / "report.json"
    flags = ["--set", "regions.portrait.weight=0.1", "--set", "decision_window=bottom", "--report", str(report)]
    assert stylize(photo, tiny_folder, tmp_path / "a.png", *flags) == 0
    config = json.loads(report.read_text())["config"]
    assert config["regions"]["portrait"]["weight"] == 0.1
    assert config["decision_window"] == "bottom"


@pytest.mark.parametrize(("flags", "words"), [
    (["--steps", "-1"], ["steps", "from 0 to 5000"]),
    (["--steps", "many"], ["steps", "'many'"]),
    (["--seed", "-1"], ["seed", "from 0"]),
    (["--preset", "best"], ["preset", "paper, fast, draft"]),
    (["--mode", "x"], ["mode", "'artisan' or 'clipstyler'"]),
    (["--set", "regions.portrait.weight=99"], ["regions.portrait.weight", "from 0 to 10"]),
    (["--set", "steps"], ["--set", "NAME=VALUE"]),
    (["--set", "nothing=1"], ["nothing", "known are"]),
    (["--device", "cuda:7"], ["device", "auto or cpu"]),
    (["--precision", "fp8"], ["precision", "fp32 or bf16"]),
    (["--device", "cpu", "--graphs"], ["graphs", "cpu captures none"]),
    (["--bundle", "nowhere"], ["bundle", "embedded, official"]),
    (["--mask", "nowhere.png"], ["mask", "cannot be read"]),
    (["-o", "a.tiff"], ["output", ".png"]),
    (["-o", "no/such/folder/a.png"], ["output", "no folder"]),
    (["--report", "no/such/folder/r.json"], ["report", "no folder"]),
    (["--report", "."], ["report", "is a folder"]),
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


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one-line error of a command line."""
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("genartisan: ")
    return line


@pytest.mark.parametrize(("arguments", "words"), [
    ([], ["COMMAND", "`genartisan --help`"]),
    (["paint"], ["paint", "stylize"]),
    (["stylize", "p.png"], ["-o", "`genartisan stylize --help`"]),
    (["stop", "--no\nsuch"], ["--no such"]),
    (["weights", "buy"], ["buy", "fetch", "`genartisan weights --help`"]),
    (["weights", "fetch", "--dtype", "fp16"], ["fp16", *convert.DTYPES]),
    (["serve", "--inference-port", "abc"], ["--inference-port", "abc"]),
    (["serve", "--timeout", "nan"], ["--timeout", "nan"]),
    (["request", "p.png", "fire", "-o", "a.png", "--timeout", "-1"], ["--timeout", "-1"]),
])  # fmt: skip
def test_a_bad_command_line_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: list[str]
) -> None:
    line = refused(capsys, *arguments)
    assert all(word in line for word in words)


@pytest.mark.parametrize(("text", "flags", "words"), [
    ("fire", ["--url", "http://[::1"], ["url"]),
    ("fire", ["--url", "http://127.0.0.1:abc"], ["url", "abc"]),
    ("fire", ["--url", "http://xn--/"], ["url", "xn--"]),
    ("fire", ["--grpc", "\udcff"], ["grpc", "HOST:PORT"]),
    ("\udcff", [], ["prompt"]),
    ("fire", ["--style-image", "sky=nowhere.png"], ["style_image.sky", "cannot be read"]),
])  # fmt: skip
def test_a_request_that_cannot_be_sent_is_one_line(
    photo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, flags: list[str], words: list[str]
) -> None:
    line = refused(capsys, "request", photo, text, "-o", str(tmp_path / "a.png"), *flags)
    assert all(word in line for word in words)


@pytest.mark.parametrize("command", [["stop", "--state"], ["archive", "--store"], ["serve", "--state"]])
def test_a_file_where_a_folder_should_be_is_named(
    photo: str, tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    flags = {"archive": ["--bundle", str(tiny_folder)], "serve": ["--store", str(tmp_path)]}.get(command[0], [])
    if command[0] == "serve":
        archive.archive(tiny_folder, tmp_path)
    assert photo in refused(capsys, *command, photo, *flags)


@pytest.mark.parametrize("command", [["serve"], ["stop"], ["request", "PHOTO", "fire", "-o", "a.png", "--grpc", "x:1"]])
def test_a_missing_package_is_named_with_its_extra(photo: str, tmp_path: Path, command: list[str]) -> None:
    code = (
        "import sys\nsys.modules.update(dict.fromkeys(['psutil', 'grpc']))  # as if they were not installed\n"
        "from genartisan.cli.main import main\nsys.exit(main(sys.argv[1:]))"
    )
    arguments = [photo if argument == "PHOTO" else argument for argument in command]
    path = {**os.environ, "PYTHONPATH": str(Path(genartisan.__path__[0]).parent)}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=tmp_path, env=path, capture_output=True, text=True
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "pip install 'genartisan[serve]'" in done.stderr


@pytest.mark.parametrize("error", [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 9 GiB"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
])  # fmt: skip
def test_out_of_memory_says_what_to_lower(
    photo: str,
    tmp_path: Path,
    tiny_folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Stylizer, "steps", fail)
    line = refused(capsys, "stylize", photo, "fire", "-o", str(tmp_path / "a.png"), "--bundle", str(tiny_folder))
    assert "--size" in line


def test_outputs_are_checked_before_the_work(
    photo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = str(tmp_path / "a.png")
    monkeypatch.setattr(Stylizer, "__init__", lambda *_: pytest.fail("the work began"))
    assert "output" in refused(capsys, "segment", photo, "-o", str(tmp_path / "mask.tiff"))
    assert "report" in refused(capsys, "stylize", photo, "fire", "-o", out, "--report", str(tmp_path / "." / "a.png"))
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)  # the tests may run as root
    assert "output" in refused(capsys, "segment", photo, "-o", out)
    (tmp_path / "old.json").write_text("{}")
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) == tmp_path)
    assert "report" in refused(capsys, "stylize", photo, "fire", "-o", out, "--report", str(tmp_path / "old.json"))


@pytest.mark.slow
def test_a_picture_s_name_need_not_be_utf_8(photo: str, tmp_path: Path, tiny_folder: Path) -> None:
    out = tmp_path / "\udcff.png"
    code = "import sys\nfrom genartisan.cli.main import main\nsys.exit(main(sys.argv[1:]))"
    words = ["segment", photo, "-o", str(out), "--region", "background", "--bundle", str(tiny_folder)]
    command = [sys.executable, "-c", code, *words]
    path = {**os.environ, "PYTHONPATH": str(Path(genartisan.__path__[0]).parent)}
    done = subprocess.run(command, env=path, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert os.fsencode(out) in done.stdout
    assert out.exists()


def test_every_format_has_a_suffix() -> None:
    assert set(MEDIA_TYPES.values()) == set(OUTPUTS)


def test_schema_prints_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert set(schema["properties"]) == set(StyleConfig.model_fields)
    assert schema["presets"] == PRESETS


def test_styles_lists_what_the_bundle_knows(
    tiny_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"techniques": ["watercolor painting", "fire"], "colours": ["red"]}
    monkeypatch.setattr(CompactClip, "styles", lambda _: known)
    assert main(["styles", "--bundle", str(tiny_folder)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "technique  watercolor painting", "technique  fire", "colour     red",
    ]  # fmt: skip
    assert main(["styles", "--bundle", str(tiny_folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"bundle": "tiny", "any_words": False, **known}


def test_styles_of_a_clip_with_an_open_vocabulary(
    tiny_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CompactClip, "styles", lambda _: None)
    assert main(["styles", "--bundle", str(tiny_folder)]) == 0
    assert "any words" in capsys.readouterr().out
    assert main(["styles", "--bundle", str(tiny_folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"bundle": "tiny", "any_words": True}


@pytest.mark.parametrize(
    "command",
    [
        "--help",
        "status",
        "stop",
        "serve --store none",
        "models list",
        "keys show",
        f"request {SAMPLE} Fire -o x.png --url http://127.0.0.1:9",
    ],
)
def test_what_needs_no_network_of_its_own_does_not_import_torch(command: str, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom genartisan.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\nfinally:\n    print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command.split()], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.stdout.split()[-1] == "False", done.stderr


@pytest.mark.parametrize(
    ("command", "field"),
    [
        ("stylize none.png Fire -o x.png", "photo"),
        (f"stylize {SAMPLE} Fire -o x.png --size 5", "size"),
        (f"segment {Path(__file__)} -o x.png", "photo"),
    ],
)
def test_what_is_refused_at_once_does_not_wait_for_torch(command: str, field: str, tmp_path: Path) -> None:
    code = "import sys\nfrom genartisan.cli.main import main\nprint(main(sys.argv[1:]), 'torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, *command.split()], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.stdout.split() == ["2", "False"], done.stderr
    assert done.stderr.startswith(f"genartisan: {field} "), done.stderr


def test_public_names_can_be_imported() -> None:
    assert all(getattr(genartisan, name).__name__ == name for name in genartisan.__all__ if name != "PRESETS")
    with pytest.raises(AttributeError):
        _ = genartisan.nothing
