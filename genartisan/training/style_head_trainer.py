"""``genartisan train-start``: trains a style head for any bundle on a folder of photos and a list of sentences.

As in FastCLIPstyler (arXiv 2210.03461), the frozen pastiche network renders photos with the head's style numbers, and
the bundle's losses (eq 1-9) train the head. The result is a bundle of the same networks with the new head.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from genartisan.errors import InputError
from genartisan.io.atomic import write_whole
from genartisan.io.contact_sheet import contact_sheet
from genartisan.io.images import Photo, encode, pictures_in, read_photo, to_image
from genartisan.method.engine import Run
from genartisan.method.patches import plan
from genartisan.method.style_numbers import SEARCH, numbers_of_picture
from genartisan.method.stylizer import Stylizer
from genartisan.method.text import text_direction
from genartisan.networks.bundle import EMBEDDED, Bundle, read_manifest
from genartisan.networks.style_head import StyleHead
from genartisan.training.style_head_files import begin_training, draw_curve, sentences, write_json, write_trained_bundle
from genartisan.training.style_head_settings import BATCH, CHECKPOINT, CURVE, CURVE_PLOT, DRAFTS, Curve, Settings
from genartisan.training.trainer import Recipe, fit
from genartisan.validation import shown

LANES = 2  # pairs of a batch computed in parallel
RATE = 1e-3  # peak learning rate of AdamW
PATCHES, PATCH = 4, 0.6  # patches per picture, and their side as a share of the picture's
HELD_OUT = 8  # one in so many photos and sentences is held out
EXAMPLES = 8  # held-out pairs to examine
CROPS = 64  # crops of photos whose mean style initialises the head


class Pair(NamedTuple):
    """A photo, a sentence to stylise it by, and the seed of its patches."""

    photo: Photo
    text: str
    seed: int


def train(settings: Settings) -> Curve:
    """Trains a head and writes the bundle; returns the mean losses of held-out pairs over the steps.

    Raises:
        InputError: too few or unreadable photos or sentences, or a setting out of range.
        BundleError: the bundle is missing or damaged.
    """
    settings.check()
    photos, texts = pictures_in(settings.photos), sentences(settings)
    curve = begin_training(settings, photos, texts)
    learned, held_out = zip(split(photos, "photos"), split(texts, "texts"), strict=True)
    stylizer = Stylizer(Bundle.load(settings.bundle), settings.device, settings.precision)
    directions = directions_of(stylizer.bundle, texts)
    crops, examples = pairs(learned, settings, 0, CROPS), pairs(held_out, settings, 0, EXAMPLES)
    of_crops = torch.stack([numbers_of_picture(stylizer.bundle, pair.photo).cpu() for pair in crops])  # (C, 100)
    torch.manual_seed(settings.seed)
    head = fresh_head(stylizer.bundle, of_crops)

    def numbers_of(batch: list[Pair]) -> Tensor:
        return head(torch.stack([directions[pair.text] for pair in batch]))  # type: ignore[no-any-return] # (N, 100)

    def runs(batch: list[Pair], numbers: Tensor) -> list[Run]:
        return [run_of(stylizer, pair, directions[pair.text], row) for pair, row in zip(batch, numbers, strict=True)]

    def batch_loss(step: int) -> Tensor:
        batch = pairs(learned, settings, 1 + step, BATCH)
        numbers = numbers_of(batch)
        gradients, losses = map(torch.stack, zip(*pool.map(descended, runs(batch, numbers.detach())), strict=True))
        surrogate = (numbers * gradients).sum()  # has the gradient of the losses, already computed by `descended`
        return (surrogate - surrogate.detach() + losses.sum()) / (BATCH * SEARCH.lambda_patch)

    def examine(step: int) -> None:
        """Records the mean losses of the held-out pairs; writes the curve and a sheet of their drafts."""
        example_runs = runs(examples, numbers_of(examples).detach())
        drafts = [(pair.text, run.picture()) for pair, run in zip(examples, example_runs, strict=True)]
        sheet = contact_sheet([[("photo", to_image(pair.photo.pixels)) for pair in examples], drafts], side=160)
        write_whole(settings.out / DRAFTS, encode(sheet, "image/jpeg", quality=90))
        losses = [next(run).losses for run in example_runs]
        means = {name: round(float(np.mean([each[name] for each in losses])), 4) for name in losses[0]}
        curve[:] = [*(row for row in curve if row["step"] < step), {"step": step, **means}]
        write_json(settings.out / CURVE, curve)
        draw_curve(curve, settings.out / CURVE_PLOT)

    with ThreadPoolExecutor(LANES) as pool:
        fit(
            head, batch_loss, Recipe(settings.steps, RATE, BATCH), checkpoint=settings.out / CHECKPOINT,
            resume=settings.resume, device=stylizer.device, examine=examine, examine_every=settings.examine_every,
        )  # fmt: skip
    write_trained_bundle(settings, head, curve)
    return curve


def pairs(source: Sequence[Any], settings: Settings, step: int, count: int) -> list[Pair]:
    """Random pairs of photos and sentences, which depend on the seed and the step, counted from 1, alone."""
    photos, texts = source
    chosen = []
    for number in range(count):
        rng = np.random.default_rng([settings.seed, step, number])
        photo = crop(read_photo(photos[rng.integers(len(photos))]), rng, settings.size)
        chosen.append(Pair(photo, texts[rng.integers(len(texts))], int(rng.integers(2**31))))
    return chosen


def fresh_head(bundle: Bundle, of_crops: Tensor) -> StyleHead:
    """A head that predicts the mean style numbers of crops, ``(N, 100)``, for every sentence.

    Its deviation is that of the embedded bundle's head, whose targets are styles, if both bundles have the same
    predictor; else that of the crops.
    """
    head = StyleHead(dim=bundle.clip.embedding_dim)
    deviation, mean = torch.std_mean(of_crops, dim=0)
    if bundle.manifest.networks["predictor"].sha256 == read_manifest(EMBEDDED).networks["predictor"].sha256:
        embedded = Bundle.load(EMBEDDED).style_head
        deviation = deviation if embedded is None else embedded.get_buffer("deviation").float()
    head.load_state_dict({"mean": mean, "deviation": deviation}, strict=False)
    for parameter in head.layers[-1].parameters():
        nn.init.zeros_(parameter)
    return head


def run_of(stylizer: Stylizer, pair: Pair, direction: Tensor, numbers: Tensor) -> Run:
    """A run of one step with the losses of `SEARCH`, starting from style numbers, ``(100,)``."""
    size = max(pair.photo.size)
    config = SEARCH.updated({"steps": 1, "size": size, "patches": PATCHES, "patch_size": max(16, round(PATCH * size))})
    return Run(
        bundle=stylizer.bundle, photo=pair.photo, regions=None, direction=direction,
        plan=plan(config, pair.photo.size, None, pair.seed), config=config, seed=pair.seed, device=stylizer.device,
        dtype=stylizer.dtype, numbers=numbers, photo_numbers=numbers,  # photo_numbers are only read below full strength
    )  # fmt: skip


def descended(run: Run) -> tuple[Tensor, Tensor]:
    """Takes a run's step; returns the gradient of its total loss by its style numbers, ``(100,)``, and the loss."""
    next(run)
    gradient = run.painter.get_parameter("numbers").grad
    assert gradient is not None
    return gradient[0], run.history[0][0]


