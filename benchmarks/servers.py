"""Servers whose settings differ from the shipped ones, and how long they take."""

from __future__ import annotations

import io
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from genartisan.serving import serve
from genartisan.serving.archive import project_file
from genartisan.serving.client import Client
from genartisan.serving.defaults import DRAFT, Ports
from genartisan.serving.state import Server


@contextmanager
def serving(bundle: str | Path, changes: Mapping[str, object], *, own_drafts: bool = True) -> Iterator[Server]:
    """A server of ``bundle``, without a cache of pictures.

    Args:
        changes: values of model-config.yaml by name, which must occur once there.
        own_drafts: whether drafts have workers of their own.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings, config = folder / "model-config.yaml", folder / "config.properties"
        text = project_file("handlers/model-config.yaml").read_text(encoding="utf-8")
        for key, value in {"result_cache_bytes": 0, **changes}.items():
            text, changed = re.subn(rf"\b{key}: \w+", f"{key}: {value}", text)
            assert changed == 1, key
        settings.write_text(text, encoding="utf-8")
        text = project_file("config.properties").read_text(encoding="utf-8")
        config.write_text(text if own_drafts else text.replace(f"{DRAFT}=genartisan.mar,", ""), encoding="utf-8")
        serve.archive(bundle, folder / "store", settings=settings)
        server = serve.start(folder / "store", state=folder / "state", config=config, ports=Ports.free())
        try:
            yield server
        finally:
            serve.stop(folder / "state")


def seconds_of(client: Client, photo: Path | bytes, prompt: str, params: dict[str, Any]) -> float:
    """Seconds from the encoded photo to the encoded picture."""
    began = time.monotonic()
    answer = client.stylize(photo, prompt, params=params)
    seconds = time.monotonic() - began
    Image.open(io.BytesIO(answer.content)).load()  # it is one
    return round(seconds, 3)
