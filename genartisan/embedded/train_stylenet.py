"""Trains the StyleNet that a request starts from: one that copies its input, and learns strokes fast.

``python -m genartisan.embedded.train_stylenet --out DIR --seed 0``

DIR has to hold the trained CLIP and VGG, because the second part of the training runs the engine on them. Takes about
half an hour of one CPU core, and uses two.

First it learns to copy. Then it is *primed*, by Reptile (Nichol et al., arXiv 1803.02999): again and again the engine
optimises it for one picture and one style, the first few steps of a request, and it moves a little of the way; then it
learns to copy again. So it stays a copy of the photo at step 1, but one whose inner maps already hold what strokes are
made of, and which withstands Adam's first steps, when every weight moves by a full learning rate.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from genartisan.compact_clip import CompactClip
from genartisan.config import StyleConfig, preset
from genartisan.embedded.canvas import Array, Rng
from genartisan.embedded.people import draw_scene
from genartisan.embedded.photos import load_photos
from genartisan.embedded.space import COLOURS, TECHNIQUES
from genartisan.embedded.train_fcn import FIRST_SEED
from genartisan.embedded.training import command, fit, made_by, save_checkpoint, save_network, trained_network
from genartisan.engine import Run
from genartisan.evaluate import PHOTOS
from genartisan.images import Photo
from genartisan.patches import plan
from genartisan.regions import RegionMap
from genartisan.start import LearnedStart
from genartisan.stylenet import ResidualBlock, StyleNet, random_stylenet
from genartisan.text import text_direction

# Measured, never trained on: the photos that `genartisan evaluate` makes pictures of. Some stand behind drawn people.
HELD_OUT = tuple(Path(name).name for names in PHOTOS.values() for name in names)
SCENES = 200  # drawn people among the photos
SLOPE = 4.8  # of the logits over the brightness: the straight line that a sigmoid turns into the least error
TASKS = 2  # a picture and a style each, side by side: a step of Reptile goes towards where they end on average
PACE = 0.15  # the share of that way, at first; it falls to nothing
COPIES = 3  # steps of learning to copy after each step of Reptile
COPY_RATE = 1e-3
COLOURED = 0.25  # share of the tasks with a colour word
# A task is the beginning of a request of preset `fast`, on a small picture and faster; no threshold ends it early.
TASK = preset("fast", {
    "mode": "clipstyler", "steps": 16, "coarse_share": 0.0, "halve_every": 1000, "patches": 4, "patch_size": 96,
    "threshold": 0.0, "learning_rate": 3e-3, "start": "identity",
})  # fmt: skip
SAVE_EVERY = 10  # steps of Reptile


def train(
    out_dir: Path,
    seed: int = 0,
    *,
    steps: int = 300,
    rounds: int = 300,
    batch: int = 4,
    resume: bool = False,
    device: torch.device | None = None,
) -> dict[str, Any]:
    """Trains the start and writes stylenet.safetensors and stylenet.json; returns the figures.

    Args:
        steps: of learning to copy.
        rounds: of priming.
    """
    made, device = made_by(seed), device or torch.device("cpu")
    model = random_stylenet(seed)
    open_straight_path(model)
    known, held_out = known_and_held_out()

    def loss_at(step: int) -> Tensor:
        rng = np.random.default_rng([seed, step])
        size = (int(rng.choice((96, 128, 160, 192))), int(rng.choice((96, 128, 160))))
        return copy_loss(model, rng, known, size, batch, device)

    checkpoints = out_dir / "stylenet_checkpoint.pt", out_dir / "stylenet_primed.pt"
    if not resume:
        checkpoints[1].unlink(missing_ok=True)  # an earlier run's: a later --resume must not take it for this one's
    fit(model, loss_at, steps=steps, rate=1e-3, checkpoint=checkpoints[0], resume=resume, device=device)
    prime(model, out_dir, known, seed=seed, rounds=rounds, checkpoint=checkpoints[1], resume=resume, device=device)
    figures = {
        "psnr_db": {name: round(psnr(model, photo), 2) for name, photo in held_out.items()},
        "steps": steps,
        "rounds": rounds,
    }
    save_network(out_dir, "stylenet", model, {"kind": "stylenet"}, figures, made)
    return figures


@dataclass(frozen=True)
class Networks:
    """What a run needs of a bundle that is still in training."""

    clip: CompactClip
    vgg: nn.Module
    start: StyleNet
    learned_start: LearnedStart | None = None

    def run(self, picture: Array, regions: RegionMap | None, sentence: str, config: StyleConfig, rng: Rng) -> Run:
        """A request for a picture, ``(H, W, 3)`` in [0, 1], on these networks' device."""
        photo, seed = Photo(torch.from_numpy(picture).permute(2, 0, 1).contiguous()), int(rng.integers(2**31))
        return Run(
            bundle=self,
            photo=photo,
            regions=regions,
            direction=text_direction(self.clip, sentence, config.source_text),
            plan=plan(config, photo.size, regions, seed),
            config=config,
            seed=seed,
            device=next(self.clip.parameters()).device,
            dtype=torch.float32,
        )


