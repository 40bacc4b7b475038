"""`genartisan evaluate --judge`: what it writes, what it keeps, what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

pytest.importorskip("cv2")
pytest.importorskip("skimage")

from genartisan import evaluate as evaluation
from genartisan import evaluation_report
from genartisan.bundle import EMBEDDED, read_manifest
from genartisan.cli import main
from genartisan.config import StyleConfig, preset
from genartisan.embedded import model_card
from genartisan.embedded.styles import STYLES
from genartisan.embedded.training import save_network
from genartisan.errors import InputError
from genartisan.evaluation_jobs import Machine
from genartisan.evaluation_report import Target
from genartisan.judge import KIND, new_network

QUICK: dict[str, Any] = {"size": 48, "steps": 2, "patches": 2, "patch_size": 16}
SOME = ("fire", "mosaic tiles")


@pytest.fixture(scope="module")
def untrained_judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, classes = tmp_path_factory.mktemp("judge"), ["photo", *STYLES]
    torch.manual_seed(0)
    architecture = {"kind": KIND, "classes": classes, "size": 32}
    network = new_network(len(classes))
    save_network(folder, "judge", network, architecture, {"held_out_accuracy": 0.04}, {"commit": None, "seed": 0})
    return folder


@pytest.fixture
def settings(tmp_path: Path, untrained_judge: Path, monkeypatch: pytest.MonkeyPatch) -> evaluation.Settings:
    """One photo, two styles, two steps."""
    figures = {"retrieval": 0.9, "texts": 0.949}  # reached, just not reached; the third was not measured
    monkeypatch.setattr(evaluation, "clip_figures", lambda *_: figures)
    photo = tmp_path / "photo.png"
    tiny.picture().save(photo)
    return evaluation.Settings(
        machine=Machine("embedded", "cpu", "fp32"),
        judge=untrained_judge,
        output=tmp_path / "docs" / "evaluation.md",
        work=tmp_path / "work",
        styles=SOME,
        photos=(photo,),
        config=StyleConfig(**QUICK),
        paper_config=StyleConfig(**QUICK),
        processes=1,
    )


def line_with(text: str, words: str) -> str:
    (line,) = (line for line in text.splitlines() if words in line)
    return line


def test_the_documents_tell_what_was_measured(settings: evaluation.Settings) -> None:
    results = evaluation.evaluate(settings)
    text = settings.output.read_text(encoding="utf-8")
    assert json.loads(settings.output.with_suffix(".json").read_text(encoding="utf-8")) == results
    assert line_with(text, "CLIP: held-out drawings").endswith("| 90.0% | ≥ 90.0% | yes |")
    assert line_with(text, "unseen phrases").endswith("| 94.9% | ≥ 95.0% | **no** |")
    assert line_with(text, "words in unseen orders").endswith("| – | ≥ 95.0% | not measured |")
    assert "1 photos × 2 styles" in line_with(text, "Judge names the right style")
    first, second = (line_with(text, f"| {evaluation.prompt_of(style)} |") for style in SOME)
    places = [picture["place"] for picture in results["pictures"]]
    for line, place in zip((first, second), places, strict=True):
        assert [cell.strip() for cell in line.split("|")][2:4] == [str(int(place <= 1)), str(int(place <= 3))]
    assert 1 < results["bundle"]["megabytes"] < 15
    assert set(results["starts"]) == {"judged", "paper"}
    for pair in (pair for pairs in results["starts"].values() for pair in pairs):
        assert pair["step"] == 2
        assert pair["ratios"]["random"] == 1
        assert pair["ratios"]["bundle"] == pytest.approx(pair["bundle"] / pair["random"], abs=1e-4)
        assert pair["ratios"]["identity"] != pair["ratios"]["bundle"]
    with Image.open(settings.output.parent / "pictures" / "evaluation.jpg") as sheet:
        assert sheet.width > 2 * evaluation_report.SHEET_SIDE


def test_drafts_are_judged_though_they_have_no_losses(settings: evaluation.Settings) -> None:
    drafts = replace(settings, config=preset("draft", {"size": 48}))
    results = evaluation.evaluate(drafts)
    text = settings.output.read_text(encoding="utf-8")
    assert results["starts"]["judged"] == []
    assert len(results["pictures"]) == 2
    assert "no losses to compare starts by" in text
    assert "start over random start" not in text


def test_pictures_that_are_made_are_kept(settings: evaluation.Settings) -> None:
    def made(some: evaluation.Settings) -> int:
        jobs = evaluation.picture_jobs(some)
        return evaluation.make_all(jobs, some.work, some.machine, processes=1, resume=some.resume)

    assert made(settings) == 2
    picture = evaluation.picture_jobs(settings)[0].picture(settings.work)
    before = picture.stat().st_mtime_ns
    again = replace(settings, resume=True)
    assert made(again) == 0
    assert picture.stat().st_mtime_ns == before
    picture.unlink()
    assert made(again) == 1
    assert made(replace(again, seed=1)) == 2  # other pictures under the same names
    assert evaluation.evaluate(replace(again, seed=1))["made"] == 8  # the starts alone


def test_a_process_makes_the_same_picture(
    settings: evaluation.Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job, _), pictures = evaluation.picture_jobs(settings), []
    monkeypatch.setattr("os.cpu_count", lambda: 2 * torch.get_num_threads())  # as many threads for each of two
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        assert evaluation.make_all([job], folder, settings.machine, processes=processes) == 1
        pictures.append(np.asarray(Image.open(job.picture(folder)), np.float32))
    np.testing.assert_array_equal(*pictures)


def test_starts_are_compared_over_many_photos_and_styles() -> None:
    photos, styles = evaluation.default_photos(), tuple(STYLES)
    settings = evaluation.Settings(Machine("embedded"), Path(), Path(), Path(), styles, photos, preset("fast"))
    pairs = evaluation.start_jobs(settings, settings.config)
    assert len(pairs) == 8
    assert [job.config.start for job in pairs[0]] == ["bundle", "identity", "random"]
    assert len({(pair[0].photo, pair[0].style) for pair in pairs}) == 8
    assert len({pair[0].photo for pair in pairs}) >= 4
    assert len({pair[0].style for pair in pairs}) >= 7
    judged = set(evaluation.picture_jobs(settings))
    assert all([job in judged for job in pair] == [True, False, False] for pair in pairs)
    others = evaluation.start_jobs(settings, settings.paper_config, "paper_")
    assert not {job.name for pair in others for job in pair} & {job.name for job in judged.union(*pairs)}


@pytest.mark.parametrize(
    ("value", "relation", "limit", "reached"),
    [
        (0.7, "≥", 0.7, True), (0.69, "≥", 0.7, False), (0.8, "≤", 0.8, True), (0.81, "≤", 0.8, False),
        (1.0, "<", 1, False), (0.99, "<", 1, True), (None, "≥", 0.7, None),
    ],
)  # fmt: skip
def test_a_target_is_reached_or_not(value: float | None, relation: str, limit: float, reached: bool | None) -> None:
    assert Target("it", value, relation, limit).reached is reached


def test_a_mean_iou_does_not_hide_that_of_the_people() -> None:
    row = evaluation_report.segmentation("scenes", {"mean_iou": 0.86, "person_iou": 0.79}, 0.85).as_row()
    assert row == "| FCN: mean IoU on scenes (people alone: 0.79) | 0.86 | ≥ 0.85 | yes |"
    assert evaluation_report.segmentation("scenes", None, 0.85).as_row().endswith("not measured |")


def test_a_style_that_was_taken_for_others_says_for_which() -> None:
    def picture(place: int, taken_for: str) -> dict[str, Any]:
        return {"style": "fire", "prompt": "fire", "place": place, "taken_for": taken_for, "probability": 0.5}

    pictures = [picture(1, "fire"), picture(2, "lava"), picture(3, "lava"), picture(9, "photo")]
    assert evaluation_report.style_rows(pictures, ["fire"]) == ["| fire | 1 | 3 | 0.50 | lava (2), photo (1) |"]


@pytest.mark.parametrize(("flags", "words"), [
    ([], ["--judge"]),
    (["--judge", "nowhere"], ["nowhere", "train_judge"]),
    (["--judge", "--styles", "lava lamp"], ["lava lamp", "stained glass"]),
    (["--judge", "--processes", "0"], ["processes", "at least 1"]),
    (["--judge", "--preset", "best"], ["preset", "fast"]),
    (["--judge", "-o", "a.html"], ["output", ".md"]),
])  # fmt: skip
def test_bad_flags_are_one_line(capsys: pytest.CaptureFixture[str], flags: list[str], words: list[str]) -> None:
    assert main(["evaluate", *flags]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert all(word in error for word in words)


def test_the_model_card_has_the_figures_of_the_bundle() -> None:
    card = (Path(__file__).parents[1] / "docs" / "model-card.md").read_text(encoding="utf-8")
    assert model_card.updated(card, read_manifest(EMBEDDED)) == card, "run python -m genartisan.embedded.model_card"


def test_a_model_card_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="end of figures"):
        model_card.updated("# Card", read_manifest(EMBEDDED))


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(evaluation.importlib.util, "find_spec", lambda name: None)
    assert main(["evaluate", "--judge"]) == 2
    assert "scikit-image" in (error := capsys.readouterr().err)
    assert "genartisan[train]" in error


def test_a_judge_that_does_not_know_a_style_is_refused(settings: evaluation.Settings) -> None:
    with pytest.raises(InputError, match="moss"):
        evaluation.evaluate(replace(settings, styles=("moss",)))


def test_a_photo_of_nothing_but_a_person_is_refused(
    settings: evaluation.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from genartisan.regions import from_mask
    from genartisan.stylizer import Stylizer

    monkeypatch.setattr(Stylizer, "regions", lambda *_: from_mask(torch.ones(48, 64, dtype=torch.bool)))
    with pytest.raises(InputError, match="nothing but people"):
        evaluation.evaluate(settings)
    assert not settings.work.exists()
