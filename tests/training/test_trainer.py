"""The shared training loop and what is measured of a segmentation."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from genartisan.evaluation import provenance
from genartisan.training import trainer
from genartisan.training.measure_fcn import class_ious, confusion


class Learner:
    """A small network with a loss for `trainer.fit`, which can be killed at a step."""

    def __init__(self, folder: Path) -> None:
        torch.manual_seed(0)
        self.net, self.seen = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), list[torch.Tensor]()
        self.checkpoint = folder / "checkpoint.pt"

    def fit(self, killed_at: int | None = None, resume: bool = False) -> dict[str, torch.Tensor]:
        def loss_at(step: int) -> torch.Tensor:
            if step == killed_at:
                raise KeyboardInterrupt
            self.seen.append(self.net[0].weight.detach().clone())
            return self.net(torch.randn(8, 3, generator=torch.Generator().manual_seed(step))).abs().sum()

        recipe = trainer.Recipe(steps=7, rate=0.1, batch=8, decay=0.1, average=0.5)
        trainer.fit(self.net, loss_at, recipe, checkpoint=self.checkpoint, resume=resume)
        return self.net.state_dict()


def test_a_resumed_training_ends_as_an_unbroken_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "SAVE_EVERY", 2)
    whole = Learner(tmp_path / "whole").fit()
    with pytest.raises(KeyboardInterrupt):
        Learner(tmp_path / "broken").fit(killed_at=5)
    resumed = Learner(tmp_path / "broken").fit(resume=True)
    for name, tensor in whole.items():
        assert torch.equal(resumed[name], tensor), name


def test_a_training_leaves_the_moving_average_of_its_weights(tmp_path: Path) -> None:
    learner = Learner(tmp_path)
    left = learner.fit()["0.weight"]
    start, *after = learner.seen
    expected = start
    last = torch.load(learner.checkpoint, weights_only=True)["modules"]["0.weight"]
    for step, weight in enumerate((*after, last)):
        keep = min(0.5, (step + 1) / (step + 10))
        expected = keep * expected + (1 - keep) * weight
    assert torch.allclose(left, expected, atol=1e-6)
    assert not torch.allclose(left, last, rtol=0, atol=1e-5)


def test_weights_name_the_commit_and_the_seed_that_made_them() -> None:
    made = provenance.made_by(3)
    assert made["seed"] == 3
    assert made["commit"] is None or re.fullmatch(r"[0-9a-f]{7,40}(-dirty)?", made["commit"])


def test_the_iou_of_a_class_is_what_both_say_over_what_either_says() -> None:
    truth, found = np.array([[1, 1, 0, 0]], np.bool_), np.array([[1, 0, 1, 0]], np.bool_)
    assert confusion(found, truth).tolist() == [[1, 1], [1, 1]]
    assert class_ious(confusion(found, truth)) == pytest.approx([1 / 3, 1 / 3])
    assert class_ious(confusion(truth, truth)) == pytest.approx([1, 1])
