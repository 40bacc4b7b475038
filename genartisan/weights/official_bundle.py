"""Fetching the official weights, verifying them, and making them the bundle called ``official``."""

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
from genartisan.networks import bundle
from genartisan.networks.bundle import (
    EMBEDDED,
    MANIFEST,
    STYLE_HEAD,
    NetworkEntry,
    Role,
    read_manifest,
    sha256,
    write_bundle,
)
from genartisan.weights.convert import DTYPES, converted, converted_size
from genartisan.weights.download import FULL, PATIENCE, Patience, check_room, disk_errors, download, locked, no_room
from genartisan.weights.official import OFFICIAL, OfficialFile

DTYPE = "bf16"
SHARED: tuple[Role, ...] = ("predictor", "pastiche")  # with every bundle: they know styles by pictures, not by words

log = logging.getLogger(__name__)

Network = tuple[Mapping[str, Tensor] | None, dict[str, Any]]  # its tensors and its entry, for `write_bundle`


@dataclass(frozen=True)
class Check:
    """What was found of one file."""

    file: str
    ok: bool
    detail: str


def downloads() -> Path:
    """Where fetched files lie: ``downloads`` in `bundle.home`."""
    return bundle.home() / "downloads"


def official() -> Path:
    """Where the converted bundle lies: ``official`` in `bundle.home`."""
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
    """Makes the bundle ``official``, doing only what is still to do, and returns its folder.

    Args:
        folder: where downloads are kept (default: `downloads`).
        from_dir: a folder with the files, carried here; then nothing is downloaded, and nothing in it changed.
        dtype: ``bf16``, half the size and the default, which leaves floats of 16 bits as they are; or ``fp32``.
        out: the bundle's folder (default: `official`).
        progress: draw a bar for each download on stderr.
        files: the official files.
        shared: the bundle whose style predictor and pastiche network this one shares.

    Raises:
        InputError: no such dtype or ``from_dir``, or ``out`` is ``shared``.
        WeightsError: a file cannot be fetched, verified or converted; it is named.
    """
    dtype = DTYPE if dtype is None else dtype
    if dtype not in DTYPES:
        raise InputError(f"dtype is {dtype!r}; give {' or '.join(DTYPES)}.", "dtype")
    if from_dir is not None and not from_dir.is_dir():
        raise InputError(f"from is {str(from_dir)!r}, which is no folder; give the one with the carried files.", "from")
    out = out or official()
    if out.resolve() == shared.resolve():
        raise InputError(f"out is {str(out)!r}, a bundle that this one copies from; name another folder.", "out")
    whole = _whole_networks(out, dtype, files)
    copies = _shared_networks(shared)
    todo = [file for file in files if file.role not in whole]
    if not todo and all(whole.get(role) == entry for role, (entry, _) in copies.items()):
        log.info("the bundle in %s is whole", out)
        return out
    needs = {out: sum(converted_size(file.role, file.architecture, DTYPES[dtype]) for file in todo)}
    with locked(out.with_name(f".{out.name}.lock")):  # beside the bundle, in which nothing else should lie
        if from_dir is not None:
            check_room(needs)
            found = _carried(from_dir, todo)
        else:
            folder = folder or downloads()
            with locked(folder / ".lock"), disk_errors(folder):
                found = _downloaded(folder, todo, needs, progress, patience)
        _convert(out, dtype, files, found, whole, copies)
    return out


def verify(folder: Path | None = None, *, files: Sequence[OfficialFile] = OFFICIAL) -> list[Check]:
    """Hashes the official files in ``folder``, or a bundle's files where it holds a bundle.

    By default the bundle ``official``, which needs no downloads any more, and those downloads that are there; before
    there is one, all downloads.
    """
    if folder is None:
        folder = downloads()
        if (official() / MANIFEST).exists():
            kept = [file for file in files if (folder / file.name).exists()]
            return verify(official()) + verify(folder, files=kept)
    if not (folder / MANIFEST).exists():
        return [_check(folder / file.name, file) for file in files]
    try:
        networks = read_manifest(folder).networks
    except BundleError as error:
        return [Check(MANIFEST, False, error.message)]
    return [_check_network(folder, entry) for entry in networks.values()]


def table(folder: Path | None = None, *, files: Sequence[OfficialFile] = OFFICIAL) -> list[dict[str, str | int | None]]:
    """A row for each official file: role, file, url, size, sha256, licence, source, and state here."""
    folder = folder or downloads()
    return [
        {
            **{key: getattr(file, key) for key in ("role", "name", "url", "size", "sha256", "licence", "source")},
            "state": _check(folder / file.name, file).detail,
        }
        for file in files
    ]


