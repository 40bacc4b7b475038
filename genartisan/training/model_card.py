"""Writes the manifest's figures into the model card: ``python -m genartisan.training.model_card docs/model-card.md``.

Run it whenever the bundle changes; a test compares the two.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genartisan.io.atomic import write_whole
from genartisan.networks.bundle import EMBEDDED, read_manifest
from genartisan.networks.manifest import Manifest

BEGIN, END = "<!-- figures: written by genartisan.training.model_card -->", "<!-- end of figures -->"


def updated(card: str, manifest: Manifest) -> str:
    """The card with the figures of ``manifest`` between its markers.

    Raises:
        ValueError: the card does not have exactly one pair of markers.
    """
    if card.count(BEGIN) != 1 or card.count(END) != 1 or card.index(BEGIN) > card.index(END):
        raise ValueError(f"the model card needs one line {BEGIN!r} and, below it, one line {END!r}")
    before, rest = card.split(BEGIN)
    return f"{before}{BEGIN}\n{figures_table(manifest)}\n{END}{rest.split(END)[1]}"


def figures_table(manifest: Manifest) -> str:
    """A Markdown table with a row per figure, without those per class."""
    rows = ["| Network | Figure | Value |", "|---|---|---|"]
    for role, entry in manifest.networks.items():
        kind = f"{role} ({entry.architecture['kind']})"
        rows += [f"| {kind} | {name} | {value} |" for name, value in _flat(entry.figures)]
    return "\n".join(rows)


def _flat(figures: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """(name, value) of each figure; those of a group are prefixed by its name."""
    rows = []
    for name, value in figures.items():
        label = f"{prefix}{name.replace('_', ' ')}"
        if isinstance(value, Mapping):
            if not prefix and name != "classes":
                rows += _flat(value, f"{label}: ")
        elif isinstance(value, (int, float, str)):
            rows.append((label, f"{value:g}" if isinstance(value, float) else str(value)))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the embedded bundle's figures into the model card.")
    parser.add_argument("card", type=Path)
    path = parser.parse_args().card
    write_whole(path, updated(path.read_text(encoding="utf-8"), read_manifest(EMBEDDED)))


if __name__ == "__main__":
    main()
