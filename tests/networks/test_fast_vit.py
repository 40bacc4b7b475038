"""The cheaper vision transformer against open_clip's own code, on the same weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from open_clip.transformer import LayerNorm, QuickGELU, VisionTransformer
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from genartisan.networks import fast_vit
from genartisan.networks.fast_vit import encode, is_plain

SHAPE: dict[str, Any] = {
    "image_size": 32, "patch_size": 8, "width": 32, "layers": 3, "heads": 4, "mlp_ratio": 4.0, "output_dim": 12,
}  # fmt: skip


def network(**changes: Any) -> VisionTransformer:
    """Random weights, biases and norms among them, in evaluation mode."""
    torch.manual_seed(0)
    net = VisionTransformer(**{**SHAPE, **changes})
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return net.eval().requires_grad_(False)


def answer(encoder: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """Embeddings, and the gradient of a function of them for each pixel."""
    images = images.clone().requires_grad_()
    embeddings = encoder(images)
    (embeddings.float() ** 3).sum().backward()
    assert images.grad is not None
    return embeddings.detach(), images.grad


@pytest.mark.parametrize("act_layer", [QuickGELU, nn.GELU])
@pytest.mark.parametrize("changes", [{}, {"layers": 1}, {"no_ln_pre": True}])
def test_embeddings_and_gradients_are_those_of_open_clip(act_layer: Any, changes: dict[str, Any]) -> None:
    net, images = network(act_layer=act_layer, **changes), torch.randn(5, 3, 32, 32)
    assert is_plain(net)
    theirs, their_slopes = answer(net, images)
    ours, our_slopes = answer(lambda x: encode(net, x), images)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(our_slopes, their_slopes, rtol=1e-3, atol=1e-4 * float(their_slopes.abs().max()))


def test_half_precision_is_as_near_as_open_clips_own() -> None:
    net, images = network(act_layer=QuickGELU), torch.randn(5, 3, 32, 32)
    exact, _ = answer(net, images)
    half = net.bfloat16()
    theirs, _ = answer(half, images.bfloat16())
    ours, slopes = answer(lambda x: encode(half, x), images.bfloat16())
    assert ours.dtype == slopes.dtype == torch.bfloat16
    assert float((ours - exact).norm()) < 2 * float((theirs - exact).norm())


def test_products_in_parts_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    net, images = network(act_layer=QuickGELU).bfloat16(), torch.randn(5, 3, 32, 32).bfloat16()
    rows, rows_of_wide, addmm = list[int](), list[int](), torch.addmm

    def watched(bias: Tensor, some: Tensor, matrix: Tensor, **options: Any) -> Tensor:
        (rows if matrix.shape[1] <= fast_vit.NARROW else rows_of_wide).append(len(some))
        return addmm(bias, some, matrix, **options)

    monkeypatch.setattr(torch, "addmm", watched)
    whole, slopes = answer(lambda x: encode(net, x), images)
    assert max(rows) == 5 * 17
    rows.clear()
    monkeypatch.setattr(fast_vit, "MOST_ROWS", 30)
    monkeypatch.setattr(fast_vit, "NARROW", net.conv1.out_channels)
    parts, slopes_of_parts = answer(lambda x: encode(net, x), images)
    assert {29, 28} <= set(rows)
    assert max(rows) <= 30
    assert max(rows_of_wide) == 5 * 17
    torch.testing.assert_close(parts, whole, rtol=0.05, atol=0.05)
    torch.testing.assert_close(slopes_of_parts, slopes, rtol=0.1, atol=0.05 * float(slopes.abs().max()))


def test_the_last_block_looks_after_one_token_only() -> None:
    images, costs = torch.randn(2, 3, 32, 32), list[int]()
    for layers in (1, 2):
        with FlopCounterMode(display=False) as counter:
            encode(network(act_layer=QuickGELU, layers=layers), images)
        costs.append(counter.get_total_flops())
    around = 2 * 2 * (16 * 192 * 32 + 32 * 12)  # two pictures of 16 patches into tokens, and a projection
    last, whole = costs[0] - around, costs[1] - costs[0]
    assert 0 < last < 0.4 * whole


@pytest.mark.parametrize(
    "changes",
    [
        {"pool_type": "avg"}, {"attentional_pool": True, "attn_pooler_heads": 4}, {"ls_init_value": 0.1},
        {"patch_dropout": 0.5}, {"output_tokens": True}, {"block_type": "custom"},
        {"final_ln_after_pool": True, "pool_type": "avg"},
    ],
)  # fmt: skip
def test_what_is_not_plain_is_left_to_open_clip(changes: dict[str, Any]) -> None:
    assert not is_plain(network(**changes))


def test_no_other_network_is_plain() -> None:
    assert not is_plain(nn.Sequential(LayerNorm(3)))
