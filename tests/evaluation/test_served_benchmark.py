"""The benchmark of a server runs as a program: it starts one, asks it in every way, loads it and stops it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from servers import PATIENCE, ROOT


@pytest.mark.server
@pytest.mark.slow
def test_it_measures_a_server(tiny_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "served.json"
    flags = ["--size", "64", "--patches", "2", "--steps", "2", "--pictures", "2", "--levels", "1x10", "--out", str(out)]
    command = [sys.executable, str(ROOT / "benchmarks" / "served.py"), "--bundle", str(tiny_folder), *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text(encoding="utf-8"))
    assert len(result["picture_seconds"]) == 2
    stream = result["stream_seconds"]
    assert 0 < stream["first event"] <= stream["last event"]
    assert stream["events"] >= 3  # one for each step, and the result
    assert min(*result["picture_seconds"], result["grpc_seconds"], *result["draft_seconds"].values()) > 0
    (_, level), *_ = result["load"]["levels"]
    assert result["load"]["exit_status"] == 0
    assert level["ok"] > 0
    assert level["failed"] == level["refused"] == 0
