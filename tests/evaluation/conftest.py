"""What tests of the evaluation share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from genartisan.drawing.styles import STYLES


@pytest.fixture(scope="session")
def untrained_judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a judge with random weights."""
    pytest.importorskip("cv2")
    pytest.importorskip("skimage")
    from genartisan.evaluation.judge import KIND, new_network
    from genartisan.training.trainer import save_network

    folder, classes = tmp_path_factory.mktemp("judge"), ["photo", *STYLES]
    torch.manual_seed(0)
    architecture = {"kind": KIND, "classes": classes, "size": 32}
    network = new_network(len(classes))
    save_network(folder, "judge", network, architecture, {"held_out_accuracy": 0.04}, {"commit": None, "seed": 0})
    return folder
