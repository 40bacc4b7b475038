"""Region maps on the page: corrected by brush, by growing and shrinking, by area, or by a rectangle.

A map has a VOC label for each pixel, uint8, ``(H, W)``, at the size of the page's copy of the photo; `encoded` enlarges
it to the photo's own size, at which the endpoint wants it.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

Labels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

BACKGROUND, PERSON = 0, 15  # VOC's labels
BRUSHES = {PERSON: (255, 64, 160), BACKGROUND: (0, 200, 255)}  # RGB of the strokes
OPAQUE = 64  # of 255: alpha from which a stroke counts
TINT_SHARE = 0.5  # of the tint in the overlay
MIN_AREA = 0.001  # of the photo; smaller areas are not listed
MAX_AREAS = 12


@dataclass(frozen=True)
class Area:
    """A connected part of a map.

    Attributes:
        share: of the photo's pixels, 0-1.
        place: of its centre, in words.
        mask: ``(H, W)``.
    """

    label: int
    share: float
    place: str
    mask: Mask


def decoded(classes: bytes, size: tuple[int, int]) -> Labels:
    """The map in a PNG of labels, at (width, height)."""
    with Image.open(io.BytesIO(classes)) as image:
        return np.array(image.resize(size, Image.Resampling.NEAREST))


def encoded(labels: Labels, size: tuple[int, int]) -> bytes:
    """The map as a grey PNG of labels at (width, height), as the field ``mask.classes`` takes it."""
    buffer = io.BytesIO()
    Image.fromarray(labels).resize(size, Image.Resampling.NEAREST).save(buffer, "PNG")
    return buffer.getvalue()


def overlay(photo: Image.Image, labels: Labels) -> Image.Image:
    """The photo with people tinted and outlined, and the background as it is; RGB.

    Args:
        photo: of the map's size.
    """
    people = labels != BACKGROUND
    pixels = np.asarray(photo.convert("RGB")).astype(np.float32)
    tinted = (1 - TINT_SHARE) * pixels + TINT_SHARE * np.array(BRUSHES[PERSON], np.float32)
    pixels = np.where(people[..., None], tinted, pixels)
    edge = people & ~_filtered(people, ImageFilter.MinFilter(3))
    return Image.fromarray(np.where(edge[..., None], 255, pixels).round().astype(np.uint8))


def resized_people(labels: Labels, pixels: int) -> Labels:
    """The map with people grown by ``pixels``, or shrunk where negative."""
    people = labels != BACKGROUND
    side = 2 * abs(pixels) + 1
    changed = _filtered(people, ImageFilter.MaxFilter(side) if pixels > 0 else ImageFilter.MinFilter(side))
    kept = np.where(people, labels, PERSON)
    return np.where(changed, kept, BACKGROUND).astype(np.uint8)


def painted(labels: Labels, strokes: Image.Image) -> Labels:
    """The map under brush strokes; each has the label of the nearest colour of `BRUSHES`.

    Args:
        strokes: RGBA, transparent elsewhere, of any size.
    """
    height, width = labels.shape
    pixels = np.asarray(strokes.convert("RGBA").resize((width, height), Image.Resampling.NEAREST)).astype(np.int32)
    distances = [np.abs(pixels[..., :3] - colour).sum(axis=2) for colour in BRUSHES.values()]
    chosen = np.array(list(BRUSHES), np.uint8)[np.argmin(distances, axis=0)]
    return np.where(pixels[..., 3] >= OPAQUE, chosen, labels)


def with_rectangle(labels: Labels, box: tuple[float, float, float, float], label: int) -> Labels:
    """The map with a rectangle of one label.

    Args:
        box: left, top, right and bottom, in percent of the photo.
    """
    height, width = labels.shape
    left, right = sorted(round(width * side / 100) for side in (box[0], box[2]))
    top, bottom = sorted(round(height * side / 100) for side in (box[1], box[3]))
    changed = labels.copy()
    changed[top:bottom, left:right] = label
    return changed


def with_area(labels: Labels, area: Area, label: int) -> Labels:
    """The map with another label on an area."""
    return np.where(area.mask, label, labels).astype(np.uint8)


def share_of_people(labels: Labels) -> float:
    """People's share of the pixels, 0-1."""
    return float(np.mean(labels != BACKGROUND))


def areas(labels: Labels) -> list[Area]:
    """The connected areas of people and of background, the largest first."""
    height, width = labels.shape
    numbers = _connected(labels != BACKGROUND)
    pixels = np.bincount(numbers.ravel())
    found = []
    for number in np.argsort(-pixels)[:MAX_AREAS]:
        if pixels[number] < MIN_AREA * labels.size:
            break
        mask = numbers == number
        rows, columns = np.nonzero(mask)
        place = _place(columns.mean() / width, rows.mean() / height)
        found.append(Area(int(labels[rows[0], columns[0]]), pixels[number] / labels.size, place, mask))
    return found


def _place(x: float, y: float) -> str:
    """A point of the photo, each coordinate 0-1, in words."""
    across, down = (("left", "centre", "right")[min(2, int(3 * x))], ("top", "middle", "bottom")[min(2, int(3 * y))])
    return "centre" if (across, down) == ("centre", "middle") else f"{down} {across}"


def _connected(mask: Mask) -> npt.NDArray[np.int64]:
    """The number of each pixel's area, ``(H, W)``: neighbours in a row or column with the same value share it."""
    parents: list[int] = []

    def root(run: int) -> int:
        while parents[run] != run:
            parents[run] = parents[parents[run]]
            run = parents[run]
        return run

    runs = np.empty(mask.shape, np.int64)  # of equal pixels in a row
    for y, row in enumerate(mask):
        starts = np.concatenate(([True], row[1:] != row[:-1]))
        runs[y] = len(parents) + np.cumsum(starts) - 1
        parents.extend(range(len(parents), int(runs[y, -1]) + 1))
        if y:
            joined = row == mask[y - 1]
            for above, here in np.unique(np.stack((runs[y - 1][joined], runs[y][joined]), 1), axis=0).tolist():
                parents[root(here)] = root(above)
    roots = np.array([root(run) for run in range(len(parents))])
    return np.unique(roots, return_inverse=True)[1].reshape(-1)[runs]


def _filtered(mask: Mask, kind: ImageFilter.Filter) -> Mask:
    return np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).filter(kind)) > 0
