"""Managing the versions and workers of a running server without losing a request.

TorchServe removes a worker even in the middle of a request. So we *hold* the worker first: we queue a request to do
nothing, which it takes once it has finished its current one, and remove it while it is idle.
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
from genartisan.serving.defaults import DRAFT, MODEL, READY_WITHIN
from genartisan.serving.describe import POLL, access_of
from genartisan.serving.replies import refusal, transport_errors
from genartisan.serving.restore import FRESH, Planned, remember
from genartisan.serving.state import Server
from genartisan.serving.versions import Version, versions_of

PATIENCE = 3600.0  # seconds to wait for a busy worker
RACE = "ConcurrentModificationException"  # TorchServe 0.12 iterates over its workers while one of them restarts
RACE_PATIENCE = 10.0  # seconds to repeat a call that met this race

logger = logging.getLogger(__name__)


class Models:
    """The model versions of a server that `genartisan.serving.serve` started.

    A version that is registered, removed or made the default here is so for drafts, too, where they have workers of
    their own; their number is set with ``model=DRAFT``.

    Args:
        model: whose versions these are.
        timeout: seconds for a new worker to become ready, and for a removed one to finish its last request.
        say: receives progress, a line at a time.
        persistent: whether changes are recorded for the next start.

    Methods raise ServeError for what the server refuses, and AccessError if it rejects our key.
    """

    def __init__(
        self,
        server: Server,
        *,
        model: str = MODEL,
        timeout: float | None = None,
        say: Callable[[str], None] = logger.info,
        persistent: bool = True,
    ) -> None:
        if model not in server.models:
            raise ServeError(
                f"drafts have no workers of their own on this server: its config.properties does not load {model}.",
                "model",
            )
        self.server, self.model, self.say, self._persistent = server, model, say, persistent
        self.access: Access = access_of(server)
        self._http = httpx.Client(trust_env=False)
        self.ready_within, self.patience = timeout or READY_WITHIN, timeout or PATIENCE
        self._drafts: Models | None = None
        if model == MODEL and server.has_drafts:
            self._drafts = Models(server, model=DRAFT, timeout=timeout, say=say, persistent=False)

    def versions(self) -> list[Version]:
        """All versions, sorted by name."""
        return versions_of(self.server, self.model)

    def version(self, name: str | None = None) -> Version:
        """The named version, or the default one."""
        versions = self.versions()
        for version in versions:
            if version.name == name or (name is None and version.default):
                return version
        known = ", ".join(version.name for version in versions) or "none"
        raise ServeError(f"version {name!r} is not registered; known: {known}.", "version")

    def register(self, archive: str, workers: int = 1, draft_workers: int = 1) -> Version:
        """Adds a version; returns when it is ready. An archive that is damaged or does not load is not registered.

        Args:
            archive: file name in the store.
            draft_workers: of the same version for drafts, where they have workers of their own.
        """
        _at_least_one(workers)
        if "/" in archive or not archive.endswith(".mar"):
            raise ServeError(f"archive is {archive!r}; give the name of a .mar file in the store, no path.", "archive")
        check(self.server.store / archive, self.server.signature_key)
        before = {version.name for version in self.versions()}
        try:
            # A synchronous call would block one of the threads with which TorchServe serves predictions.
            self._ask("POST", "models", url=archive, model_name=self.model, synchronous="false")
            new = [version.name for version in self.versions() if version.name not in before]
            if len(new) != 1:
                raise ServeError(
                    f"{len(new)} versions appeared while {archive} was registered; register one at a time.", "archive"
                )
            self._scale_up(new[0], workers)
            if self._drafts is not None:
                self._drafts.register(archive, draft_workers)
        except BaseException:
            for version in self.versions():
                if version.name not in before:
                    self._ask("DELETE", f"models/{self.model}/{version.name}")
            raise
        return self._record(new[0])

    def scale(self, workers: int, name: str | None = None) -> Version:
        """Sets a version's number of workers; returns when they are ready, or gone. No request is lost."""
        version = self.version(name)
        if _at_least_one(workers) >= len(version.workers):
            self._scale_up(version.name, workers)
        for remaining in range(len(version.workers) - 1, workers - 1, -1):
            with self._held_last(version.name):
                self._set_workers(version.name, remaining)
            self.say(f"version {version.name} has {remaining} workers")
        return self._record(version.name)

    def set_default(self, name: str) -> Version:
        """Makes a version the default. Requests already queued stay with their version."""
        if self.version(name).ready == 0:
            raise ServeError(f"version {name!r} has no ready worker; scale it up first.", "version")
        if self._drafts is not None:
            self._drafts.set_default(name)
        self._ask("PUT", f"models/{self.model}/{name}/set-default")
        return self._record(name)

    def remove(self, name: str) -> None:
        """Removes a version once its queue is empty; waits for that. Its archive stays in the store."""
        version = self.version(name)
        if version.default:
            raise ServeError(
                f"version {name!r} is the default; make another one the default first, or stop the server.",
                "version",
            )
        if self._drafts is not None and name in {draft.name for draft in self._drafts.versions()}:
            self._drafts.remove(name)
        if len(version.workers) > 1:
            self.scale(1, name)
        for _ in attempts(self.patience):
            with self._held_last(name):
                current = self.version(name)
                if current.waiting == 0 or current.ready == 0:  # without a worker the queue never empties
                    self._ask("DELETE", f"models/{self.model}/{name}")
                    self._record()
                    return
        raise ServeError(
            f"version {name!r} still has {current.waiting} queued requests; stop asking for it by name.", "version"
        )

    def rotate_keys(self) -> None:
        """Replaces the inference and management keys; the key file has the new ones at once."""
        for kind in ("inference", "management"):
            self._ask("GET", "token", of="API", type=kind)

    def _record(self, name: str | None = None) -> Version:
        """Records all versions for the next start. Returns the named version, or the default one."""
        if self._persistent:
            versions, drafts = (versions_of(self.server, model) for model in (MODEL, DRAFT))
            remember(self.server.state, self.server.store, versions, drafts)
        return self.version(name)

    def _scale_up(self, name: str, workers: int) -> None:
        self._set_workers(name, workers)
        last_ready, processes = -1, set[int]()
        for _ in attempts(self.ready_within):
            version = self.version(name)
            if version.ready >= workers:
                return
            processes |= {worker.pid for worker in version.workers if worker.pid > 0}
            if len(processes) > workers:  # TorchServe replaces a dead worker, over and over
                raise ServeError(
                    f"a worker of version {name!r} died while it started; see the logs in {self.server.logs}.",
                    "archive",
                )
            if version.ready != last_ready:
                last_ready = version.ready
                self.say(f"version {name}: {last_ready} of {workers} workers are ready")
        raise ServeError(
            f"version {name!r} was not ready in {self.ready_within:g} s; see the logs in {self.server.logs}.",
            "timeout",
        )

    def _set_workers(self, name: str, workers: int) -> None:
        self._ask("PUT", f"models/{self.model}/{name}", min_worker=workers, max_worker=workers)

    @contextmanager
    def _held_last(self, name: str) -> Iterator[None]:
        """Holds the worker of a version that TorchServe would remove next."""
        self.say(f"version {name}: waiting for a worker to finish its request")
        for _ in attempts(self.patience):
            worker = self.version(name).workers[-1]
            if worker.status != "READY":  # it has no request
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
        """Requests a hold. Returns the response, open during the hold; None if another worker took it."""
        url = f"{self.server.url}/predictions/{self.model}/{name}"
        with transport_errors(url, self.patience), self.access.headers() as key:
            request = self._http.build_request("POST", url, json={"hold": pid}, headers=key, timeout=self.patience)
            answer = self._http.send(request, stream=True)
            if answer.status_code == 200 and json.loads(next(answer.iter_lines(), "{}")).get("event") == "held":
                return answer
            if 400 <= answer.status_code < 500:  # 5xx: the queue is full, or the worker died
                answer.read()
                raise refusal(answer, url)
            answer.close()
            return None

    def _ask(self, method: str, path: str, *, of: Kind = "management", **query: Any) -> None:
        """Calls the management API; repeats a call that meets TorchServe's `RACE`."""
        url, raced = f"{self.server.management}/{path}", False
        for _ in attempts(RACE_PATIENCE):
            with transport_errors(self.server.management, self.ready_within), self.access.headers(of) as key:
                answer = self._http.request(method, url, params=query, headers=key, timeout=self.ready_within)
            if answer.status_code != 500 or RACE not in answer.text:
                break
            raced = True
        removed = raced and method == "DELETE" and answer.status_code == 404  # by an earlier attempt, before it failed
        if answer.status_code >= 300 and not removed:
            raise self._refused(answer, url)

    def _refused(self, answer: httpx.Response, url: str) -> Exception:
        error = refusal(answer, url)
        if isinstance(error, AccessError):
            return error
        hint = f" See the logs in {self.server.logs}." if answer.status_code >= 500 else ""
        return ServeError(error.message + hint, "server")


def restore_versions(planned: list[Planned], server: Server, timeout: float, say: Callable[[str], None]) -> None:
    """Restores the other versions, and all workers, on a server that has started with the first version.

    Raises:
        ServeError: a version does not become ready.
    """
    models = Models(server, timeout=timeout, say=say, persistent=False)  # a crash now must not lose the rest
    try:
        for version in planned[1:]:
            models.register(version.archive, version.workers or 1, version.draft_workers or 1)
        if planned[0].workers is not None:
            models.scale(planned[0].workers)
        if server.has_drafts and planned[0].draft_workers is not None:
            Models(server, model=DRAFT, timeout=timeout, say=say, persistent=False).scale(planned[0].draft_workers)
    except ServeError as error:
        raise ServeError(
            f"the versions in service before cannot be restored: {error.message} Or {FRESH}.", error.field
        ) from error


def attempts(seconds: float) -> Iterator[None]:
    """Yields at least once, until ``seconds`` have passed, with a pause in between."""
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
