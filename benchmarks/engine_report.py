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
    """Bars of seconds per step, divided into phases."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    contestants, settings = result["contestants"], result["settings"]
    figure, axes = plt.subplots(figsize=(8, 1.2 + 0.6 * len(contestants)))
    names = list(contestants)[::-1]
    lefts = dict.fromkeys(names, 0.0)
    for phase in PHASES:
        shares = [contestants[name].get("phases", {}).get(phase, 0.0) for name in names]
        axes.barh(names, shares, left=[lefts[name] for name in names], label=phase)
        lefts = {name: lefts[name] + share for name, share in zip(names, shares, strict=True)}
    for name in names:
        total = contestants[name]["seconds_a_step"]
        axes.barh(name, max(0.0, total - lefts[name]), left=lefts[name], color="0.75")
        axes.text(max(total, lefts[name]), name, f" {total:.3g} s", va="center")
    axes.set_xlabel(f"seconds per step, {settings['size']} px, {settings['patches']} patches")
    axes.margins(x=0.15)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(PHASES), fontsize="small", frameon=False)
    figure.savefig(path, dpi=110, bbox_inches="tight")
