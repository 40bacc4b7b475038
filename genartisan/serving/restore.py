"""models.json: the versions in service (archives, default, workers), which the next start restores.

`genartisan.serving.management` writes it at each change rather than at shutdown, so a crash loses nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from genartisan.errors import ServeError
from genartisan.io.atomic import write_whole
from genartisan.serving.defaults import DRAFT, MODEL
from genartisan.serving.state import MODELS, Server
from genartisan.serving.versions import versions_of

FRESH = "start with genartisan.mar alone: `genartisan serve --fresh`"


@dataclass(frozen=True)
class Planned:
    """A version to start.

    Attributes:
        archive: file name in the store.
        workers, draft_workers: number of workers; None for that of its settings.
    """

    archive: str
    workers: int | None = None
    draft_workers: int | None = None


ALONE = Planned(f"{MODEL}.mar")


def remember(server: Server) -> None:
    """Records the versions in service, the default first."""
    in_order = sorted(versions_of(server), key=lambda version: not version.default)
    drafts = {version.name: max(1, len(version.workers)) for version in versions_of(server, DRAFT)}
    planned = [
        asdict(Planned(version.archive, max(1, len(version.workers)), drafts.get(version.name))) for version in in_order
    ]
    write_whole(server.state / MODELS, json.dumps({"store": str(server.store), "versions": planned}, indent=1))


def plan(state: Path, store: Path, say: Callable[[str], None]) -> list[Planned]:
    """The versions to start, the default first.

    Raises:
        ServeError: models.json cannot be read, or one of its archives is missing.
    """
    note = state / MODELS
    if not note.exists():
        return [ALONE]
    try:
        recorded = json.loads(note.read_text(encoding="utf-8"))
        origin = str(recorded["store"])
        planned = [
            Planned(
                Path(str(entry["archive"])).name,
                int(entry["workers"]),
                None if (drafts := entry.get("draft_workers")) is None else int(drafts),
            )
            for entry in recorded["versions"]
        ]
        if not planned:
            raise ValueError("it names no version")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ServeError(f"{note} cannot be read ({error}); {FRESH}.", "state") from error
    if origin != str(store):
        say(f"the versions in service before came from {origin}; starting with {MODEL}.mar of {store}")
        return [ALONE]
    missing = [version.archive for version in planned if not (store / version.archive).is_file()]
    if missing:
        raise ServeError(f"{missing[0]} was in service and is not in {store}; put it back, or {FRESH}.", "store")
    listed = ", ".join(f"{version.archive} ({version.workers} workers)" for version in planned)
    say(f"restoring the versions in service before, the default first: {listed}")
    return planned
