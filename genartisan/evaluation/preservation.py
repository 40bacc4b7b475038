"""How much of a part of a photo a picture preserves: a distance in VGG's maps, SSIM, edges, and LPIPS and DISTS.

The last two come from torchmetrics, where it is installed and their weights are present; nothing is downloaded.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

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

Distance = Callable[[Tensor, Tensor], float]  # of two pictures, RGB in [0, 1], (3, H, W)
LIBRARY, LATEST = "torchmetrics", "torchmetrics.image.dists"  # the second came with release 1.8
REMEDY = "get it with: pip install 'genartisan[measures]'"
NEEDED = {"lpips": "AlexNet_Weights", "dists": "VGG16_Weights"}  # torchvision's networks; the rest is in torchmetrics


def preservation(extractor: FeatureExtractor, photo: Tensor, picture: Tensor, part: Tensor) -> dict[str, float] | None:
    """The measures of `PRESERVATION` on a part of the photo; None where the part is empty.

    The part is pasted from the picture into the photo first, so that the rest of the picture has no influence, whatever
    a network's receptive field.

    Args:
        photo: RGB in [0, 1], ``(3, H, W)``.
        picture: the same.
        part: True where it is, ``(H, W)``, bool.
    """
    if not bool(part.any()):
        return None
    pasted = torch.where(part, picture, photo)  # (3, H, W)
    return {
        "vgg": vgg_distance(extractor, photo, pasted, part),
        "ssim": ssim(photo, pasted, part),
        "edges": edges(photo, pasted, part),
    }


@torch.no_grad()
def vgg_distance(extractor: FeatureExtractor, photo: Tensor, picture: Tensor, part: Tensor) -> float:
    """The mean over the part of the squared distance of VGG's normalised maps, in [0, 4]; 0 for the same picture.

    Each pixel's features have length 1, as in LPIPS (Zhang et al., arXiv 1801.03924). Departing from LPIPS, the maps
    are relu4_2 and relu5_2 of the bundle's VGG-19, those of the content loss, without learned weights. It ranks
    pictures of one photo; its values cannot be compared with those of papers.
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
    """The mean structural similarity over the part, at most 1, for the same picture."""
    from skimage.metrics import structural_similarity

    one, other = (np.asarray(each.permute(1, 2, 0).cpu().numpy(), np.float64) for each in (photo, picture))  # (H, W, 3)
    _, similar = structural_similarity(  # type: ignore[no-untyped-call]
        one, other, channel_axis=-1, data_range=1.0, gaussian_weights=True, sigma=SSIM_SIGMA,
        use_sample_covariance=False, full=True,
    )  # (H, W, 3)  # fmt: skip
    return float(similar[part.cpu().numpy()].mean())


def edges(photo: Tensor, picture: Tensor, part: Tensor) -> float:
    """The correlation over the part of the brightness' Sobel gradient magnitudes, in [-1, 1].

    1 for the same picture, and for the same edges at another contrast; 0 where one picture has none.
    """
    one, other = (edge_strength(each)[part] for each in (photo, picture))  # (n,)
    if torch.equal(one, other):
        return 1.0
    one, other = one - one.mean(), other - other.mean()
    length = float(one.norm() * other.norm())
    return float(one @ other) / length if length > 0 else 0.0


def edge_share(photo: Tensor, picture: Tensor, part: Tensor) -> float:
    """The share of the picture's edges that lies on the photo's edges, in [0, 1].

    Of the part's sum of gradient magnitudes in the picture, the share that falls on the quarter of the part's pixels
    where the photo's are largest. Chance is 0.25; a photo against itself has about 0.55 to 0.8; a picture without
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


def perceptual_distances() -> tuple[dict[str, Distance], list[str]]:
    """LPIPS and DISTS by name where they are available, and a sentence on each that is not."""
    if importlib.util.find_spec(LIBRARY) is None:
        return {}, [f"LPIPS and DISTS were not measured: {LIBRARY} is not installed; {REMEDY}."]
    if importlib.util.find_spec(LATEST) is None:
        return {}, [f"LPIPS and DISTS were not measured: {LIBRARY} {version(LIBRARY)} has no DISTS; {REMEDY}."]
    makers = {"lpips": _lpips, "dists": _dists}
    missing = {name: file for name, file in weight_files().items() if not file.is_file()}
    reasons = [
        f"{name.upper()} was not measured: its network's official weights, {file.name}, are not in torch's folder of "
        "checkpoints."
        for name, file in missing.items()
    ]
    return {name: make() for name, make in makers.items() if name not in missing}, reasons


def weight_files() -> dict[str, Path]:
    """Where torchvision stores the networks of the distances."""
    import torchvision.models

    folder = Path(torch.hub.get_dir()) / "checkpoints"
    return {name: folder / Path(getattr(torchvision.models, kind).DEFAULT.url).name for name, kind in NEEDED.items()}


def _lpips() -> Distance:
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    return _distance(LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True))


def _dists() -> Distance:
    from torchmetrics.image.dists import DeepImageStructureAndTextureSimilarity

    return _distance(DeepImageStructureAndTextureSimilarity())


def _distance(metric: Callable[[Tensor, Tensor], Tensor]) -> Distance:
    @torch.no_grad()
    def distance(one: Tensor, other: Tensor) -> float:
        return float(metric(one[None].cpu(), other[None].cpu()))

    return distance
