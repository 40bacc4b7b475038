"""The photos of a comparison, each with its mask of the people: real ones, and drawn scenes whose mask is true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from genartisan.errors import InputError
from genartisan.io.atomic import write_whole
from genartisan.io.images import Photo, encode, naming, read_photo
from genartisan.method.stylizer import Stylizer
from genartisan.networks.bundle import sha256

KINDS = ("selfie", "tour photo", "no people")  # the paper's two, and the rest
PEOPLE = 0.005  # share of the pixels below which a photo counts as one without people
SELFIE = 0.2  # from which it is a selfie
DRAWN = {"selfie": (0.3, 0.6), "tour photo": (0.03, 0.15)}  # shares of people in the drawn scenes
FIRST_SCENE, LAST_SCENE = 1000, 10_000  # FCN is measured on the scenes before these, and trained on those after
SCENES_A_SEED = 500


@dataclass(frozen=True)
class Subject:
    """A photo and where its people are.

    Attributes:
        mask: white where people are; all that is made or measured of the photo goes by it.
        true: whether the mask was drawn with the photo; else FCN found it.
        people: share of the pixels, 0-1.
    """

    photo: Path
    mask: Path
    true: bool
    people: float

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        if self.people < PEOPLE:
            return "no people"
        return "selfie" if self.people >= SELFIE else "tour photo"

    @property
    def name(self) -> str:
        return name_of(self.photo)


def name_of(photo: Path) -> str:
    """Of a photo's files; two photos of one name differ in their hashes."""
    return f"{photo.stem[:40]}_{sha256(photo)[:6]}"


def found_in(photos: Sequence[Path], stylizer: Stylizer, folder: Path) -> list[Subject]:
    """Photos with the masks that FCN finds, kept in ``folder``; a photo that is there twice counts once.

    Raises:
        InputError: a photo cannot be read; it is named.
    """
    read: dict[str, tuple[Path, Photo]] = {}
    for path in photos:
        with naming(path, "photos"):
            photo = read_photo(path)
        read.setdefault(name_of(path), (path, photo))
    folder.mkdir(parents=True, exist_ok=True)
    subjects = []
    for name, (path, photo) in read.items():
        regions = stylizer.regions(photo)
        mask = folder / f"{name}_mask.png"
        write_whole(mask, encode(regions.as_mask()))
        subjects.append(Subject(path, mask, False, float(regions.portrait.float().mean())))
    return subjects


def drawn(count: int, side: int, seed: int, folder: Path) -> list[Subject]:
    """``count`` selfies and as many tour photos, as FCN's training draws them, with their true masks, in ``folder``.

    Args:
        side: of the scenes, in pixels. The same number at another size is another scene.

    Raises:
        InputError: too few scenes of that size are of a kind.
    """
    from genartisan.drawing.people import draw_scene

    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[Subject]] = {kind: [] for kind in DRAWN}
    first = FIRST_SCENE + seed * SCENES_A_SEED % (LAST_SCENE - FIRST_SCENE)
    for number in range(first, first + SCENES_A_SEED):
        wanted = [kind for kind, subjects in found.items() if len(subjects) < count]
        if not wanted:
            return [subject for subjects in found.values() for subject in subjects]
        scene = draw_scene(number, (side, side))
        people = float(scene.person.mean())
        for kind in wanted:
            low, high = DRAWN[kind]
            if low <= people <= high:
                stem = f"{kind.replace(' ', '_')}_{number}_{side}"
                photo, mask = folder / f"{stem}.png", folder / f"{stem}_mask.png"
                write_whole(photo, encode(Image.fromarray(scene.image)))
                write_whole(mask, encode(Image.fromarray(scene.person * np.uint8(255))))
                found[kind].append(Subject(photo, mask, True, people))
    raise InputError(f"scenes is {count}; {SCENES_A_SEED} drawn scenes held fewer of a kind. Take fewer.", "scenes")
