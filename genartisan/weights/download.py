"""Resumable HTTP downloads, verified by SHA-256.

Data accumulates in ``NAME.part``, which is renamed to ``NAME`` once its hash is verified. A lost connection, a full
disk, Ctrl-C or a power cut therefore never leaves a partial ``NAME``.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import httpx
from tqdm import tqdm

from genartisan.errors import WeightsError
from genartisan.io.network_environment import environment_errors
from genartisan.weights.disk import FULL, disk_errors, no_room

BLOCK = 1 << 20
TRANSIENT = {408, 425, 429, 500, 502, 503, 504}  # HTTP statuses to retry
CARRY = "copy the file here and use `genartisan weights fetch --from DIR`."


@dataclass(frozen=True)
class Patience:
    """Retries and timeouts."""

    tries: int = 5  # connections per file, each resuming the last
    pause: float = 1.0  # seconds before the second try, doubled for each further one
    timeout: float = 30.0  # seconds without data


PATIENCE = Patience()


def download(
    url: str, path: Path, sha256: str, *, size: int | None = None, progress: bool = True, patience: Patience = PATIENCE
) -> None:
    """Downloads ``url`` to ``path``.

    Args:
        sha256: the expected hash, in hexadecimal.
        size: the expected size in bytes, to check free space if the server reports none.
        progress: show a progress bar on stderr.

    Raises:
        WeightsError: unreachable, refused, redirected to a server without TLS, wrong hash or disk full. ``NAME.part``
            is kept, except after a wrong hash.
    """
    with environment_errors(WeightsError):
        client = httpx.Client(
            timeout=httpx.Timeout(patience.timeout, connect=min(patience.timeout, 10.0)),
            follow_redirects=True,
            event_hooks={"response": [_refuse_downgrade]},
            headers={"Accept-Encoding": "identity", "User-Agent": "genartisan"},  # compressed data cannot be resumed
        )
    with client, disk_errors(path), Part(path, size) as part:
        while True:
            _receive(client, url, part, progress, patience)
            digest = part.hexdigest()
            if digest == sha256:
                part.put_in_place()
                return
            joined = part.pieces > 1
            part.restart()
            if not joined:
                raise WeightsError(
                    f"{path.name} from {url} is not the official file and was removed: expected SHA-256 {sha256}, got "
                    f"{digest}. Try again, or {CARRY}"
                )
            # The pieces may belong to two versions of the file: try once more, in one piece.


class Part:
    """``NAME.part``: the data received so far, its hash and the server's version tag."""

    def __init__(self, target: Path, total: int | None = None) -> None:
        self.target, self.total = target, total  # bytes of the complete file, if known
        self.path = target.with_name(target.name + ".part")
        self.tag_path = target.with_name(target.name + ".part.tag")
        target.parent.mkdir(parents=True, exist_ok=True)
        self._digest = hashlib.sha256()
        self.size = 0
        # Unbuffered, so that file, `size` and hash agree even if the disk fills up.
        self._file = self.path.open("a+b", buffering=0)
        self._file.seek(0)
        while block := self._file.read(BLOCK):
            self._digest.update(block)
            self.size += len(block)
        self.pieces = 1 if self.size else 0

    def __enter__(self) -> Part:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if self.size == 0:
            self.path.unlink(missing_ok=True)
            self.tag_path.unlink(missing_ok=True)

    def hexdigest(self) -> str:
        return self._digest.hexdigest()

    def append(self, block: bytes) -> None:
        view = memoryview(block)
        while view:
            try:
                written = self._file.write(view) or 0  # a nearly full disk accepts only a part
            except OSError as error:
                if error.errno in FULL:
                    raise WeightsError(no_room(self.target, self.missing())) from error
                raise
            self._digest.update(view[:written])
            self.size += written
            view = view[written:]

    def missing(self) -> int | None:
        return None if self.total is None else max(self.total - self.size, 0)

    def restart(self) -> None:
        """Discards the data received so far."""
        self._file.truncate(0)
        self.tag_path.unlink(missing_ok=True)
        self._digest = hashlib.sha256()
        self.size = self.pieces = 0

    def request_headers(self) -> dict[str, str]:
        """Requests the rest, or the complete file if it has changed."""
        if self.size == 0:
            return {}
        headers = {"Range": f"bytes={self.size}-"}
        if self.tag_path.exists():
            headers["If-Range"] = self.tag_path.read_text(encoding="latin-1")
        return headers

    def note_version(self, response: httpx.Response) -> None:
        tag = response.headers.get("ETag", "")
        if not tag or tag.startswith("W/"):  # If-Range does not accept weak tags
            tag = response.headers.get("Last-Modified", "")
        if tag:
            self.tag_path.write_text(tag, encoding="latin-1")

    def put_in_place(self) -> None:
        """Renames the part to the target after syncing it to disk."""
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self.path, self.target)
        self.tag_path.unlink(missing_ok=True)
        with suppress(OSError):  # not every system can sync folders
            folder = os.open(self.target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def _receive(client: httpx.Client, url: str, part: Part, progress: bool, patience: Patience) -> None:
    """Appends the missing data to ``part``, resuming after lost connections.

    Raises:
        WeightsError: the server refuses, or the last try failed.
    """
    reason = ""
    with tqdm(
        desc=part.target.name, total=part.total, unit="B", unit_scale=True, unit_divisor=1024, disable=not progress
    ) as bar:
        for attempt in range(patience.tries):
            if attempt:
                time.sleep(patience.pause * 2 ** (attempt - 1))
            try:
                with client.stream("GET", url, headers=part.request_headers()) as response:
                    status = response.status_code
                    first, total = _range(response)
                    if status == 416 and total == part.size and total > 0:
                        return  # already complete
                    if status == 416 or (status == 206 and first != part.size):
                        reason = f"it answered {status} for bytes {first} of {total}"
                        part.restart()
                        continue
                    if status in TRANSIENT:
                        reason = f"HTTP status {status}"
                        continue
                    if status not in (200, 206):
                        raise WeightsError(f"{url} answered with HTTP status {status}. Try again later, or {CARRY}")
                    if status == 200 and part.size:  # the server does not support ranges, or the file has changed
                        part.restart()
                    part.note_version(response)
                    part.pieces += 1
                    part.total = total or part.total
                    bar.total, bar.initial, bar.n = part.total, part.size, part.size
                    needed = part.missing()
                    if needed is not None and needed > shutil.disk_usage(part.path.parent).free:
                        raise WeightsError(no_room(part.target, needed))
                    for block in response.iter_raw():
                        part.append(block)
                        bar.update(len(block))
                    if total is None or part.size >= total:
                        return
                    reason = f"the connection ended after {part.size} of {total} bytes"
            except httpx.HTTPError as error:
                reason = f"{type(error).__name__}: {error}".rstrip(": ")
    raise WeightsError(
        f"{url} could not be fetched in {patience.tries} tries ({reason}); {part.size} bytes have arrived and are "
        f"kept. Check the network and run the same command to resume, or {CARRY}"
    )


def _refuse_downgrade(response: httpx.Response) -> None:
    """Refuses redirects from https to an unencrypted connection."""
    if not response.has_redirect_location or response.url.scheme != "https":
        return
    with suppress(httpx.InvalidURL):  # reported by httpx itself
        target = response.url.join(response.headers["Location"])
        if target.scheme != "https":
            raise WeightsError(
                f"{response.url.host} redirects {response.url.path} to {target.scheme}://{target.host}, without TLS; "
                f"the download was refused. Check the network, or {CARRY}"
            )


def _range(response: httpx.Response) -> tuple[int | None, int | None]:
    """The position of the response's first byte and the size of the complete file, if the headers tell."""
    if response.status_code in (206, 416):
        match = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", "").strip())
        if not match:
            return None, None
        return (int(match[1]) if match[1] else None), (int(match[2]) if match[2] != "*" else None)
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None
