"""What engine.py measured, as lines and as a plot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from step_profile import table_of

from genartisan.method.engine import PHASES


def summary(result: dict[str, Any]) -> str:
    """A line per contestant."""
    lines = []
    theirs = result["contestants"].get("CLIPstyler")
    for name, each in result["contestants"].items():
        line = f"{name:28} {each['seconds_a_step']:8.4f} s a step {each['seconds_a_run']:8.2f} s a run"
        if theirs and each is not theirs:
            line += f"  {theirs['seconds_a_step'] / each['seconds_a_step']:5.2f} x CLIPstyler"
        if "share_of_matmul_rate" in each:
            line += f"  {each['gflop_a_step']:.0f} GFLOP, {each['share_of_matmul_rate']:.0%} of a matrix product's rate"
        lines.append(line)
    for name, each in result["contestants"].items():
        if "profile" in each:
            lines += ["", f"{name}:", *table_of(each["profile"])]
    for name, together in result["seconds_a_step_of_so_many_photos"].items():
        for count, seconds in together.items():
            lines.append(f"{name}: {count} photos {seconds:.4f} s a step, {seconds / count:.4f} s a photo")
    return "\n".join(lines)


def draw(result: dict[str, Any], path: Path) -> None:
    """Bars of seconds per step, divided into the phases of a profiled step; what they leave is grey.

    A profiled step may take longer, by what the profiler adds: its phases are then scaled to the bar.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    contestants, settings = result["contestants"], result["settings"]
    figure, axes = plt.subplots(figsize=(8, 1.2 + 0.6 * len(contestants)))
    names = list(contestants)[::-1]
    totals = [contestants[name]["seconds_a_step"] for name in names]
    axes.barh(names, totals, color="0.75")
    parts = [scaled(contestants[name].get("phases", {}), total) for name, total in zip(names, totals, strict=True)]
    lefts = [0.0] * len(names)
    for phase in PHASES:
        widths = [part.get(phase, 0.0) for part in parts]
        axes.barh(names, widths, left=lefts, label=phase)
        lefts = [left + width for left, width in zip(lefts, widths, strict=True)]
    for name, total in zip(names, totals, strict=True):
        axes.text(total, name, f" {total:.3g} s", va="center")
    axes.set_xlabel(f"seconds per step, {settings['size']} px, {settings['patches']} patches")
    axes.set_xlim(0, 1.12 * max(totals, default=1.0))
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(PHASES), fontsize="small", frameon=False)
    figure.savefig(path, dpi=110, bbox_inches="tight")


def scaled(phases: dict[str, float], total: float) -> dict[str, float]:
    """Seconds of each phase, together at most ``total``."""
    factor = min(1.0, total / (sum(phases.values()) or total))
    return {phase: factor * seconds for phase, seconds in phases.items()}
