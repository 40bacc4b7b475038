"""Downloading and verifying the official weights, and converting them into the bundle ``official``."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import safetensors
from torch import Tensor

from genartisan.errors import BundleError, InputError, WeightsError
from genartisan.io.atomic import SUFFIX, replacing
from genartisan.io.files import sha256
from genartisan.networks import bundle
from genartisan.networks.bundle import EMBEDDED, MANIFEST, read_manifest, write_bundle
from genartisan.networks.manifest import STYLE_HEAD, NetworkEntry, Role
from genartisan.weights.convert import DTYPES, converted, converted_size
from genartisan.weights.disk import FULL, check_room, disk_errors, locked, no_room
from genartisan.weights.download import PATIENCE, Patience, download
from genartisan.weights.official import OFFICIAL, OfficialFile

DTYPE = "bf16"
SHARED: tuple[Role, ...] = ("predictor", "pastiche")  # by all bundles: these networks do not depend on CLIP

log = logging.getLogger(__name__)

Network = tuple[Mapping[str, Tensor] | None, dict[str, Any]]  # tensors and manifest entry, for `write_bundle`


@dataclass(frozen=True)
class Check:
    """The result of verifying one file."""

    file: str
    ok: bool
    detail: str


def downloads() -> Path:
    """The folder of downloaded files, ``downloads`` in `bundle.home`."""
    return bundle.home() / "downloads"


def official() -> Path:
    """The folder of the converted bundle, ``official`` in `bundle.home`."""
    return bundle.home() / "official"


def fetch(
    folder: Path | None = None,
    from_dir: Path | None = None,
    dtype: str | None = None,
    out: Path | None = None,
    progress: bool = True,
    *,
    files: Sequence[OfficialFile] = OFFICIAL,
    shared: Path = EMBEDDED,
    patience: Patience = PATIENCE,
) -> Path:
    """Makes the bundle ``official`` from what is missing of it, and returns its folder.

    Args:
        folder: for downloads (default: `downloads`).
        from_dir: a folder that already holds the files; nothing is downloaded, and the folder is not changed.
        dtype: ``bf16`` (default), which keeps other 16-bit floats, or ``fp32``, twice the size.
        out: the bundle's folder (default: `official`).
        progress: show progress bars on stderr.
        files: the official files.
        shared: the bundle to copy the style predictor and the pastiche network from.

    Raises:
        InputError: invalid dtype or ``from_dir``, or ``out`` is ``shared``.
        WeightsError: a file cannot be downloaded, verified or converted.
    """
    dtype = DTYPE if dtype is None else dtype
    if dtype not in DTYPES:
        raise InputError(f"dtype is {dtype!r}; give {' or '.join(DTYPES)}.", "dtype")
    if from_dir is not None and not from_dir.is_dir():
        raise InputError(f"from is {str(from_dir)!r}, which is not a folder; give the one with the files.", "from")
    out = out or official()
    if out.resolve() == shared.resolve():
        raise InputError(f"out is {str(out)!r}, the bundle to copy from; give another folder.", "out")
    complete = _complete_networks(out, dtype, files)
    copies = _shared_networks(shared)
    todo = [file for file in files if file.role not in complete]
    if not todo and all(complete.get(role) == entry for role, (entry, _) in copies.items()):
        log.info("the bundle in %s is complete", out)
        return out
    needs = {out: sum(converted_size(file.role, file.architecture, DTYPES[dtype]) for file in todo)}
    with locked(out.with_name(f".{out.name}.lock")):  # outside the bundle's folder, which should hold nothing else
        if from_dir is not None:
            check_room(needs)
            paths = _carried(from_dir, todo)
        else:
            folder = folder or downloads()
            with locked(folder / ".lock"), disk_errors(folder):
                paths = _downloaded(folder, todo, needs, progress, patience)
        _convert(out, dtype, files, paths, complete, copies)
    return out


def verify(folder: Path | None = None, *, files: Sequence[OfficialFile] = OFFICIAL) -> list[Check]:
    """Verifies the hashes of the bundle in ``folder``, or of the official files in it.

    The default is the bundle ``official`` and the downloads that remain; without that bundle, all downloads.
    """
    if folder is None:
        folder = downloads()
        if (official() / MANIFEST).exists():
            remaining = [file for file in files if (folder / file.name).exists()]
            return verify(official()) + verify(folder, files=remaining)
    if not (folder / MANIFEST).exists():
        return [_check(folder / file.name, file) for file in files]
    try:
        networks = read_manifest(folder).networks
    except BundleError as error:
        return [Check(MANIFEST, False, error.message)]
    return [_check_network(folder, entry) for entry in networks.values()]


def table(folder: Path | None = None, *, files: Sequence[OfficialFile] = OFFICIAL) -> list[dict[str, str | int | None]]:
    """A row for each official file: role, name, url, size, sha256, licence, source and local state."""
    folder = folder or downloads()
    return [
        {
            **{key: getattr(file, key) for key in ("role", "name", "url", "size", "sha256", "licence", "source")},
            "state": _check(folder / file.name, file).detail,
        }
        for file in files
    ]


def _complete_networks(out: Path, dtype: str, files: Sequence[OfficialFile]) -> dict[str, NetworkEntry]:
    """The networks in ``out`` that are already converted from ``files`` to ``dtype`` and intact."""
    try:
        networks = read_manifest(out).networks
    except BundleError:
        return {}
    known = {file.role: file for file in files}
    return {
        role: entry
        for role, entry in networks.items()
        if (role not in known or entry.source == known[role].source_line(dtype)) and _check_network(out, entry).ok
    }


def _shared_networks(folder: Path) -> dict[Role, tuple[NetworkEntry, Path]]:
    """The networks of `SHARED` in a bundle's folder, with their files."""
    networks, shared = read_manifest(folder).networks, dict[Role, tuple[NetworkEntry, Path]]()
    for role in SHARED:
        entry = networks[role]
        check = _check_network(folder, entry)
        if not check.ok:
            raise WeightsError(f"The {role} {folder / entry.file} cannot be copied: {check.detail}.")
        shared[role] = entry, folder / entry.file
    return shared


