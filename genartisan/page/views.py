"""Updates of the page that several handlers share."""

from __future__ import annotations

from typing import Any

import gradio as gr

from genartisan.errors import GenartisanError, InputError
from genartisan.page import masks, wording
from genartisan.page.layout import ABOUT_REGIONS, COMPARE, FIELDS, POSITIONS
from genartisan.page.sitting import Sitting

Updates = dict[str, Any]  # of components, by name


def idle(sitting: Sitting) -> Updates:
    """No run is in progress; without a result, the last preview or the regions stay."""
    buttons = {"run": gr.update(interactive=True), "cancel": gr.update(visible=False)}
    updates = {**buttons, "progress": gr.update(visible=False)}
    if not sitting.results:
        return updates
    shown = {name: gr.update(visible=True) for name in ("slider", "actions", "again")}
    return {**updates, **shown, **hidden("live", "empty")}


def hidden(*names: str) -> Updates:
    """Components that are not to be seen."""
    return {name: gr.update(visible=False) for name in names}


def shown_result(sitting: Sitting) -> Updates:
    """The chosen result, and the history."""
    made = sitting.results[sitting.chosen]
    pictures = str(made.before), str(made.picture)
    return {
        "slider": gr.update(value=pictures, visible=True, slider_position=POSITIONS[COMPARE]),
        "view": COMPARE,
        "download": gr.update(value=str(made.picture)),
        "history": gr.update(value=history(sitting), visible=True),
        **hidden("live", "empty"),
    }


def history(sitting: Sitting) -> list[tuple[str, str]]:
    """Thumbnails and captions, the newest first."""
    return [(str(made.thumbnail), made.title) for made in reversed(sitting.results)]


def no_errors() -> Updates:
    """No field has an error, and nothing is the matter with the server."""
    return hidden(*(f"{field}_error" for field in FIELDS), "server_row")


def refusal(error: GenartisanError, url: str) -> Updates:
    """An error beside its field, above the page if it is the server's, or else in the status line."""
    if not isinstance(error, InputError) and isinstance(error, wording.SERVER_ERRORS):
        return server_trouble(error, url)
    field = wording.field_of(error)
    if field is None:
        return {"status": wording.alert(wording.sentence(error))}
    return {
        "status": wording.paragraph("Not started: see the message in the form."),
        f"{field}_error": gr.update(value=wording.alert(wording.sentence(error)), visible=True),
    }


def server_trouble(error: GenartisanError, url: str) -> Updates:
    """The server is away or busy."""
    return {
        "server": wording.alert(wording.server_words(error, url)),
        "server_row": gr.update(visible=True),
        "status": wording.paragraph("Nothing was made."),
    }


def regions(sitting: Sitting) -> Updates:
    """The regions of the photo, to see and to correct."""
    photo, labels = sitting.photo, sitting.labels  # another photo may be dropped meanwhile
    if photo is None or labels is None or labels.shape != photo.view.size[::-1]:
        return {**hidden("regions"), "regions_text": wording.paragraph(ABOUT_REGIONS)}
    path = sitting.save_view("regions.jpg", masks.overlay(photo.view, labels))
    share = masks.share_of_people(labels)
    state = " Corrected by you." if sitting.is_corrected else ""
    text = f"People cover {share:.0%} of the photo.{state}" if share else f"No people were found.{state}"
    is_running = sitting.request_id is not None
    return {
        **({} if is_running else {"live": gr.update(value=str(path), label="People are tinted pink")}),
        "regions": gr.update(visible=True),
        "regions_text": wording.paragraph(text),
        "editor": {"background": str(path), "layers": [], "composite": None},
        "area": gr.update(choices=_area_choices(labels), value=None),
        "undo": gr.update(interactive=bool(sitting.undo)),
        "reset": gr.update(interactive=sitting.is_corrected),
    }


def _area_choices(labels: masks.Labels) -> list[tuple[str, int]]:
    return [
        (f"{'Background' if area.label == masks.BACKGROUND else 'People'}, {area.place}, {area.share:.1%}", number)
        for number, area in enumerate(masks.areas(labels))
    ]
