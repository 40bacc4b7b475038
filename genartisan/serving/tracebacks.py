"""Tracebacks without the users' words."""

from __future__ import annotations

import traceback


def trace(error: BaseException) -> str:
    """An error's traceback and type without its message, which may quote the user."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    causes = "" if cause is None else f"{trace(cause)}\nwhile this was handled:\n"
    return f"{causes}{frames}{type(error).__module__}.{type(error).__qualname__}"
