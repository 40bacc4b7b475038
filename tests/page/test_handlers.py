"""The page's handlers, without a browser or a server."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("gradio")

from genartisan.io.files import SAMPLE
from genartisan.page.handlers import Handlers
from genartisan.page.runs import prepare
from genartisan.page.sitting import Sitting, Sittings


@dataclass
class Endpoint:
    """A client of an endpoint that finds nobody; something may happen before it answers."""

    before: Callable[[], Any]
    url: str = "http://127.0.0.1:8080"
    cancelled: list[str] = field(default_factory=list)

    def cancel(self, request_id: str) -> None:
        self.cancelled.append(request_id)

    def explain(self, photo: bytes, prompt: str, **_: Any) -> Endpoint:
        self.before()
        return self

    @property
    def content(self) -> str:
        buffer = io.BytesIO()
        with Image.open(SAMPLE) as photo:
            Image.new("L", photo.size).save(buffer, "PNG")
        return f'{{"classes": "{base64.b64encode(buffer.getvalue()).decode()}"}}'


@pytest.mark.parametrize("is_pressed", [False, True])
def test_regions_that_come_late_leave_the_status_of_a_run(is_pressed: bool, tmp_path: Path) -> None:
    sitting: Sitting = Sittings(tmp_path).of("visitor")
    handlers = Handlers(Endpoint(lambda: prepare(sitting, {}) if is_pressed else None))  # type: ignore[arg-type]
    assert "Looking" in handlers.sample_wanted(sitting, {})["status"]
    updates = handlers.find_regions(sitting, {})
    assert ("status" in updates) is not is_pressed
    assert "No people" in updates["regions_text"]


def test_a_run_is_cancelled_only_while_there_is_one(tmp_path: Path) -> None:
    sitting: Sitting = Sittings(tmp_path).of("visitor")
    endpoint = Endpoint(lambda: None)
    handlers = Handlers(endpoint)  # type: ignore[arg-type]
    assert handlers.cancelling(sitting, {}) == handlers.cancelled(sitting, {}) == {}
    prepare(sitting, {})
    assert "Cancelling" in handlers.cancelling(sitting, {})["status"]
    assert (sitting.is_cancelled, endpoint.cancelled) == (True, [])  # the visitor is told first
    assert handlers.cancelled(sitting, {}) == {}
    assert endpoint.cancelled == [sitting.request_id]
