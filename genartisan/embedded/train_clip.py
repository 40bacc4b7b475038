"""Makes the CLIP from nothing but drawn styles: ``python -m genartisan.embedded.train_clip --out DIR --seed 0``.

Beside the network DIR holds drawings_*.npz and statistics_*.npz, which take most of the time; a run with ``--resume``
keeps them. Takes about four minutes on one CPU core.

The image tower reads fixed texture statistics (`genartisan.texture`). Means and covariances of these, over drawings in
several disguises, are all it needs: a style is where its pictures lie on average. The text tower, which is trained,
learns where the pictures lie that a sentence asks for.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from genartisan.compact_clip import CompactClip, TextureTower
from genartisan.embedded.captions import Wish, keywords, random_wish, vocabulary
from genartisan.embedded.disguises import disguise
from genartisan.embedded.drawings import NUMBER, Drawings, generate
from genartisan.embedded.measure_clip import figures
from genartisan.embedded.space import COLOURS, LOOKS, TECHNIQUES, Look
from genartisan.embedded.training import command, made_by, save_network
from genartisan.networks import standardized

ARCHITECTURE: dict[str, Any] = {
    "image_size": 96,
    "word_width": 64,
    "gap": 0.48,  # the less, the fewer patches are finished, at a cosine of 0.3, before they look like their style
}
DISGUISES = 2  # of each drawing
SHRINKAGE = 1.0  # squared deviations. 0.1 retrieves more held-out drawings, 1 and above give better pictures
COUNT = 20032  # drawings
PRIOR = 8  # disguised drawings: what is expected of a technique in a colour counts as much
SCALE = 30.0  # of the cosines in the cross-entropy
TEXT_STEPS, TEXT_BATCH, TEXT_RATE, TEXT_DECAY = 3000, 96, 2e-3, 0.02


def train(
    out_dir: Path,
    seed: int = 0,
    *,
    steps: int = TEXT_STEPS,
    count: int = COUNT,
    resume: bool = False,
    device: torch.device | None = None,
) -> dict[str, Any]:
    """Makes CompactClip and writes clip.safetensors and clip.json; returns the figures, those of the stored weights.

    With `resume` the drawings and statistics in `out_dir` are kept; without it they are made anew.

    Args:
        steps: of the text tower's training.
        count: drawings.
    """
    made, device = made_by(seed), device or torch.device("cpu")
    out_dir.mkdir(parents=True, exist_ok=True)
    if not resume:
        for stale in (*out_dir.glob("statistics_*.npz"), *out_dir.glob("drawings_*.npz")):
            stale.unlink()
    run = f"{seed}_{count}"  # another run's files are not taken for this one's
    drawings = Drawings(**kept(out_dir / f"drawings_{run}.npz", lambda: vars(generate(count, seed))))
    path = out_dir / f"drawings_held_out_{run}.npz"
    held_out = Drawings(**kept(path, lambda: vars(generate(1088, seed + 1, held_out=True))))
    torch.manual_seed(seed)
    words: dict[str, Any] = {
        "vocabulary": vocabulary(),
        "keywords": keywords(),
        "styles": list(TECHNIQUES),
        "colours": list(COLOURS),
    }
    model = CompactClip(**ARCHITECTURE, **words).to(device)
    seen = [see(model, drawings, out_dir / f"statistics_{run}_{n}.npz", seed * 1000 + n) for n in range(DISGUISES)]
    statistics, looks = torch.cat(seen).to(device), torch.from_numpy(drawings.looks).repeat(DISGUISES).to(device)
    model.image_tower.measure(statistics, looks, SHRINKAGE)
    train_text(model, look_means(model.image_tower, statistics, looks), seed, steps)
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
def see(model: CompactClip, drawings: Drawings, path: Path, seed: int) -> Tensor:
    """The statistics (N, count) of every drawing, each in a disguise; read from `path` if they were taken already."""

    def taken() -> dict[str, Any]:
        device, generator = next(model.parameters()).device, torch.Generator().manual_seed(seed)
        statistics = []
        for first in tqdm(range(0, len(drawings.looks), 64), desc=path.stem, mininterval=5):
            pictures = torch.from_numpy(drawings.pictures[first : first + 64]).permute(0, 3, 1, 2).float() / 255
            pictures = disguise(pictures, model.image_size, generator)  # (B, 3, S, S)
            seen = standardized(pictures.to(device), model.mean, model.std)
            statistics.append(model.image_tower.statistics(seen).cpu())
        return {"statistics": torch.cat(statistics).numpy()}

    return torch.from_numpy(kept(path, taken)["statistics"])


@torch.no_grad()
def look_means(tower: TextureTower, statistics: Tensor, looks: Tensor) -> Tensor:
    """Where the pictures of each of LOOKS lie on average, unit vectors (LOOKS, D); zeros for a look without pictures.

    A technique in a colour has few pictures of its own, so its mean is drawn a little towards the technique's mean
    moved by what the colour does to all techniques.
    """
    sums, counts = statistics.new_zeros(len(LOOKS), tower.dim), looks.bincount(minlength=len(LOOKS)).unsqueeze(1)
    for first in range(0, len(looks), 4096):
        some = slice(first, first + 4096)
        sums.index_add_(0, looks[some], tower.embed(statistics[some]))
    means = sums / counts.clamp_min(1)  # (LOOKS, D)
    plain = torch.tensor([NUMBER[Look(name)] for name in TECHNIQUES], device=looks.device)
    for colour in COLOURS:
        both = torch.tensor([NUMBER[Look(name, colour)] for name in TECHNIQUES], device=looks.device)
        shown = ((counts[both] > 0) & (counts[plain] > 0)).squeeze(1)  # (techniques,)
        shift = (means[both] - means[plain])[shown].sum(0) / shown.sum().clamp_min(1)  # (D,)
        expected = means[plain] + shift  # (techniques, D)
        means[both] = (sums[both] + PRIOR * expected) / (counts[both] + PRIOR)
    return F.normalize(means, dim=1)


def wished(means: Tensor, wish: Wish) -> Tensor:
    """Where the pictures lie that a sentence asks for, a unit vector (D,); of several techniques, in the middle."""
    looks = [Look(name, wish.colour) for name in wish.techniques] or [Look(None, wish.colour)]
    return F.normalize(torch.stack([means[NUMBER[look]] for look in looks]).sum(0), dim=0)


def train_text(model: CompactClip, means: Tensor, seed: int, steps: int) -> None:
    """Teach the text tower where sentences lie: CLIP's contrastive loss over a batch of them, and the cosine.

    The contrast is between what sentences do not have in common: all textures together lie in one part of the space.
    """
    rng = random.Random(seed)
    middle = means[means.norm(dim=1) > 0].mean(0)  # (D,)
    optimiser = torch.optim.AdamW(model.text_tower.parameters(), TEXT_RATE, weight_decay=TEXT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in tqdm(range(steps), desc="texts", mininterval=5):
        wishes = [random_wish(rng) for _ in range(TEXT_BATCH)]
        points = torch.stack([wished(means, wish) for wish in wishes])  # (B, D)
        text = model.text_tower(model.tokens([wish.text for wish in wishes]))  # (B, D)
        apart, read = (F.normalize(places - middle, dim=1) for places in (points, text))
        same = (points @ points.T > 0.9999).float()  # sentences that ask for the same
        loss = F.cross_entropy(SCALE * read @ apart.T, same / same.sum(1, keepdim=True))
        loss = loss + 4 * (1 - (read * apart).sum(1)).mean() + 4 * (1 - (text * points).sum(1)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()


if __name__ == "__main__":
    command(train)
