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
from genartisan.serving.defaults import MODEL
from genartisan.serving.state import MODELS
from genartisan.serving.versions import Version

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


def remember(state: Path, store: Path, versions: list[Version], drafts: list[Version]) -> None:
    """Records the versions in service, the default first.

    Args:
        drafts: the same versions for drafts, if those have workers of their own.
    """
    workers = {version.name: max(1, len(version.workers)) for version in drafts}
    planned = [
        asdict(Planned(version.archive, max(1, len(version.workers)), workers.get(version.name)))
        for version in sorted(versions, key=lambda version: not version.default)
    ]
    write_whole(state / MODELS, json.dumps({"store": str(store), "versions": planned}, indent=1))


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
                int(entry["draft_workers"]) if entry.get("draft_workers") is not None else None,
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
