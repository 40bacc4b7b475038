"""`genartisan evaluate --compare`: what is made, measured by the same crops, counted and written."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from torch import Tensor

pytest.importorskip("cv2")
pytest.importorskip("skimage")
pytest.importorskip("matplotlib")

from tiny import from_mask

from genartisan.cli.evaluation_flags import evaluation_settings
from genartisan.cli.main import build_parser, main
from genartisan.config import StyleConfig, preset
from genartisan.drawing.styles import STYLES
from genartisan.errors import InputError
from genartisan.evaluation import comparison_measures, pairs, report
from genartisan.evaluation.comparison_measures import SHARES, SIX, Measures, SixLosses
from genartisan.evaluation.comparison_report import blocks_of
from genartisan.evaluation.findings import count, findings, pairs_of, targets
from genartisan.evaluation.jobs import Job, StylizerSpec
from genartisan.evaluation.pairs import ALL, NONE, Pair, ablation_pairs, compared, variants
from genartisan.evaluation.photos import FIRST_SCENE, Subject, drawn_scenes, segmented
from genartisan.evaluation.runner import evaluate
from genartisan.evaluation.settings import COMPARED_STYLES, ModeComparison, Settings
from genartisan.io.documents import Text, as_html, as_markdown
from genartisan.io.images import read_photo
from genartisan.method.objective import Objective
from genartisan.method.patches import plan
from genartisan.method.regions import PORTRAIT_LABEL, RegionMap
from genartisan.method.stylizer import Stylizer
from genartisan.method.targets import ScaleTargets
from genartisan.training.train_fcn import FIRST_SEED

QUICK: dict[str, Any] = {"size": 48, "steps": 2, "patches": 4, "patch_size": 16, "contrast": 1.2}
ABLATION = {"steps": 2, "patch_size": 16}
SOME = ("fire", "watercolor painting")
ODD = '<b>fire</b> | "watercolor"'  # a style that has to be escaped everywhere


def subject(folder: Path, box: tuple[int, int, int, int] = (8, 8, 28, 44), name: str = "photo") -> Subject:
    photo, mask = folder / f"{name}.png", folder / f"{name}_mask.png"
    tiny.picture().save(photo)
    tiny.mask(box=box).save(mask)
    return Subject(photo, mask, True, float(np.asarray(Image.open(mask)).mean() / 255))


# The files of a comparison, made once


def by_name(_: Stylizer, photo: Any, mask: Any = None) -> RegionMap:
    """Instead of FCN: a person at the left of any photo that is not dark."""
    portrait = torch.zeros(photo.size[::-1], dtype=torch.bool)
    portrait[8:44, 8:28] = float(photo.pixels.mean()) > 0.1
    return from_mask(portrait)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path, untrained_judge: Path) -> Settings:
    """A photo of a person, one of none, and a drawn scene of each kind, in two styles."""
    folder = tmp_path_factory.mktemp("comparison")
    tiny.picture().save(folder / "someone.png")
    tiny.picture(seed=3).point(lambda value: value // 16).save(folder / "no one.png")
    return Settings(
        spec=StylizerSpec(str(tiny_folder), "cpu", "fp32"),
        study=ModeComparison(SOME, StyleConfig(**QUICK), scenes=1, ablation=1),
        photos=(folder / "someone.png", folder / "no one.png"),
        judge=untrained_judge,
        output=folder / "docs" / "comparison.md",
        work=folder / "work",
        processes=1,
    )


@pytest.fixture(scope="module")
def results(settings: Settings) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stylizer, "regions", by_name)
        patch.setattr(comparison_measures, "SETS", 1)
        patch.setattr(pairs, "ABLATION", ABLATION)
        return evaluate(settings)


@pytest.mark.slow
def test_every_pair_is_made_in_both_modes_and_measured(settings: Settings, results: dict[str, Any]) -> None:
    rows = [row for row in results["pictures"] if row["group"] == "comparison"]
    assert len(rows) == 4 * len(SOME) * 2
    assert [photo["kind"] for photo in results["settings"]["photos"]] == [
        "selfie", "no people", "selfie", "tour photo",
    ]  # fmt: skip
    for row in rows:
        assert all(isinstance(row[name], float) for name in SIX)
        assert 1 <= row["judge_place"] <= len(STYLES) + 1
        assert row["steps"] == 2
        with_people = row["kind"] != "no people"
        assert (row["portrait_vgg"] is not None) == with_people
        assert (row["background_ssim"] is not None) == with_people
    assert len({row["file"] for row in results["pictures"]}) == len(results["pictures"]) == results["made"]


@pytest.mark.slow
def test_without_people_the_modes_are_one(results: dict[str, Any]) -> None:
    losses = results["findings"]["losses"]
    counts = {(count["lower"], count["equal"], count["higher"]) for count in losses["no people"].values()}
    assert counts == {(0, len(SOME), 0)}
    assert all(count["of"] == 3 * len(SOME) for count in losses["with people"].values())


@pytest.mark.slow
def test_files_agree_with_the_results(settings: Settings, results: dict[str, Any]) -> None:
    output = settings.output
    assert json.loads(output.with_suffix(".json").read_text(encoding="utf-8")) == json.loads(json.dumps(results))
    with output.with_suffix(".csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(results["pictures"])
    assert [line["file"] for line in table] == [row["file"] for row in results["pictures"]]
    assert float(table[0]["semantic_patch"]) == results["pictures"][0]["semantic_patch"]
    text = output.read_text(encoding="utf-8")
    content = results["findings"]["losses"]["with people"]["content"]
    assert f"{content['lower']} of {content['of']}" in next(
        line for line in text.splitlines() if "VGG's maps of" in line
    )
    linked = {line.split("](")[1].rstrip(")") for line in text.splitlines() if line.startswith("![")}
    assert linked == {f"pictures/{path.name}" for path in (output.parent / "pictures").glob("comparison-*")}
    assert {f"pictures/comparison-{name}" for name in (
        "selfies.jpg", "tour.jpg", "none.jpg", "lines-selfies.png", "lines-tour.png", "bars-selfies.png",
        "bars-tour.png", "preservation.png", "ablation.png", "ablation-global.jpg", "ablation-controls.jpg",
    )} == linked  # fmt: skip


@pytest.mark.parametrize(("value", "written"), [("=1+1", "'=1+1"), ("@a", "'@a"), ("fire", "fire"), (-0.5, -0.5)])
def test_no_cell_is_a_formula(value: object, written: object) -> None:
    assert report.csv_cell(value) == written


@pytest.mark.slow
def test_the_html_needs_no_other_file(settings: Settings, results: dict[str, Any]) -> None:
    text = settings.output.with_suffix(".html").read_text(encoding="utf-8")
    assert text.count('src="data:image/') == text.count("<img ") == 11
    assert all(link.startswith("data:") for link in re.findall(r'(?:src|href)="([^"]*)"', text))
    assert "<script" not in text
    assert results["command"] in text


@pytest.mark.slow
def test_what_users_typed_is_no_markup(settings: Settings, results: dict[str, Any]) -> None:
    odd = json.loads(json.dumps(results).replace(json.dumps("fire"), json.dumps(ODD)))
    blocks = blocks_of(odd, {})
    text, page = as_markdown(blocks, settings.output.parent), as_html(ODD, blocks)
    assert "<b>" not in text
    assert "<b>" not in page
    assert '\\| "watercolor"' in text
    assert "&lt;b&gt;fire" in page


@pytest.mark.slow
def test_a_second_run_keeps_pictures_and_numbers(
    settings: Settings, results: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stylizer, "regions", by_name)
    monkeypatch.setattr(comparison_measures, "SETS", 1)
    monkeypatch.setattr(pairs, "ABLATION", ABLATION)
    again = replace(settings, resume=True, output=settings.output.with_name("again.md"))
    measured: list[str] = []
    of_picture = Measures.of_picture

    def noted(self: Measures, pair: Pair, picture: Tensor) -> dict[str, Any]:
        measured.append(pair.style)
        return of_picture(self, pair, picture)

    monkeypatch.setattr(Measures, "of_picture", noted)
    (settings.work / results["pictures"][0]["file"]).unlink()
    other = evaluate(again)
    assert other["made"] == 1
    assert not measured  # for it is the same picture again
    made_again = {"seconds": None}  # but it took its own time
    assert [{**row, **made_again} for row in other["pictures"]] == [
        {**row, **made_again} for row in results["pictures"]
    ]


# The six losses


@pytest.fixture
def losses(tmp_path: Path, tiny_stylizer: Stylizer) -> SixLosses:
    return SixLosses(tiny_stylizer, subject(tmp_path), "fire", 64)


def noise(seed: int) -> Tensor:
    return torch.rand(3, 48, 64, generator=torch.Generator().manual_seed(seed))


def test_pictures_are_measured_by_the_same_crops(losses: SixLosses, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[Tensor]] = []
    unwatched = Objective.losses

    def noted(self: Objective, picture: Tensor, targets: ScaleTargets, step: int) -> Tensor:
        batch = targets.patches.at(step)
        seen.append([batch.boxes, batch.homographies, batch.weights, batch.thresholds])
        return unwatched(self, picture, targets, step)

    monkeypatch.setattr(Objective, "losses", noted)
    first, second, again = losses(noise(1)), losses(noise(2)), losses(noise(1))
    assert first == again
    assert first != second
    third = len(seen) // 3
    for one, other in zip(seen[:third], seen[third : 2 * third], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not torch.equal(seen[0][0], seen[1][0])  # but each set has crops of its own


def test_the_semantic_global_loss_sees_no_people_and_the_other_does(losses: SixLosses) -> None:
    picture = noise(1)
    painted = torch.where(losses.portrait, noise(2), picture)
    one, other = losses(picture), losses(painted)
    assert one["semantic_direction"] == pytest.approx(other["semantic_direction"], abs=1e-6)
    assert one["direction"] != pytest.approx(other["direction"], abs=1e-4)
    assert one["tv"] != other["tv"]


def test_the_photo_itself_has_no_content_loss(losses: SixLosses) -> None:
    assert losses(losses.photo)["content"] == pytest.approx(0, abs=1e-9)


def test_the_papers_thresholds_measure(losses: SixLosses) -> None:
    """The semantic patch loss: every patch above its region's threshold counts, by its region's weight."""
    batch = losses.runs["artisan"].full.patches.at(0)
    people = batch.regions == PORTRAIT_LABEL
    assert 0 < int(people.sum()) <= 0.2 * 64
    assert torch.equal(batch.thresholds, torch.where(people, 0.8, 0.7))
    assert torch.equal(batch.weights, torch.where(people, 0.3, 1.0))
    assert losses.runs["clipstyler"].full.patches.thresholds.unique().tolist() == pytest.approx([0.7])


def test_the_regions_shares_add_up_to_the_semantic_patch_loss(losses: SixLosses) -> None:
    picture = noise(1)
    shares, whole = losses.shares(picture), losses(picture)["semantic_patch"]
    assert sum(shares.values()) == pytest.approx(whole, rel=1e-5)
    assert min(shares.values()) >= 0


def test_a_photo_of_nothing_but_people_has_no_background_loss(tmp_path: Path, tiny_stylizer: Stylizer) -> None:
    measured = SixLosses(tiny_stylizer, subject(tmp_path, (0, 0, 64, 48)), "fire", 64)(noise(1))
    assert measured["semantic_direction"] is None
    assert all(value is not None for name, value in measured.items() if name != "semantic_direction")


# Counting


def row(style: str, mode: str, **numbers: Any) -> dict[str, Any]:
    measures = {**dict.fromkeys((*SIX, *SHARES), 1.0), "portrait_vgg": 1.0, **numbers}
    facts = {"group": "comparison", "pair": style, "setting": mode, "kind": "selfie", "style": style}
    return {**facts, **measures}


def test_pairs_are_counted() -> None:
    numbers = {"a": (4.0, 1.0), "b": (2.0, 2.0 + 1e-9), "c": (1.0, 3.0), "d": (5.0, None)}
    rows = [
        row(style, mode, content=value)
        for style, values in numbers.items()
        for mode, value in zip(("clipstyler", "artisan"), values, strict=True)
    ]
    content = count(pairs_of(rows), "content")
    assert (content.lower, content.equal, content.higher, content.of) == (1, 1, 1, 3)
    assert content.share == pytest.approx(1 / 3)
    assert (content.median_clipstyler, content.median_ratio) == (2.0, pytest.approx(1.0))
    assert count([], "content").share is None


@pytest.mark.parametrize(("ratio", "gain", "reached"), [(0.5, 0.0, True), (0.51, 0.1, False), (0.3, -0.1, False)])
def test_the_aims_say_whether_they_are_reached(ratio: float, gain: float, reached: bool) -> None:
    artisan = {"judge_place": 1, "judge_probability": 0.5 + gain, "portrait_vgg": ratio, "content": 0.9}
    rows = [row("a", "clipstyler", judge_place=1, judge_probability=0.5), row("a", "artisan", **artisan)]
    aims = targets({"findings": findings(rows)})
    assert [aim.reached for aim in aims[:6]] == [name == "content" for name in SIX]
    assert all(aim.reached for aim in aims[6:]) is reached


# The ablation


def test_the_neutral_point_has_no_control_and_a_control_acts_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "ABLATION", {"steps": 3, "patch_size": 48})
    portrait = torch.zeros(160, 160, dtype=torch.bool)
    portrait[40:160, 30:110] = True
    regions = from_mask(portrait)
    named = variants(preset("fast", {"size": 160, "patches": 40}))
    records = {name: plan(config, (160, 160), regions, 0).records for name, config in named.items()}
    baseline = plan(named["clipstyler"], (160, 160), None, 0).records
    for column in ("x", "y", "weight", "threshold", "corners"):
        assert np.array_equal(records[NONE][column], baseline[column])
        assert np.array_equal(records["deciding window alone"][column], baseline[column])  # as the report says
    inside = records[NONE]["region"] == PORTRAIT_LABEL
    penalised, patient = records["weight penalty alone"], records["threshold alone"]
    assert np.array_equal(penalised["weight"] < 1, inside)
    assert set(penalised["threshold"].ravel()) == {np.float32(0.7)}
    assert np.array_equal(patient["threshold"] > 0.75, inside)
    assert set(patient["weight"].ravel()) == {1}
    few = records["patch budget alone"]["region"] == PORTRAIT_LABEL
    assert inside.mean() > 0.2 >= few.mean() > 0
    assert (records[ALL]["region"] == PORTRAIT_LABEL).mean() < (
        records["all but patch budget"]["region"] == PORTRAIT_LABEL
    ).mean()
    assert named["clipstyler, no global loss"].lambda_direction == 0
    assert {config.lambda_pixel for config in named.values()} == {0}


def test_pairs_to_take_apart_have_people_and_differ(tmp_path: Path) -> None:
    boxes = {"near": (0, 0, 40, 48), "far": (0, 0, 10, 10), "none": (0, 0, 0, 0), "all": (0, 0, 64, 48)}
    all_pairs = [Pair(subject(tmp_path, box, name), style, style) for name, box in boxes.items() for style in SOME]
    chosen = ablation_pairs(all_pairs, 3)
    assert [(pair.subject.photo.stem, pair.style) for pair in chosen] == [
        ("near", "fire"), ("far", SOME[1]), ("near", SOME[1]),
    ]  # fmt: skip
    assert ablation_pairs(all_pairs[4:6], 3) == []


# Photos, jobs, flags


@pytest.mark.slow
def test_scenes_are_of_their_kind_and_unseen_by_fcn(tmp_path: Path) -> None:
    scenes = drawn_scenes(2, 48, 0, tmp_path)
    assert [scene.kind for scene in scenes] == ["selfie"] * 2 + ["tour photo"] * 2
    for scene in scenes:
        assert FIRST_SCENE <= int(scene.photo.stem.split("_")[-2]) < FIRST_SEED
        mask = np.asarray(Image.open(scene.mask))
        assert set(np.unique(mask)) == {0, 255}
        assert mask.mean() / 255 == pytest.approx(scene.people)
    before = [scene.photo.read_bytes() for scene in scenes]
    assert [scene.photo.read_bytes() for scene in drawn_scenes(2, 48, 0, tmp_path)] == before
    assert drawn_scenes(2, 48, 1, tmp_path)[0].photo != scenes[0].photo


def test_photos_get_the_masks_of_fcn(tmp_path: Path, tiny_stylizer: Stylizer) -> None:
    tiny.picture().save(tmp_path / "photo.png")
    (photo,) = segmented([tmp_path / "photo.png"], tiny_stylizer, tmp_path / "masks")
    regions = tiny_stylizer.regions(read_photo(photo.photo))
    assert np.array_equal(np.asarray(Image.open(photo.mask)) > 0, regions.portrait.numpy())
    assert not photo.exact


def test_only_artisan_mode_gets_a_mask_and_a_job_without_one_is_known_as_before(
    tmp_path: Path, tiny_folder: Path
) -> None:
    one, other = compared([Pair(subject(tmp_path), "fire", "fire")], StyleConfig(**QUICK), 0)
    assert (one.job.mask, other.job.mask) == (None, other.pair.subject.mask)
    spec = StylizerSpec(str(tiny_folder), "cpu", "fp32")
    assert "mask" not in one.job.source(spec)
    assert set(other.job.source(spec)) == {*one.job.source(spec), "mask"}
    assert one.job.config.contrast == 1  # measured so; raised where it is shown
    bare = Job("name", one.job.photo, "fire", "fire", StyleConfig(**QUICK), 0)
    assert bare.mask is None


@pytest.mark.parametrize(("flags", "words"), [
    (["nowhere.jpg"], ["nowhere.jpg", "photo"]),
    (["--compare", "--judge", "--styles", "moss"], ["moss", "judge", "stained glass"]),
    (["--compare", "--styles", " "], ["styles", "prompt is empty"]),
    (["--compare", "--processes", "0"], ["processes", "at least 1"]),
    (["--compare", "--scenes", "-1"], ["scenes", "at least 0"]),
    (["--compare", "--ablation", "-1"], ["ablation", "at least 0"]),
    (["--compare", "-o", "a.html"], ["output", ".md"]),
    (["--compare", "--size", "3"], ["size", "32"]),
    (["--judge", "--scenes", "3"], ["scenes", "--compare"]),
])  # fmt: skip
def test_bad_flags_are_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, flags: list[str], words: list[str]
) -> None:
    assert main(["evaluate", *flags, "--work", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert all(word in error for word in words)


def test_a_style_that_means_nothing_is_refused_before_work(settings: Settings, tmp_path: Path) -> None:
    study = ModeComparison(("a photo",), StyleConfig(**QUICK))
    with pytest.raises(InputError, match="a photo"):
        evaluate(replace(settings, study=study, judge=None, work=tmp_path))
    assert not list(tmp_path.glob("*.png"))


def test_photos_may_stand_before_or_after_flags() -> None:
    for words in (["one.jpg", "two.jpg", "--compare"], ["--compare", "one.jpg", "two.jpg"], ["--seed", "1", "one.jpg"]):
        options = build_parser().parse_args(["evaluate", *words])
        assert options.photo[0] == Path("one.jpg")
    settings = evaluation_settings(options, "genartisan")
    assert isinstance(settings.study, ModeComparison)
    assert (settings.photos, settings.study.scenes) == ((Path("one.jpg"),), 0)
    assert settings.study.styles == COMPARED_STYLES


def test_plain_words_stay_plain(tmp_path: Path) -> None:
    assert as_markdown([Text("a | b *c* `d` <e>\nf")], tmp_path) == "a \\| b \\*c\\* \\`d\\` &lt;e&gt; f\n"
