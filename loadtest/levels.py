"""The load over time: levels, each held for some seconds."""

from __future__ import annotations

import re
from dataclasses import dataclass

LEVEL = re.compile(r"(\d+(?:\.\d+)?)x(\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Level:
    """Users, or arrivals a second, for some seconds."""

    value: float
    seconds: float


def parse_levels(text: str) -> tuple[Level, ...]:
    """Levels such as ``1x30,2x30,4x30``; ``*2`` at the end repeats them. None for no text.

    Raises:
        ValueError: it is anything else.
    """
    if not text:
        return ()
    levels, _, repeats = text.partition("*")
    matches = [LEVEL.fullmatch(part.strip()) for part in levels.split(",")]
    if not all(matches) or (repeats and not repeats.isdigit()):
        raise ValueError("give LEVELxSECONDS, such as 1x30,2x30,4x30 or 1x30,4x30*2")
    return tuple(Level(*map(float, match.groups())) for match in matches if match) * int(repeats or 1)


def level_at(levels: tuple[Level, ...], seconds: float) -> Level | None:
    """The level at a time since the begin; None after the last."""
    for level in levels:
        if seconds < level.seconds:
            return level
        seconds -= level.seconds
    return None
