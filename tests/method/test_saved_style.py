"""Saved styles: made of words, pictures or photos, saved, mixed, named in a request, and drawn with in one pass."""

from __future__ import annotations

import json
import zipfile
from itertools import pairwise
from pathlib import Path

import pytest
import safetensors.torch
import tiny
import torch
from PIL import Image

from genartisan.cli.main import main
from genartisan.config import StyleConfig, preset
from genartisan.errors import BundleError, InputError
from genartisan.io.images import read_photo
from genartisan.method import style_training
from genartisan.method.batching import in_turns
from genartisan.method.saved_style import About, SavedStyle, StyleFolder
from genartisan.method.style_numbers import SEARCH
from genartisan.method.style_training import StyleTraining, of_words_and_pictures
from genartisan.method.stylizer import Stylizer
from genartisan.networks.bundle import Bundle
from genartisan.serving import archive_check

QUICK = preset(
    "fast", {"size": 64, "steps": 3, "patches": 2, "patch_size": 32, "coarse_share": 0.0, "numbers_rate": 0.02}
)
ONE_PASS = preset("draft", {"size": 64})


def photos(count: int = 3) -> list[Image.Image]:
    return [tiny.picture(seed=seed) for seed in range(count)]


def of_numbers(seed: int, **about: object) -> SavedStyle:
    """A style of seeded random numbers."""
    numbers = torch.randn(100, generator=torch.Generator().manual_seed(seed))
    return SavedStyle(About.model_validate({"prompt": "fire", "bundle": "tiny", **about}), numbers)


@pytest.fixture
def styles(tmp_path: Path) -> StyleFolder:
    return StyleFolder(tmp_path / "styles")


@pytest.fixture
def stylizer(tiny_bundle: Bundle, styles: StyleFolder) -> Stylizer:
    return Stylizer(tiny_bundle, "cpu", "fp32", styles=styles)


# Of words and pictures


def test_a_style_of_words_draws_the_draft_of_these_words(stylizer: Stylizer, styles: StyleFolder) -> None:
    style = of_words_and_pictures(stylizer, " Fire\n ", [], StyleConfig())
    assert (style.about.prompt, style.about.described, style.about.pictures) == ("Fire", "Fire", 0)
    style.save(styles.path("words"))
    draft = stylizer(photos()[0], "Fire", config=ONE_PASS)
    result = stylizer(photos()[0], config=ONE_PASS.updated({"style": "words"}))
    assert result.image.tobytes() == draft.image.tobytes()
    assert (result.report["prompt"], result.report["steps"], result.report["config"]["style"]) == ("Fire", 0, "words")


def test_several_pictures_count_alike_and_the_words_by_their_share(stylizer: Stylizer) -> None:
    each = [stylizer.style_numbers(style_image=photo) for photo in photos(2)]
    of_pictures = of_words_and_pictures(stylizer, None, photos(2), StyleConfig())
    torch.testing.assert_close(of_pictures.numbers, (each[0] + each[1]) / 2)
    assert (of_pictures.about.prompt, of_pictures.about.described) == (None, "2 pictures")
    words = stylizer.style_numbers("fire")
    both = of_words_and_pictures(stylizer, "fire", photos(1), StyleConfig(style_image_share=0.25))
    torch.testing.assert_close(both.numbers, 0.75 * words + 0.25 * each[0])
    assert (both.about.described, both.about.pictures) == ("fire", 1)


def test_of_nothing_there_is_no_style(stylizer: Stylizer, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="prompt is missing"):
        of_words_and_pictures(stylizer, None, [], StyleConfig())
    (tmp_path / "words.png").write_text("no picture")
    with pytest.raises(InputError, match="style_image is not an image"):
        of_words_and_pictures(stylizer, None, [tmp_path / "words.png"], StyleConfig())


# Optimised over photos


def train(stylizer: Stylizer, count: int = 3, config: StyleConfig = QUICK) -> SavedStyle:
    training = StyleTraining(stylizer, "fire", photos(count), config)
    assert sum(1 for _ in training) == training.total == count * config.steps
    return training.result()


