"""Everything users get wrong, in one table: what is sent, and what the refusal has to say.

A case names the fields it changes in an otherwise good request. The command line, HTTP and gRPC must refuse it with the
same message.
"""

from __future__ import annotations

import io
import json
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

WIDTH, HEIGHT = 48, 40


def encoded(
    kind: str = "PNG", size: tuple[int, int] = (WIDTH, HEIGHT), mode: str = "RGB", value: Any = "teal"
) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, value).save(buffer, kind)
    return buffer.getvalue()


GOOD = {
    "photo": encoded(),
    "prompt": b"fire",
    "params": json.dumps({"size": 32, "steps": 1, "patches": 1, "patch_size": 16, "mode": "clipstyler"}).encode(),
}


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing: a bomb, were it believed."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :]


@dataclass(frozen=True)
class Case:
    """One mistake.

    Attributes:
        name: of the test.
        fields: form fields in place of the good ones; None leaves a field out.
        at: the field that the refusal names.
        says: a part of its message: the range, or the remedy.
        flags: the same mistake on the command line, where it can be made there.
    """

    name: str
    fields: dict[str, bytes | None]
    at: str
    says: str
    status: int = 400
    flags: list[str] | None = field(default_factory=list)


def of_photo(name: str, content: bytes, says: str, status: int = 400) -> Case:
    return Case(f"photo {name}", {"photo": content}, "photo", says, status)


def of_mask(name: str, content: bytes, says: str, status: int = 400) -> Case:
    artisan = json.dumps({**json.loads(GOOD["params"]), "mode": "artisan"}).encode()
    return Case(f"mask {name}", {"mask": content, "params": artisan}, "mask", says, status, ["--set", "mode=artisan"])


def of_style_image(name: str, content: bytes, says: str, status: int = 400) -> Case:
    return Case(f"style picture {name}", {"style_image": content}, "style_image", says, status, flags=None)


def of_prompt(name: str, content: str, says: str) -> Case:
    return Case(f"prompt {name}", {"prompt": content.encode()}, "prompt", says)


def of_params(at: str, value: Any, says: str) -> Case:
    """One setting, by its dotted name."""
    tree: Any = value
    for key in reversed(at.split(".")):
        tree = {key: tree}
    flags = (
        [f"--{at}", str(value)]
        if at in ("seed", "preset") and not isinstance(value, bool | None)
        else ["--set", f"{at}={json.dumps(value)}"]
    )
    return Case(f"{at}={str(value)[:30]}", {"params": json.dumps(tree).encode()}, at, says, flags=flags)


def only_served(name: str, fields: dict[str, bytes | None], at: str, says: str) -> Case:
    """A mistake that the command line leaves no room for."""
    return Case(name, fields, at, says, flags=None)


