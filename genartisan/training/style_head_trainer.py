"""``genartisan train-start``: a style head for any bundle, learned from a folder of photos and a list of sentences.

As in FastCLIPstyler (arXiv 2210.03461) the frozen pastiche network draws a photo with the style numbers that the head
tells, and the bundle's own losses teach the head (eq 1-9). Out comes a bundle: the same networks, and the head.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from genartisan.errors import InputError
from genartisan.io.atomic import replacing, write_whole
from genartisan.io.contact_sheet import contact_sheet
from genartisan.io.images import Photo, encode, naming, pictures_in, read_photo, to_image
from genartisan.method.engine import Run
from genartisan.method.patches import plan
from genartisan.method.style_numbers import SEARCH, numbers_of_picture
from genartisan.method.stylizer import Stylizer
from genartisan.method.text import text_direction
from genartisan.networks.bundle import (
    EMBEDDED,
    MANIFEST,
    STYLE_HEAD,
    Bundle,
    link,
    read_manifest,
    resolve,
    sha256,
    write_bundle,
)
from genartisan.networks.style_head import StyleHead
from genartisan.training.style_head_settings import Settings
from genartisan.training.trainer import fit
from genartisan.validation import check_prompt, check_seed, shown

CHECKPOINT, RECIPE, CURVE = "style_head_checkpoint.pt", "training.json", "curve.json"
DRAFTS, DRAWN_CURVE = "drafts.jpg", "curve.png"
WRITTEN = (CHECKPOINT, RECIPE, CURVE, DRAFTS, DRAWN_CURVE, MANIFEST)  # in ``out``, beside the networks
BATCH, LANES = 4, 2  # pairs a step; how many of them side by side
RATE = 1e-3  # AdamW's highest
PATCHES, PATCH = 4, 0.6  # of a picture; their side as a share of its side
HELD_OUT = 8  # one photo and one sentence of so many are never learned from
EXAMPLES = 8  # held-out pairs that are examined
CROPS = 64  # of photos, whose mean style the head starts from
SENTENCES = 1000  # that are made up where no file of them is given
MIN_SIZE, MAX_SIZE = 64, 512  # pixels

Curve = list[dict[str, float]]


class Pair(NamedTuple):
    """A photo, the sentence after which it is to be drawn, and the seed of its patches."""

    photo: Photo
    text: str
    seed: int


def train(settings: Settings) -> Curve:
    """Trains and writes the bundle; returns the mean losses of held-out pairs in the course of the training.

    Raises:
        InputError: too few photos or sentences, one that cannot be read, or a setting out of range.
        BundleError: the bundle is missing or damaged.
    """
    check(settings)
    photos, texts = pictures_in(settings.photos), sentences(settings)
    curve = begin(settings, photos, texts)
    learned, held_out = zip(split(photos, "photos"), split(texts, "texts"), strict=True)
    stylizer = Stylizer(Bundle.load(settings.bundle), settings.device, settings.precision)
    directions = directions_of(stylizer.bundle, texts)
    crops, examples = pairs(learned, settings, 0, CROPS), pairs(held_out, settings, 0, EXAMPLES)
    of_crops = torch.stack([numbers_of_picture(stylizer.bundle, pair.photo).cpu() for pair in crops])  # (C, 100)
    torch.manual_seed(settings.seed)
    head = fresh_head(stylizer.bundle, of_crops)

    def numbers_of(some: list[Pair]) -> Tensor:
        return head(torch.stack([directions[pair.text] for pair in some]))  # type: ignore[no-any-return] # (N, 100)

    def runs(some: list[Pair], numbers: Tensor) -> list[Run]:
        return [run_of(stylizer, pair, directions[pair.text], own) for pair, own in zip(some, numbers, strict=True)]

    def batch_loss(step: int) -> Tensor:
        batch = pairs(learned, settings, 1 + step, BATCH)
        numbers = numbers_of(batch)
        gradients, losses = map(torch.stack, zip(*pool.map(descended, runs(batch, numbers.detach())), strict=True))
        surrogate = (numbers * gradients).sum()  # its gradient is the losses', which `descended` has taken already
        return (surrogate - surrogate.detach() + losses.sum()) / (BATCH * SEARCH.lambda_patch)

    def examine(step: int) -> None:
        """Notes the mean losses of the held-out pairs, and draws the curve and their drafts."""
        drawn = runs(examples, numbers_of(examples).detach())
        drafts = [(pair.text, run.picture()) for pair, run in zip(examples, drawn, strict=True)]
        sheet = contact_sheet([[("photo", to_image(pair.photo.pixels)) for pair in examples], drafts], side=160)
        write_whole(settings.out / DRAFTS, encode(sheet, "image/jpeg", quality=90))
        losses = [next(run).losses for run in drawn]
        means = {name: round(float(np.mean([each[name] for each in losses])), 4) for name in losses[0]}
        curve[:] = [*(row for row in curve if row["step"] < step), {"step": step, **means}]
        write_json(settings.out / CURVE, curve)
        draw_curve(curve, settings.out / DRAWN_CURVE)

    with ThreadPoolExecutor(LANES) as pool:
        fit(
            head, batch_loss, steps=settings.steps, rate=RATE, checkpoint=settings.out / CHECKPOINT,
            resume=settings.resume, device=stylizer.device, examine=examine, examine_every=settings.examine_every,
        )  # fmt: skip
    write(settings, head, curve)
    return curve


def pairs(source: Sequence[Any], settings: Settings, step: int, count: int) -> list[Pair]:
    """Random pairs of a step, counted from 1, of photos and sentences; they depend on the seed and the step alone."""
    photos, texts = source
    drawn = []
    for number in range(count):
        rng = np.random.default_rng([settings.seed, step, number])
        photo = crop(read_photo(photos[rng.integers(len(photos))]), rng, settings.size)
        drawn.append(Pair(photo, texts[rng.integers(len(texts))], int(rng.integers(2**31))))
    return drawn


def fresh_head(bundle: Bundle, of_crops: Tensor) -> StyleHead:
    """A head that tells the mean style of photos' crops, ``(N, 100)``, for every sentence.

    Its deviation is that of the embedded bundle's head, which knows styles, if both have the same predictor; else the
    crops'.
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
    """A run of one step, by the losses of `SEARCH`, that begins with those style numbers, ``(100,)``."""
    size = max(pair.photo.size)
    config = SEARCH.updated({"steps": 1, "size": size, "patches": PATCHES, "patch_size": max(16, round(PATCH * size))})
    return Run(
        bundle=stylizer.bundle, photo=pair.photo, regions=None, direction=direction,
        plan=plan(config, pair.photo.size, None, pair.seed), config=config, seed=pair.seed, device=stylizer.device,
        dtype=stylizer.dtype, numbers=numbers, photo_numbers=numbers,  # the photo's own count below full strength only
    )  # fmt: skip


