"""What the training programs of the embedded networks share: a seeded, resumable loop and the files each one leaves."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn
from tqdm import tqdm

SAVE_EVERY = 100  # steps: a killed run loses a minute or two

Train = Callable[..., dict[str, Any]]


def fit(
    modules: nn.Module,
    loss_at: Callable[[int], Tensor],
    *,
    steps: int,
    rate: float,
    checkpoint: Path,
    resume: bool,
    decay: float = 0.0,
) -> None:
    """Minimises a loss with AdamW; the rate rises over 50 steps and falls to a hundredth along a cosine.

    Args:
        modules: what is optimised, in place.
        loss_at: the loss of a step. It must draw all its chance from the step's number, so that a resumed run goes on
            as if it had never stopped.
        steps: of the whole run, resumed or not.
        rate: the highest learning rate.
        checkpoint: where parameters, optimiser and step are kept.
        resume: go on from the checkpoint if there is one.
        decay: weight decay.
    """
    optimiser = torch.optim.AdamW(modules.parameters(), rate, betas=(0.9, 0.99), weight_decay=decay)
    first = 0
    if resume and checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)
        modules.load_state_dict(state["modules"])
        optimiser.load_state_dict(state["optimiser"])
        first = state["step"]
    modules.train()
    progress = tqdm(range(first, steps), initial=first, total=steps, mininterval=10)
    for step in progress:
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 50) * (0.505 + 0.495 * math.cos(math.pi * step / steps))
        loss = loss_at(step)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(modules.parameters(), 5.0)
        optimiser.step()
        if step % 10 == 0:
            progress.set_postfix(loss=f"{loss.item():.4f}")
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            torch.save(
                {"modules": modules.state_dict(), "optimiser": optimiser.state_dict(), "step": step + 1}, checkpoint
            )
    modules.eval()


def save_network(
    folder: Path, role: str, module: nn.Module, architecture: dict[str, Any], figures: dict[str, Any]
) -> None:
    """Writes ``role.safetensors``, in float16, and ``role.json`` with the architecture and what was measured."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in module.state_dict().items()
    }
    (folder / f"{role}.safetensors").write_bytes(save(tensors))
    text = json.dumps({"architecture": architecture, "figures": figures}, indent=2)
    (folder / f"{role}.json").write_text(text + "\n")


def command(train: Train) -> None:
    """Runs ``train(out_dir, seed=…, resume=…)`` from the command line and prints its figures."""
    parser = argparse.ArgumentParser(description=train.__doc__)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the weights, the figures and the checkpoint"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="instead of the program's own number")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in the folder")
    given = parser.parse_args()
    extra = {} if given.steps is None else {"steps": given.steps}
    print(json.dumps(train(given.out, seed=given.seed, resume=given.resume, **extra), indent=2))
