"""Coding-independent code points (ITU-T H.273): a colour space in four numbers, as PNG, AVIF and HEIC files hold it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from genartisan.io.rgb_space import SRGB, SRGB_CURVE, RgbSpace

PRIMARIES = {  # chromaticities of red, green and blue; the white point is D65
    1: SRGB.primaries,
    2: SRGB.primaries,  # unspecified
    5: ((0.64, 0.33), (0.29, 0.6), (0.15, 0.06)),  # BT.601, 625 lines
    6: ((0.63, 0.34), (0.31, 0.595), (0.155, 0.07)),  # BT.601, 525 lines
    9: ((0.708, 0.292), (0.17, 0.797), (0.131, 0.046)),  # BT.2020
    12: ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06)),  # Display P3
}
TRANSFERS: dict[int, tuple[float, ...]] = {  # parameters of an ICC ``para`` curve
    **dict.fromkeys((1, 2, 6, 13, 14, 15), SRGB_CURVE),  # cameras' curves of BT.709 and BT.2020 are shown like sRGB's
    4: (2.2,),
    5: (2.8,),
    8: (1.0,),
}
HDR = {16: "PQ", 18: "HLG"}


@dataclass(frozen=True)
class Cicp:
    """Code points of a picture's colour primaries and transfer characteristics; whether values use the full range."""

    primaries: int
    transfer: int
    full_range: bool = True

    def space(self) -> RgbSpace:
        """The colour space.

        Raises:
            ValueError: not supported.
        """
        if self.transfer in HDR:
            raise ValueError(f"it is an HDR picture ({HDR[self.transfer]}), which is not supported; save it as SDR")
        if self.primaries not in PRIMARIES or self.transfer not in TRANSFERS or not self.full_range:
            scale = "full" if self.full_range else "narrow"
            points = f"primaries {self.primaries}, transfer {self.transfer}, {scale} range"
            raise ValueError(f"its cICP ({points}) is not supported")
        return RgbSpace(PRIMARIES[self.primaries], curve=TRANSFERS[self.transfer])


def of_png(data: bytes) -> Cicp | None:
    """Those of a PNG file; None without a cICP chunk of an RGB picture before its pixels."""
    for name, start, end in _chunks(data):
        if name == b"IDAT":
            break
        if name == b"cICP" and end - start == 4:
            primaries, transfer, matrix, full = data[start:end]
            return Cicp(primaries, transfer, bool(full)) if matrix == 0 else None
    return None


def of_heif(data: bytes) -> Cicp | None:
    """Those of an AVIF or HEIC file, whose decoder has turned values into full-range RGB; None without any."""
    spans = [(0, len(data))]
    for name, skipped in ((b"meta", 4), (b"iprp", 0), (b"ipco", 0)):
        spans = [(start + skipped, end) for span in spans for kind, start, end in _boxes(data, *span) if kind == name]
    for span in spans:
        for kind, start, end in _boxes(data, *span):
            if kind == b"colr" and data[start : start + 4] == b"nclx" and end - start >= 8:
                return Cicp(*struct.unpack_from(">HH", data, start + 4))
    return None


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of the content of a PNG's chunks."""
    at = 8
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        yield name, at + 8, at + 8 + length
        at += length + 12


def _boxes(data: bytes, at: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of the content of the boxes (ISO/IEC 14496-12) between two offsets."""
    while at + 8 <= stop:
        length, name = struct.unpack_from(">I4s", data, at)
        header = 8
        if length == 1 and at + 16 <= stop:  # a length of 64 bits follows
            length, header = struct.unpack_from(">Q", data, at + 8)[0], 16
        end = stop if length == 0 else at + length
        if end < at + header or end > stop:
            return
        yield name, at + header, end
        at = end
