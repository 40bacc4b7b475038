"""The training of the embedded CLIP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from genartisan.drawing.captions import Wish
from genartisan.drawing.drawings import Drawings
from genartisan.drawing.space import CLASSES, COLOURS, LOOKS, TECHNIQUES, Look
from genartisan.networks.compact_clip import CompactClip
from genartisan.networks.mobilenet import MobileNetV2
from genartisan.training import measure_clip, train_clip, trainer


def test_a_technique_in_a_colour_without_pictures_is_where_its_parts_say() -> None:
    technique, other, colour = TECHNIQUES[0], TECHNIQUES[1], COLOURS[0]
    shown = [Look(), Look(technique), Look(other), Look(other, colour)]
    looks = torch.tensor([LOOKS.index(look) for look in shown for _ in range(50)])
    embeddings = 0.05 * torch.randn(200, 8, generator=torch.Generator().manual_seed(1))
    embeddings[50:, 0] += 1
    embeddings[100:, 1] += 1
    embeddings[150:, 2] += 1  # what the colour does
    means = train_clip.look_means(embeddings, looks)
    expected = torch.zeros(8)
    expected[0] = expected[2] = 1  # the technique, and what the colour did to the other one
    text = train_clip.wished(means, Wish("", (technique,), colour))
    assert F.cosine_similarity(text, expected, dim=0) > 0.999
    assert set(means.norm(dim=1).round().tolist()) <= {0.0, 1.0}


def test_the_place_of_a_look_is_made_of_its_technique_and_its_colour(compact_clip: CompactClip) -> None:
    learner = train_clip.Learner(compact_clip.image_tower)
    places = learner.places()
    assert places.shape == (len(LOOKS), compact_clip.image_tower.head.out_features)
    for look in (Look(), Look(TECHNIQUES[3]), Look(None, COLOURS[2]), Look(TECHNIQUES[5], COLOURS[1])):
        technique = CLASSES.index(look.technique or CLASSES[0])
        part = learner.usual_colours[technique] if look.colour is None else learner.colours[COLOURS.index(look.colour)]
        expected = F.normalize(learner.techniques[technique] + part, dim=0)
        torch.testing.assert_close(places[LOOKS.index(look)], expected)


def test_an_attack_misleads_and_changes_no_pixel_by_much(compact_clip: CompactClip) -> None:
    learner = train_clip.Learner(compact_clip.image_tower)
    generator = torch.Generator().manual_seed(0)
    images, looks = torch.rand(8, 3, 64, 64, generator=generator), torch.arange(8)
    start = torch.rand(images.shape, generator=generator) * 2 - 1
    attacked = train_clip.attacked(learner, images, looks, start)
    assert (attacked - images).abs().max() <= train_clip.EPSILON + 1e-6
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    assert learner(attacked, looks) > learner(images, looks)


def test_training_resumed_is_training_uninterrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    few = Drawings(rng.integers(0, 256, (64, 128, 128, 3), np.uint8), np.arange(64) % len(LOOKS))
    small = {"image_size": 32, "gap": 0.5, "blocks": 2, "taps": [1, 2], "dim": 16}
    few_steps = trainer.Recipe(steps=2, rate=1e-3, batch=4)
    recipes = dict.fromkeys(("RECIPE", "HEAD_RECIPE", "TEXT_RECIPE"), few_steps)
    for name, value in {"ARCHITECTURE": small, **recipes}.items():
        monkeypatch.setattr(train_clip, name, value)
    monkeypatch.setattr(train_clip, "predictor_weights", predictor_weights)
    monkeypatch.setattr(trainer, "SAVE_EVERY", 1)
    monkeypatch.setattr(measure_clip, "read_texts", lambda _: {})  # takes long, and has a test of its own
    attacked, begun = train_clip.attacked, list[object]()

    def killed(*arguments: Any) -> torch.Tensor:
        begun.append(arguments)
        if len(begun) > 2:
            raise KeyboardInterrupt
        return attacked(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(train_clip, "generate", lambda *_, **__: few)
        train_clip.train(tmp_path / "once", 3, steps=3)
        patch.setattr(train_clip, "attacked", killed)
        with pytest.raises(KeyboardInterrupt):
            train_clip.train(tmp_path / "twice", 3, steps=3)
    monkeypatch.setattr(train_clip, "generate", interrupt)  # everything is drawn already
    train_clip.train(tmp_path / "twice", 3, steps=3, resume=True)
    once, twice = (load_file(tmp_path / name / "clip.safetensors") for name in ("once", "twice"))
    assert all(torch.equal(once[name], twice[name]) for name in once)
    about = json.loads((tmp_path / "once" / "clip.json").read_text())
    assert about["architecture"]["kind"] == "compact_clip"
    assert 0 <= about["figures"]["retrieval"] <= 1
    assert about["seed"] == 3


def predictor_weights(_: Path) -> dict[str, torch.Tensor]:
    """Random weights of a style predictor."""
    torch.manual_seed(5)
    return {f"trunk.{name}": tensor for name, tensor in MobileNetV2().state_dict().items()}


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt
