"""Photos to draw styles over: those in the scikit-image and scikit-learn wheels, and simple drawn scenes.

Only installed files are read; scikit-image's downloader (pooch) is never called. The scenes prevent a network from
memorising the few photos, the README's astronaut among them.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from genartisan.drawing.brushes import Array, fractal_noise

SKIMAGE = (
    "astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "retina.jpg", "hubble_deep_field.jpg", "ihc.png",
    "motorcycle_left.png", "color.png", "brick.png", "grass.png", "gravel.png", "camera.png", "moon.png", "coins.png",
)  # fmt: skip
SKLEARN = ("china.jpg", "flower.jpg")
HELD_OUT = ("chelsea.png", "china.jpg")  # excluded from training, for the held-out figures
FAVOURED = (  # things rather than textures
    "astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "china.jpg", "flower.jpg",
)  # fmt: skip
LONGEST = 640  # pixels; larger photos are shrunk, so that a crop of 128 pixels shows a thing


def load_photos() -> dict[str, Array]:
    """The installed photos by file name, RGB uint8 (H, W, 3), with a long side of at most 640 pixels.

    Raises:
        RuntimeError: neither wheel is installed.
    """
    paths = {path.name: path for path in _paths() if path.is_file()}
    if not paths:
        raise RuntimeError("no photos to draw over; run: pip install 'genartisan[train]'")
    return {name: _read(path) for name, path in paths.items()}


def _paths() -> list[Path]:
    folders: list[tuple[Path, tuple[str, ...]]] = []
    try:
        import skimage

        folders.append((Path(skimage.__file__).parent / "data", SKIMAGE))
    except ImportError:
        pass
    try:
        import sklearn

        folders.append((Path(sklearn.__file__).parent / "datasets" / "images", SKLEARN))
    except ImportError:
        pass
    return [folder / name for folder, names in folders for name in names]


def _read(path: Path) -> Array:
    stored = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if stored is None:
        raise RuntimeError(f"{path} cannot be read; reinstall its package")
    picture = cv2.cvtColor(stored, cv2.COLOR_BGR2RGB)
    shrink = LONGEST / max(picture.shape[:2])
    return cv2.resize(picture, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA) if shrink < 1 else picture


def scene(rng: np.random.Generator, size: int) -> Array:
    """A noisy gradient with a few ellipses and polygons, float32 (size, size, 3) in [0, 1]."""
    top, bottom = rng.random((2, 1, 1, 3))
    ramp = np.linspace(0, 1, size)[:, None, None] if rng.random() < 0.5 else np.linspace(0, 1, size)[None, :, None]
    canvas: Array = np.broadcast_to(top + (bottom - top) * ramp, (size, size, 3)).astype(np.float32, order="C")
    for _ in range(int(rng.integers(0, 7))):
        colour, middle, reach = rng.random(3).tolist(), rng.integers(0, size, 2), rng.uniform(0.06, 0.35) * size
        if rng.random() < 0.5:
            axes = (int(reach), int(reach * rng.uniform(0.4, 1)))
            cv2.ellipse(canvas, middle.tolist(), axes, rng.uniform(0, 180), 0, 360, colour, -1, cv2.LINE_AA)
        else:
            corners = middle + reach * rng.uniform(-1, 1, (int(rng.integers(3, 6)), 2))
            cv2.fillPoly(canvas, [cv2.convexHull(corners.astype(np.int32))], colour, cv2.LINE_AA)
    canvas += rng.uniform(0, 0.25) * (fractal_noise(rng, (size, size), rng.uniform(8, 60), 4)[..., None] - 0.5)
    if rng.random() < 0.5:
        canvas = cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.5, 3))
    return np.clip(canvas, 0, 1)


def content(photos: dict[str, Array], rng: np.random.Generator, size: int, share_drawn: float = 0.25) -> Array:
    """A crop of a random photo or, with probability `share_drawn`, a scene; float32 (size, size, 3) in [0, 1]."""
    if rng.random() < share_drawn:
        return scene(rng, size)
    names = list(photos)
    favoured = [name for name in FAVOURED if name in photos]
    use_favoured = favoured and rng.random() < 0.75
    name = favoured[rng.integers(len(favoured))] if use_favoured else names[rng.integers(len(names))]
    photo = photos[name]
    side = int(rng.uniform(0.25, 1) * min(photo.shape[:2]))
    row, column = (int(rng.integers(full - side + 1)) for full in photo.shape[:2])
    crop = cv2.resize(photo[row : row + side, column : column + side], (size, size), interpolation=cv2.INTER_AREA)
    crop = crop[:, ::-1] if rng.random() < 0.5 else crop
    return np.ascontiguousarray(crop).astype(np.float32) / 255
