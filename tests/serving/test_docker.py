"""The Docker files against the repository: copied files and commands exist."""

from __future__ import annotations

import json
import re
import subprocess
import sysconfig
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from servers import ROOT

from genartisan.cli.main import build_parser

TEXT = (ROOT / "docker" / "Dockerfile").read_text()
LOCKS = ROOT / "docker" / "locks"


def test_copied_files_exist_and_are_in_the_build_context() -> None:
    copied = [name for line in re.findall(r"^COPY (?!--)(.*) \S+$", TEXT, re.M) for name in line.split()]
    sent = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert sorted(copied) == sorted(sent)
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_the_cli_accepts_its_commands() -> None:
    parser = build_parser()
    check, command = (json.loads(found) for found in re.findall(r"^ *CMD (\[.*\])$", TEXT, re.M))
    options = parser.parse_args(command[1:])
    assert (options.foreground, options.host) == (True, "0.0.0.0")
    probe = parser.parse_args(check[1:])
    assert probe.state == options.state
    (limit,) = re.findall(r"HEALTHCHECK .*--timeout=(\d+)s", TEXT)
    assert probe.draft_within < int(limit)
    (archive,) = re.findall(r"bin/genartisan (archive .*) \\$", TEXT, re.M)
    parser.parse_args(archive.split())


def test_hadolint_has_no_complaint() -> None:
    hadolint = Path(sysconfig.get_path("scripts"), "hadolint")
    result = subprocess.run([hadolint, "--no-color", "-"], input=TEXT, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "")


@pytest.mark.parametrize("lock", ["cpu", "cuda", "build"])
def test_locks_pin_versions_and_hashes_and_name_no_index(lock: str) -> None:
    text = (LOCKS / f"{lock}.txt").read_text()
    assert "://" not in text
    unhashed = set()
    for entry in re.split(r"\n(?=[a-z])", re.sub(r"^#.*\n", "", text, flags=re.M)):
        requirement, *hashes = entry.replace("\\\n", "").split("--hash=sha256:")
        (specifier,) = Requirement(requirement).specifier
        assert specifier.operator == "=="
        if not hashes:
            unhashed.add(Requirement(requirement).name)
        assert all(re.fullmatch(r"[0-9a-f]{64}", each.strip()) for each in hashes)
    assert unhashed <= ({"torch", "torchvision"} if lock == "cpu" else set())


@pytest.mark.parametrize("lock", ["cpu", "cuda"])
def test_locks_have_what_the_package_needs(lock: str) -> None:
    requirements = map(Requirement, metadata.requires("genartisan") or ())
    needed = [each for each in requirements if each.marker is None or each.marker.evaluate({"extra": "serve"})]
    pins = [
        Requirement(line.rstrip(" \\")) for line in (LOCKS / f"{lock}.txt").read_text().splitlines() if "==" in line
    ]
    assert "torchserve" in [requirement.name for requirement in needed]
    for requirement in needed:
        versions = [
            next(iter(pin.specifier)).version
            for pin in pins
            if canonicalize_name(pin.name) == canonicalize_name(requirement.name)
        ]
        assert versions, requirement.name
        assert all(requirement.specifier.contains(version) for version in versions), requirement.name
