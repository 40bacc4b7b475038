"""Trains the start that ships with the embedded bundle: a StyleNet for any sentence that its CLIP can read.

``python -m genartisan.embedded.train_learned_start --out DIR --seed 0``

DIR has to hold the trained CLIP, VGG and StyleNet. It goes out from the StyleNet that copies; then it learns from
photos, drawn people and the sentences that CLIP was taught, on small pictures. Takes about 40 minutes of two cores.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from genartisan.compact_clip import CompactClip
from genartisan.embedded.canvas import Rng
from genartisan.embedded.captions import CAPTIONS, random_wish
from genartisan.embedded.space import TECHNIQUES
from genartisan.embedded.train_stylenet import Networks, known_and_held_out, random_picture
from genartisan.embedded.training import command, made_by, save_network, trained_network
from genartisan.engine import Run
from genartisan.regions import random_regions
from genartisan.start import LearnedStart
from genartisan.start_training import open_as_copy, random_config, train_start
from genartisan.stylenet import StyleNet

SIZES = ((128, 128), (112, 160), (160, 112), (160, 160))  # height and width of a picture, in pixels
WIDTH = 128  # of the hidden layers


def train(
    out_dir: Path, seed: int = 0, *, steps: int = 3000, resume: bool = False, device: torch.device | None = None
) -> dict[str, Any]:
    """Trains the learned start and writes learned_start.safetensors and learned_start.json; returns the figures.

    The figures are the losses of drafts of held-out photos, one in each technique, in the course of the training; at
    step 0 a draft is a copy of the photo.
    """
    made, device = made_by(seed), device or torch.device("cpu")
    clip = cast(CompactClip, trained_network(out_dir, "clip", device))
    architecture = {"dim": clip.embedding_dim, "width": WIDTH}
    torch.manual_seed(seed)
    start = LearnedStart(**architecture)
    copying = cast(StyleNet, trained_network(out_dir, "stylenet", device))
    open_as_copy(start, copying)
    start.to(device)
    networks = Networks(clip, trained_network(out_dir, "vgg", device), copying, start)

    known, held_out = known_and_held_out()
    unknown = list(held_out.values())

    def lesson(rng: Rng) -> Run:
        picture = random_picture(rng, known, SIZES[rng.integers(len(SIZES))])
        regions, sentence = random_regions(rng, picture.shape[:2]), random_sentence(rng)
        return networks.run(picture, regions, sentence, random_config(rng), rng)

    examples = []
    for number, technique in enumerate(TECHNIQUES):
        rng = np.random.default_rng([seed, 1, number])
        picture = random_picture(rng, [unknown[number % len(unknown)]], SIZES[0])
        examples.append(networks.run(picture, None, CAPTIONS[technique][0], random_config(rng), rng))
    checkpoint = out_dir / "learned_start_checkpoint.pt"
    curve = train_start(start, lesson, steps=steps, seed=seed, checkpoint=checkpoint, resume=resume, examples=examples)
    figures = {
        "steps": steps,
        "patch_loss": curve[-1]["patch"],
        "patch_loss_of_copies": curve[0]["patch"],
        "curve": curve,
    }
    save_network(out_dir, "learned_start", start.cpu(), {"kind": "learned_start", **architecture}, figures, made)
    return figures


def random_sentence(rng: Rng) -> str:
    """One of those that CLIP was taught, which asks for a style or a colour."""
    chance = random.Random(int(rng.integers(2**31)))
    while True:
        wish = random_wish(chance)
        if wish.techniques or wish.colour:
            return wish.text


if __name__ == "__main__":
    command(train)
