"""The benchmark of full-size networks runs as a program: on a bundle that it is given, and on one that it makes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from servers import ROOT


@pytest.mark.slow
def test_it_measures_a_bundle(tiny_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "full_size.json"
    flags = ["--size", "64", "--output-size", "96", "--patches", "1", "--steps", "2", "--out", str(out)]
    flags += ["--bundle", str(tiny_folder)]
    command = [sys.executable, str(ROOT / "benchmarks" / "full_size.py"), *flags]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text(encoding="utf-8"))
    assert result["settings"]["bundle"] == tiny_folder.name
    assert len(result["seconds_of_each_step"]) == 2
    large = "draft at the output size"
    assert {"load", "render", "draft with search", "draft", large} == set(result["seconds"])
    peaks = [result["peak_memory_mb_after"][of] for of in ("imports", "load", "steps", "render", "draft", large)]
    assert 0 < peaks[0] <= peaks[-1]
    assert peaks == sorted(peaks)
