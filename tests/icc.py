"""ICC profiles (version 2) of every kind that photos come with, from their definitions; and what they mean, as sRGB."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

D50 = (0.9642, 1.0, 0.8249)
D65 = (0.3127, 0.329)
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
XYZ_TO_SRGB = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])


def profile(tags: dict[bytes, bytes], space: bytes = b"RGB ", kind: bytes = b"mntr", pcs: bytes = b"XYZ ") -> bytes:
    """A profile of these tags and a description."""
    tags = {b"desc": b"desc" + bytes(4) + struct.pack(">I", 2) + b"x\0" + bytes(78), b"wtpt": xyz(*D50), **tags}
    table, data, start = b"", b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    head = struct.pack(">I4xI4s4s4s12x4s28x", start + len(data), 0x02400000, kind, space, pcs, b"acsp")
    return (head + fixed(*D50)).ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + data


def fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def xyz(*values: float) -> bytes:
    return b"XYZ " + bytes(4) + fixed(*values)


def gamma(exponent: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(exponent * 256))


@dataclass(frozen=True)
class Space:
    """An RGB space: chromaticities of its primaries and white, and its exponent."""

    primaries: tuple[tuple[float, float], ...]
    white: tuple[float, float] = D65
    exponent: float = 2.2

    def matrix(self, white: np.ndarray) -> np.ndarray:
        """From linear RGB to XYZ under ``white``, ``(3, 3)``."""
        columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in self.primaries]).T
        x, y = self.white
        own = np.array([x / y, 1, (1 - x - y) / y])
        columns = columns * np.linalg.solve(columns, own)
        return np.linalg.inv(BRADFORD) @ np.diag((BRADFORD @ white) / (BRADFORD @ own)) @ BRADFORD @ columns

    def profile(self) -> bytes:
        columns = self.matrix(np.array(D50)).T
        names = zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True)
        curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), gamma(self.exponent))
        return profile({**{name: xyz(*column) for name, column in names}, **curves})

    def as_srgb(self, numbers: np.ndarray) -> np.ndarray:
        """What these numbers, ``(..., 3)``, 0-255, are in sRGB, 0-255."""
        x, y = D65
        light = (numbers / 255) ** (round(self.exponent * 256) / 256)
        light = light @ self.matrix(np.array([x / y, 1, (1 - x - y) / y])).T @ XYZ_TO_SRGB.T
        return encoded(light)


def encoded(light: np.ndarray) -> np.ndarray:
    """Light, 0-1, as sRGB, 0-255."""
    light = light.clip(0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


DISPLAY_P3 = Space(((0.68, 0.32), (0.265, 0.69), (0.15, 0.06)))
ADOBE_RGB = Space(((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)))
PROPHOTO = Space(((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)), (0.3457, 0.3585), 1.8)
GREY = profile({b"kTRC": gamma(1.0)}, b"GRAY")  # linear


def cmyk() -> bytes:
    """A printer's profile with a table of two steps for each ink: Lab's lightness falls evenly with every ink."""
    ramp = bytes(range(256))
    inks = np.stack(np.meshgrid(*[[0, 1]] * 4, indexing="ij"), axis=-1).reshape(-1, 4)  # (16, 4)
    lightness = np.round(255 * (1 - inks.mean(axis=1)))
    table = np.stack((lightness, np.full(16, 128), np.full(16, 128)), axis=-1).astype(np.uint8).tobytes()
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1) + ramp * 4 + table + ramp * 3
    return profile({b"A2B0": lut}, b"CMYK", b"prtr", b"Lab ")


def chain(length: int) -> bytes:
    """A profile that has every colour pass through so many matrices, all one and the same."""
    matrix = b"matf" + bytes(4) + struct.pack(">HH12f", 3, 3, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0)
    entries = struct.pack(">II", 16 + 8 * length, len(matrix)) * length
    return profile({b"D2B1": b"mpet" + bytes(4) + struct.pack(">HHI", 3, 3, length) + entries + matrix}, kind=b"scnr")
