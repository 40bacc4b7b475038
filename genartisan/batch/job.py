"""A batch as it goes: what was made, skipped and failed, and the list of failures."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from genartisan.batch.items import Item
from genartisan.batch.worker import Outcome
from genartisan.io import storage

FAILURES = "failures.jsonl"


@dataclass
class Job:
    """The items of a batch, by their outputs, and what became of them.

    Attributes:
        folder: of the outputs.
        failed: errors by output, as in an error answer.
        warnings: how many pictures have each.
    """

    items: Mapping[str, Item]
    folder: str
    made: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, dict[str, str | None]] = field(default_factory=dict)
    warnings: Counter[str] = field(default_factory=Counter)

    @property
    def failures(self) -> str:
        """Path or URL of the list of failures."""
        return storage.located(FAILURES, self.folder)

    def add(self, outcome: Outcome) -> None:
        """Counts an item's outcome."""
        if outcome.error is not None:
            self.failed[outcome.output] = outcome.error
        else:
            (self.made if outcome.status == "made" else self.skipped).append(outcome.output)
        self.warnings.update(outcome.warnings)

    def check_seen(self) -> None:
        """Counts a picture as failed that a node wrote to a disk of its own, or that died with it."""
        present = {storage.located(path, self.folder) for path in storage.listed(self.folder, "output")}
        for outputs in (self.made, self.skipped):
            for output in [each for each in outputs if each not in present]:
                outputs.remove(output)
                message = f"output {output!r} is not seen from here; choose a folder that all nodes share."
                self.failed[output] = {"code": "not_seen", "message": message, "field": "output"}

    def write_failures(self) -> None:
        """Writes the list of failures: a JSON object on each line; empty if there are none.

        Raises:
            InputError: it cannot be written.
        """
        lines = [
            {**self.items[output].model_dump(include={"photo", "prompt", "row"}), "output": output, "error": error}
            for output, error in self.failed.items()
        ]
        storage.write(self.failures, "".join(json.dumps(line) + "\n" for line in lines).encode())

    @property
    def summary(self) -> str:
        """One line: the folder, and how many items ended in which way."""
        counts = {"made": len(self.made), "skipped": len(self.skipped), "failed": len(self.failed)}
        counts["not reached"] = len(self.items) - sum(counts.values())
        told = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        return f"{self.folder}: {told}" + (f"; see {self.failures}" if self.failed else "")
