"""The demo without its server: existing pictures are reused, and the sheet shows all."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
from PIL import Image

from genartisan.cli import demo
from genartisan.io.contact_sheet import contact_sheet
from genartisan.networks.bundle import EMBEDDED


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the pictures requested; each request is answered with a drawing."""
    requested: list[str] = []

    def request_all(missing: list[demo.Picture], folder: Path) -> None:
        for picture in missing:
            requested.append(f"{picture.name}.png")
            tiny.picture().save(folder / requested[-1])

    monkeypatch.setattr(demo, "request_all", request_all)
    monkeypatch.setattr(demo, "archive", lambda bundle, store: Path("none.mar"))
    monkeypatch.setattr(demo, "digest_of", lambda path: "this archive")
    monkeypatch.chdir(Path(__file__).resolve().parents[2])
    return requested


def test_a_rerun_requests_only_missing_pictures(requests: list[str], tmp_path: Path) -> None:
    sheet = demo.make(tmp_path)
    assert len(requests) == len(demo.PICTURES)
    (tmp_path / requests[0]).unlink()
    (tmp_path / "mine.txt").write_text("a user's own file")
    demo.make(tmp_path)
    assert requests[-1] == requests[0]
    assert len(requests) == len(demo.PICTURES) + 1
    assert Image.open(sheet).width > 4 * demo.SIDE


def test_pictures_of_another_archive_are_replaced(
    requests: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo.make(tmp_path)
    (tmp_path / "mine.txt").write_text("a user's own file")
    monkeypatch.setattr(demo, "digest_of", lambda path: "another archive")
    demo.make(tmp_path)
    assert len(requests) == 2 * len(demo.PICTURES)
    assert (tmp_path / "mine.txt").exists()


def test_a_contact_sheet_holds_every_picture_in_its_place() -> None:
    red, green = Image.new("RGB", (50, 100), "red"), Image.new("RGBA", (80, 80), "green")
    sheet = contact_sheet([[("a", red), ("b", green)], [("c", red)]], side=40)
    colours = {colour for _, colour in sheet.getcolors(100_000) or []}
    assert {(255, 0, 0), (0, 128, 0), (255, 255, 255)} <= colours
    assert sheet.getpixel((8 + 20, 8 + 20)) == (255, 0, 0)
    assert sheet.getpixel((8 + 48 + 20, 8 + 20)) == (0, 128, 0)


def test_the_embedded_bundle_is_small_enough_to_ship() -> None:
    assert sum(path.stat().st_size for path in EMBEDDED.iterdir() if path.is_file()) <= 12_000_000
