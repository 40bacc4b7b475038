"""Kept styles: made over several photos, saved, mixed, named in a request, and in one pass what they are said to be."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import tiny
import torch
from PIL import Image

from genartisan import archive, kept
from genartisan.bundle import Bundle
from genartisan.cli import main
from genartisan.config import StyleConfig
from genartisan.errors import BundleError, InputError
from genartisan.images import Photo, read_photo
from genartisan.kept import KeptStyle, Making, StyleFolder
from genartisan.regions import RegionMap
from genartisan.stylenet import StyleNet
from genartisan.stylizer import Stylizer
from genartisan.together import in_turns

QUICK = StyleConfig(size=64, steps=3, patches=2, patch_size=32, start="bundle", contrast=1.0, threshold=0.0)
ONE_PASS = {"steps": 0, "size": 64, "contrast": 1.0}


MODES = ("artisan", "clipstyler")


@dataclass
class _Seeing:
    """What finds the same people in every photo."""

    found: RegionMap

    def regions(self, photo: Photo) -> RegionMap:
        return self.found


def photos(count: int = 3) -> list[Image.Image]:
    return [tiny.picture(seed=seed) for seed in range(count)]


def make(stylizer: Stylizer, prompt: str = "fire", count: int = 3, config: StyleConfig = QUICK) -> KeptStyle:
    making = Making(stylizer, prompt, photos(count), config)
    assert sum(1 for _ in making) == making.total == count * config.steps
    return making.result()


@pytest.fixture
def styles(tmp_path: Path) -> StyleFolder:
    return StyleFolder(tmp_path / "styles")


@pytest.fixture
def stylizer(tiny_bundle: Bundle, styles: StyleFolder) -> Stylizer:
    return Stylizer(tiny_bundle, "cpu", "fp32", styles=styles)


def weights_of(style: KeptStyle) -> dict[str, torch.Tensor]:
    return dict(style.stylenet.state_dict())


def test_over_one_photo_a_style_is_that_photo_s_network(stylizer: Stylizer) -> None:
    config = QUICK.updated({"mode": "clipstyler"})
    steps = stylizer.steps(photos()[0], "fire", config=config)
    for _ in steps:
        pass
    style = make(stylizer, count=1, config=config)
    expected = steps.run.stylenet.state_dict()
    assert all(torch.equal(weight, expected[name]) for name, weight in weights_of(style).items())
    assert style.about.losses == {name: round(value, 4) for name, value in steps.run.losses()[-1].items()}


def test_every_photo_moves_the_one_network(stylizer: Stylizer) -> None:
    runs = [stylizer.steps(photo, "fire", config=QUICK).run for photo in photos(2)]
    seen = []
    for step in in_turns(runs):
        seen.append(step.index)
        assert runs[0].stylenet is runs[1].stylenet
        seen.append(float(runs[0].stylenet.last.weight.detach().sum()))
    assert seen[::2] == [1, 1, 2, 2, 3, 3]
    assert len(set(seen[1::2])) == 6


def test_where_nobody_is_a_blot_stands_in(stylizer: Stylizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the network would forget what the map of strengths is for; it does not hide people that there are."""
    nobody, somebody = (
        stylizer.regions(read_photo(photos()[0]), tiny.mask(box=box)) for box in ((0, 0, 0, 0), (0, 0, 9, 9))
    )
    for found, blotted in ((nobody, True), (somebody, False)):
        mask = Making._people(_Seeing(found), photos()[0], [0, 0])  # type: ignore[arg-type]
        assert (mask.tobytes() != found.as_mask().tobytes()) == blotted
    again = [Making._people(_Seeing(nobody), photos()[0], [0, n]) for n in (1, 1, 2)]  # type: ignore[arg-type]
    assert again[0].tobytes() == again[1].tobytes() != again[2].tobytes()  # type: ignore[union-attr]
    monkeypatch.setattr(stylizer, "regions", lambda photo: nobody)
    runs = [Making(stylizer, "fire", photos(1), QUICK.updated({"mode": mode}))._runs[0] for mode in MODES]
    assert runs[0].regions is not None
    assert bool(runs[0].regions.portrait.any())
    assert runs[1].regions is None


def test_over_several_photos_it_fits_all_of_them(tiny_bundle: Bundle, styles: StyleFolder) -> None:
    """The total loss of pictures in one pass, over photos that it was made over."""
    sighted = Stylizer(tiny_bundle, "cpu", "fp32", styles=styles)
    config = QUICK.updated({"steps": 25, "learning_rate": 2e-3, "lambda_patch": 0.0, "lambda_direction": 0.0})
    make(sighted, config=config).save(styles.path("kept"))

    def losses(**settings: object) -> list[float]:
        first = config.updated({"steps": 1, **settings})
        return [next(sighted.steps(photo, "fire", config=first)).losses["total"] for photo in photos()]

    assert all(after < 0.7 * before for after, before in zip(losses(style="kept"), losses(), strict=True))


