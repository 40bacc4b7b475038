"""Model versions and their workers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Worker:
    """A worker process; ``status`` is TorchServe's, such as READY."""

    pid: int
    status: str


@dataclass(frozen=True)
class Version:
    """A registered version of the model.

    Attributes:
        name: version name in the archive.
        archive: file name in the store.
        default: whether it answers requests that name no version.
        workers: in TorchServe's order; it removes the last one first.
        waiting: queued requests.
    """

    name: str
    archive: str
    default: bool
    workers: tuple[Worker, ...]
    waiting: int

    @property
    def ready(self) -> int:
        """The number of READY workers."""
        return sum(worker.status == "READY" for worker in self.workers)