NAN, INFINITY = float("nan"), float("inf")
PHOTOS = [
    of_photo("empty", b"", "0 bytes"),
    of_photo("text", b"just some words, no picture\n" * 20, "send one of JPEG, PNG", 415),
    of_photo("SVG", b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>', "SVG", 415),
    of_photo("PDF", b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n", "send one of", 415),
    of_photo("HTML", b"<!doctype html><title>404 Not Found</title>", "send one of", 415),
    of_photo("zip", b"PK\x03\x04" + bytes(60), "send one of", 415),
    of_photo("icon", encoded("ICO"), "send one of", 415),
    of_photo("plain PPM", b"P3 48 40 255\n" + b"0 " * 5760, "save it as a binary one", 415),
    of_photo("AVIF cut short", b"\x00\x00\x00\x20ftypavif" + bytes(100), "send it whole"),
    of_photo("video", b"\x00\x00\x00\x20ftypisom" + bytes(100), "send one of", 415),
    of_photo("zeros", bytes(5000), "send one of", 415),
    of_photo("signature only", b"\x89PNG\r\n\x1a\n", "send one of", 415),
    of_photo("PNG cut short", encoded()[:-40], "send it whole"),
    of_photo("JPEG cut short", encoded("JPEG", (400, 300))[:700], "send it whole"),
    of_photo("WebP cut short", encoded("WEBP", (400, 300))[:60], "photo"),
    of_photo("damaged", flipped(encoded(), 60), "photo"),
    of_photo("bomb", png_header(60_000, 60_000), "pixels", 413),
    of_photo("80 megapixels", png_header(10_000, 8_000), "80,000,000 pixels", 413),
    of_photo("1x1", encoded(size=(1, 1)), "at least 16"),
    of_photo("15 pixels high", encoded(size=(100, 15)), "at least 16"),
    of_photo("40000x20", encoded(size=(40_000, 20)), "at most 16"),
]
MASKS = [
    of_mask("of another size", encoded(size=(40, 48), mode="L", value=255), "photo's size"),
    of_mask("text", b"left half", "send one of", 415),
    of_mask("empty", b"", "0 bytes"),
    of_mask("of 0 and 1", encoded(mode="L", value=1), "white (255)"),
    of_mask("cut short", encoded("JPEG")[:200], "mask"),
    of_mask("bomb", png_header(60_000, 60_000), "pixels", 413),
]
STYLE_IMAGES = [
    of_style_image("empty", b"", "0 bytes"),
    of_style_image("text", b"like the sea", "send one of", 415),
    of_style_image("cut short", encoded()[:-40], "send it whole"),
    of_style_image("bomb", png_header(60_000, 60_000), "pixels", 413),
    of_style_image("80 megapixels", png_header(10_000, 8_000), "80,000,000 pixels", 413),
    of_style_image("1x1", encoded(size=(1, 1)), "at least 16"),
]
PROMPTS = [
    of_prompt("empty", "", "describe a style"),
    of_prompt("blank", " \t\n ", "describe a style"),
    of_prompt("10,000 characters", "fire " * 2000, "at most 1000"),
    of_prompt("control characters", "fire\x07\x1b[2J", "plain text"),
    of_prompt("zero byte", "fire\x00", "plain text"),
    of_prompt("reversed", "fire\u202eerif", "plain text"),
    of_prompt("noncharacter", "fire\ufffe", "plain text"),
    of_prompt("half a blend", "0.5 fire + ice", "\\+ for a literal plus"),
    of_prompt("half by regions", "person: ice; fire", "\\; for a literal semicolon"),
]
SETTINGS = [
    of_params("steps", -3, "from 0 to 5000"),
    of_params("steps", 5001, "from 0 to 5000"),
    of_params("steps", 1.5, "from 0 to 5000"),
    Case(
        "no steps from a random start",
        {"params": b'{"preset": "paper", "steps": 0}'},
        "start",
        "must be draft",
        flags=["--preset", "paper", "--set", "steps=0"],
    ),
    of_params("steps", "12", "integer"),
    of_params("steps", True, "integer"),
    of_params("steps", None, "integer"),
    of_params("steps", [4], "integer"),
    of_params("size", 31, "from 32 to 2048"),
    of_params("output_size", 31, "from 32 to 4096"),
    of_params("size", 10**30, "from 32 to 2048"),
    of_params("contrast", NAN, "finite"),
    of_params("contrast", INFINITY, "finite"),
    of_params("contrast", -0.1, "from 0 to 4"),
    of_params("learning_rate", -1e-3, "from 0 to 0.1"),
    of_params("numbers_rate", 2, "from 0 to 1"),
    of_params("style_image_share", 1.5, "from 0 to 1"),
    of_params("lambda_draft", -1, "from 0"),
    of_params("grain", 0.05, "known are"),
    of_params("start", "bundle", "draft"),
    of_params("learning_rate", "fast", "number"),
    of_params("patches", 0, "from 1 to 256"),
    of_params("patches", 257, "from 1 to 256"),
    of_params("threshold", 2.5, "from 0 to 2"),
    of_params("timeout_s", 0, "above 0"),
    of_params("timeout_s", NAN, "finite"),
    of_params("mode", "cubist", "artisan"),
    of_params("mode", 3, "artisan"),
    of_params("decision_rule", "some", "any"),
    of_params("source_text", "", "at least 1 character"),
    of_params("stepps", 4, "known are"),
    of_params("x" * 50_000, 4, "known are"),
    of_params("regions.portrait.wieght", 0.5, "known are share, weight"),
    of_params("regions.portrait.weight", "much", "number"),
    of_params("regions.portrait.weight", 11, "from 0 to 10"),
    of_params("regions.portrait", 3, "object"),
    of_params("regions.sky", {"weight": 0.5}, "send a mask of that name"),
    of_params("regions", [], "object"),
    of_params("preset", "best", "paper"),
    of_params("preset", 3, "paper"),
    of_params("seed", -1, "from 0 to"),
    of_params("seed", 1.5, "whole number"),
    of_params("seed", "lucky", "whole number"),
    of_params("seed", 2**63, "from 0 to"),
    of_params("seed", True, "whole number"),
    of_params("seed", None, "whole number"),
]
REQUESTS = [
    only_served("no photo", {"photo": None}, "photo", "curl -F"),
    only_served("no prompt", {"prompt": None}, "prompt", "curl -F"),
    only_served("params alone", {"photo": None, "prompt": None}, "photo", "missing"),
    only_served("unknown field", {"style": b"fire"}, "style", "known are photo, prompt, style_image, mask, params"),
    only_served("style picture of no region", {"style_image.Sky": encoded()}, "style_image.Sky", "use up to 32"),
    only_served(
        "two style pictures of a region",
        {"style_image": encoded(), "style_image.all": encoded()},
        "style_image.all",
        "send one",
    ),
    only_served("style picture of a region alone", {"prompt": None, "style_image.sky": encoded()}, "prompt", "missing"),
    only_served("field with a long name", {"s" * 20_000: b"fire"}, "s" * 80, "known are"),
    only_served("prompt not UTF-8", {"prompt": "Gemälde".encode("latin-1")}, "prompt", "UTF-8"),
    only_served("params not JSON", {"params": b"{steps: 4}"}, "params", "send an object"),
    only_served("params cut short", {"params": b'{"steps": 4'}, "params", "send an object"),
    only_served("params empty", {"params": b""}, "params", "send an object"),
    only_served("params not UTF-8", {"params": b"\xff\xfe{}"}, "params", "UTF-8"),
    only_served("params a list", {"params": b'[{"steps": 4}]'}, "params", "JSON object"),
    only_served("params a string", {"params": b'"fast"'}, "params", "JSON object"),
    only_served("params a number", {"params": b"60"}, "params", "JSON object"),
    only_served(
        "params deeply nested", {"params": b'{"regions":' * 50_000 + b"}" * 50_000}, "params", "nested too deeply"
    ),
    only_served(
        "params with a number of 5000 digits", {"params": b'{"steps": ' + b"9" * 5000 + b"}"}, "params", "digits"
    ),
]
CASES = [*PHOTOS, *MASKS, *STYLE_IMAGES, *PROMPTS, *SETTINGS, *REQUESTS]
