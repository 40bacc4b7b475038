"""What happens when the visitor does something: a sitting and the controls' values in, updates of the page out."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable
from typing import Any

import gradio as gr

from genartisan.client import Client
from genartisan.errors import GenartisanError, InputError, ServeError, UnknownRequestError
from genartisan.io.files import SAMPLE
from genartisan.page import masks, wording
from genartisan.page.gallery import STYLES
from genartisan.page.layout import READY
from genartisan.page.masks import Labels
from genartisan.page.picture_settings import PictureSettings, read_settings
from genartisan.page.runs import SEEDS
from genartisan.page.sitting import Sitting
from genartisan.page.views import Updates, hidden, idle, no_errors, refusal, regions, server_trouble, shown_result
from genartisan.page.wishes import Values, controls_of
from genartisan.serving.request_headers import new_request_id

STRENGTH_STEP = 0.15  # of "more style" and "less style"
MAX_DRAWN_SEED = 10**6  # of "vary": short enough to note down


class Handlers:
    """The handlers of a page whose endpoint is ``client``'s."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def opened(self, sitting: Sitting, values: Values) -> Updates:
        """Whether the server is there."""
        try:
            self.client.status(new_request_id())
        except UnknownRequestError:  # the answer of a server that is there
            return hidden("server_row")
        except GenartisanError as error:
            return server_trouble(error, self.client.url)
        return hidden("server_row")

    def retried(self, sitting: Sitting, values: Values) -> Updates:
        """Whether the server is there again."""
        updates = self.opened(sitting, values)
        return {"status": wording.paragraph("The server is back: press Stylise."), **updates}

    def photo_given(self, sitting: Sitting, values: Values) -> Updates:
        """A photo was dropped, or removed."""
        path = values["photo"]
        if path is None:
            sitting.forget_photo()
            return {**no_errors(), **regions(sitting), **hidden("live"), "status": wording.paragraph(READY)}
        return self._take_photo(sitting, lambda: sitting.uploaded(path, "photo"))

    def sample_wanted(self, sitting: Sitting, values: Values) -> Updates:
        """The sample photo."""
        return self._take_photo(sitting, SAMPLE.read_bytes)

    def _take_photo(self, sitting: Sitting, read: Callable[[], bytes]) -> Updates:
        sitting.forget_photo()
        try:
            photo = sitting.take_photo(read())
        except InputError as error:
            return {**no_errors(), **refusal(error, self.client.url), **regions(sitting), "photo": None}
        sitting.is_looking = True
        return {
            **no_errors(),
            **regions(sitting),
            **hidden("slider", "actions", "again", "seeds", "empty"),
            "live": gr.update(value=str(photo.view_path), visible=True, label="Photo"),
            "photo": str(photo.view_path),
            "status": wording.paragraph("Looking for people in the photo…"),
        }

    def find_regions(self, sitting: Sitting, values: Values) -> Updates:
        """What is a person and what is background, as the endpoint sees it."""
        photo = sitting.photo
        if photo is None or sitting.found is not None:
            return {}
        try:
            classes = self._classes(photo.content)
        except InputError as error:
            if wording.field_of(error) != "photo":
                return refusal(error, self.client.url)
            sitting.forget_photo()
            return {**refusal(error, self.client.url), "photo": None}
        except GenartisanError as error:
            return server_trouble(error, self.client.url)
        if sitting.photo is not photo:  # another one was dropped meanwhile
            return {}
        sitting.set_found(classes)
        if not sitting.is_looking:  # the status is about what was started meanwhile
            return regions(sitting)
        share = sitting.share_of_people
        found = f"People cover {share:.0%} of the photo" if share else "No people were found in the photo"
        advice = "correct it under “People and background”, or choose a style and press Stylise."
        return {**regions(sitting), "status": wording.paragraph(f"{found}; {advice}")}

    def _classes(self, photo: bytes) -> bytes:
        """The regions of a photo as a PNG of labels."""
        reply = self.client.explain(photo, STYLES[0].prompt, params={"preset": "draft"})  # the style does not matter
        answer = json.loads(reply.content)
        if "classes" not in answer:
            raise ServeError(f"the server at {self.client.url} is older than this page: it does not tell regions.")
        return base64.b64decode(answer["classes"])

    def style_image_given(self, sitting: Sitting, values: Values) -> Updates:
        """A style picture was dropped, or removed."""
        sitting.style_image = None
        if values["style_image"] is None:
            return no_errors()
        try:
            view = sitting.take_style_image(values["style_image"])
        except InputError as error:
            return {**no_errors(), **refusal(error, self.client.url), "style_image": None}
        return {**no_errors(), "style_image": str(view)}

    def settings_given(self, sitting: Sitting, values: Values) -> Updates:
        """A picture of ours was dropped, to get its settings back."""
        try:
            settings = read_settings(sitting.uploaded(values["settings"], "settings"))
        except InputError as error:
            return {**no_errors(), **refusal(error, self.client.url)}
        return {**no_errors(), **self._restored(settings)}

    def _restored(self, settings: PictureSettings) -> Updates:
        lacking = [name for name, is_used in settings.pictures.items() if is_used]
        text = "The picture's settings are in the form."
        if lacking:
            text += f" It also had {' and '.join(lacking)}, which is not in the file: add it again."
        return {**controls_of(settings), "status": wording.paragraph(text)}

    def cancelling(self, sitting: Sitting, values: Values) -> Updates:
        """The run is to end; said before the server is told, or the page might hear this after the run's last word."""
        if sitting.request_id is None:
            return {}
        sitting.is_cancelled = True
        return {
            "cancel": gr.update(interactive=False),
            "status": wording.paragraph("Cancelling: the server ends the present step…"),
        }

    def cancelled(self, sitting: Sitting, values: Values) -> Updates:
        """The server is told that the run is to end, unless another has begun meanwhile."""
        if not sitting.is_cancelled:
            return {}
        try:
            self.cancel(sitting)
        except GenartisanError as error:
            return server_trouble(error, self.client.url)
        return {}

    def cancel(self, sitting: Sitting) -> None:
        """Frees the worker of a sitting's run, if there is one.

        Raises:
            GenartisanError: the server cannot be told.
        """
        if sitting.request_id is not None:
            self.client.cancel(sitting.request_id)

    def vary(self, sitting: Sitting, values: Values) -> Updates:
        """Another seed; a draft is the same for all, so its refinement."""
        changes = {"seed": str(secrets.randbelow(MAX_DRAWN_SEED))}
        return {**changes, **self._refined(values)}

    def four(self, sitting: Sitting, values: Values) -> Updates:
        """Before four seeds: a draft is the same for all."""
        return self._refined(values)

    def _refined(self, values: Values) -> Updates:
        return {"preset": "fast"} if values["preset"] == "draft" else {}

    def stronger(self, sitting: Sitting, values: Values) -> Updates:
        """More style, on people and background."""
        return self._strengths(values, STRENGTH_STEP)

    def less(self, sitting: Sitting, values: Values) -> Updates:
        """Less style, on people and background."""
        return self._strengths(values, -STRENGTH_STEP)

    def _strengths(self, values: Values, change: float) -> Updates:
        return {name: round(min(1, max(0, values[name] + change)), 2) for name in ("portrait", "background")}

    def result_chosen(self, sitting: Sitting, position: int) -> Updates:
        """A picture of the history, and its settings; ``position`` counts from the newest, which is 0."""
        if not 0 <= position < len(sitting.results) or sitting.request_id is not None:
            return {}
        sitting.chosen = len(sitting.results) - 1 - position
        made = sitting.results[sitting.chosen]
        updates = {**idle(sitting), **shown_result(sitting), **controls_of(made.settings)}
        del updates["history"]  # it has not changed
        return {**updates, "status": wording.paragraph(f"{made.title}: its settings are in the form.")}

    def seed_chosen(self, sitting: Sitting, position: int) -> Updates:
        """One of the pictures side by side, which are the newest; ``position`` counts from the oldest of them."""
        return self.result_chosen(sitting, SEEDS - 1 - position)

    def corrected(self, change: Callable[[Labels, Values], Labels]) -> Callable[[Sitting, Values], Updates]:
        """A handler that changes the regions."""

        def handler(sitting: Sitting, values: Values) -> Updates:
            if sitting.labels is None:
                return {}
            sitting.correct(lambda labels: change(labels, values))
            return self._after_correction(sitting)

        return handler

    def area_is(self, label: int) -> Callable[[Sitting, Values], Updates]:
        """A handler that gives the chosen area a label."""

        def handler(sitting: Sitting, values: Values) -> Updates:
            areas = [] if sitting.labels is None else masks.areas(sitting.labels)
            number = values["area"]
            if not isinstance(number, int) or not 0 <= number < len(areas):
                return refusal(InputError("Choose an area first.", "mask"), self.client.url)
            return self.corrected(lambda labels, _: masks.with_area(labels, areas[number], label))(sitting, values)

        return handler

    def reverted(self, sitting: Sitting, values: Values) -> Updates:
        """The last correction is taken back."""
        sitting.revert()
        return self._after_correction(sitting)

    def reset(self, sitting: Sitting, values: Values) -> Updates:
        """The regions as the endpoint found them."""
        if sitting.found is not None:
            found = sitting.found
            sitting.correct(lambda _: found)
        return self._after_correction(sitting)

    def _after_correction(self, sitting: Sitting) -> Updates:
        """The number of the correction, at whose change the page asks for the regions; the chosen area is gone."""
        return {**hidden("mask_error"), "area": None, "corrections": sitting.corrections}

    def corrections_shown(self, sitting: Sitting, values: Values) -> Updates:
        """The regions after a correction.

        Asked for apart, after each answer: corrections in quick succession are answered side by side, and their answers
        may overtake each other.
        """
        return regions(sitting)


def painted(labels: Labels, values: Values) -> Labels:
    """The regions under the strokes of the brush."""
    layers: list[Any] = (values["editor"] or {}).get("layers") or []
    for layer in layers:
        labels = masks.painted(labels, layer)
    return labels


def box_of(values: Values) -> tuple[float, float, float, float]:
    """The rectangle's sides in percent."""
    left, top, right, bottom = (float(values[side]) for side in ("left", "top", "right", "bottom"))
    return left, top, right, bottom
