"""Where a step's time goes: by phase and kind of kernel, and on a CPU by oneDNN's primitives and their layouts.

Beside the time stand the operations and bytes of each kind, and how near it comes to the device's measured rates.
"""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from genartisan.method.engine import PHASES

KINDS = {  # of kernels, by a part of the operator's name; the first that fits
    "resampling": ("grid_sampl", "upsample", "interpolate"),
    "matrix product": ("mm", "linear", "matmul"),
    "convolution": ("conv",),
    "attention": ("attention",),
    "norm": ("norm",),
    "copy": ("copy", "clone", "contiguous", "cat", "_to_copy", "fill", "zero", "pad", "reorder", "index", "select"),
    "optimiser": ("adam",),
    "sum": ("sum", "mean", "std", "var"),
    "elementwise": ("",),
}
FORWARD = [phase for phase in PHASES if phase not in ("backward", "adam")]
ORDER = [*FORWARD, *(f"{phase}, backward" for phase in ("loss", *reversed(FORWARD))), "adam"]  # of a step's phases
PRIMITIVES = 20  # of oneDNN, that take most
FREE = ("empty", "new_empty", "_unsafe_view")  # operators that move nothing
OVERWRITING = ("copy_", "fill_", "zero_")  # those that do not read what they write to
WORK = "genartisan-work"  # first word of the events of `Weighed`
NOTHING = 0, 0

Place = tuple[str, str]  # a phase and a kind


def kind_of(operator: str) -> str:
    """The kind of an operator such as ``aten::addmm``."""
    name = operator.lower()
    return next(kind for kind, parts in KINDS.items() if any(part in name for part in parts))


class Rates(NamedTuple):
    """What the device reaches in practice: FLOP/s of a large matrix product, bytes/s of a large copy."""

    flops: float
    bytes: float

    def seconds(self, flops: float, moved: float) -> float:
        """The shortest time for so many operations and bytes."""
        return max(flops / self.flops, moved / self.bytes)


