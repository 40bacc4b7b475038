"""The shared training loop, seeded and resumable, and the files that a training writes."""

from __future__ import annotations

import argparse
import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
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
    """The device of that name; ``auto`` is CUDA if available, else the CPU (training is not tested on MPS)."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


@dataclass(frozen=True)
class Recipe:
    """The settings of a training with AdamW.

    Attributes:
        steps: of the whole run, including those before a resume.
        rate: peak learning rate, see `rate_at`.
        batch: examples per step.
        decay: weight decay.
        average: decay of the moving average of the weights that the run returns; 0 returns the last weights. It is
            lower in the first steps, which would otherwise weigh the random initialisation.
    """

    steps: int
    rate: float
    batch: int
    decay: float = 0.0
    average: float = 0.0


def fit(
    modules: nn.Module,
    loss_at: Callable[[int], Tensor],
    recipe: Recipe,
    *,
    checkpoint: Path,
    resume: bool,
    device: torch.device | None = None,
    examine: Callable[[int], None] | None = None,
    examine_every: int = 1,
) -> None:
    """Trains ``modules`` in place.

    Args:
        modules: on the CPU before and after.
        loss_at: the loss of a step, on ``device``. All its randomness must depend on the step alone, and its pictures
            must be made on the CPU, so that a resumed run equals an uninterrupted one on any device.
        checkpoint: file for weights, optimiser and step.
        resume: continue from the checkpoint, if it exists.
        device: of the steps; default CPU.
        examine: called with the number of steps taken, every ``examine_every`` steps and at the end.
    """
    steps = recipe.steps
    device = device or torch.device("cpu")
    modules.to(device)
    optimiser = torch.optim.AdamW(modules.parameters(), recipe.rate, betas=(0.9, 0.99), weight_decay=recipe.decay)
    averaged = {name: tensor.clone() for name, tensor in modules.state_dict().items()} if recipe.average > 0 else {}
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
            group["lr"] = rate_at(step, steps, recipe.rate)
        loss = loss_at(step)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(modules.parameters(), 5.0)
        optimiser.step()
        _update_average(averaged, modules, min(recipe.average, (step + 1) / (step + 10)))
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
    """The learning rate of a step: linear warm-up over `WARM_UP` steps, cosine decay to a hundredth."""
    return highest * min(1.0, (step + 1) / WARM_UP) * (0.505 + 0.495 * math.cos(math.pi * step / steps))


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes a checkpoint atomically.

    Raises:
        OSError: the disk is full, or the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()  # when writing to a file, torch.save turns OSErrors into RuntimeErrors
    torch.save(state, buffer)
    write_whole(path, buffer.getvalue())


@torch.no_grad()
def _update_average(averaged: dict[str, Tensor], modules: nn.Module, decay: float) -> None:
    current = modules.state_dict()
    for name, average in averaged.items():
        if average.is_floating_point():
            average.lerp_(current[name], 1 - decay)
        else:
            average.copy_(current[name])  # counters


def save_network(
    folder: Path,
    role: str,
    module: nn.Module,
    architecture: dict[str, Any],
    figures: dict[str, Any],
    made: dict[str, Any],
) -> None:
    """Writes ``role.safetensors``, in float16, and ``role.json``: architecture, figures and `made_by`."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in module.state_dict().items()
    }
    write_whole(folder / f"{role}.safetensors", save(tensors))
    text = json.dumps({"architecture": architecture, "figures": figures, **made}, indent=2)
    write_whole(folder / f"{role}.json", text + "\n")


def trained_network(folder: Path, role: str, device: torch.device) -> nn.Module:
    """Loads a network written by `save_network`, in evaluation mode and without gradients.

    Raises:
        FileNotFoundError: it is not trained yet.
    """
    architecture = json.loads((folder / f"{role}.json").read_text(encoding="utf-8"))["architecture"]
    weights = load_file(folder / f"{role}.safetensors")
    single = {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}
    return assembled(role, architecture, {name: value.to(device) for name, value in single.items()})


def parameter_count(network: nn.Module) -> int:
    """The number of weights in a network."""
    return sum(parameter.numel() for parameter in network.parameters())


def command(train: Train) -> None:
    """Runs ``train(out_dir, resume=…, device=…)`` from the command line and prints its figures."""
    parser = argparse.ArgumentParser(description=train.__doc__)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the weights, the figures and the checkpoint"
    )
    parser.add_argument("--seed", type=int, default=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, default=argparse.SUPPRESS, help="default: the recipe's")
    parser.add_argument("--resume", action="store_true", help="continue from the files in the folder")
    parser.add_argument("--device", default="auto", help="auto (default), cpu or cuda")
    arguments = vars(parser.parse_args())
    out, device = arguments.pop("out"), chosen_device(arguments.pop("device"))
    print(json.dumps(train(out, device=device, **arguments), indent=2))
