"""Every kind of picture becomes upright RGB; anything else is refused with its field."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image, ImageDraw

from genartisan.errors import InputError, TooLargeError, UnsupportedImageError
from genartisan.io.images import GROUND, Photo, encode, fitted, on_white, read_mask, read_photo, resized, to_image


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(("mode", "kind"), [
    ("RGB", "PNG"), ("RGB", "JPEG"), ("RGB", "WEBP"), ("RGB", "BMP"), ("RGB", "TIFF"), ("RGB", "GIF"), ("L", "PNG"),
    ("CMYK", "JPEG"), ("CMYK", "TIFF"), ("P", "PNG"), ("1", "PNG"), ("YCbCr", "JPEG"), ("LAB", "TIFF"), ("RGBA", "PNG"),
    ("LA", "PNG"),
])  # fmt: skip
def test_every_mode_becomes_rgb_of_the_same_look(mode: str, kind: str) -> None:
    original = tiny.picture(64, 48)
    photo = read_photo(saved(original.convert(mode), kind))
    assert photo.pixels.shape == (3, 48, 64)
    assert photo.pixels.dtype == torch.float32
    expected = original.convert("L") if mode in ("L", "LA", "1") else original
    difference = np.asarray(to_image(photo.pixels), float) - np.asarray(expected.convert("RGB"), float)
    assert abs(difference.mean()) < (8 if mode != "1" else 20)
    if mode not in ("1", "P"):
        assert np.abs(difference).mean() < 12


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16)[None].repeat(32, 0)
    photo = read_photo(saved(Image.fromarray(ramp)))
    assert torch.allclose(photo.pixels[0, 0], torch.linspace(0, 1, 64), atol=1 / 250)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_honoured(orientation: int) -> None:
    stored = Image.new("RGB", (64, 32))
    stored.paste((255, 0, 0), (0, 0, 32, 16))  # the stored upper left quarter is red
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = read_photo(saved(stored, "PNG", exif=exif))
    assert photo.size == ((64, 32) if orientation < 5 else (32, 64))
    red = photo.pixels[0] > 0.5
    rows, columns = red.any(1).nonzero(), red.any(0).nonzero()
    at_bottom, at_right = int(rows.min()) > 0, int(columns.min()) > 0
    assert (at_bottom, at_right) == {
        1: (False, False), 2: (False, True), 3: (True, True), 4: (True, False),
        5: (False, False), 6: (False, True), 7: (True, True), 8: (True, False),
    }[orientation]  # fmt: skip


def test_damaged_exif_is_refused() -> None:
    data = saved(Image.new("RGB", (32, 32)), "WEBP", exif=b"\0MM\0*" + bytes(8))
    for read in (lambda: read_photo(data), lambda: read_mask(data, (32, 32))):
        with pytest.raises(InputError, match="damaged"):
            read()


def test_alpha_is_kept_beside_and_put_back() -> None:
    image = tiny.picture(64, 48, mode="RGBA")
    photo = read_photo(saved(image))
    assert photo.alpha is not None
    back = to_image(photo.pixels, photo.alpha)
    assert back.mode == "RGBA"
    visible = np.asarray(image)[..., 3] > 0
    assert np.array_equal(np.asarray(back)[visible], np.asarray(image)[visible])
    assert np.array_equal(np.asarray(back)[..., 3], np.asarray(image)[..., 3])


def disc(hidden: str = "lime") -> Image.Image:
    """A red disc; beside it nothing is to be seen, over another colour."""
    image = Image.new("RGBA", (96, 96), hidden)
    shape = Image.new("L", (96, 96))
    ImageDraw.Draw(shape).ellipse((20, 20, 75, 75), fill=255)
    image.paste("red", (0, 0), shape)
    image.putalpha(shape)
    return image


@pytest.mark.parametrize("side", [64, 33, 96, 200])
def test_what_alpha_hides_is_seen_nowhere(side: int) -> None:
    photo = resized(read_photo(saved(disc())), side)
    assert photo.alpha is not None
    visible = photo.alpha[0] > 0.5 / 255
    red, green, blue = photo.pixels
    assert float(green[visible].max()) < 0.02
    assert float(blue[visible].max()) < 0.02
    assert float(red[visible].min()) > 0.98
    assert bool((photo.pixels[:, ~visible] == GROUND).all())


def test_a_picture_does_not_depend_on_what_alpha_hides() -> None:
    green, blue = (resized(read_photo(saved(disc(hidden))), 64) for hidden in ("lime", "navy"))
    assert torch.equal(green.pixels, blue.pixels)
    assert np.array_equal(on_white(disc("lime")), on_white(disc("navy")))


def test_an_opaque_alpha_is_dropped() -> None:
    assert read_photo(saved(tiny.picture().convert("RGBA"))).alpha is None


def test_palette_transparency_becomes_alpha() -> None:
    image = tiny.picture().convert("P")
    data = saved(image, "PNG", transparency=image.getpixel((0, 0)))
    photo = read_photo(data)
    assert photo.alpha is not None
    assert photo.alpha[0, 0, 0] == 0


@pytest.mark.parametrize(("size", "long_side", "expected"), [
    ((640, 480), 512, (512, 384)), ((480, 640), 512, (384, 512)), ((50, 50), 96, (96, 96)),
    ((1600, 100), 256, (256, 16)),
])  # fmt: skip
def test_resizing_keeps_the_aspect_ratio(size: tuple[int, int], long_side: int, expected: tuple[int, int]) -> None:
    assert fitted(size, long_side) == expected
    photo = resized(Photo(torch.rand(3, size[1], size[0]), torch.rand(1, size[1], size[0])), long_side)
    assert photo.size == expected
    assert photo.alpha is not None
    assert photo.alpha.shape == (1, expected[1], expected[0])
    assert 0 <= float(photo.pixels.min()) <= float(photo.pixels.max()) <= 1


def test_a_size_at_which_the_aspect_ratio_could_not_be_kept_is_refused() -> None:
    with pytest.raises(InputError, match="at least 256") as caught:
        fitted((1600, 100), 128)
    assert caught.value.field == "size"


def test_one_value_of_sixteen_bits_may_be_transparent() -> None:
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16)[None].repeat(32, 0)
    image = Image.fromarray(ramp)
    photo = read_photo(saved(image, "PNG", transparency=int(ramp[0, 20])))
    assert photo.alpha is not None
    visible = photo.alpha[0, 0] > 0
    assert torch.allclose(photo.pixels[0, 0, visible], torch.linspace(0, 1, 64)[visible], atol=1 / 250)
    assert (photo.alpha[0, 0] == 0).nonzero().flatten().tolist() == [20]


def bomb(width: int, height: int) -> bytes:
    """A PNG that claims to be huge and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(("data", "error", "hint"), [
    (b"", InputError, "0 bytes"),
    (b"hello, world", UnsupportedImageError, "known format"),
    (b"<svg xmlns='http://www.w3.org/2000/svg'/>", UnsupportedImageError, "SVG"),
    (saved(tiny.picture())[:200], InputError, "truncated"),
    (saved(tiny.picture(), "JPEG")[:300], InputError, "truncated"),
    (saved(Image.new("RGB", (1, 1))), InputError, "1x1"),
    (saved(Image.new("RGB", (15, 100))), InputError, "at least 16"),
    (saved(Image.new("RGB", (2000, 20))), InputError, "Crop"),
    (bomb(30_000, 30_000), TooLargeError, "at most"),
    (bomb(9_000, 9_000), TooLargeError, "at most"),
])  # fmt: skip
def test_what_is_no_photo_is_refused(data: bytes, error: type[InputError], hint: str) -> None:
    with pytest.raises(error) as caught:
        read_photo(data)
    assert caught.value.field == "photo"
    assert hint in caught.value.message


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            read_photo(path)


