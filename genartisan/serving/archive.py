"""The self-contained .mar archives that TorchServe loads: handler, this package and, but for the control, a bundle."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from genartisan.errors import BundleError, ServeError
from genartisan.io.atomic import replacing
from genartisan.io.files import link, sha256
from genartisan.serving.archive_check import CONTENTS, HANDLERS, SETTINGS, SIGNATURE, Recipe, check, sign
from genartisan.serving.defaults import CONTROL, MODEL, STORE

VERSION = "1.0"  # of the models in the archives that `serve` starts with
CONTROL_SETTINGS = "control-config.yaml"  # in handlers/; in the archive it is named as every model's
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

    `VERSION` becomes ``genartisan.mar``, and beside it ``genartisan-control.mar``: a server starts with both. Any other
    version becomes ``genartisan-VERSION.mar``, which can be registered with a running server.

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
    from genartisan.networks.bundle import resolve

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]{0,39}", version):
        raise ServeError(f"version is {version!r}; give up to 40 letters, digits, dots and dashes.", "version")
    target = Path(store).resolve() / (f"{MODEL}.mar" if version == VERSION else f"{MODEL}-{version}.mar")
    bundle_folder = resolve(bundle)
    settings = Path(settings) if settings else project_file(f"handlers/{SETTINGS}")
    if not settings.is_file():
        raise ServeError(f"settings {str(settings)!r} is not a file; start from a copy of {SETTINGS}.", "settings")
    request_bytes = _request_bytes(settings)
    with tempfile.TemporaryDirectory(prefix="genartisan-") as stage:
        _stage_networks(Path(stage), bundle_folder, styles)
        contents = _stage_package(Path(stage))
        _check_networks(bundle_folder, contents)
        _build(MODEL, target, settings, Path(stage), Recipe(version, request_bytes, contents))
    targets = [target]
    if version == VERSION:
        targets.append(target.with_name(f"{CONTROL}.mar"))
        with tempfile.TemporaryDirectory(prefix="genartisan-") as stage:
            recipe = Recipe(version, 0, _stage_package(Path(stage)))
            _build(CONTROL, targets[1], project_file(f"handlers/{CONTROL_SETTINGS}"), Path(stage), recipe)
    if key_file is not None:
        for path in targets:
            sign(path, key_file)
    return target


def _stage_package(stage: Path) -> dict[str, str]:
    """Adds this package to what is laid out as in the archive; the SHA-256 of each file there."""
    shutil.copytree(PACKAGE, stage / "genartisan", ignore=shutil.ignore_patterns(*EXCLUDED))
    return {str(path.relative_to(stage)): sha256(path) for path in sorted(stage.rglob("*")) if path.is_file()}


def _stage_networks(stage: Path, bundle: Path, styles: Sequence[Path]) -> None:
    """Lays out bundle and styles as in the archive."""
    from genartisan.method.saved_style import SavedStyle
    from genartisan.networks.bundle import MANIFEST, read_manifest

    (stage / "bundle").mkdir()
    for name in (MANIFEST, *(entry.file for entry in read_manifest(bundle).networks.values())):
        if not (bundle / name).is_file():
            raise _bad_file(bundle / name)
        link(bundle / name, stage / "bundle" / name)
    for path in styles:
        SavedStyle.load(path)  # a damaged style would keep every worker from starting
        (stage / "styles").mkdir(exist_ok=True)
        link(path, stage / "styles" / path.name)


def _check_networks(bundle: Path, contents: dict[str, str]) -> None:
    from genartisan.networks.bundle import read_manifest

    for entry in read_manifest(bundle).networks.values():
        if contents[os.path.join("bundle", entry.file)] != entry.sha256:
            raise _bad_file(bundle / entry.file)


def _bad_file(path: Path) -> BundleError:
    return BundleError(f"{path} is missing or differs from its manifest. Make or fetch the bundle again.", "bundle")


def _build(model: str, target: Path, settings: Path, stage: Path, recipe: Recipe) -> None:
    """Builds a model's archive of what ``stage`` has, unless there is one.

    Args:
        recipe: its contents are those of ``stage``; handler and settings are added.
    """
    handler = project_file(f"handlers/{HANDLERS[model]}")
    contents = recipe.contents | {handler.name: sha256(handler), SETTINGS: sha256(settings)}
    recipe = replace(recipe, contents=contents)
    if _is_current(target, recipe, model):
        return
    (stage / CONTENTS).write_text(recipe.text(), encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="genartisan-") as temporary:
        folder = Path(temporary)
        _pack(model, handler, settings, stage, folder, recipe.version)
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as partial:
            shutil.move(folder / f"{model}.mar", partial)
            target.with_name(target.name + SIGNATURE).unlink(missing_ok=True)


def _is_current(target: Path, recipe: Recipe, model: str) -> bool:
    """Whether the archive exists with these contents."""
    try:
        return check(target, model=model) == recipe
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


def _pack(model: str, handler: Path, settings: Path, stage: Path, folder: Path, version: str) -> None:
    """Runs torch-model-archiver, which writes the archive into ``folder``."""
    # In a subprocess with its own TMPDIR, because the archiver deletes $TMPDIR/<model name>.
    command = [
        sys.executable, "-m", "model_archiver.model_packaging", "--model-name", model, "--version", version,
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
