"""The self-contained .mar archive that TorchServe loads: bundle, handler and this package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from genartisan.errors import BundleError, ServeError
from genartisan.io.atomic import replacing
from genartisan.serving.archive_check import CONTENTS, HANDLER, SETTINGS, SIGNATURE, Recipe, check, sign
from genartisan.serving.defaults import MODEL, STORE

VERSION = "1.0"  # of the model in the archive that `serve` starts with
PACKAGE = Path(__file__).resolve().parents[1]
INSTALLED = "torchserve"  # where setup.py puts handlers/ and config.properties in a wheel
EXCLUDED = ("__pycache__", "*.pyc", "*.safetensors", "*.partial", INSTALLED)  # the bundle goes beside the package, once


def archive(
    bundle: str | Path = "embedded",
    store: str | Path = STORE,
    version: str = VERSION,
    settings: str | Path | None = None,
    styles: Sequence[Path] = (),
    key_file: Path | None = None,
) -> Path:
    """Builds an archive in ``store`` with torch-model-archiver, unless an identical one exists.

    `VERSION` becomes ``genartisan.mar``, which a server starts with; any other version becomes
    ``genartisan-VERSION.mar``, which can be registered with a running server.

    Args:
        bundle: ``embedded``, ``official`` or a bundle's folder.
        version: the model version that TorchServe reports: letters, digits, dots and dashes.
        settings: replaces handlers/model-config.yaml.
        styles: saved style files to serve by name.
        key_file: the signing key.

    Raises:
        BundleError: the bundle is missing or incomplete.
        ServeError: the version or the settings are invalid; torch-model-archiver is missing or failed.
    """
    from genartisan.io.files import sha256
    from genartisan.networks.bundle import resolve

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]{0,39}", version):
        raise ServeError(f"version is {version!r}; give up to 40 letters, digits, dots and dashes.", "version")
    target = Path(store).resolve() / (f"{MODEL}.mar" if version == VERSION else f"{MODEL}-{version}.mar")
    bundle_folder = resolve(bundle)
    handler = project_file(f"handlers/{HANDLER}")
    settings = Path(settings) if settings else project_file(f"handlers/{SETTINGS}")
    if not settings.is_file():
        raise ServeError(f"settings {str(settings)!r} is not a file; start from a copy of {SETTINGS}.", "settings")
    with tempfile.TemporaryDirectory(prefix="genartisan-") as temporary:
        folder, stage = Path(temporary), Path(temporary) / "stage"
        contents = _stage(stage, bundle_folder, styles) | {HANDLER: sha256(handler), SETTINGS: sha256(settings)}
        recipe = Recipe(version, _request_bytes(settings), contents)
        if not _is_current(target, recipe):
            (stage / CONTENTS).write_text(recipe.text(), encoding="utf-8")
            _pack(handler, settings, stage, folder, version)
            target.parent.mkdir(parents=True, exist_ok=True)
            with replacing(target) as partial:
                shutil.move(folder / f"{MODEL}.mar", partial)
                target.with_name(target.name + SIGNATURE).unlink(missing_ok=True)
    if key_file is not None:
        sign(target, key_file)
    return target


def _stage(stage: Path, bundle: Path, styles: Sequence[Path]) -> dict[str, str]:
    """Lays out package, bundle and styles as in the archive; the SHA-256 of each file."""
    from genartisan.io.files import link, sha256
    from genartisan.method.saved_style import SavedStyle
    from genartisan.networks.bundle import MANIFEST, read_manifest

    manifest = read_manifest(bundle)
    shutil.copytree(PACKAGE, stage / "genartisan", ignore=shutil.ignore_patterns(*EXCLUDED))
    (stage / "bundle").mkdir()
    for name in (MANIFEST, *(entry.file for entry in manifest.networks.values())):
        if not (bundle / name).is_file():
            raise _bad_file(bundle / name)
        link(bundle / name, stage / "bundle" / name)
    for path in styles:
        SavedStyle.load(path)  # a damaged style would keep every worker from starting
        (stage / "styles").mkdir(exist_ok=True)
        link(path, stage / "styles" / path.name)
    contents = {str(path.relative_to(stage)): sha256(path) for path in sorted(stage.rglob("*")) if path.is_file()}
    for entry in manifest.networks.values():
        if contents[os.path.join("bundle", entry.file)] != entry.sha256:
            raise _bad_file(bundle / entry.file)
    return contents


def _bad_file(path: Path) -> BundleError:
    return BundleError(f"{path} is missing or differs from its manifest. Make or fetch the bundle again.", "bundle")


def _is_current(target: Path, recipe: Recipe) -> bool:
    """Whether the archive exists with these contents."""
    try:
        return check(target) == recipe
    except ServeError:
        return False


def _request_bytes(settings: Path) -> int:
    """The largest request, in bytes, that the limits in a settings file allow.

    Raises:
        ServeError: the settings are invalid.
    """
    import yaml

    from genartisan.serving.limits import Limits

    try:
        parsed = yaml.safe_load(settings.read_text(encoding="utf-8"))
        return Limits.of_server(parsed["handler"].get("limits", {}), parsed["responseTimeout"]).request_bytes
    except (yaml.YAMLError, LookupError, TypeError, AttributeError, ValueError) as error:
        raise ServeError(
            f"settings {str(settings)!r}: {error!s}. Compare it with {SETTINGS}, which explains every setting.",
            "settings",
        ) from error


def project_file(name: str) -> Path:
    """A file of handlers/, or config.properties: that of the working directory, or else the one that came with us.

    Raises:
        ServeError: the file is missing.
    """
    bases = (Path.cwd(), PACKAGE.parent, PACKAGE / "serving" / INSTALLED)  # the last two: a checkout; a wheel
    for base in bases:
        if (base / name).is_file():
            return base / name
    raise ServeError(f"{name} is missing from {' and '.join(map(str, bases))}; install genartisan again.", name)


def _pack(handler: Path, settings: Path, stage: Path, folder: Path, version: str) -> None:
    """Runs torch-model-archiver, which writes the archive into ``folder``."""
    # In a subprocess with its own TMPDIR, because the archiver deletes $TMPDIR/<model name>.
    command = [
        sys.executable, "-m", "model_archiver.model_packaging", "--model-name", MODEL, "--version", version,
        "--handler", str(handler), "--config-file", str(folder / SETTINGS),
        "--extra-files", str(stage), "--export-path", str(folder), "--archive-format", "zip-store",
    ]  # fmt: skip
    scratch = folder / "scratch"
    scratch.mkdir()
    shutil.copyfile(settings, folder / SETTINGS)  # the archive needs this name
    archiver = subprocess.run(command, env={**os.environ, "TMPDIR": str(scratch)}, capture_output=True, text=True)
    if archiver.returncode:
        reason = (
            archiver.stderr.strip().splitlines()[-1]
            if archiver.stderr.strip()
            else f"exit status {archiver.returncode}"
        )
        hint = " Install it: pip install 'genartisan[serve]'." if "No module named" in reason else ""
        raise ServeError(f"torch-model-archiver failed: {reason}.{hint}")
