"""How much of a part of a photo a picture preserves: a distance in VGG's maps, SSIM, and edges."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from genartisan.method.targets import FeatureExtractor

PRESERVATION = {"vgg": "VGG distance", "ssim": "SSIM", "edges": "edges"}  # the first is less, the others more if alike
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue, ITU-R BT.601
SSIM_SIGMA = 1.5  # pixels, Wang et al. 2004
EDGE_SIGMA, EDGE_KERNEL = 1.5, 13  # pixels; finer than that is texture, not an outline
EDGE_PIXELS = 0.25  # of a part, 0-1: those on the photo's strongest edges


def preservation(extractor: FeatureExtractor, photo: Tensor, picture: Tensor, part: Tensor) -> dict[str, float] | None:
    """What `PRESERVATION` names, of a part of the photo; None where the part is nothing.

    The part is cut from the picture and laid into the photo first, so that what the picture has elsewhere counts for
    nothing, however far a network sees.

    Args:
        photo: RGB in [0, 1], ``(3, H, W)``.
        picture: the same.
        part: True where it is, ``(H, W)``, bool.
    """
    if not bool(part.any()):
        return None
    laid = torch.where(part, picture, photo)  # (3, H, W)
    return {
        "vgg": vgg_distance(extractor, photo, laid, part),
        "ssim": ssim(photo, laid, part),
        "edges": edges(photo, laid, part),
    }


@torch.no_grad()
def vgg_distance(extractor: FeatureExtractor, photo: Tensor, picture: Tensor, part: Tensor) -> float:
    """The mean over the part of the squared distance of VGG's normalised maps, in [0, 4]; 0 for the same picture.

    Each pixel's features have length 1, as in LPIPS (Zhang et al., arXiv 1801.03924). It is not LPIPS: it has two maps
    of the bundle's own VGG-19, relu4_2 and relu5_2, which the content loss has too, and no weights that were learned
    from what people see. So it tells which of two pictures of a photo is nearer, and is no number to compare with
    others' papers.
    """
    device = next(extractor.bundle.vgg.parameters()).device
    distances = []
    maps = zip(extractor.features(photo[None].to(device)), extractor.features(picture[None].to(device)), strict=True)
    for pair in maps:
        one, other = (F.normalize(each.float(), dim=1) for each in pair)  # (1, C, h, w)
        share = F.interpolate(part[None, None].float(), size=one.shape[-2:], mode="area").to(device)  # (1, 1, h, w)
        squared = (one - other).square().sum(dim=1, keepdim=True)  # (1, 1, h, w)
        distances.append(float((squared * share).sum() / share.sum()))
    return sum(distances) / len(distances)


def ssim(photo: Tensor, picture: Tensor, part: Tensor) -> float:
    """The mean over the part of the structural similarity, at most 1, which it is for the same picture."""
    from skimage.metrics import structural_similarity

    one, other = (np.asarray(each.permute(1, 2, 0).cpu().numpy(), np.float64) for each in (photo, picture))  # (H, W, 3)
    _, similar = structural_similarity(  # type: ignore[no-untyped-call]
        one, other, channel_axis=-1, data_range=1.0, gaussian_weights=True, sigma=SSIM_SIGMA,
        use_sample_covariance=False, full=True,
    )  # (H, W, 3)  # fmt: skip
    return float(similar[part.cpu().numpy()].mean())


def edges(photo: Tensor, picture: Tensor, part: Tensor) -> float:
    """The correlation, over the part, of the strengths of edges, in [-1, 1]: Sobel's, of the brightness.

    1 for the same picture, and for two that have the same edges, however strong; 0 where one has none.
    """
    one, other = (edge_strength(each)[part] for each in (photo, picture))  # (n,)
    if torch.equal(one, other):
        return 1.0
    one, other = one - one.mean(), other - other.mean()
    length = float(one.norm() * other.norm())
    return float(one @ other) / length if length > 0 else 0.0


def edge_share(photo: Tensor, picture: Tensor, part: Tensor) -> float:
    """How much of the picture's edges lies where the photo has its own, in [0, 1].

    Of the part's sum of gradient magnitudes in the picture, the share that falls on the quarter of the part's pixels
    where the photo's own are largest. Chance is 0.25; a photo against itself has about 0.55 to 0.8; a picture without
    any edges has 0.

    Args:
        photo: RGB in [0, 1], ``(3, H, W)``, at a long side of 384 pixels for numbers that can be compared.
        picture: the same.
        part: True where it is, ``(H, W)``, bool.
    """
    blurred = (gaussian_blur(each.cpu(), [EDGE_KERNEL] * 2, [EDGE_SIGMA] * 2) for each in (photo, picture))
    of_photo, of_picture = (edge_strength(each)[part.cpu()] for each in blurred)  # (n,)
    strongest = of_photo.topk(round(EDGE_PIXELS * len(of_photo))).indices  # (n / 4,)
    total = float(of_picture.sum())
    return float(of_picture[strongest].sum()) / total if total > 0 else 0.0


def edge_strength(picture: Tensor) -> Tensor:
    """The length of the brightness' gradient by Sobel's filters, ``(H, W)``, of RGB ``(3, H, W)``."""
    brightness = (picture.cpu() * torch.tensor(LUMA)[:, None, None]).sum(dim=0)[None, None]  # (1, 1, H, W)
    across = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]]) / 8
    filters = torch.stack((across, across.T))[:, None]  # (2, 1, 3, 3)
    gradient = F.conv2d(F.pad(brightness, (1, 1, 1, 1), mode="replicate"), filters)  # (1, 2, H, W)
    strength: Tensor = torch.linalg.vector_norm(gradient[0], dim=0)
    return strength
