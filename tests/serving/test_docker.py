"""The Docker files against the repository: copied files and commands exist."""

from __future__ import annotations

import json
import re

from servers import ROOT

from genartisan.cli.main import build_parser

TEXT = (ROOT / "docker" / "Dockerfile").read_text()


def test_copied_files_exist_and_are_in_the_build_context() -> None:
    copied = [name for line in re.findall(r"^COPY (?!--)(.*) \S+$", TEXT, re.M) for name in line.split()]
    sent = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert sorted(copied) == sorted(sent)
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_the_cli_accepts_its_commands() -> None:
    command = json.loads(re.findall(r"^CMD (\[.*\])$", TEXT, re.M)[-1])
    options = build_parser().parse_args(command[1:])
    assert (options.foreground, options.host) == (True, "0.0.0.0")
    build_parser().parse_args(re.findall(r"^RUN genartisan (.*)$", TEXT, re.M)[0].split())


def test_torch_is_installed_first_in_the_versions_of_pyproject() -> None:
    (code,) = re.findall(r"print\(\*re\.findall\(r\"(.*?)\", open", TEXT)
    requirements = re.findall(code.replace('\\"', '"'), (ROOT / "pyproject.toml").read_text())
    assert [re.split("[<>=]", name)[0] for name in requirements] == ["torch", "torchvision"]
