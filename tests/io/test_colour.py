"""Colour management: profiles, EXIF and PNG chunks become sRGB; masks are data and are left alone."""

from __future__ import annotations

import io
import re
import struct
import zlib

import icc
import numpy as np
import pytest
import tiny
import torch
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from genartisan.config import StyleConfig
from genartisan.io.colour import MAX_PROFILE
from genartisan.io.images import Photo, encode, read_classes, read_mask, read_photo
from genartisan.io.rgb_space import SRGB_PROFILE
from genartisan.method.stylizer import Stylizer

NUMBERS = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def numbers(photo: Photo) -> np.ndarray:
    """0-255, ``(H, W, 3)``."""
    return photo.pixels.permute(1, 2, 0).numpy() * 255


@pytest.mark.parametrize("space", [icc.DISPLAY_P3, icc.ADOBE_RGB, icc.PROPHOTO], ids=["P3", "Adobe RGB", "ProPhoto"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_numbers_of_another_space_become_those_of_srgb(space: icc.Space, kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    photo = read_photo(saved(Image.fromarray(NUMBERS), kind, icc_profile=space.profile(), **options))
    difference = np.abs(numbers(photo) - space.as_srgb(NUMBERS))
    assert difference.mean() < 0.5
    assert difference.max() < 3
    assert not photo.warnings


def test_skin_of_a_phones_photo_is_as_it_was() -> None:
    skin = Image.new("RGB", (32, 32), (213, 172, 142))
    for kind in ("JPEG", "PNG"):
        photo = read_photo(saved(skin, kind, icc_profile=icc.DISPLAY_P3.profile()))
        assert numbers(photo).mean(axis=(0, 1)) == pytest.approx((222, 171, 138), abs=1.5)


def test_a_pil_image_has_a_profile_too_and_keeps_its_numbers() -> None:
    image = Image.open(io.BytesIO(saved(Image.fromarray(NUMBERS), icc_profile=icc.ADOBE_RGB.profile())))
    photo = read_photo(image)
    assert np.abs(numbers(photo) - icc.ADOBE_RGB.as_srgb(NUMBERS)).mean() < 0.5
    assert np.array_equal(np.asarray(image), NUMBERS)


def test_alpha_and_rotation_stay_beside_the_colours() -> None:
    rgba = np.dstack((NUMBERS, np.full(NUMBERS.shape[:2], 77, np.uint8)))
    exif = Image.Exif()
    exif[0x0112] = 3
    photo = read_photo(saved(Image.fromarray(rgba), icc_profile=icc.DISPLAY_P3.profile(), exif=exif))
    assert np.abs(numbers(photo) - icc.DISPLAY_P3.as_srgb(NUMBERS)[::-1, ::-1]).mean() < 0.5
    assert photo.alpha is not None
    assert torch.allclose(photo.alpha, torch.tensor(77 / 255))


LITTLECMS_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("profile", [None, SRGB_PROFILE, LITTLECMS_SRGB], ids=["none", "ours", "littlecms"])
def test_numbers_of_srgb_stay_as_they_are(profile: bytes | None) -> None:
    assert np.array_equal(numbers(read_photo(saved(Image.fromarray(NUMBERS), icc_profile=profile))).round(), NUMBERS)


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_a_grey_profile_counts(mode: str) -> None:
    ramp = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (32, 1))
    image = Image.fromarray(ramp.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(ramp).convert(mode)
    photo = read_photo(saved(image, icc_profile=icc.GREY))
    assert np.abs(numbers(photo) - icc.encoded(ramp / 255)[..., None]).max() < 1.5
    assert not photo.warnings


def test_a_printers_profile_counts() -> None:
    inks = Image.new("CMYK", (32, 32), (255, 255, 0, 0))  # half of all ink: L* 50 in that profile, sRGB 119
    for kind in ("JPEG", "TIFF"):
        photo = read_photo(saved(inks, kind, icc_profile=icc.cmyk()))
        assert np.abs(numbers(photo) - 119).max() < 3
        assert not photo.warnings


def test_a_palettes_colours_are_converted() -> None:
    image = Image.new("RGB", (32, 32), (213, 172, 142)).quantize(4)
    data = saved(image, icc_profile=icc.DISPLAY_P3.profile(), transparency=3)
    assert numbers(read_photo(data))[0, 0] == pytest.approx(icc.DISPLAY_P3.as_srgb(np.array([213, 172, 142])), abs=2)


def test_a_camera_says_adobe_rgb_in_its_exif() -> None:
    interop = struct.pack("<HHHI4sI", 1, 1, 2, 4, b"R03\0", 0)
    exif = struct.pack("<HHHIII", 1, 0xA005, 4, 1, 44, 0)
    main = struct.pack("<HHHIII", 1, 0x8769, 4, 1, 26, 0)
    data = saved(Image.fromarray(NUMBERS), exif=b"Exif\0\0II*\0\x08\0\0\0" + main + exif + interop)
    assert np.abs(numbers(read_photo(data)) - icc.ADOBE_RGB.as_srgb(NUMBERS)).mean() < 0.5


def png(*chunks: tuple[bytes, tuple[int, ...]]) -> bytes:
    """`NUMBERS` with chunks of 32-bit numbers."""
    info = PngInfo()
    for name, values in chunks:
        info.add(name, struct.pack(f">{len(values)}I", *values) if name != b"sRGB" else b"\0")
    return saved(Image.fromarray(NUMBERS), pnginfo=info)


def chromaticities(space: icc.Space) -> tuple[bytes, tuple[int, ...]]:
    return b"cHRM", tuple(round(100_000 * value) for point in (space.white, *space.primaries) for value in point)


def test_a_png_says_its_colours_in_chunks() -> None:
    linear = icc.Space(((0.64, 0.33), (0.3, 0.6), (0.15, 0.06)), exponent=1.0)
    assert np.abs(numbers(read_photo(png((b"gAMA", (100_000,))))) - linear.as_srgb(NUMBERS)).mean() < 0.5
    wide = read_photo(png((b"gAMA", (45_455,)), chromaticities(icc.PROPHOTO)))
    assert np.abs(numbers(wide) - NUMBERS).mean() > 5
    both = read_photo(png((b"gAMA", (55_556,)), chromaticities(icc.PROPHOTO)))
    assert np.abs(numbers(both) - icc.PROPHOTO.as_srgb(NUMBERS)).mean() < 0.5


def test_a_png_that_says_srgb_in_chunks_stays_as_it_is() -> None:
    srgb = chromaticities(icc.Space(((0.64, 0.33), (0.3, 0.6), (0.15, 0.06))))
    for chunks in ([(b"gAMA", (45_455,))], [(b"gAMA", (45_455,)), srgb], [(b"sRGB", ()), (b"gAMA", (100_000,))]):
        assert np.array_equal(numbers(read_photo(png(*chunks))).round(), NUMBERS)


def with_code_points(*values: int, **options: object) -> bytes:
    """`NUMBERS` as PNG with a cICP chunk."""
    info = PngInfo()
    info.add(b"cICP", bytes(values))
    return saved(Image.fromarray(NUMBERS), pnginfo=info, **options)


BT_2020 = ((0.708, 0.292), (0.17, 0.797), (0.131, 0.046))


@pytest.mark.parametrize(
    ("points", "space"),
    [((12, 4, 0, 1), icc.DISPLAY_P3), ((9, 8, 0, 1), icc.Space(BT_2020, exponent=1.0))],
    ids=["P3", "linear BT.2020"],
)
def test_a_png_says_its_colours_in_code_points(points: tuple[int, ...], space: icc.Space) -> None:
    photo = read_photo(with_code_points(*points, icc_profile=icc.PROPHOTO.profile()))  # which comes second
    assert np.abs(numbers(photo) - space.as_srgb(NUMBERS)).mean() < 0.5
    assert not photo.warnings


@pytest.mark.parametrize("transfer", [1, 2, 13])
def test_code_points_of_srgb_leave_the_numbers(transfer: int) -> None:
    assert np.array_equal(numbers(read_photo(with_code_points(1, transfer, 0, 1))).round(), NUMBERS)


@pytest.mark.parametrize(
    ("points", "says"), [((9, 16, 0, 1), "HDR picture .PQ."), ((3, 13, 0, 1), "primaries 3"), ((1, 13, 0, 0), "narrow")]
)
def test_code_points_that_cannot_be_heeded_are_told_of_unless_a_profile_says_the_same(
    points: tuple[int, ...], says: str
) -> None:
    photo = read_photo(with_code_points(*points))
    assert np.array_equal(numbers(photo).round(), NUMBERS)
    assert re.search(says, *photo.warnings)
    photo = read_photo(with_code_points(*points, icc_profile=icc.DISPLAY_P3.profile()))
    assert np.abs(numbers(photo) - icc.DISPLAY_P3.as_srgb(NUMBERS)).mean() < 0.5
    assert not photo.warnings


BROKEN = {
    "zeros": (bytes(128), "damaged"),
    "cut short": (icc.DISPLAY_P3.profile()[:200], "ICC profile"),
    "too large": (icc.DISPLAY_P3.profile().ljust(MAX_PROFILE + 1, b"\0"), "at most 4,194,304"),
    "for inks": (icc.cmyk(), "for CMYK"),
    "for grey": (icc.GREY, "for L"),
    "of a link": (icc.profile({}, kind=b"link"), "class link"),
    "a long chain": (icc.chain(300_000), "multiProcessElements"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_profile_that_cannot_be_heeded_is_told_of_and_the_numbers_stay(name: str) -> None:
    profile, says = BROKEN[name]
    photo = read_photo(saved(Image.fromarray(NUMBERS), "TIFF", icc_profile=profile))
    assert np.array_equal(numbers(photo).round(), NUMBERS)
    (warning,) = photo.warnings
    assert warning.startswith("photo: its colours are read as sRGB")
    assert says in warning


@pytest.mark.parametrize("chunk", [(b"gAMA", (0,)), (b"gAMA", (2**31,)), (b"cHRM", (0,) * 8), (b"cHRM", (1,) * 8)])
def test_chunks_that_cannot_be_are_told_of(chunk: tuple[bytes, tuple[int, ...]]) -> None:
    photo = read_photo(png(chunk))
    assert np.array_equal(numbers(photo).round(), NUMBERS)
    assert len(photo.warnings) == 1


def test_a_text_that_is_named_like_a_profile_is_none() -> None:
    info = PngInfo()
    for name in ("icc_profile", "gamma", "chromaticity"):
        info.add_text(name, "no profile")
    assert np.array_equal(numbers(read_photo(saved(Image.fromarray(NUMBERS), pnginfo=info))).round(), NUMBERS)


def test_the_report_says_what_was_not_heeded(tiny_stylizer: Stylizer) -> None:
    broken = saved(Image.fromarray(NUMBERS), icc_profile=bytes(128))
    config = StyleConfig(size=32, steps=1, patches=1, patch_size=16, mode="clipstyler")
    steps = tiny_stylizer.steps(broken, "fire", config=config, style_image=broken)
    warnings = [warning for warning in steps.explanation().facts["warnings"] if "ICC" in warning]
    assert [warning.partition(":")[0] for warning in warnings] == ["photo", "style_image"]


def test_a_mask_is_data_and_no_colour() -> None:
    values = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (32, 1))
    mask = read_mask(saved(Image.fromarray(values), icc_profile=icc.GREY), (64, 32))
    assert np.array_equal((mask * 255).round().numpy(), values)
    labels = np.arange(21, dtype=np.uint8)[None].repeat(20, 0)
    classes = read_classes(saved(Image.fromarray(labels), icc_profile=icc.GREY), (21, 20))
    assert np.array_equal(classes.numpy(), labels)


@pytest.mark.parametrize("media_type", ["image/png", "image/jpeg", "image/webp"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_what_is_written_says_that_it_is_srgb_and_is_always_the_same(media_type: str, mode: str) -> None:
    image = tiny.picture(mode=mode)
    data = encode(image, media_type)
    read = Image.open(io.BytesIO(data))
    if media_type == "image/png":
        assert read.info["srgb"] == 0
        assert zlib.crc32(b"sRGB\0").to_bytes(4, "big") in data
    else:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(read.info["icc_profile"]))
        assert ImageCms.getProfileDescription(profile).strip() == "sRGB"
    plain = io.BytesIO()
    white = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA")).convert("RGB")
    (white if media_type == "image/jpeg" else image).save(plain, read.format, quality=92)
    assert 0 < len(data) - plain.tell() < 550
    assert encode(image, media_type) == data
