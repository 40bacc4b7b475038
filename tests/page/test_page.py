"""The page in a real browser, with a real server behind it."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
import servers
import visitor as visits
from PIL import Image
from visitor import FEW_STEPS, MANY_STEPS, Site, Visitor, encoded, png, visiting

from genartisan.cli.main import main
from genartisan.page import launch
from genartisan.page.gallery import STYLES
from genartisan.page.picture_settings import read_settings
from genartisan.serving import serve
from genartisan.serving.defaults import Ports
from genartisan.serving.serve import Server

pytestmark = pytest.mark.server
GRAVE = ("critical", "serious")
SOON = 20.0  # seconds: many times a step, far below a run of 400


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with visits.browser() as running:
        yield running


@pytest.fixture(scope="module")
def site(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with visits.site(tmp_path_factory.mktemp("site"), server.url, server.keys) as opened:
        yield opened


@pytest.fixture
def visitor(chromium: Any, site: Site) -> Iterator[Visitor]:
    with visiting(chromium, site.url) as one:
        yield one


def is_free(server: Server) -> bool:
    return not [path for path in (Path(server.temporary) / "jobs").iterdir() if path.suffix != ".cancel"]


@pytest.mark.slow
def test_a_photo_becomes_a_picture_whose_settings_come_back(visitor: Visitor) -> None:
    visitor.begins(png())
    visitor.presses("#gallery label:has-text('Great Wave')")
    prompt = visitor.page.locator("#prompt textarea")
    visits.sync_api.expect(prompt).to_have_value(re.compile("The Great Wave"), timeout=visits.WAIT)
    visitor.page.fill("#seed :is(input, textarea)", "7")
    picture = visitor.stylises()
    image = Image.open(io.BytesIO(picture))
    assert (image.format, image.size) == ("PNG", (64, 48))
    settings = read_settings(picture)
    assert settings.prompt == "The Great Wave off Kanagawa by Katsushika Hokusai"
    assert (settings.params["seed"], settings.params["size"], settings.params["preset"]) == (7, 64, "fast")

    visitor.makes("#vary")
    assert visitor.page.locator("#history button.thumbnail-item").count() == 2
    assert visitor.page.input_value("#seed :is(input, textarea)") != "7"
    visitor.page.fill("#prompt textarea", "Fire")
    chosen = {"name": "wave.png", "mimeType": "image/png", "buffer": picture}
    visitor.page.locator("#more input[type=file]").set_input_files(chosen)
    visits.sync_api.expect(prompt).to_have_value(re.compile("The Great Wave"), timeout=visits.WAIT)
    assert visitor.page.input_value("#seed :is(input, textarea)") == "7"
    assert visitor.stylises() == picture

    visitor.presses("#view label:has-text('Before')")
    drawn = visitor.page.locator("#slider img.fixed")
    visits.sync_api.expect(drawn).to_have_attribute(
        "style", re.compile(r"inset\(0px 0px 0px (9\d|100)"), timeout=visits.WAIT
    )
    visitor.makes("#stronger")
    assert read_settings(visitor.downloads()).params["regions"]["portrait"]["strength"] == 0.65


@pytest.mark.slow
def test_the_picture_is_seen_as_it_forms(visitor: Visitor) -> None:
    visitor.begins(png(512, 384), size=512)  # steps long enough to be seen on a busy machine, too
    visitor.page.fill("#prompt textarea", "Fire")
    shown = []
    visitor.page.on("response", lambda answer: shown.append(answer.url) if "preview.jpg" in answer.url else None)
    visitor.stylises()
    assert len(set(shown)) >= 3  # the draft and previews


@pytest.mark.slow
def test_four_seeds_stand_side_by_side(visitor: Visitor) -> None:
    visitor.begins(png())
    visitor.page.fill("#prompt textarea", "Fire")
    visitor.stylises()
    visitor.presses("#four")
    visitor.sees("Four seeds")
    seeds = visitor.page.locator("#seeds button.thumbnail-item")
    assert seeds.count() == 4
    seeds.nth(2).click()
    visitor.sees("seed 2: its settings")
    assert read_settings(visitor.downloads()).params["seed"] == 2


@pytest.mark.slow
def test_cancel_frees_the_worker(visitor: Visitor, server: Server) -> None:
    visitor.begins(png(), size=128)
    visitor.page.fill("#prompt textarea", "Fire")
    visitor.presses(MANY_STEPS)
    visitor.presses("#run")
    visitor.sees(re.compile(r"Step [1-9]\d* of 400, .* left"), "#progress")
    began = time.monotonic()
    visitor.presses("#cancel")
    servers.eventually(lambda: is_free(server), "the worker is free", SOON)
    visitor.sees("Cancelled")
    assert time.monotonic() - began < SOON
    visitor.presses(FEW_STEPS)
    assert visitor.stylises()


@pytest.mark.slow
def test_a_run_that_is_asked_for_twice_runs_once_and_can_be_cancelled(visitor: Visitor, server: Server) -> None:
    visitor.begins(png(), size=128)
    visitor.page.fill("#prompt textarea", "Fire")
    visitor.presses(MANY_STEPS)
    visitor.page.focus("#prompt textarea")
    for _ in range(2):
        visitor.page.keyboard.press("Shift+Enter")
        visitor.sees("Step", "#progress")
    visitor.presses("#cancel")
    visitor.sees("Cancelled")
    servers.eventually(lambda: is_free(server), "the worker is free", SOON)
    visitor.presses(FEW_STEPS)
    assert visitor.stylises()


@pytest.mark.slow
def test_a_closed_tab_ends_its_run_and_leaves_no_file(chromium: Any, site: Site, server: Server) -> None:
    with visiting(chromium, site.url) as visitor:
        visitor.begins(png(seed=5), size=128)
        visitor.page.fill("#prompt textarea", "Fire")
        visitor.presses(MANY_STEPS)
        visitor.presses("#run")
        visitor.sees("Step", "#progress")
        assert site.files() != []
    servers.eventually(lambda: is_free(server), "the run ends", 60)
    servers.eventually(lambda: site.files() == [], "the files are removed", 60)


@contextlib.contextmanager
def answered_late(visitor: Visitor, count: int) -> Iterator[None]:
    """Within it so many calls are made one by one, and the first is answered after the others; all are answered."""
    calls, made, answered = [], [], []

    def held(route: Any) -> None:
        number = len(calls)
        calls.append(route)
        if number >= count:
            route.continue_()
            return
        while len(made) < number:
            visitor.page.wait_for_timeout(20)
        answer = route.fetch()
        made.append(route)
        while number == 0 and len(answered) < count - 1:
            visitor.page.wait_for_timeout(20)
        route.fulfill(response=answer)
        answered.append(route)

    visitor.page.route(re.compile(r"/gradio_api/(run/predict|queue/join)"), held)
    yield
    until = time.monotonic() + visits.WAIT / 1000
    while len(answered) < count:
        assert time.monotonic() < until, "the calls are answered"
        visitor.page.wait_for_timeout(20)
    visitor.page.unroute_all(behavior="wait")


@pytest.mark.slow
def test_the_regions_are_corrected_by_brush_and_by_keys(visitor: Visitor) -> None:
    visitor.begins(png(320, 240), size=64)
    visitor.page.fill("#prompt textarea", "Fire")
    visitor.presses("label:has-text('Draft: one pass')")
    found = visitor.stylises()
    visitor.presses("button[role=tab]:has-text('People and background')")
    canvas = visitor.page.locator("#editor canvas").first
    canvas.wait_for()
    text = visitor.page.locator("#regions-text")
    before = text.inner_text()
    box = canvas.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    visitor.page.wait_for_timeout(1000)  # the editor says nowhere that its canvas is ready
    visitor.page.mouse.move(x - 60, y)
    visitor.page.mouse.down()
    for step in range(-60, 61, 10):
        visitor.page.mouse.move(x + step, y + step / 3)
    visitor.page.mouse.up()
    visitor.presses("#apply")
    visitor.sees("Corrected by you", "#regions-text")
    painted = visitor.stylises()
    assert read_settings(painted).mask
    assert not np.array_equal(*(np.asarray(Image.open(io.BytesIO(each))) for each in (found, painted)))

    visitor.presses("button[role=tab]:has-text('People and background')")
    visitor.presses("#undo")
    visits.sync_api.expect(text).to_have_text(before, timeout=visits.WAIT)
    visitor.opens("#keys-panel")

    def said() -> str:
        """What stands there, without the seconds that Gradio writes beside it while it waits."""
        return re.sub(r"^[\d.]+s\s+", "", text.inner_text())

    def changes(act: Callable[[], object]) -> None:
        before = said()
        act()
        visits.sync_api.expect(text).not_to_contain_text(before, timeout=visits.WAIT)

    for button in ("#box-people", "#grow"):
        visitor.page.focus(button)
        changes(lambda: visitor.page.keyboard.press("Enter"))
    before = said()
    quick = ("shrink", "shrink", "box-background")
    with answered_late(visitor, len(quick)):
        visitor.page.evaluate("names => names.forEach(name => document.getElementById(name).click())", quick)
    visits.sync_api.expect(text).to_contain_text("No people were found.", timeout=visits.WAIT)
    shown = [said()]
    for _ in range(3):
        changes(lambda: visitor.presses("#undo"))
        shown.append(said())
    assert len(set(shown)) == 4  # each click counted, and the page showed the last
    assert shown[-1] == before
    visitor.presses("#reset")
    visits.sync_api.expect(text).not_to_contain_text("Corrected", timeout=visits.WAIT)


@pytest.mark.slow
def test_the_style_of_a_picture(visitor: Visitor) -> None:
    visitor.begins(png())
    visitor.opens("#style-panel")
    chosen = {"name": "style.png", "mimeType": "image/png", "buffer": png(64, 64, seed=9)}
    visitor.page.locator("#style-image input[type=file]").set_input_files(chosen)
    visitor.page.locator("#style-image img[src*=sitting-]").wait_for()  # ours, once it is decoded
    settings = read_settings(visitor.stylises())
    assert (settings.prompt, settings.style_image) == (None, True)


@pytest.mark.slow
def test_errors_stand_beside_their_field(visitor: Visitor) -> None:
    visitor.presses("#run")
    visitor.sees("Drop a photo first", "#photo-error [role=alert]")
    visitor.gives_photo(b"no picture", "photo.png")
    visitor.sees("not an image", "#photo-error [role=alert]")
    visitor.begins(png())
    visitor.presses("#run")
    visitor.sees("Describe a style", "#prompt-error [role=alert]")
    visitor.page.fill("#prompt textarea", "person: Fire; dog: Gold")
    visitor.presses("#run")
    visitor.sees("background", "#prompt-error [role=alert]")  # from the server
    prompt = visitor.page.locator("#prompt textarea")
    visits.sync_api.expect(prompt).to_have_attribute("aria-describedby", "prompt-error", timeout=visits.WAIT)
    visitor.page.fill("#prompt textarea", "Fire")
    for size in ("63", "4097", "", "12.5", "big"):
        visitor.page.fill("#size :is(input, textarea)", size)
        visitor.presses("#run")
        visitor.sees(f"The long side is '{size}'", "#size-error [role=alert]")
    chosen = {"name": "other.png", "mimeType": "image/png", "buffer": png()}
    visitor.page.locator("#more input[type=file]").set_input_files(chosen)
    visitor.sees("no settings", "#settings-error [role=alert]")


@pytest.mark.slow
def test_the_keyboard_suffices(visitor: Visitor) -> None:
    visitor.page.focus("#sample")
    visitor.page.keyboard.press("Enter")
    visitor.sees(re.compile("People cover|No people"))
    visitor.page.focus("#gallery input >> nth=0")
    visitor.page.keyboard.press("Space")
    prompt = visitor.page.locator("#prompt textarea")
    visits.sync_api.expect(prompt).to_have_value("Watercolor painting", timeout=visits.WAIT)
    visitor.page.keyboard.press("ArrowRight")
    visits.sync_api.expect(prompt).to_have_value(re.compile("The Great Wave"), timeout=visits.WAIT)
    visitor.page.focus("#more > button")
    visitor.page.keyboard.press("Enter")
    visitor.page.focus("#size :is(input, textarea)")
    visitor.page.keyboard.press("Control+A")
    visitor.page.keyboard.type("64")
    visitor.page.focus("#run")
    visitor.page.keyboard.press("Enter")
    visitor.sees("Done in")


@pytest.mark.slow
def test_the_last_of_quick_choices_stands(visitor: Visitor) -> None:
    visitor.presses("#run")
    visitor.sees("Drop a photo first", "#photo-error [role=alert]")
    visitor.begins(png())
    visitor.presses("#run")
    visitor.sees("Describe a style", "#prompt-error [role=alert]")
    visitor.page.evaluate("[...document.querySelectorAll('#gallery input')].slice(0, 4).forEach(each => each.click())")
    prompt = visitor.page.locator("#prompt textarea")
    visits.sync_api.expect(prompt).to_have_value(STYLES[3].prompt, timeout=visits.WAIT)
    visits.sync_api.expect(visitor.page.locator("#prompt-error")).to_be_hidden(timeout=visits.WAIT)
    chosen = visitor.page.locator("#gallery input:checked")
    visits.sync_api.expect(chosen).to_have_value(STYLES[3].label, timeout=visits.WAIT)
    visitor.page.focus("#prompt textarea")
    visitor.page.keyboard.press("Control+A")
    visitor.page.keyboard.type("oil  PAINTING ")  # the thumbnails follow
    visits.sync_api.expect(chosen).to_have_value("Oil painting", timeout=visits.WAIT)
    visitor.page.keyboard.type("s")
    visits.sync_api.expect(chosen).to_have_count(0, timeout=visits.WAIT)


@pytest.mark.slow
def test_on_a_phone_nothing_sticks_out(chromium: Any, site: Site) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
    with visiting(chromium, site.url, **phone, color_scheme="dark") as visitor:
        visitor.begins(png())
        visitor.page.fill("#prompt textarea", "Fire")
        visitor.stylises()
        assert visitor.page.evaluate("document.scrollingElement.scrollWidth") <= 390
        visitor.presses("button[role=tab]:has-text('People and background')")
        visitor.opens("#keys-panel")
        assert visitor.page.evaluate("document.scrollingElement.scrollWidth") <= 390


def odd_files() -> dict[str, bytes]:
    """Files that visitors drop, by name."""
    image = Image.open(io.BytesIO(png(64, 48)))
    whole, photo = png(64, 48), encoded(image, "JPEG")
    exif = Image.Exif()
    exif[274] = 6
    bomb = whole[:16] + (100_000).to_bytes(4, "big") * 2 + whole[24:]
    return {
        "empty.png": b"", "text.png": b"hello", "page.png": b"<html><script>alert(1)</script>", "nul.png": bytes(1000),
        "drawing.png": b"<svg xmlns='http://www.w3.org/2000/svg'/>", "cut.png": whole[: len(whole) // 2],
        "cut.jpg": photo[: len(photo) // 2], "header.png": whole[:30],
        "bomb.png": bomb, "zip.png": b"PK\3\4" + bytes(50),
        "pdf.png": b"%PDF-1.7\n" + bytes(50), "film.png": bytes(4) + b"ftypisom" + bytes(50),
        "dot.png": png(1, 1), "thin.png": png(16, 400), "small.png": png(15, 15), "junk.png": whole + bytes(500),
        "flipped.png": whole[:60] + b"\xff" + whole[61:], "ascii.png": b"P3\n2 2\n255\n" + b"0 " * 12,
        "binary.ppm": encoded(image, "PPM"), "grey.png": encoded(image.convert("L")),
        "one.png": encoded(image.convert("1")),
        "palette.png": encoded(image.convert("P")), "alpha.png": encoded(image.convert("RGBA")),
        "clear.png": encoded(Image.new("RGBA", (64, 48))), "deep.png": encoded(Image.new("I;16", (64, 48), 30000)),
        "cmyk.jpg": encoded(image.convert("CMYK"), "JPEG"), "turned.jpg": encoded(image, "JPEG", exif=exif),
        "profile.jpg": encoded(image, "JPEG", icc_profile=b"nonsense"),
        "film.gif": encoded(image, "GIF", save_all=True),
        "web.webp": encoded(image, "WEBP"), "scan.tif": encoded(image, "TIFF"), "old.bmp": encoded(image, "BMP"),
        "<b>ü'\".png": whole, "name.txt": whole, "no suffix": whole, "x" * 200 + ".png": whole,
    }  # fmt: skip


ANSWERED = """before => {
  const picture = document.querySelector("#photo img"), said = document.querySelector("#status").innerText;
  const isTaken = picture && picture.src !== before
    && picture.src.includes("sitting-") && /People cover|No people/.test(said);
  return isTaken || document.querySelector("#photo-error [role=alert], .toast-body");
}"""
TAKEN = """before => {
  const picture = document.querySelector("#photo img");
  return picture && picture.src !== before && picture.src.includes("sitting-");
}"""
PROMPTS = (
    "\u202egnp",
    "x" * 1001,
    "<img src=x onerror=alert(1)>",
    "person: ; background: ",
    "0.5 + 0.5",
    "🔥",
    "; : +",
)


def said(visitor: Visitor) -> str:
    """All messages on the page."""
    return " ".join(visitor.page.locator("#status, #photo-error, .toast-body").all_inner_texts())


def test_forty_kinds_of_input_are_tried() -> None:
    assert len(odd_files()) + len(PROMPTS) > 40


@pytest.mark.slow
def test_odd_files_are_answered_on_the_page(visitor: Visitor) -> None:
    visitor.presses("#sample")
    visitor.sees(re.compile("People cover|No people"))
    for name, content in odd_files().items():
        before = visitor.page.get_attribute("#photo img", "src")
        visitor.gives_photo(content, name)
        visitor.page.wait_for_function(ANSWERED, arg=before)
        assert "went wrong" not in said(visitor), name
        visitor.page.evaluate("document.querySelectorAll('.toast-close').forEach(button => button.click())")
        visitor.presses("#sample")
        visitor.sees(re.compile("People cover|No people"))


@pytest.mark.slow
def test_people_are_found_in_the_last_of_several_photos(visitor: Visitor, server: Server) -> None:
    """Those before it are still being looked at when it is given."""
    worker = psutil.Process(servers.worker_pid(server))
    shown = visitor.page.locator("#photo img")
    worker.suspend()
    try:
        for seed in range(3):
            before = shown.get_attribute("src") if seed else ""
            visitor.gives_photo(png(seed=seed), f"{seed}.png")
            visitor.page.wait_for_function(TAKEN, arg=before)
            visitor.sees("Looking for people")
    finally:
        worker.resume()
    visitor.sees(re.compile("People cover|No people"))


@pytest.mark.slow
def test_odd_prompts_are_answered_on_the_page(visitor: Visitor) -> None:
    visitor.begins(png())
    for prompt in PROMPTS:
        visitor.page.fill("#prompt textarea", prompt)
        visitor.presses("#run")
        visitor.sees(re.compile("Done in|Not started"))
        assert "went wrong" not in said(visitor), prompt


@pytest.mark.slow
def test_a_server_that_stops_in_mid_run_and_comes_back(chromium: Any, tiny_folder: Path, tmp_path: Path) -> None:
    with servers.prepared(tiny_folder, tmp_path) as arguments:
        server = serve.start(**arguments)
        try:
            with visits.site(tmp_path, server.url, server.keys) as site, visiting(chromium, site.url) as visitor:
                visitor.begins(png(), size=128)
                visitor.page.fill("#prompt textarea", "Fire")
                visitor.presses(MANY_STEPS)
                visitor.presses("#run")
                visitor.sees("Step", "#progress")
                serve.stop(arguments["state"])
                visitor.sees("Everything you entered is still here", "#server [role=alert]")
                visitor.presses("#retry")
                visitor.sees("Everything you entered is still here", "#server [role=alert]")
                server = serve.start(**arguments)
                visitor.presses("#retry")
                visitor.sees("The server is back")
                assert visitor.page.input_value("#prompt textarea") == "Fire"
                visitor.presses(FEW_STEPS)
                assert visitor.stylises()
        finally:
            serve.stop(arguments["state"])


@pytest.mark.slow
def test_others_must_sign_in(chromium: Any, server: Server, tmp_path: Path) -> None:
    secret = {"GENARTISAN_PAGE_PASSWORD": "correct horse"}
    with visits.site(tmp_path, server.url, server.keys, "--login", "ann", **secret) as site:
        assert httpx.get(f"{site.url}config", trust_env=False).status_code == 401
        with visiting(chromium, site.url) as visitor:
            visitor.page.get_by_label("username").fill("ann")
            visitor.page.get_by_label("password").fill("correct horse")
            visitor.page.keyboard.press("Enter")
            visitor.page.locator("#run").wait_for()


def test_the_page_is_not_shown_to_others_without_a_login(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ui", "--host", "0.0.0.0", "--no-browser"]) == 2
    assert "--login" in capsys.readouterr().err
    assert main(["ui", "--login", "ann", "--no-browser"]) == 2
    assert "GENARTISAN_PAGE_PASSWORD" in capsys.readouterr().err


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of axe-core, from npm; MPL-2.0, for tests only."""
    folder = tmp_path_factory.mktemp("axe")
    if (npm := shutil.which("npm")) is None:
        pytest.skip("no npm")
    packed = subprocess.run([npm, "pack", "axe-core@4.14.1"], cwd=folder, capture_output=True, timeout=120, check=False)
    if packed.returncode:
        pytest.skip("axe-core is not available")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        member = archive.extractfile("package/axe.min.js")
        assert member is not None
        return member.read().decode()


