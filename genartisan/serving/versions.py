"""The versions of a model that a server has, and their workers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Worker:
    """A process that makes pictures; ``status`` is TorchServe's word, such as READY."""

    pid: int
    status: str


@dataclass(frozen=True)
class Version:
    """A version of the model.

    Attributes:
        name: as the archive says it.
        archive: its file in the store.
        default: whether it answers requests that name no version.
        workers: in the order in which TorchServe keeps them: it removes the last one first.
        waiting: requests in its queue.
    """

    name: str
    archive: str
    default: bool
    workers: tuple[Worker, ...]
    waiting: int

    @property
    def ready(self) -> int:
        """Workers that take requests."""
        return sum(worker.status == "READY" for worker in self.workers)
