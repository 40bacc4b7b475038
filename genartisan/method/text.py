"""From a sentence to a direction in CLIP space (eq 2, 10).

A sentence may be a blend, "0.6 watercolor + 0.4 neon", or have a text for each region, "person: pencil sketch;
background: The Starry Night". A backslash escapes a semicolon, a colon or a plus: "0.5 fire \\+ 0.5 ice" is one text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from genartisan.config import MAX_TEXTS
from genartisan.errors import InputError
from genartisan.networks.factory import Clip
from genartisan.validation import PERSON, PORTRAIT, shown

SHARE = re.compile(r"(\d*\.\d+)\s+(\S.*)")  # of a blend: a weight with its decimal point, and a text
COUNT = re.compile(r"\d+\s+\S.*")  # as a share, but for the point
REGION = re.compile(r"([A-Za-z][A-Za-z0-9_]*)\s*:\s*(\S.*)")  # a region's name and its text
ESCAPED = re.compile(r"\\([;:+])")
MIN_DIFFERENCE = 1e-3  # of unit vectors: shorter ones are rounding, the texts the same to this CLIP
# CLIPstyler's list: OpenAI's 80 ImageNet templates without "a photo of many {}.". open_clip has them too, but takes
# over a second to import, which workers with another kind of CLIP need not wait for.
TEMPLATES = (
    "a bad photo of a {}.", "a sculpture of a {}.", "a photo of the hard to see {}.",
    "a low resolution photo of the {}.", "a rendering of a {}.", "graffiti of a {}.", "a bad photo of the {}.",
    "a cropped photo of the {}.", "a tattoo of a {}.", "the embroidered {}.", "a photo of a hard to see {}.",
    "a bright photo of a {}.", "a photo of a clean {}.", "a photo of a dirty {}.", "a dark photo of the {}.",
    "a drawing of a {}.", "a photo of my {}.", "the plastic {}.", "a photo of the cool {}.",
    "a close-up photo of a {}.", "a black and white photo of the {}.", "a painting of the {}.", "a painting of a {}.",
    "a pixelated photo of the {}.", "a sculpture of the {}.", "a bright photo of the {}.", "a cropped photo of a {}.",
    "a plastic {}.", "a photo of the dirty {}.", "a jpeg corrupted photo of a {}.", "a blurry photo of the {}.",
    "a photo of the {}.", "a good photo of the {}.", "a rendering of the {}.", "a {} in a video game.",
    "a photo of one {}.", "a doodle of a {}.", "a close-up photo of the {}.", "a photo of a {}.", "the origami {}.",
    "the {} in a video game.", "a sketch of a {}.", "a doodle of the {}.", "a origami {}.",
    "a low resolution photo of a {}.", "the toy {}.", "a rendition of the {}.", "a photo of the clean {}.",
    "a photo of a large {}.", "a rendition of a {}.", "a photo of a nice {}.", "a photo of a weird {}.",
    "a blurry photo of a {}.", "a cartoon {}.", "art of a {}.", "a sketch of the {}.", "a embroidered {}.",
    "a pixelated photo of a {}.", "itap of the {}.", "a jpeg corrupted photo of the {}.", "a good photo of a {}.",
    "a plushie {}.", "a photo of the nice {}.", "a photo of the small {}.", "a photo of the weird {}.",
    "the cartoon {}.", "art of the {}.", "a drawing of the {}.", "a photo of the large {}.",
    "a black and white photo of a {}.", "the plushie {}.", "a dark photo of a {}.", "itap of a {}.",
    "graffiti of the {}.", "a toy {}.", "itap of my {}.", "a photo of a cool {}.", "a photo of a small {}.",
    "a tattoo of the {}.",
)  # fmt: skip


def nothing() -> None:
    """A callback without effect."""


@torch.inference_mode()
def text_embedding(clip: Clip, text: str) -> Tensor:
    """The L2-normalised mean embedding of ``text`` in all 79 templates, ``(D,)``, float32.

    Only the mean is normalised, as in CLIPstyler's code.
    """
    embeddings = clip.encode_text([template.format(text) for template in TEMPLATES])  # (79, D)
    return F.normalize(embeddings.float().mean(dim=0), dim=0)


class Part(NamedTuple):
    """One text of a blend; the weights of all add up to 1."""

    weight: float
    text: str


def blend(prompt: str) -> list[Part]:
    """The texts of a blend, "0.6 watercolor + 0.4 neon"; any other prompt is one text.

    Weights have a decimal point, so that "3 cats + 2 dogs" stays a sentence. Escapes stay.

    Raises:
        InputError: only some parts have a weight, all weights are 0, or there are more than `MAX_TEXTS`.
    """
    texts = re.split(r"\s+\+\s+", prompt)
    shares = [match for match in map(SHARE.fullmatch, texts) if match is not None]
    if len(texts) == 1 or not shares:
        return [Part(1.0, prompt)]
    total = math.fsum(float(match[1]) for match in shares)
    if len(shares) < len(texts) or not 0 < total < math.inf:
        raise InputError(
            f"prompt {shown(prompt)} is not a valid blend; give each text a weight, as in '0.6 watercolor + 0.4 neon', "
            "or write \\+ for a literal plus.",
            "prompt",
        )
    if len(shares) > MAX_TEXTS:
        raise InputError(
            f"prompt blends {len(shares)} texts; the limit is {MAX_TEXTS}. Leave some out, or write \\+ for a "
            "literal plus.",
            "prompt",
        )
    return [Part(float(match[1]) / total, match[2]) for match in shares if float(match[1]) > 0]


def has_whole_weights(prompt: str) -> bool:
    """Whether a prompt is one text that may be meant as a blend, such as "2 fire + 1 ice"."""
    texts = re.split(r"\s+\+\s+", prompt)
    return len(texts) > 1 and all(map(COUNT.fullmatch, texts))


def unescaped(text: str) -> str:
    """The text without the backslashes that escape semicolons, colons and pluses."""
    return ESCAPED.sub(r"\1", text)


def parts_of(prompt: str) -> list[str]:
    """The parts of a prompt between semicolons."""
    return [part.strip() for part in re.split(r"(?<!\\);", prompt) if part.strip()]


def lone_region(prompt: str, names: Collection[str]) -> str | None:
    """The one of ``names`` with which the single part of a prompt begins, as in "portrait: oil painting"."""
    parts = parts_of(prompt)
    match = REGION.fullmatch(parts[0]) if len(parts) == 1 else None
    return match[1] if match is not None and match[1].lower() in names else None


def by_region(prompt: str, names: Collection[str]) -> dict[str, str] | None:
    """The text of each region, as in "person: pencil sketch; background: The Starry Night".

    None if the prompt is one text for all: it has a single part, as "portrait: oil painting", or no part begins with
    one of ``names`` and a colon. Escapes stay.

    Raises:
        InputError: only some parts name a region, or a region has two texts.
    """
    parts = parts_of(prompt)
    matches = [REGION.fullmatch(part) for part in parts]
    matches = [match if match is not None and match[1].lower() in names else None for match in matches]
    if len(parts) < 2 or not any(matches):
        return None
    texts = dict[str, str]()
    for part, match in zip(parts, matches, strict=True):
        if match is None and part.endswith(":") and part[:-1].strip().lower() in names:
            raise InputError(f"prompt gives {part[:-1].strip()} no text; add one, or leave its part out.", "prompt")
        if match is None:
            raise InputError(
                f"prompt has the part {shown(part)}, which names no region; write 'region: text' in each part, with a "
                f"region of {', '.join(sorted(names))}, or \\; for a literal semicolon.",
                "prompt",
            )
        name = PORTRAIT if match[1].lower() == PERSON else match[1].lower()
        if name in texts:
            raise InputError(f"prompt gives {name} two texts; give it one, or write \\: for a literal colon.", "prompt")
        texts[name] = match[2]
    return texts


def text_direction(
    clip: Clip, prompt: str, source_text: str, negative_prompt: str | None = None, between: Callable[[], None] = nothing
) -> Tensor:
    """ΔT from ``source_text`` to ``prompt``, ``(D,)``, float32, of length 1, or 0 if the two mean the same.

    The direction of a blend is the weighted mean of its texts'. Its component towards ``negative_prompt`` is removed.

    Args:
        between: called before each text is embedded; what it raises ends the work.
    """
    between()
    source = text_embedding(clip, source_text)
    direction = _blended(clip, prompt, source, between)
    if negative_prompt is None:
        return direction
    unwanted = _blended(clip, negative_prompt, source, between)
    return _unit(direction - unwanted * torch.dot(direction, unwanted).clamp_min(0))


def _blended(clip: Clip, prompt: str, source: Tensor, between: Callable[[], None]) -> Tensor:
    """The direction from the embedding ``source`` to a prompt, ``(D,)``, of length 1 or 0."""
    parts = list[tuple[float, Tensor]]()
    for weight, text in blend(prompt):
        between()
        parts.append((weight, _unit(text_embedding(clip, unescaped(text)) - source)))
    return parts[0][1] if len(parts) == 1 else _unit(torch.stack([weight * each for weight, each in parts]).sum(dim=0))


def _unit(difference: Tensor) -> Tensor:
    return F.normalize(difference, dim=0) if float(difference.norm()) > MIN_DIFFERENCE else torch.zeros_like(difference)
