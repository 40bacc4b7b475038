"""One file over HTTP: resumed where it was cut, checked by its SHA-256, put in place only when whole.

What has arrived waits in ``NAME.part``. Only a file whose hash is right is renamed to ``NAME``, so whatever lies there
is whole, also after a cut connection, a full disk, Ctrl-C or a power cut.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import httpx
from tqdm import tqdm

from genartisan.errors import WeightsError
from genartisan.io.proxies import proxy_errors

BLOCK = 1 << 20
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
WORTH_ANOTHER_TRY = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Patience:
    """How long to bear with a bad connection."""

    tries: int = 5  # connections for one file, each going on where the last was cut
    pause: float = 1.0  # seconds before the second try, doubled before each further one
    timeout: float = 30.0  # seconds without a byte


PATIENCE = Patience()


def download(
    url: str,
    path: Path,
    sha256: str,
    *,
    size: int | None = None,
    progress: bool = True,
    patience: Patience = PATIENCE,
) -> None:
    """Brings ``url`` to ``path``.

    Args:
        sha256: the expected hash, in hexadecimal.
        size: bytes expected, for the check of free space where the server tells none.
        progress: draw a bar on stderr.

    Raises:
        WeightsError: unreachable, refused, sent on to where there is no TLS, wrong hash, no room. ``NAME.part`` stays,
            unless its hash was wrong.
    """
    with proxy_errors(WeightsError):
        client = httpx.Client(
            timeout=httpx.Timeout(patience.timeout, connect=min(patience.timeout, 10.0)),
            follow_redirects=True,
            event_hooks={"response": [_refuse_downgrade]},
            headers={"Accept-Encoding": "identity", "User-Agent": "genartisan"},  # what is compressed cannot be resumed
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
                    f"{digest}. Try again, or carry the file here and use `genartisan weights fetch --from DIR`."
                )
            # Pieces of two versions may have been joined: once more, from nothing, in one piece.


class Part:
    """``NAME.part``: what has arrived of a file, the hash of it, and the server's tag of the version it belongs to."""

    def __init__(self, target: Path, total: int | None = None) -> None:
        self.target, self.total = target, total  # bytes of the whole file, where known
        self.path = target.with_name(target.name + ".part")
        self.tag_path = target.with_name(target.name + ".part.tag")
        target.parent.mkdir(parents=True, exist_ok=True)
        self._digest = hashlib.sha256()
        self.size = 0
        # Unbuffered: what `size` and the hash count is in the file, also when the disk is full a byte later.
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
                written = self._file.write(view) or 0  # a nearly full disk takes only the beginning
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
        """Forgets what has arrived."""
        self._file.truncate(0)
        self.tag_path.unlink(missing_ok=True)
        self._digest = hashlib.sha256()
        self.size = self.pieces = 0

    def request_headers(self) -> dict[str, str]:
        """Asks for the rest; for all of it, should the file have changed since."""
        if self.size == 0:
            return {}
        headers = {"Range": f"bytes={self.size}-"}
        if self.tag_path.exists():
            headers["If-Range"] = self.tag_path.read_text(encoding="latin-1")
        return headers

    def note_version(self, response: httpx.Response) -> None:
        tag = response.headers.get("ETag", "")
        if not tag or tag.startswith("W/"):  # a weak tag promises no equal bytes, so If-Range does not take it
            tag = response.headers.get("Last-Modified", "")
        if tag:
            self.tag_path.write_text(tag, encoding="latin-1")

    def put_in_place(self) -> None:
        """Renames the part, once its bytes are surely on the disk."""
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self.path, self.target)
        self.tag_path.unlink(missing_ok=True)
        with suppress(OSError):  # not every system can sync a folder
            folder = os.open(self.target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def _receive(client: httpx.Client, url: str, part: Part, progress: bool, patience: Patience) -> None:
    """Appends to ``part`` what it lacks, going on after cuts.

    Raises:
        WeightsError: the server refuses, or the last try failed.
    """
    remedy = "Or carry the file here and use `genartisan weights fetch --from DIR`."
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
                        return  # it had all arrived before
                    if status == 416 or (status == 206 and first != part.size):
                        reason = f"it answered {status} for bytes {first} of {total}"
                        part.restart()
                        continue
                    if status in WORTH_ANOTHER_TRY:
                        reason = f"HTTP status {status}"
                        continue
                    if status not in (200, 206):
                        raise WeightsError(f"{url} answered with HTTP status {status}. Try again later. {remedy}")
                    if status == 200 and part.size:  # no ranges there, or another version than the one begun
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
        f"kept. Check the network and run the same command again, it goes on from there. {remedy}"
    )


def _refuse_downgrade(response: httpx.Response) -> None:
    """Lets no redirect lead from https to a connection that anyone on the way can read and change."""
    if not response.has_redirect_location or response.url.scheme != "https":
        return
    with suppress(httpx.InvalidURL):  # of which httpx itself tells
        target = response.url.join(response.headers["Location"])
        if target.scheme != "https":
            raise WeightsError(
                f"{response.url.host} sends {response.url.path} on to {target.scheme}://{target.host}, without TLS; "
                "nothing is fetched from there. Check the network, or carry the file here and use `genartisan weights "
                "fetch --from DIR`."
            )


def _range(response: httpx.Response) -> tuple[int | None, int | None]:
    """The first byte of the answer and the size of the whole file, as far as the headers tell."""
    if response.status_code in (206, 416):
        found = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", "").strip())
        if not found:
            return None, None
        return (int(found[1]) if found[1] else None), (int(found[2]) if found[2] != "*" else None)
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def check_room(needs: Mapping[Path, int]) -> None:
    """Refuses at once what could not end well: ``needs`` gives the bytes to come for each folder.

    Raises:
        WeightsError: folders on one disk together need more than is free on it.
    """
    disks: dict[int, tuple[Path, int]] = {}
    for folder, size in needs.items():
        device = _existing(folder).stat().st_dev
        disks[device] = (folder, size + disks.get(device, (folder, 0))[1])
        if disks[device][1] > shutil.disk_usage(_existing(folder)).free:
            raise WeightsError(no_room(folder / "the official weights", disks[device][1]))


def _existing(folder: Path) -> Path:
    return next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())


def no_room(path: Path, needed: int | None) -> str:
    """The sentence for a full disk."""
    free = shutil.disk_usage(_existing(path.parent)).free
    wants = f"{needed:,} more bytes are" if needed is not None else "more room is"
    return (
        f"The disk is full: {wants} needed for {path.name} in {path.parent}, {free:,} bytes are free. "
        "Make room, or set GENARTISAN_HOME to a folder on a larger disk, and run the same command again."
    )


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Errors of the file system, while writing ``path``, in words."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise WeightsError(no_room(path, None)) from error
        raise WeightsError(f"{error.filename or path} cannot be written: {error.strerror}.") from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keeps a second process from writing the same files; the lock at ``path`` ends with the process that holds it.

    Raises:
        WeightsError: another process holds it.
    """
    if sys.platform == "win32":  # no flock there: two writers end in a wrong hash, which is noticed
        yield
        return
    import fcntl

    with ExitStack() as stack:
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(path.open("w"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                message = f"Another process is fetching weights into {path.parent}; wait until it is done."
                raise WeightsError(message) from error
            # else: a file system without locks; a wrong hash will tell
        yield
