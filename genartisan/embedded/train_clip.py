"""Trains the CLIP on nothing but drawn styles: ``python -m genartisan.embedded.train_clip --out DIR --seed 0``.

Beside the network DIR holds drawings.npz, held_out.npz and statistics_*.npz, which take most of the time; a run with
``--resume`` keeps them.

The image tower reads fixed texture statistics (`genartisan.texture`), so these are taken once, of several disguises of
each drawing, and the linear layer that reads them is trained in minutes. Noise on the statistics spreads the reading
over all of them; without it a few decide, and a StyleNet moves just these. Photos with overdone colours and edges,
which are what a StyleNet tries first, are among the pictures that show no style.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from genartisan.compact_clip import CompactClip, TextureTower
from genartisan.embedded.captions import keywords, random_wish, vocabulary
from genartisan.embedded.disguises import disguise, overdone, two_tone
from genartisan.embedded.drawings import Drawings, generate
from genartisan.embedded.measure_clip import figures
from genartisan.embedded.space import AXES, COLOURS, TECHNIQUES, look_targets, look_vectors, wished
from genartisan.embedded.training import command, made_by, save_network
from genartisan.networks import standardized

ARCHITECTURE: dict[str, Any] = {
    "image_size": 96,
    "dim": len(AXES),
    "word_width": 64,
    "gap": 0.45,  # gap and content play no part in training: chosen by pictures made with an earlier image tower.
    "content": 0.5,  # With less content a patch that has a style's colours and no strokes is rejected as finished
}
DISGUISES = 3  # of each drawing
MASKED = 0.3  # share of the pictures whose colours are taken away, so that strokes are learned and not read off colours
BATCH, STEPS, RATE, DECAY = 256, 2500, 2e-3, 0.2
NOISE = 0.7  # added to a statistic, in its deviations
OVERDONE = 3008  # pictures
SCALE = 12.0  # of the cosines in the cross-entropies
TEXT_STEPS, TEXT_BATCH, TEXT_RATE, TEXT_DECAY = 2000, 96, 2e-3, 0.02


@dataclass
class Seen:
    """What the tower is trained on: statistics (M, count) of pictures and what is known of each picture, (M,) each.

    Attributes:
        statistics: of disguised drawings.
        looks: their numbers in LOOKS.
        shares: how much of that look each shows.
        masked: whether the colours were taken away.
    """

    statistics: Tensor
    looks: Tensor
    shares: Tensor
    masked: Tensor


def train(
    out_dir: Path,
    seed: int = 0,
    *,
    steps: int = STEPS,
    count: int = 12032,
    resume: bool = False,
    device: torch.device | None = None,
) -> dict[str, Any]:
    """Trains CompactClip and writes clip.safetensors and clip.json; returns the figures, those of the stored weights.

    With `resume` the drawings and statistics in `out_dir` are kept; without it they are made anew.
    """
    made, device = made_by(seed), device or torch.device("cpu")
    out_dir.mkdir(parents=True, exist_ok=True)
    if not resume:
        for stale in (*out_dir.glob("statistics_*.npz"), out_dir / "drawings.npz", out_dir / "held_out.npz"):
            stale.unlink(missing_ok=True)
    drawings = Drawings(**kept(out_dir / "drawings.npz", lambda: vars(generate(count, seed))))
    held_out = Drawings(**kept(out_dir / "held_out.npz", lambda: vars(generate(1088, seed + 1, held_out=True))))
    torch.manual_seed(seed)
    words: dict[str, Any] = {
        "vocabulary": vocabulary(),
        "keywords": keywords(),
        "styles": list(TECHNIQUES),
        "colours": list(COLOURS),
    }
    model = CompactClip(**ARCHITECTURE, **words).to(device)
    seen = [see(model, drawings, out_dir / f"statistics_{n}.npz", seed * 1000 + n) for n in range(DISGUISES)]
    photos = overdone(drawings, OVERDONE, seed)
    path = out_dir / "statistics_overdone.npz"
    seen.append(see(model, photos, path, seed * 1000 + DISGUISES, keep_colours=True))
    train_tower(model.image_tower, seen, seed, steps)
    train_text(model, seed)
    model.cpu().eval().half().float()  # measured is what is stored
    measured = figures(model, held_out)
    save_network(out_dir, "clip", model, {"kind": "compact_clip", **ARCHITECTURE, **words}, measured, made)
    return measured


def kept(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The arrays in a file, which is made and written whole if it is not there."""
    if not path.exists():
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, **make())
        partial.replace(path)
    with np.load(path) as stored:
        return dict(stored)