@torch.no_grad()
def directions_of(bundle: Bundle, texts: Sequence[str]) -> dict[str, Tensor]:
    """The text direction of each sentence, ``(D,)``; a sentence without one is refused."""
    directions = {}
    for text in tqdm(texts, desc="sentences", unit="sentence", mininterval=1):
        directions[text] = text_direction(bundle.clip, text, SEARCH.source_text)
        if not bool(directions[text].any()):
            raise InputError(f"texts contain {shown(text)}, which names no style; remove it.", "texts")
    return directions


def split(everything: Sequence[Any], field: str) -> tuple[list[Any], list[Any]]:
    """The training and the held-out part."""
    if len(everything) < 2:
        raise InputError(f"{field} has {len(everything)}; give at least 2, of which one is held out.", field)
    learned = [item for number, item in enumerate(everything) if number % HELD_OUT or not number]
    held_out = [item for number, item in enumerate(everything) if number and number % HELD_OUT == 0]
    return (learned, held_out) if held_out else (learned[:-1], learned[-1:])


def crop(photo: Photo, rng: np.random.Generator, size: int) -> Photo:
    """A random square crop of a photo, resized to ``size`` pixels and perhaps mirrored."""
    width, height = photo.size
    side = max(1, int(rng.uniform(0.3, 1.0) * min(width, height)))
    y, x = rng.integers(height - side + 1), rng.integers(width - side + 1)
    part = photo.pixels[None, :, y : y + side, x : x + side]  # (1, 3, side, side)
    part = F.interpolate(part, size=(size, size), mode="bilinear", antialias=True)[0]  # (3, size, size)
    return Photo((part.flip(2) if rng.random() < 0.5 else part).contiguous())
