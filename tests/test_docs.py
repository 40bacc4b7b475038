"""README and docs/ are true: commands, flags, settings, presets, metrics and links exist, and examples run."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import servers
import tiny
from pages import PAGES, ROOT, blocks, commands, headings, lines, links, shell, spans
from PIL import Image

from genartisan.cli.evaluation_flags import check_evaluation_flags
from genartisan.cli.flags import assignments, params_of
from genartisan.cli.main import build_parser
from genartisan.config import PRESETS, StyleConfig, from_params
from genartisan.errors import InputError
from genartisan.serving.limits import Limits
from genartisan.serving.serve import Server
from genartisan.serving.telemetry import COUNTERS, LABELS

each_page = pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
PROGRAMS = {
    "genartisan", "python", "pip", "make", "source", "git", "cd", "curl", "jq", "docker", "umask", "openssl", "date",
    "locust", "ray", "serve", "export", "kubectl", "printf", "sha256sum", "cut", "tr", "touch", "xargs",
}  # fmt: skip
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
SERVING = ROOT / "docs" / "serving.md"


@cache
def usage(*words: str) -> str:
    """The output of ``genartisan WORDS --help``; fails if there is no such command."""
    with contextlib.redirect_stdout(io.StringIO()) as stdout, pytest.raises(SystemExit):
        build_parser().parse_args([*words, "--help"])
    return stdout.getvalue()


@cache
def module_usage(module: str) -> str:
    """The output of ``python -m MODULE --help``."""
    with contextlib.redirect_stdout(io.StringIO()) as stdout, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [module, "--help"])
        patch.delitem(sys.modules, module, raising=False)
        with pytest.raises(SystemExit):
            runpy.run_module(module, run_name="__main__")
    return stdout.getvalue()


@cache
def all_flags() -> frozenset[str]:
    """The flags of every command and action."""
    listed = re.compile(r"^    ([a-z][a-z-]*)(?: |$)", re.M)
    names = listed.findall(usage())
    commands = {name: usage(name) for name in names}
    actions = [usage(name, action) for name, text in commands.items() for action in listed.findall(text)]
    return frozenset(FLAG.findall("".join([*commands.values(), *actions])))


@cache
def load_flags() -> frozenset[str]:
    """The flags of the load test: Locust's and ours."""
    command = [sys.executable, "-m", "locust", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=servers.PATIENCE, check=True)
    ours = re.findall(r'add_argument\(\s*"(--[\w-]+)"', (ROOT / "loadtest" / "options.py").read_text())
    return frozenset(FLAG.findall(" ".join([done.stdout, *ours])))


@cache
def source_words() -> frozenset[str]:
    """Every word of the code and of the server's configuration."""
    patterns = ("genartisan/**/*.py", "loadtest/*.py", "handlers/*", "docker/**/*", "config.properties", "Makefile")
    files = [file for pattern in patterns for file in ROOT.glob(pattern) if file.is_file()]
    return frozenset(re.findall(r"\w+", "\n".join(file.read_text(encoding="utf-8") for file in files)))


def check(words: list[str]) -> None:
    """Checks a command of a block as far as possible without running it."""
    program, *arguments = words
    assert program in PROGRAMS, f"unknown program {program}"
    if program == "genartisan":
        options = build_parser().parse_args(arguments)
        if hasattr(options, "settings") and hasattr(options, "preset"):
            from_params(params_of(options))
        if arguments[0] == "evaluate":
            check_evaluation_flags(options)
    elif program == "locust":
        assert [word for word in arguments if FLAG.fullmatch(word) and word not in load_flags()] == []
    elif program == "make":
        assert re.search(rf"^{arguments[0]}:", (ROOT / "Makefile").read_text(), re.M)
    elif program == "pip":
        for extra in re.findall(r"genartisan\[(\w+)\]", " ".join(arguments)):
            assert re.search(rf"^{extra} = \[", (ROOT / "pyproject.toml").read_text(), re.M)
    elif program == "python" and arguments[0] == "-m" and arguments[1].startswith("genartisan"):
        known = FLAG.findall(module_usage(arguments[1]))
        assert [flag for flag in arguments if flag.startswith("--") and flag not in known] == []


