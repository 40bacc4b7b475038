"""A sitting's files: what is read, and what is left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from genartisan.errors import InputError
from genartisan.io.files import SAMPLE
from genartisan.page.sitting import Sittings


def test_only_uploads_are_read_and_the_next_removes_them(tmp_path: Path) -> None:
    uploads = tmp_path / "uploads"
    sittings = Sittings(uploads)
    mine, other = sittings.of("mine"), sittings.of("other")
    first, second = uploads / "0123" / "photo.png", uploads / "4567" / "photo.png"
    for upload in (first, second):
        upload.parent.mkdir()
        upload.write_bytes(b"photo")
        assert mine.uploaded(str(upload), "photo") == b"photo"
    assert [first.exists(), second.exists()] == [False, True]
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    link = second.with_name("link")
    link.symlink_to(secret)
    for path in (secret, second / ".." / ".." / ".." / "secret", link, other.save("a.png", b""), first):
        with pytest.raises(InputError) as caught:
            mine.uploaded(str(path), "photo")
        assert caught.value.field == "photo"
    sittings.end("mine")
    assert [second.exists(), secret.exists()] == [False, True]


def test_the_end_of_a_sitting_removes_its_files_alone(tmp_path: Path) -> None:
    sittings = Sittings(tmp_path)
    mine, other = sittings.of("mine"), sittings.of("other")
    paths = [sitting.save("picture.png", b"picture") for sitting in (mine, other)]
    assert sittings.of("mine") is mine
    assert sittings.end("mine") is mine
    assert [path.exists() for path in paths] == [False, True]
    assert sittings.end("mine") is None
    assert not mine.folder.exists()


def test_a_correction_that_changes_nothing_is_not_undone(tmp_path: Path) -> None:
    sitting = Sittings(tmp_path).of("visitor")
    view = sitting.take_photo(SAMPLE.read_bytes()).view
    empty = np.zeros(view.size[::-1], np.uint8)
    sitting.found = sitting.labels = empty
    sitting.correct(lambda labels: labels + np.uint8(15))
    sitting.correct(np.copy)
    sitting.revert()
    assert np.array_equal(sitting.labels, empty)
    assert sitting.undo == []