def test_training_over_photos_moves_the_numbers_and_nothing_else(stylizer: Stylizer) -> None:
    before = stylizer.style_numbers("fire")
    networks = {name: value.clone() for name, value in stylizer.bundle.pastiche.state_dict().items()}
    style = train(stylizer)
    assert style.numbers.shape == before.shape
    assert 1e-4 < float((style.numbers - before).abs().max()) < 1
    assert (style.about.prompt, style.about.photos, style.about.bundle) == ("fire", 3, "tiny")
    assert style.about.config["learning_rate"] == 0
    assert set(style.about.losses) > {"total", "patch"}
    after = stylizer.bundle.pastiche.state_dict()
    assert all(torch.equal(value, networks[name]) for name, value in after.items())
    assert torch.equal(stylizer.style_numbers("fire"), before)


def test_without_a_rate_of_its_own_it_takes_that_of_a_search(stylizer: Stylizer) -> None:
    style = train(stylizer, 1, QUICK.updated({"numbers_rate": 0.0}))
    assert style.about.config["numbers_rate"] == SEARCH.numbers_rate
    assert not torch.equal(style.numbers, stylizer.style_numbers("fire"))


def test_every_photo_moves_the_same_numbers(stylizer: Stylizer) -> None:
    config = QUICK.updated({"learning_rate": 0.0, "lambda_draft": 0.0})
    runs = [stylizer.steps(photo, "fire", config=config).run for photo in photos(2)]
    indices, numbers = [], []
    for step in in_turns(runs):
        indices.append(step.index)
        assert runs[0].painter.get_parameter("numbers") is runs[1].painter.get_parameter("numbers")
        numbers.append(runs[0].painter.get_parameter("numbers").detach().clone())
    assert indices == [1, 1, 2, 2, 3, 3]
    assert not any(torch.equal(one, other) for one, other in pairwise(numbers))