@torch.no_grad()
def see(model: CompactClip, drawings: Drawings, path: Path, seed: int, *, keep_colours: bool = False) -> Seen:
    """The statistics of every drawing in a disguise of its own; read from `path` if they were taken already.

    Of `MASKED` of them the colours are taken away; with `keep_colours` of none, but nothing is to be read off them.
    """

    def taken() -> dict[str, Any]:
        device, generator = next(model.parameters()).device, torch.Generator().manual_seed(seed)
        statistics, masked = [], []
        for first in tqdm(range(0, len(drawings.looks), 64), desc=path.stem, mininterval=5):
            some = slice(first, first + 64)
            pictures = torch.from_numpy(drawings.pictures[some]).permute(0, 3, 1, 2).float() / 255  # (B, 3, 128, 128)
            pictures = disguise(pictures, model.image_size, generator)  # (B, 3, S, S)
            masks = torch.ones(len(pictures), dtype=torch.bool)
            if not keep_colours:
                whole = torch.from_numpy(drawings.shares[some]) == 1  # a mixture's share is told by its colours
                masks = (torch.rand(len(pictures), generator=generator) < MASKED) & whole  # (B,)
                pictures = torch.where(masks.view(-1, 1, 1, 1), two_tone(pictures, generator), pictures)
            pictures = standardized(pictures.to(device), model.mean, model.std)
            statistics.append(model.image_tower.statistics(pictures).cpu())
            masked.append(masks)
        return {"statistics": torch.cat(statistics).numpy(), "masked": torch.cat(masked).numpy()}

    stored = {name: torch.from_numpy(values) for name, values in kept(path, taken).items()}
    return Seen(looks=torch.from_numpy(drawings.looks), shares=torch.from_numpy(drawings.shares), **stored)


def train_tower(tower: TextureTower, seen: Sequence[Seen], seed: int, steps: int) -> None:
    """Fit the layer that reads the statistics: AdamW, one learning rate cycle, noise on the statistics."""
    device, generator = tower.head.weight.device, torch.Generator().manual_seed(seed)
    statistics, looks, shares, masked = (
        torch.cat([getattr(part, field) for part in seen]).to(device)
        for field in ("statistics", "looks", "shares", "masked")
    )
    tower.measure(statistics)
    truth = Truth(device)
    optimiser = torch.optim.AdamW(tower.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, steps + 1)
    bar = tqdm(range(steps), desc="tower", mininterval=5)
    for step in bar:
        index = torch.randint(len(looks), (BATCH,), generator=generator).to(device)
        known = looks[index], shares[index], masked[index]
        seen_as = tower.standardised(statistics[index])  # (B, count)
        style = tower.read(seen_as + NOISE * torch.randn_like(seen_as))  # (B, D)
        loss = truth.loss(style, *known)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if step % 100 == 0:
            right = truth.strokes_read(style) == truth.strokes[looks[index]].argmax(1)
            bar.set_postfix(loss=f"{loss.item():.2f}", strokes=f"{right.float().mean().item():.2f}", refresh=False)


class Truth:
    """What each look's embedding should be, and the loss of falling short of it."""

    def __init__(self, device: torch.device) -> None:
        self.points = look_vectors().to(device)  # (L, D)
        self.strokes, self.colours = (target.to(device) for target in look_targets())  # (L, K), (L, 1 + C)

    def loss(self, style: Tensor, looks: Tensor, shares: Tensor, masked: Tensor) -> Tensor:
        """Cross-entropies of the strokes and of the colours, and the cosine to (1 - share) photo + share look.

        The cross-entropies make it tell strokes from strokes whatever their colours; the cosine keeps the scale.

        Args:
            style: embeddings, unit vectors (B, D).
            looks: each picture's number (B,).
            shares: how much of that look it shows (B,), in [0, 1]; the rest is a photo.
            masked: whose colours are not to be read (B,), bool: only their strokes count.
        """
        share = shares.unsqueeze(1)  # (B, 1)
        strokes, colours, middle = (
            table[looks] * share + table[:1] * (1 - share) for table in (self.strokes, self.colours, self.points)
        )
        kinds = self.strokes.shape[1]
        none = style.new_full((len(style), 1), 0.3)  # half-way to a palette: its share of a finished drawing is 0.6
        found = torch.cat((none, style[:, kinds:]), 1)  # (B, 1 + C)
        entropy = F.cross_entropy(SCALE * style[:, :kinds], strokes)
        rest = F.cross_entropy(SCALE * found, colours, reduction="none") + 3 * (1 - F.cosine_similarity(style, middle))
        return entropy + (rest * ~masked).mean()

    def strokes_read(self, style: Tensor) -> Tensor:
        """The number in CLASSES of each embedding's strokes (B,)."""
        return style[:, : self.strokes.shape[1]].argmax(1)


def train_text(model: CompactClip, seed: int) -> None:
    """Teach the text tower where sentences lie: CLIP's contrastive loss over a batch of them, and the cosine."""
    rng, device = random.Random(seed), next(model.parameters()).device
    optimiser = torch.optim.AdamW(model.text_tower.parameters(), TEXT_RATE, weight_decay=TEXT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, TEXT_STEPS)
    for _ in tqdm(range(TEXT_STEPS), desc="texts", mininterval=5):
        wishes = [random_wish(rng) for _ in range(TEXT_BATCH)]
        points = torch.stack([wished(wish.techniques, wish.colour) for wish in wishes]).to(device)  # (B, D)
        text = model.text_tower(model.tokens([wish.text for wish in wishes]))  # (B, D)
        same = (points @ points.T > 0.999).float()  # sentences that ask for the same
        loss = F.cross_entropy(SCALE * text @ points.T, same / same.sum(1, keepdim=True))
        loss = loss + 4 * (1 - (text * points).sum(1)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()


if __name__ == "__main__":
    command(train)
