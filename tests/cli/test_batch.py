"""`batch` as a user meets it, with the work done in this process; `test_batch_ray.py` has Ray do it."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path

import pytest
import tiny

from genartisan.batch.items import Item
from genartisan.batch.worker import Outcome, Worker
from genartisan.cli import ray_pool
from genartisan.cli.main import main
from genartisan.errors import InputError

QUICK = ["--preset", "draft", "--size", "64", "--device", "cpu", "--precision", "fp32", "--quiet"]


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def outcomes(items: Mapping[str, Item], worker: Worker, share: ray_pool.Share) -> Iterator[Outcome]:
        yield from (worker.work(item, output) for output, item in items.items())

    monkeypatch.setattr(ray_pool, "cluster", lambda address: nullcontext())
    monkeypatch.setattr(ray_pool, "alive", lambda: [{"CPU": 1.0}])
    monkeypatch.setattr(ray_pool, "outcomes", outcomes)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for number, name in enumerate(("a.jpg", "a.png", "more/b.png")):
        tiny.picture(seed=number).save(folder / name)
    return folder


def batch(source: Path | str, out: Path | str, bundle: Path, *flags: str) -> int:
    return main(["batch", str(source), "-o", str(out), "--bundle", str(bundle), *QUICK, *flags])


def pictures(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))


def test_a_picture_for_each_photo_and_prompt_and_none_again(
    photos: Path, tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    flags = ["--prompt", "fire", "--prompt", "a watercolor painting"]
    assert batch(photos, out, tiny_folder, *flags) == 0
    assert "6 made" in capsys.readouterr().out
    made = pictures(out)
    assert [name.rpartition("-")[0] for name in made] == [
        "a.a-watercolor-painting", "a.a-watercolor-painting", "a.fire", "a.fire",
        "more/b.a-watercolor-painting", "more/b.fire",
    ]  # fmt: skip
    times = [(out / name).stat().st_mtime_ns for name in made]
    assert batch(photos, out, tiny_folder, *flags) == 0
    assert "6 skipped" in capsys.readouterr().out
    assert [(out / name).stat().st_mtime_ns for name in made] == times
    assert pictures(out) == made


def test_a_broken_photo_fails_alone(
    photos: Path, tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    (photos / "0.png").write_bytes(b"nothing")
    assert batch(photos, out, tiny_folder, "--prompt", "fire") == 1
    said = capsys.readouterr()
    assert "3 made, 1 failed" in said.out
    assert "send one of" in said.err
    (failure,) = map(json.loads, (out / "failures.jsonl").read_text().splitlines())
    assert (failure["photo"], failure["prompt"], failure["error"]["code"]) == ("0.png", "fire", "unsupported_image")
    tiny.picture().save(photos / "0.png")
    assert batch(photos, out, tiny_folder, "--prompt", "fire") == 0
    assert "1 made, 3 skipped" in capsys.readouterr().out
    assert (out / "failures.jsonl").read_bytes() == b""


def test_a_manifest_s_rows_have_their_own_settings(photos: Path, tmp_path: Path, tiny_folder: Path) -> None:
    out, manifest = tmp_path / "out", photos / "m.csv"
    manifest.write_text("photo,prompt,output_size,seed\na.jpg,fire,96,\nmore/b.png,,,4\n")
    assert batch(manifest, out, tiny_folder, "--prompt", "watercolor", "--format", "jpg") == 0
    first, second = sorted(out.rglob("*.jpg"))
    assert first.name.startswith("a.fire-")
    assert second.parent.name == "more"
    assert tiny.Image.open(first).size == (96, 72)
    assert tiny.Image.open(second).size == (64, 48)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ([], "prompt is missing"),
        (["--prompt", " "], "prompt is empty"),
        (["--prompt", "fire", "--steps", "-1"], "steps is -1"),
        (["--prompt", "fire", "--preset", "no"], "preset is 'no'"),
        (["--prompt", "fire", "--format", "gif"], "format is 'gif'"),
        (["--prompt", "fire", "--device", "mps"], "device is 'mps'"),
        (["--prompt", "fire", "--device", "cuda"], "no node has a GPU"),
        (["--prompt", "fire", "--threads", "2"], "threads is 2"),
        (["--prompt", "fire", "--style", "none"], "style is 'none'"),
        (["--prompt", "fire", "--prompt", "fire"], "drop one"),
        (["--prompt", "fire", "--precision", "fp8"], "precision is 'fp8'"),
    ],
)
def test_what_is_wrong_for_all_is_refused_before_the_work(
    flags: list[str], says: str, photos: Path, tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert batch(photos, tmp_path / "out", tiny_folder, "--style-folder", str(tmp_path), *flags) == 2
    assert says in capsys.readouterr().err
    assert pictures(tmp_path / "out") == []


def test_wrong_places_are_refused(
    photos: Path, tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    for source, out, says in (
        (tmp_path / "none", tmp_path / "out", "no folder of photos"),
        (tmp_path / "none.csv", tmp_path / "out", "cannot be read"),
        (tmp_path / "empty", tmp_path / "out", "contains no pictures"),
        (photos, photos / "out", "in the folder of the photos"),
        (photos, photos, "in the folder of the photos"),
        (photos, tmp_path / "file", "cannot be written"),
        ("nowhere://photos", tmp_path / "out", "nowhere"),
    ):
        assert batch(source, out, tiny_folder, "--prompt", "fire") == 2, says
        assert says in capsys.readouterr().err
    assert batch(photos, tmp_path / "out", tmp_path / "no-bundle", "--prompt", "fire") == 2


def test_an_interruption_keeps_what_is_done(
    photos: Path, tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(items: Mapping[str, Item], worker: Worker, share: ray_pool.Share) -> Iterator[Outcome]:
        output, item = next(iter(items.items()))
        yield worker.work(item, output)
        raise KeyboardInterrupt

    (photos / "0.png").write_bytes(b"nothing")
    monkeypatch.setattr(ray_pool, "outcomes", interrupted)
    assert batch(photos, tmp_path / "out", tiny_folder, "--prompt", "fire") == 130
    assert "1 failed, 3 not reached" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "failures.jsonl").read_text())["photo"] == "0.png"


def test_without_ray_the_remedy_is_named(
    photos: Path, tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "ray" else find(name, *rest))
    assert batch(photos, tmp_path / "out", tiny_folder, "--prompt", "fire") == 2
    assert "pip install 'genartisan[batch]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("nodes", "device", "threads", "expected"),
    [
        ([{"CPU": 16}], "auto", None, ("cpu", 4, 4)),
        ([{"CPU": 16}, {"CPU": 2}, {}], "auto", None, ("cpu", 2, 9)),
        ([{"CPU": 16}], "cpu", 5, ("cpu", 5, 3)),
        ([{"CPU": 64, "GPU": 8}, {"CPU": 4}], "auto", None, ("cuda", 4, 8)),
        ([{"CPU": 4, "GPU": 2}, {"CPU": 64, "GPU": 1}], "cuda", None, ("cuda", 2, 3)),
        ([{"CPU": 64, "GPU": 8}], "cpu", None, ("cpu", 4, 16)),
        ([{"CPU": 0.5}, {"CPU": 1}], "cpu", None, ("cpu", 1, 1)),
    ],
)
def test_a_worker_for_each_gpu_or_its_share_of_the_cores(
    nodes: list[Mapping[str, float]], device: str, threads: int | None, expected: tuple[str, int, int]
) -> None:
    assert ray_pool.shares(nodes, device, threads) == ray_pool.Share(*expected)


@pytest.mark.parametrize(
    ("nodes", "device", "threads", "field"),
    [
        ([{"CPU": 4}], "cuda", None, "device"),
        ([{"CPU": 4}], "cpu", 5, "threads"),
        ([{"CPU": 4}], "cpu", 0, "threads"),
        ([{"CPU": 0}, {}], "cpu", None, "address"),
    ],
)
def test_workers_that_fit_nowhere_are_refused(
    nodes: list[Mapping[str, float]], device: str, threads: int | None, field: str
) -> None:
    with pytest.raises(InputError) as caught:
        ray_pool.shares(nodes, device, threads)
    assert caught.value.field == field