def test_it_is_saved_whole_and_read_as_it_was(stylizer: Stylizer, styles: StyleFolder) -> None:
    style = make(stylizer)
    assert list(styles) == []
    style.save(styles.path("kept"))
    again = styles["kept"]
    assert again.about == style.about
    assert again.about.photos == 3
    assert StyleConfig().updated(again.about.config) == QUICK
    assert all(torch.equal(weight, weights_of(style)[name]) for name, weight in weights_of(again).items())
    assert list(styles) == ["kept"]
    assert not any(weight.requires_grad for weight in again.stylenet.parameters())


def test_in_one_pass_it_draws_what_a_run_would_begin_with(stylizer: Stylizer, styles: StyleFolder) -> None:
    make(stylizer).save(styles.path("kept"))
    photo = tiny.picture(seed=9)
    first = next(stylizer.steps(photo, "fire", config=QUICK.updated({"style": "kept"})))
    result = stylizer(photo, config=QUICK.updated({"style": "kept", "steps": 0}))
    assert result.image.tobytes() == first.preview().tobytes()
    assert (result.report["prompt"], result.report["steps"], result.report["config"]["style"]) == ("fire", 0, "kept")
    draft = stylizer(photo, "fire", config=QUICK.updated({"steps": 0}))
    assert draft.image.tobytes() != result.image.tobytes()


def test_a_run_leaves_the_style_as_it_is(stylizer: Stylizer, styles: StyleFolder) -> None:
    style = make(stylizer)
    own = Stylizer(stylizer.bundle, "cpu", "fp32", styles={"kept": style})
    before = {name: weight.clone() for name, weight in weights_of(style).items()}
    own(tiny.picture(seed=9), config=QUICK.updated({"style": "kept"}))
    assert all(torch.equal(weight, before[name]) for name, weight in weights_of(style).items())


def test_a_sentence_that_one_pass_cannot_follow_is_remarked(stylizer: Stylizer, styles: StyleFolder) -> None:
    make(stylizer).save(styles.path("kept"))
    config = QUICK.updated({"style": "kept", "steps": 0})
    told = stylizer(tiny.picture(), "watercolor", config=config).report["warnings"]
    assert any("prompt is not used" in warning for warning in told)
    for prompt in (None, "fire"):
        told = stylizer(tiny.picture(), prompt, config=config).report["warnings"]
        assert not any("prompt is not used" in warning for warning in told)


@pytest.mark.parametrize("start", ["identity", "random"])
def test_a_network_that_sees_no_strengths_leaves_people_alone_all_the_same(
    start: str, stylizer: Stylizer, styles: StyleFolder
) -> None:
    style = make(stylizer, config=QUICK.updated({"start": start}))
    assert style.about.network["inputs"] == 3
    style.save(styles.path("kept"))
    config = QUICK.updated({"style": "kept", "steps": 0, "regions": {"portrait": {"weight": 0.0}}})
    picture, photo = stylizer(tiny.picture(), config=config, mask=tiny.mask()).image, tiny.picture()
    left, right = (0, 0, 32, 48), (32, 0, 64, 48)
    assert picture.crop(left).tobytes() == photo.crop(left).tobytes()
    assert picture.crop(right).tobytes() != photo.crop(right).tobytes()


def test_a_mixture_lies_between(stylizer: Stylizer) -> None:
    first, second = make(stylizer), make(stylizer, "watercolor painting")
    for share in (0.0, 0.3, 1.0):
        mixed = first.mixed(second, share)
        for name, weight in weights_of(mixed).items():
            expected = (1 - share) * weights_of(first)[name] + share * weights_of(second)[name]
            torch.testing.assert_close(weight, expected)
    mixed = first.mixed(second, 0.3)
    assert mixed.about.prompt == "fire and watercolor painting"
    assert mixed.about.described == "0.7 fire + 0.3 watercolor painting"
    assert mixed.mixed(first, 0.5).about.described == "0.35 fire + 0.15 watercolor painting + 0.5 fire"
    assert first.mixed(second, 0.3).mixed(first, 0.5).about.start == first.about.start


def test_what_did_not_begin_alike_is_not_mixed(stylizer: Stylizer) -> None:
    style = make(stylizer)
    for config in (QUICK.updated({"start": "identity"}), QUICK.updated({"start": "random"})):
        with pytest.raises(InputError, match="did not begin from the start") as error:
            style.mixed(make(stylizer, config=config), 0.5)
        assert error.value.field == "style"
    random = [Making(stylizer, "fire", photos(1), QUICK.updated({"start": "random"}), seed) for seed in (1, 2)]
    assert len({making.result().about.start for making in random}) == 2
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match="from 0 to 1"):
            style.mixed(style, share)


