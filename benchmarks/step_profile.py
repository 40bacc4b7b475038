"""Where a step's time goes: by phase and kind of kernel, and on a CPU by oneDNN's primitives and their layouts."""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from genartisan.method.engine import PHASES

KINDS = {  # of kernels, by a part of the operator's name; the first that fits
    "matrix product": ("mm", "linear", "matmul"),
    "convolution": ("conv",),
    "attention": ("attention",),
    "norm": ("norm",),
    "resampling": ("grid_sampl", "upsample", "interpolate"),
    "copy": ("copy", "clone", "contiguous", "cat", "_to_copy", "fill", "zero", "pad", "reorder", "index", "select"),
    "optimiser": ("adam",),
    "sum": ("sum", "mean", "std", "var"),
    "elementwise": ("",),
}
FORWARD = [phase for phase in PHASES if phase not in ("backward", "adam")]
ORDER = [*FORWARD, *(f"{phase}, backward" for phase in ("loss", *reversed(FORWARD))), "adam"]  # of a step's phases
PRIMITIVES = 20  # of oneDNN, that take most


def kind_of(operator: str) -> str:
    """The kind of an operator such as ``aten::addmm``."""
    name = operator.lower()
    return next(kind for kind, parts in KINDS.items() if any(part in name for part in parts))


def profiled(step: Callable[[], object], device: torch.device) -> dict[str, Any]:
    """The profile of one warm step.

    Returns:
        ``kernels``: milliseconds and launches by phase, the backward pass by the phase that it belongs to, and by kind;
        ``onednn``: on a CPU, of each primitive its implementation, layouts, calls and milliseconds, the slowest first.
    """
    cuda = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    # In one thread, or the backward pass would lie outside its phase.
    with torch.autograd.set_multithreading_enabled(False), profile(activities=activities) as profiler:
        step()
    rows = by_phase_and_kind(profiler.events() or [], cuda)
    table = [
        {"phase": phase, "kind": kind, "ms": round(spent / 1000, 3), "calls": calls}
        for (phase, kind), (spent, calls) in sorted(rows.items(), key=lambda row: -row[1][0])
    ]
    return {"kernels": table, **({} if cuda else {"onednn": primitives(step)})}


def table_of(profile: dict[str, Any], most: int = 20) -> list[str]:
    """The rows that take most, as lines."""
    lines = [
        f"{row['ms']:9.1f} ms {row['calls']:6} x  {row['phase']}: {row['kind']}" for row in profile["kernels"][:most]
    ]
    for row in profile.get("onednn", [])[:most]:
        name = " ".join(row[part] for part in ("primitive", "implementation", "layouts"))
        lines.append(f"{row['ms']:9.1f} ms {row['calls']:6} x  oneDNN {name}")
    return lines


def draw_profiles(profiles: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Bars of a step's phases in their order, divided into kinds of kernels.

    Args:
        profiles: ``kernels`` of `profiled`, by title.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    kinds = {row["kind"] for rows in profiles.values() for row in rows}
    colors = {kind: plt.get_cmap("tab10")(number) for number, kind in enumerate(KINDS) if kind in kinds}
    figure, all_axes = plt.subplots(len(profiles), figsize=(8, 3 * len(profiles)), sharex=True, squeeze=False)
    for axes, (title, rows) in zip(all_axes[:, 0], profiles.items(), strict=True):
        phases = {row["phase"] for row in rows}
        lefts = dict.fromkeys((phase for phase in ORDER if phase in phases), 0.0)
        for kind, color in colors.items():
            spent = dict.fromkeys(lefts, 0.0) | {row["phase"]: row["ms"] for row in rows if row["kind"] == kind}
            widths = [spent[phase] for phase in lefts]
            axes.barh(list(lefts), widths, left=list(lefts.values()), label=kind, color=color)
            lefts = {phase: left + spent[phase] for phase, left in lefts.items()}
        axes.invert_yaxis()
        axes.set_title(f"{title}: {sum(lefts.values()):.0f} ms", fontsize="medium")
    handles, labels = all_axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize="small", frameon=False, loc="lower center", ncols=(len(kinds) + 1) // 2)
    all_axes[-1, 0].set_xlabel("milliseconds of a step, profiled")
    figure.tight_layout(rect=(0, 0.16 / len(profiles), 1, 1))
    figure.savefig(path, dpi=110)


def by_phase_and_kind(events: Sequence[Any], cuda: bool) -> dict[tuple[str, str], tuple[float, int]]:
    """Microseconds and calls of operators, without those that they call, by phase and kind."""
    forward = dict[int, str]()  # number of an operator in the autograd graph -> its phase
    for event in events:
        phase = phase_of(event)
        if event.sequence_nr >= 0 and phase not in (None, "backward"):
            forward.setdefault(event.sequence_nr, str(phase))
    spent, calls = defaultdict[tuple[str, str], float](float), Counter[tuple[str, str]]()
    for event in events:
        time = event.self_device_time_total if cuda else event.self_cpu_time_total
        phase = phase_of(event)
        if event.name in PHASES or phase is None or not time:
            continue
        if phase == "backward":
            phase = f"{forward.get(node_of(event), 'loss')}, backward"
        place = (phase, kind_of(event.name))
        spent[place] += time
        calls[place] += 1
    return {place: (spent[place], calls[place]) for place in spent}


def phase_of(event: Any) -> str | None:
    """The phase in which an operator runs; None outside."""
    return next((each.name for each in lineage(event) if each.name in PHASES), None)


def node_of(event: Any) -> int:
    """The number, in the autograd graph, of the operator whose gradient an event belongs to; -1 if it has none."""
    return max((each.sequence_nr for each in lineage(event)), default=-1)


def lineage(event: Any) -> Iterator[Any]:
    """An event, and what called it."""
    while event is not None:
        yield event
        event = event.cpu_parent


def primitives(step: Callable[[], object]) -> list[dict[str, Any]]:
    """oneDNN's primitives in a step; matrix products in fp32 are MKL's, and not among them."""
    spent, calls = defaultdict[tuple[str, ...], float](float), Counter[tuple[str, ...]]()
    verbose = torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON)  # type: ignore[no-untyped-call]
    with printed_by_libraries() as lines, verbose:
        step()
    for line in lines:
        fields = line.strip().split(",")
        if fields[0] == "onednn_verbose" and "exec" in fields[:4]:
            place = (fields[5], fields[6], fields[8])
            spent[place] += float(fields[-1])
            calls[place] += 1
    names = ("primitive", "implementation", "layouts")
    slowest = sorted(spent.items(), key=lambda row: -row[1])[:PRIMITIVES]
    return [
        {**dict(zip(names, place, strict=True)), "calls": calls[place], "ms": round(milliseconds, 3)}
        for place, milliseconds in slowest
    ]


@contextmanager
def printed_by_libraries() -> Iterator[list[str]]:
    """The lines that C libraries print to standard output within the block; there after it."""
    lines: list[str] = []
    sys.stdout.flush()
    saved = os.dup(1)
    with tempfile.TemporaryFile("w+") as file:
        os.dup2(file.fileno(), 1)
        try:
            yield lines
        finally:
            ctypes.CDLL(None).fflush(None)
            os.dup2(saved, 1)
            os.close(saved)
        file.seek(0)
        lines += file
