"""Settings in a PNG file and back; hostile files."""

from __future__ import annotations

import contextlib
import io
import json
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from genartisan.errors import InputError
from genartisan.page.picture_settings import MAX_SETTINGS, PictureSettings, read_settings, with_settings

PARAMS: dict[str, Any] = {
    "preset": "fast", "seed": 2**63 - 1, "size": 512, "output_size": 2048, "keep_colors": True,
    "style_image_share": 0.25, "regions": {"portrait": {"strength": 0.3}, "background": {"strength": 1.0}},
}  # fmt: skip
SETTINGS = PictureSettings("Fire „und“ 🔥", PARAMS, style_image=True, mask=True)


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 10), "red").save(buffer, "PNG")
    return buffer.getvalue()


def with_text(text: bytes, keyword: bytes = b"genartisan", kind: bytes = b"tEXt") -> bytes:
    """A PNG file with any text chunk."""
    data = keyword + b"\0" + text
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return png()[:33] + chunk + png()[33:]


def test_settings_come_back_and_the_pixels_stay() -> None:
    made = with_settings(png(), SETTINGS)
    assert read_settings(made) == SETTINGS
    image = Image.open(io.BytesIO(made))
    assert image.tobytes() == Image.open(io.BytesIO(png())).tobytes()
    assert json.loads(image.text["genartisan"])["prompt"] == SETTINGS.prompt  # type: ignore[attr-defined]


@pytest.mark.parametrize("change", [
    {"params": {"size": 10**9}}, {"params": {"seed": -1}}, {"params": {"preset": "other"}}, {"params": {"steps": 5}},
    {"params": {"regions": {"sky": {}}}}, {"params": {"regions": {"portrait": {"prompt": "x"}}}}, {"params": []},
    {"params": {"regions": []}}, {"params": {"regions": {"portrait": 1}}}, {"prompt": 5}, {"prompt": "x" * 1001},
    {"prompt": "\u202e"}, {"photo": "/etc/passwd"}, {"params": {"seed": 1e400}},
])  # fmt: skip
def test_unknown_and_invalid_settings_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        read_settings(with_text(json.dumps({"prompt": "Fire", "params": {}, **change}).encode()))
    assert caught.value.field == "settings"


@pytest.mark.parametrize("content", [
    b"", b"GIF89a", png(), png()[:20], png()[:40], with_text(b"{"), with_text(b"[]"), with_text(b"\xff"),
    with_text(b"1"),
    with_text(b"[" * 10_000), with_text(b'{"params": {}, "params": {}}'), with_text(b"x" * MAX_SETTINGS),
    with_text(zlib.compress(b"{}" * 10**6), kind=b"zTXt"), with_text(b"{}", keyword=b"other"),
    png()[:33] + b"\xff\xff\xff\xfftEXtgenartisan\0{}",
])  # fmt: skip
def test_other_files_are_refused(content: bytes) -> None:
    with pytest.raises(InputError) as caught:
        read_settings(content)
    assert caught.value.field == "settings"


@given(st.binary(max_size=200), st.integers(0, 200))
def test_any_bytes_are_refused_or_read(content: bytes, position: int) -> None:
    whole = with_settings(png(), SETTINGS)
    for file in (content, whole[:position] + content, whole[:position] + content + whole[position:]):
        with contextlib.suppress(InputError):
            assert isinstance(read_settings(file), PictureSettings)