class Weighed(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records what each operator computes, and what it reads and writes, as an event within the operator's."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        packet = func.overloadpacket
        if not func.is_view and not packet.__name__.startswith(FREE):
            flops = flop_registry[packet](*args, **kwargs, out_val=result) if packet in flop_registry else 0
            with record_function(f"{WORK} {packet.__name__} {flops} {moved_by(func, args, kwargs, result)}"):
                pass
        return result


def moved_by(func: Any, args: Any, kwargs: Any, result: Any) -> int:
    """Bytes that an operator reads and writes, if each tensor passes once."""
    name, schema = func.overloadpacket.__name__, func._schema.arguments
    given = [*zip(schema, args, strict=False), *((each, kwargs[each.name]) for each in schema if each.name in kwargs)]
    writes = [value for each, value in given if each.alias_info is not None and each.alias_info.is_write]
    reads = [value for each, value in given if not each.is_out]
    if name.startswith("new_") or name.endswith("_like"):
        reads = []
    elif name in OVERWRITING:
        reads = reads[1:]
    return sum(map(size_of, tensors_in(reads))) + sum(map(size_of, tensors_in(result) or tensors_in(writes)))


def tensors_in(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def size_of(tensor: Tensor) -> int:
    """The bytes of a tensor; what is expanded counts once."""
    return min(tensor.nbytes, tensor.untyped_storage().nbytes())


def profiled(step: Callable[[], object], device: torch.device, rates: Rates) -> dict[str, Any]:
    """The profile of a warm step; three steps are taken, or two on a GPU.

    Returns:
        ``kernels``: milliseconds and launches by phase, the backward pass by the phase that it belongs to, and by kind,
        with GFLOP, megabytes read and written, and the share of ``rates`` that this comes to, which data in a cache
        may exceed; an operator's inner copies have time, but no bytes, of their own. ``onednn``: on a CPU, of each
        primitive its implementation, layouts, calls and milliseconds, the slowest first.
    """
    cuda = device.type == "cuda"
    spent = times(events_of(step, cuda), cuda)
    with Weighed():  # type: ignore[no-untyped-call]
        worked = work(events_of(step, cuda=False))
    table = []
    for place in sorted(spent | worked, key=lambda place: -spent.get(place, NOTHING)[0]):
        (microseconds, calls), (flops, moved) = spent.get(place, NOTHING), worked.get(place, NOTHING)
        share = rates.seconds(flops, moved) / (microseconds / 1e6) if microseconds else 0.0
        table.append({
            "phase": place[0], "kind": place[1], "ms": round(microseconds / 1000, 3), "calls": calls,
            "gflop": round(flops / 1e9, 3), "mb": round(moved / 1e6, 2), "share_of_rate": round(share, 3),
        })  # fmt: skip
    return {"kernels": table, **({} if cuda else {"onednn": primitives(step)})}


def events_of(step: Callable[[], object], cuda: bool) -> Sequence[Any]:
    """The operators of a step, as PyTorch's profiler tells them."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    # In one thread, or the backward pass would lie outside its phase.
    with torch.autograd.set_multithreading_enabled(False), profile(activities=activities) as profiler:
        step()
    return profiler.events() or []


def table_of(profile: dict[str, Any], most: int = 20) -> list[str]:
    """The rows that take most, as lines."""
    lines = [
        f"{row['ms']:9.1f} ms {row['calls']:6} x {row['gflop']:8.1f} GFLOP {row['mb']:8.0f} MB "
        f"{row['share_of_rate']:6.0%} of the rate  {row['phase']}: {row['kind']}"
        for row in profile["kernels"][:most]
    ]
    for row in profile.get("onednn", [])[:most]:
        name = " ".join(row[part] for part in ("primitive", "implementation", "layouts"))
        lines.append(f"{row['ms']:9.1f} ms {row['calls']:6} x  oneDNN {name}")
    return lines


def draw_profiles(profiles: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Bars of a step's phases in their order, divided into kinds of kernels; a line where the measured rates would end.

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
        floors = dict.fromkeys(lefts, 0.0)
        for row in rows:
            floors[row["phase"]] += row["ms"] * row["share_of_rate"]
        axes.scatter(list(floors.values()), list(floors), marker="|", s=200, color="black", label="at measured rates")
        axes.invert_yaxis()
        axes.set_title(f"{title}: {sum(lefts.values()):.0f} ms", fontsize="medium")
    handles, labels = all_axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize="small", frameon=False, loc="lower center", ncols=len(handles) // 2 + 1)
    all_axes[-1, 0].set_xlabel("milliseconds of a step, profiled")
    figure.tight_layout(rect=(0, 0.16 / len(profiles), 1, 1))
    figure.savefig(path, dpi=110)


def times(events: Sequence[Any], cuda: bool) -> dict[Place, tuple[float, int]]:
    """Microseconds and calls of operators, without those that they call, by phase and kind."""
    forward = forward_phases(events)
    spent, calls = defaultdict[Place, float](float), Counter[Place]()
    for event in events:
        time = event.self_device_time_total if cuda else event.self_cpu_time_total
        place = place_of(event, event.name, forward)
        if event.name not in PHASES and place is not None and time:
            spent[place] += time
            calls[place] += 1
    return {place: (spent[place], calls[place]) for place in spent}


def work(events: Sequence[Any]) -> dict[Place, tuple[int, int]]:
    """Operations and bytes that `Weighed` recorded, by phase and kind."""
    forward = forward_phases(events)
    flops, moved = Counter[Place](), Counter[Place]()
    for event in events:
        mark, *facts = event.name.split()
        if mark == WORK and (place := place_of(event, facts[0], forward)) is not None:
            flops[place] += int(facts[1])
            moved[place] += int(facts[2])
    return {place: (flops[place], moved[place]) for place in moved}


def forward_phases(events: Sequence[Any]) -> dict[int, str]:
    """The phase of each operator of the forward pass, by its number in the autograd graph."""
    forward = dict[int, str]()
    for event in events:
        phase = phase_of(event)
        if event.sequence_nr >= 0 and phase not in (None, "backward"):
            forward.setdefault(event.sequence_nr, str(phase))
    return forward


def place_of(event: Any, operator: str, forward: dict[int, str]) -> Place | None:
    """The phase and kind of an event that stands for an operator; None outside of all phases."""
    phase = phase_of(event)
    if phase == "backward":
        phase = f"{forward.get(node_of(event), 'loss')}, backward"
    return None if phase is None else (phase, kind_of(operator))


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
