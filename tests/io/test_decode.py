"""Limits on the work of decoders, and the optional decoders of AVIF and HEIC."""

from __future__ import annotations

import io
import struct
import time
import zlib
from collections.abc import Callable

import icc
import pytest
import tiny
from PIL import Image

from genartisan.errors import InputError, TooLargeError, UnsupportedImageError
from genartisan.io import cicp, decode, subprocess_decoder
from genartisan.io.decode import READINGS, Bounded, size_of
from genartisan.io.images import read_mask, read_photo


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(*extra: bytes) -> bytes:
    data = saved(Image.new("RGB", (32, 32)), "PNG")
    return data[:33] + b"".join(extra) + data[33:]  # after IHDR


def jpeg_of_scans(count: int, side: int) -> bytes:
    """A progressive JPEG whose last scan, which refines every coefficient, comes again and again."""
    data = saved(Image.new("L", (side, side), 128), "JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + scan * count + data[-2:]


def gif(comments: int) -> bytes:
    data = saved(Image.new("P", (32, 32)), "GIF")
    start = 13 + 3 * (2 << (data[10] & 7))
    return data[:start] + b"\x21\xfe\x01c\0" * comments + data[start:]


def bmp(runs: bytes, side: int) -> bytes:
    """A BMP of 256 colours, in run-length code."""
    size = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, len(runs), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 1078 + len(runs), 0, 0, 1078) + size + bytes(1024) + runs


def tiff(entries: dict[int, tuple[int, int, int]], content: bytes = b"") -> bytes:
    """A TIFF of one directory: type, count and value, or place, by tag."""
    listed = b"".join(struct.pack("<HHII", tag, *entry) for tag, entry in sorted(entries.items()))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + listed + bytes(4) + content


GREY = {258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1)}  # 8 bits, not compressed

SLOW: dict[str, Callable[[], bytes]] = {
    "PNG of empty chunks": lambda: png(chunk(b"teSt") * 300_000),
    "PNG of texts": lambda: png(chunk(b"tEXt", b"a\0b") * 300_000),
    "JPEG of scans": lambda: jpeg_of_scans(4000, 2000),
    "JPEG of fill bytes": lambda: b"\xff\xd8" + b"\xff" * 2_000_000 + saved(Image.new("L", (32, 32)), "JPEG")[2:],
    "GIF of comments": lambda: gif(1_000_000),
    "BMP of short runs": lambda: bmp(b"\x01\x05" * 1_000_000, 1000),
    "PPM of an odd depth": lambda: b"P5 2000 1000 254\n" + bytes(2_000_000),
    "PPM with a comment": lambda: b"P6 #" + b"x" * 2_000_000 + b"\n32 32 255\n" + bytes(3072),
}  # fmt: skip


@pytest.mark.parametrize("name", SLOW)
def test_a_decoder_is_stopped_when_its_time_is_over(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "SECONDS", 0.1)
    began = time.thread_time()
    with pytest.raises(TooLargeError, match="too long"):
        read_photo(SLOW[name]())
    assert time.thread_time() - began < 3  # of which most is making it


def test_a_header_has_no_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "SECONDS", 0.1)
    with pytest.raises(TooLargeError, match="too long"):
        size_of(SLOW["PNG of empty chunks"](), "photo")


def test_a_decoder_cannot_read_its_bytes_over_and_over() -> None:
    source = Bounded(bytes(2_000_000), "photo")
    for _ in range(READINGS):
        source.seek(0)
        assert len(source.read()) == 2_000_000
    source.seek(0)
    with pytest.raises(TooLargeError, match="too long"):
        source.read()


def test_a_tiffs_strips_cannot_all_be_the_same_bytes() -> None:
    side, place = 4000, 8 + 2 + 8 * 12 + 4
    strips = struct.pack(f"<{2 * side}I", *[0] * side, *[side] * side)
    sizes = {
        256: (4, 1, side),
        257: (4, 1, side),
        278: (4, 1, 1),
        273: (4, side, place),
        279: (4, side, place + 4 * side),
    }
    with pytest.raises(TooLargeError, match="too long"):
        read_photo(tiff({**GREY, **sizes}, strips))


@pytest.mark.parametrize("tile", [(30_000, 30_000), (16, 4_000_000), (0, 0)])
def test_a_tiffs_tiles_may_not_be_bombs(tile: tuple[int, int]) -> None:
    tiles = {259: (3, 1, 8), 322: (4, 1, tile[0]), 323: (4, 1, tile[1]), 324: (4, 1, 8), 325: (4, 1, 8)}
    with pytest.raises(InputError, match="tiles"):
        read_photo(tiff({**GREY, 256: (4, 1, 2000), 257: (4, 1, 2000), **tiles}))
    ordinary = saved(tiny.picture(), "TIFF", tiffinfo={322: 256, 323: 256}, compression="tiff_lzw")
    assert read_photo(ordinary).size == (64, 48)


@pytest.mark.parametrize("magic", ["P1", "P2", "P3"])
def test_plain_ppm_is_refused_before_it_is_read(magic: str) -> None:
    data = f"{magic} 1000 1000\n".encode() + b"#\n" * 1_000_000
    for read in (lambda: read_photo(data), lambda: read_mask(data, (1000, 1000)), lambda: size_of(data, "photo")):
        with pytest.raises(UnsupportedImageError, match="binary"):
            read()
    assert read_photo(b"P6 32 32 255\n" + bytes(3072)).size == (32, 32)


def test_a_large_exif_is_read() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    wide = saved(tiny.picture(64, 32), "PNG")
    turned = wide[:33] + chunk(b"eXIf", exif.tobytes()[6:].ljust(2_000_000, b"\0")) + wide[33:]
    assert read_photo(turned).size == (32, 64)


