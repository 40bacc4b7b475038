"""What users ask for, drawn from a seed, and what must come back."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import Image, ImageChops, ImageStat

PROMPTS = (
    "Watercolor painting", "A sketch with black pencil", "Fire", "Neon light", "Stained glass", "Mosaic tiles",
    "The Starry Night by Vincent van Gogh", "The Great Wave off Kanagawa by Katsushika Hokusai", "Pop art",
    "person: A sketch with black pencil; background: Fire", "0.6 Watercolor painting + 0.4 Neon light",
)  # fmt: skip
SIDES = (480, 0.6)  # of photos: median of the long side in pixels, and deviation of its logarithm
SHORTEST, LONGEST = 96, 2400  # pixels of the long side
RATIOS = (1.0, 4 / 3, 3 / 2, 16 / 9)  # long side over short side
UNCHANGED = 1.0  # of 255: mean difference from the photo below which nothing was styled


class WrongAnswerError(Exception):
    """An answer that came in time and is not what was asked for."""


@dataclass(frozen=True)
class Request:
    """A request for a picture.

    Attributes:
        photo: a JPEG.
        params: settings and seed.
        sha256: of the picture in PNG, where a reference run has made it before.
    """

    photo: bytes
    prompt: str
    params: dict[str, Any] = field(hash=False)
    sha256: str | None = None

    @property
    def preset(self) -> str:
        return str(self.params["preset"])

    def check(self, content: bytes, report: Mapping[str, Any] | None = None) -> None:
        """Checks a picture, and the seed in its report.

        Raises:
            WrongAnswerError: it does not decode, is the unchanged photo, or has another size, seed or bytes.
        """
        if report is not None and report["seed"] != self.params["seed"]:
            raise WrongAnswerError(f"seed {report['seed']} instead of {self.params['seed']}")
        try:
            picture = Image.open(io.BytesIO(content))
            picture.load()
        except Exception as error:  # decoders raise many kinds
            raise WrongAnswerError(f"no picture: {error}") from error
        photo = Image.open(io.BytesIO(self.photo))
        size = tuple(round(side * long_side(self.params, report) / max(photo.size)) for side in photo.size)
        if picture.size != size:
            raise WrongAnswerError(f"{picture.size} pixels instead of {size}")
        changes = ImageStat.Stat(ImageChops.difference(picture.convert("RGB"), photo.convert("RGB").resize(size))).mean
        if max(changes) < UNCHANGED:
            raise WrongAnswerError("the unchanged photo")
        if self.sha256 is not None and hashlib.sha256(content).hexdigest() != self.sha256:
            raise WrongAnswerError("other bytes than in the reference run")

    def as_reference(self, content: bytes) -> Request:
        """The same request, whose answer is known."""
        self.check(content)
        return replace(self, sha256=hashlib.sha256(content).hexdigest())


def long_side(params: Mapping[str, Any], report: Mapping[str, Any] | None = None) -> int:
    """The long side of the finished picture in pixels."""
    config = params if report is None else report["config"]
    return int(config.get("output_size") or config["size"])


@dataclass(frozen=True)
class Workload:
    """The distribution of requests.

    Attributes:
        presets: weights by preset.
        params: settings of every request; ``size`` among them, so that an answer's size is known.
        references: requests whose answers are known, and ``share`` how many of all requests they are.
    """

    presets: Mapping[str, float]
    params: Mapping[str, Any]
    references: tuple[Request, ...] = ()
    share: float = 0.0

    def draw(self, rng: random.Random) -> Request:
        """A request; equal generators draw equal ones."""
        if self.references and rng.random() < self.share:
            return rng.choice(self.references)
        preset = rng.choices(list(self.presets), list(self.presets.values()))[0]
        params = {**self.params, "preset": preset, "seed": rng.randrange(2**31)}
        return Request(draw_photo(rng), rng.choice(PROMPTS), params)


def draw_photo(rng: random.Random) -> bytes:
    """A bright disc before a gradient, in random colours, size and shape, as JPEG."""
    side = min(LONGEST, max(SHORTEST, round(SIDES[0] * rng.lognormvariate(0, SIDES[1]))))
    sides = (side, round(side / rng.choice(RATIOS)))
    size = sides if rng.random() < 0.5 else sides[::-1]
    ground, disc = (tuple(rng.randrange(64, 256) for _ in range(3)) for _ in range(2))
    photo = Image.composite(
        Image.new("RGB", size, ground), Image.new("RGB", size), Image.linear_gradient("L").resize(size)
    )
    across = max(8, round(min(size) * rng.uniform(0.3, 0.7)))
    mask = Image.radial_gradient("L").resize((across, across)).point(lambda value: 255 if value < 128 else 0)
    photo.paste(disc, (rng.randrange(size[0] - across + 1), rng.randrange(size[1] - across + 1)), mask)
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def in_json(content: bytes) -> tuple[bytes, dict[str, Any]]:
    """Picture and report of a JSON answer."""
    answer = json.loads(content)
    return base64.b64decode(answer["photo"]), answer["report"]
