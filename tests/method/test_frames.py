"""Frames in one style: what moves is found, what stays is drawn alike, and a panned still does not flicker."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from torch import Tensor

from genartisan.cli.main import main
from genartisan.config import StyleConfig, preset
from genartisan.errors import InputError
from genartisan.io.images import read_photo
from genartisan.method.frames import Film, flicker, shifted
from genartisan.method.motion import shift_between
from genartisan.method.regions import PORTRAIT_LABEL
from genartisan.method.saved_style import About, SavedStyle
from genartisan.method.stylizer import Stylizer
from genartisan.networks.bundle import Bundle

DRAFT = preset("draft", {"size": 160})
EDGE = 90  # pixels beside a border that see it


def scene(width: int = 400, height: int = 300, seed: int = 0) -> Tensor:
    """Blots of many sizes, ``(3, H, W)``."""
    generator = torch.Generator().manual_seed(seed)
    planes = torch.zeros(1, 3, height, width)
    for scale in (4, 16, 64):
        coarse = torch.rand(1, 3, height // scale + 2, width // scale + 2, generator=generator)
        planes += torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic") / 3
    return planes[0].clamp(0, 1)


def window(still: Tensor, x: float, y: float, width: int = 160, height: int = 120) -> Image.Image:
    """A part of a still whose corner may lie between the pixels."""
    array = (still.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    image = Image.fromarray(array)
    return image.transform((width, height), Image.Transform.AFFINE, (1, 0, x, 0, 1, y), Image.Resampling.BICUBIC)


def pixels(image: Image.Image) -> Tensor:
    return read_photo(image).pixels


@pytest.mark.parametrize("moved", [(0, 0), (5, 0), (-7, 3), (2.5, 0), (-1.25, 4.5), (30, -20)])
def test_a_camera_s_shift_is_found(moved: tuple[float, float]) -> None:
    still = scene()
    before, after = (pixels(window(still, 100 + x, 80 + y)) for x, y in ((0, 0), moved))
    found = shift_between(before, after)
    assert found is not None
    assert found == pytest.approx((-moved[0], -moved[1]), abs=0.3)


def test_where_no_shift_explains_the_change_there_is_none() -> None:
    before, after = (pixels(window(scene(seed=seed), 100, 80)) for seed in (0, 1))
    assert shift_between(before, after) is None
    black = torch.zeros_like(before)
    assert shift_between(black, black) is None


def test_what_is_shifted_moves_by_whole_pixels_and_leaves_nothing() -> None:
    planes = torch.arange(12.0).reshape(1, 1, 3, 4)
    assert shifted(planes, 1, 0)[0, 0].tolist() == [[0, 0, 1, 2], [0, 4, 5, 6], [0, 8, 9, 10]]
    assert shifted(planes, -2, 1)[0, 0].tolist() == [[0, 0, 0, 0], [2, 3, 0, 0], [6, 7, 0, 0]]
    assert not shifted(planes, 4, 0).any()


def test_flicker_is_what_differs_where_both_show_the_same() -> None:
    still = scene()
    panned = [still[:, :60, x : x + 80] for x in (0, 3, 6)]
    assert flicker(panned, [(-3, 0)] * 2) == 0
    assert flicker([panned[0], panned[1] + 0.25, panned[2]], [(-3, 0)] * 2) == pytest.approx(0.25)
    assert flicker(panned, [(0, 0)] * 2) > 0.01


@pytest.fixture(scope="module")
def stylizer() -> Stylizer:
    return Stylizer(Bundle.load("embedded"), "cpu", "fp32", styles={})


@pytest.mark.parametrize("pan", [0.1, 5.1, -1.4])
def test_a_camera_is_followed_however_slow_or_far(pan: float, tiny_stylizer: Stylizer) -> None:
    """Errors of each frame against the next would add up."""
    still = scene(900, 300)
    frames = [window(still, (20 if pan > 0 else 600) + n * pan, 60) for n in range(60)]
    film = Film(tiny_stylizer, "fire", frames, DRAFT)
    off = 0.0
    for number, frame in enumerate(frames):
        film.draw(frame)
        off = max(off, abs(film.shift[0] + number * pan), abs(film.shift[1]))
    assert off < 1


def test_after_a_cut_it_goes_on(tiny_stylizer: Stylizer) -> None:
    frames = [window(scene(seed=seed), 100 + 4 * n, 80) for seed, n in ((0, 0), (0, 1), (1, 0), (1, 1))]
    film, seen = Film(tiny_stylizer, "fire", frames, DRAFT), []
    for frame in frames:
        film.draw(frame)
        seen.append(round(film.shift[0]))
    assert seen == [0, -4, -4, -8]


@pytest.mark.parametrize("pan", [(8, 0), (3, 0), (-5, 2), (2.5, 0)])
def test_a_panned_still_does_not_flicker(pan: tuple[float, float], stylizer: Stylizer) -> None:
    """Where no border is seen: nothing in a pan of whole pixels. Pictures that know nothing of each other do."""
    still, whole = scene(700, 420), all(float(part).is_integer() for part in pan)
    frames = [window(still, 200 + n * pan[0], 60 + n * pan[1], 320, 240) for n in range(3)]
    config = DRAFT.updated({"size": 320, "mode": "clipstyler"})
    film = Film(stylizer, "fire", frames, config)
    held = [film.draw(frame) for frame in frames]
    alone = [stylizer(frame, "fire", config=config).image for frame in frames]
    shifts = [tuple(round(-(n + 1) * part) - round(-n * part) for part in pan) for n in range(2)]
    inner = slice(None), slice(EDGE, -EDGE), slice(EDGE, -EDGE)
    ours, plain = ([pixels(picture)[inner] for picture in pictures] for pictures in (held, alone))
    own = flicker([pixels(frame)[inner] for frame in frames], shifts)  # of a pan between the pixels
    assert flicker(ours, shifts) < (1e-3 if whole else 3 * own)
    assert flicker(plain, shifts) > 1.4 * flicker(ours, shifts) + 1e-3


def test_the_same_frame_is_the_same_picture(stylizer: Stylizer) -> None:
    frame = window(scene(), 100, 80)
    film = Film(stylizer, "fire", [frame] * 3, DRAFT)
    pictures = [film.draw(frame).tobytes() for _ in range(3)]
    assert len(set(pictures)) == 1
    torch.testing.assert_close(
        pixels(film.draw(frame)), pixels(stylizer(frame, "fire", config=DRAFT).image), atol=0.01, rtol=0
    )


def test_frames_have_a_text_for_each_region_and_a_strength(
    tiny_stylizer: Stylizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame, mask = tiny.picture(), tiny.mask()
    prompt = "person: watercolor painting; background: fire"
    config = preset("draft", {"size": 64, "regions": {"background": {"strength": 0.5}}})
    found = tiny_stylizer.regions(read_photo(frame), mask)
    monkeypatch.setattr("genartisan.method.stylizer.segment", lambda *_, **__: found)
    drawn = pixels(Film(tiny_stylizer, prompt, [frame], config).draw(frame))
    alone = pixels(tiny_stylizer(frame, prompt, config=config, mask=mask).image)
    torch.testing.assert_close(drawn, alone, atol=0.01, rtol=0)
    assert not torch.equal(alone, pixels(tiny_stylizer(frame, "fire", config=config, mask=mask).image))


def test_the_norms_know_the_whole_film(stylizer: Stylizer) -> None:
    """What one frame of a film shows does not change how another is drawn; its lightness alone would otherwise."""
    frame, bright = window(scene(), 100, 80), Image.new("RGB", (160, 120), "white")
    ours = [Film(stylizer, "fire", frames, DRAFT).draw(frame) for frames in ([frame], [frame, bright], [bright, frame])]
    alone, both, turned = (pixels(picture) for picture in ours)
    torch.testing.assert_close(both, turned, atol=0.01, rtol=0)
    assert (alone - both).abs().mean() > 0.005


def test_people_s_outline_is_eased(tiny_stylizer: Stylizer, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = tiny.picture()
    film = Film(tiny_stylizer, "fire", [frame], preset("draft", {"size": 64}))
    seen = []
    for found in (tiny.mask(), tiny.mask(box=(0, 0, 48, 48)), tiny.mask(box=(0, 0, 48, 48))):
        regions = tiny_stylizer.regions(read_photo(frame), found)
        monkeypatch.setattr(tiny_stylizer, "regions", lambda photo, names, regions=regions: regions)
        film.draw(frame)
        monkeypatch.undo()
        assert film.cover is not None
        seen.append(film.cover[0, PORTRAIT_LABEL, 10, [16, 40, 60]].tolist())
    assert seen == [[1, 0, 0], [1, 0.5, 0], [1, 0.75, 0]]


def test_people_s_outline_goes_along_with_the_camera(tiny_stylizer: Stylizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was a person stays one where it has moved to; what comes into sight is as it is found."""
    still = scene()
    frames = [window(still, 100 + 10 * n, 80) for n in range(2)]
    film = Film(tiny_stylizer, "fire", frames, DRAFT)
    regions = [
        tiny_stylizer.regions(read_photo(frames[0]), tiny.mask(160, 120, box))
        for box in ((50, 0, 100, 120), (150, 0, 160, 120))
    ]
    for frame, found in zip(frames, regions, strict=True):
        monkeypatch.setattr(tiny_stylizer, "regions", lambda photo, names, found=found: found)
        film.draw(frame)
    assert film.cover is not None
    assert film.cover[0, PORTRAIT_LABEL, 60, [45, 85, 95, 145, 155]].tolist() == [0.5, 0.5, 0, 0, 1]