def test_a_text_where_pillow_looks_for_a_transparent_colour_is_refused() -> None:
    with pytest.raises(InputError, match="damaged"):
        read_photo(png(chunk(b"tEXt", b"transparency\0glass")))


@pytest.fixture(params=["AVIF", "HEIF"])
def kind(request: pytest.FixtureRequest) -> str:
    """A format that is decoded apart, if this machine can read it."""
    if request.param not in subprocess_decoder.readable():
        pytest.skip(f"no decoder for {request.param}")
    if request.param == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    return str(request.param)


def test_such_a_picture_is_read_with_its_colours_alpha_and_rotation(kind: str) -> None:
    image = Image.new("RGBA", (64, 32), (213, 172, 142, 255))
    image.paste((213, 172, 142, 0), (0, 0, 32, 32))
    exif = Image.Exif()
    exif[0x0112] = 3
    data = saved(image, kind, quality=95, icc_profile=icc.DISPLAY_P3.profile(), exif=exif.tobytes())
    assert size_of(data, "photo") == (64, 32)
    photo = read_photo(data)
    assert photo.size == (64, 32)
    assert photo.alpha is not None
    assert float(photo.alpha[..., 40:].max()) < 0.1 < 0.9 < float(photo.alpha[..., :24].min())
    assert photo.pixels[:, 8:24, 8:24].mean(dim=(1, 2)).numpy() * 255 == pytest.approx((222, 171, 138), abs=4)


def test_its_colours_may_be_code_points(kind: str) -> None:
    data = saved(Image.new("RGB", (64, 32), (213, 172, 142)), kind, quality=95)
    primaries = data.index(b"nclx") + 4
    assert read_photo(data).pixels.mean(dim=(1, 2)).numpy() * 255 == pytest.approx((213, 172, 142), abs=4)
    display_p3 = data[:primaries] + struct.pack(">HH", 12, 13) + data[primaries + 4 :]
    assert read_photo(display_p3).pixels.mean(dim=(1, 2)).numpy() * 255 == pytest.approx((222, 171, 138), abs=4)
    hdr = data[:primaries] + struct.pack(">HH", 9, 16) + data[primaries + 4 :]
    assert "HDR" in read_photo(hdr).warnings[0]


@pytest.mark.parametrize("length", [0, 1, 4, 2**31])
def test_boxes_of_impossible_lengths_hold_no_colours(length: int) -> None:
    colours = struct.pack(">I4s4sHH", length, b"colr", b"nclx", 12, 13)
    nested = colours
    for name in (b"ipco", b"iprp", b"meta"):
        body = bytes(4) + nested if name == b"meta" else nested
        nested = struct.pack(">I4s", 8 + len(body), name) + body
    assert cicp.of_heif(nested) == (cicp.Cicp(12, 13) if length == 0 else None)  # 0: to the end


def test_of_several_pictures_the_first_is_read(kind: str) -> None:
    red, blue = Image.new("RGB", (64, 48), "red"), Image.new("RGB", (64, 48), "blue")
    photo = read_photo(saved(red, kind, save_all=True, append_images=[blue]))
    assert photo.pixels.mean(dim=(1, 2)).numpy() == pytest.approx((1, 0, 0), abs=0.05)


def test_what_is_wrong_with_such_a_picture_is_said(kind: str) -> None:
    data = saved(tiny.picture(), kind)
    for broken in (data[:40], data[: len(data) // 2], data[:-20]):
        with pytest.raises(InputError, match="send it whole") as caught:
            read_photo(broken)
        assert " at 0x" not in caught.value.message
    with pytest.raises(TooLargeError, match="at most 3,000"):
        read_photo(data, max_pixels=3000)


@pytest.mark.skipif("AVIF" not in subprocess_decoder.readable(), reason="no decoder for AVIF")
def test_an_avif_of_many_items_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """libavif compares each item of a header with all before it."""
    monkeypatch.setattr(subprocess_decoder, "CORE_SECONDS", 1)
    data = saved(Image.new("RGB", (64, 64)), "AVIF")
    meta, items = (data.index(name) - 4 for name in (b"meta", b"iinf"))
    whole, length = (struct.unpack_from(">I", data, at)[0] for at in (meta, items))
    count = 60_000
    more = b"".join(
        struct.pack(">I4sIIH4sB", 23, b"infe", 3 << 24, 1000 + item, 0, b"Exif", 0) for item in range(count)
    )
    entries = data[items + 14 : items + length]
    listed = struct.pack(">I4sII", 16 + len(entries) + len(more), b"iinf", 1 << 24, count + 1) + entries + more
    grown = struct.pack(">I", whole + len(listed) - length)
    bomb = data[:meta] + grown + data[meta + 4 : items] + listed + data[items + length :]
    for read in (lambda: size_of(bomb, "photo"), lambda: read_photo(bomb)):
        with pytest.raises(TooLargeError, match="too long"):
            read()


@pytest.mark.parametrize(("brand", "says"), [(b"avif", "AVIF"), (b"heic", "HEIC"), (b"mif1", "HEIC")])
def test_where_there_is_no_decoder_the_format_is_named(
    brand: bytes, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess_decoder, "readable", lambda: ())
    data = struct.pack(">I", 24) + b"ftyp" + brand + bytes(4) + brand + b"miaf" + bytes(100)
    with pytest.raises(UnsupportedImageError, match=says) as caught:
        read_photo(data)
    assert "send one of JPEG, PNG" in caught.value.message


def test_formats_that_are_read_apart_are_named_where_others_are_refused(kind: str) -> None:
    with pytest.raises(UnsupportedImageError, match=kind):
        read_photo(b"no picture at all")