def test_a_style_that_began_as_another_mixes_with_it(stylizer: Stylizer, styles: StyleFolder) -> None:
    make(stylizer).save(styles.path("kept"))
    later = make(stylizer, config=QUICK.updated({"style": "kept"}))
    assert later.about.start == styles["kept"].about.start
    styles["kept"].mixed(later, 0.5)


def test_an_unknown_style_is_refused_with_those_that_are_known(stylizer: Stylizer, styles: StyleFolder) -> None:
    wanted = QUICK.updated({"style": "absent"})
    with pytest.raises(InputError, match="there are none yet") as error:
        stylizer.steps(tiny.picture(), config=wanted)
    assert error.value.field == "style"
    make(stylizer).save(styles.path("kept"))
    with pytest.raises(InputError, match="known are kept"):
        stylizer.steps(tiny.picture(), config=wanted)


@pytest.mark.parametrize("name", ["", "../evil", "a/b", ".hidden", "a" * 65, "sp ace", "nul\0"])
def test_a_name_is_a_file_s_name_and_no_path(name: str, styles: StyleFolder) -> None:
    with pytest.raises(InputError, match="style"):
        QUICK.updated({"style": name})
    with pytest.raises(InputError, match="name of a kept style"):
        styles.path(name)


def test_a_file_that_is_no_style_is_named(styles: StyleFolder, tiny_folder: Path, stylizer: Stylizer) -> None:
    styles.folder.mkdir(parents=True)
    styles.path("text").write_text("no style")
    (styles.path("bundle")).write_bytes((tiny_folder / "stylenet.safetensors").read_bytes())
    make(stylizer).save(styles.path("cut"))
    styles.path("cut").write_bytes(styles.path("cut").read_bytes()[:-10])
    style = make(stylizer)
    with torch.no_grad():
        style.stylenet.last.weight[0] = torch.nan
    style.save(styles.path("nan"))
    odd = style.about.model_copy(update={"network": {**style.about.network, "inputs": 5}})
    KeptStyle(odd, StyleNet(4, inputs=5, affine=True)).save(styles.path("odd"))
    for name in ("text", "bundle", "cut", "nan", "odd"):
        with pytest.raises(BundleError, match=f"{name}.safetensors is no kept style"):
            styles[name]


def test_half_precision_is_read_as_single(stylizer: Stylizer, styles: StyleFolder) -> None:
    style = make(stylizer)
    style.stylenet.half()
    style.save(styles.path("half"))
    assert {weight.dtype for weight in styles["half"].stylenet.parameters()} == {torch.float32}
    stylizer(tiny.picture(), config=QUICK.updated({"style": "half", "steps": 0}))


