"""Colour management: conversion of pictures to sRGB.

Profiles are untrusted input. Limiting their size bounds the work of littlecms, which samples a profile at a fixed
number of points, except for ``mpet`` tags: these chain any number of elements, and are refused.
"""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageChops, ImageCms

from genartisan.io.cicp import Cicp
from genartisan.io.rgb_space import ADOBE_RGB, D65, SRGB, SRGB_CURVE, SRGB_PROFILE, RgbSpace

MAX_PROFILE = 4 * 1024 * 1024  # bytes; printer profiles have about 2 MB
MODES = {"GRAY": "L", "RGB ": "RGB", "CMYK": "CMYK"}  # a profile's colour space -> the picture's mode
CLASSES = ("mntr", "scnr", "prtr", "spac")  # device classes of profiles that describe pictures
CHAIN = b"mpet"  # the tag type multiProcessElements
INTENT, FLAGS = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
EXACT = FLAGS | ImageCms.Flags.NOOPTIMIZE
GAMMA = 1 / 2.2  # sRGB's value of a PNG's gAMA
TOLERANCE = 0.002  # gAMA and cHRM this close to sRGB's mean sRGB


def in_srgb(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """Converts an 8-bit picture to sRGB, mode RGB or RGBA; returns it with warnings about unusable colour data.

    The colour space is that of the code points (cICP), else of the ICC profile, else EXIF's Adobe RGB, else a PNG's
    gAMA and cHRM, else sRGB.
    """
    alpha = None
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        alpha = (image := image.convert("RGBA")).getchannel("A")
    try:
        profile = _profile(image)
        converted = None if profile is None else _converted(image, profile)
        warnings = []
    except ValueError as error:
        converted, warnings = None, [f"its colours are read as sRGB: {error}"]
    rgb = image.convert("RGB") if converted is None else converted
    if alpha is None:
        return rgb, warnings
    if converted is None:
        return image, warnings
    rgb.putalpha(alpha)
    return rgb, warnings


def _profile(image: Image.Image) -> ImageCms.ImageCmsProfile | None:
    """The picture's colour space; None for sRGB.

    Raises:
        ValueError: its description cannot be read.
    """
    if image.mode == "LAB":  # device-independent
        return None
    data, cicp = image.info.get("icc_profile"), image.info.get("cicp")
    if isinstance(cicp, Cicp):
        try:
            space = cicp.space()
        except ValueError:
            if not data:
                raise
        else:
            return None if space == SRGB else _read(space.profile())
    if isinstance(data, bytes) and data:
        return _read(data)
    if _is_adobe_rgb(image):
        return _read(ADOBE_RGB.profile())
    if "srgb" not in image.info and (png_space := _png_space(image.info)) is not None:
        return _read(png_space.profile())
    return None


def _read(data: bytes) -> ImageCms.ImageCmsProfile:
    if len(data) > MAX_PROFILE:
        raise ValueError(f"its ICC profile has {len(data):,} bytes; at most {MAX_PROFILE:,} are read")
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
    except Exception as error:  # littlecms and Pillow raise errors of any type
        raise ValueError(f"its ICC profile is damaged ({error})") from error
    space, kind = profile.profile.xcolor_space, profile.profile.device_class
    if space not in MODES or kind not in CLASSES:
        raise ValueError(f"its ICC profile has the class {kind.strip()} for {space.strip()}, which is not supported")
    count = struct.unpack_from(">I", data, 128)[0]
    starts = [struct.unpack_from(">I", data, 132 + 12 * tag + 4)[0] for tag in range(count)]  # littlecms read them
    if any(data[start : start + 4] == CHAIN for start in starts):
        raise ValueError("its ICC profile has multiProcessElements, which are not supported")
    return profile


def _converted(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image | None:
    """The picture in sRGB, without alpha; None if the profile equals sRGB.

    Raises:
        ValueError: the profile does not fit the picture's mode or cannot be used.
    """
    mode = MODES[profile.profile.xcolor_space]
    if (mode == "CMYK") != (image.mode == "CMYK") or (mode == "L" and not _is_grey(image)):
        raise ValueError(f"its ICC profile is for {mode}, and its mode is {image.mode}")
    try:
        target = ImageCms.ImageCmsProfile(io.BytesIO(SRGB_PROFILE))
        if mode == "L":
            return _by_table(image.convert("L"), ImageCms.buildTransform(profile, target, mode, "RGB", INTENT, EXACT))
        transform = ImageCms.buildTransform(profile, target, mode, "RGB", INTENT, FLAGS)
        if mode == "RGB" and _changes_nothing(transform):
            return None
        return transform.apply(image if image.mode == mode else image.convert(mode))
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(f"its ICC profile cannot be used ({error})") from error


def _is_grey(image: Image.Image) -> bool:
    """Whether it is grey, in one channel or in three equal ones, as Pillow reads 16-bit grey with alpha."""
    if image.mode in ("1", "L"):
        return True
    red, green, blue = image.convert("RGB").split()
    return not (ImageChops.difference(red, green).getbbox() or ImageChops.difference(red, blue).getbbox())


def _by_table(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    """Transforms a grey picture by a table of all values; littlecms interpolates between a few, badly in shadows."""
    table = transform.apply(Image.fromarray(np.arange(256, dtype=np.uint8)[None]))  # (256, 1)
    return Image.merge("RGB", [image.point(list(band.tobytes())) for band in table.split()])


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether a transform maps a grid over the RGB cube to itself; the picture then needs no second rounding."""
    steps = np.linspace(0, 255, 16).round().astype(np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1)  # (16, 16, 16, 3)
    probe = Image.fromarray(cube.reshape(64, 64, 3))
    moved = ImageChops.difference(transform.apply(probe), probe)
    return max(high for _, high in moved.getextrema()) <= 1  # type: ignore[misc]


def _is_adobe_rgb(image: Image.Image) -> bool:
    """Whether EXIF declares Adobe RGB by the interoperability index R03 (DCF 2.0)."""
    with contextlib.suppress(Exception):  # a damaged EXIF is ignored
        return str(image.getexif().get_ifd(ExifTags.IFD.Interop).get(ExifTags.Interop.InteropIndex)) == "R03"
    return False


def _png_space(info: Mapping[Any, Any]) -> RgbSpace | None:
    """The colour space of a PNG's gAMA and cHRM; None for sRGB.

    Raises:
        ValueError: gAMA is out of range.
    """
    gamma, points = info.get("gamma"), info.get("chromaticity")
    curve: tuple[float, ...] = SRGB_CURVE
    primaries, white = SRGB.primaries, D65
    if isinstance(gamma, float) and abs(gamma - GAMMA) > TOLERANCE:
        if not 0.1 <= gamma <= 10:
            raise ValueError(f"its gAMA is {gamma:g}, outside 0.1 to 10")
        curve = (1 / gamma,)
    if isinstance(points, tuple) and np.abs(np.subtract(points, (*D65, *np.ravel(SRGB.primaries)))).max() > TOLERANCE:
        white, *rest = zip(points[::2], points[1::2], strict=True)
        primaries = (rest[0], rest[1], rest[2])
    space = RgbSpace(primaries, white, curve)
    return None if space == SRGB else space
