"""Trains the style head: ``python -m genartisan.training.train_style_head --out DIR --seed 0``.

The style predictor reads drawings of every technique, some of them in each colour. A technique's style numbers are the
mean over its drawings; a technique in a colour adds the shift that the colour causes in all techniques. Where such
numbers bury a photo under texture, they are interpolated towards a photo's until its edges are visible again. The head
learns to predict them from the text directions of prompts.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from genartisan.config import StyleConfig
from genartisan.drawing.brushes import Array
from genartisan.drawing.captions import Wish, random_wish
from genartisan.drawing.colours import recolour
from genartisan.drawing.parallel import run_parallel
from genartisan.drawing.photos import content, load_photos
from genartisan.drawing.space import COLOURS, TECHNIQUES, Look
from genartisan.drawing.styles import draw
from genartisan.evaluation.photos import PHOTOS
from genartisan.evaluation.preservation import edge_share
from genartisan.evaluation.provenance import made_by
from genartisan.method.text import text_direction
from genartisan.networks.compact_clip import CompactClip
from genartisan.networks.mobilenet import NUMBERS, SIDE, StylePredictor
from genartisan.networks.pastiche import PasticheNet
from genartisan.networks.style_head import StyleHead
from genartisan.training.trainer import Recipe, command, fit, save_checkpoint, save_network, trained_network

DRAWINGS, TINTED = 24, 2  # drawings per technique, and per technique and colour
RECIPE = Recipe(steps=3000, rate=2e-3, batch=64, decay=1e-3)
SENTENCES = 6000
HELD_OUT = SENTENCES // 10
REACHES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)  # interpolation weights between a photo's and a technique's numbers, to try
EDGES = 0.4  # smallest acceptable median edge share
EDGE_PHOTOS, EDGE_SIDE = 12, 320  # photos for that median, and their side in pixels


def train(
    out_dir: Path, seed: int = 0, *, steps: int = RECIPE.steps, resume: bool = False, device: torch.device | None = None
) -> dict[str, Any]:
    """Trains StyleHead and writes style_head.safetensors and style_head.json; returns the figures."""
    made, device = made_by(seed), device or torch.device("cpu")
    clip = cast(CompactClip, trained_network(out_dir, "clip", device))
    predictor = cast(StylePredictor, trained_network(out_dir, "predictor", device))
    pastiche = cast(PasticheNet, trained_network(out_dir, "pastiche", device))
    cache = out_dir / f"style_numbers_{seed}.pt"
    if not (resume and cache.is_file()):
        photo_numbers, plain, tinted = read_drawings(predictor, seed)
        reaches = reaches_of(pastiche, photo_numbers.mean(dim=0), plain, seed)
        save_checkpoint(cache, {"numbers": (photo_numbers, plain, tinted), "reaches": reaches})
    stored = torch.load(cache, weights_only=True)
    (photo_numbers, plain, tinted), reaches = stored["numbers"], stored["reaches"]
    of_looks = look_numbers(photo_numbers, plain, tinted, reaches)
    rng = random.Random(seed)
    wishes = [random_wish(rng) for _ in range(SENTENCES)]
    directions = torch.stack([direction_of(clip, wish) for wish in tqdm(wishes, desc="sentences", mininterval=5)])
    numbers = torch.stack([wished_numbers(of_looks, wish) for wish in wishes])  # (M, 100)
    torch.manual_seed(seed)
    head = StyleHead(dim=clip.embedding_dim)
    deviation, mean = torch.std_mean(torch.stack(list(of_looks.values())), dim=0)
    head.load_state_dict({"mean": mean, "deviation": deviation}, strict=False)

    def loss_at(step: int) -> Tensor:
        chosen = torch.from_numpy(np.random.default_rng([seed, step]).integers(HELD_OUT, SENTENCES, RECIPE.batch))
        return F.mse_loss((head(directions[chosen]) - numbers[chosen]) / deviation, torch.zeros(RECIPE.batch, NUMBERS))

    recipe, checkpoint = replace(RECIPE, steps=steps), out_dir / "style_head_checkpoint.pt"
    fit(head, loss_at, recipe, checkpoint=checkpoint, resume=resume)
    head.half().float()  # measure what is stored
    with torch.no_grad():
        error = ((head(directions[:HELD_OUT]) - numbers[:HELD_OUT]) / deviation).square().mean()
    figures = {
        "held_out_error_in_variances": round(float(error), 4),
        "drawings": DRAWINGS * len(TECHNIQUES),
        "reaches": {name: reach for name, reach in reaches.items() if reach < 1},
    }
    architecture = {"kind": "style_head", "dim": head.dim, "width": head.width}
    save_network(out_dir, "style_head", head, architecture, figures, made)
    return figures


@torch.no_grad()
def direction_of(clip: CompactClip, wish: Wish) -> Tensor:
    """The text direction of a prompt, as in a run, ``(D,)``."""
    return text_direction(clip, wish.text, StyleConfig().source_text)


def wished_numbers(of_looks: dict[Look, Tensor], wish: Wish) -> Tensor:
    """The target style numbers of a prompt, ``(100,)``: the mean over its techniques."""
    looks = [Look(name, wish.colour) for name in wish.techniques] or [Look(None, wish.colour)]
    return torch.stack([of_looks[look] for look in looks]).mean(dim=0)


@torch.no_grad()
def reaches_of(pastiche: PasticheNet, photo: Tensor, plain: dict[str, Tensor], seed: int) -> dict[str, float]:
    """For each technique, the largest of `REACHES` at which the pastiche network preserves the photos' edges."""
    rng = np.random.default_rng([seed, len(TECHNIQUES)])
    evaluated = {Path(file).name for files in PHOTOS.values() for file in files}
    photos = {name: picture for name, picture in load_photos().items() if name not in evaluated}
    crops = np.stack([content(photos, rng, EDGE_SIDE, share_drawn=0.3) for _ in range(EDGE_PHOTOS)])
    pixels = torch.from_numpy(crops).permute(0, 3, 1, 2).float()  # (P, 3, S, S)
    everywhere = torch.ones(EDGE_SIDE, EDGE_SIDE, dtype=torch.bool)
    reaches = {}
    for name, numbers in tqdm(plain.items(), desc="reaches", mininterval=5):
        for reach in REACHES:
            reached = torch.lerp(photo, numbers.mean(dim=0), reach)[None]
            pictures = [pastiche(crop[None], reached)[0] for crop in pixels]
            shares = [edge_share(crop, picture, everywhere) for crop, picture in zip(pixels, pictures, strict=True)]
            reaches[name] = reach
            if np.median(shares) >= EDGES:
                break
    return reaches


