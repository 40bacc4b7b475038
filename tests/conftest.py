"""Fixtures that several test files share."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

# Set before torch is imported: waiting threads sleep rather than spin, which is ten times faster on a shared machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import proxies
import pytest
import ray_servers
import servers
import tiny
import torch
from hypothesis import settings
from ray_servers import Door, RayServer

from genartisan.method.stylizer import Stylizer
from genartisan.networks.bundle import Bundle
from genartisan.networks.compact_clip import CompactClip
from genartisan.serving.serve import Server

# An example is not slow because the machine is busy.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_collection_finish() -> None:
    """Collections need not look at the modules of all tests: each would take seconds."""
    gc.freeze()


def pytest_unconfigure() -> None:
    """At exit everything is collected, or extension modules report leaks."""
    gc.unfreeze()


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of tiny random networks on disk; copy it before changing it."""
    return tiny.write_tiny_bundle(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def headless_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle without a style head."""
    return tiny.write_tiny_bundle(tmp_path_factory.mktemp("headless"), without="style_head")


@pytest.fixture(scope="session")
def tiny_bundle(tiny_folder: Path) -> Bundle:
    return Bundle.load(tiny_folder)


@pytest.fixture(scope="session")
def tiny_stylizer(tiny_bundle: Bundle) -> Stylizer:
    return Stylizer(tiny_bundle, device="cpu", precision="fp32")


@pytest.fixture(scope="session")
def embedded() -> Bundle:
    """The bundle that ships with the package."""
    return Bundle.load("embedded")


@pytest.fixture(scope="session")
def server(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running TorchServe with the tiny bundle."""
    with servers.running(tiny_folder, tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="session")
def ray_server(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayServer]:
    """The same on Ray Serve."""
    if None in map(find_spec, ("ray", "uvicorn", "python_multipart")):
        pytest.skip("Ray Serve is not installed: genartisan[ray]")
    with ray_servers.running(tiny_folder, tmp_path_factory.mktemp("ray")) as running:
        yield running


@pytest.fixture(scope="session", params=["torchserve", pytest.param("ray", marks=[pytest.mark.slow, pytest.mark.ray])])
def door(request: pytest.FixtureRequest) -> Door:
    """Either server, for what holds for both."""
    name = "server" if request.param == "torchserve" else "ray_server"
    return request.getfixturevalue(name)  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for localhost, and its key."""
    return proxies.self_signed(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT and SIGHUP reach this process and those it starts.

    A job in the background inherits an ignored SIGINT, one under nohup a SIGHUP, which children leave ignored.
    """
    handlers = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def compact_clip() -> CompactClip:
    """A small CLIP of the embedded kind, with random weights."""
    torch.manual_seed(0)
    return CompactClip(
        image_size=64, vocabulary=["fire", "photo"], word_width=8, gap=0.3, blocks=4, taps=(0, 2, 4), dim=16
    )
