"""The photos of an evaluation: real ones with people segmented by FCN, and drawn scenes with exact masks."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from genartisan.errors import InputError
from genartisan.io.atomic import write_whole
from genartisan.io.files import sha256
from genartisan.io.images import Photo, encode, naming, read_photo
from genartisan.method.stylizer import Stylizer

EXTRAS = {"skimage": "scikit-image", "sklearn": "scikit-learn", "cv2": "opencv-python-headless"}
PHOTOS = {
    "skimage": ("data/astronaut.png", "data/coffee.png", "data/chelsea.png", "data/rocket.jpg"),
    "sklearn": ("datasets/images/china.jpg", "datasets/images/flower.jpg"),
}  # photos of people and things that come inside wheels
PEOPLE_PHOTO = "astronaut.png"  # the only one of them with a person
KINDS = ("selfie", "tour photo", "no people")  # the paper's two, and the rest
MIN_PEOPLE = 0.005  # share of the pixels below which a photo counts as one without people
MIN_SELFIE = 0.2  # from which it is a selfie
SCENE_PEOPLE = {"selfie": (0.3, 0.6), "tour photo": (0.03, 0.15)}  # share of people in the drawn scenes
FIRST_SCENE, LAST_SCENE = 1000, 10_000  # FCN is measured on the scenes before these, and trained on those after
SCENES_A_SEED = 500


@dataclass(frozen=True)
class Subject:
    """A photo and the mask of its people.

    Attributes:
        mask: white on people; pictures are made and measured with it.
        exact: the mask was drawn with the photo; otherwise FCN segmented it.
        people: share of the pixels, 0-1.
    """

    photo: Path
    mask: Path
    exact: bool
    people: float

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        if self.people < MIN_PEOPLE:
            return "no people"
        return "selfie" if self.people >= MIN_SELFIE else "tour photo"

    @property
    def name(self) -> str:
        return name_of(self.photo)


def name_of(photo: Path) -> str:
    """The stem of a photo's files; the hash tells photos of one name apart."""
    return f"{photo.stem[:40]}_{sha256(photo)[:6]}"


def default_photos() -> tuple[Path, ...]:
    """The six real photos inside the wheels of scikit-image and scikit-learn."""
    paths = []
    for module, names in PHOTOS.items():
        spec = importlib.util.find_spec(module)
        if spec is None or spec.origin is None:
            raise InputError(f"photos defaults to some of {EXTRAS[module]}, not installed; give --photos.", "photos")
        paths += [Path(spec.origin).parent / name for name in names]
    return tuple(paths)


def check_extras(needed: Mapping[str, str] = EXTRAS) -> None:
    """Checks that packages are installed, by default those with the photos and those that draw the styles.

    Args:
        needed: packages by their modules.

    Raises:
        InputError: one is missing.
    """
    missing = [package for module, package in needed.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise InputError(
            f"evaluate needs {', '.join(missing)}, not installed; get it with: pip install 'genartisan[train]'."
        )


def segmented(photos: Sequence[Path], stylizer: Stylizer, folder: Path) -> list[Subject]:
    """Photos with FCN's masks, which are written to ``folder``; duplicates count once.

    Raises:
        InputError: a photo cannot be read; it is named.
    """
    by_name: dict[str, tuple[Path, Photo]] = {}
    for path in photos:
        with naming(path, "photos"):
            photo = read_photo(path)
        by_name.setdefault(name_of(path), (path, photo))
    folder.mkdir(parents=True, exist_ok=True)
    subjects = []
    for name, (path, photo) in by_name.items():
        regions = stylizer.regions(photo)
        mask = folder / f"{name}_mask.png"
        write_whole(mask, encode(regions.as_mask()))
        subjects.append(Subject(path, mask, False, float(regions.portrait.float().mean())))
    return subjects


def drawn_scenes(count: int, side: int, seed: int, folder: Path) -> list[Subject]:
    """``count`` selfies and as many tour photos, drawn as for FCN's training, with exact masks, in ``folder``.

    Args:
        side: of the scenes, in pixels. The same number at another size is another scene.

    Raises:
        InputError: too few scenes of that size are of a kind.
    """
    from genartisan.drawing.people import draw_scene

    folder.mkdir(parents=True, exist_ok=True)
    by_kind: dict[str, list[Subject]] = {kind: [] for kind in SCENE_PEOPLE}
    first = FIRST_SCENE + seed * SCENES_A_SEED % (LAST_SCENE - FIRST_SCENE)
    for number in range(first, first + SCENES_A_SEED):
        wanted = [kind for kind, subjects in by_kind.items() if len(subjects) < count]
        if not wanted:
            return [subject for subjects in by_kind.values() for subject in subjects]
        scene = draw_scene(number, (side, side))
        people = float(scene.person.mean())
        for kind in wanted:
            low, high = SCENE_PEOPLE[kind]
            if low <= people <= high:
                stem = f"{kind.replace(' ', '_')}_{number}_{side}"
                photo, mask = folder / f"{stem}.png", folder / f"{stem}_mask.png"
                write_whole(photo, encode(Image.fromarray(scene.image)))
                write_whole(mask, encode(Image.fromarray(scene.person * np.uint8(255))))
                by_kind[kind].append(Subject(photo, mask, True, people))
    raise InputError(f"scenes is {count}; too few of {SCENES_A_SEED} drawn scenes fit. Lower it.", "scenes")
