"""What tests of the command line share."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny


@pytest.fixture
def photo(tmp_path: Path) -> str:
    """The path of a small photo."""
    path = tmp_path / "photo.png"
    tiny.picture().save(path)
    return str(path)
