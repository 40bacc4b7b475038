"""Outputs: never over an input, whole or not at all, in the requested format."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import tiny
from disks import full_disk
from PIL import Image

from genartisan.cli.main import main
from genartisan.cli.outputs import check_distinct, check_writable, media_type_of, write
from genartisan.errors import InputError

QUICK = ["--size", "64", "--steps", "1", "--set", "patches=2", "--set", "patch_size=32", "--device", "cpu", "--quiet"]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    tiny.picture().save(path)
    return path


def other_names(path: Path) -> list[Path]:
    """The file by its own path, another path, a symbolic link and a hard link."""
    folder = path.parent / "folder"
    folder.mkdir()
    (folder / "symbolic.png").symlink_to(path)
    (folder / "hard.png").hardlink_to(path)
    return [path, folder / ".." / path.name, folder / "symbolic.png", folder / "hard.png"]


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert main([str(argument) for argument in arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_no_command_overwrites_its_input(
    photo: Path, tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask, style = tmp_path / "mask.png", tmp_path / "style.png"
    for path in (mask, style):
        shutil.copy(photo, path)
    before = photo.read_bytes()
    out, bundle = tmp_path / "out.png", ["--bundle", tiny_folder]
    for name in other_names(photo):
        assert "also the photo" in refused(capsys, "stylize", photo, "fire", "-o", out, "--report", name, *bundle)
        assert "--overwrite" in refused(capsys, "stylize", photo, "fire", "-o", name, *bundle)
        assert "output" in refused(capsys, "stylize", name, "fire", "-o", photo, *bundle)
        assert "output" in refused(capsys, "segment", photo, "-o", name, *bundle)
        assert "output" in refused(capsys, "request", name, "fire", "-o", photo)
    flags = ["--mask", mask, "--style-image", f"sky={style}", "--overwrite"]
    for command in ("stylize", "request"):
        assert "also the mask" in refused(capsys, command, photo, "fire", "-o", mask, *flags)
        assert "also the style_image" in refused(capsys, command, photo, "fire", "-o", style, *flags)
    for report in (photo, out):  # --overwrite is for the output and the photo only
        assert "report" in refused(capsys, "stylize", photo, "fire", "-o", out, "--report", report, "--overwrite")
    assert photo.read_bytes() == before
    assert not out.exists()


def test_previews_do_not_replace_the_photo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    previews = tmp_path / "previews"
    previews.mkdir()
    tiny.picture().save(previews / "step_0010.jpg")
    line = refused(
        capsys, "request", previews / "step_0010.jpg", "fire", "-o", tmp_path / "a.png", "--previews", previews
    )
    assert "previews" in line
    assert "also the photo" in line


def test_frames_and_trainings_do_not_overwrite_their_input(
    tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames, styled = tmp_path / "frames", tmp_path / "styled"
    for folder in (frames, styled):
        folder.mkdir()
    for number in range(2):
        tiny.picture(seed=number).save(frames / f"{number}.png")
    (styled / "0.png").hardlink_to(frames / "0.png")
    bundle = ["--bundle", tiny_folder]
    assert "also the frames" in refused(capsys, "frames", frames, "fire", "-o", styled, *bundle)
    (styled / "0.png").unlink()
    tiny.picture().save(styled / "1.png")
    line = refused(capsys, "frames", frames, "-o", styled, "--style-image", styled / "1.png", *bundle)
    assert "also the style_image" in line
    tiny.picture().save(frames / "drafts.jpg")
    assert "also the photos" in refused(capsys, "train-start", "--photos", frames, "--out", frames, *bundle)


def test_overwrite_replaces_the_photo(photo: Path, tmp_path: Path, tiny_folder: Path) -> None:
    link, expected = tmp_path / "link.png", tmp_path / "expected.png"
    link.symlink_to(photo)
    common = [*QUICK, "--bundle", str(tiny_folder)]
    assert main(["stylize", str(photo), "fire", "-o", str(expected), *common]) == 0
    assert main(["stylize", str(photo), "fire", "-o", str(link), "--overwrite", *common]) == 0
    assert link.is_symlink()
    assert photo.read_bytes() == expected.read_bytes()


def test_a_full_disk_leaves_the_old_picture(
    photo: Path, tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, report = tmp_path / "out.png", tmp_path / "report.json"
    out.write_bytes(b"a good picture")
    report.write_text("{}")
    flags = ["--report", report, *QUICK, "--bundle", tiny_folder]
    with full_disk(500):
        line = refused(capsys, "stylize", photo, "fire", "-o", out, *flags)
    assert f"output {str(out)!r} cannot be written: File too large" in line
    assert (out.read_bytes(), report.read_text()) == (b"a good picture", "{}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.png", "photo.png", "report.json"]


def test_devices_take_a_png(photo: Path, tiny_folder: Path) -> None:
    assert main(["segment", str(photo), "-o", "/dev/null", "--bundle", str(tiny_folder)]) == 0


@pytest.mark.parametrize(("path", "form", "media_type"), [
    ("a.JPG", None, "image/jpeg"), ("a.jpg", "jpeg", "image/jpeg"), ("a", "webp", "image/webp"),
    ("-", None, "image/png"), ("-", "jpg", "image/jpeg"), ("/dev/stdout", None, "image/png"),
    ("/dev/null", None, "image/png"), ("/dev/null", "WEBP", "image/webp"),
])  # fmt: skip
def test_the_format_comes_from_the_flag_or_the_suffix(path: str, form: str | None, media_type: str) -> None:
    assert media_type_of(path, form) == media_type


@pytest.mark.parametrize(("path", "form", "field"), [
    ("a.tiff", None, "output"), ("a", None, "output"), ("a.png", "jpg", "format"), ("a.png", "gif", "format"),
])  # fmt: skip
def test_an_unknown_or_contradictory_format_is_refused(path: str, form: str | None, field: str) -> None:
    with pytest.raises(InputError) as caught:
        media_type_of(path, form)
    assert caught.value.field == field


def piped(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


@pytest.mark.parametrize("command", ["stylize", "segment"])
def test_a_dash_is_a_stream(
    command: str, photo: Path, tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:  # fmt: skip
    text, settings = (["fire"], QUICK) if command == "stylize" else ([], ["--device", "cpu"])
    flags = [*settings, "--bundle", str(tiny_folder)]
    out = tmp_path / "out.png"
    assert main([command, str(photo), *text, "-o", str(out), *flags]) == 0
    capfdbinary.readouterr()
    piped(monkeypatch, photo.read_bytes())
    assert main([command, "-", *text, "-o", "-", *flags]) == 0
    assert capfdbinary.readouterr().out == out.read_bytes()
    assert main([command, str(photo), *text, "-o", "/dev/stdout", "--format", "jpg", *flags]) == 0
    assert Image.open(io.BytesIO(capfdbinary.readouterr().out)).format == "JPEG"


def test_a_report_may_go_to_stdout_alone(
    photo: Path, tmp_path: Path, tiny_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.png"
    flags = [*QUICK, "--bundle", str(tiny_folder), "--report", "-"]
    assert main(["stylize", str(photo), "fire", "-o", str(out), *flags]) == 0
    captured = capfd.readouterr()
    assert json.loads(captured.out)["prompt"] == "fire"
    assert str(out) in captured.err
    assert main(["stylize", str(photo), "fire", "-o", "-", *flags]) == 2


def test_stdin_without_a_picture_is_refused(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    master, terminal = os.openpty()
    out = str(tmp_path / "out.png")
    with os.fdopen(terminal) as keyboard:
        monkeypatch.setattr(sys, "stdin", keyboard)
        assert "nothing is piped in" in refused(capsys, "segment", "-", "-o", out)
    os.close(master)
    piped(monkeypatch, b"")
    assert "0 bytes" in refused(capsys, "segment", "-", "-o", out)
    piped(monkeypatch, b"no picture")
    assert "not an image" in refused(capsys, "segment", "-", "-o", out)
    monkeypatch.setattr(sys, "stdin", None)
    assert "nothing is piped in" in refused(capsys, "segment", "-", "-o", out)


def test_a_photo_redirected_to_stdin_is_not_overwritten(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with photo.open() as redirected:
        monkeypatch.setattr(sys, "stdin", redirected)
        with pytest.raises(InputError, match="also the photo"):
            check_distinct([("photo", "-")], [("output", photo)])
    check_distinct([("photo", "/dev/null")], [("output", "/dev/null"), ("report", "/dev/null")])


def test_a_stdout_that_cannot_be_written_to_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.suppress(OSError), open("/dev/full", "w") as full:  # closing it fails as well
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(InputError, match="No space left"):
            write("-", b"picture")
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(InputError, match="closed"):
        check_writable("-")
