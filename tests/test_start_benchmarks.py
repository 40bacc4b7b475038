"""The benchmarks of the learned start and of flicker: what they compare, and how they sum it up."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from genartisan.bundle import Bundle
from genartisan.config import PRESETS, StyleConfig
from genartisan.evaluate import default_photos
from genartisan.evaluation_jobs import Job
from genartisan.frames import flicker
from genartisan.images import read_photo
from genartisan.judge import Judge
from genartisan.stylizer import Stylizer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

import draft
import flicker as flicker_benchmark
import presets
import sooner


def test_the_parts_are_all_that_the_settings_for_the_loss_change() -> None:
    """But for what concerns people and the finished picture, and how long it runs."""
    named = {key for keys in sooner.PARTS.values() for key in keys}
    tuned = {**PRESETS["fast"], **sooner.LOSS_FIRST}
    assert named < set(tuned)
    assert set(tuned) <= named | {"size", "steps", "coarse_share", "contrast", "lambda_pixel", "feather", "regions"}
    chosen = sooner.settings(128, 400, with_parts=True)
    paper, best = chosen[sooner.CLIPSTYLER], chosen[sooner.FOR_THE_LOSS]
    assert paper == StyleConfig(mode="clipstyler", size=128, steps=400)
    assert chosen["16 patches alone"] == paper.updated({"patches": 16})
    chosen["tuned without 16 patches"] = chosen[sooner.ALL_PATCHES]
    for name, keys in sooner.PARTS.items():
        for other, base in ((f"tuned without {name}", best), (f"{name} alone", paper)):
            assert {
                key for key in StyleConfig.model_fields if getattr(chosen[other], key) != getattr(base, key)
            } == set(keys)
    assert chosen["tuned with coarse to fine"].coarse_share > 0 == best.coarse_share
    assert {config.size for config in chosen.values()} == {128}


def test_a_finished_pair_is_kept_and_another_machine_measures_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    measured = list[str]()

    def pair(stylizer: Any, judge: Any, photo: Path, text: str, configs: Any, bar: Any) -> tuple[Any, Any]:
        measured.append(text)
        bar.update(len(configs))
        named = {name: name != "draft" for name in sooner.JUDGED}
        runs = {name: run(10.0 * (number + 1), 50.0, True) for number, name in enumerate(configs)}
        told = {"photo": photo.name, "text": text, "target": 50.0, "named": named, "runs": runs}
        return told, {name: Image.new("RGB", (8, 8), "red") for name in sooner.JUDGED}

    def result(*more: str) -> Any:
        flags = ["--pairs", "2", "--size", "64", "--work", str(tmp_path / "work"), "--out", str(tmp_path / "told.json")]
        monkeypatch.setattr(sys, "argv", ["sooner.py", *flags, *more])
        sooner.main()
        return json.loads((tmp_path / "told.json").read_text())

    monkeypatch.setattr(sooner, "one_pair", pair)
    first = result()
    assert first["style_named"] == {name: 2 * (name != "draft") for name in sooner.JUDGED}
    assert len(measured) == 2
    (tmp_path / "work" / "sooner_cpu_64_1" / "pair.json").unlink()  # as if it had been cut off
    again = result("--resume")
    first_two = [*sooner.TEXTS][:2]
    assert measured == [*first_two, first_two[1]]
    assert (again["pairs"], again["summary"]) == (first["pairs"], first["summary"])
    monkeypatch.setattr(sooner, "hardware", lambda device: {"processor": "another"})
    result("--resume")
    assert len(measured) == 5
    result()
    assert len(measured) == 7
    for suffix in (".jpg", ".png"):
        Image.open((tmp_path / "told").with_suffix(suffix)).verify()


def test_the_styles_of_a_text_are_the_judges() -> None:
    judge = Judge.load(Path(__file__).parent / "judge")
    assert {style for styles in sooner.TEXTS.values() for style in styles} <= set(judge.classes)


def test_looks_end_with_the_last_step() -> None:
    assert list(sooner.looks(12, 5)) == [5, 10, 12]
    assert list(sooner.looks(12, 0)) == [0, 1, 2, 3, 4, 5, 10, 12]


def run(seconds: float, loss: float, reached: bool) -> dict[str, Any]:
    point = {"step": 10 * seconds, "seconds": seconds, "loss": loss}
    return {"reached": point if reached else None, "curve": [point]}


def test_a_run_that_does_not_get_there_counts_as_longer_than_any() -> None:
    whole = run(100.0, 50.0, True)
    ours = [run(10.0, 50.0, True), run(5.0, 40.0, True), run(8.0, 75.0, False)]
    pairs = [{"target": 50.0, "runs": {sooner.CLIPSTYLER: whole, "fast": one}} for one in ours]
    told = sooner.summary(pairs, "fast")
    assert (told["reached"], told["of"], told["median_steps"], told["median_times_sooner"]) == (2, 3, 100.0, 10.0)
    assert told["median_last_loss_over_target"] == 1.0
    told = sooner.summary(pairs[1:], "fast")
    assert (told["median_steps"], told["median_times_sooner"]) == (None, None)


def test_a_followed_run_is_the_run_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking at its pictures changes nothing, and takes none of its time."""
    monkeypatch.setattr(sooner, "SETS", 1)
    stylizer, photo = Stylizer(Bundle.load(), "cpu", "fp32", styles={}), default_photos()[2]
    config = StyleConfig(mode="clipstyler", size=64, steps=6, patches=2, patch_size=32, start="bundle", contrast=1.0)
    loss_of = sooner.Evaluation(stylizer, photo, "Fire", 64)
    told, picture = sooner.followed(stylizer, photo, "Fire", config, loss_of, float("-inf"), 2, to_the_end=False)
    assert picture.tobytes() == stylizer(photo, "Fire", config=config, seed=sooner.SEED).image.tobytes()
    assert [point["step"] for point in told["curve"]] == [2, 4, 6]
    assert told["reached"] is None
    middle = statistics.median(point["loss"] for point in told["curve"])
    told, _ = sooner.followed(stylizer, photo, "Fire", config, loss_of, middle, 2, to_the_end=False)
    assert told["reached"] == told["curve"][-1]
    assert told["reached"]["loss"] <= middle


