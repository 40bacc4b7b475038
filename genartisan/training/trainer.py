"""What the training programs of the embedded networks share: a seeded, resumable loop and the files each one leaves."""

from __future__ import annotations

import argparse
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn
from tqdm import tqdm

from genartisan.io.atomic import write_whole
from genartisan.networks.bundle import assembled

SAVE_EVERY = 100  # steps: a killed run loses a minute or two
WARM_UP = 50  # steps

Train = Callable[..., dict[str, Any]]


def chosen_device(name: str) -> torch.device:
    """The device of a name; ``auto`` is CUDA where there is one, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def fit(
    modules: nn.Module,
    loss_at: Callable[[int], Tensor],
    *,
    steps: int,
    rate: float,
    checkpoint: Path,
    resume: bool,
    decay: float = 0.0,
    average: float = 0.0,
    device: torch.device | None = None,
    examine: Callable[[int], None] | None = None,
    examine_every: int = 250,
) -> None:
    """Minimises a loss with AdamW; its rate is `rate_at` each step.

    Args:
        modules: what is optimised, in place; on the CPU before and after.
        loss_at: the loss of a step, on ``device``. It must draw all its chance from the step's number and make its
            pictures on the CPU, so that a resumed run goes on as if it had never stopped, on any device.
        steps: of the whole run, resumed or not.
        rate: the highest learning rate.
        checkpoint: where parameters, optimiser and step are kept.
        resume: go on from the checkpoint if there is one.
        decay: weight decay.
        average: if above 0, the run leaves a moving average of the weights in ``modules``, and this is the share of
            it that a step keeps, at most; less at first, or the average would remember the random start.
        device: where the steps are computed; the CPU if not given.
        examine: is told, every ``examine_every`` steps and at the end, how many steps ``modules`` has taken.
    """
    device = device or torch.device("cpu")
    modules.to(device)
    optimiser = torch.optim.AdamW(modules.parameters(), rate, betas=(0.9, 0.99), weight_decay=decay)
    averaged = {name: tensor.clone() for name, tensor in modules.state_dict().items()} if average > 0 else {}
    first = 0
    if resume and checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True, map_location=device)
        modules.load_state_dict(state["modules"])
        optimiser.load_state_dict(state["optimiser"])
        averaged = state["averaged"]
        first = state["step"]
    modules.train()
    progress = tqdm(range(first, steps), initial=first, total=steps, mininterval=10)
    for step in progress:
        if examine is not None and step % examine_every == 0:
            examine(step)
        for group in optimiser.param_groups:
            group["lr"] = rate_at(step, steps, rate)
        loss = loss_at(step)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(modules.parameters(), 5.0)
        optimiser.step()
        _follow(averaged, modules, min(average, (step + 1) / (step + 10)))
        if step % 10 == 0:
            progress.set_postfix(loss=f"{loss.item():.4f}")
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
            state = {"modules": modules.state_dict(), "optimiser": optimiser.state_dict(), "averaged": averaged}
            save_checkpoint(checkpoint, {**state, "step": step + 1})
    if averaged:
        modules.load_state_dict(averaged)
    if examine is not None:
        examine(steps)
    modules.cpu().eval()


def rate_at(step: int, steps: int, highest: float) -> float:
    """The learning rate of a step: it rises over `WARM_UP` steps and falls to a hundredth along a cosine."""
    return highest * min(1.0, (step + 1) / WARM_UP) * (0.505 + 0.495 * math.cos(math.pi * step / steps))


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes a state; a run killed meanwhile leaves the one before.

    Raises:
        OSError: the disk is full, or the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()  # to a file torch.save fails with errors of its own
    torch.save(state, buffer)
    write_whole(path, buffer.getvalue())


@torch.no_grad()
def _follow(averaged: dict[str, Tensor], modules: nn.Module, keep: float) -> None:
    """Moves averages towards the weights they follow."""
    current = modules.state_dict()
    for name, follower in averaged.items():
        if follower.is_floating_point():
            follower.lerp_(current[name], 1 - keep)
        else:
            follower.copy_(current[name])  # a count of batches


def save_network(
    folder: Path,
    role: str,
    module: nn.Module,
    architecture: dict[str, Any],
    figures: dict[str, Any],
    made: dict[str, Any],
) -> None:
    """Writes ``role.safetensors``, in float16, and ``role.json``: the architecture, what was measured, `made_by`."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in module.state_dict().items()
    }
    write_whole(folder / f"{role}.safetensors", save(tensors))
    text = json.dumps({"architecture": architecture, "figures": figures, **made}, indent=2)
    write_whole(folder / f"{role}.json", text + "\n")


def trained_network(folder: Path, role: str, device: torch.device) -> nn.Module:
    """The network that `save_network` left in a folder, in evaluation mode and without gradients for its weights.

    Raises:
        FileNotFoundError: it is not trained yet.
    """
    architecture = json.loads((folder / f"{role}.json").read_text(encoding="utf-8"))["architecture"]
    weights = load_file(folder / f"{role}.safetensors")
    return assembled(role, architecture, {name: value.to(device, wide(value)) for name, value in weights.items()})


def wide(tensor: Tensor) -> torch.dtype:
    """The type to compute in with stored weights: float32 for any float."""
    return torch.float32 if tensor.is_floating_point() else tensor.dtype


def command(train: Train) -> None:
    """Runs ``train(out_dir, seed=…, resume=…, device=…)`` from the command line and prints its figures."""
    parser = argparse.ArgumentParser(description=train.__doc__)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the weights, the figures and the checkpoint"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="instead of the program's own number")
    parser.add_argument("--resume", action="store_true", help="go on from what is in the folder")
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto (the default): cuda where there is one")
    given = parser.parse_args()
    extra = {} if given.steps is None else {"steps": given.steps}
    figures = train(given.out, seed=given.seed, resume=given.resume, device=chosen_device(given.device), **extra)
    print(json.dumps(figures, indent=2))
