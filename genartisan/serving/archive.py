"""The .mar archive that TorchServe loads: the bundle, the handler and this very package, so that it runs anywhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from genartisan.errors import ServeError
from genartisan.io.atomic import replacing
from genartisan.serving.archive_check import CONTENTS, HANDLER, SETTINGS, SIGNATURE, Recipe, check, sign
from genartisan.serving.defaults import MODEL, STORE

VERSION = "1.0"  # of the model: the archive that `serve` starts with
PACKAGE = Path(__file__).resolve().parents[1]
WITHOUT = ("__pycache__", "*.pyc", "*.safetensors", "*.partial")  # the bundle goes beside the package, once


def archive(
    bundle: str | Path = "embedded",
    store: str | Path = STORE,
    version: str = VERSION,
    settings: str | Path | None = None,
    styles: Sequence[Path] = (),
    key_file: Path | None = None,
) -> Path:
    """Builds an archive in ``store`` with torch-model-archiver, unless it is there already with these contents.

    It is ``genartisan.mar``, with which a server starts, or of another version ``genartisan-VERSION.mar``, which a
    running server may take into service beside it.

    Args:
        bundle: ``embedded``, ``official`` or a bundle's folder.
        version: of the model, as TorchServe reports it: letters, digits, dots and dashes.
        settings: the model's, instead of handlers/model-config.yaml.
        styles: files of saved styles, to be served by their names.
        key_file: the key to sign it with.

    Raises:
        BundleError: there is no such bundle, or it is not whole.
        ServeError: ``version`` cannot be one; the settings are wrong; torch-model-archiver is not installed, or failed.
    """
    from genartisan.method.saved_style import SavedStyle
    from genartisan.networks.bundle import MANIFEST, link, read_manifest, resolve, sha256

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]{0,39}", version):
        raise ServeError(f"version is {version!r}; give up to 40 letters, digits, dots and dashes.", "version")
    store = Path(store).resolve()
    target = store / (f"{MODEL}.mar" if version == VERSION else f"{MODEL}-{version}.mar")
    folder = resolve(bundle)
    manifest = read_manifest(folder)
    handlers = project_file("handlers")
    settings = Path(settings) if settings else handlers / SETTINGS
    if not settings.is_file():
        raise ServeError(f"settings {str(settings)!r} is no file; copy handlers/{SETTINGS} and change it.", "settings")
    with tempfile.TemporaryDirectory(prefix="genartisan-") as temporary:
        stage = Path(temporary) / "stage"
        shutil.copytree(PACKAGE, stage / "genartisan", ignore=shutil.ignore_patterns(*WITHOUT))
        (stage / "bundle").mkdir()
        for name in (MANIFEST, *(entry.file for entry in manifest.networks.values())):
            if not (folder / name).is_file():
                raise _missing(folder / name)
            link(folder / name, stage / "bundle" / name)
        for path in styles:
            SavedStyle.load(path)  # a damaged one would keep every worker from starting
            (stage / "styles").mkdir(exist_ok=True)
            link(path, stage / "styles" / path.name)
        contents = {str(path.relative_to(stage)): sha256(path) for path in sorted(stage.rglob("*")) if path.is_file()}
        contents |= {HANDLER: sha256(handlers / HANDLER), SETTINGS: sha256(settings)}
        for entry in manifest.networks.values():
            if contents[os.path.join("bundle", entry.file)] != entry.sha256:
                raise _missing(folder / entry.file)
        recipe = Recipe(version, _request_bytes(settings), contents)
        if not _is_made(target, recipe):
            (stage / CONTENTS).write_text(recipe.text(), encoding="utf-8")
            _pack(handlers / HANDLER, settings, stage, Path(temporary), version)
            store.mkdir(parents=True, exist_ok=True)
            with replacing(target) as whole:
                shutil.move(Path(temporary) / f"{MODEL}.mar", whole)
                target.with_name(target.name + SIGNATURE).unlink(missing_ok=True)
    if key_file is not None:
        sign(target, key_file)
    return target


def _is_made(target: Path, recipe: Recipe) -> bool:
    """Whether the archive is there already, with these contents."""
    try:
        return check(target) == recipe
    except ServeError:
        return False


def _request_bytes(settings: Path) -> int:
    """The most that a request within the limits of a model's settings can have.

    Raises:
        ServeError: the settings are none that the handler takes.
    """
    import yaml

    from genartisan.serving.limits import Limits

    try:
        told = yaml.safe_load(settings.read_text(encoding="utf-8"))
        return Limits.of_server(told["handler"].get("limits", {}), told["responseTimeout"]).request_bytes
    except (yaml.YAMLError, LookupError, TypeError, AttributeError, ValueError) as error:
        raise ServeError(
            f"settings {str(settings)!r}: {error!s}. Correct it as in handlers/{SETTINGS}.", "settings"
        ) from error


def project_file(name: str) -> Path:
    """A file or folder of the repository: in the working directory, or beside the package.

    Raises:
        ServeError: there is none; the package was installed without its repository.
    """
    for base in (Path.cwd(), PACKAGE.parent):
        if (base / name).exists():
            return base / name
    raise ServeError(f"{name} is neither in {Path.cwd()} nor in {PACKAGE.parent}; run this in a checkout.", name)


def _pack(handler: Path, settings: Path, stage: Path, folder: Path, version: str) -> None:
    # A process of its own: the archiver works in the temporary folder under the model's name and empties what is there.
    command = [
        sys.executable, "-m", "model_archiver.model_packaging", "--model-name", MODEL, "--version", version,
        "--handler", str(handler), "--config-file", str(folder / SETTINGS),
        "--extra-files", str(stage), "--export-path", str(folder), "--archive-format", "zip-store",
    ]  # fmt: skip
    scratch = folder / "scratch"
    scratch.mkdir()
    shutil.copyfile(settings, folder / SETTINGS)  # whatever it is called where it comes from
    done = subprocess.run(command, env={**os.environ, "TMPDIR": str(scratch)}, capture_output=True, text=True)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit status {done.returncode}"
        hint = " Install it: pip install 'genartisan[serve]'." if "No module named" in reason else ""
        raise ServeError(f"torch-model-archiver failed: {reason}.{hint}")


def _missing(path: Path) -> Exception:
    from genartisan.errors import BundleError

    return BundleError(f"{path} is missing or not the file of the manifest. Make or fetch the bundle again.", "bundle")
