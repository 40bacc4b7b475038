"""How many workers a rate of pictures needs: ``python loadtest/sizing.py report.json --rate 20 --p95 10 --cost 1.2``.

``--against open.json --workers 1`` compares the simulation with a test in the open model instead: same arrivals.

The report must come from a test with ``--state``, which has the workers' times from the server's log, or with a single
user, where nothing waits for anything else. A discrete-event simulation draws from them: Poisson arrivals, one queue,
first come first served, as TorchServe does it.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import simpy
from jobs import PICTURES

from genartisan.io.documents import Table, as_markdown

JOBS = 20_000  # of a simulation
SETTLING = 1_000  # jobs at its begin that do not count: the queue is still empty
MOST_WORKERS = 1_000
REPEATS = 50  # simulations of a test, each with other service times


@dataclass(frozen=True)
class Simulated:
    """What a number of workers achieves.

    Attributes:
        utilisation: share of their time in which workers are busy.
        wait: mean seconds in the queue.
        p50, p95: seconds from arrival to picture.
    """

    workers: int
    utilisation: float
    wait: float
    p50: float
    p95: float


def simulate(service: Sequence[float], rate: float, workers: int, jobs: int = JOBS, seed: int = 0) -> Simulated:
    """Simulates ``jobs`` arrivals.

    Args:
        service: seconds that jobs take a worker, to draw from.
        rate: arrivals a second; less than the workers can serve, or the queue grows for ever.
    """
    rng = random.Random(seed)
    waits, totals = served(service, (rng.expovariate(rate) for _ in range(SETTLING + jobs)), workers, rng)
    p50, p95 = np.quantile(totals[SETTLING:], (0.5, 0.95))
    busy = rate * float(np.mean(service)) / workers
    return Simulated(workers, busy, float(np.mean(waits[SETTLING:])), float(p50), float(p95))


def served(
    service: Sequence[float], gaps: Iterable[float], workers: int, rng: random.Random
) -> tuple[list[float], list[float]]:
    """Seconds in the queue, and seconds in all, of jobs that arrive ``gaps`` seconds after each other."""
    environment = simpy.Environment()
    pool, waits, totals = simpy.Resource(environment, workers), list[float](), list[float]()

    def job(seconds: float) -> Generator[Any, Any, None]:
        arrived = environment.now
        with pool.request() as turn:
            yield turn
            waits.append(environment.now - arrived)
            yield environment.timeout(seconds)
        totals.append(environment.now - arrived)

    def arrivals() -> Generator[Any, Any, None]:
        for gap in gaps:
            yield environment.timeout(gap)
            environment.process(job(rng.choice(service)))

    environment.process(arrivals())
    environment.run()
    return waits, totals


def compared(service: Sequence[float], report: dict[str, Any], workers: int) -> dict[str, tuple[float, float]]:
    """p50 and p95 of a test in the open model, measured and simulated with its arrivals.

    Raises:
        ValueError: the test is in the closed model, or pictures are missing.
    """
    if report["described"]["rate"] is None:
        raise ValueError("the report to compare with is not of a test with --rate")
    pictures = sorted((at, seconds, outcome) for kind, _, at, seconds, outcome in report["samples"] if kind in PICTURES)
    if not pictures or any(outcome != "ok" for *_, outcome in pictures):
        raise ValueError("a picture of the test to compare with was not made: what is simulated never fails")
    gaps, totals = np.diff([0.0, *(at for at, *_ in pictures)]).tolist(), list[float]()
    for seed in range(REPEATS):
        totals += served(service, gaps, workers, random.Random(seed))[1]
    measured = [seconds for _, seconds, _ in pictures]
    return {
        f"p{100 * share:.0f}": (float(np.quantile(measured, share)), float(np.quantile(totals, share)))
        for share in (0.5, 0.95)
    }


def sized(service: Sequence[float], rate: float, p95: float, jobs: int = JOBS) -> list[Simulated]:
    """From the fewest workers that keep up to the fewest that answer within ``p95`` seconds.

    Raises:
        ValueError: no number of workers does, because a job alone takes longer.
    """
    if float(np.quantile(service, 0.95)) > p95:
        raise ValueError(
            f"p95 of a job alone is {np.quantile(service, 0.95):.2f} s: no number of workers meets {p95:g} s"
        )
    workers, steps = int(rate * float(np.mean(service))) + 1, list[Simulated]()
    while not steps or (steps[-1].p95 > p95 and workers <= MOST_WORKERS):
        steps.append(simulate(service, rate, workers, jobs))
        workers += 1
    return steps


def service_times(report: dict[str, Any]) -> list[float]:
    """The seconds of the pictures in a report, without waiting.

    Raises:
        ValueError: several users asked at a time, and the workers' times are not known.
    """
    if report.get("service"):
        return list(report["service"])
    if report["described"]["rate"] is not None or report["described"]["levels"] or report["described"]["users"] != 1:
        raise ValueError("the report is not of a test with --state or --users 1: its times include waiting")
    times = [seconds for kind, _, _, seconds, outcome in report["samples"] if kind in PICTURES and outcome == "ok"]
    if not times:
        raise ValueError("the report has no pictures")
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path, help="report.json of a load test with --state or --users 1")
    parser.add_argument("--rate", type=float, help="pictures a minute")
    parser.add_argument("--p95", type=float, help="seconds within which 95 %% are to be answered")
    parser.add_argument("--cost", type=float, default=0.0, help="of a worker, an hour")
    parser.add_argument("--against", type=Path, metavar="REPORT", help="report.json of a test with --rate")
    parser.add_argument("--workers", type=int, default=1, help="of the server of that test (default: 1)")
    arguments = parser.parse_args()
    if arguments.against is None and None in (arguments.rate, arguments.p95):
        parser.error("--rate and --p95 are needed, or --against")
    try:
        times = service_times(json.loads(arguments.report.read_text()))
        if arguments.against is not None:
            both = compared(times, json.loads(arguments.against.read_text()), arguments.workers)
            table = tuple((name, f"{was:.2f} s", f"{simulated:.2f} s") for name, (was, simulated) in both.items())
            print(as_markdown([Table(("", "Measured", "Simulated"), table)], Path()))
            return
        steps = sized(times, arguments.rate / 60, arguments.p95)
    except ValueError as error:
        parser.error(str(error))
    rows = tuple(
        (
            str(each.workers), f"{each.utilisation:.0%}", f"{each.wait:.2f} s", f"{each.p50:.2f} s",
            f"{each.p95:.2f} s", f"{each.workers * arguments.cost / arguments.rate / 60 * 1000:.2f}",
        )
        for each in steps
    )  # fmt: skip
    print(as_markdown([Table(("Workers", "Busy", "Mean wait", "p50", "p95", "Cost of 1000"), rows)], Path()))


if __name__ == "__main__":
    main()
