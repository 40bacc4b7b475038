"""The page as a Gradio app: its layout, wired to the handlers."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gradio as gr

from genartisan.client import Client
from genartisan.errors import GenartisanError
from genartisan.page import masks, runs, wording
from genartisan.page.gallery import LABELS, PROMPTS
from genartisan.page.handlers import Handlers, box_of, painted
from genartisan.page.layout import POSITIONS, Parts, build_parts
from genartisan.page.masks import BACKGROUND, PERSON
from genartisan.page.sitting import Sitting, Sittings
from genartisan.page.views import Updates, idle, no_errors
from genartisan.page.wishes import Values

AT_ONCE = 8  # runs of all visitors that wait for the server; the endpoint has its own queue
CACHE = (600, 12 * 3600)  # seconds: how often files that a lost sitting left are removed, and from what age on
CONTROLS = (
    "prompt", "style_share", "portrait", "background", "preset", "size", "seed", "keep_colors",
    "amount", "area", "left", "top", "right", "bottom",
)  # fmt: skip
QUIET = {"show_progress": "hidden", "api_visibility": "private"}
LAST = "always_last"  # by default Gradio drops an event while the one before is pending, as of a second photo
EVERY = "multiple"  # of events that add up
# What the browser does by itself, in JavaScript: a function of the chosen value that returns the outputs.
HIDDEN = "{__type__: 'update', visible: false}"
STYLE_PICKED = f"label => [{json.dumps(PROMPTS)}[label], {HIDDEN}]"
WORDS = "text.trim().split(/\\s+/).join(' ').toLowerCase()"  # as `label_of` compares them
PROMPT_WRITTEN = f"text => [{json.dumps(LABELS)}[{WORDS}] ?? null, {HIDDEN}]"
VIEW_CHOSEN = f"view => ({{__type__: 'update', slider_position: {json.dumps(POSITIONS)}[view]}})"
FAILED = "Something went wrong on this page; its log says what. Everything you entered is still here."

Handler = Callable[[Sitting, Values], Updates]

logger = logging.getLogger(__name__)


def build(client: Client, sittings: Sittings) -> gr.Blocks:
    """The page for an endpoint."""
    handlers = Handlers(client)
    blocks = gr.Blocks(title="genartisan", analytics_enabled=False, delete_cache=CACHE)
    with blocks:
        parts = build_parts()
        _wire(parts, handlers, sittings, blocks)
    return blocks


class _Wires:
    """Connects handlers, which know names, to components."""

    def __init__(self, parts: Parts, sittings: Sittings) -> None:
        self._parts, self._sittings = parts, sittings
        self._names = {component: name for name, component in parts.items()}
        self._outputs = list(parts.values())

    def quick(self, handler: Handler, *inputs: str) -> dict[str, Any]:
        """The arguments of an event that is not queued behind runs."""
        return {**self._event(self._once(handler), inputs or CONTROLS), "queue": False}

    def in_browser(self, function: str, source: str, *targets: str) -> dict[str, Any]:
        """The arguments of an event that the browser answers, at once: the last of quick choices stands."""
        inputs, outputs = self._parts[source], [self._parts[name] for name in targets]
        return {**QUIET, "fn": None, "js": function, "inputs": inputs, "outputs": outputs}

    def upload(self, handler: Handler, name: str) -> dict[str, Any]:
        """The arguments of an event with a file: as it is, where Gradio would decode pictures and save them anew."""

        def given(sitting: Sitting, values: Values) -> Updates:
            payload = values[name]
            return handler(sitting, {name: None if payload is None else payload["path"]})

        event = self._event(self._once(given), (name,))
        return {**event, "queue": False, "preprocess": False, "trigger_mode": LAST}

    def queued(self, handler: Handler, *inputs: str) -> dict[str, Any]:
        """The arguments of an event that calls the endpoint."""
        event = self._event(self._once(handler), inputs or CONTROLS)
        return {**event, "concurrency_limit": AT_ONCE, "trigger_mode": LAST}

    def stream(self, handler: Callable[[Sitting, Values], Iterator[Updates]]) -> dict[str, Any]:
        """The arguments of an event that updates the page again and again."""

        def call(values: dict[Any, Any], request: gr.Request) -> Iterator[dict[Any, Any]]:
            sitting = self._sitting(request)
            try:
                for updates in handler(sitting, self._named(values)):
                    yield self._placed(updates)
            except Exception:
                logger.exception("a run failed")
                yield self._placed({**idle(sitting), "status": wording.alert(FAILED)})

        return {**self._event(call, CONTROLS), "concurrency_limit": AT_ONCE, "trigger_mode": LAST}

    def choice(self, handler: Callable[[Sitting, int], Updates]) -> dict[str, Any]:
        """The arguments of an event that chooses a picture of a gallery, by its position."""

        def call(request: gr.Request, event: gr.SelectData) -> dict[Any, Any]:
            return self._placed(handler(self._sitting(request), event.index))

        return {**self._event(call, ()), "inputs": None, "queue": False, "trigger_mode": LAST}

    def _once(self, handler: Handler) -> Callable[..., dict[Any, Any]]:
        def call(values: dict[Any, Any], request: gr.Request) -> dict[Any, Any]:
            try:
                return self._placed(handler(self._sitting(request), self._named(values)))
            except Exception:
                logger.exception("a handler failed")
                return self._placed({"status": wording.alert(FAILED)})

        return call

    def _event(self, call: Callable[..., Any], inputs: tuple[str, ...]) -> dict[str, Any]:
        return {**QUIET, "fn": call, "inputs": {self._parts[name] for name in inputs}, "outputs": self._outputs}

    def _named(self, values: dict[Any, Any]) -> Values:
        return {self._names[component]: value for component, value in values.items()}

    def _placed(self, updates: Updates) -> dict[Any, Any]:
        """Updates by component; never empty, which Gradio would take for a value."""
        return {self._parts[name]: update for name, update in (updates or {"status": gr.skip()}).items()}

    def _sitting(self, request: gr.Request) -> Sitting:
        return self._sittings.of(request.session_hash or "")


def _wire(parts: Parts, handlers: Handlers, sittings: Sittings, blocks: gr.Blocks) -> None:
    wires = _Wires(parts, sittings)
    find = wires.queued(handlers.find_regions)
    blocks.load(**wires.quick(handlers.opened))
    parts["retry"].click(**wires.quick(handlers.retried)).then(**find)
    parts["photo"].input(**wires.upload(handlers.photo_given, "photo")).then(**find)
    parts["sample"].click(**wires.quick(handlers.sample_wanted)).then(**find)
    parts["style_image"].input(**wires.upload(handlers.style_image_given, "style_image"))
    parts["gallery"].input(**wires.in_browser(STYLE_PICKED, "gallery", "prompt", "prompt_error"))
    parts["prompt"].input(**wires.in_browser(PROMPT_WRITTEN, "prompt", "gallery", "prompt_error"))
    parts["settings"].upload(**wires.upload(handlers.settings_given, "settings"))
    parts["view"].input(**wires.in_browser(VIEW_CHOSEN, "view", "slider"))
    _wire_runs(parts, handlers, wires)
    parts["history"].select(**wires.choice(handlers.result_chosen))
    parts["seeds"].select(**wires.choice(handlers.seed_chosen))
    _wire_regions(parts, handlers, wires)

    def left(request: gr.Request) -> None:
        """The tab was closed: its run ends, its files are removed."""
        sitting = sittings.end(request.session_hash or "")
        if sitting is not None:
            sitting.is_cancelled = True
            try:
                handlers.cancel(sitting)
            except GenartisanError as error:
                logger.warning("the run of a closed page could not be cancelled: %s", error.message)

    blocks.unload(left)


def _wire_runs(parts: Parts, handlers: Handlers, wires: _Wires) -> None:
    begin = wires.quick(lambda sitting, values: {**no_errors(), **runs.prepare(sitting, values)})
    go = wires.stream(partial(runs.run, client=handlers.client))
    go_four = wires.stream(partial(runs.run, client=handlers.client, seeds=runs.SEEDS))
    parts["run"].click(**begin).then(**go)
    parts["prompt"].submit(**begin).then(**go)
    for name in ("vary", "less", "stronger"):
        parts[name].click(**wires.quick(getattr(handlers, name))).then(**begin).then(**go)
    parts["four"].click(**wires.quick(handlers.four)).then(**begin).then(**go_four)
    parts["cancel"].click(**wires.quick(handlers.cancelling)).then(**wires.quick(handlers.cancelled))


def _wire_regions(parts: Parts, handlers: Handlers, wires: _Wires) -> None:
    changes: dict[str, Callable[[masks.Labels, Values], masks.Labels]] = {
        "grow": lambda labels, values: masks.resized_people(labels, round(values["amount"])),
        "shrink": lambda labels, values: masks.resized_people(labels, -round(values["amount"])),
        "box_people": lambda labels, values: masks.with_rectangle(labels, box_of(values), PERSON),
        "box_background": lambda labels, values: masks.with_rectangle(labels, box_of(values), BACKGROUND),
    }
    adding = {
        **{name: wires.quick(handlers.corrected(change)) for name, change in changes.items()},
        "apply": wires.quick(handlers.corrected(painted), "editor"),
        "undo": wires.quick(handlers.reverted),
        "reset": wires.quick(handlers.reset),
    }
    for name, event in adding.items():
        parts[name].click(**event, trigger_mode=EVERY)
    parts["area_people"].click(**wires.quick(handlers.area_is(PERSON), "area"))
    parts["area_background"].click(**wires.quick(handlers.area_is(BACKGROUND), "area"))
    parts["corrections"].change(**wires.quick(handlers.corrections_shown), trigger_mode=LAST)
