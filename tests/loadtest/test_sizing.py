"""The simulation against formulas of queueing theory."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

pytest.importorskip("simpy")

from sizing import compared, served, service_times, simulate, sized

EXPONENTIAL = np.random.default_rng(0).exponential(1.0, 20_000).tolist()


def erlang_c_wait(load: float, workers: int) -> float:
    """Mean wait of an M/M/c queue whose jobs take 1 s in the mean (Erlang C)."""
    last = load**workers / math.factorial(workers) * workers / (workers - load)
    waits = last / (sum(load**k / math.factorial(k) for k in range(workers)) + last)
    return waits / (workers - load)


@pytest.mark.parametrize(("rate", "workers"), [(0.6, 1), (1.5, 2), (3.0, 4)])
def test_it_agrees_with_erlang_c(rate: float, workers: int) -> None:
    simulated = simulate(EXPONENTIAL, rate, workers, jobs=60_000, seed=1)
    load = rate * float(np.mean(EXPONENTIAL))
    assert simulated.wait == pytest.approx(erlang_c_wait(load, workers), rel=0.1)
    assert simulated.utilisation == pytest.approx(load / workers)


def test_it_agrees_with_pollaczek_and_khinchine() -> None:
    rng = random.Random(0)
    service = [rng.choice((0.5, 4.0)) for _ in range(5000)]
    rate, mean, square = 0.3, float(np.mean(service)), float(np.mean(np.square(service)))
    expected = rate * square / 2 / (1 - rate * mean)
    assert simulate(service, rate, 1, jobs=60_000).wait == pytest.approx(expected, rel=0.1)


def test_the_fewest_workers_that_meet_the_aim_come_last() -> None:
    steps = sized([1.0, 2.0, 3.0], rate=2.0, p95=4.0, jobs=5000)
    assert [each.workers for each in steps] == list(range(5, 5 + len(steps)))
    assert steps[-1].p95 <= 4.0
    assert all(each.p95 > 4.0 for each in steps[:-1])
    with pytest.raises(ValueError, match="no number of workers"):
        sized([5.0], rate=0.1, p95=4.0)


def test_only_times_without_waiting_are_service_times() -> None:
    report = {
        "described": {"rate": None, "levels": "", "users": 1},
        "samples": [
            ["picture", "draft", 0, 1.5, "ok"],
            ["picture", "draft", 0, 9, "late"],
            ["bad", "draft", 0, 1, "ok"],
        ],
    }
    assert service_times(report) == [1.5]
    assert service_times({"service": [2.0], **report}) == [2.0]
    for change in ({"users": 2}, {"rate": 1.0}, {"levels": "1x5"}):
        with pytest.raises(ValueError, match="--users 1"):
            service_times({**report, "described": {**report["described"], **change}})  # type: ignore[dict-item]


def test_a_test_is_simulated_with_its_own_arrivals() -> None:
    arrivals = [0.0, 0.5, 5.0]
    assert served([2.0], [0.0, 0.5, 4.5], 1, random.Random(0)) == ([0.0, 1.5, 0.0], [2.0, 3.5, 2.0])
    assert served([2.0], [0.0, 0.5, 4.5], 2, random.Random(0))[0] == [0.0, 0.0, 0.0]
    report = {
        "described": {"rate": 1.0},
        "samples": [["picture", "fast", at, 2.2, "ok"] for at in arrivals] + [["explain", "fast", 0, 9, "ok"]],
    }
    assert compared([2.0], report, 2) == {"p50": (2.2, 2.0), "p95": (pytest.approx(2.2), pytest.approx(2.0))}
    assert compared([2.0], report, 1)["p95"][1] > 3
    with pytest.raises(ValueError, match="never fails"):
        compared([2.0], {**report, "samples": [["picture", "fast", 0, 1, "refused"]]}, 1)
    with pytest.raises(ValueError, match="--rate"):
        compared([2.0], {**report, "described": {"rate": None}}, 1)