def descended(run: Run) -> tuple[Tensor, Tensor]:
    """The gradient of a run's total loss by its style numbers, ``(100,)``, and that loss."""
    next(run)
    gradient = run.painter.get_parameter("numbers").grad
    assert gradient is not None
    return gradient[0], run.history[0][0]


@torch.no_grad()
def directions_of(bundle: Bundle, texts: Sequence[str]) -> dict[str, Tensor]:
    """The direction of each sentence, ``(D,)``; one that asks for nothing is refused."""
    directions = {}
    for text in tqdm(texts, desc="sentences", unit="sentence", mininterval=1):
        directions[text] = text_direction(bundle.clip, text, SEARCH.source_text)
        if not bool(directions[text].any()):
            raise InputError(f"texts hold {shown(text)}, which asks for no style; take it out.", "texts")
    return directions


def check(settings: Settings) -> None:
    """Refuses what is out of range, or would overwrite the bundle."""
    check_seed(settings.seed)
    for name in ("steps", "examine_every"):
        if getattr(settings, name) < 1:
            raise InputError(f"{name} is {getattr(settings, name)}; give at least 1.", name)
    if not MIN_SIZE <= settings.size <= MAX_SIZE:
        raise InputError(f"size is {settings.size}; give {MIN_SIZE} to {MAX_SIZE} pixels.", "size")
    if settings.out.exists() and settings.out.resolve() == resolve(settings.bundle).resolve():
        raise InputError(f"out {str(settings.out)!r} is the bundle itself; name a folder for the new one.", "out")


def begin(settings: Settings, photos: Sequence[Path], texts: Sequence[str]) -> Curve:
    """Decodes each photo once, and makes ``out``; or gives the curve of the same training, to be resumed, in it."""
    out, curve = settings.out, Curve()
    listed = json.dumps([[path.name for path in photos], list(texts)])
    recipe = {
        "bundle": sha256(resolve(settings.bundle) / MANIFEST),
        "photos_and_texts": hashlib.sha256(listed.encode()).hexdigest(),
        "steps": settings.steps, "size": settings.size, "seed": settings.seed,
    }  # fmt: skip
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"out {str(out)!r} cannot be made: {error.strerror}.", "out") from error
    if (out / CHECKPOINT).exists() or (out / MANIFEST).exists():
        if not settings.resume:
            raise InputError(f"out {str(out)!r} holds a bundle or a training; name another, or --resume.", "out")
        try:
            before, curve = (json.loads((out / name).read_text(encoding="utf-8")) for name in (RECIPE, CURVE))
            torch.load(out / CHECKPOINT, weights_only=True, map_location="cpu")
        except Exception as error:  # whatever a damaged file may raise
            raise InputError(f"out {str(out)!r} holds no training to go on with ({error}).", "out") from error
        if differs := [name for name in recipe if before.get(name) != recipe[name]]:
            reason = f"was begun with another {differs[0]}"
            raise InputError(f"out {str(out)!r} {reason}; give the same, or another folder.", "out")
    for path in tqdm(photos, desc="photos", unit="photo", mininterval=1):
        with naming(path, "photos"):
            read_photo(path)
    write_json(out / RECIPE, recipe)
    return curve