@each_page
def test_every_shell_block_parses(page: Path) -> None:
    for block in shell(page):
        subprocess.run(["bash", "-n"], input=block, text=True, check=True)
        for line in lines(block):
            for words in commands(line):
                check(words)


@pytest.mark.parametrize(
    "line",
    [
        "genartisan stylise photo.jpg Fire -o out.png",
        "genartisan stylize photo.jpg Fire -o out.png --sed 1",
        "genartisan stylize photo.jpg Fire -o out.png --set contrasts=1",
        "genartisan stylize photo.jpg Fire -o out.png --preset fats",
        'curl -H "Authorization: Bearer $(genartisan keys shew)" http://127.0.0.1:8080',
        "true && (umask 077; genartisan archive --signed archive.key > log)",
    ],
)
def test_a_wrong_command_is_noticed(line: str) -> None:
    with pytest.raises((InputError, AssertionError)):  # noqa: PT012
        for words in commands(line):
            if words[0] != "true":
                check(words)


@each_page
def test_commands_and_flags_in_sentences_exist(page: Path) -> None:
    for span in spans(page):
        if span.startswith("genartisan "):
            for words in commands(span.replace("…", "")):
                named = [word for word in words[1:3] if re.fullmatch("[a-z][a-z-]*", word)]
                known = FLAG.findall(usage(*named)) if named else all_flags()
                assert [word for word in words if FLAG.fullmatch(word) and word not in known] == [], span
        elif span.startswith("--"):
            known = load_flags() if page.parent.name == "loadtest" else {*all_flags(), "--ncs"}
            assert set(FLAG.findall(span)) <= known, span
        elif span.startswith("make "):
            check(shlex.split(span))
        elif script := re.match(r"(?:python )?((?:benchmarks|tests|genartisan|handlers|docker|loadtest)/\S+)", span):
            file = ROOT / script[1]
            assert file.exists(), span
            code = file.read_text(encoding="utf-8") if file.is_file() else ""
            assert [flag for flag in FLAG.findall(span) if f'"{flag}"' not in code] == [], span


@each_page
def test_names_in_sentences_are_names_in_the_code(page: Path) -> None:
    """Settings, environment variables, metrics, functions: any span with an underscore, a dot or a value."""
    for span in spans(page):
        name, _, value = span.partition("=")
        if re.fullmatch(r"[a-z_]+(\.[a-z_]+)*", name) and value and name.split(".")[0] in StyleConfig.model_fields:
            from_params(assignments([span.replace('"', "")]))
        elif re.fullmatch(r"regions\.\w+\.\w+", span):
            assert span.split(".")[2] in StyleConfig().regions.background.model_dump(), span
        elif re.fullmatch("[a-z_]+", name) and value:
            assert name in source_words(), span
        elif re.fullmatch(r"[A-Za-z]\w*(\.\w+)*(\([^)]*\))?", span) and "_" in span and not span.endswith(FILES):
            words = set(re.findall(r"\w+", span.split("(")[0]))
            assert words <= source_words(), f"{span}: nothing is called {words - source_words()}"


FILES = (".md", ".json", ".log", ".png", ".jpg", ".gz", ".safetensors", ".pt", ".py", ".yml", ".yaml", ".svg", ".csv")


@each_page
def test_presets_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"""\bpreset\b["'`]*(?:[:(]\s*["']|\s+`)(\w+)""", text)
    assert set(named) <= set(PRESETS)


def test_the_table_of_settings_has_their_names_and_defaults() -> None:
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("| setting |")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in row.split("|")[1:4]] for row in table.splitlines() if row.startswith("| `")]
    assert len(rows) >= 8
    for names, paper, _ in rows:
        for name in re.findall("`([^`]+)`", names):
            first, *rest = name.split(".")
            setting = getattr(StyleConfig(), first)
            if rest and "…" not in rest:
                setting = getattr(setting[rest[0]], rest[1])
            if re.fullmatch(r"`?[\d.]+`?", paper):
                assert float(paper.strip("`")) == setting, name


