"""Puts the reports of ``load.sh``, which calls this, into one small file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sizing import compared, service_times

from genartisan.evaluation.provenance import provenance

RUNS = ("alone", "knee", "soak", "open", "overload", "killed", "retried")
OUT = Path(__file__).resolve().parent / "results" / "load_cpu.json"


def main() -> None:
    folder = Path(sys.argv[1])
    reports = {name: json.loads((folder / name / "report.json").read_text()) for name in RUNS}
    both = compared(service_times(reports["open"]), reports["open"], 1)
    result: dict[str, Any] = {
        **provenance("benchmarks/load.sh", torch.device("cpu"), 0),
        **{name: {part: report[part] for part in ("words", "described", "levels")} for name, report in reports.items()},
        "simulation": {name: {"measured": was, "simulated": simulated} for name, (was, simulated) in both.items()},
        "overload_refused_seconds": refusals(reports["overload"]),
        "after_overload_seconds": after(reports["overload"]),
    }
    OUT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


def refusals(report: dict[str, Any]) -> dict[str, float]:
    """How many requests were refused, and how soon."""
    seconds = [each for *_, each, outcome in report["samples"] if outcome == "refused"]
    if not seconds:
        return {"n": 0}
    return {
        "n": len(seconds),
        "p50": float(np.median(seconds)),
        "p95": float(np.quantile(seconds, 0.95)),
        "longest": max(seconds),
    }


def after(report: dict[str, Any]) -> list[float]:
    """Seconds of the pictures that were asked for after the overload, which lasted from 40 to 100 s."""
    return [
        round(each, 2)
        for _, _, at, each, outcome in sorted(report["samples"], key=lambda row: row[2])
        if at > 100 and outcome == "ok"
    ]


if __name__ == "__main__":
    main()
