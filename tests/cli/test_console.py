"""Standard streams that cannot show a name, or have no reader: a finished run still succeeds."""

from __future__ import annotations

import io
import logging
import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

import pytest
from tqdm import tqdm

import genartisan
from genartisan.cli import console
from genartisan.cli.main import main
from genartisan.networks.bundle import EMBEDDED, resolve

NAME = "猫.png"


def captured_stdout(monkeypatch: pytest.MonkeyPatch, encoding: str) -> io.BytesIO:
    """Replaces stdout by a buffer with an encoding."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    return raw


@contextmanager
def unwritable(kind: str) -> Iterator[TextIO]:
    """A stream that cannot be written to: a pipe without a reader, or a full disk."""
    if kind == "pipe":
        reader, writer = os.pipe()
        os.close(reader)
        stream = os.fdopen(writer, "w")
    else:
        stream = open("/dev/full", "w")  # noqa: SIM115
    try:
        yield stream
    finally:
        with suppress(OSError):
            stream.close()


@pytest.mark.parametrize(("encoding", "shown"), [
    ("ascii", rb"\u732b.png"), ("cp1252", rb"\u732b.png"), ("utf-8", NAME.encode()), ("shift-jis", NAME.encode("sjis")),
])  # fmt: skip
def test_a_name_that_the_terminal_cannot_show_is_escaped(
    photo: str, tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, shown: bytes
) -> None:
    raw = captured_stdout(monkeypatch, encoding)
    assert main(["segment", photo, "-o", str(tmp_path / NAME), "--bundle", str(tiny_folder)]) == 0
    assert shown in raw.getvalue()
    assert (tmp_path / NAME).exists()


def test_undecodable_bytes_of_a_name_are_printed_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = captured_stdout(monkeypatch, "ascii")
    with console.resilient_streams():
        console.print_summary(os.fsdecode(b"\xff") + NAME)
    assert raw.getvalue().strip() == b"\xff" + rb"\u732b.png"


@pytest.mark.parametrize("kind", ["pipe", "disk"])
def test_a_finished_run_needs_no_reader(
    photo: str, tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    out, flags = tmp_path / "mask.png", ["--bundle", str(tiny_folder)]
    with unwritable(kind) as stdout, unwritable(kind) as stderr:
        monkeypatch.setattr(sys, "stdout", stdout)
        monkeypatch.setattr(sys, "stderr", stderr)
        assert main(["segment", photo, "-o", str(out), *flags]) == 0
        assert main(["segment", "nowhere.png", "-o", str(out), *flags]) == 2
    assert out.exists()


@pytest.mark.parametrize(("kind", "status"), [("pipe", 1), ("disk", 2)])
def test_a_command_whose_purpose_is_to_print_fails_without_stdout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str, status: int
) -> None:
    with unwritable(kind) as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert main(["schema"]) == status
    error = capsys.readouterr().err
    assert error == "" if kind == "pipe" else "No space left" in error


@pytest.mark.parametrize("kind", ["pipe", "disk", "closed"])
def test_progress_and_logs_need_no_reader(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    with unwritable(kind) as stream:
        stderr = None if kind == "closed" else stream
        monkeypatch.setattr(sys, "stderr", stderr)
        with console.resilient_streams():
            handler = logging.StreamHandler()
            monkeypatch.setattr(handler, "handleError", pytest.fail)
            handler.emit(logging.LogRecord("a", logging.WARNING, "", 0, NAME, None, None))
            assert sum(tqdm(range(3), file=sys.stderr, mininterval=0)) == 3
            print("a warning", file=sys.stderr)
        assert sys.stderr is stderr


@pytest.mark.parametrize(
    "shell", ["genartisan schema | head -c 1", "genartisan --help | true", "genartisan schema >&-"]
)
def test_a_process_ends_without_a_traceback(shell: str) -> None:
    command = shell.replace("genartisan", f"{sys.executable} -m genartisan")
    path = {**os.environ, "PYTHONPATH": str(Path(genartisan.__path__[0]).parent)}
    done = subprocess.run(["/bin/sh", "-c", command], env=path, capture_output=True, text=True)
    assert done.stderr == ""


def test_without_a_home_only_what_is_kept_there_fails(
    photo: str, tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(_: object) -> object:
        raise KeyError("uid not found")  # as in a container with a numeric user

    monkeypatch.setattr(pwd, "getpwuid", absent)
    for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "GENARTISAN_HOME"):
        monkeypatch.delenv(name, raising=False)
    quick = ["--quiet", "--size", "64", "--steps", "1", "--set", "patches=2", "--set", "patch_size=32"]
    stylize = ["stylize", photo, "-o", str(tmp_path / "a.png"), "--bundle", str(tiny_folder), *quick]
    assert main([*stylize, "fire"]) == 0
    assert resolve("embedded") == EMBEDDED
    for arguments in (["styles", "--bundle", "official"], ["style", "list"], [*stylize, "--style", "wave"],
                      ["weights", "list"]):  # fmt: skip
        assert main(arguments) == 2
        assert "GENARTISAN_HOME" in capsys.readouterr().err
