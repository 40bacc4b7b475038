"""Gates: what a load test must reach for its exit status to be 0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from report import Summary


@dataclass(frozen=True)
class Gates:
    """What must be reached.

    Attributes:
        failures: largest share of jobs that failed; those refused because the server is busy do not count.
        p95: most seconds by job, such as ``picture draft``.
        throughput: fewest pictures a minute.
    """

    failures: float
    p95: Mapping[str, float]
    throughput: float


def failures_of(summary: Summary, gates: Gates) -> list[str]:
    """What was missed, a sentence each."""
    missed = []
    if not summary.jobs:
        return ["nothing was answered"]
    if (share := summary.share_failed) > gates.failures:
        missed.append(f"{share:.1%} of the jobs failed; at most {gates.failures:.1%} may")
    for job, most in gates.p95.items():
        if job not in summary.jobs:
            missed.append(f"no {job!r} to measure; there were {', '.join(summary.jobs)}")
        elif (p95 := summary.jobs[job].p95) is None or p95 > most:
            missed.append(f"p95 of {job} is {'unknown' if p95 is None else f'{p95:.2f} s'}; it may be {most:g} s")
    if summary.pictures_a_minute < gates.throughput:
        missed.append(f"{summary.pictures_a_minute:.1f} pictures a minute; at least {gates.throughput:g} are wanted")
    return missed
