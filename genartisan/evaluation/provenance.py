"""What stands with every number that is measured, and with weights that are trained: where they come from."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from genartisan.networks.device import hardware


def provenance(command: str, device: torch.device, seed: int) -> dict[str, Any]:
    """When something was measured, by which command, from which commit (see `made_by`), with which seed, on what."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        **made_by(seed),
        "hardware": hardware(device),
    }


def command_of(script: str, arguments: Sequence[str] | None = None) -> str:
    """The command that repeats a script: ``arguments`` by default are those that it was called with."""
    return shlex.join(["python", script, *(sys.argv[1:] if arguments is None else arguments)])


def made_by(seed: int) -> dict[str, Any]:
    """What made a result: ``{"commit": …, "seed": seed}``; to be asked for before the work, which takes long.

    The commit is a short hash, with ``-dirty`` if anything in the working tree differs from it or is not in it, and
    None if this file is no part of a git checkout.
    """
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return {"commit": None, "seed": seed}
    commit, differences = _git("rev-parse", "--short", "HEAD"), _git("status", "--porcelain")
    return {"commit": f"{commit}-dirty" if differences else commit, "seed": seed}


def _git(*arguments: str) -> str | None:
    """What git answers about this checkout, or None if there is no git, no checkout or no such thing."""
    command_line = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        answer = subprocess.run(command_line, capture_output=True, text=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()
