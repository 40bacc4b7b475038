"""A run as the visitor sees it: the draft, previews with the time left, and the picture."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import gradio as gr

from genartisan.client import Client
from genartisan.errors import CancelledError, GenartisanError, InputError
from genartisan.page import wording
from genartisan.page.picture_settings import PictureSettings, with_settings
from genartisan.page.sitting import Sitting
from genartisan.page.views import Updates, hidden, idle, refusal, shown_result
from genartisan.page.wishes import Values, Wish, file_name, read_wish, title_of
from genartisan.serving.request_headers import new_request_id

SEEDS = 4  # side by side


def prepare(sitting: Sitting, values: Values) -> Updates:
    """Before the run: its id is drawn, so that it can be cancelled from now on, and the page shows that it is busy.

    Nothing happens during a run, whose button was pressed twice.
    """
    if sitting.request_id is not None:
        return {}
    sitting.request_id, sitting.is_cancelled, sitting.is_looking = new_request_id(), False, False
    sitting.is_due = True
    return {
        "run": gr.update(interactive=False),
        "cancel": gr.update(visible=True, interactive=True),
        **hidden("again", "seeds"),
        "status": wording.paragraph("Sent; waiting for the server…"),
        "views": gr.update(selected="picture"),
    }


def run(sitting: Sitting, values: Values, client: Client, seeds: int = 1) -> Iterator[Updates]:
    """One picture, or one for each of several seeds from the present one on; none that is not due."""
    if not sitting.is_due:
        yield {}
        return
    sitting.is_due = False
    try:
        wish = _checked(sitting, values)
        for number in range(seeds):
            if number:
                sitting.request_id = new_request_id()
            if sitting.is_cancelled:
                raise CancelledError("Cancelled.")
            seed = wish.params["seed"] + number
            each = Wish(wish.prompt, {**wish.params, "seed": seed})
            yield from _one(sitting, each, client, f"Picture {number + 1} of {seeds}: " if seeds > 1 else "")
        if seeds > 1:
            yield side_by_side(sitting, seeds)
    except CancelledError:
        yield {**idle(sitting), "status": wording.paragraph("Cancelled. The server is free again.")}
    except GenartisanError as error:
        yield {**idle(sitting), **refusal(error, client.url)}
    finally:
        sitting.request_id = None


def _checked(sitting: Sitting, values: Values) -> Wish:
    if sitting.photo is None:
        raise InputError("Drop a photo first, or use the sample photo.", "photo")
    return read_wish(values, sitting.style_image is not None)


def _one(sitting: Sitting, wish: Wish, client: Client, prefix: str) -> Iterator[Updates]:
    """The events of one request as updates of the page."""
    assert sitting.photo is not None
    mask, began = sitting.mask(), time.monotonic()
    stream = client.stream(
        sitting.photo.content,
        wish.prompt,
        mask=None if mask is None else {"classes": mask},
        style_image=sitting.style_image,
        params=wish.params,
        request_id=sitting.request_id,
    )
    with closing(stream) as events:
        for event in events:
            if event["event"] == "result":
                yield _finished(sitting, wish, event, mask is not None, time.monotonic() - began)
            elif event["event"] == "cancelled":
                raise CancelledError("Cancelled.")
            else:
                yield _step(sitting, event, prefix)


def _step(sitting: Sitting, event: dict[str, Any], prefix: str) -> Updates:
    """The page after an event before the last."""
    updates: Updates = {}
    if event["event"] == "accepted":
        updates["status"] = wording.paragraph(f"{prefix}The server works on it.")
    elif event["event"] == "draft":
        updates["status"] = wording.paragraph(f"{prefix}The draft, after {event['seconds']:.1f} s; refining it…")
    elif event["event"] == "progress":
        updates["progress"] = gr.update(value=wording.progress_bar(event), visible=True)
    if "preview" in event:
        path = sitting.save("preview.jpg", base64.b64decode(event["preview"]))
        updates["live"] = gr.update(value=str(path), visible=True, label="The picture so far")
        updates |= hidden("slider", "actions", "empty")
    return updates


def side_by_side(sitting: Sitting, number: int) -> Updates:
    """The newest results beside each other."""
    pictures = [(str(made.picture), f"Seed {made.settings.params['seed']}") for made in sitting.results[-number:]]
    return {"seeds": gr.update(value=pictures, visible=True), "status": wording.paragraph("Four seeds: choose one.")}


def _finished(sitting: Sitting, wish: Wish, event: dict[str, Any], has_mask: bool, seconds: float) -> Updates:
    settings = PictureSettings(wish.prompt, wish.params, sitting.style_image is not None, has_mask)
    picture = with_settings(base64.b64decode(event["photo"]), settings)
    sitting.add(title_of(wish), file_name(wish), picture, settings)
    done = f"Done in {wording.duration(seconds)}: {title_of(wish)}."
    return {
        **idle(sitting),
        **shown_result(sitting),
        "status": wording.paragraph(done) + wording.warnings(event["report"]),
    }
