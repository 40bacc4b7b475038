"""A sitting's files: what is read, and what is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from genartisan.errors import InputError
from genartisan.page.sitting import Sittings


def test_only_uploads_are_read_and_they_are_removed(tmp_path: Path) -> None:
    uploads = tmp_path / "uploads"
    sittings = Sittings(uploads)
    mine, other = sittings.of("mine"), sittings.of("other")
    upload = uploads / "0123" / "photo.png"
    upload.parent.mkdir()
    upload.write_bytes(b"photo")
    assert mine.uploaded(str(upload), "photo") == b"photo"
    assert not upload.exists()
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    (uploads / "0123" / "link").symlink_to(secret)
    paths = [
        secret,
        uploads / "0123" / ".." / ".." / "secret",
        uploads / "0123" / "link",
        other.save("a.png", b""),
        upload,
    ]
    for path in paths:
        with pytest.raises(InputError) as caught:
            mine.uploaded(str(path), "photo")
        assert caught.value.field == "photo"
    assert secret.exists()


def test_the_end_of_a_sitting_removes_its_files_alone(tmp_path: Path) -> None:
    sittings = Sittings(tmp_path)
    mine, other = sittings.of("mine"), sittings.of("other")
    paths = [sitting.save("picture.png", b"picture") for sitting in (mine, other)]
    assert sittings.of("mine") is mine
    assert sittings.end("mine") is mine
    assert [path.exists() for path in paths] == [False, True]
    assert sittings.end("mine") is None
    assert not mine.folder.exists()
