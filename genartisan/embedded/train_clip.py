"""Train the embedded CLIP from nothing but drawn styles: `python -m genartisan.embedded.train_clip --out DIR --seed 0`.

Writes DIR/drawings.npz, DIR/held_out.npz and DIR/statistics_*.npz (kept for the next run, `--resume` or not), and
DIR/clip.safetensors with DIR/clip.json, which names the architecture and the held-out figures.

The image tower reads fixed texture statistics (`genartisan.texture`), so these are taken once, of several disguises of
each drawing, and the linear layer that reads them is trained in minutes. Noise on the statistics spreads the reading
over all of them; without it a few decide, and a StyleNet moves just these. Photos with overdone colours and edges,
which are what a StyleNet tries first, are among the pictures that show no style.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from genartisan.compact_clip import CompactClip, TextureTower
from genartisan.embedded.brushes import blur, fractal_noise
from genartisan.embedded.captions import COLOUR_WORDS, keywords, random_wish, vocabulary
from genartisan.embedded.drawings import Drawings, generate
from genartisan.embedded.measure_clip import figures
from genartisan.embedded.space import AXES, TECHNIQUES, look_targets, look_vectors, wished
from genartisan.embedded.training import made_by
from genartisan.networks import standardized

ARCHITECTURE: dict[str, Any] = {
    "image_size": 96,
    "dim": len(AXES),
    "word_width": 64,
    "gap": 0.45,  # gap and content play no part in training: chosen after it by what the engine's pictures look like.
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
    out: Path, seed: int, *, count: int = 12032, steps: int = STEPS, resume: bool = False, processes: int = 2
) -> dict[str, Any]:
    """Draw, train, measure and save; returns what clip.json holds. What is drawn and taken already is kept.

    Without `resume` the drawings and statistics in `out` are made anew.
    """
    made = made_by(seed)
    out.mkdir(parents=True, exist_ok=True)
    if not resume:
        for stale in (*out.glob("statistics_*.npz"), out / "drawings.npz", out / "held_out.npz"):
            stale.unlink(missing_ok=True)
    drawings = _drawn(out / "drawings.npz", lambda: generate(count, seed, processes=processes))
    held_out = _drawn(out / "held_out.npz", lambda: generate(1088, seed + 1, held_out=True, processes=processes))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(seed)
    model = CompactClip(
        **ARCHITECTURE, vocabulary=vocabulary(), keywords=keywords(), styles=TECHNIQUES, colours=list(COLOUR_WORDS)
    ).to(device)
    seen = [see(model, drawings, out / f"statistics_{n}.npz", seed * 1000 + n) for n in range(DISGUISES)]
    seen.append(
        see(
            model, overdone(drawings, seed), out / "statistics_overdone.npz", seed * 1000 + DISGUISES, keep_colours=True
        )
    )
    train_tower(model.image_tower, seen, seed, steps)
    train_text(model, seed)
    return save(model.cpu(), held_out, out, made)


def _drawn(path: Path, make: Callable[[], Drawings]) -> Drawings:
    if not path.exists():
        drawn = make()
        np.savez(path, pictures=drawn.pictures, looks=drawn.looks, shares=drawn.shares)
    with np.load(path) as stored:
        return Drawings(stored["pictures"], stored["looks"], stored["shares"])


@torch.no_grad()
def see(model: CompactClip, drawings: Drawings, path: Path, seed: int, *, keep_colours: bool = False) -> Seen:
    """The statistics of every drawing in a disguise of its own; read from `path` if they were taken already.

    Of `MASKED` of them the colours are taken away; with `keep_colours` of none, but nothing is to be read off them.
    """
    if not path.exists():
        device, generator = next(model.parameters()).device, torch.Generator().manual_seed(seed)
        found, taken = [], []
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
            found.append(model.image_tower.statistics(pictures).cpu())
            taken.append(masks)
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, statistics=torch.cat(found).numpy(), masked=torch.cat(taken).numpy())
        partial.replace(path)
    with np.load(path) as stored:
        statistics, masks = torch.from_numpy(stored["statistics"]), torch.from_numpy(stored["masked"])
    return Seen(statistics, torch.from_numpy(drawings.looks), torch.from_numpy(drawings.shares), masks)


def overdone(drawings: Drawings, seed: int) -> Drawings:
    """Photos with colours mixed and stretched at random, edges sharpened, washes of colour: no style in any of them."""
    rng = np.random.default_rng([seed, 77])
    photos = np.flatnonzero(drawings.looks == 0)
    pictures = []
    for number in rng.choice(photos, OVERDONE):
        x = drawings.pictures[number].astype(np.float32) / 255
        if rng.random() < 0.5:
            x = x + rng.uniform(1, 6) * (x - blur(x, rng.uniform(0.8, 4)))
        mix = np.eye(3) * rng.uniform(0, 1.2) + rng.normal(0, rng.uniform(0.2, 0.9), (3, 3))
        x = (x - rng.uniform(0.25, 0.75)) @ mix.T * rng.uniform(0.8, 4) + rng.uniform(0, 1, 3)
        if rng.random() < 0.5:
            wash = np.stack([fractal_noise(rng, x.shape[:2], rng.uniform(20, 80), 2) for _ in range(3)], -1)
            x = x + rng.uniform(0.2, 1.2) * (wash - 0.5)
        if rng.random() < 0.4:
            x = blur(x.astype(np.float32), rng.uniform(0.5, 2))
        pictures.append(np.round(np.clip(x, 0, 1) * 255).astype(np.uint8))
    return Drawings(np.stack(pictures), np.zeros(OVERDONE, np.int64), np.ones(OVERDONE, np.float32))


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


def disguise(pictures: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """A random crop, flip, perspective with black outside, and tint: (B, 3, H, W) -> (B, 3, size, size) in [0, 1].

    The method warps each patch by such a perspective (distortion 0.5); a tower that never saw one takes the black
    wedges for a style. The tint keeps a colour alone from deciding.
    """
    count = len(pictures)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=generator) * (high - low) + low

    square = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])  # corners, (x, y)
    warped = (uniform(0, 1, 1, 1) < 0.7) * uniform(0, 0.5, 4, 2)  # how far each corner moves inwards
    zoom = uniform(0.65, 1, 1, 1)
    middle = uniform(-1, 1, 1, 2) * (1 - zoom)
    mirror = torch.where(uniform(0, 1, 1, 1) < 0.5, torch.tensor([-1.0, 1.0]), torch.tensor([1.0, 1.0]))
    matrix = homography(square * (1 - warped), square.expand(count, 4, 2))  # output -> crop, (B, 3, 3)
    line = torch.linspace(-1, 1, size)
    at = torch.stack((*torch.meshgrid(line, line, indexing="xy"), torch.ones(size, size)), -1).view(1, -1, 3)
    at = at @ matrix.transpose(1, 2)  # (B, size^2, 3)
    at = at[..., :2] / at[..., 2:]
    outside = (at.abs() > 1).any(2).view(count, 1, size, size)
    grid = (at * zoom * mirror + middle).view(count, size, size, 2)
    seen = F.grid_sample(pictures, grid, align_corners=False, padding_mode="reflection")  # (B, 3, size, size)
    mix = torch.eye(3) + 0.07 * torch.randn(count, 3, 3, generator=generator)
    tinted = (
        torch.einsum("bij,bjhw->bihw", mix, seen - 0.5) * uniform(0.8, 1.15, 1, 1, 1)
        + 0.5
        + uniform(-0.07, 0.07, 1, 1, 1)
    )
    noise = torch.randn(seen.shape, generator=generator) * uniform(0, 0.03, 1, 1, 1)
    return (tinted + noise).clamp(0, 1).masked_fill(outside, 0)


def two_tone(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """The pictures (B, 3, H, W) between two random colours, by their light: only the strokes are left to go by."""
    count = len(pictures)
    weights = torch.rand(count, 3, 1, 1, generator=generator) + 0.2
    light = (pictures * weights / weights.sum(1, keepdim=True)).sum(1, keepdim=True)  # (B, 1, H, W)
    dark = torch.rand(count, 3, 1, 1, generator=generator) * 0.5
    bright = 1 - torch.rand(count, 3, 1, 1, generator=generator) * 0.5
    return dark + (bright - dark) * light


def homography(source: Tensor, target: Tensor) -> Tensor:
    """The projective maps that take four points to four others: (B, 4, 2), (B, 4, 2) -> (B, 3, 3)."""
    (x, y), (u, v) = source.unbind(2), target.unbind(2)  # each (B, 4)
    one, none = torch.ones_like(x), torch.zeros_like(x)
    upper = torch.stack((x, y, one, none, none, none, -u * x, -u * y), 2)
    lower = torch.stack((none, none, none, x, y, one, -v * x, -v * y), 2)
    solved = torch.linalg.solve(torch.cat((upper, lower), 1), torch.cat((u, v), 1))  # (B, 8)
    return torch.cat((solved, torch.ones(len(solved), 1)), 1).view(-1, 3, 3)


def save(model: CompactClip, held_out: Drawings, out: Path, made: dict[str, Any]) -> dict[str, Any]:
    """Write clip.safetensors (float16) and clip.json; the figures are those of the stored weights."""
    stored = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    save_file(stored, out / "clip.safetensors")
    model.load_state_dict({name: value.float() for name, value in stored.items()})
    words = {"vocabulary": list(model.vocabulary), "keywords": sorted(model.keywords)}
    names = {"styles": list(model.techniques), "colours": list(model.colours)}
    about = {
        "architecture": {"kind": "compact_clip", **ARCHITECTURE, **names, **words},
        "figures": figures(model.eval(), held_out),
        **made,
    }
    (out / "clip.json").write_text(json.dumps(about, indent=1) + "\n")
    return about


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train the CLIP of the embedded bundle on drawn styles.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the drawings, statistics and weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=12032, help="training pictures to draw")
    parser.add_argument("--processes", type=int, default=2, help="for drawing")
    parser.add_argument("--threads", type=int, default=2, help="for training")
    parser.add_argument("--resume", action="store_true", help="keep the drawings and statistics in --out")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    about = train(
        options.out,
        options.seed,
        count=options.count,
        resume=options.resume,
        processes=options.processes,
    )
    print(json.dumps(about["figures"], indent=1))


if __name__ == "__main__":
    main()
