from __future__ import annotations

from collections.abc import Iterator

import pytest
from file_server import FileServer, file_server


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A local server of files, which can be told to misbehave."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with file_server() as running:
        yield running
