"""Users by the two models of load: closed, where each waits for its answer, and open, where jobs arrive by themselves.

In a closed model a slow server is asked less, so its latencies look better than its callers would find them
(coordinated omission). In the open model jobs arrive at a rate, whether or not earlier ones are answered, and latency
counts from the moment a job should have begun. Size a service by the open model, compare two versions of it by either.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

import gevent
from gevent.pool import Pool
from jobs import KINDS, Endpoint, outcome_of, reason_of
from levels import Level, level_at
from locust import User, task
from locust.exception import StopUser
from record import Record, Sample
from workload import Workload

if TYPE_CHECKING:
    from locust.env import Environment

IDLE = 0.1  # seconds between two looks at a level of 0
STOP_WITHIN = 10.0  # seconds for jobs under way when the test ends


@dataclass
class Test:
    """What all users of a process share.

    Attributes:
        mix: weights by kind of job.
        levels: the load over time, or none: as many users or arrivals as told.
        rate: arrivals a second of all processes together where there are no levels; None for a closed model.
        users: number of users that share the arrivals.
        began: the monotonic time at which it began.
        in_flight: jobs under way.
    """

    endpoint: Mapping[str, Any]
    workload: Workload
    mix: Mapping[str, float]
    levels: tuple[Level, ...]
    rate: float | None
    is_poisson: bool
    most_in_flight: int
    users: int
    seed: str
    record: Record = field(default_factory=Record)
    began: float = field(default_factory=time.monotonic)
    in_flight: int = 0
    numbers: Any = field(default_factory=count)

    def now(self) -> float:
        """Seconds since the test began."""
        return time.monotonic() - self.began

    def level(self) -> float | None:
        """Users or arrivals a second at present; None once the last level is over, or if it is Locust that knows."""
        if not self.levels:
            return self.rate
        level = level_at(self.levels, self.now())
        return None if level is None else level.value

    def perform(self, endpoint: Endpoint, rng: random.Random, intended: float, environment: Environment) -> None:
        """Does one job, notes its sample, and tells Locust."""
        kind = rng.choices(list(self.mix), list(self.mix.values()))[0]
        request = self.workload.draw(rng)
        error: Exception | None = None
        times: dict[str, float] = {}
        self.in_flight += 1
        try:
            times = KINDS[kind](endpoint, request, rng)
        except Exception as raised:
            error = raised
        finally:
            self.in_flight -= 1
        seconds, outcome = self.now() - intended, outcome_of(error)
        self.record.samples.append(Sample(kind, request.preset, intended, seconds, outcome, reason_of(error), times))
        environment.events.request.fire(  # type: ignore[no-untyped-call]
            request_type="gRPC" if kind == "grpc" else "HTTP",
            name=f"{kind} {request.preset}" + (" (refused)" if outcome == "refused" else ""),
            response_time=seconds * 1000,
            response_length=0,
            exception=None if outcome == "refused" else error,
            context={},
        )


class Caller(User):
    """One user of a closed model, or one source of an open one's arrivals."""

    environment: Any

    def on_start(self) -> None:
        test: Test | None = self.environment.test
        if test is None:  # aborted before it began
            return
        self.rng = random.Random(f"{test.seed} {next(test.numbers)}")
        self.endpoint = Endpoint(**test.endpoint)
        self.pool = Pool()

    def on_stop(self) -> None:
        if self.environment.test is None:
            return
        self.pool.join(timeout=STOP_WITHIN)
        self.pool.kill()
        self.endpoint.close()

    @task
    def work(self) -> None:
        test: Test | None = self.environment.test
        if test is None:
            raise StopUser
        if test.rate is None:
            test.perform(self.endpoint, self.rng, test.now(), self.environment)
        else:
            self.receive(test)

    def receive(self, test: Test) -> None:
        """Lets jobs arrive until the levels are over; Locust ends it before."""
        due = test.now()
        while (rate := test.level()) is not None:
            share = rate / test.users
            if share == 0:
                gevent.sleep(IDLE)
                due = test.now()
                continue
            due += self.rng.expovariate(share) if test.is_poisson else 1 / share
            gevent.sleep(max(0.0, due - test.now()))
            if len(self.pool) >= test.most_in_flight / test.users:
                test.record.samples.append(Sample("any", "any", due, 0.0, "dropped", "too many in flight"))
            else:
                self.pool.spawn(test.perform, self.endpoint, random.Random(self.rng.random()), due, self.environment)
        gevent.sleep(3600)
