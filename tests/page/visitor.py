"""A visitor of the page: a real headless Chromium, and what must hold for whatever it does."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import servers
from PIL import Image

from genartisan.serving.defaults import Ports

sync_api = pytest.importorskip("playwright.sync_api")
pytest.importorskip("gradio")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
WAIT = 90_000  # milliseconds: many times what anything takes on an idle machine
FEW_STEPS = "label:has-text('Fast: refines')"
MANY_STEPS = "label:has-text('Paper: the paper')"


@dataclass(frozen=True)
class Site:
    """A page that is open.

    Attributes:
        folder: TMPDIR of its process.
    """

    url: str
    folder: Path
    process: subprocess.Popen[bytes]

    def files(self) -> list[Path]:
        """What visitors have left on disk."""
        return [path for path in self.folder.glob("genartisan-page-*/**/*") if path.is_file()]


@contextlib.contextmanager
def site(folder: Path, url: str, key_file: str, *flags: str, **variables: str) -> Iterator[Site]:
    """`genartisan ui` on a free port, until the block ends; nothing of it is left then."""
    port = str(Ports.free().inference)
    temporary = folder / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-m", "genartisan", "ui", "--url", url, "--key-file", key_file, "--port", port]
    environment = {**os.environ, "PYTHONPATH": "", "TMPDIR": str(temporary), **variables}
    said = folder / "stderr"
    with said.open("w") as stderr:
        process = subprocess.Popen([*command, "--no-browser", *flags], env=environment, stderr=stderr)
    try:
        opened = re.compile(r"is open at (http://\S+?)[;\s]")
        servers.eventually(
            lambda: process.poll() is not None or opened.search(said.read_text()) is not None, "it opens"
        )
        found = opened.search(said.read_text())
        assert found, said.read_text()
        yield Site(found[1], temporary, process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    assert process.returncode == 0
    assert list(temporary.glob("genartisan-page-*")) == []


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    if CHROMIUM is None:
        pytest.skip("no Chromium")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield running
        running.close()


@dataclass
class Visitor:
    """A tab with the page in it.

    Attributes:
        complaints: console errors, failed scripts, and requests to other hosts.
    """

    page: Any
    complaints: list[str] = field(default_factory=list)

    def sees(self, text: str | re.Pattern[str], where: str = "#status") -> None:
        """Waits for a text."""
        sync_api.expect(self.page.locator(where)).to_contain_text(text, timeout=WAIT)

    def gives_photo(self, content: bytes, name: str = "photo.png") -> None:
        """Uploads a photo, without waiting."""
        chosen = {"name": name, "mimeType": "image/png", "buffer": content}
        self.page.locator("#photo input[type=file]").set_input_files(chosen)

    def begins(self, content: bytes, size: int = 64) -> None:
        """Uploads a photo, waits for its regions, and asks for small pictures."""
        self.gives_photo(content)
        self.sees(re.compile("People cover|No people"))
        self.opens("#more")
        self.page.fill("#size :is(input, textarea)", str(size))

    def opens(self, panel: str) -> None:
        """Opens an accordion."""
        self.page.click(f"{panel} > button")

    def presses(self, button: str) -> None:
        self.page.click(button)

    def downloads(self) -> bytes:
        """The finished picture's file."""
        with self.page.expect_download() as download:
            self.page.click("#download")
        assert download.value.suggested_filename.endswith(".png")
        return Path(download.value.path()).read_bytes()

    def makes(self, button: str) -> None:
        """Presses a button that makes a picture, and waits for it."""
        thumbnails = self.page.locator("#history button.thumbnail-item")
        before = thumbnails.count()
        self.presses(button)
        sync_api.expect(thumbnails).to_have_count(before + 1, timeout=WAIT)
        self.sees("Done in")

    def stylises(self) -> bytes:
        """Makes a picture and downloads it."""
        self.makes("#run")
        return self.downloads()


@contextlib.contextmanager
def visiting(chromium: Any, url: str, **options: Any) -> Iterator[Visitor]:
    """A visitor, who is never shown a traceback, whose console stays clean, and who is sent to no other host."""
    context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    context.set_default_timeout(WAIT)
    visitor = Visitor(context.new_page())

    def logged(message: Any) -> None:
        if message.type == "error":
            visitor.complaints.append(message.text)

    def requested(request: Any) -> None:
        if not request.url.startswith((url, "data:", "blob:")):
            visitor.complaints.append(f"request to {request.url}")

    visitor.page.on("console", logged)
    visitor.page.on("pageerror", lambda error: visitor.complaints.append(str(error)))
    visitor.page.on("request", requested)
    try:
        visitor.page.goto(url)
        visitor.page.wait_for_selector("#run, input[type=password]")
        yield visitor
        assert "Traceback" not in visitor.page.content()
        assert visitor.complaints == [], visitor.complaints
    finally:
        context.close()


def png(width: int = 96, height: int = 72, seed: int = 0) -> bytes:
    """Coloured noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels))


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