def test_a_saved_style_draws_frames(tiny_stylizer: Stylizer) -> None:
    """As it draws a photo; in half precision, too."""
    frame = tiny.picture()
    numbers = torch.randn(100, generator=torch.Generator().manual_seed(5))
    style = SavedStyle(About(prompt="fire", bundle="tiny"), numbers)
    for precision, near in (("fp32", 1e-3), ("bf16", 0.02)):
        stylizer = Stylizer(tiny_stylizer.bundle, "cpu", precision, styles={"saved": style})
        config = preset("draft", {"size": 64, "style": "saved", "mode": "clipstyler"})
        drawn = pixels(Film(stylizer, None, [frame], config).draw(frame))
        alone = pixels(stylizer(frame, config=config).image)
        assert (drawn - alone).abs().mean() < near
        plain = pixels(stylizer(frame, "fire", config=config.updated({"style": None})).image)
        assert (drawn - plain).abs().mean() > 0.05


def test_a_style_picture_draws_frames(tiny_stylizer: Stylizer) -> None:
    frame, wave = tiny.picture(), tiny.picture(seed=7)
    config = preset("draft", {"size": 64, "mode": "clipstyler"})
    pictures = []
    for prompt in (None, "fire"):
        drawn = pixels(Film(tiny_stylizer, prompt, [frame], config, style_image=wave).draw(frame))
        alone = tiny_stylizer(frame, prompt, config=config, style_image=wave).image
        torch.testing.assert_close(drawn, pixels(alone), atol=0.01, rtol=0)
        pictures.append(drawn)
    assert not torch.equal(*pictures)
    with pytest.raises(InputError, match="style_image") as caught:
        Film(tiny_stylizer, None, [frame], config, style_image=b"no picture")
    assert caught.value.field == "style_image"


