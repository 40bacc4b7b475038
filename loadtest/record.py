"""What a load test notes: a sample for each job, and the load and the server's metrics over time."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Sample:
    """One job.

    Attributes:
        kind: of `jobs.KINDS`, and ``preset`` of its request.
        intended: when it should have begun, in seconds since the test began; in a closed model, when it did.
        seconds: from then to its end.
        outcome: see `jobs.outcome_of`; or ``dropped``: too many were in flight, so it never began.
        times: of parts of a stream, in seconds.
    """

    kind: str
    preset: str
    intended: float
    seconds: float
    outcome: str
    reason: str = ""
    times: dict[str, float] = field(default_factory=dict)

    @property
    def job(self) -> str:
        """Class of jobs that are to be compared: kind and preset."""
        return f"{self.kind} {self.preset}"


@dataclass(frozen=True)
class Moment:
    """The state of things at one time.

    Attributes:
        at: seconds since the test began.
        level: users, or arrivals a second.
        in_flight: jobs under way, as seen from here.
        server: sums of the server's metrics over its workers.
    """

    at: float
    level: float
    in_flight: int
    server: dict[str, float] = field(default_factory=dict)


@dataclass
class Record:
    """All samples and moments of a test.

    Attributes:
        began: when the test began, in seconds since 1970: processes begin at different times.
        killed: workers that the test killed.
        service: the seconds of pictures in the workers, without waiting, if the server's log is known.
    """

    samples: list[Sample] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)
    began: float = field(default_factory=time.time)
    killed: int = 0
    service: list[float] = field(default_factory=list)

    def restart(self) -> None:
        """Forgets everything: a test begins."""
        self.samples.clear()
        self.moments.clear()
        self.killed = 0
        self.began = time.time()

    def drain(self) -> dict[str, Any]:
        """The samples so far, ready for JSON; they are forgotten."""
        samples, self.samples = self.samples, []
        return {"began": self.began, "samples": [asdict(sample) for sample in samples]}

    def add(self, drained: dict[str, Any]) -> None:
        """Adds what `drain` gave in another process."""
        later = drained["began"] - self.began
        samples = [Sample(**sample) for sample in drained["samples"]]
        self.samples += [replace(sample, intended=sample.intended + later) for sample in samples]
