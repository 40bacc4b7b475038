"""RGB colour spaces and their ICC profiles."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

Point = tuple[float, float]  # a chromaticity, CIE 1931 x and y
D65, D50 = (0.3127, 0.329), np.array([0.9642, 1.0, 0.8249])
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)  # IEC 61966-2-1


def _xyz(point: Point) -> np.ndarray:
    x, y = point
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _fixed(*values: float) -> bytes:
    """Values as ICC's s15Fixed16."""
    return struct.pack(f">{len(values)}i", *(round(float(value) * 65536) for value in values))


def _text(text: str) -> bytes:
    """An ICC ``mluc`` tag in one language."""
    coded = text.encode("utf-16-be")
    return b"mluc" + struct.pack(">III4sII", 0, 1, 12, b"enUS", len(coded), 28) + coded


@dataclass(frozen=True)
class RgbSpace:
    """An RGB colour space.

    Attributes:
        primaries: chromaticities of red, green and blue.
        white: chromaticity of the white point.
        curve: parameters of an ICC.1:2010 ``para`` curve to linear light: type 0 (an exponent) or 3 (sRGB's five).
    """

    primaries: tuple[Point, Point, Point]
    white: Point = D65
    curve: tuple[float, ...] = SRGB_CURVE

    def profile(self) -> bytes:
        """An ICC profile of version 4; reproducible, unlike littlecms's own, which hold the time.

        Raises:
            ValueError: primaries and white point are degenerate.
        """
        try:
            adaptation, columns = self._to_d50()
            curve = b"para" + struct.pack(">IHH", 0, {1: 0, 5: 3}[len(self.curve)], 0) + _fixed(*self.curve)
            tags = {
                b"desc": _text("sRGB" if self == SRGB else "RGB"), b"cprt": _text("CC0"),
                b"wtpt": b"XYZ " + bytes(4) + _fixed(*D50), b"chad": b"sf32" + bytes(4) + _fixed(*adaptation.flat),
                **{name: b"XYZ " + bytes(4) + _fixed(*column) for name, column in
                   zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns.T, strict=True)},
                b"rTRC": curve, b"gTRC": curve, b"bTRC": curve,
            }  # fmt: skip
        except (ArithmeticError, np.linalg.LinAlgError, struct.error) as error:
            raise ValueError(f"primaries {self.primaries} and white {self.white}: {error}") from error
        table, data, start = b"", b"", 128 + 4 + 12 * len(tags)
        offsets: dict[bytes, int] = {}
        for name, content in tags.items():
            if content not in offsets:
                offsets[content] = start + len(data)
                data += content + bytes(-len(content) % 4)
            table += name + struct.pack(">II", offsets[content], len(content))
        header = struct.pack(
            ">I4xI4s4s4s6H4s28x", start + len(data), 0x04200000, b"mntr", b"RGB ", b"XYZ ", 2000, 1, 1, 0, 0, 0, b"acsp"
        )
        return (header + _fixed(*D50)).ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + data

    def _to_d50(self) -> tuple[np.ndarray, np.ndarray]:
        """Bradford adaptation from the white point to D50, and linear RGB to XYZ under D50; both ``(3, 3)``."""
        white = _xyz(self.white)
        columns = np.stack([_xyz(point) for point in self.primaries], axis=1)  # (3, 3)
        columns = columns * np.linalg.solve(columns, white)
        adaptation = np.linalg.solve(BRADFORD, (BRADFORD @ D50 / (BRADFORD @ white))[:, None] * BRADFORD)
        return adaptation, adaptation @ columns


SRGB = RgbSpace(((0.64, 0.33), (0.3, 0.6), (0.15, 0.06)))
ADOBE_RGB = RgbSpace(((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), curve=(2 + 51 / 256,))
SRGB_PROFILE = SRGB.profile()
