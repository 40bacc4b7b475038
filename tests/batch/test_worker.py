"""The work of one item: the library's picture, written whole, and skipped where it is there."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from PIL import Image

from genartisan.batch.items import Item
from genartisan.batch.job import Job
from genartisan.batch.worker import Outcome, Worker
from genartisan.config import from_params
from genartisan.io.images import unique_id_of
from genartisan.method.saved_style import SavedStyle
from genartisan.method.stylizer import Stylizer

PARAMS = {"preset": "draft", "size": 64}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number, name in enumerate(("photo.png", "style.png")):
        tiny.picture(seed=number).save(tmp_path / name)
    tiny.mask().save(tmp_path / "mask.png")
    tiny.write_style(tmp_path / "fiery.safetensors")
    return tmp_path


def worker(folder: Path, photos: Path | None = None, **changes: Any) -> Worker:
    styles = {} if photos is None else {"fiery": SavedStyle.load(photos / "fiery.safetensors")}
    plain = {"bundle": str(folder), "device": "cpu", "precision": "fp32", "graphs": False, "threads": 1}
    return Worker(**{**plain, "media_type": "image/png", "styles": styles, **changes})


def item(photos: Path, **changes: Any) -> Item:
    return Item(**{"photo": "photo.png", "prompt": "fire", "params": PARAMS, "folder": str(photos), **changes})


def test_the_picture_is_the_library_s(photos: Path, tiny_folder: Path, tiny_stylizer: Stylizer) -> None:
    out = photos / "new" / "folder" / "out.png"
    full = item(photos, masks={"portrait": "mask.png"}, style_images={"all": "style.png"})
    outcome = worker(tiny_folder).work(full, str(out))
    config, seed = from_params(PARAMS)
    expected = tiny_stylizer(
        str(photos / "photo.png"), "fire", config=config, seed=seed,
        mask=photos / "mask.png", style_image=photos / "style.png",
    )  # fmt: skip
    assert outcome == Outcome(output=str(out), status="made", warnings=expected.report["warnings"])
    assert np.array_equal(np.asarray(Image.open(out)), np.asarray(expected.image))


@pytest.mark.parametrize(("media_type", "kind"), [("image/png", "PNG"), ("image/jpeg", "JPEG"), ("image/webp", "WEBP")])
def test_a_whole_picture_of_the_same_inputs_is_skipped(
    media_type: str, kind: str, photos: Path, tiny_folder: Path
) -> None:
    out = photos / "out"
    first, second = worker(tiny_folder, media_type=media_type), worker(tiny_folder, media_type=media_type)
    assert first.work(item(photos), str(out)).status == "made"
    assert Image.open(out).format == kind
    before = out.stat().st_mtime_ns
    assert second.work(item(photos), str(out)).status == "skipped"
    assert out.stat().st_mtime_ns == before


def test_what_differs_in_any_input_is_made_again(photos: Path, tiny_folder: Path, headless_folder: Path) -> None:
    out = str(photos / "out.png")
    seen = list[str | None]()
    original = (photos / "photo.png").read_bytes()
    for of_worker, of_item in (
        ({}, {}),
        ({}, {"prompt": "watercolor"}),
        ({}, {"params": {**PARAMS, "seed": 1}}),
        ({}, {"params": {**PARAMS, "contrast": 1.1}}),
        ({}, {"params": {**PARAMS, "style": "fiery"}}),
        ({}, {"masks": {"portrait": "mask.png"}}),
        ({}, {"style_images": {"all": "style.png"}}),
        ({}, {"style_images": {"portrait": "style.png"}}),
        ({"bundle": str(headless_folder)}, {}),
    ):
        made = worker(tiny_folder, photos, **of_worker).work(item(photos, **of_item), out)
        assert made.status == "made", (of_worker, of_item, made)
        seen.append(unique_id_of(Path(out).read_bytes()))
    tiny.picture(seed=9).save(photos / "photo.png")  # another photo of that name
    assert worker(tiny_folder).work(item(photos), out).status == "made"
    seen.append(unique_id_of(Path(out).read_bytes()))
    assert None not in seen
    assert len(set(seen)) == len(seen)
    (photos / "photo.png").write_bytes(original)
    shutil.copy(photos / "photo.png", photos / "renamed.png")
    assert worker(tiny_folder).work(item(photos), out).status == "made"
    assert worker(tiny_folder).work(item(photos, photo="renamed.png"), out).status == "skipped"


@pytest.mark.parametrize("damage", [lambda data: data[:-30], lambda data: b"", lambda data: data[:40] + data[60:]])
def test_what_is_not_whole_is_made_again(damage: Any, photos: Path, tiny_folder: Path) -> None:
    out = photos / "out.png"
    resident = worker(tiny_folder)
    resident.work(item(photos), str(out))
    whole = out.read_bytes()
    out.write_bytes(damage(whole))
    assert resident.work(item(photos), str(out)).status == "made"
    assert out.read_bytes() == whole


def test_a_skipped_item_loads_no_networks(photos: Path, tiny_folder: Path, tmp_path: Path) -> None:
    out, folder = str(photos / "out.png"), tmp_path / "bundle"
    shutil.copytree(tiny_folder, folder)
    assert worker(folder).work(item(photos), out).status == "made"
    for file in folder.glob("*.safetensors"):
        file.unlink()
    assert worker(folder).work(item(photos), out).status == "skipped"
    assert worker(folder).work(item(photos, prompt="watercolor"), out).status == "unfit"


def test_a_machine_without_the_bundle_is_unfit(photos: Path, tmp_path: Path) -> None:
    outcome = worker(tmp_path / "none").work(item(photos), str(photos / "out.png"))
    assert outcome.status == "unfit"
    assert outcome.error is not None
    assert "bundle.json" in str(outcome.error["message"])


@pytest.mark.parametrize(
    ("name", "content", "code", "field"),
    [
        ("broken.png", b"nothing", "unsupported_image", "photo"),
        ("empty.png", b"", "bad_input", "photo"),
        ("missing.png", None, "bad_input", "photo"),
    ],
)
def test_a_broken_photo_is_a_failure_with_its_reason(
    name: str, content: bytes | None, code: str, field: str, photos: Path, tiny_folder: Path
) -> None:
    if content is not None:
        (photos / name).write_bytes(content)
    outcome = worker(tiny_folder).work(item(photos, photo=name), str(photos / "out.png"))
    assert outcome.status == "failed"
    assert outcome.error is not None
    assert (outcome.error["code"], outcome.error["field"]) == (code, field)
    assert not (photos / "out.png").exists()


def test_memory_that_does_not_suffice_is_a_failure(
    photos: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: Any, **__: Any) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(Stylizer, "__call__", no_room)
    outcome = worker(tiny_folder).work(item(photos), str(photos / "out.png"))
    assert (outcome.status, (outcome.error or {})["code"]) == ("failed", "out_of_memory")


def test_a_row_of_ray_data_holds_text_alone(photos: Path, tiny_folder: Path) -> None:
    out = str(photos / "out.png")
    row = worker(tiny_folder)({"item": item(photos).model_dump_json(), "output": out})
    assert Outcome.model_validate_json(row["outcome"]).status == "made"


def test_a_job_counts_lists_failures_and_misses_what_is_not_there(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    names = [f"{folder}/{name}.png" for name in ("made", "gone", "failed", "later")]
    job = Job({name: item(photos, row=row) for row, name in enumerate(names, start=2)}, str(folder))
    job.write_failures()
    assert (folder / "failures.jsonl").read_bytes() == b""
    buffer = io.BytesIO()
    tiny.picture().save(buffer, "PNG")
    (folder / "made.png").write_bytes(buffer.getvalue())
    for name in names[:2]:
        job.add(Outcome(output=name, status="made", warnings=["same"]))
    job.add(Outcome(output=names[2], status="failed", error={"code": "bad_input", "message": "m", "field": "photo"}))
    job.check_seen()
    assert (job.made, set(job.failed), job.warnings) == ([names[0]], {names[1], names[2]}, {"same": 2})
    assert "1 made, 2 failed, 1 not reached" in job.summary
    job.write_failures()
    listed = [line.split('"row": ')[1][0] for line in (folder / "failures.jsonl").read_text().splitlines()]
    assert sorted(listed) == ["3", "4"]
