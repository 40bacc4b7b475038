"""`genartisan evaluate --judge`: what it measures, writes, reuses and refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from torch import Tensor, nn

pytest.importorskip("cv2")
pytest.importorskip("skimage")

from tiny import from_mask

from genartisan.cli.evaluation_flags import evaluation_settings
from genartisan.cli.main import build_parser, main
from genartisan.config import StyleConfig
from genartisan.drawing.styles import STYLES
from genartisan.errors import InputError
from genartisan.evaluation import figures, judge, judged_report, judged_table, photos
from genartisan.evaluation.jobs import Job, StylizerSpec, make_all
from genartisan.evaluation.judged_table import jobs_of_row
from genartisan.evaluation.photos import default_photos
from genartisan.evaluation.preservation import edge_share
from genartisan.evaluation.report import Target, as_json
from genartisan.evaluation.runner import evaluate
from genartisan.evaluation.settings import JudgedRows, Row, Settings
from genartisan.io.images import Photo, read_photo
from genartisan.method.regions import RegionMap
from genartisan.method.targets import FeatureExtractor
from genartisan.networks.bundle import EMBEDDED, read_manifest
from genartisan.training import model_card

QUICK = StyleConfig(size=48, steps=2, patches=2, patch_size=16)
SOME = ("fire", "mosaic tiles")


class FakeVgg(nn.Conv2d):
    """One map, of random filters."""

    def forward(self, picture: Tensor) -> list[Tensor]:  # type: ignore[override]
        return [super().forward(picture)]


class FakeStylizer:
    """Finds a person in the left half of every photo; its pictures are noisy photos, noisier in clipstyler mode."""

    device, dtype = torch.device("cpu"), torch.float32
    manifest = SimpleNamespace(networks={"clip": SimpleNamespace(figures={"texts": 1.0})})

    def __init__(self) -> None:
        self.bundle = SimpleNamespace(name="fake", manifest=self.manifest, vgg=FakeVgg(3, 8, 7, stride=4))

    def regions(self, photo: Photo) -> RegionMap:
        width, height = photo.size
        return from_mask(torch.arange(width).expand(height, width) < width // 2)

    def __call__(self, photo: Path, prompt: str, *, config: StyleConfig, mask: None, seed: int) -> SimpleNamespace:
        image = Image.open(photo).convert("RGB").resize((config.size, config.size * 3 // 4))
        noise = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*image.size[::-1], 3), np.uint8))
        report = {"device": "cpu", "precision": "fp32", "seconds": {"total": 2.0, "optimise": 1.5, "text": 0.25}}
        picture = Image.blend(image, noise, 0.2 if config.mode == "artisan" else 0.8)
        return SimpleNamespace(image=picture, report=report)


@pytest.fixture
def real(tmp_path: Path, untrained_judge: Path) -> Settings:
    """One photo, one style, two steps, with the bundle that ships with the package."""
    photo = tmp_path / "photo.png"
    tiny.picture().save(photo)
    return Settings(
        spec=StylizerSpec("embedded", "cpu", "fp32"),
        study=JudgedRows({"paper": Row(QUICK, SOME[:1])}),
        photos=(photo,),
        judge=untrained_judge,
        output=tmp_path / "docs" / "evaluation.md",
        work=tmp_path / "work",
        processes=1,
    )


@pytest.fixture
def settings(real: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """All rows, two styles in three of them, by a fake of a bundle."""
    monkeypatch.setattr(StylizerSpec, "load", lambda _: FakeStylizer())
    monkeypatch.setattr(judged_table, "megabytes", lambda _: 9.0)
    rows = {
        "draft": Row(QUICK.updated({"size": 64}), SOME),
        "fast": Row(QUICK, SOME),
        "paper": Row(QUICK, SOME),
        "clipstyler": Row(QUICK.updated({"mode": "clipstyler"}), SOME[:1]),
    }
    return replace(real, study=JudgedRows(rows))


def jobs_of(row: str, settings: Settings) -> list[Job]:
    assert isinstance(settings.study, JudgedRows)
    return jobs_of_row(settings, settings.study, row)


def cells_of(text: str, words: str) -> list[str]:
    """Those of the one line of a table that has these words."""
    (line,) = (line for line in text.splitlines() if line.startswith("|") and words in line)
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_documents_have_what_was_measured(settings: Settings) -> None:
    results = evaluate(settings)
    text = settings.output.read_text(encoding="utf-8")
    assert json.loads(settings.output.with_suffix(".json").read_text(encoding="utf-8")) == results
    assert list(results["rows"]) == ["draft", "fast", "paper", "clipstyler"]
    for name, row in results["rows"].items():
        styles = 1 if name == "clipstyler" else 2
        of_row = [picture for picture in results["pictures"] if picture["row"] == name]
        assert len(of_row) == row["pictures"] == styles
        assert row["top1"] == sum(picture["place"] == 1 for picture in of_row) / styles
        assert 0 < row["edge_share_p10"] <= row["edge_share"] < 1
        assert row["portrait_vgg"] > 0
        assert row["seconds"] == {"total": 2.0, "optimise": 1.5, "text": 0.25}
        header, cells = (cells_of(text, words) for words in ("Photos × styles", f"| {name} | {row['size']} px"))
        of_table = dict(zip(header, cells, strict=True))
        assert (of_table["Steps"], of_table["Patches"], of_table["Photos × styles"]) == ("2", "2", f"1 × {styles}")
        with Image.open(settings.output.parent / "pictures" / f"evaluation-{name}.jpg") as sheet:
            assert sheet.width > styles * figures.SHEET_SIDE
    ratio = results["rows"]["fast"]["portrait_vgg"] / results["rows"]["clipstyler"]["portrait_vgg"]
    assert cells_of(text, "fast: portrait")[1:] == [f"{ratio:.2f}", "≤ 0.50", "yes" if ratio <= 0.5 else "no"]
    assert cells_of(text, "Bundle on disk")[1:] == ["9.0 MB", "≤ 12.0 MB", "yes"]
    assert cells_of(text, "on a photo without one")[-1] == "not measured"  # nobody knows of this photo
    assert "styles 1 instead of 2" in text


def test_the_shipped_bundle_is_judged(real: Settings) -> None:
    results = evaluate(real)
    (picture,) = results["pictures"]
    assert 1 <= picture["place"] <= len(STYLES) + 1
    assert 0 < picture["edge_share"] < 1
    assert results["rows"]["paper"]["seconds"]["total"] > 0
    assert 1 < results["bundle"]["megabytes"] < 15
    assert results["reductions"]["paper"]["size"] == [48, 512]


def test_all_that_is_written_of_all_photos_and_styles_is_small() -> None:
    picture = {
        "row": "clipstyler", "photo": "astronaut.png", "style": max(STYLES, key=len), "place": 10,
        "taken_for": max(STYLES, key=len), "probability": 0.1234, "edge_share": 0.1234, "seconds": 600.12,
    }  # fmt: skip
    assert len(as_json({"pictures": [picture] * 4 * 6 * len(STYLES)})) < 170_000
    noise = np.random.default_rng(0).integers(0, 256, (144, 144, 3), np.uint8)
    cells = [("fire\ntaken for lava", Image.fromarray(noise))] * 12
    sheet = figures.contact_sheet([cells] * 14, figures.SHEET_SIDE)
    assert len(figures.as_jpeg(sheet, figures.SHEET_BYTES)) <= 900_000


@pytest.mark.slow
def test_finished_pictures_are_reused(settings: Settings) -> None:
    assert evaluate(settings)["made"] == 7
    picture = jobs_of("fast", settings)[0].picture(settings.work)
    before = picture.stat().st_mtime_ns
    again = replace(settings, resume=True)
    assert evaluate(again)["made"] == 0
    assert picture.stat().st_mtime_ns == before
    picture.unlink()
    assert evaluate(again)["made"] == 1
    assert evaluate(replace(again, seed=1))["made"] == 7  # other pictures under the same names


@pytest.mark.slow
def test_a_process_makes_the_same_picture(real: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs, pictures = jobs_of("paper", real), []
    monkeypatch.setattr("os.cpu_count", lambda: 2 * torch.get_num_threads())  # as many threads for each of two
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        assert make_all(jobs, folder, real.spec, processes=processes) == 1
        pictures.append(np.asarray(Image.open(jobs[0].picture(folder)), np.float32))
    np.testing.assert_array_equal(*pictures)


def settings_of(*flags: str) -> Settings:
    return evaluation_settings(build_parser().parse_args(["evaluate", "--judge", *flags]), "genartisan")


def study_of(*flags: str) -> JudgedRows:
    study = settings_of(*flags).study
    assert isinstance(study, JudgedRows)
    return study


def test_the_embedded_judge_is_the_default() -> None:
    assert settings_of().judge == judge.EMBEDDED
    assert evaluation_settings(build_parser().parse_args(["evaluate", "--judge", "mine"]), "").judge == Path("mine")


def test_rows_are_presets_of_all_styles_over_six_photos() -> None:
    study = study_of()
    assert list(study.rows) == ["draft", "fast", "paper", "clipstyler"]
    assert [row.config.mode for row in study.rows.values()] == ["artisan"] * 3 + ["clipstyler"]
    names = {job.name for row in study.rows for job in jobs_of(row, settings_of())}
    assert len(names) == 4 * 6 * len(STYLES)
    assert study.reductions() == {}
    assert list(study_of("--rows", "fast", "draft").rows) == ["draft", "fast"]


def test_the_papers_rows_can_be_reduced() -> None:
    flags = ["--paper-size", "128", "--paper-steps", "9", "--paper-patches", "4", "--paper-styles", "fire"]
    study = study_of(*flags)
    less = {"size": [128, 512], "steps": [9, 400], "patches": [4, 64], "styles": [1, len(STYLES)]}
    assert study.reductions() == {"paper": less, "clipstyler": less}
    assert study.rows["draft"] == study_of().rows["draft"]


def test_only_real_people_are_portraits() -> None:
    fake = FakeStylizer()
    references = [judged_table.reference(photo, fake) for photo in default_photos()]  # type: ignore[arg-type]
    assert [each.people for each in references] == [photo.stem == "astronaut" for photo in default_photos()]
    assert references[0].called_person == 0.5
    extractor = FeatureExtractor(fake.bundle, torch.float32)  # type: ignore[arg-type]
    one, other = (each.preserved(each.photo, extractor) for each in references[:2])
    assert one["portrait_vgg"] == pytest.approx(0, abs=1e-6)
    assert one["portrait_ssim"] == pytest.approx(1)
    assert set(other) == {"edge_share"}  # what is taken for people on a photo without any is no portrait


def noise(seed: int) -> Tensor:
    return torch.rand(3, 96, 144, generator=torch.Generator().manual_seed(seed))


def test_a_photo_has_its_own_edges_and_noise_has_none_of_them() -> None:
    skimage = pytest.importorskip("skimage.data")
    photo = judged_table.at_size(read_photo(Image.fromarray(skimage.coffee())).pixels, (144, 96))
    part = torch.ones(96, 144, dtype=torch.bool)
    assert 0.6 < edge_share(photo, photo, part) < 0.8
    assert edge_share(photo, 0.2 + 0.3 * photo, part) == pytest.approx(edge_share(photo, photo, part), abs=1e-3)
    assert edge_share(noise(0), noise(1), part) == pytest.approx(0.25, abs=0.03)


def ramps(left: float, right: float) -> Tensor:
    """Brightness that rises along the rows: with one slope in the left quarter, with another in the rest."""
    slopes = torch.tensor([left] * 96 + [right] * 288) / 384  # (384,)
    return slopes.cumsum(0).expand(3, 96, 384)


def test_the_edge_share_of_ramps_is_known() -> None:
    photo, everywhere = ramps(2, 0.5), torch.ones(96, 384, dtype=torch.bool)
    for left, right in ((2, 0.5), (1, 1), (0, 1), (1, 0), (0.5, 1)):
        share = edge_share(photo, ramps(left, right), everywhere)
        assert share == pytest.approx(left / (left + 3 * right), abs=0.02)
    right_half = torch.arange(384).expand(96, 384) >= 192
    assert edge_share(photo, ramps(1, 0.5), right_half) == pytest.approx(0.25, abs=0.02)
    assert edge_share(photo, torch.zeros(3, 96, 384), everywhere) == 0


@pytest.mark.parametrize(
    ("value", "relation", "limit", "reached"),
    [
        (0.7, "≥", 0.7, True), (0.69, "≥", 0.7, False), (0.8, "≤", 0.8, True), (0.81, "≤", 0.8, False),
        (1.0, "<", 1, False), (0.99, "<", 1, True), (None, "≥", 0.7, None),
    ],
)  # fmt: skip
def test_a_target_is_reached_or_not(value: float | None, relation: str, limit: float, reached: bool | None) -> None:
    assert Target("it", value, relation, limit).reached is reached


def picture_of(row: str, photo: str, vgg: float) -> dict[str, Any]:
    return {"row": row, "photo": photo, "style": "fire", "portrait_vgg": vgg}


def test_portraits_are_compared_on_the_same_photos_and_styles() -> None:
    pictures = [picture_of("fast", "a", 0.1), picture_of("fast", "b", 9.0), picture_of("clipstyler", "a", 0.4)]
    assert judged_report.portrait_ratio(pictures, "fast") == 0.25
    assert judged_report.portrait_ratio(pictures[:2], "fast") is None


def test_columns_in_which_a_row_is_worse_are_named() -> None:
    row = dict.fromkeys(judged_report.COLUMNS, 0.5)
    assert judged_report.worse_columns(row, row) == []
    worse = judged_report.worse_columns({**row, "top3": 0.4, "portrait_vgg": 0.6, "edge_share": 0.6}, row)
    assert worse == ["judge's first three", "portrait, VGG distance"]
    assert judged_report.worse_columns({**row, "portrait_vgg": None}, row) == []
    assert judged_report.worse_columns(None, row) is None


def test_a_style_that_was_taken_for_others_says_for_which() -> None:
    def picture(place: int, taken_for: str) -> dict[str, Any]:
        return {"style": "fire", "prompt": "fire", "place": place, "taken_for": taken_for, "probability": 0.5}

    pictures = [picture(1, "fire"), picture(2, "lava"), picture(3, "lava"), picture(9, "photo")]
    assert judged_report.style_cells(pictures, "fire") == ("1 / 3", "lava (2), photo (1)")


@pytest.mark.parametrize(("flags", "words"), [
    ([], ["--judge"]),
    (["--judge", "nowhere"], ["nowhere", "train_judge"]),
    (["--judge", "--styles", "lava lamp"], ["lava lamp", "stained glass"]),
    (["--judge", "--processes", "0"], ["processes", "at least 1"]),
    (["--judge", "--preset", "paper"], ["preset", "--rows"]),
    (["--judge", "--size", "96"], ["size", "--rows"]),
    (["--judge", "--rows", "best"], ["rows", "best", "clipstyler"]),
    (["--judge", "--seed", "-1"], ["seed"]),
    (["--judge", "--paper-steps", "0"], ["steps"]),
    (["--judge", "--paper-size", "9"], ["size", "32"]),
    (["--judge", "--rows", "fast", "--paper-size", "96"], ["paper_size", "clipstyler"]),
    (["--judge", "--styles", "fire", "--paper-styles", "golden"], ["paper_styles", "golden"]),
    (["--compare", "--rows", "fast"], ["rows", "--judge"]),
    (["--judge", "-o", "a.html"], ["output", ".md"]),
])  # fmt: skip
def test_bad_flags_are_one_line(capsys: pytest.CaptureFixture[str], flags: list[str], words: list[str]) -> None:
    assert main(["evaluate", *flags]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert all(word in error for word in words)


def test_the_model_card_has_the_figures_of_the_bundle() -> None:
    card = (Path(__file__).parents[2] / "docs" / "model-card.md").read_text(encoding="utf-8")
    assert model_card.updated(card, read_manifest(EMBEDDED)) == card, "run python -m genartisan.training.model_card"


def test_a_model_card_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="end of figures"):
        model_card.updated("# Card", read_manifest(EMBEDDED))


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(photos.importlib.util, "find_spec", lambda name: None)
    assert main(["evaluate", "--judge"]) == 2
    assert "scikit-image" in (error := capsys.readouterr().err)
    assert "genartisan[train]" in error


def test_a_judge_that_does_not_know_a_style_is_refused(settings: Settings) -> None:
    with pytest.raises(InputError, match="moss"):
        evaluate(replace(settings, study=JudgedRows({"fast": Row(QUICK, ("moss",))})))


def test_a_photo_of_nothing_but_a_person_is_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeStylizer, "regions", lambda *_: from_mask(torch.ones(48, 64, dtype=torch.bool)))
    with pytest.raises(InputError, match="nothing but people"):
        evaluate(settings)
    assert not settings.work.exists()
