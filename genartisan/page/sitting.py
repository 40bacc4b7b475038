"""What one visitor has on the page: photo, regions, style picture and results; gone when the tab is closed."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from genartisan.page import masks
from genartisan.page.masks import Labels
from genartisan.page.photos import decoded, jpeg, uploaded, view_of
from genartisan.page.picture_settings import PictureSettings

MAX_UNDO = 20
MAX_RESULTS = 40  # of a sitting; older ones are dropped


@dataclass(frozen=True)
class Made:
    """A finished picture of a sitting.

    Attributes:
        picture: PNG with its settings.
        before: the photo at the picture's size.
    """

    title: str
    picture: Path
    before: Path
    thumbnail: Path
    settings: PictureSettings


@dataclass(frozen=True)
class Photo:
    """The photo of a sitting.

    Attributes:
        content: the file, as it was uploaded.
        image: decoded, upright.
        view: a small copy, RGB, and ``view_path`` its file.
    """

    content: bytes
    image: Image.Image
    view: Image.Image
    view_path: Path

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the upright photo, in pixels."""
        return self.image.size


@dataclass
class Sitting:
    """One visitor's state; files lie in ``folder``.

    Attributes:
        found: the region map that the endpoint found, and ``labels`` the corrected one; None before it is known.
        corrections: their number so far, with those that were taken back.
        request_id: of the run in progress, or None.
        is_cancelled: whether that run was cancelled.
        is_due: whether a run was asked for and has not begun.
        is_looking: whether the visitor waits to hear who is in the photo, and has started nothing since.
        results: the newest last.
        chosen: position in ``results`` of the picture that is shown.
    """

    folder: Path
    photo: Photo | None = None
    style_image: bytes | None = None
    found: Labels | None = None
    labels: Labels | None = None
    undo: list[Labels] = field(default_factory=list)
    corrections: int = 0
    request_id: str | None = None
    is_cancelled: bool = False
    is_due: bool = False
    is_looking: bool = False
    results: list[Made] = field(default_factory=list)
    chosen: int = -1
    _files: int = 0
    _uploads: set[Path] = field(default_factory=set)
    _correcting: threading.Lock = field(default_factory=threading.Lock)  # two quick clicks are answered side by side

    def uploaded(self, path: str, field: str) -> bytes:
        """The content of an upload; see `genartisan.page.photos.uploaded`.

        The browser shows the file until it gets our copy, so it is removed with the next upload, or with the sitting.
        """
        content = uploaded(path, self.folder.parent, field)
        self.remove_uploads(but=Path(path))
        self._uploads.add(Path(path))
        return content

    def remove_uploads(self, but: Path | None = None) -> None:
        """Removes what was uploaded, except one file."""
        for path in [each for each in self._uploads if each != but]:
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # the same content under another name is beside it
                path.parent.rmdir()
            self._uploads.remove(path)

    def save(self, name: str, content: bytes) -> Path:
        """A new file of this sitting; ``name`` is what a download is called."""
        self._files += 1
        path = self.folder / str(self._files) / name
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        return path

    def save_view(self, name: str, image: Image.Image) -> Path:
        """A new JPEG of this sitting."""
        return self.save(name, jpeg(image))

    def take_photo(self, content: bytes) -> Photo:
        """Sets the photo; regions of an earlier one are forgotten.

        Raises:
            InputError: it cannot be decoded.
        """
        image = decoded(content, "photo")
        view = view_of(image)
        self.photo = Photo(content, image, view, self.save("photo.jpg", jpeg(view)))
        self.forget_regions()
        return self.photo

    def take_style_image(self, path: str) -> Path:
        """Sets the style picture; returns a small copy of it.

        Raises:
            InputError: it cannot be decoded.
        """
        content = self.uploaded(path, "style_image")
        view = view_of(decoded(content, "style_image"))
        self.style_image = content
        return self.save("style.jpg", jpeg(view))

    def forget_photo(self) -> None:
        """Removes the photo and its regions; the results stay."""
        self.photo = None
        self.forget_regions()

    def forget_regions(self) -> None:
        """Removes the regions."""
        self.found = self.labels = None
        self.undo.clear()

    def set_found(self, classes: bytes) -> None:
        """Sets the regions that the endpoint found, a PNG of labels."""
        assert self.photo is not None
        self.found = self.labels = masks.decoded(classes, self.photo.view.size)
        self.undo.clear()

    def correct(self, change: Callable[[Labels], Labels]) -> None:
        """Changes the regions; `revert` takes it back, if there was anything to change."""
        with self._correcting:
            assert self.labels is not None
            changed = change(self.labels)
            if (changed != self.labels).any():
                self.undo = [*self.undo, self.labels][-MAX_UNDO:]
                self.labels = changed
            self.corrections += 1

    def revert(self) -> None:
        """Takes the last correction back."""
        with self._correcting:
            if self.undo:
                self.labels = self.undo.pop()
            self.corrections += 1

    @property
    def share_of_people(self) -> float:
        """Their share of the photo, 0-1; 0 before it is known."""
        return 0.0 if self.labels is None else masks.share_of_people(self.labels)

    @property
    def is_corrected(self) -> bool:
        """Whether the regions differ from those that the endpoint found."""
        return self.labels is not None and self.found is not None and bool((self.labels != self.found).any())

    def mask(self) -> bytes | None:
        """The corrected regions for the endpoint; None if it finds them itself."""
        if self.photo is None or self.labels is None or not self.is_corrected:
            return None
        return masks.encoded(self.labels, self.photo.size)

    def add(self, title: str, name: str, picture: bytes, settings: PictureSettings) -> Made:
        """Adds a finished PNG, and shows it."""
        assert self.photo is not None
        path = self.save(name, picture)
        with Image.open(path) as image:
            size = image.size
            thumbnail = view_of(image.convert("RGB"), 160)
        before = self.save("photo.jpg", jpeg(view_of(self.photo.image, max(size)).resize(size)))
        made = Made(title, path, before, self.save("thumbnail.jpg", jpeg(thumbnail, 80)), settings)
        self.results.append(made)
        for old in self.results[:-MAX_RESULTS]:
            for file in (old.picture, old.before, old.thumbnail):
                shutil.rmtree(file.parent, ignore_errors=True)
        self.results = self.results[-MAX_RESULTS:]
        self.chosen = len(self.results) - 1
        return made


class Sittings:
    """The sittings of all visitors, by the session's hash.

    Args:
        folder: for their files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._lock = folder, threading.Lock()
        self._sittings: dict[str, Sitting] = {}

    def of(self, session: str) -> Sitting:
        """A visitor's sitting, which begins with the first call."""
        with self._lock:
            if session not in self._sittings:
                folder = self._folder / f"sitting-{secrets.token_hex(16)}"
                folder.mkdir(parents=True, mode=0o700)
                self._sittings[session] = Sitting(folder)
            return self._sittings[session]

    def end(self, session: str) -> Sitting | None:
        """Forgets a sitting and removes its files; returns it if there was one."""
        with self._lock:
            sitting = self._sittings.pop(session, None)
        if sitting is not None:
            sitting.remove_uploads()
            shutil.rmtree(sitting.folder, ignore_errors=True)
        return sitting