def test_one_damaged_file_hides_no_other(
    stylizer: Stylizer, styles: StyleFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    make(stylizer).save(styles.path("good"))
    styles.path("bad").write_text("no style")
    (styles.folder / "my style.safetensors").write_text("of somebody else")
    folder = ["--style-folder", str(styles.folder)]
    assert list(styles) == ["bad", "good"]
    assert main(["style", "list", *folder]) == 0
    told = capsys.readouterr()
    assert "good" in told.out
    assert "bad.safetensors is no kept style" in told.err
    assert main(["style", "remove", "bad", *folder]) == 0
    assert list(styles) == ["good"]
    assert main(["style", "remove", "bad", *folder]) == 2


def test_the_draft_of_a_run_from_a_style_leaves_people_alone(stylizer: Stylizer, styles: StyleFolder) -> None:
    make(stylizer, config=QUICK.updated({"start": "identity"})).save(styles.path("kept"))
    config = QUICK.updated({"style": "kept", "regions": {"portrait": {"weight": 0.0}}})
    draft = stylizer.steps(tiny.picture(), config=config, mask=tiny.mask()).draft()
    assert draft is not None
    once = stylizer(tiny.picture(), config=config.updated({"steps": 0}), mask=tiny.mask()).image
    assert draft.tobytes() == once.tobytes()
    assert draft.crop((0, 0, 32, 48)).tobytes() == tiny.picture().crop((0, 0, 32, 48)).tobytes()


def test_another_grain_than_it_was_made_with_is_remarked(stylizer: Stylizer, styles: StyleFolder) -> None:
    make(stylizer).save(styles.path("kept"))
    for grain, remarked in ((0.05, True), (0.0, False)):
        config = QUICK.updated({"style": "kept", "steps": 0, "grain": grain})
        told = stylizer(tiny.picture(), config=config).report["warnings"]
        assert any("was made with" in warning for warning in told) == remarked


def test_what_no_style_can_be_made_of_is_refused(stylizer: Stylizer, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="photos are 0") as error:
        Making(stylizer, "fire", [], QUICK)
    assert error.value.field == "photos"
    monkeypatch.setattr(kept, "MAX_PHOTOS", 2)
    with pytest.raises(InputError, match="photos are 3"):
        Making(stylizer, "fire", photos(), QUICK)
    with pytest.raises(InputError, match="output_size"):
        Making(stylizer, "fire", photos(1), QUICK.updated({"output_size": 128}))
    with pytest.raises(InputError, match="steps is 0"):
        Making(stylizer, "fire", photos(1), QUICK.updated({"steps": 0}))
    with pytest.raises(InputError, match="several texts"):
        Making(stylizer, "person: fire; background: watercolor painting", photos(1), QUICK)
    broken = Making(stylizer, "fire", photos(1), QUICK.updated({"learning_rate": 0.1}))
    next(broken)
    with torch.no_grad():
        broken._runs[0].stylenet.last.weight[0] = torch.nan
    with pytest.raises(InputError, match="learning_rate"):
        broken.result()


def test_the_command_line_makes_lists_mixes_uses_and_removes(
    tmp_path: Path, tiny_folder: Path, styles: StyleFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, photo in enumerate(photos()):
        (tmp_path / "photos").mkdir(exist_ok=True)
        photo.save(tmp_path / "photos" / f"{number}.png")
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    folder = ["--style-folder", str(styles.folder)]
    networks = [*folder, "--bundle", str(tiny_folder), "--device", "cpu"]
    quick = ["--size", "64", "--steps", "2", "--set", "patches=2", "--set", "patch_size=32"]
    made = ["style", "make", "The fire!", "--photos", str(tmp_path / "photos"), *networks, *quick, "--quiet"]
    assert main(made) == 0
    assert main([*made, "--name", "other", "--seed", "1"]) == 0
    assert list(styles) == ["other", "the-fire"]
    assert styles["the-fire"].about.photos == 3
    capsys.readouterr()
    assert main(made) == 2
    assert "exists already" in capsys.readouterr().err
    assert main([*made, "--force"]) == 0
    (tmp_path / "file").write_text("")
    assert main([*made[:-1], "--name", "third", "--style-folder", str(tmp_path / "file")]) == 2
    assert "style folder" in capsys.readouterr().err
    (tmp_path / "photos" / "4.png").write_text("no picture")
    assert main([*made, "--name", "third"]) == 2
    assert "4.png" in capsys.readouterr().err
    (tmp_path / "photos" / "4.png").unlink()
    assert main(["style", "mix", "the-fire", "other", "0.3", *folder]) == 0
    assert list(styles) == ["other", "the-fire", "the-fire-other-0.3"]
    capsys.readouterr()
    assert main(["style", "list", "--json", *folder]) == 0
    assert json.loads(capsys.readouterr().out)["the-fire"]["prompt"] == "The fire!"
    assert main(["style", "list", *folder]) == 0
    assert "0.7 The fire! + 0.3 The fire!" in capsys.readouterr().out
    out = tmp_path / "out.png"
    photo = str(tmp_path / "photos" / "0.png")
    wanted = ["stylize", photo, "-o", str(out), *networks, "--style", "the-fire", "--preset", "draft", "--size", "64"]
    assert main(wanted) == 0
    assert Image.open(out).size == (64, 48)
    assert main(["style", "remove", "the-fire", *folder]) == 0
    assert list(styles) == ["other", "the-fire-other-0.3"]
    capsys.readouterr()
    assert main(wanted) == 2
    assert "known are other, the-fire-other-0.3" in capsys.readouterr().err


def test_an_archive_has_the_styles_that_are_named(
    tmp_path: Path, tiny_folder: Path, stylizer: Stylizer, styles: StyleFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    import zipfile

    pytest.importorskip("model_archiver")
    for name in ("one", "two"):
        make(stylizer).save(styles.path(name))
    common = ["archive", "--bundle", str(tiny_folder), "--style-folder", str(styles.folder), "--store", str(tmp_path)]

    def held() -> set[str]:
        with zipfile.ZipFile(tmp_path / "genartisan.mar") as file:
            return {Path(name).stem for name in file.namelist() if name.startswith("styles/") and name[-1] != "/"}

    for flags, names in (([], set()), (["--styles", "two"], {"two"}), (["--styles"], {"one", "two"})):
        assert main([*common, *flags]) == 0
        assert held() == names
    assert main([*common, "--styles", "one", "one"]) == 0
    assert held() == {"one"}
    assert main([*common[:-4], "--store", str(tmp_path), "--style-folder", str(tmp_path / "none"), "--styles"]) == 2
    assert "styles are none" in capsys.readouterr().err
    assert main([*common, "--styles", "absent"]) == 2
    assert "style is 'absent'" in capsys.readouterr().err
    assert archive.digest_of(tmp_path / "genartisan.mar")