def known_and_held_out() -> tuple[list[Array], dict[str, Array]]:
    """Pictures to train a start on, photos and drawn people, and `HELD_OUT` by name; ``(H, W, 3)`` in [0, 1]."""
    photos = {name: photo.astype(np.float32) / 255 for name, photo in load_photos().items()}
    known = [photo for name, photo in sorted(photos.items()) if name not in HELD_OUT]
    known += [draw_scene(FIRST_SEED + n, (192, 192)).image.astype(np.float32) / 255 for n in range(SCENES)]
    return known, {name: photos[name] for name in HELD_OUT if name in photos}


def prime(
    model: StyleNet,
    out_dir: Path,
    photos: list[Array],
    *,
    seed: int,
    rounds: int,
    checkpoint: Path,
    resume: bool,
    device: torch.device,
) -> None:
    """Reptile on the engine itself, in place; see the module's text. All chance comes from seed and round."""
    clip = cast(CompactClip, trained_network(out_dir, "clip", device))
    networks = Networks(clip, trained_network(out_dir, "vgg", device), model.to(device))
    optimiser = torch.optim.Adam(model.parameters(), COPY_RATE)
    first = 0
    if resume and checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True, map_location=device)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        first = state["round"]
    bar = tqdm(range(first, rounds), initial=first, total=rounds, desc="priming", mininterval=10)
    with ThreadPoolExecutor(TASKS) as pool:
        for number in bar:
            rng = np.random.default_rng([seed, 1, number])
            left = 1 - number / rounds
            tasks = [task(networks, rng, photos) for _ in range(TASKS)]
            ends = list(pool.map(run_to_the_end, tasks))
            move_towards(model, [cast(StyleNet, run.stylenet) for run in ends], PACE * left)
            for group in optimiser.param_groups:
                group["lr"] = COPY_RATE * max(left, 0.05)
            for _ in range(COPIES if number + 1 < rounds else 20 * COPIES):
                copied = copy_loss(model, rng, photos, (112, 112), 3, device)
                optimiser.zero_grad()
                copied.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
            if number % 10 == 0:
                patch = np.mean([run.losses()[-1]["patch"] for run in ends])
                bar.set_postfix(patch=f"{patch:.3f}", copy=f"{copied.item():.4f}")
            if (number + 1) % SAVE_EVERY == 0 or number + 1 == rounds:
                state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "round": number + 1}
                save_checkpoint(checkpoint, state)
    model.cpu()


def task(networks: Networks, rng: Rng, photos: list[Array]) -> Run:
    """The beginning of a request for a random picture and a random style."""
    size = ((128, 128), (96, 144), (144, 96))[rng.integers(3)]
    picture = random_picture(rng, photos, size)
    prompt = str(rng.choice(TECHNIQUES))
    if rng.random() < COLOURED:
        prompt = f"{rng.choice(COLOURS)} {prompt}"
    return networks.run(picture, None, prompt, TASK, rng)


def run_to_the_end(run: Run) -> Run:
    """The run after its last step."""
    for _ in run:
        pass
    return run


@torch.no_grad()
def move_towards(model: StyleNet, ends: list[StyleNet], share: float) -> None:
    """Moves weights a share of the way to where others are on average, in place."""
    for weights, *others in zip(model.parameters(), *(end.parameters() for end in ends), strict=True):
        weights.lerp_(torch.stack(others).mean(0), share)


