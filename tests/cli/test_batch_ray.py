"""`batch` on a Ray of its own: real actors, one that dies, and Ctrl-C."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import tiny

from genartisan.batch.items import Item
from genartisan.batch.worker import Worker
from genartisan.cli import ray_pool
from genartisan.environment import HUGE_PAGES, TUNABLES
from genartisan.io.images import unique_id_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed"),
]
PATIENCE = 900  # seconds


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(30):
        tiny.picture(seed=number).save(folder / f"{number:02}.png")
    return folder


def command(photos: Path, out: Path, bundle: Path, *flags: str) -> list[str]:
    program = [str(Path(sys.executable).parent / "genartisan"), "batch", str(photos), "-o", str(out)]
    return [*program, "--prompt", "fire", "--bundle", str(bundle), "--size", "64", "--set", "patch_size=32", *flags]


def test_ctrl_c_keeps_what_is_done_and_a_rerun_makes_the_rest(
    photos: Path, tmp_path: Path, tiny_folder: Path, interruptible: None
) -> None:
    out = tmp_path / "out"
    (photos / "broken.png").write_bytes(b"nothing")
    words = command(photos, out, tiny_folder, "--steps", "20", "--set", "patches=4")
    running = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + PATIENCE
    while len(list(out.glob("*.png"))) < 3:
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < until
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    said, complaint = running.communicate(timeout=PATIENCE)
    assert running.returncode == 130, complaint
    assert "Traceback" not in complaint
    assert "not reached" in said
    made = {path: path.stat().st_mtime_ns for path in out.glob("*.png")}
    assert 3 <= len(made) < 30
    assert all(unique_id_of(path.read_bytes()) for path in made)

    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1, done.stderr
    assert f"{30 - len(made)} made, {len(made)} skipped, 1 failed" in done.stdout
    assert done.stdout.count("\n") == 1
    assert "send one of" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert len(list(out.glob("*.png"))) == 30


def test_an_item_that_kills_its_process_fails_alone_and_workers_are_told_to_ask_for_huge_pages(
    photos: Path, tmp_path: Path, tiny_folder: Path
) -> None:
    class Deadly(Worker):  # local, so that its code travels to the actor
        def __call__(self, row: Mapping[str, str]) -> dict[str, str]:
            if '"03.png"' in row["item"]:
                os._exit(1)
            assert HUGE_PAGES in os.environ[TUNABLES]
            return super().__call__(row)

    items = {
        str(tmp_path / f"{number}.png"): Item(
            photo=f"{number:02}.png", prompt="fire", params={"preset": "draft", "size": 64}, folder=str(photos)
        )
        for number in range(8)
    }
    worker = Deadly(str(tiny_folder), "cpu", "fp32", False, 1, "image/png", {})
    with ray_pool.cluster(None):
        outcomes = list(ray_pool.outcomes(items, worker, ray_pool.shares(ray_pool.alive(), "cpu", 1)))
    assert sorted(each.output for each in outcomes) == sorted(items)
    failed = [each for each in outcomes if each.status != "made"]
    assert [each.output for each in failed] == [str(tmp_path / "3.png")]
    assert (failed[0].error or {})["code"] == "died"


def test_where_no_ray_answers_the_address_is_named(photos: Path, tmp_path: Path, tiny_folder: Path) -> None:
    words = command(photos, tmp_path / "out", tiny_folder, "--address", "127.0.0.1:9")
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 2
    assert "address is '127.0.0.1:9'" in done.stderr.splitlines()[-1]
