"""What the page says: HTML of its messages, with everything from outside escaped."""

from __future__ import annotations

import html
from typing import Any

from genartisan.errors import AccessError, BusyError, GenartisanError, LateError, ServeError

SERVER_ERRORS = (BusyError, LateError, AccessError, ServeError)
FIELD_OF = {  # of an error -> of the page; others are said in the status line
    "photo": "photo", "prompt": "prompt", "style_image": "style_image", "style_image.all": "style_image",
    "style_image_share": "style_image", "regions.portrait.strength": "strength", "strength": "strength",
    "regions.background.strength": "strength", "preset": "preset", "seed": "seed", "size": "size",
    "output_size": "size", "steps": "preset", "settings": "settings", "mask": "mask", "mask.classes": "mask",
}  # fmt: skip


def paragraph(text: str) -> str:
    """A message in HTML."""
    return f"<p>{html.escape(text)}</p>"


def alert(text: str) -> str:
    """An error message, which screen readers read out at once."""
    return f'<p role="alert">{html.escape(text)}</p>'


def field_of(error: GenartisanError) -> str | None:
    """The page's field that an error is about; None if it has none."""
    return FIELD_OF.get(error.field or "")


def sentence(error: GenartisanError) -> str:
    """The error's message as a sentence."""
    text = error.message.strip()
    return text[:1].upper() + text[1:]


def server_words(error: GenartisanError, url: str) -> str:
    """What is the matter with the server, and what to do."""
    if isinstance(error, BusyError):
        return "The server is busy. Everything you entered is still here; try again in a moment."
    if isinstance(error, AccessError):
        return (
            f"The server at {url} refuses the key. Start the page in the folder of the running server, or with "
            "--key-file; then try again."
        )
    if isinstance(error, LateError):
        return "The server did not answer in time. Everything you entered is still here; try again."
    return (
        f"The server at {url} has stopped or cannot be reached. Everything you entered is still here: start it "
        "(genartisan serve), then try again."
    )


def progress_bar(event: dict[str, Any]) -> str:
    """A step's progress, with the time left."""
    step, steps = int(event["step"]), int(event["steps"])
    return (
        f'<progress max="{steps}" value="{step}" aria-label="Progress"></progress>'
        f"<span>Step {step} of {steps}, {duration(float(event['eta_s']))} left</span>"
    )


def duration(seconds: float) -> str:
    """A time span for people."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def warnings(report: dict[str, Any]) -> str:
    """The report's warnings as a list; empty without any."""
    items = "".join(f"<li>{html.escape(str(text))}</li>" for text in report.get("warnings", []))
    return f"<ul>{items}</ul>" if items else ""
