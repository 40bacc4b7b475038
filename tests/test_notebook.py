"""The notebook of the docs runs from top to bottom, and shows what it showed when it was committed."""

from __future__ import annotations

from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("matplotlib")

NOTEBOOK = Path(__file__).resolve().parent.parent / "docs" / "notebook.ipynb"


@pytest.mark.slow
def test_the_notebook_runs_and_shows_the_same_kinds_of_output(tmp_path: Path) -> None:
    committed = nbformat.read(NOTEBOOK, as_version=4)
    executed = nbformat.from_dict(committed)
    nbclient.NotebookClient(executed, timeout=600, resources={"metadata": {"path": tmp_path}}).execute()
    for before, after in zip(committed.cells, executed.cells, strict=True):
        assert kinds(after) == kinds(before), before.source
    assert sum("image/jpeg" in kind for cell in executed.cells for kind in kinds(cell)) >= 5


def kinds(cell: dict) -> list[list[str]]:
    """For each output of a cell: its stream, or its media types."""
    return [[output["name"]] if "name" in output else sorted(output["data"]) for output in cell.get("outputs", ())]
