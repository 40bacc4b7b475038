"""Makes the style head: ``python -m genartisan.training.train_style_head --out DIR --seed 0``.

Drawings of every technique, some of them in each colour, are read by the style predictor; a look's style numbers are
the mean over its drawings, and a technique in a colour is the technique moved by what the colour does to all of them.
Where such numbers bury a photo under texture, they are drawn back towards a photo's until its edges are seen again. The
head learns to tell them from the text directions of what people say.
"""

from __future__ import annotations

import random
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from genartisan.config import StyleConfig
from genartisan.drawing.brushes import Array
from genartisan.drawing.captions import Wish, random_wish
from genartisan.drawing.colours import recolour
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
from genartisan.training.trainer import command, fit, save_checkpoint, save_network, trained_network

DRAWINGS, TINTED = 24, 2  # of a technique; of it in each colour
STEPS, BATCH, RATE = 3000, 64, 2e-3
SENTENCES = 6000  # that are learned from; as many as a tenth of them are never seen
REACHES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)  # of the way from a photo's numbers to a technique's: the first that will do
EDGES = 0.4  # edge share that will do, the median over `LOOKED_AT` photos
LOOKED_AT, LOOK = 12, 320  # photos, and their side in pixels


def train(
    out_dir: Path, seed: int = 0, *, steps: int = STEPS, resume: bool = False, device: torch.device | None = None
) -> dict[str, Any]:
    """Makes StyleHead and writes style_head.safetensors and style_head.json; returns the figures."""
    made, device = made_by(seed), device or torch.device("cpu")
    clip = cast(CompactClip, trained_network(out_dir, "clip", device))
    predictor = cast(StylePredictor, trained_network(out_dir, "predictor", device))
    pastiche = cast(PasticheNet, trained_network(out_dir, "pastiche", device))
    read = out_dir / f"style_numbers_{seed}.pt"
    if not (resume and read.is_file()):
        photo_numbers, plain, tinted = read_drawings(predictor, seed)
        reaches = reaches_of(pastiche, photo_numbers.mean(dim=0), plain, seed)
        save_checkpoint(read, {"numbers": (photo_numbers, plain, tinted), "reaches": reaches})
    stored = torch.load(read, weights_only=True)
    (photo_numbers, plain, tinted), reaches = stored["numbers"], stored["reaches"]
    of_looks = look_numbers(photo_numbers, plain, tinted, reaches)
    rng = random.Random(seed)
    wishes = [random_wish(rng) for _ in range(SENTENCES)]
    directions = torch.stack([direction_of(clip, wish) for wish in tqdm(wishes, desc="sentences", mininterval=5)])
    numbers = torch.stack([wished_numbers(of_looks, wish) for wish in wishes])  # (M, 100)
    held_out = SENTENCES // 10
    torch.manual_seed(seed)
    head = StyleHead(dim=clip.embedding_dim)
    deviation, mean = torch.std_mean(torch.stack(list(of_looks.values())), dim=0)
    head.load_state_dict({"mean": mean, "deviation": deviation}, strict=False)

    def loss_at(step: int) -> Tensor:
        chosen = torch.from_numpy(np.random.default_rng([seed, step]).integers(held_out, SENTENCES, BATCH))
        return F.mse_loss((head(directions[chosen]) - numbers[chosen]) / deviation, torch.zeros(BATCH, NUMBERS))

    checkpoint = out_dir / "style_head_checkpoint.pt"
    fit(head, loss_at, steps=steps, rate=RATE, decay=1e-3, checkpoint=checkpoint, resume=resume)
    head.half().float()  # measured is what is stored
    with torch.no_grad():
        error = ((head(directions[:held_out]) - numbers[:held_out]) / deviation).square().mean()
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
    """The text direction of a sentence, as a run takes it, ``(D,)``."""
    return text_direction(clip, wish.text, StyleConfig().source_text)


