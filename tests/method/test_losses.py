"""Each loss against an independent formula in float64, and where its gradient goes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from genartisan.method.losses import (
    TONE,
    content_loss,
    directional_distances,
    draft_loss,
    patch_loss,
    pixel_loss,
    tones,
    total_variation,
)


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_directional_distance_is_one_minus_the_cosine_of_the_two_directions() -> None:
    embeddings, source, direction = numbers(5, 7), numbers(1, 7, seed=1), numbers(7, seed=2)
    source /= source.norm()
    expected = []
    for row in embeddings.numpy():
        moved = row / math.sqrt(sum(v * v for v in row)) - source[0].numpy()
        dot = sum(a * b for a, b in zip(moved, direction.numpy(), strict=True))
        lengths = math.sqrt(sum(v * v for v in moved)) * math.sqrt(sum(v * v for v in direction.numpy()))
        expected.append(1 - dot / lengths)
    result = directional_distances(embeddings, source, direction)
    assert torch.allclose(result.double(), torch.tensor(expected, dtype=torch.float64), rtol=1e-5)


def test_directional_distance_punishes_the_opposite_direction() -> None:
    source = torch.tensor([[1.0, 0, 0]])
    direction = torch.tensor([0, 1.0, 0]) - source[0]
    towards, away = torch.tensor([[0, 1.0, 0]]), torch.tensor([[1.0, -0.2, 0]])
    assert directional_distances(towards, source, direction).item() == pytest.approx(0, abs=1e-6)
    assert directional_distances(away, source, direction).item() > 1  # with the printed absolute value: below 1


def test_directional_distance_of_an_unchanged_picture_has_a_finite_gradient() -> None:
    source = torch.nn.functional.normalize(torch.ones(1, 4), dim=-1)
    same = torch.ones(1, 4, requires_grad=True)
    distance = directional_distances(same, source, torch.tensor([1.0, 0, 0, 0]))
    distance.sum().backward()
    assert distance.item() == pytest.approx(1, abs=1e-3)
    assert same.grad is not None
    assert torch.isfinite(same.grad).all()


def test_patch_loss_counts_rejected_patches_in_n_and_weighs_the_others() -> None:
    distances = torch.tensor([0.9, 0.7, 0.75, 1.1])
    weights = torch.tensor([1.0, 1.0, 0.3, 0.3])
    thresholds = torch.tensor([0.7, 0.7, 0.8, 0.8])
    # The second is at its threshold and the third below: both rejected. (0.9 * 1 + 1.1 * 0.3) / 4.
    assert patch_loss(distances, weights, thresholds).item() == pytest.approx((0.9 + 0.33) / 4, rel=1e-6)


def test_no_gradient_passes_a_rejected_patch() -> None:
    distances = torch.tensor([0.9, 0.6], requires_grad=True)
    patch_loss(distances, torch.tensor([1.0, 1.0]), torch.tensor([0.7, 0.7])).backward()
    assert distances.grad is not None
    assert distances.grad.tolist() == [0.5, 0.0]


def test_content_loss_adds_the_mean_squares_of_both_layers() -> None:
    a, b, c, d = (
        numbers(1, 3, 4, 4),
        numbers(1, 3, 4, 4, seed=1),
        numbers(1, 5, 2, 2, seed=2),
        numbers(1, 5, 2, 2, seed=3),
    )
    expected = np.mean((a.numpy() - b.numpy()) ** 2) + np.mean((c.numpy() - d.numpy()) ** 2)
    assert content_loss([a, c], [b, d]).item() == pytest.approx(expected, rel=1e-5)


def test_pixel_loss_is_the_mean_difference_where_there_is_something_to_keep() -> None:
    picture, photo = torch.zeros(1, 3, 2, 2), torch.tensor([0.1, -0.2, 0.3, 0.4]).reshape(1, 1, 2, 2).expand(1, 3, 2, 2)
    kept = torch.tensor([1.0, 0.5, 0.0, 0.25]).reshape(1, 1, 2, 2)
    assert pixel_loss(picture, photo, kept).item() == pytest.approx((0.1 + 0.1 + 0 + 0.1) / 4, rel=1e-6)


def test_draft_loss_is_the_mean_square_of_the_differences_of_squares() -> None:
    draft, picture = numbers(1, 3, 2 * TONE, 2 * TONE + 3), numbers(1, 3, 2 * TONE, 2 * TONE + 3, seed=1)
    rows, columns = ((0, TONE), (TONE, 2 * TONE)), ((0, TONE), (TONE, 2 * TONE), (2 * TONE, 2 * TONE + 3))
    expected = [
        np.mean((picture - draft).numpy()[0, channel, top:bottom, left:right]) ** 2
        for channel in range(3)
        for top, bottom in rows
        for left, right in columns
    ]
    assert draft_loss(picture, tones(draft)).item() == pytest.approx(np.mean(expected), rel=1e-4)


def test_draft_loss_leaves_strokes_free() -> None:
    draft = torch.full((1, 3, 2 * TONE, 2 * TONE), 0.5)
    stripes = draft + 0.3 * torch.tensor([1.0, -1.0]).repeat(TONE)
    assert draft_loss(stripes, tones(draft)).item() == pytest.approx(0, abs=1e-9)
    assert tones(torch.rand(1, 3, 5, 7)).shape == (1, 3, 1, 2)  # a picture smaller than a square


def test_total_variation_is_the_sum_of_four_norms() -> None:
    picture = numbers(1, 3, 5, 6)
    x = picture.numpy()[0]
    squares = np.zeros(4)
    for channel in range(3):
        for i in range(5):
            for j in range(6):
                for k, (down, right) in enumerate(((0, 1), (1, 0), (1, -1), (1, 1))):
                    if i + down < 5 and 0 <= j + right < 6:
                        squares[k] += (x[channel, i, j] - x[channel, i + down, j + right]) ** 2
    assert total_variation(picture).item() == pytest.approx(np.sqrt(squares).sum(), rel=1e-5)


def test_total_variation_of_a_flat_picture_has_a_finite_gradient() -> None:
    flat = torch.full((1, 3, 8, 8), 0.5, requires_grad=True)
    total_variation(flat).backward()
    assert flat.grad is not None
    assert torch.isfinite(flat.grad).all()
