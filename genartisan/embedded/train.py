"""Trains the four networks of the embedded bundle, one after the other, and assembles the bundle from them.

    python -m genartisan.embedded.train --out DIR [--only clip fcn] [--resume] [--install]

Everything is drawn and trained from the seed; a killed run goes on with ``--resume``.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from genartisan.bundle import EMBEDDED, MANIFEST, ROLES, Manifest, write_bundle

SOURCE = "trained by genartisan.embedded.train_{role} on pictures that genartisan.embedded draws"
LICENCE = "Apache-2.0"
DESCRIPTION = "Small networks of the same kinds as the official ones, which know a few styles and drawn people."


def train(out: Path, seed: int = 0, roles: tuple[str, ...] = ROLES, resume: bool = False) -> None:
    """Trains the networks of ``roles``, each into its ``.safetensors`` and ``.json`` in ``out``."""
    from genartisan.embedded import train_clip, train_fcn, train_stylenet, train_vgg

    trainers: dict[str, Any] = {
        "clip": train_clip.train, "fcn": train_fcn.train, "vgg": train_vgg.train, "stylenet": train_stylenet.train,
    }  # fmt: skip
    for role in roles:
        print(f"training {role}")
        trainers[role](out, seed, resume=resume)


def assemble(out: Path) -> Manifest:
    """Makes the trained networks in ``out`` a bundle.

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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train the embedded bundle.")
    parser.add_argument("--out", type=Path, required=True, help="folder for drawings, checkpoints and the bundle")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=ROLES, default=list(ROLES), help="train these networks only")
    parser.add_argument("--resume", action="store_true", help="go on from checkpoints")
    parser.add_argument("--install", action="store_true", help="put the bundle into the package")
    given = parser.parse_args()
    train(given.out, given.seed, tuple(given.only), given.resume)
    assemble(given.out)
    if given.install:
        install(given.out)