def check_access(visitor: Visitor, axe: str, state: str) -> None:
    """No finding that is critical or serious."""
    visitor.page.evaluate(axe)
    found = visitor.page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    grave = [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found if each["impact"] in GRAVE]
    assert grave == [], state


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_grave_in_any_state(chromium: Any, site: Site, axe: str, scheme: str) -> None:
    with visiting(chromium, site.url, color_scheme=scheme, bypass_csp=True, reduced_motion="reduce") as visitor:
        check_access(visitor, axe, "open")
        visitor.presses("#run")
        visitor.sees("Drop a photo first", "#photo-error [role=alert]")
        check_access(visitor, axe, "error")
        visitor.begins(png(320, 240), size=128)
        visitor.opens("#style-panel")
        check_access(visitor, axe, "photo")
        visitor.page.fill("#prompt textarea", "Fire")
        visitor.presses(MANY_STEPS)
        visitor.presses("#run")
        visitor.sees("Step", "#progress")
        check_access(visitor, axe, "running")
        visitor.presses("#cancel")
        visitor.sees("Cancelled")
        visitor.presses("label:has-text('Draft: one pass')")
        visitor.stylises()
        check_access(visitor, axe, "done")
        visitor.presses("button[role=tab]:has-text('People and background')")
        visitor.page.locator("#editor canvas").first.wait_for()
        visitor.opens("#keys-panel")
        visitor.presses("#box-people")
        visitor.sees("Corrected by you", "#regions-text")
        check_access(visitor, axe, "regions")


@pytest.mark.slow
def test_axe_finds_nothing_grave_without_a_server_or_at_the_login(chromium: Any, axe: str, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text('{"inference": {"key": "none"}}')
    nowhere = f"http://127.0.0.1:{Ports.free().inference}"
    secret = {"GENARTISAN_PAGE_PASSWORD": "correct horse"}
    with (
        visits.site(tmp_path, nowhere, str(tmp_path / "keys"), "--login", "ann", **secret) as site,
        visiting(chromium, site.url, bypass_csp=True) as visitor,
    ):
        visitor.page.get_by_label("username").wait_for()
        check_access(visitor, axe, "login")
        visitor.page.get_by_label("username").fill("ann")
        visitor.page.get_by_label("password").fill("correct horse")
        visitor.page.keyboard.press("Enter")
        visitor.sees("cannot be reached", "#server [role=alert]")
        check_access(visitor, axe, "away")


def test_the_page_closes_although_gradio_meets_a_stream_that_ends() -> None:
    attempts = list[bool]()

    class Blocks:
        def close(self, verbose: bool) -> None:
            attempts.append(verbose)
            if len(attempts) == 1:
                raise RuntimeError("deque mutated during iteration")

    launch.close(Blocks())
    assert attempts == [False, False]
