"""Standard streams that cannot show a name, or that nobody reads any more: a finished run stays finished."""

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


def written(monkeypatch: pytest.MonkeyPatch, encoding: str) -> io.BytesIO:
    """What goes to stdout from now on, in an encoding."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    return raw


@contextmanager
def unwritable(kind: str) -> Iterator[TextIO]:
    """A stream that takes nothing: of a pipe that nobody reads, or of a full disk."""
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
    raw = written(monkeypatch, encoding)
    assert main(["segment", photo, "-o", str(tmp_path / NAME), "--bundle", str(tiny_folder)]) == 0
    assert shown in raw.getvalue()
    assert (tmp_path / NAME).exists()


def test_bytes_of_a_name_that_is_no_text_come_out_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = written(monkeypatch, "ascii")
    with console.steady_streams():
        console.announce(os.fsdecode(b"\xff") + NAME)
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
def test_what_was_asked_to_be_printed_has_to_be(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str, status: int
) -> None:
    with unwritable(kind) as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert main(["schema"]) == status
    told = capsys.readouterr().err
    assert told == "" if kind == "pipe" else "No space left" in told


@pytest.mark.parametrize("kind", ["pipe", "disk", "closed"])
def test_progress_and_logs_need_no_reader(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    with unwritable(kind) as stream:
        stderr = None if kind == "closed" else stream
        monkeypatch.setattr(sys, "stderr", stderr)
        with console.steady_streams():
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


def test_without_a_home_all_but_what_lies_there_works(
    photo: str, tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(_: object) -> object:
        raise KeyError("uid not found")  # as in a container with a number for a user

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
