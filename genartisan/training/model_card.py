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
    """A Markdown table with a row per network and group of figures, without those per class."""
    rows = ["| Network | Figures |", "|---|---|"]
    for role, entry in manifest.networks.items():
        kind, plain = f"{role} ({entry.architecture['kind']})", _shown(entry.figures)
        rows += [f"| {kind} | {plain} |"] if plain else []
        groups = {name: group for name, group in entry.figures.items() if isinstance(group, Mapping)}
        rows += [f"| {kind}: {_words(name)} | {_shown(group)} |" for name, group in groups.items() if name != "classes"]
    return "\n".join(rows)


def _shown(figures: Mapping[str, Any]) -> str:
    """Numbers and words by their names, in a line; zeros, which most are where errors are counted, as one number."""
    values = {_words(name): value for name, value in figures.items() if isinstance(value, (int, float, str))}
    zeros = [name for name, value in values.items() if value == 0]
    if len(zeros) > 2:
        values = {name: value for name, value in values.items() if value != 0}
        values[f"{len(zeros)} others" if values else f"each of {len(zeros)}"] = 0
    return ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items()
    )


def _words(name: str) -> str:
    return name.replace("_", " ").replace("iou", "IoU")


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the embedded bundle's figures into the model card.")
    parser.add_argument("card", type=Path)
    path = parser.parse_args().card
    write_whole(path, updated(path.read_text(encoding="utf-8"), read_manifest(EMBEDDED)))


if __name__ == "__main__":
    main()