def _carried(folder: Path, files: Sequence[OfficialFile]) -> dict[str, Path]:
    paths = {file.role: folder / file.name for file in files}
    checks = [(file, _check(paths[file.role], file)) for file in files]
    if wrong := [f"{file.name}: {check.detail}; get it from {file.url}" for file, check in checks if not check.ok]:
        raise WeightsError(f"In {folder}: {'. '.join(wrong)}")
    return paths


def _downloaded(
    folder: Path, files: Sequence[OfficialFile], needs: dict[Path, int], progress: bool, patience: Patience
) -> dict[str, Path]:
    paths, missing = {}, []
    for file in files:
        path = paths[file.role] = folder / file.name
        check = _check(path, file)
        if not check.ok:
            missing.append((file, path))
            if path.exists():
                log.warning("%s: %s; downloading it again", path, check.detail)
                path.unlink()
    arrived = sum(part.stat().st_size for part in folder.glob("*.part"))
    check_room({**needs, folder: max(sum(file.size or 0 for file, _ in missing) - arrived, 0)})
    for file, path in missing:
        log.info("downloading %s", file.url)
        download(file.url, path, file.sha256, size=file.size, progress=progress, patience=patience)
    return paths


def _check(path: Path, file: OfficialFile) -> Check:
    part = path.with_name(path.name + ".part")
    if not path.is_file() and part.is_file():
        return Check(path.name, False, f"{part.stat().st_size:,} bytes have arrived")
    return _check_hash(path, file.sha256)


def _check_network(folder: Path, entry: NetworkEntry) -> Check:
    return _check_hash(folder / entry.file, entry.sha256)


def _check_hash(path: Path, expected: str) -> Check:
    if not path.is_file():
        return Check(path.name, False, "missing")
    try:
        digest = sha256(path)
    except OSError as error:
        return Check(path.name, False, f"cannot be read: {error.strerror}")
    if digest != expected:
        detail = f"wrong: expected SHA-256 {expected}, got {digest} ({path.stat().st_size:,} bytes)"
        return Check(path.name, False, detail)
    return Check(path.name, True, "verified")


class _LazyNetworks(Mapping[str, Network]):
    """Networks converted on access, so that only one at a time is in memory."""

    def __init__(self, makers: Mapping[str, Callable[[], Network]]) -> None:
        self._makers = makers

    def __getitem__(self, role: str) -> Network:
        return self._makers[role]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


def _convert(
    out: Path,
    dtype: str,
    files: Sequence[OfficialFile],
    paths: Mapping[str, Path],
    complete: Mapping[str, NetworkEntry],
    copies: Mapping[Role, tuple[NetworkEntry, Path]],
) -> None:
    def network(file: OfficialFile) -> Network:
        if file.role not in paths:
            return None, complete[file.role].without_file()
        path = paths[file.role]
        log.info("converting %s to %s", path, dtype)
        entry = {"architecture": dict(file.architecture), "source": file.source_line(dtype), "licence": file.licence}
        return converted(file.role, file.architecture, path, DTYPES[dtype]), entry

    def copied(role: str, entry: NetworkEntry, path: Path) -> Network:
        with replacing(out / f"{role}.safetensors") as temporary:
            shutil.copyfile(path, temporary)
        return None, entry.without_file()

    makers: dict[str, Callable[[], Network]] = {file.role: partial(network, file) for file in files}
    makers |= {role: partial(copied, role, entry, path) for role, (entry, path) in copies.items()}
    if STYLE_HEAD in complete:  # trained for this bundle by the user
        makers[STYLE_HEAD] = lambda: (None, complete[STYLE_HEAD].without_file())
    for leftover in out.glob(f".*{SUFFIX}"):  # of a killed process: the lock keeps others out
        leftover.unlink()
    description = "OpenAI CLIP ViT-B/32, torchvision FCN-ResNet101 and VGG-19, converted by genartisan"
    try:
        write_bundle(out, "official", description, _LazyNetworks(makers))
    except (OSError, safetensors.SafetensorError) as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise WeightsError(no_room(out / "the bundle", None)) from error
        raise WeightsError(f"The bundle could not be written to {out}: {error}.") from error
