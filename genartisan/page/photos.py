"""The pictures that a browser uploads: checked, decoded, and as small copies that every browser shows."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from genartisan.errors import InputError
from genartisan.io.decode import loaded, opened
from genartisan.io.normalize import normalized

VIEW = 768  # pixels: long side of the copy that the page shows and paints on


def uploaded(path: str | Path, folder: Path, field: str) -> bytes:
    """The content of a file that has just been uploaded.

    Args:
        path: as the browser gives it, so possibly of any file.
        folder: of all uploads; each has a folder of its own in it.

    Raises:
        InputError: it is gone, or no upload.
    """
    path = Path(path).resolve()
    if path.parent.parent != folder.resolve():
        raise InputError(f"The {field} is no upload; drop it again.", field)
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"The upload of the {field} was lost ({error.strerror}); drop it again.", field) from error


def decoded(content: bytes, field: str) -> Image.Image:
    """The picture as the endpoint sees it: upright, sRGB; RGB or RGBA.

    Raises:
        InputError: as `genartisan.io.decode.opened` and `genartisan.io.decode.loaded`.
    """
    return normalized(loaded(opened(content, field), field), field)[0]


def fitted(size: tuple[int, int], long_side: int) -> tuple[int, int]:
    """(width, height) scaled down to ``long_side``, never up."""
    scale = min(1.0, long_side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def view_of(image: Image.Image, long_side: int = VIEW) -> Image.Image:
    """A smaller copy in RGB, on white."""
    small = image.resize(fitted(image.size, long_side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    if small.mode != "RGBA":
        return small.convert("RGB")
    return Image.alpha_composite(Image.new("RGBA", small.size, "white"), small).convert("RGB")


def jpeg(image: Image.Image, quality: int = 90) -> bytes:
    """An RGB picture as JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
