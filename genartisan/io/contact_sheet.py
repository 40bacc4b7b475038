"""Contact sheets: pictures side by side, each with its caption."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont, ImageOps

from genartisan.io.images import on_white

GAP, LINE = 8, 18  # pixels: gap between pictures, line height


def contact_sheet(rows: Sequence[Sequence[tuple[str, Image.Image]]], side: int = 256) -> Image.Image:
    """Rows of (caption, picture) on white; each picture is fitted into ``side`` pixels. Captions may span lines."""
    lines = max(caption.count("\n") + 1 for row in rows for caption, _ in row)
    width, height = side + GAP, side + GAP + lines * LINE
    columns = max(len(row) for row in rows)
    sheet = Image.new("RGB", (columns * width + GAP, len(rows) * height + GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    for row, pictures in enumerate(rows):
        for column, (caption, picture) in enumerate(pictures):
            left, top = GAP + column * width, GAP + row * height
            fitted = ImageOps.contain(on_white(picture), (side, side))
            sheet.paste(fitted, (left + (side - fitted.width) // 2, top + (side - fitted.height) // 2))
            for number, line in enumerate(caption.split("\n")):
                draw.text((left, top + side + 3 + number * LINE), shortened(line, font, side), fill="black", font=font)
    return sheet


def as_jpeg(sheet: Image.Image, most: int) -> bytes:
    """The sheet as a JPEG of the best quality, 88 to 22, that fits ``most`` bytes; quality 22 may exceed them."""
    for quality in range(88, 20, -6):
        buffer = io.BytesIO()
        sheet.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= most:
            break
    return buffer.getvalue()


def shortened(line: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """``line``, truncated to ``width`` pixels."""
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(line + "…") > width:
        line = line[:-1]
    return line + "…"
