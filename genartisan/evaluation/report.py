"""What every report of an evaluation has: its origin, its aims, and the files it is written to."""

from __future__ import annotations

import csv
import io
import json
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genartisan.io.atomic import write_whole
from genartisan.io.documents import Block, Code, Heading, Table, Text, as_html, as_markdown

UNITS = {"%": "{:.1%}", "MB": "{:.1f} MB", "s": "{:.2f} s", "": "{:.2f}", "fraction": "{:.3f}", "columns": "{:.0f}"}
RELATIONS: dict[str, Callable[[float, float], bool]] = {"≥": operator.ge, "≤": operator.le, "<": operator.lt}


@dataclass(frozen=True)
class Target:
    """A measured value and its limit; ``value`` is None where it cannot be measured."""

    what: str
    value: float | None
    relation: str  # one of RELATIONS
    limit: float
    unit: str = ""  # one of UNITS

    @property
    def reached(self) -> bool | None:
        return None if self.value is None else RELATIONS[self.relation](self.value, self.limit)

    def as_dict(self) -> dict[str, Any]:
        target = f"{self.relation} {self.limit}"
        return {"what": self.what, "value": self.value, "target": target, "unit": self.unit, "reached": self.reached}

    def cells(self) -> tuple[str, str, str, str]:
        """What, the value, the target, and whether it was reached."""
        show = UNITS[self.unit].format
        answer = {True: "yes", False: "no", None: "not measured"}[self.reached]
        measured = "–" if self.value is None else show(self.value)
        return self.what, measured, f"{self.relation} {show(self.limit)}", answer


def origin(title: str, results: dict[str, Any]) -> list[Block]:
    """The title, the command, and the bundle, commit and hardware of the results."""
    bundle, hardware = results["bundle"], results["hardware"]
    return [
        Heading(title, 1),
        Text("Written by the command below; do not edit."),
        Code(results["command"]),
        Text(
            f"Bundle {bundle['name']} ({bundle['sha256'][:12]}), commit {results['commit']}, seed {results['seed']}, "
            f"{results['date'][:10]}. {hardware['processor']}, {hardware['threads']} threads, on {hardware['device']}; "
            f"{hardware['system']}, Python {hardware['python']}, PyTorch {hardware['torch']}."
        ),
    ]


def aims(targets: Sequence[Target]) -> list[Block]:
    columns = ("What", "Measured", "Aim", "Reached")
    return [Heading("Aims"), Table(columns, tuple(target.cells() for target in targets))]


def about_judge(judge: dict[str, Any]) -> str:
    """What the judge is and how good it is."""
    accuracy = judge["figures"].get("held_out_accuracy")
    known = "" if accuracy is None else f" On held-out drawings it is right {accuracy:.1%} of the time."
    return (
        "The judge is a network of another kind than the bundle's CLIP, trained on its own drawings, with no part in "
        f"making the pictures. It sees the background only: people are painted grey.{known}"
    )


def write_report(document: Path, blocks: Sequence[Block], results: dict[str, Any]) -> None:
    """The Markdown file, and beside it the JSON with all results."""
    write_whole(document.with_suffix(".json"), as_json(results))
    write_whole(document, as_markdown(blocks, document.parent))


def write_copies(document: Path, blocks: Sequence[Block], results: dict[str, Any]) -> None:
    """A CSV with a line for each picture, and the report as one HTML file; both lie beside the Markdown file."""
    rows = results["pictures"]
    text = io.StringIO()
    table = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    table.writeheader()
    table.writerows({name: csv_cell(value) for name, value in row.items()} for row in rows)
    write_whole(document.with_suffix(".csv"), text.getvalue())
    title = next(block.text for block in blocks if isinstance(block, Heading))
    write_whole(document.with_suffix(".html"), as_html(title, blocks))


def csv_cell(value: Any) -> Any:
    """A value of the table; what a spreadsheet would take for a formula is marked as text."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value


def as_json(results: dict[str, Any]) -> str:
    """The results, with one line for each entry and one for each picture."""
    lines = []
    for name, value in results.items():
        entry = json.dumps(value)
        if name == "pictures":
            entry = "[\n  " + ",\n  ".join(json.dumps(picture) for picture in value) + "\n ]"
        lines.append(f" {json.dumps(name)}: {entry}")
    return "{\n" + ",\n".join(lines) + "\n}\n"
