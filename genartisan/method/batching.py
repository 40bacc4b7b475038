"""Several runs side by side: requests in one batch, or style numbers over several photos."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from genartisan.method.engine import Run
from genartisan.method.objective import backward_together
from genartisan.method.painters import composed
from genartisan.method.step import Step


def step_together(runs: Sequence[Run]) -> list[Step]:
    """The next step of several unfinished runs of one Stylizer, in one batch for CLIP and VGG.

    Each run takes the step that it would take alone, up to rounding.

    Raises:
        ValueError: networks or precisions differ, or steps are captured.
    """
    if any(run.extractor != runs[0].extractor for run in runs) or any(run.graphs is not None for run in runs):
        raise ValueError("runs in one batch must come from one Stylizer without graphs")
    indices = [len(run.history) for run in runs]
    targets = [run.targets_at(index) for run, index in zip(runs, indices, strict=True)]
    layers = [run.draw(each) for run, each in zip(runs, targets, strict=True)]
    for run in runs:
        run.optimizer.zero_grad(set_to_none=True)
    losses = backward_together(list(zip([run.objective for run in runs], layers, targets, indices, strict=True)))
    for run, index in zip(runs, indices, strict=True):
        run.update(index)
    pictures = [composed(each.detach(), at.net_input) for each, at in zip(layers, targets, strict=True)]
    return [run.record(picture, each) for run, picture, each in zip(runs, pictures, losses, strict=True)]


def in_turns(runs: Sequence[Run]) -> Iterator[Step]:
    """The steps of several runs that share style numbers: one of each in turn, until all are over.

    Raises:
        ValueError: steps are captured.
    """
    if any(run.graphs is not None for run in runs):
        raise ValueError("runs that share style numbers must come from a Stylizer without graphs")
    for run in runs[1:]:
        run.painter.register_parameter("numbers", runs[0].painter.get_parameter("numbers"))
        run.optimizer = runs[0].optimizer
    for _ in range(max(run.config.steps for run in runs)):
        for run in runs:
            yield from islice(run, 1)