def test_what_no_style_can_be_made_of_is_refused(stylizer: Stylizer, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(field: str, words: str, prompt: str = "fire", count: int = 1, **changes: object) -> None:
        with pytest.raises(InputError, match=words) as caught:
            StyleTraining(stylizer, prompt, photos(count), QUICK.updated(changes))
        assert caught.value.field == field

    refused("photos", "photos are 0", count=0)
    refused("steps", "steps is 0", steps=0)
    refused("start", "start is random", start="random")
    refused("output_size", "output_size is 128", output_size=128)
    for people in (tiny.mask(), tiny.mask(box=(0, 0, 0, 0))):  # of whom some, or none, are in the photos
        found = stylizer.regions(read_photo(photos()[0]), people)
        monkeypatch.setattr("genartisan.method.stylizer.segment", lambda *_, found=found, **__: found)
        refused("prompt", "several texts", prompt="person: fire; background: watercolor painting")
    monkeypatch.setattr(style_training, "MAX_PHOTOS", 2)
    refused("photos", "photos are 3", count=3)


def test_a_training_that_diverged_gives_no_style(stylizer: Stylizer) -> None:
    training = StyleTraining(stylizer, "fire", photos(1), QUICK.updated({"numbers_rate": 1.0}))
    next(training)
    with torch.no_grad():
        training.runs[0].painter.get_parameter("numbers")[0, 0] = torch.nan
    with pytest.raises(InputError, match="diverged"):
        training.result()


# Files


def test_it_is_saved_whole_and_read_as_it_was(styles: StyleFolder) -> None:
    assert list(styles) == []
    style = of_numbers(3, photos=4, losses={"total": 1.5}, config={"steps": 2}, parts=[("fire", 0.5), ("ice", 0.5)])
    style.save(styles.path("saved"))
    assert list(styles) == ["saved"]
    assert len(styles) == 1
    again = styles["saved"]
    assert again.about == style.about
    assert torch.equal(again.numbers, style.numbers)
    assert styles.path("saved").stat().st_size < 2000
    assert [path.name for path in styles.folder.iterdir()] == ["saved.safetensors"]


def test_half_precision_is_read_as_single(styles: StyleFolder) -> None:
    SavedStyle(of_numbers(3).about, of_numbers(3).numbers.half()).save(styles.path("half"))
    assert styles["half"].numbers.dtype == torch.float32


@pytest.mark.parametrize("name", ["", "../evil", "a/b", ".hidden", "a" * 65, "sp ace", "nul\0"])
def test_a_name_is_a_file_s_name_and_no_path(name: str, styles: StyleFolder) -> None:
    with pytest.raises(InputError, match="style"):
        QUICK.updated({"style": name})
    with pytest.raises(InputError, match="must be the name of a") as caught:
        styles.path(name)
    assert caught.value.field == "style"


def test_a_file_that_is_no_style_is_named(styles: StyleFolder, tiny_folder: Path) -> None:
    styles.folder.mkdir(parents=True)
    styles.path("text").write_text("no style")
    styles.path("bundle").write_bytes((tiny_folder / "pastiche.safetensors").read_bytes())
    of_numbers(3).save(styles.path("cut"))
    styles.path("cut").write_bytes(styles.path("cut").read_bytes()[:-10])
    about = of_numbers(3).about
    SavedStyle(about, torch.full((100,), torch.nan)).save(styles.path("nan"))
    SavedStyle(about, torch.zeros(99)).save(styles.path("short"))
    header = {"genartisan": about.model_dump_json().replace('"format":2', '"format":1')}
    safetensors.torch.save_file({"numbers": torch.zeros(100)}, styles.path("old"), header)
    safetensors.torch.save_file(
        {"other": torch.zeros(100)}, styles.path("other"), {"genartisan": about.model_dump_json()}
    )
    for name in ("text", "bundle", "cut", "nan", "short", "old", "other"):
        with pytest.raises(BundleError, match=rf"{name}.safetensors is not a saved style \(") as caught:
            styles[name]
        assert "genartisan style make" in caught.value.message
        assert "\n" not in caught.value.message


def test_one_damaged_file_hides_no_other(styles: StyleFolder, capsys: pytest.CaptureFixture[str]) -> None:
    of_numbers(3).save(styles.path("good"))
    styles.path("bad").write_text("no style")
    (styles.folder / "my style.safetensors").write_text("of somebody else")
    folder = ["--style-folder", str(styles.folder)]
    assert list(styles) == ["bad", "good"]
    assert main(["style", "list", *folder]) == 0
    said = capsys.readouterr()
    assert "good" in said.out
    assert "bad.safetensors is not a saved style" in said.err
    assert main(["style", "remove", "bad", *folder]) == 0
    assert list(styles) == ["good"]
    assert main(["style", "remove", "bad", *folder]) == 2


# Mixing


def test_a_mixture_lies_between() -> None:
    first, second = of_numbers(1), of_numbers(2, prompt=None, pictures=2)
    for share in (0.0, 0.3, 1.0):
        torch.testing.assert_close(
            first.mixed(second, share).numbers, (1 - share) * first.numbers + share * second.numbers
        )
    mixed = first.mixed(second, 0.3)
    assert (mixed.about.prompt, mixed.about.pictures) == ("fire", 2)
    assert mixed.about.described == "0.7 fire + 0.3 2 pictures"
    again = mixed.mixed(of_numbers(3, prompt="ice"), 0.5)
    assert again.about.prompt == "fire and ice"
    assert again.about.described == "0.35 fire + 0.15 2 pictures + 0.5 ice"
    assert second.mixed(second, 0.5).about.prompt is None


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_is_from_0_to_1(share: float) -> None:
    with pytest.raises(InputError, match="must be 0 to 1") as caught:
        of_numbers(1).mixed(of_numbers(2), share)
    assert caught.value.field == "share"


# Drawing


def test_a_run_leaves_the_style_as_it_is(tiny_bundle: Bundle) -> None:
    style = of_numbers(3)
    before = style.numbers.clone()
    stylizer = Stylizer(tiny_bundle, "cpu", "fp32", styles={"saved": style})
    refined = stylizer(tiny.picture(seed=9), config=QUICK.updated({"style": "saved"}))
    drawn = stylizer(tiny.picture(seed=9), config=ONE_PASS.updated({"style": "saved"}))
    assert torch.equal(style.numbers, before)
    assert refined.image.tobytes() != drawn.image.tobytes()


def test_a_style_is_where_a_run_begins(tiny_bundle: Bundle) -> None:
    stylizer = Stylizer(tiny_bundle, "cpu", "fp32", styles={"saved": of_numbers(3)})
    config = QUICK.updated({"style": "saved"})
    draft = stylizer.steps(tiny.picture(), "watercolor", config=config).draft()
    assert draft is not None
    drawn = stylizer(tiny.picture(), config=config.updated({"steps": 0}))
    assert draft.tobytes() == drawn.image.tobytes()
    assert stylizer(tiny.picture(), "watercolor", config=ONE_PASS).image.tobytes() != draft.tobytes()


def test_a_sentence_that_one_pass_cannot_follow_is_remarked(stylizer: Stylizer, styles: StyleFolder) -> None:
    of_numbers(3).save(styles.path("saved"))
    config = ONE_PASS.updated({"style": "saved"})
    for prompt, remarked in (("watercolor", True), (None, False), ("fire", False)):
        warnings = stylizer(tiny.picture(), prompt, config=config).report["warnings"]
        assert any("prompt is not used" in warning for warning in warnings) == remarked


def test_a_style_without_a_sentence_is_drawn_with_and_not_refined(stylizer: Stylizer, styles: StyleFolder) -> None:
    of_numbers(3, prompt=None, pictures=1).save(styles.path("pictured"))
    assert stylizer(tiny.picture(), config=ONE_PASS.updated({"style": "pictured"})).report["prompt"] is None
    config = QUICK.updated({"style": "pictured"})
    with pytest.raises(InputError, match="prompt"):
        stylizer(tiny.picture(), config=config)
    assert stylizer(tiny.picture(), "fire", config=config).report["steps"] == 3
    assert stylizer(tiny.picture(), config=config, style_image=tiny.picture(seed=7)).report["steps"] == 3


def test_an_unknown_style_is_refused_with_those_that_are_known(stylizer: Stylizer, styles: StyleFolder) -> None:
    wanted = QUICK.updated({"style": "absent"})
    with pytest.raises(InputError, match="there are none yet") as caught:
        stylizer.steps(tiny.picture(), config=wanted)
    assert caught.value.field == "style"
    of_numbers(3).save(styles.path("saved"))
    with pytest.raises(InputError, match="known are saved"):
        stylizer.steps(tiny.picture(), config=wanted)


# The command line


def test_the_command_line_makes_lists_mixes_uses_and_removes(
    tmp_path: Path, tiny_folder: Path, styles: StyleFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    wave, photo, out = tmp_path / "The Wave.png", tmp_path / "photo.png", tmp_path / "out.png"
    tiny.picture(seed=7).save(wave)
    tiny.picture().save(photo)
    folder = ["--style-folder", str(styles.folder)]
    networks = [*folder, "--bundle", str(tiny_folder), "--device", "cpu"]
    made = ["style", "make", "The fire!", *networks]
    assert main(made) == 0
    assert main(["style", "make", "--style-image", str(wave), *networks]) == 0
    both = ["style", "make", "--style-image", str(wave), "--style-image", str(photo), "fire", "--name", "both"]
    assert main([*both, *networks]) == 0
    assert list(styles) == ["both", "the-fire", "the-wave"]
    assert [styles[name].about.pictures for name in styles] == [2, 0, 1]
    capsys.readouterr()
    assert main(made) == 2
    assert "the-fire" in capsys.readouterr().err
    assert main([*made, "--force"]) == 0
    assert main(["style", "mix", "the-fire", "the-wave", "0.3", *folder]) == 0
    capsys.readouterr()
    assert main(["style", "list", "--json", *folder]) == 0
    assert json.loads(capsys.readouterr().out)["the-fire"]["prompt"] == "The fire!"
    assert main(["style", "list", *folder]) == 0
    rows = {line.split()[0]: line.split(maxsplit=4)[1:] for line in capsys.readouterr().out.splitlines()}
    assert rows["name"] == ["bundle", "pictures", "photos", "style"]
    assert rows["both"] == ["tiny", "2", "0", "fire"]
    assert rows["the-fire-the-wave-0.3"] == ["tiny", "1", "0", "0.7 The fire! + 0.3 1 picture"]
    wanted = ["stylize", str(photo), "-o", str(out), *networks, "--style", "the-wave", "--preset", "draft"]
    assert main([*wanted, "--size", "64"]) == 0
    assert Image.open(out).size == (64, 48)
    assert main(["style", "remove", "the-wave", *folder]) == 0
    assert list(styles) == ["both", "the-fire", "the-fire-the-wave-0.3"]
    capsys.readouterr()
    assert main(wanted) == 2
    assert "known are both, the-fire, the-fire-the-wave-0.3" in capsys.readouterr().err


def test_the_command_line_trains_over_photos(
    tmp_path: Path, tiny_folder: Path, styles: StyleFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    for number, photo in enumerate(photos()):
        photo.save(tmp_path / "photos" / f"{number}.png")
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    networks = ["--style-folder", str(styles.folder), "--bundle", str(tiny_folder), "--device", "cpu"]
    quick = ["--size", "64", "--steps", "2", "--set", "patches=2", "--set", "patch_size=32", "--quiet"]
    made = ["style", "make", "fire", "--photos", str(tmp_path / "photos"), *networks, *quick]
    assert main(made) == 0
    assert main(["style", "make", "fire", "--name", "words", *networks]) == 0
    assert styles["fire"].about.photos == 3
    assert not torch.equal(styles["fire"].numbers, styles["words"].numbers)
    (tmp_path / "photos" / "4.png").write_text("no picture")
    assert main([*made, "--name", "third"]) == 2
    assert "4.png" in capsys.readouterr().err
    assert list(styles) == ["fire", "words"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "prompt is missing"),
        (["!!!"], "--name"),
        (["--style-image", "nowhere.png"], "style_image 'nowhere.png' cannot be read"),
        (["fire", "--style-image", "a.png", "--photos", "a.png"], "--photos or --style-image"),
        (["--photos", "a.png"], "prompt is missing"),
        (["fire", "--photos", "nowhere.png"], "nowhere.png"),
        (["fire", "--photos", "a.png", "--preset", "paper"], "start is random"),
        (["fire", "--name", "../evil"], "style is '../evil'"),
    ],
)
def test_a_style_that_cannot_be_made_is_one_line(
    flags: list[str], words: str, tiny_folder: Path, styles: StyleFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    networks = ["--style-folder", str(styles.folder), "--bundle", str(tiny_folder), "--device", "cpu", "--quiet"]
    assert main(["style", "make", *flags, *networks]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert list(styles) == []


def test_a_folder_that_cannot_be_made_is_named_before_the_work(
    tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["style", "make", "fire", "--style-folder", str(tmp_path / "file"), "--bundle", str(tiny_folder)]) == 2
    assert "style folder" in capsys.readouterr().err


@pytest.mark.slow
def test_an_archive_has_the_styles_that_are_named(
    tmp_path: Path, tiny_folder: Path, styles: StyleFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("model_archiver")
    for name in ("one", "two"):
        tiny.write_style(styles.path(name))
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
    assert str(tmp_path / "none") in capsys.readouterr().err
    assert main([*common, "--styles", "absent"]) == 2
    assert "style is 'absent'" in capsys.readouterr().err
    styles.path("bad").write_text("no style")
    assert main([*common, "--styles", "bad"]) == 2
    assert "bad.safetensors is not a saved style" in capsys.readouterr().err
    assert archive_check.digest_of(tmp_path / "genartisan.mar")
