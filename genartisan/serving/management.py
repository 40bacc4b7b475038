"""The models of a running server: versions side by side, the default one, their workers; without losing a request.

TorchServe removes a worker whatever it is working on. So a worker is *held* first: it is given a request to do nothing,
which it gets when it has finished what it was at, and is removed while it does that.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from genartisan.errors import AccessError, ServeError
from genartisan.serving.access import Access, Kind
from genartisan.serving.archive_check import check
from genartisan.serving.defaults import MODEL, READY_WITHIN
from genartisan.serving.describe import POLL, access_of, describe
from genartisan.serving.replies import refusal, transport_errors
from genartisan.serving.restore import FRESH, Planned, remember
from genartisan.serving.state import Server
from genartisan.serving.versions import Version, Worker

PATIENCE = 3600.0  # seconds that a request at work may take until its worker is held

logger = logging.getLogger(__name__)


class Models:
    """What `genartisan models` does, for a server that `genartisan.serving.serve` started.

    Args:
        timeout: seconds that a new worker may take to be ready, and a worker that is to go may take for its last
            request.
        say: is told how it goes, a line at a time.
        noting: whether changes are noted for the next start.

    Each method raises ServeError for what the server refuses, and AccessError where the key is not the server's.
    """

    def __init__(
        self,
        server: Server,
        *,
        timeout: float | None = None,
        say: Callable[[str], None] = logger.info,
        noting: bool = True,
    ) -> None:
        self.server, self.say, self._noting = server, say, noting
        self.access: Access = access_of(server)
        self._http = httpx.Client(trust_env=False)
        self.ready_within, self.patience = timeout or READY_WITHIN, timeout or PATIENCE

    def versions(self) -> list[Version]:
        """Every version, by name; none if there is no model."""
        described, default = describe(self.server, "all"), {entry["modelVersion"] for entry in describe(self.server)}
        return [
            Version(
                name=entry["modelVersion"],
                archive=entry["modelUrl"],
                default=entry["modelVersion"] in default,
                workers=tuple(Worker(int(w["pid"]), w["status"]) for w in entry["workers"]),
                waiting=int(entry.get("jobQueueStatus", {}).get("pendingRequests", 0)),
            )
            for entry in sorted(described, key=lambda entry: str(entry["modelVersion"]))
        ]

    def version(self, name: str | None = None) -> Version:
        """One version, or the default one."""
        versions = self.versions()
        for version in versions:
            if version.name == name or (name is None and version.default):
                return version
        known = ", ".join(version.name for version in versions) or "none"
        raise ServeError(f"version {name!r} is not registered; known: {known}.", "version")

    def register(self, archive: str, workers: int = 1) -> Version:
        """Takes an archive of the store into service, beside the versions that are there; returns when it is ready.

        If it is not whole or cannot be loaded it is not registered.

        Args:
            archive: the file's name.
        """
        _at_least_one(workers)
        if "/" in archive or not archive.endswith(".mar"):
            raise ServeError(f"archive is {archive!r}; give the name of a .mar file in the store, no path.", "archive")
        check(self.server.store / archive, self.server.signature_key)
        before = {version.name for version in self.versions()}
        try:
            # Not synchronous: that would block one of the threads by which TorchServe answers requests for pictures.
            self._ask("POST", "models", url=archive, model_name=MODEL, synchronous="false")
            new = [version.name for version in self.versions() if version.name not in before]
            if len(new) != 1:
                raise ServeError(f"{len(new)} versions came while {archive} was registered; do one by one.", "archive")
            self._scale_up(new[0], workers)
        except BaseException:
            for version in self.versions():
                if version.name not in before:
                    self._ask("DELETE", f"models/{MODEL}/{version.name}")
            raise
        return self._remembered(new[0])

    def scale(self, workers: int, name: str | None = None) -> Version:
        """Gives a version so many workers; returns when they are ready, or gone. No request is lost."""
        version = self.version(name)
        if _at_least_one(workers) >= len(version.workers):
            self._scale_up(version.name, workers)
        for left in range(len(version.workers) - 1, workers - 1, -1):
            with self._held_last(version.name):
                self._set_workers(version.name, left)
            self.say(f"version {version.name} has {left} workers")
        return self._remembered(version.name)

    def set_default(self, name: str) -> Version:
        """Lets a version answer the requests that name none. Those in another one's queue are answered by that."""
        if self.version(name).ready == 0:
            raise ServeError(f"version {name!r} has no worker that is ready; scale it up first.", "version")
        self._ask("PUT", f"models/{MODEL}/{name}/set-default")
        return self._remembered(name)

    def remove(self, name: str) -> None:
        """Takes a version out of service, when what was asked of it is answered. Its archive stays in the store.

        Requests that name the version have to stop first: it waits until none is left.
        """
        version = self.version(name)
        if version.default:
            raise ServeError(
                f"version {name!r} is the default, which answers every request without a version; make another one "
                "the default first, or stop the server.",
                "version",
            )
        if len(version.workers) > 1:
            self.scale(1, name)
        for _ in attempts(self.patience):
            with self._held_last(name):
                left = self.version(name)
                if left.waiting == 0 or left.ready == 0:  # without a worker nobody will answer them
                    self._ask("DELETE", f"models/{MODEL}/{name}")
                    self._remembered()
                    return
        raise ServeError(f"version {name!r} is still asked by name, {left.waiting} requests wait for it.", "version")

    def rotate_keys(self) -> None:
        """Draws new keys for pictures and for management, which are in the key file at once; the old ones are void."""
        for kind in ("inference", "management"):
            self._ask("GET", "token", of="API", type=kind)

    def _remembered(self, name: str | None = None) -> Version:
        """A version, or the default one; all are noted for the next start."""
        if self._noting:
            remember(self.server.state, self.server.store, self.versions())
        return self.version(name)

    def _scale_up(self, name: str, workers: int) -> None:
        self._set_workers(name, workers)
        told, processes = -1, set[int]()
        for _ in attempts(self.ready_within):
            version = self.version(name)
            if version.ready >= workers:
                return
            processes |= {worker.pid for worker in version.workers if worker.pid > 0}
            if len(processes) > workers:  # TorchServe starts another one in the place of one that died, over and over
                raise ServeError(
                    f"a worker of version {name!r} died while it started; the logs in {self.server.logs} say why.",
                    "archive",
                )
            if version.ready != told:
                told = version.ready
                self.say(f"version {name}: {told} of {workers} workers are ready")
        raise ServeError(
            f"version {name!r} was not ready in {self.ready_within:g} s; the logs in {self.server.logs} say why.",
            "timeout",
        )

    def _set_workers(self, name: str, workers: int) -> None:
        self._ask("PUT", f"models/{MODEL}/{name}", min_worker=workers, max_worker=workers)

    @contextmanager
    def _held_last(self, name: str) -> Iterator[None]:
        """While it lasts, the worker of a version that TorchServe would remove first has nothing to do."""
        self.say(f"version {name}: waiting for a worker to finish what it is at")
        for _ in attempts(self.patience):
            worker = self.version(name).workers[-1]
            if worker.status != "READY":  # it is at no request
                yield
                return
            answer = self._hold(name, worker.pid)
            if answer is not None:
                try:
                    yield
                finally:
                    answer.close()
                return
        raise ServeError(
            f"process {worker.pid} of version {name!r} was busy for {self.patience:g} s; "
            "try again, or raise the timeout.",
            "timeout",
        )

    def _hold(self, name: str, pid: int) -> httpx.Response | None:
        """Asks a version to hold a worker. An answer that goes on as long as it is held; None if another took it."""
        url = f"{self.server.url}/predictions/{MODEL}/{name}"
        with transport_errors(url, self.patience), self.access.headers() as key:
            request = self._http.build_request("POST", url, json={"hold": pid}, headers=key, timeout=self.patience)
            answer = self._http.send(request, stream=True)
            if answer.status_code == 200 and json.loads(next(answer.iter_lines(), "{}")).get("event") == "held":
                return answer
            if 400 <= answer.status_code < 500:  # above that it is busy, or the worker died
                answer.read()
                raise refusal(answer, url)
            answer.close()
            return None

    def _ask(self, method: str, path: str, *, of: Kind = "management", **query: Any) -> None:
        """Tells the management API to do something."""
        url = f"{self.server.management}/{path}"
        with transport_errors(self.server.management, self.ready_within), self.access.headers(of) as key:
            answer = self._http.request(method, url, params=query, headers=key, timeout=self.ready_within)
            if answer.status_code >= 300:
                raise self._refused(answer, url)

    def _refused(self, answer: httpx.Response, url: str) -> Exception:
        error = refusal(answer, url)
        if isinstance(error, AccessError):
            return error
        hint = f" The logs in {self.server.logs} say why." if answer.status_code >= 500 else ""
        return ServeError(error.message + hint, "server")


def bring_back(planned: list[Planned], server: Server, timeout: float, say: Callable[[str], None]) -> None:
    """Gives a server that has started with the first version the others, and each its workers.

    Raises:
        ServeError: one of them does not get ready.
    """
    models = Models(server, timeout=timeout, say=say, noting=False)  # or a crash meanwhile would lose what is to come
    try:
        for version in planned[1:]:
            models.register(version.archive, version.workers or 1)
        if planned[0].workers is not None:
            models.scale(planned[0].workers)
    except ServeError as error:
        raise ServeError(
            f"what was in service cannot be brought back: {error.message} Or {FRESH}.", error.field
        ) from error


def attempts(seconds: float) -> Iterator[None]:
    """Yields for so many seconds, at least once, with a pause after each time."""
    deadline = time.monotonic() + seconds
    while True:
        yield
        if time.monotonic() > deadline:
            return
        time.sleep(POLL)


def _at_least_one(workers: int) -> int:
    if workers < 1:
        raise ServeError(f"workers is {workers}; give 1 or more, or remove the version.", "workers")
    return workers
