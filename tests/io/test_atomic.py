"""Atomic writes, special files and full disks."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest
import tiny
import torch
from disks import full_disk

from genartisan.io.atomic import replacing, write_whole
from genartisan.io.files import sha256
from genartisan.method.saved_style import About, SavedStyle
from genartisan.networks.bundle import MANIFEST, write_bundle
from genartisan.training.trainer import save_checkpoint


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_full_disk_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"a good picture")
    with full_disk(), pytest.raises(OSError, match="File too large") as caught:
        write_whole(path, bytes(5000))
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"a good picture"
    assert names(tmp_path) == ["a.png"]


def test_a_full_disk_is_an_os_error_whatever_writes(tmp_path: Path) -> None:
    numbers = torch.zeros(100)
    entry = {"architecture": {}, "source": "", "licence": ""}
    for name, write in {
        "style": lambda: SavedStyle(About(prompt="fire", bundle="tiny"), numbers).save(tmp_path / "fire.safetensors"),
        "bundle": lambda: write_bundle(tmp_path, "b", "", {"clip": ({"a": torch.zeros(5000)}, entry)}),
        "checkpoint": lambda: save_checkpoint(tmp_path / "c.pt", {"a": torch.zeros(5000)}),
    }.items():
        with full_disk(300), pytest.raises(OSError, match="File too large"):
            write()
        assert names(tmp_path) == [], name


def test_what_fails_meanwhile_leaves_the_old(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def interrupted() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half of the n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_an_error_of_another_file_names_that(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, replacing(tmp_path / "a"):
        (tmp_path / "missing").read_bytes()
    assert caught.value.filename == str(tmp_path / "missing")


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    target, link, dangling = tmp_path / "folder" / "real.txt", tmp_path / "link", tmp_path / "dangling"
    target.write_text("old")
    link.symlink_to(target)
    dangling.symlink_to(tmp_path / "folder" / "new.txt")
    write_whole(link, "new")
    write_whole(dangling, "too")
    assert link.is_symlink()
    assert dangling.is_symlink()
    assert (target.read_text(), (tmp_path / "folder" / "new.txt").read_text()) == ("new", "too")


def test_modes_are_kept_and_new_ones_follow_the_umask(tmp_path: Path, tiny_folder: Path) -> None:
    old, new, style = tmp_path / "old", tmp_path / "new", tmp_path / "style.safetensors"
    old.write_text("old")
    old.chmod(0o640)
    before = os.umask(0o027)
    try:
        write_whole(old, "")
        write_whole(new, "")
        SavedStyle(About(prompt="fire", bundle="tiny"), torch.zeros(100)).save(style)
        folder = tiny.write_tiny_bundle(tmp_path / "bundle")
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (old, new, style, *folder.iterdir())} == {0o640}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_the_owner_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    os.chown(path, 12345, 12345)
    write_whole(path, "new")
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 12345)


def test_a_protected_file_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # the tests may run as root
    with pytest.raises(PermissionError):
        write_whole(path, "new")
    assert path.read_text() == "old"


def test_devices_and_pipes_are_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = list[bytes]()
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_whole(pipe, "through the pipe")
    reader.join()
    assert read == [b"through the pipe"]
    write_whole("/dev/null", "away")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path, "")


def test_text_may_hold_a_name_that_is_no_utf_8(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.md", "\udcff.png, 猫.png")
    assert (tmp_path / "a.md").read_text(encoding="utf-8") == "\\udcff.png, 猫.png"


def test_a_bundle_s_manifest_has_the_hashes_of_its_files(tmp_path: Path) -> None:
    entry = {"architecture": {}, "source": "", "licence": ""}
    manifest = write_bundle(tmp_path, "b", "", {"clip": ({"a": torch.zeros(3)}, entry)})
    assert manifest.networks["clip"].sha256 == sha256(tmp_path / "clip.safetensors")
    assert names(tmp_path) == [MANIFEST, "clip.safetensors"]
