"""Trains the narrow VGG-19 of the content loss: ``python -m genartisan.embedded.train_vgg --out DIR --seed 0``.

The content loss should mind what a picture shows and not how it is painted. So the network sees photos and drawn
people under many styles; a decoder, thrown away later, has to draw the *original's* light, shade and edges from the
two feature maps, and a style's features should lie near the original's, compared with another picture's. Takes
three minutes on one core with AVX-512, half an hour on an old one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genartisan.embedded.canvas import Array, Rng
from genartisan.embedded.people import draw_scene
from genartisan.embedded.photos import HELD_OUT, content, load_photos
from genartisan.embedded.styles import STYLES, draw
from genartisan.embedded.train_fcn import FIRST_SEED
from genartisan.embedded.training import command, fit, made_by, save_network
from genartisan.networks import IMAGENET_MEAN, IMAGENET_STD, Vgg19, standardized

WIDTH = 0.125
SIZE = 112  # pixels, the side of a training picture
SCENES = 1500  # drawn scenes of people; drawn once, cropped anew each time
# The official VGG-19 puts a photo and its strongly stylised self about this far apart, and CLIPstyler's weight of 150
# is made for that: the two layers' shares of the content loss.
TARGETS = (0.8, 0.4)


class Decoder(nn.Module):
    """Draws light and edges at a quarter of the picture's size from the two feature maps."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.deep = nn.Conv2d(channels, 64, 3, padding=1)
        self.fine = nn.Conv2d(channels, 64, 3, padding=1)
        self.mix = nn.Conv2d(64, 64, 3, padding=1)
        self.last = nn.Conv2d(64, 2 * 4, 3, padding=1)
        self.deep_last = nn.Conv2d(64, 2 * 4, 3, padding=1)

    def forward(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Drawings ``(N, 2, h/4, w/4)`` from both maps and ``(N, 2, h/8, w/8)`` from the deep one alone."""
        middle, deep = features
        below = F.relu(self.deep(deep))  # (N, 64, h/16, w/16)
        up = F.interpolate(below, size=middle.shape[-2:], mode="bilinear")
        x = F.relu(self.mix(F.relu(self.fine(middle) + up)))  # (N, 64, h/8, w/8)
        return F.pixel_shuffle(self.last(x), 2), F.pixel_shuffle(self.deep_last(below), 2)


def train(
    out_dir: Path,
    seed: int = 0,
    *,
    steps: int = 1200,
    batch: int = 8,
    resume: bool = False,
    device: torch.device | None = None,
) -> dict[str, Any]:
    """Trains Vgg19(width=0.125) and writes vgg.safetensors and vgg.json; returns the figures."""
    made = made_by(seed)
    torch.manual_seed(seed)
    model, decoder = Vgg19(width=WIDTH), Decoder(round(512 * WIDTH))
    for layer in model.features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    photos = {name: photo for name, photo in load_photos().items() if name not in HELD_OUT}
    people = [draw_scene(FIRST_SEED + index, (144, 144)).image for index in range(SCENES)]

    def loss_at(step: int) -> Tensor:
        rng = np.random.default_rng([seed, step])
        originals = [random_original(rng, photos, people) for _ in range(batch)]
        first, second = (
            to_tensor(originals).to(device),
            to_tensor([restyled(rng, image) for image in originals]).to(device),
        )  # (N, 3, S, S) each
        inputs = seen(torch.cat((first, second)))  # (2N, 3, S, S)
        if step % 50 == 0 and step < 0.9 * steps:
            revive(model, inputs, seed + step)
        features = model(inputs)  # 2 x (2N, C, h, w)
        fine, coarse = decoder(features)
        truth = structure(first).repeat(2, 1, 1, 1)  # (2N, 2, S/4, S/4)
        drawing = F.mse_loss(fine, truth) + 0.5 * F.mse_loss(coarse, F.avg_pool2d(truth, 2))
        return drawing + 0.3 * sum(strangeness(layer) for layer in features)

    fit(
        nn.ModuleList((model, decoder)),
        loss_at,
        steps=steps,
        rate=2e-3,
        checkpoint=out_dir / "vgg_checkpoint.pt",
        resume=resume,
        device=device,
    )
    calibrate(model, photos | load_photos())
    figures = measure(model) | {"steps": steps}
    save_network(out_dir, "vgg", model, {"kind": "vgg19", "width": WIDTH}, figures, made)
    return figures


@torch.no_grad()
def revive(model: Vgg19, inputs: Tensor, seed: int) -> None:
    """Gives fresh weights to channels that are zero on a whole batch: through a ReLU they would never learn again."""
    chance = torch.Generator().manual_seed(seed)
    x = inputs
    for layer in model.features:
        x = layer(x)
        if isinstance(layer, nn.Conv2d):
            dead = x.amax((0, 2, 3)) <= 0  # (C,)
            if dead.any():
                spread = (2 / layer.weight[0].numel()) ** 0.5
                layer.weight[dead] = (torch.randn(layer.weight[dead].shape, generator=chance) * spread).to(x)
                cast(Tensor, layer.bias)[dead] = 0.05


def random_original(rng: Rng, photos: dict[str, Array], people: list[Array]) -> Array:
    """A crop of a photo or of a drawn scene with people, ``(S, S, 3)`` in [0, 1]."""
    if rng.random() < 0.5:
        return content(photos, rng, SIZE, share_drawn=0.1)
    scene = people[rng.integers(len(people))]
    side = int(rng.integers(int(len(scene) * 0.6), len(scene) + 1))
    y, x = rng.integers(len(scene) - side + 1, size=2)
    crop = cv2.resize(scene[y : y + side, x : x + side], (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    return crop.astype(np.float32) / 255


def restyled(rng: Rng, image: Array) -> Array:
    """The same content in another style or other colours, ``(S, S, 3)`` in [0, 1]."""
    x = image
    if rng.random() < 0.6:
        name = str(rng.choice(sorted(STYLES)))
        x = x + rng.uniform(0.4, 1.0) * (draw(name, x, rng) - x)
    if rng.random() < 0.6:
        x = np.clip(x, 0, 1)[..., rng.permutation(3)] ** rng.uniform(0.6, 1.6, 3) * rng.uniform(0.7, 1.1, 3)
        if rng.random() < 0.3:
            levels = rng.integers(3, 8)
            x = np.round(x * levels) / levels
    if rng.random() < 0.4:
        x = cv2.GaussianBlur(x.astype(np.float32), (0, 0), rng.uniform(0.4, 1.6))
    if rng.random() < 0.4:
        x = x + rng.normal(0, rng.uniform(0.02, 0.12), x.shape)
    return np.clip(x, 0, 1).astype(np.float32)


def to_tensor(images: list[Array]) -> Tensor:
    """``(N, 3, H, W)`` of N pictures ``(H, W, 3)``."""
    return torch.from_numpy(np.ascontiguousarray(np.stack(images), np.float32)).permute(0, 3, 1, 2).contiguous()


def seen(images: Tensor) -> Tensor:
    """Pictures in [0, 1] as a VGG takes them."""
    return standardized(images, IMAGENET_MEAN, IMAGENET_STD)


def structure(images: Tensor) -> Tensor:
    """Light, evened out to the same contrast everywhere, and edges: ``(N, 2, H/4, W/4)`` of ``(N, 3, H, W)``."""
    light = (images * images.new_tensor((0.299, 0.587, 0.114)).view(1, 3, 1, 1)).sum(1, keepdim=True)  # (N, 1, H, W)
    small = F.avg_pool2d(light, 4)  # (N, 1, H/4, W/4)
    window = {"kernel_size": 13, "stride": 1, "padding": 6, "count_include_pad": False}
    mean = F.avg_pool2d(small, **window)  # type: ignore[arg-type]
    spread = (F.avg_pool2d(small.square(), **window) - mean.square()).clamp(min=0).sqrt()  # type: ignore[arg-type]
    even = (small - mean) / (spread + 0.04)
    right = F.pad(even[..., 1:] - even[..., :-1], (0, 1, 0, 0))
    down = F.pad(even[..., 1:, :] - even[..., :-1, :], (0, 0, 0, 1))
    return torch.cat((even, (right.square() + down.square() + 1e-4).sqrt()), dim=1)


def strangeness(features: Tensor) -> Tensor:
    """How far styles are from their originals compared with how far other pictures are; 1 means no better than chance.

    ``features``: originals, then their styles, ``(2N, C, h, w)``.
    """
    first, second = features.chunk(2)
    same = (first - second).square().mean((1, 2, 3))  # (N,)
    other = (first - second.roll(1, 0)).square().mean((1, 2, 3))  # (N,)
    return (same / (other + 1e-4)).clamp(max=3).mean()


@torch.no_grad()
def content_terms(model: Vgg19, first: list[Array], second: list[Array]) -> Array:
    """The content loss's two terms for each pair, ``(N, 2)``."""
    pairs = zip(model(seen(to_tensor(first))), model(seen(to_tensor(second))), strict=True)
    return torch.stack([(a - b).square().mean((1, 2, 3)) for a, b in pairs], 1).numpy()


def styled_pairs(photos: dict[str, Array], count: int, seed: int = 0) -> tuple[list[Array], list[Array]]:
    """Photos at the size of an optimisation, 224 pixels, and finished styles of them."""
    rng = np.random.default_rng(seed)
    first = [content(photos, rng, 224, share_drawn=0.0) for _ in range(count)]
    return first, [draw(str(rng.choice(sorted(STYLES))), image, rng) for image in first]


@torch.no_grad()
def calibrate(model: Vgg19, photos: dict[str, Array], count: int = 32) -> None:
    """Scales conv4_2 and conv5_2 until strongly stylised photos have the content loss that the official VGG-19 gives.

    A rectified convolution scales with its weights, so this changes the loss's size and nothing about its direction.
    """
    median = np.median(content_terms(model, *styled_pairs(photos, count)), axis=0)  # (2,)
    gain = np.sqrt(np.array(TARGETS) / median).tolist()
    conv4_2, conv4_3, conv5_2 = (
        model.features[index] for index in (model.RELU4_2 - 1, model.RELU4_2 + 1, model.RELU5_2 - 1)
    )
    for layer, factor in ((conv4_2, gain[0]), (conv5_2, gain[1])):
        layer.weight *= factor
        layer.bias *= factor
    conv4_3.weight /= gain[0]  # what follows conv4_2 is to stay as it was


def measure(model: Vgg19, count: int = 32) -> dict[str, Any]:
    """Content losses on photos that training never saw: stylised, recoloured, and swapped for another photo."""
    photos = {name: photo for name, photo in load_photos().items() if name in HELD_OUT}
    first, styled = styled_pairs(photos, count, seed=1)
    recoloured = [np.clip(image[..., [2, 0, 1]] ** 0.8, 0, 1) for image in first]
    mirrored = [np.ascontiguousarray(image[:, ::-1]) for image in first]
    with torch.no_grad():
        features = model(seen(to_tensor(first)))
    terms = {"stylised": content_terms(model, first, styled), "recoloured": content_terms(model, first, recoloured)}
    terms["mirrored"] = content_terms(model, first, mirrored)
    terms["another_photo"] = content_terms(model, first, first[1:] + first[:1])
    return {
        "content_loss_median": {name: round(float(np.median(term.sum(1))), 3) for name, term in terms.items()},
        "content_terms_median_stylised": [round(float(term), 3) for term in np.median(terms["stylised"], 0)],
        "dead_channels": [int((layer.amax((0, 2, 3)) <= 0).sum()) for layer in features],
    }


if __name__ == "__main__":
    command(train)