def _whole_networks(out: Path, dtype: str, files: Sequence[OfficialFile]) -> dict[str, NetworkEntry]:
    """The networks in ``out`` that need not be made again: from these files, in this format, of the right hash."""
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
    networks, found = read_manifest(folder).networks, dict[Role, tuple[NetworkEntry, Path]]()
    for role in SHARED:
        entry = networks[role]
        check = _check_network(folder, entry)
        if not check.ok:
            raise WeightsError(f"The {role} {folder / entry.file} cannot be copied: {check.detail}.")
        found[role] = entry, folder / entry.file
    return found


def _carried(folder: Path, files: Sequence[OfficialFile]) -> dict[str, Path]:
    found, wrong = {}, []
    for file in files:
        found[file.role] = folder / file.name
        check = _check(found[file.role], file)
        if not check.ok:
            wrong.append(f"{file.name}: {check.detail}; get it from {file.url}")
    if wrong:
        raise WeightsError(f"In {folder}: {'. '.join(wrong)}")
    return found


def _downloaded(
    folder: Path, files: Sequence[OfficialFile], needs: dict[Path, int], progress: bool, patience: Patience
) -> dict[str, Path]:
    found, missing = {}, []
    for file in files:
        path = folder / file.name
        check = _check(path, file)
        found[file.role] = path
        if not check.ok:
            missing.append((file, path))
            if path.exists():
                log.warning("%s: %s; fetching it again", path, check.detail)
                path.unlink()
    arrived = sum(part.stat().st_size for part in folder.glob("*.part"))
    check_room({**needs, folder: max(sum(file.size or 0 for file, _ in missing) - arrived, 0)})
    for file, path in missing:
        log.info("fetching %s", file.url)
        download(file.url, path, file.sha256, size=file.size, progress=progress, patience=patience)
    return found


def _check(path: Path, file: OfficialFile) -> Check:
    """What is found of ``file`` at ``path``."""
    part = path.with_name(path.name + ".part")
    if not path.is_file():
        arrived = f"{part.stat().st_size:,} bytes have arrived" if part.is_file() else "missing"
        return Check(path.name, False, arrived)
    try:
        digest = sha256(path)
    except OSError as error:
        return Check(path.name, False, f"cannot be read: {error.strerror}")
    if digest != file.sha256:
        detail = f"wrong: expected SHA-256 {file.sha256}, got {digest} ({path.stat().st_size:,} bytes)"
        return Check(path.name, False, detail)
    return Check(path.name, True, "verified")


def _check_network(folder: Path, entry: NetworkEntry) -> Check:
    path = folder / entry.file
    if not path.is_file():
        return Check(entry.file, False, "missing")
    try:
        digest = sha256(path)
    except OSError as error:
        return Check(entry.file, False, f"cannot be read: {error.strerror}")
    if digest != entry.sha256:
        return Check(entry.file, False, f"wrong: expected SHA-256 {entry.sha256}, got {digest}")
    return Check(entry.file, True, "verified")


class _Lazily(Mapping[str, Network]):
    """Networks that are converted when `write_bundle` comes to them, so that one at a time is in memory."""

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
    found: Mapping[str, Path],
    whole: Mapping[str, NetworkEntry],
    copies: Mapping[Role, tuple[NetworkEntry, Path]],
) -> None:
    def network(file: OfficialFile) -> Network:
        if file.role not in found:
            return None, _without_file(whole[file.role])
        path = found[file.role]
        log.info("converting %s to %s", path, dtype)
        entry = {
            "architecture": dict(file.architecture),
            "source": file.source_line(dtype),
            "licence": file.licence,
        }
        return converted(file.role, file.architecture, path, DTYPES[dtype]), entry

    def copied(role: str, entry: NetworkEntry, path: Path) -> Network:
        with replacing(out / f"{role}.safetensors") as temporary:
            shutil.copyfile(path, temporary)
        return None, _without_file(entry)

    makers: dict[str, Callable[[], Network]] = {file.role: partial(network, file) for file in files}
    makers |= {role: partial(copied, role, entry, path) for role, (entry, path) in copies.items()}
    if STYLE_HEAD in whole:  # someone trained one for this bundle
        makers[STYLE_HEAD] = lambda: (None, _without_file(whole[STYLE_HEAD]))
    for leftover in out.glob(f".*{SUFFIX}"):  # of a process that was killed; nobody else writes here now
        leftover.unlink()
    description = "OpenAI CLIP ViT-B/32, torchvision FCN-ResNet101 and VGG-19, converted by genartisan"
    try:
        write_bundle(out, "official", description, _Lazily(makers))
    except (OSError, safetensors.SafetensorError) as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise WeightsError(no_room(out / "the bundle", None)) from error
        raise WeightsError(f"The bundle could not be written to {out}: {error}.") from error


def _without_file(entry: NetworkEntry) -> dict[str, Any]:
    return entry.model_dump(exclude={"file", "sha256"})