def test_masks_are_read_from_any_black_and_white_picture() -> None:
    expected = np.zeros((48, 64), bool)
    expected[:, :32] = True
    for image in (tiny.mask(), tiny.mask().convert("1"), tiny.mask().convert("RGB"), tiny.mask().convert("RGBA")):
        assert np.array_equal(read_mask(saved(image), (64, 48)).numpy(), expected)
    wide = Image.fromarray((expected * 65535).astype(np.uint16))
    assert np.array_equal(read_mask(saved(wide), (64, 48)).numpy(), expected)


def test_a_mask_of_another_size_is_refused_with_both_sizes() -> None:
    with pytest.raises(InputError) as caught:
        read_mask(saved(tiny.mask(32, 32)), (64, 48))
    assert caught.value.field == "mask"
    assert "32x32" in caught.value.message
    assert "64x48" in caught.value.message


def test_a_mask_of_zeros_and_ones_is_refused_rather_than_read_as_empty() -> None:
    with pytest.raises(InputError, match="255"):
        read_mask(saved(tiny.mask().point(lambda v: v // 255)), (64, 48))


@pytest.mark.parametrize(("media_type", "kind"), [("image/png", "PNG"), ("image/jpeg", "JPEG"), ("image/webp", "WEBP")])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_encoding_gives_the_format_that_was_asked_for(media_type: str, kind: str, mode: str) -> None:
    image = Image.open(io.BytesIO(encode(tiny.picture(mode=mode), media_type)))
    assert image.format == kind
    assert image.size == (64, 48)
    assert image.mode == ("RGB" if kind == "JPEG" else mode)


def test_encoding_refuses_other_formats() -> None:
    with pytest.raises(InputError, match="image/png"):
        encode(tiny.picture(), "image/tiff")
