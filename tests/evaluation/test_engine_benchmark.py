"""The benchmark of the engine runs as its README line says, on tiny networks, and tells what it measured."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import servers
import torch
from PIL import Image
from torch.profiler import record_function

pytest.importorskip("matplotlib")

import engine
from step_profile import Rates, kind_of, profiled, size_of

pytestmark = pytest.mark.slow

SMALL = [
    "--size", "64", "--patches", "2", "--patch-size", "32", "--steps", "4", "--turns", "2", "--together", "1", "3",
    "--our-environment",
]  # fmt: skip


@pytest.fixture(scope="module")
def result(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("results") / "engine.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "MATMUL", 512)  # in bf16, large products take minutes where the CPU has none
        patch.setattr(engine, "COPIED", 2**24)
        patch.setattr(sys, "argv", ["engine.py", "--bundle", str(tiny_folder), "--out", str(out), *SMALL])
        engine.main()
    for suffix in (".png", ".profile.png"):
        with Image.open(out.with_suffix(suffix)) as plot:
            assert plot.width > 400
    return dict(json.loads(out.read_text(encoding="utf-8")))


def test_steps_are_timed_in_turns_and_a_median_stands_for_them(result: dict[str, Any]) -> None:
    ours = {"genartisan fp32", "genartisan bf16"}
    assert set(result["contestants"]) == ours | {f"{name}, our environment" for name in ours}
    for name, timed in result["contestants"].items():
        turns = result["turns"][name]
        warm = sorted(s for turn in turns for s in turn["seconds_of_each_step"][1:])
        assert [len(turn["seconds_of_each_step"]) for turn in turns] == [3, 3]
        assert warm[0] == timed["fastest_step"] <= timed["seconds_a_step"] <= warm[-1]
        assert all(0 < sum(turn["seconds_of_each_step"]) < turn["seconds"] for turn in turns)
        assert timed["seconds_of_first_run"] == turns[0]["seconds"]


def test_the_environment_changes_no_loss(result: dict[str, Any]) -> None:
    losses = {name: each["total_losses"] for name, each in result["contestants"].items()}
    assert losses["genartisan fp32"] == losses["genartisan fp32, our environment"]


def test_both_precisions_optimise_the_same(result: dict[str, Any]) -> None:
    full, half = (result["contestants"][f"genartisan {name}"]["total_losses"] for name in ("fp32", "bf16"))
    assert len(full) == 4
    assert full == pytest.approx(half, rel=0.02)


def test_work_is_counted_and_spread_over_the_phases(result: dict[str, Any]) -> None:
    measured = result["contestants"]["genartisan fp32"]
    assert measured["gflop_a_step"] > 0.1
    assert 0 < measured["share_of_matmul_rate"] < 1
    assert set(measured["phases"]) == set(engine.PHASES)
    assert all(seconds > 0 for seconds in measured["phases"].values())
    assert result["hardware"]["threads"] >= 1
    assert "--turns 2" in result["command"]


def test_a_profile_divides_a_step_by_phase_and_kind(result: dict[str, Any]) -> None:
    for measured in (result["contestants"][f"genartisan {name}"] for name in ("fp32", "bf16")):
        rows, primitives = (measured["profile"][part] for part in ("kernels", "onednn"))
        assert {("clip", "matrix product"), ("clip, backward", "matrix product"), ("adam", "optimiser")} <= {
            (row["phase"], row["kind"]) for row in rows
        }
        phases = {row["phase"].removesuffix(", backward") for row in rows}
        assert phases == {*engine.PHASES, "loss"} - {"backward"}
        assert 0 < sum(row["ms"] for row in rows) < 60_000
        assert [row["ms"] for row in rows] == sorted((row["ms"] for row in rows), reverse=True)
        assert {"convolution", "reorder"} <= {row["primitive"] for row in primitives}


def test_a_profile_tells_the_work_of_each_phase() -> None:
    side, rates = 1024, Rates(1e12, 1e11)
    square = torch.ones(side, side, requires_grad=True)

    def step() -> None:
        with record_function("clip"):
            product = square @ torch.ones(side, side)
        with record_function("backward"):
            product.backward(torch.ones(side, side))

    rows = {(row["phase"], row["kind"]): row for row in profiled(step, torch.device("cpu"), rates)["kernels"]}
    for phase in ("clip", "clip, backward"):
        row = rows[phase, "matrix product"]
        assert row["gflop"] == pytest.approx(2 * side**3 / 1e9, abs=1e-3)
        assert row["mb"] == pytest.approx(3 * 4 * side**2 / 1e6, abs=0.01)
        assert row["share_of_rate"] == pytest.approx(2 * side**3 / 1e12 / (row["ms"] / 1e3), abs=1e-3)
    assert size_of(torch.ones(1).expand(100)) == 4


@pytest.mark.parametrize(
    ("operation", "tensors"),
    [
        (lambda a, b: a + b, 3), (lambda a, b: a.add_(b), 3), (lambda a, b: a.copy_(b), 2), (lambda a, b: a.zero_(), 1),
        (lambda a, b: torch.add(a, b, out=a.clone()), 5), (lambda a, b: torch.zeros_like(a), 1),
        (lambda a, b: torch._foreach_add_([a, b], 1.0), 4),
    ],
)  # fmt: skip
def test_bytes_are_those_that_an_operator_reads_and_writes(operation: Any, tensors: int) -> None:
    a, b = torch.ones(512, 512), torch.ones(512, 512)

    def step() -> None:
        with record_function("clip"):
            operation(a, b)

    rows = profiled(step, torch.device("cpu"), Rates(1e12, 1e11))["kernels"]
    assert sum(row["mb"] for row in rows) == pytest.approx(tensors * a.nbytes / 1e6, abs=0.1)


def test_bilinear_resampling_is_no_matrix_product() -> None:
    assert kind_of("aten::upsample_bilinear2d") == "resampling"
    assert kind_of("aten::linear") == "matrix product"


def test_several_photos_in_one_step_are_timed(result: dict[str, Any]) -> None:
    for together in result["seconds_a_step_of_so_many_photos"].values():
        assert set(together) == {"1", "3"}
        assert min(together.values()) > 0


def test_what_fails_is_named_and_stops_nothing_else() -> None:
    calls = list[str]()

    def turn(name: str) -> dict[str, Any]:
        calls.append(name)
        if name == "compiled":
            raise RuntimeError("no C compiler")
        return {"seconds": 1.0}

    failed = dict[str, str]()
    timings = engine.taken({name: partial(turn, name) for name in ("ours", "compiled", "theirs")}, 2, failed)
    assert timings == {"ours": [{"seconds": 1.0}] * 2, "theirs": [{"seconds": 1.0}] * 2}
    assert failed == {"compiled": "RuntimeError: no C compiler"}
    assert calls == ["ours", "compiled", "theirs", "theirs", "ours"]


def test_without_steps_to_time_it_refuses(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["engine.py", "--steps", "2", "--warm-up", "1"])
    with pytest.raises(SystemExit):
        engine.main()
    assert "warm-up is 1" in capsys.readouterr().err


def test_beside_a_busy_process_it_leaves_none_behind() -> None:
    before = set(psutil.Process().children())
    with engine.busy_processes(1):
        (busy,) = set(psutil.Process().children()) - before
        servers.eventually(lambda: busy.cpu_times().user > 0.2, "it fills a core")
    assert not busy.is_running()
