"""Trains a learned start on a bundle's own frozen networks, over photos and texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from genartisan.config import StyleConfig, preset
from genartisan.embedded.training import SAVE_EVERY, rate_at, save_checkpoint
from genartisan.engine import Run
from genartisan.objective import LOSSES
from genartisan.start import LearnedStart
from genartisan.stylenet import StyleNet

LESSONS = 4  # a photo and a text each, whose gradients make a step
LANES = 2  # lessons side by side on a CPU
RATE = 1e-3  # Adam's, at most
LONGEST = 0.2  # of a step's gradient, in units of the patch loss

KEPT = 1 / 3  # of the others, in which the rest of it is to stay as it is
# A lesson is one step of preset `fast` at about the size of its coarse steps. A patch is finished a little later than
# for a request, so that a request finds most of them finished.
LESSON = preset("fast", {
    "steps": 1, "coarse_share": 0.0, "patches": 4, "patch_size": 96, "distortion": 0.3, "threshold": 0.6,
    "lambda_pixel": 1e4, "feather": 0.0,
    "regions": {"portrait": {"share": 1.0, "threshold": 0.6}, "background": {"threshold": 0.6}},
})  # fmt: skip

Rng = np.random.Generator
MakeLesson = Callable[[Rng], Run]
Curve = list[dict[str, float]]


def open_as_copy(start: LearnedStart, copying: StyleNet) -> None:
    """Makes a start write, for every text, a StyleNet that copies the photo: ``copying``, blind to strengths."""
    weights = dict(copying.state_dict())
    first = weights["first.weight"]  # (C, 3, 1, 1)
    weights["first.weight"] = torch.cat((first, torch.zeros_like(first[:, :1])), dim=1)
    start.stylenet.load_state_dict(weights, strict=False)  # its norms stay as they are: scale 1, shift 0
    torch.nn.init.zeros_(start.write.weight)
    torch.nn.init.zeros_(start.write.bias)


def train_start(
    start: LearnedStart,
    lesson: MakeLesson,
    *,
    steps: int,
    seed: int,
    checkpoint: Path,
    resume: bool,
    examples: Sequence[Run],
    examine_every: int = 500,
    told: Callable[[Curve], None] = lambda curve: None,
) -> Curve:
    """Teaches a start to draw drafts of low loss, in place.

    Args:
        start: on its device.
        lesson: a run that begins from ``start``; its losses are what the draft is judged by. It has to draw all its
            chance from the generator it is given, so that a resumed training goes on as if it had never stopped.
        steps: of the whole training, resumed or not.
        checkpoint: where parameters, optimiser and step are kept.
        resume: go on from the checkpoint if there is one.
        examples: held-out lessons, never learned from.
        examine_every: steps between two looks at them.
        told: is given what each look has found so far.

    Returns:
        The mean losses of the examples' drafts at the beginning, every ``examine_every`` steps and at the end.
    """
    parameters = [p for p in start.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(parameters, RATE, fused=True)
    first, curve = 0, Curve()
    if resume and checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True, map_location=parameters[0].device)
        start.load_state_dict(state["start"])
        optimiser.load_state_dict(state["optimiser"])
        first, curve = state["step"], state["curve"]
    bar = tqdm(range(first, steps), initial=first, total=steps, desc="learned start", mininterval=10)
    with ThreadPoolExecutor(LANES) as pool:
        for step in bar:
            if step % examine_every == 0:
                curve.append(examined(start, examples, step))
                told(curve)
            for group in optimiser.param_groups:
                group["lr"] = rate_at(step, steps, RATE)

            def gradient_of(number: int, step: int = step) -> tuple[tuple[Tensor, ...], Tensor]:
                return gradient(start, lesson(np.random.default_rng([seed, step, number])), parameters)

            gradients, losses = zip(*pool.map(gradient_of, range(LESSONS)), strict=True)
            for parameter, *parts in zip(parameters, *gradients, strict=True):
                parameter.grad = torch.stack(parts).mean(dim=0)
            torch.nn.utils.clip_grad_norm_(parameters, LONGEST)
            optimiser.step()
            if step % 10 == 0:
                bar.set_postfix(patch=f"{torch.stack(losses).mean(0)[LOSSES.index('patch')]:.3f}")
            if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
                save_checkpoint(checkpoint, {
                    "start": start.state_dict(), "optimiser": optimiser.state_dict(), "step": step + 1, "curve": curve,
                })  # fmt: skip
    curve.append(examined(start, examples, steps))
    told(curve)
    return curve


def gradient(start: LearnedStart, run: Run, parameters: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], Tensor]:
    """The gradient of a draft's loss, in units of the patch loss, and its losses, `LOSSES` without a gradient."""
    losses = run.objective.losses_of(start(run.direction, run.full.content), run.full, 0)  # (6,)
    return torch.autograd.grad(losses[0] / run.config.lambda_patch, list(parameters)), losses.detach()


@torch.no_grad()
def examined(start: LearnedStart, examples: Sequence[Run], step: int) -> dict[str, float]:
    """The step, and the mean losses of the examples' drafts."""
    losses = torch.stack(
        [run.objective.losses_of(start(run.direction, run.full.content), run.full, 0) for run in examples]
    )
    return {"step": step, **dict(zip(LOSSES, (round(x, 4) for x in losses.mean(0).tolist()), strict=True))}


def random_config(rng: Rng, lesson: StyleConfig = LESSON) -> StyleConfig:
    """A lesson's, with how strongly what is portrait is to be styled."""
    weight = 0.0 if rng.random() < KEPT else float(rng.random())
    return lesson.updated({"regions": {"portrait": {"weight": weight}}})
