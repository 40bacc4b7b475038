"""Contact sheets: pictures side by side, each with its caption."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

GAP, CAPTION = 8, 24  # pixels


def contact_sheet(rows: Sequence[Sequence[tuple[str, Image.Image]]], side: int = 320) -> Image.Image:
    """Rows of (caption, picture), each picture fitted into a square of ``side`` pixels, on white."""
    cell = (side + GAP, side + GAP + CAPTION)
    columns = max(len(row) for row in rows)
    sheet = Image.new("RGB", (columns * cell[0] + GAP, len(rows) * cell[1] + GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=14)
    for row, pictures in enumerate(rows):
        for column, (caption, picture) in enumerate(pictures):
            left, top = GAP + column * cell[0], GAP + row * cell[1]
            small = picture.convert("RGB")
            small.thumbnail((side, side))
            sheet.paste(small, (left + (side - small.width) // 2, top + (side - small.height) // 2))
            draw.text((left, top + side + 4), caption, fill="black", font=font)
    return sheet
