"""Model versions and their workers."""

from __future__ import annotations

from dataclasses import dataclass

from genartisan.serving.defaults import MODEL
from genartisan.serving.describe import describe
from genartisan.serving.state import Server


@dataclass(frozen=True)
class Worker:
    """A worker process; ``status`` is TorchServe's, such as READY."""

    pid: int
    status: str


@dataclass(frozen=True)
class Version:
    """A registered version of a model.

    Attributes:
        model: its name, and that of its endpoint.
        name: version name in the archive.
        archive: file name in the store.
        default: whether it answers requests that name no version.
        workers: in TorchServe's order; it removes the last one first.
        waiting: queued requests.
    """

    model: str
    name: str
    archive: str
    default: bool
    workers: tuple[Worker, ...]
    waiting: int

    @property
    def ready(self) -> int:
        """The number of READY workers."""
        return sum(worker.status == "READY" for worker in self.workers)


def versions_of(server: Server, model: str = MODEL) -> list[Version]:
    """All versions of a model, sorted by name; none if the server does not have it.

    Raises:
        ServeError: the server does not answer.
        AccessError: the server rejects our key.
    """
    described = describe(server, "all", model)
    default = {entry["modelVersion"] for entry in describe(server, model=model)}
    return [
        Version(
            model=model,
            name=entry["modelVersion"],
            archive=entry["modelUrl"],
            default=entry["modelVersion"] in default,
            workers=tuple(Worker(int(w["pid"]), w["status"]) for w in entry["workers"]),
            waiting=int(entry.get("jobQueueStatus", {}).get("pendingRequests", 0)),
        )
        for entry in sorted(described, key=lambda entry: str(entry["modelVersion"]))
    ]


def all_versions(server: Server) -> list[Version]:
    """The versions of each model that serves the archives; see `versions_of`."""
    return [version for model in server.models for version in versions_of(server, model)]
