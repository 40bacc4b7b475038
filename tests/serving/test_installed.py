"""The wheel: it serves from an empty folder, and a command without its extra says which one to install."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import servers
import tiny

from genartisan.io.images import encode
from genartisan.serving import serve
from genartisan.serving.defaults import Ports

pytestmark = pytest.mark.slow
SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "config.properties", "genartisan", "handlers")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds the installed wheel; dependencies come from the current environment."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        source = servers.ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copyfile
        copy(source, folder / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", "dist", "."], cwd=folder, check=True
    )
    (wheel,) = (folder / "dist").glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", folder / "site", wheel], check=True)
    return folder / "site"


def genartisan(installed: Path, folder: Path, *arguments: str, missing: str = "") -> subprocess.CompletedProcess[str]:
    """Runs the installed command line in ``folder``, as if the ``missing`` modules were not installed."""
    code = f"import sys; sys.modules |= dict.fromkeys({missing.split()!r}); from genartisan.cli.main import main"
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-c", f"{code}; sys.exit(main())", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.server
def test_a_wheel_serves_in_an_empty_folder(installed: Path, tiny_folder: Path, tmp_path: Path) -> None:
    ports = vars(Ports.free()).items()
    flags = [part for name, port in ports for part in (f"--{name.replace('_', '-')}-port", str(port))]
    try:
        for arguments in (["archive", "--bundle", str(tiny_folder)], ["serve", *flags]):
            result = genartisan(installed, tmp_path, *arguments)
            assert result.returncode == 0, result.stderr
        server = serve.current(tmp_path / ".serve")
        assert server is not None
        fields = {"photo": encode(tiny.picture()), "prompt": b"fire", "params": b'{"size": 64, "steps": 1}'}
        assert servers.post(server, fields).content.startswith(b"\x89PNG")
        assert "Requests2XX" in servers.metrics(server)
        assert (Path(server.logs) / "access.log").is_file()
    finally:
        assert genartisan(installed, tmp_path, "stop").returncode == 0
    with zipfile.ZipFile(tmp_path / "model_store" / "genartisan.mar") as file:
        assert not [name for name in file.namelist() if "torchserve" in name]  # the handler only once


@pytest.mark.server
@pytest.mark.parametrize(
    ("missing", "extra", "command"),
    [
        ("cv2 sklearn skimage", "train", "evaluate --judge"),
        ("matplotlib", "train", "evaluate --compare photo.png"),
        ("matplotlib", "train", "train-start --photos . --out out"),
        ("yaml", "serve", "archive"),
        ("psutil", "serve", "serve"),
    ],
)
def test_a_command_names_its_missing_extra(
    missing: str, extra: str, command: str, installed: Path, tmp_path: Path
) -> None:
    (tmp_path / "photo.png").write_bytes(encode(tiny.picture()))
    result = genartisan(installed, tmp_path, *command.split(), missing=missing)
    assert (result.returncode, result.stdout) == (2, "")
    assert f"pip install 'genartisan[{extra}]'" in result.stderr
    assert "Traceback" not in result.stderr