def look_numbers(
    photos: Tensor, plain: dict[str, Tensor], tinted: dict[tuple[str, str], Tensor], reaches: dict[str, float]
) -> dict[Look, Tensor]:
    """The style numbers of every look, ``(100,)``.

    Args:
        photos: style numbers of photos, ``(N, 100)``.
        plain, tinted: of drawings of each technique, and of each technique in each colour, ``(N, 100)``.
        reaches: of each technique, the interpolation weight between photo and technique, 0-1.
    """
    photo = photos.mean(dim=0)
    full = {name: numbers.mean(dim=0) for name, numbers in plain.items()}
    techniques = {name: torch.lerp(photo, numbers, reaches[name]) for name, numbers in full.items()}
    by_look = {Look(): photo, **{Look(name): numbers for name, numbers in techniques.items()}}
    for colour in COLOURS:
        shifts = {name: tinted[name, colour].mean(dim=0) - full[name] for name in TECHNIQUES}
        shift = torch.stack(list(shifts.values())).mean(dim=0)
        by_look[Look(None, colour)] = photo + shift
        by_look |= {Look(name, colour): techniques[name] + 0.5 * (shifts[name] + shift) for name in TECHNIQUES}
    return by_look


def read_drawings(
    predictor: StylePredictor, seed: int
) -> tuple[Tensor, dict[str, Tensor], dict[tuple[str, str], Tensor]]:
    """Style numbers of photos, drawings and drawings in colours: the arguments of `look_numbers`."""
    drawings = run_parallel(_drawings_of, TECHNIQUES, [seed] * len(TECHNIQUES), description="drawings")
    photos, rng = load_photos(), np.random.default_rng(seed)
    plain_photos = np.stack([content(photos, rng, SIDE, share_drawn=0) for _ in range(4 * DRAWINGS)])
    plain = {name: _read(predictor, pictures) for name, (pictures, _) in zip(TECHNIQUES, drawings, strict=True)}
    tinted = {
        (name, colour): _read(predictor, pictures)
        for name, (_, by_colour) in zip(TECHNIQUES, drawings, strict=True)
        for colour, pictures in by_colour.items()
    }
    return _read(predictor, plain_photos), plain, tinted


def _drawings_of(name: str, seed: int) -> tuple[Array, dict[str, Array]]:
    rng, photos = np.random.default_rng([seed, TECHNIQUES.index(name)]), load_photos()

    def drawing() -> Array:
        return draw(name, content(photos, rng, SIDE, share_drawn=0.1), rng)

    plain = np.stack([drawing() for _ in range(DRAWINGS)])
    return plain, {
        colour: np.stack([recolour(drawing(), colour, rng, rng.uniform(0.8, 1)) for _ in range(TINTED)])
        for colour in COLOURS
    }


@torch.no_grad()
def _read(predictor: StylePredictor, pictures: Array) -> Tensor:
    """Style numbers, ``(N, 100)``, of pictures ``(N, S, S, 3)``."""
    device = next(predictor.parameters()).device
    batches = torch.split(torch.from_numpy(pictures).permute(0, 3, 1, 2).float(), 16)
    return torch.cat([predictor(batch.to(device)).cpu() for batch in batches])


if __name__ == "__main__":
    command(train)