def test_what_is_no_film_is_refused(tiny_stylizer: Stylizer) -> None:
    frame, draft = tiny.picture(), preset("draft", {"size": 64})
    for settings, field in (
        ({"steps": 2}, "steps"),
        ({"output_size": 128}, "output_size"),
        ({"contrast": 1.5}, "contrast"),
        ({"timeout_s": 9.0}, "timeout_s"),
    ):
        with pytest.raises(InputError, match=field) as error:
            Film(tiny_stylizer, "fire", [frame], draft.updated(settings))
        assert error.value.field == field
    with pytest.raises(InputError, match="frames"):
        Film(tiny_stylizer, "fire", [], draft)
    film = Film(tiny_stylizer, "fire", [frame], draft)
    with pytest.raises(InputError, match="64x32 pixels, the others 64x48"):
        film.draw(tiny.picture(64, 32))


def test_the_command_line_draws_a_folder(tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for n in range(3):
        tiny.picture(seed=n).save(source / f"frame{n}.jpg")
    common = ["--bundle", str(tiny_folder), "--device", "cpu", "--size", "64", "--quiet"]
    assert main(["frames", str(source), "fire", "-o", str(out), *common]) == 0
    assert sorted(path.name for path in out.iterdir()) == [f"frame{n}.png" for n in range(3)]
    tiny.picture(seed=7).save(tmp_path / "wave.png")
    images = ["--style-image", str(tmp_path / "wave.png")]
    assert main(["frames", str(source), *images, "-o", str(tmp_path / "pictured"), *common]) == 0
    assert sorted(path.name for path in (tmp_path / "pictured").iterdir()) == [f"frame{n}.png" for n in range(3)]
    drawn = [Image.open(out / f"frame{n}.png").tobytes() for n in range(3)]
    assert all(one != other for one, other in pairwise(drawn))
    tiny.picture().save(source / "frame2.png")
    capsys.readouterr()
    assert main(["frames", str(source), "fire", "-o", str(out), *common]) == 2
    assert "two pictures named 'frame2'" in capsys.readouterr().err
    (source / "frame2.png").unlink()
    (out / "other.png").write_bytes(b"of another film")
    assert main(["frames", str(source), "fire", "-o", str(out), *common]) == 2
    assert "of another film" in capsys.readouterr().err
    (out / "other.png").unlink()
    tiny.picture(64, 32).save(source / "frame1.jpg")
    assert main(["frames", str(source), "fire", "-o", str(out), *common]) == 2
    assert "frame1.jpg has 64x32 pixels, the first frame 64x48" in capsys.readouterr().err
    (source / "frame1.jpg").write_bytes(b"damaged")
    for arguments, words in (
        (["frames", str(source), "fire", "-o", str(out)], "frame1.jpg"),
        (["frames", str(source), "fire", "-o", str(source)], "that of the frames"),
        (["frames", str(tmp_path / "absent"), "fire", "-o", str(out)], "is not a folder"),
    ):
        capsys.readouterr()
        assert main([*arguments, *common]) == 2
        told = capsys.readouterr().err
        assert words in told
        assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "words"), [(["fire", "--preset", "fast"], f"steps is {preset('fast').steps}"), ([], "prompt is missing")]
)
def test_the_command_line_refuses_what_a_film_does(
    flags: list[str], words: str, tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.picture().save(tmp_path / "frame.png")
    common = ["-o", str(tmp_path / "out"), "--bundle", str(tiny_folder), "--device", "cpu", "--size", "64"]
    assert main(["frames", str(tmp_path), *common, *flags]) == 2
    assert words in capsys.readouterr().err


def test_settings_of_people_reach_the_frames(stylizer: Stylizer, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = window(scene(), 100, 80)
    config: StyleConfig = DRAFT.updated({"regions": {"portrait": {"strength": 0.0}}})
    regions = stylizer.regions(read_photo(frame), tiny.mask(160, 120, (0, 0, 80, 120)))
    monkeypatch.setattr(stylizer, "regions", lambda photo, names: regions)
    picture, photo = pixels(Film(stylizer, "fire", [frame], config).draw(frame)), pixels(frame)
    change = (picture - photo).abs().mean(0)
    assert change[:, :60].mean() < 0.5 * change[:, 100:].mean()