def test_metrics_and_their_labels_exist() -> None:
    text = SERVING.read_text(encoding="utf-8")
    declared = (ROOT / "handlers" / "metrics.yaml").read_text()
    named = set(re.findall(r"\b(?:genartisan|ts)_[a-z_]+\b(?!\.py)", text.partition("## Metrics")[2]))
    assert len(named) >= 10
    for name in named:
        assert name in LABELS if name.startswith("genartisan_") else f"{{name: {name}," in declared, name
    for name, selector in re.findall(r"\b(genartisan_\w+)\{([^}]*)\}", text):
        for label, values in re.findall(r'(\w+)[=!]~?"([^"]*)"', selector):
            assert set(values.split(r"\|")) <= set(COUNTERS[name][label]), f"{name}{{{selector}}}"


def test_nginx_accepts_as_many_bytes_as_the_server() -> None:
    (gate,) = blocks(ROOT / "docs" / "hardening.md", "nginx")
    assert re.findall(r"client_max_body_size (\d+);", gate) == [str(Limits().request_bytes)]


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in links(page):
        name, _, anchor = target.partition("#")
        there = page if not name else (page.parent / name).resolve()
        assert there.exists(), target
        if anchor and there.suffix == ".md":
            assert anchor in headings(there), target


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the pictures named in the pages, and genartisan on the PATH."""
    tiny.picture().save(tmp_path / "photo.jpg")
    tiny.picture().save(tmp_path / "wave.jpg")
    tiny.picture().save(tmp_path / "painting.jpg")
    command = tmp_path / "bin" / "genartisan"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m genartisan "$@"\n')
    command.chmod(0o755)
    (tmp_path / ".curlrc").write_text("fail\nsilent\nshow-error\n")  # fail on 400
    path = os.pathsep.join([str(command.parent), os.environ["PATH"]])
    for name, value in {"HOME": tmp_path, "CURL_HOME": tmp_path, "PYTHONPATH": ROOT, "PATH": path}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def at(server: Server, text: str) -> str:
    """Replaces the default ports in a page's text by those of a test server."""
    for port, url in ((8080, server.url), (8081, server.management)):
        text = text.replace(f"http://127.0.0.1:{port}", url)
    return text


CURLS = [line for page in PAGES for block in blocks(page, "sh") for line in lines(block) if line.startswith("curl ")]


@pytest.mark.server
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("line", CURLS, ids=lambda line: " ".join(line.split()[-1:]))
def test_every_curl_succeeds(line: str, server: Server, desk: Path) -> None:
    (desk / ".serve").symlink_to(server.state)
    result = subprocess.run(["bash", "-c", at(server, line)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    output = re.search(r"-o (\S+)", line)
    if output:
        with Image.open(desk / output[1]) as picture:
            assert picture.format == ("JPEG" if output[1].endswith("jpg") else "PNG")
    elif "genartisan-control" in line:
        assert json.loads(result.stdout)["state"] == "waiting"
    else:
        (described,) = json.loads(result.stdout)
        assert "presets" in str(described["customizedMetadata"])


def test_there_are_curls_to_run() -> None:
    assert len(CURLS) >= 4


@pytest.mark.server
def test_the_client_example_runs(server: Server, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (desk / ".serve").symlink_to(server.state)
    (block,) = blocks(SERVING, "python")
    block = block.replace('"preset": "fast"', '"preset": "fast", "size": 64, "patch_size": 32')  # faster
    exec(compile(at(server, block), SERVING.name, "exec"), {})
    assert capsys.readouterr().out.split()[-2:] == ["result", "None"]


def test_the_python_example_runs(desk: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "fast", {**PRESETS["fast"], "size": 64, "patch_size": 32})  # faster
    (block,) = blocks(ROOT / "README.md", "python")
    exec(compile(block.replace('"embedded"', repr(str(tiny_folder))), "README.md", "exec"), {})
    for name in ("neon.png", "so_far.png"):
        with Image.open(desk / name) as picture:
            picture.load()