def copy_loss(
    model: StyleNet, rng: Rng, photos: list[Array], size: tuple[int, int], batch: int, device: torch.device
) -> Tensor:
    """How far the network's pictures are from what it was given."""
    pictures = np.stack([random_picture(rng, photos, size) for _ in range(batch)])
    images = torch.from_numpy(pictures).permute(0, 3, 1, 2).to(device)  # (N, 3, H, W)
    error: Tensor = model(images) - images  # (N, 3, H, W)
    return error.abs().mean() + 5 * error.square().mean()


@torch.no_grad()
def open_straight_path(model: StyleNet) -> None:
    """Rewires a random StyleNet so that it copies its input to begin with.

    Colour travels along the 1x1 residuals of the outermost blocks. Each block adds rectified,
    instance-normalised maps to it, which no small weight can quieten, for the norm undoes any scale. So a colour goes
    by two channels, once as it is and once negated, and both get the same map added: their difference is the colour.
    """
    colour, channels = range(3), model.last.in_channels
    model.first.weight[:3] = torch.eye(3)[:, :, None, None]
    cast(Tensor, model.first.bias)[:3] = 0
    _pair(model.entry)
    _pair(model.exit)
    for c in colour:
        model.entry.skip.weight[c, c], model.entry.skip.weight[c + 3, c] = 1, -1
        arrives = model.exit.skip.weight[:, channels + c : channels + c + 4 : 3, 0, 0]  # (c_out, 2): the entry's pair
        arrives[c], arrives[c + 3] = torch.tensor((0.5, -0.5)), torch.tensor((-0.5, 0.5))
    model.last.weight *= 0.05
    model.last.weight[:, :6] = 0
    for c in colour:
        model.last.weight[c, c], model.last.weight[c, c + 3] = SLOPE / 2, -SLOPE / 2
    cast(Tensor, model.last.bias).fill_(-SLOPE / 2)


def _pair(block: ResidualBlock) -> None:
    """Gives channels 3 to 5 the maps of channels 0 to 2, and clears the residual into all six."""
    last = cast(nn.Conv2d, block.conv[3])
    for tensor in (last.weight, cast(Tensor, last.bias)):
        tensor[3:6] = tensor[:3]
    block.skip.weight[:6] = 0
    cast(Tensor, block.skip.bias)[:6] = 0


def random_picture(rng: Rng, photos: list[Array], size: tuple[int, int]) -> Array:
    """A crop of a photo, often recoloured, ``(H, W, 3)`` in [0, 1]: every colour and contrast has to come through."""
    photo = photos[rng.integers(len(photos))]
    height, width = photo.shape[:2]
    scale = rng.uniform(0.3, 1.0) * min(height / size[0], width / size[1])
    h, w = max(8, int(size[0] * scale)), max(8, int(size[1] * scale))
    y, x = rng.integers(height - h + 1), rng.integers(width - w + 1)
    crop: Array = cv2.resize(
        np.ascontiguousarray(photo[y : y + h, x : x + w]), size[::-1], interpolation=cv2.INTER_AREA
    )
    crop = crop[:, ::-1] if rng.random() < 0.5 else crop
    if rng.random() < 0.7:
        crop = crop[..., rng.permutation(3)] ** rng.uniform(0.5, 1.8, 3)
        if rng.random() < 0.15:
            crop = 1 - crop
        if rng.random() < 0.2:
            crop = np.repeat(crop.mean(2, keepdims=True), 3, 2)
        if rng.random() < 0.3:
            low, high = np.sort(rng.uniform(0, 1, 2))
            crop = low + (high - low) * crop
        if rng.random() < 0.3:
            crop = (crop - 0.5) * rng.uniform(1, 2) + 0.5
    return np.clip(crop, 0, 1).astype(np.float32)


@torch.no_grad()
def psnr(model: StyleNet, photo: Array, short: int = 256) -> float:
    """Peak signal-to-noise ratio, dB, of the copy of a photo, ``(H, W, 3)`` in [0, 1], shrunk to ``short``."""
    scale = short / min(photo.shape[:2])
    small = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    image = torch.from_numpy(small).permute(2, 0, 1)[None]  # (1, 3, h, w)
    return float(-10 * torch.log10((model(image) - image).square().mean()))


if __name__ == "__main__":
    command(train)
