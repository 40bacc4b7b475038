"""Trains the networks of the embedded bundle and assembles the bundle from them.

    python -m genartisan.embedded.train --out DIR [--only clip fcn] [--seed N] [--resume] [--install]

Without a GPU two trainings run at a time, on two cores for under two hours. Everything is drawn and trained from the
seed; a killed run goes on with ``--resume``. ``DIR/clip.log`` shows clip's progress, and so on.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from safetensors.torch import load_file

from genartisan.bundle import EMBEDDED, LEARNED_START, MANIFEST, REQUIRED, Manifest, write_bundle

SOURCE = "trained by genartisan.embedded.train_{role} on pictures that genartisan.embedded draws"
LICENCE = "Apache-2.0"
DESCRIPTION = "Small networks of the same kinds as the official ones, which know a few styles and drawn people."
ROLES = (*REQUIRED, LEARNED_START)
LANES = (("fcn",), ("clip", "vgg", "stylenet", LEARNED_START))  # those of a lane one after another
# What has to be trained before, in the same lane.
NEEDS = {"stylenet": ("clip", "vgg"), LEARNED_START: ("clip", "vgg", "stylenet")}
MODULE = "genartisan.embedded.train_{role}"


def train(out: Path, seed: int = 0, roles: Sequence[str] = ROLES, resume: bool = False) -> list[str]:
    """Trains the networks of ``roles``, each into its ``.safetensors`` and ``.json`` in ``out``.

    Returns:
        The roles whose training failed; the others' networks are there.
    """
    out.mkdir(parents=True, exist_ok=True)
    lanes = [ROLES] if torch.cuda.is_available() else LANES
    with ThreadPoolExecutor(len(lanes)) as pool:
        waiting = [
            pool.submit(train_one_by_one, out, seed, [role for role in lane if role in roles], resume) for lane in lanes
        ]
        return [role for lane in waiting for role in lane.result()]


def train_one_by_one(out: Path, seed: int, roles: Sequence[str], resume: bool) -> list[str]:
    """Trains one network after another, each in a process of its own; returns the roles that failed."""
    failed: list[str] = []
    for role in roles:
        lacking = [other for other in NEEDS.get(role, ()) if other in failed]
        if lacking:
            failed.append(role)
            print(f"{role}: FAILED: it is trained on {', '.join(lacking)}, which failed", flush=True)
            continue
        began, log = time.monotonic(), out / f"{role}.log"
        print(f"{role}: training; see {log}", flush=True)
        with log.open("ab" if resume else "wb") as file:
            done = subprocess.run(command(role, out, seed, resume), env=one_thread(), stdout=file, stderr=file)
        minutes = (time.monotonic() - began) / 60
        if done.returncode:
            failed.append(role)
            print(f"{role}: FAILED after {minutes:.0f} min: {last_line(log)}; all of it is in {log}", flush=True)
        else:
            print(f"{role}: done in {minutes:.0f} min", flush=True)
    return failed


def command(role: str, out: Path, seed: int, resume: bool) -> list[str]:
    """The command line that trains one network."""
    line = [sys.executable, "-m", MODULE.format(role=role), "--out", str(out), "--seed", str(seed)]
    return [*line, *(["--resume"] if resume else [])]


def one_thread() -> dict[str, str]:
    """The environment of a training: on the CPU one thread, because another training has the other core."""
    return dict(os.environ) if torch.cuda.is_available() else {**os.environ, "OMP_NUM_THREADS": "1"}


def last_line(log: Path) -> str:
    """What a failed training said last."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def assemble(out: Path) -> Manifest:
    """Makes the trained networks in ``out`` a bundle, each with its figures and the commit and seed that made it.

    Raises:
        FileNotFoundError: a network is not trained yet.
    """
    entries = {}
    for role in ROLES:
        trained = json.loads((out / f"{role}.json").read_text(encoding="utf-8"))
        entry = {**trained, "source": SOURCE.format(role=role), "licence": LICENCE}
        entries[role] = (load_file(out / f"{role}.safetensors"), entry)
    return write_bundle(out, "embedded", DESCRIPTION, entries)


def install(out: Path) -> None:
    """Copies the bundle in ``out`` over the one in the package, the manifest last."""
    for name in (*(f"{role}.safetensors" for role in ROLES), MANIFEST):
        shutil.copyfile(out / name, EMBEDDED / name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains, assembles and, if asked to, installs; the exit status is 1 where a network failed or is missing."""
    parser = argparse.ArgumentParser(description="Train the embedded bundle.")
    parser.add_argument("--out", type=Path, required=True, help="folder for drawings, checkpoints, logs and the bundle")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=ROLES, default=list(ROLES), help="train these networks only")
    parser.add_argument("--resume", action="store_true", help="go on from checkpoints")
    parser.add_argument("--install", action="store_true", help="put the bundle into the package")
    given = parser.parse_args(arguments)
    failed = train(given.out, given.seed, given.only, given.resume)
    if failed:
        again = f"--only {' '.join(failed)} --resume"
        print(f"no bundle: {', '.join(failed)} failed; mend it and go on with {again}", file=sys.stderr)
        return 1
    missing = [role for role in ROLES if not (given.out / f"{role}.json").is_file()]
    if missing:
        print(f"no bundle yet: {', '.join(missing)} not trained", file=sys.stderr)
        return 1
    assemble(given.out)
    if given.install:
        install(given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
