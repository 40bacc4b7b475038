"""The versions that were in service, and how a start brings them back: archives, default and workers, in models.json.

It is written at each change by `genartisan.serving.management`, not when a server stops: a crash loses nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from genartisan.errors import ServeError
from genartisan.io.atomic import write_whole
from genartisan.serving.defaults import MODEL
from genartisan.serving.state import MODELS
from genartisan.serving.versions import Version

FRESH = "start with genartisan.mar alone: `genartisan serve --fresh`"


@dataclass(frozen=True)
class Planned:
    """A version to start with.

    Attributes:
        archive: its file in the store.
        workers: how many it had; None: as many as its settings say.
    """

    archive: str
    workers: int | None = None


ALONE = Planned(f"{MODEL}.mar")


def remember(state: Path, store: Path, versions: list[Version]) -> None:
    """Notes what is in service, the default version first."""
    in_order = sorted(versions, key=lambda version: not version.default)
    planned = [asdict(Planned(version.archive, max(1, len(version.workers)))) for version in in_order]
    write_whole(state / MODELS, json.dumps({"store": str(store), "versions": planned}, indent=1))


def plan(state: Path, store: Path, say: Callable[[str], None]) -> list[Planned]:
    """What a server is to start with, the default version first.

    Raises:
        ServeError: an archive of what was in service is gone, or the note cannot be read.
    """
    note = state / MODELS
    if not note.exists():
        return [ALONE]
    try:
        told = json.loads(note.read_text(encoding="utf-8"))
        origin = str(told["store"])
        planned = [Planned(Path(str(entry["archive"])).name, int(entry["workers"])) for entry in told["versions"]]
        if not planned:
            raise ValueError("it names no version")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ServeError(f"{note} cannot be read ({error}); {FRESH}.", "state") from error
    if origin != str(store):
        say(f"what was in service before came from {origin}; starting with {MODEL}.mar of {store}")
        return [ALONE]
    gone = [version.archive for version in planned if not (store / version.archive).is_file()]
    if gone:
        raise ServeError(f"{gone[0]} was in service and is not in {store}; put it back, or {FRESH}.", "store")
    listed = ", ".join(f"{version.archive} ({version.workers} workers)" for version in planned)
    say(f"bringing back what was in service, the default first: {listed}")
    return planned
