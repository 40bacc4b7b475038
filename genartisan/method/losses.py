"""The losses, each a scalar named after its equation (numbers: Generative Artisan, arXiv 2207.11598).

Eq 4 and 7 print |ΔI·ΔT|. The absolute value is dropped, as eq 12 and 21 do: it would reward the opposite style too.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

TONE = 16  # side of a square of `tones`, pixels


def directional_distances(embeddings: Tensor, source: Tensor, direction: Tensor) -> Tensor:
    """1 − cos(E_I(x) − E_I(I_c), ΔT) for each picture or patch x, ``(N,)``, in [0, 2] (eq 4, 7, 12, 21).

    Args:
        embeddings: E_I of the pictures, ``(N, D)``; normalised here.
        source: E_I of the photo, ``(1, D)``, or of each one's own, ``(N, D)``, normalised.
        direction: ΔT, ``(D,)`` or ``(1, D)``, or of each, ``(N, D)``.
    """
    moved = F.normalize(embeddings.float(), dim=-1) - source  # (N, D)
    return 1 - F.cosine_similarity(moved, direction.reshape(-1, direction.shape[-1]), dim=-1)


def patch_loss(distances: Tensor, weights: Tensor, thresholds: Tensor) -> Tensor:
    """The mean of α·R(l, τ) over all N patches, rejected ones included in N (eq 8-9, 13-16).

    R is 0 where l ≤ τ, and l elsewhere. W in eq 13 has three readings; here a patch's weight is a factor. CLIPstyler's
    loss is the case α = 1 with one τ.

    Args:
        distances: l of each patch, ``(N,)``.
        weights: α of each patch, ``(N,)``.
        thresholds: τ of each patch, ``(N,)``.
    """
    return (weights * distances * (distances > thresholds)).mean()


def content_loss(features: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """The sum of the mean squared errors of VGG's relu4_2 and relu5_2 maps (L_c)."""
    return torch.stack([F.mse_loss(f.float(), t.float()) for f, t in zip(features, targets, strict=True)]).sum()


def pixel_loss(picture: Tensor, photo: Tensor, preserve_weight: Tensor) -> Tensor:
    """The weighted mean absolute difference of ``picture`` and ``photo``, ``(1, 3, H, W)``.

    Args:
        preserve_weight: weight of each pixel, ``(1, 1, H, W)``, 0-1.
    """
    return (preserve_weight * (picture.float() - photo).abs()).mean()


def tones(picture: Tensor) -> Tensor:
    """Mean colours of squares of `TONE` pixels, ``(1, 3, H / TONE, W / TONE)``, float32."""
    return F.avg_pool2d(picture.float(), min(TONE, *picture.shape[-2:]), ceil_mode=True, count_include_pad=False)


def draft_loss(picture: Tensor, target: Tensor) -> Tensor:
    """The mean squared difference of ``picture``'s `tones` from the draft's, ``(1, 3, h, w)``.

    It keeps colours and light, which CLIP hardly sees, and leaves strokes and edges free.
    """
    return F.mse_loss(tones(picture), target)


def total_variation(picture: Tensor) -> Tensor:
    """The sum of four L2 norms of ``picture``'s horizontal, vertical and two diagonal differences (L_tv).

    As in CLIPstyler's code: norms, not means, so that the value grows with the picture's side.

    Args:
        picture: RGB in [0, 1], ``(1, 3, H, W)``.
    """
    x = picture.float()
    differences = (
        x[..., :, :-1] - x[..., :, 1:],
        x[..., :-1, :] - x[..., 1:, :],
        x[..., 1:, :-1] - x[..., :-1, 1:],
        x[..., :-1, :-1] - x[..., 1:, 1:],
    )
    return torch.stack([torch.linalg.vector_norm(d) for d in differences]).sum()
