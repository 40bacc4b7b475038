"""Items of a batch: names of their files, and checks of what they say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import tiny

from genartisan.batch.items import Item, check, of_photos
from genartisan.errors import InputError
from genartisan.method.saved_style import StyleFolder
from genartisan.networks.bundle import Bundle


def item(photo: str = "a.jpg", prompt: str | None = "Fire", **changes: Any) -> Item:
    return Item(photo=photo, prompt=prompt, folder="/photos", **changes)


@pytest.mark.parametrize(
    ("photo", "prompt", "readable"),
    [
        ("a.jpg", "Fire", "a.fire-"),
        ("holiday/sea side.JPG", "The Great Wave", "holiday/sea-side.the-great-wave-"),
        ("s3://bucket/far/b.png", "Fire", "b.fire-"),
        ("/elsewhere/b.png", "Fire", "b.fire-"),
        ("../b.png", "Fire", "b.fire-"),
        ("x/../b.png", "Fire", "b.fire-"),
        ("größe 写真.png", "Öl", "größe-写真.öl-"),
        ("?.png", "!", "photo.style-"),
        ("a/b.png", "../../etc/passwd", "a/b.passwd-"),
    ],
)
def test_a_name_tells_photo_and_style(photo: str, prompt: str, readable: str) -> None:
    assert re.fullmatch(re.escape(readable) + r"[0-9a-f]{8}\.png", item(photo, prompt).name(".png"))


def test_a_name_depends_on_nothing_but_the_item() -> None:
    photos = ["a.jpg", "b.jpg"]
    first, second = (of_photos(some, item(), ["Fire", "Ice"]) for some in (photos, ["0.jpg", *photos]))
    assert [each.name(".png") for each in first] == [each.name(".png") for each in second[2:]]


def test_what_is_written_alike_has_different_names() -> None:
    alike = [
        item("a.jpg"), item("a.png"), item("A.jpg"), item("b/../c/a.jpg"), item("s3://x/a.jpg"), item(prompt="Fire!"),
        item(prompt=None), item(masks={"portrait": "m.png"}), item(style_images={"all": "s.png"}),
        item(params={"seed": 1}), item(params={"preset": "draft"}),
        item(params={"regions": {"portrait": {"share": 0.3}}}),
    ]  # fmt: skip
    assert len({each.name(".png").lower() for each in alike}) == len(alike)
    assert item(params={"seed": 0}).name(".png") == item().name(".png")  # it is the default


def test_a_long_name_fits_a_file_system() -> None:
    assert len(item("写" * 80 + ".png", "é" * 500).name(".webp").encode()) <= 255


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"params": {"steps": -1}}, "steps is -1"),
        ({"params": {"preset": "x"}}, "preset is 'x'"),
        ({"params": {"seed": "x"}}, "seed is 'x'"),
        ({"prompt": None}, "prompt is missing"),
        ({"prompt": "person: Fire; dog: Ice"}, "none for the rest"),
        ({"params": {"style": "no-such"}}, "no-such"),
        ({"params": {"regions": {"dog": {"prompt": "Fire"}}}}, "dog"),
    ],
)
def test_an_invalid_item_is_refused_with_its_line(
    changes: dict[str, Any], says: str, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    bad = item(row=7).model_copy(update=changes)
    with pytest.raises(InputError, match=f"manifest line 7: .*{re.escape(says)}"):
        check([item(row=2), bad], tiny_bundle, StyleFolder(tmp_path))


def test_the_same_picture_twice_is_refused(tiny_bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 5: .*line 2"):
        check([item(row=2), item("b.jpg", row=3), item(row=5)], tiny_bundle, StyleFolder(tmp_path))
    with pytest.raises(InputError, match="another prompt"):
        check(of_photos(["a.jpg"], item(), ["Fire", "Fire"]), tiny_bundle, StyleFolder(tmp_path))


def test_checked_items_bring_the_styles_that_they_name(tiny_bundle: Bundle, tmp_path: Path) -> None:
    for name in ("used", "other"):
        tiny.write_style(tmp_path / f"{name}.safetensors")
    assert list(check([item(params={"style": "used"})], tiny_bundle, StyleFolder(tmp_path))) == ["used"]
