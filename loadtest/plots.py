"""The report's plots: latency over time, load and server beside it, throughput against load."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jobs import PICTURES
from matplotlib.figure import Figure
from processes import JAVA, WAITING, WORKERS

if TYPE_CHECKING:
    from record import Record
    from report import Summary

BINS = 40  # of time
COLOURS = {
    "ok": "#2a7f62",
    "refused": "#d08a1d",
    "dropped": "#8a6fb0",
    "late": "#b5462f",
    "wrong": "#7c1f1f",
    "failed": "#b5462f",
}


def plot(summary: Summary, record: Record, path: Path) -> None:
    """Draws the plots into a PNG."""
    figure = Figure(figsize=(12, 11 if summary.levels else 8.5), layout="constrained")
    axes = figure.subplots(4 if summary.levels else 3, 1)
    latency(axes[0], record)
    outcomes(axes[1], record)
    server(axes[2], record)
    if summary.levels:
        throughput(axes[3], summary)
    figure.savefig(path, dpi=90)


def latency(axis: Any, record: Record) -> None:
    """Percentiles of the seconds that pictures took, over the time at which their jobs should have begun."""
    done = [(each.intended, each.seconds) for each in record.samples if each.outcome == "ok" and each.kind in PICTURES]
    if done:
        began, seconds = np.array(done).T
        edges = np.linspace(0, began.max() + 1e-9, BINS + 1)
        which = np.clip(np.digitize(began, edges) - 1, 0, BINS - 1)
        used = sorted(set(which.tolist()))
        for share in (0.5, 0.95, 1.0):
            values = [np.quantile(seconds[which == number], share, method="inverted_cdf") for number in used]
            axis.plot(edges[used], values, ".-", label="longest" if share == 1 else f"p{share * 100:.0f}")
        axis.set_ylim(bottom=0)
        axis.legend()
    axis.set(title="Seconds until a picture", xlabel="seconds since the test began", ylabel="s")


def outcomes(axis: Any, record: Record) -> None:
    """Jobs by outcome, over the time at which they ended, and the load."""
    ends: dict[str, list[float]] = {}
    for sample in record.samples:
        ends.setdefault(sample.outcome, []).append(sample.intended + sample.seconds)
    if ends:
        names = sorted(ends, key=list(COLOURS).index)
        axis.hist(
            [ends[name] for name in names], BINS, stacked=True, label=names, color=[COLOURS[name] for name in names]
        )
        axis.legend(loc="upper left")
    axis.set(title="Jobs that ended, and the load", xlabel="seconds since the test began", ylabel="jobs")
    load = axis.twinx()
    load.step(
        [each.at for each in record.moments], [each.level for each in record.moments], "k", where="post", alpha=0.5
    )
    load.set_ylabel("users or arrivals a second")
    load.set_ylim(bottom=0)


def server(axis: Any, record: Record) -> None:
    """Jobs in flight, and what the server says."""
    at = [each.at for each in record.moments]
    axis.step(at, [each.in_flight for each in record.moments], where="post", label="in flight here")
    for name in ("in progress", WAITING, "worker starts"):
        if any(name in each.server for each in record.moments):
            values = [each.server.get(name, float("nan")) for each in record.moments]
            axis.step(at, values, where="post", label=f"{name} (server)")
    axis.set(title="In flight, and the server's metrics", xlabel="seconds since the test began")
    axis.set_ylim(bottom=0)
    memory = axis.twinx()
    for name, line in (("peak memory", "k:"), (WORKERS, "k--"), (JAVA, "k-.")):
        if any(name in each.server for each in record.moments):
            values = [each.server.get(name, float("nan")) / 1e9 for each in record.moments]
            memory.plot(at, values, line, linewidth=0.8, label=f"{name}, GB")
    memory.set_ylabel("memory, GB")
    memory.set_ylim(bottom=0)
    lines = (*axis.get_lines(), *memory.get_lines())
    axis.legend(handles=lines, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=4)


def throughput(axis: Any, summary: Summary) -> None:
    """Pictures a minute, and p95, against the load."""
    levels = [level for level, _ in summary.levels]
    axis.plot(levels, [row.a_minute for _, row in summary.levels], "o-", color=COLOURS["ok"], label="pictures a minute")
    axis.set_ylim(bottom=0)
    axis.set(title="Throughput against load", xlabel="users or arrivals a second", ylabel="pictures a minute")
    waits = axis.twinx()
    waits.plot(levels, [row.p95 for _, row in summary.levels], "s--", color=COLOURS["refused"], label="p95")
    waits.set_ylabel("p95, s (dashed)")
    waits.set_ylim(bottom=0)
