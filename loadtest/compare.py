"""Compares two load tests: ``python loadtest/compare.py BEFORE/report.json AFTER/report.json``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from genartisan.io.documents import Heading, Table, Text, as_markdown

MEASURES = {"p50": "p50, s", "p95": "p95, s", "a_minute": "a minute", "failed": "failed", "refused": "refused"}


def compared(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Both tests side by side, as Markdown."""
    differing = [
        f"{name}: {before['described'].get(name)} → {after['described'].get(name)}"
        for name in {**before["described"], **after["described"]}
        if before["described"].get(name) != after["described"].get(name)
    ]
    rows = [
        (job, *(change(before["jobs"].get(job), after["jobs"].get(job), measure) for measure in MEASURES))
        for job in sorted({**before["jobs"], **after["jobs"]})
    ]
    dates = Text(f"{before['date']} → {after['date']}. " + ("; ".join(differing) or "The same load and settings."))
    return as_markdown(
        [Heading("Load tests compared", 1), dates, Table(("Job", *MEASURES.values()), tuple(rows))], Path()
    )


def change(before: dict[str, Any] | None, after: dict[str, Any] | None, measure: str) -> str:
    """A measure before and after, and by what part it changed."""
    old, new = (None if row is None else row[measure] for row in (before, after))
    shown = " → ".join("–" if value is None else f"{value:.3g}" for value in (old, new))
    return shown if not old or new is None else f"{shown} ({new / old - 1:+.0%})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    arguments = parser.parse_args()
    print(compared(*(json.loads(path.read_text()) for path in (arguments.before, arguments.after))))


if __name__ == "__main__":
    main()