def wished_numbers(of_looks: dict[Look, Tensor], wish: Wish) -> Tensor:
    """The style numbers that a sentence asks for, ``(100,)``; of several techniques, the mean."""
    looks = [Look(name, wish.colour) for name in wish.techniques] or [Look(None, wish.colour)]
    return torch.stack([of_looks[look] for look in looks]).mean(dim=0)


@torch.no_grad()
def reaches_of(pastiche: PasticheNet, photo: Tensor, plain: dict[str, Tensor], seed: int) -> dict[str, float]:
    """How far from a photo's numbers to each technique's a picture may go and still show the photo's edges."""
    rng = np.random.default_rng([seed, len(TECHNIQUES)])
    judged = {Path(file).name for files in PHOTOS.values() for file in files}
    photos = {name: picture for name, picture in load_photos().items() if name not in judged}
    crops = np.stack([content(photos, rng, LOOK, share_drawn=0.3) for _ in range(LOOKED_AT)])
    pixels = torch.from_numpy(crops).permute(0, 3, 1, 2).float()  # (P, 3, S, S)
    everywhere = torch.ones(LOOK, LOOK, dtype=torch.bool)
    reaches = {}
    for name, numbers in tqdm(plain.items(), desc="reaches", mininterval=5):
        for reach in REACHES:
            reached = torch.lerp(photo, numbers.mean(dim=0), reach)[None]
            pictures = [pastiche(each[None], reached)[0] for each in pixels]
            shares = [edge_share(each, picture, everywhere) for each, picture in zip(pixels, pictures, strict=True)]
            reaches[name] = reach
            if np.median(shares) >= EDGES:
                break
    return reaches


def look_numbers(
    photos: Tensor, plain: dict[str, Tensor], tinted: dict[tuple[str, str], Tensor], reaches: dict[str, float]
) -> dict[Look, Tensor]:
    """The style numbers of every look, ``(100,)``.

    Args:
        photos: of photos, ``(N, 100)``.
        plain, tinted: of the drawings of each technique, and of it in each colour, ``(N, 100)``.
        reaches: of each technique, how much of the way from a photo is gone, 0-1.
    """
    photo = photos.mean(dim=0)
    full = {name: numbers.mean(dim=0) for name, numbers in plain.items()}
    techniques = {name: torch.lerp(photo, numbers, reaches[name]) for name, numbers in full.items()}
    found = {Look(): photo, **{Look(name): numbers for name, numbers in techniques.items()}}
    for colour in COLOURS:
        moves = {name: tinted[name, colour].mean(dim=0) - full[name] for name in TECHNIQUES}
        usual = torch.stack(list(moves.values())).mean(dim=0)
        found[Look(None, colour)] = photo + usual
        found |= {Look(name, colour): techniques[name] + 0.5 * (moves[name] + usual) for name in TECHNIQUES}
    return found


def read_drawings(
    predictor: StylePredictor, seed: int
) -> tuple[Tensor, dict[str, Tensor], dict[tuple[str, str], Tensor]]:
    """The style numbers of photos, of drawings, and of drawings in colours: what `look_numbers` takes."""
    with ProcessPoolExecutor(2) as pool:
        drawn = list(
            tqdm(
                pool.map(_drawings_of, TECHNIQUES, repeat(seed)), total=len(TECHNIQUES), desc="drawings", mininterval=5
            )
        )
    photos, rng = load_photos(), np.random.default_rng(seed)
    plain_photos = np.stack([content(photos, rng, SIDE, share_drawn=0) for _ in range(4 * DRAWINGS)])
    plain = {name: _read(predictor, pictures) for name, (pictures, _) in zip(TECHNIQUES, drawn, strict=True)}
    tinted = {
        (name, colour): _read(predictor, pictures)
        for name, (_, by_colour) in zip(TECHNIQUES, drawn, strict=True)
        for colour, pictures in by_colour.items()
    }
    return _read(predictor, plain_photos), plain, tinted


def _drawings_of(name: str, seed: int) -> tuple[Array, dict[str, Array]]:
    cv2.setNumThreads(1)
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