@pytest.mark.parametrize("pan", flicker_benchmark.PANS)
def test_a_camera_over_a_still_shows_the_same_where_it_has_moved_by_whole_pixels(pan: tuple[float, float]) -> None:
    frames = flicker_benchmark.windows(default_photos()[0], pan, 512, 11)
    told = flicker_benchmark.measured(pan, frames, {"film": frames})
    assert told["still, whole pixels apart, inside"] < 1e-3
    assert told["film, next frame"] == told["still, next frame"]
    planes = [read_photo(frame).pixels for frame in frames[:2]]
    assert flicker(planes, [(40, 40)]) > 0.01


def test_drafts_are_timed_whole_and_part_by_part(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    out = tmp_path / "draft.json"
    flags = ["--size", "64", "--repeats", "3", "--device", "cpu", "--precision", "fp32", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["draft.py", *flags])
    draft.main()
    told = json.loads(out.read_text())
    assert (told["size"], told["repeats"], told["hardware"]["device"]) == (64, 3, "cpu")
    calls = told["milliseconds"]
    assert all(0 < call["median"] <= call["p95"] for call in calls.values())
    whole = calls["artisan"]
    assert 0 < whole["parts"]["total"] <= whole["median"] + 1  # told in whole milliseconds
    assert calls["the pass alone"]["parts"] == {}


def test_a_picture_of_a_preset_is_made_once_on_whatever_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = list[str]()
    make = Job.make
    monkeypatch.setattr(Job, "make", lambda job, *rest: (made.append(job.style), make(job, *rest))[1])
    monkeypatch.setattr(presets, "ORDER", ("draft",))
    photos, out = [str(path) for path in default_photos()[:1]], tmp_path / "presets.json"
    flags = ["--size", "64", "--photos", *photos, "--device", "cpu", "--work", str(tmp_path), "--out", str(out)]

    def run(*more: str) -> dict[str, Any]:
        monkeypatch.setattr(sys, "argv", ["presets.py", *flags, *more])
        presets.main()
        told: dict[str, Any] = json.loads(out.read_text())
        return told

    first = run("--styles", "fire", "golden", "pop art", "--precision", "fp32")
    again = run("--styles", "fire", "golden", "pop art", "--precision", "auto", "--resume")
    assert made == ["fire", "golden", "pop art"]
    assert first["pictures"] == again["pictures"]
    assert first["summary"]["draft"]["pictures"] == 3
    assert Image.open(out.with_suffix(".jpg")).height > 2 * 200  # the third, alone, in a second row
    run("--styles", "fire", "--resume", "--size", "80")
    assert made[3:] == ["fire"]  # another size is another picture
