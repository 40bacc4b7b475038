"""Train the embedded CLIP from nothing but drawn styles: `python -m genartisan.embedded.train_clip --out DIR --seed 0`.

Writes DIR/drawings.npz and DIR/held_out.npz (kept for the next run), DIR/clip.ckpt after each epoch (`--resume` goes on
from it), and DIR/clip.safetensors with DIR/clip.json, which names the architecture and the held-out figures.

The image tower learns by free adversarial training (Shafahi et al., arXiv 1904.12843): each batch is used several
times, and the gradient to its pixels, which the backward pass gives for nothing, makes the next use harder. Without it
a tower's gradient is noise to the eye, and a StyleNet that follows it paints noise.
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
from torch import Tensor, nn
from tqdm import tqdm

from genartisan.compact_clip import CompactClip
from genartisan.embedded.captions import COLOUR_WORDS, keywords, random_wish, vocabulary
from genartisan.embedded.drawings import Drawings, generate
from genartisan.embedded.measure_clip import figures
from genartisan.embedded.space import AXES, TECHNIQUES, look_targets, look_vectors, wished
from genartisan.embedded.training import made_by

ARCHITECTURE: dict[str, Any] = {
    "image_size": 96,
    "widths": [24, 48, 96, 128],
    "dim": len(AXES),
    "word_width": 64,
    "gram": 12,
    "gap": 0.45,  # gap and content play no part in training: chosen after it by what the engine's pictures look like.
    "content": 0.5,  # With less content a patch that has a style's colours and no strokes is rejected as finished
}
BATCH = 32
DECAY = 0.02
SCALE = 12.0  # of the cosines in the cross-entropies
MASKED = 0.4  # share of the pictures whose colours are taken away, so that strokes are learned and not read off colours
TEXT_STEPS, TEXT_BATCH, TEXT_RATE = 2000, 96, 2e-3


@dataclass(frozen=True)
class Round:
    """A stretch of training with its own learning rate cycle.

    Attributes:
        epochs: how often every picture comes.
        rate: the highest learning rate.
        reach: the largest change of a pixel, of 1.
        replays: uses of a batch: the first with a little noise, the others with what the one before found harder.
    """

    epochs: int
    rate: float
    reach: float
    replays: int


# Strokes come first: under the adversary from the start the tower learns palettes and little else. The adversary's
# reach then makes gradients that draw.
ROUNDS = (Round(7, 3e-3, 4 / 255, 1), Round(2, 2e-3, 8 / 255, 2))


def train(
    out: Path,
    seed: int,
    *,
    count: int = 12032,
    rounds: Sequence[Round] = ROUNDS,
    resume: bool = False,
    processes: int = 2,
) -> dict[str, Any]:
    """Draw, train, measure and save; returns what clip.json holds: {"architecture": ..., "figures": ...}."""
    made = made_by(seed)
    out.mkdir(parents=True, exist_ok=True)
    drawings = _drawn(out / "drawings.npz", lambda: generate(count, seed, processes=processes))
    held_out = _drawn(out / "held_out.npz", lambda: generate(1088, seed + 1, held_out=True, processes=processes))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(seed)
    model = CompactClip(
        **ARCHITECTURE, vocabulary=vocabulary(), keywords=keywords(), styles=TECHNIQUES, colours=list(COLOUR_WORDS)
    ).to(device)
    checkpoint = out / "clip.ckpt"
    begun = resume and checkpoint.exists()
    stored: dict[str, Any] = torch.load(checkpoint, weights_only=True, map_location=device) if begun else {"done": 0}
    if stored["done"]:
        model.image_tower.load_state_dict(stored["model"])
    epoch, last = 0, sum(stretch.epochs for stretch in rounds)
    for stretch in rounds:
        first, end = epoch, epoch + stretch.epochs
        steps = stretch.epochs * (len(drawings.looks) // BATCH) * stretch.replays
        optimiser = torch.optim.AdamW(model.image_tower.parameters(), stretch.rate, weight_decay=DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, stretch.rate, steps + 1, pct_start=0.15)
        if first < stored["done"] < end:  # stopped within this round
            optimiser.load_state_dict(stored["optimiser"])
            schedule.load_state_dict(stored["schedule"])
        for epoch in range(max(first, stored["done"]), end):
            name, key = f"epoch {epoch + 1}/{last}", seed * 1000 + epoch
            train_epoch(model, optimiser, schedule, drawings, stretch, seed=key, name=name)
            state = {"model": model.image_tower.state_dict(), "done": epoch + 1}
            torch.save(state | {"optimiser": optimiser.state_dict(), "schedule": schedule.state_dict()}, checkpoint)
        epoch = end
    train_text(model, seed)
    return save(model.cpu(), held_out, out, made)


def _drawn(path: Path, make: Callable[[], Drawings]) -> Drawings:
    if not path.exists():
        drawn = make()
        np.savez(path, pictures=drawn.pictures, looks=drawn.looks, shares=drawn.shares)
    with np.load(path) as stored:
        return Drawings(stored["pictures"], stored["looks"], stored["shares"])


def train_epoch(
    model: CompactClip,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    drawings: Drawings,
    stretch: Round,
    *,
    seed: int,
    name: str,
) -> None:
    """Every picture once, in a seeded order and disguise, `stretch.replays` times in a row."""
    device, reach = next(model.parameters()).device, stretch.reach
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(drawings.looks), generator=generator)[: len(drawings.looks) // BATCH * BATCH]
    bar = tqdm(order.view(-1, BATCH), desc=name, mininterval=5)
    mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (model.mean, model.std))
    truth = Truth(device)
    model.train()
    for index in bar:
        looks = torch.from_numpy(drawings.looks)[index].to(device)  # (B,)
        shares = torch.from_numpy(drawings.shares)[index].to(device)  # (B,)
        pictures = (
            torch.from_numpy(drawings.pictures[index.numpy()]).permute(0, 3, 1, 2).float() / 255
        )  # (B, 3, 128, 128)
        pictures = disguise(pictures, model.image_size, generator)  # (B, 3, S, S)
        masked = (torch.rand(BATCH, generator=generator) < MASKED) & (shares.cpu() == 1)  # (B,)
        pictures = torch.where(masked.view(-1, 1, 1, 1), two_tone(pictures, generator), pictures)
        masked = masked.to(device)
        change = ((torch.rand(pictures.shape, generator=generator) - 0.5) * reach).to(device)
        pictures = pictures.to(device)
        for _ in range(stretch.replays):
            change.requires_grad_()
            style = model.image_tower(((pictures + change).clamp(0, 1) - mean) / std)  # (B, D)
            loss = truth.loss(style, looks, shares, masked)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            assert change.grad is not None
            change = (change.detach() + 0.8 * reach * change.grad.sign()).clamp(-reach, reach)
            nn.utils.clip_grad_norm_(model.image_tower.parameters(), 1.0)
            optimiser.step()
            schedule.step()
        right = truth.strokes_read(style) == truth.strokes[looks].argmax(1)
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
    optimiser = torch.optim.AdamW(model.text_tower.parameters(), TEXT_RATE, weight_decay=DECAY)
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
    parser.add_argument("--out", type=Path, required=True, help="folder for the drawings, checkpoints and weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=12032, help="training pictures to draw")
    parser.add_argument("--processes", type=int, default=2, help="for drawing")
    parser.add_argument("--threads", type=int, default=2, help="for training")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --out")
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