def sentences(settings: Settings) -> list[str]:
    """Those of the file, or made-up ones of the embedded bundle's styles."""
    if settings.texts is None:
        from genartisan.drawing.captions import random_wish

        chance = random.Random(settings.seed)
        wishes = (random_wish(chance) for _ in range(SENTENCES))
        return list(dict.fromkeys(wish.text for wish in wishes if wish.techniques or wish.colour))
    try:
        lines = settings.texts.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise InputError(f"texts {str(settings.texts)!r} cannot be read: {error}.", "texts") from error
    return list(dict.fromkeys(check_prompt(line) for line in lines if line.strip()))


def split(everything: Sequence[Any], field: str) -> tuple[list[Any], list[Any]]:
    """What is learned from, and what is held out."""
    if len(everything) < 2:
        raise InputError(f"{field} are {len(everything)}; give at least 2, of which one is held out.", field)
    learned = [each for number, each in enumerate(everything) if number % HELD_OUT or not number]
    held_out = [each for number, each in enumerate(everything) if number and number % HELD_OUT == 0]
    return (learned, held_out) if held_out else (learned[:-1], learned[-1:])


def crop(photo: Photo, rng: np.random.Generator, size: int) -> Photo:
    """A square part of a photo, perhaps mirrored, at ``size`` pixels."""
    width, height = photo.size
    side = max(1, int(rng.uniform(0.3, 1.0) * min(width, height)))
    y, x = rng.integers(height - side + 1), rng.integers(width - side + 1)
    part = photo.pixels[None, :, y : y + side, x : x + side]  # (1, 3, side, side)
    part = F.interpolate(part, size=(size, size), mode="bilinear", antialias=True)[0]  # (3, size, size)
    return Photo((part.flip(2) if rng.random() < 0.5 else part).contiguous())


def write(settings: Settings, head: StyleHead, curve: Curve) -> None:
    """The new bundle: links to the old one's files, and the head."""
    folder = resolve(settings.bundle)
    manifest = read_manifest(folder)
    networks: dict[str, tuple[Any, dict[str, Any]]] = {}
    for role, entry in manifest.networks.items():
        if role != STYLE_HEAD:
            target = settings.out / f"{role}.safetensors"
            target.unlink(missing_ok=True)
            link(folder / entry.file, target)
            networks[role] = None, entry.model_dump(exclude={"file", "sha256"})
    photos = readable_name(settings.photos)
    texts = "made-up sentences" if settings.texts is None else readable_name(settings.texts)
    networks[STYLE_HEAD] = {name: tensor.half() for name, tensor in head.state_dict().items()}, {
        "architecture": {"kind": STYLE_HEAD, "dim": head.dim, "width": head.width},
        "source": f"genartisan train-start on {photos} and {texts}, with the networks of manifest "
        f"{sha256(folder / MANIFEST)[:12]}",
        "licence": "as the photos and the networks that it learned from allow",
        "figures": {"steps": settings.steps, "size": settings.size, "curve": curve},
        "seed": settings.seed,
    }  # fmt: skip
    write_bundle(settings.out, readable_name(settings.out.resolve()), manifest.description, networks)


def readable_name(path: Path) -> str:
    """Its name, of which JSON can hold all: bytes that are no text as escapes."""
    return path.name.encode("utf-8", "backslashreplace").decode()


def write_json(path: Path, value: Any) -> None:
    write_whole(path, json.dumps(value, indent=1) + "\n")


def draw_curve(curve: Curve, path: Path) -> None:
    """The losses of held-out drafts over the steps; at step 0 all are in the photos' mean style."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(6, 3.5), layout="constrained")
    for name in ("patch", "direction"):
        axis.plot([row["step"] for row in curve], [row[name] for row in curve], marker=".", label=name)
    axis.set(xlabel="steps", ylabel="loss of held-out drafts")
    axis.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    plt.close(figure)
