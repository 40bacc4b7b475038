"""``genartisan train-start``: a learned start for any bundle, from a folder of photos and a list of sentences.

What comes out is a bundle: the same networks, and the start beside them. Some of the photos and of the sentences are
never learned from; how their drafts get better is kept as a curve and as a contact sheet, drawn anew at each look.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from genartisan.bundle import LEARNED_START, MANIFEST, Bundle, link, read_manifest, resolve, sha256, write_bundle
from genartisan.checks import check_prompt, check_seed, shown
from genartisan.config import StyleConfig
from genartisan.engine import Run
from genartisan.errors import InputError
from genartisan.finish import finished
from genartisan.images import Photo, naming, pictures_in, read_photo, to_image
from genartisan.patches import plan
from genartisan.regions import RegionMap, random_regions
from genartisan.sheets import contact_sheet
from genartisan.start import LearnedStart
from genartisan.start_training import LESSON, Curve, Rng, open_as_copy, random_config, train_start
from genartisan.stylizer import Stylizer
from genartisan.text import text_direction

CHECKPOINT, RECIPE = "learned_start_checkpoint.pt", "training.json"
HELD_OUT = 8  # one photo and one sentence of so many are never learned from
EXAMPLES = 8  # held-out pairs that are looked at
SENTENCES = 1000  # that are drawn where no file of them is given
LEAST_SIZE = 64  # pixels: below, patches show nothing
PATCH = 0.6  # of a lesson's side
SQUARE = 0.5  # share of the lessons whose picture is square; the others' have sides of 3 to 4


@dataclass(frozen=True)
class Settings:
    """A training.

    Attributes:
        bundle: ``embedded``, ``official`` or a folder.
        photos: a folder of them, two at least: the more, the better.
        out: where the new bundle goes; also checkpoint, curve and contact sheet.
        texts: a file with a sentence a line; None: those that the embedded bundle's start was taught.
        steps: of four lessons each.
        size: of a lesson's picture, in pixels.
        examine_every: steps between two looks at the held-out pairs.
        resume: go on from the checkpoint in ``out``.
    """

    bundle: str
    photos: Path
    out: Path
    texts: Path | None = None
    steps: int = 3000
    size: int = 128
    examine_every: int = 250
    seed: int = 0
    resume: bool = False
    device: str = "auto"
    precision: str = "auto"


def train(settings: Settings) -> Curve:
    """Trains and writes the bundle; returns the held-out losses in the course of the training.

    Raises:
        InputError: too few photos or sentences, one that cannot be read, or a setting out of range.
        BundleError: the bundle is missing or damaged.
    """
    check(settings)
    photos, texts = pictures_in(settings.photos), sentences(settings)
    wanted = recipe(settings, photos, texts)
    check_resumed(settings, wanted)
    check_readable(photos)
    known_photos, held_photos = split(photos, "photos")
    known_texts, held_texts = split(texts, "texts")
    stylizer = Stylizer(Bundle.load(settings.bundle), settings.device, settings.precision)
    bundle = stylizer.bundle
    torch.manual_seed(settings.seed)
    start = LearnedStart(bundle.clip.embedding_dim, bundle.start.first.out_channels)
    open_as_copy(start, bundle.start)
    start.to(stylizer.device)
    config = LESSON.updated({"patch_size": max(16, round(PATCH * settings.size))})
    school = School(stylizer, start, config, directions(stylizer, texts, config.source_text))

    def lesson(rng: Rng) -> Run:
        square = rng.random() < SQUARE
        height, width = (settings.size,) * 2 if square else rng.permutation((settings.size, settings.size * 4 // 3))
        photo = crop(read_photo(known_photos[rng.integers(len(known_photos))]), rng, (int(height), int(width)))
        regions = random_regions(rng, (int(height), int(width)))
        return school.lesson(photo, regions, known_texts[rng.integers(len(known_texts))], rng)

    pairs = []
    for number in range(EXAMPLES):
        rng, text = np.random.default_rng([settings.seed, 1, number]), held_texts[number % len(held_texts)]
        photo = crop(read_photo(held_photos[number % len(held_photos)]), rng, (settings.size, settings.size))
        pairs.append((text, school.lesson(photo, None, text, rng)))

    def told(curve: Curve) -> None:
        (settings.out / "curve.json").write_text(json.dumps(curve, indent=1) + "\n", encoding="utf-8")
        draw_curve(curve, settings.out / "curve.png")
        draw_drafts(start, pairs, settings.out / "drafts.jpg")

    (settings.out / RECIPE).write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")
    curve = train_start(
        start,
        lesson,
        steps=settings.steps,
        seed=settings.seed,
        checkpoint=settings.out / CHECKPOINT,
        resume=settings.resume,
        examples=[run for _, run in pairs],
        examine_every=settings.examine_every,
        told=told,
    )
    write(settings, start.cpu(), curve)
    return curve


@dataclass(frozen=True)
class School:
    """A bundle whose learned start is the one in training, and the directions of all sentences."""

    stylizer: Stylizer
    start: LearnedStart
    config: StyleConfig
    directions: Mapping[str, Tensor]

    def lesson(self, photo: Photo, regions: RegionMap | None, text: str, rng: Rng) -> Run:
        """A request for a picture of that photo."""
        config, seed = random_config(rng, self.config), int(rng.integers(2**31))
        return Run(
            bundle=replace(self.stylizer.bundle, learned_start=self.start),
            photo=photo,
            regions=regions,
            direction=self.directions[text],
            plan=plan(config, photo.size, regions, seed),
            config=config,
            seed=seed,
            device=self.stylizer.device,
            dtype=self.stylizer.dtype,
        )


def directions(stylizer: Stylizer, texts: Sequence[str], source_text: str) -> dict[str, Tensor]:
    """The direction of each sentence, ``(D,)``.

    Raises:
        InputError: one means the same as the source text; it is named.
    """
    found = {}
    for text in tqdm(texts, desc="sentences", unit="sentence", mininterval=1):
        found[text] = text_direction(stylizer.bundle.clip, text, source_text)
        if not bool(found[text].any()):
            raise InputError(f"texts hold {shown(text)}, which asks for no style; take it out.", "texts")
    return found


def recipe(settings: Settings, photos: Sequence[Path], texts: Sequence[str]) -> dict[str, Any]:
    """What a training depends on: one that is resumed has to have the same."""
    listed = json.dumps([[path.name for path in photos], list(texts)])
    return {
        "bundle": sha256(resolve(settings.bundle) / MANIFEST),
        "photos_and_texts": hashlib.sha256(listed.encode()).hexdigest(),
        "steps": settings.steps,
        "size": settings.size,
        "seed": settings.seed,
    }


def check_resumed(settings: Settings, wanted: dict[str, Any]) -> None:
    """Makes the folder, unless what is in it is not to be gone on with.

    Raises:
        InputError: naming what differs, or what would be written over.
    """
    try:
        settings.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"out {str(settings.out)!r} cannot be made: {error.strerror}.", "out") from error
    begun = (settings.out / CHECKPOINT).exists() or (settings.out / MANIFEST).exists()
    if begun and not settings.resume:
        raise InputError(f"out {str(settings.out)!r} holds a bundle or a training; name another, or --resume.", "out")
    if not begun:
        return
    try:
        before = json.loads((settings.out / RECIPE).read_text(encoding="utf-8"))
        torch.load(settings.out / CHECKPOINT, weights_only=True, map_location="cpu")
    except Exception as error:  # whatever a damaged file may raise
        raise InputError(f"out {str(settings.out)!r} holds no training to go on with ({error}).", "out") from error
    if differs := [name for name in wanted if before.get(name) != wanted[name]]:
        reason = f"was begun with another {differs[0]}"
        raise InputError(f"out {str(settings.out)!r} {reason}; give the same, or another folder.", "out")


def check(settings: Settings) -> None:
    """Refuses what would fail later, or overwrite another bundle.

    Raises:
        InputError: naming it.
    """
    check_seed(settings.seed)
    if settings.steps < 1:
        raise InputError(f"steps is {settings.steps}; give at least 1.", "steps")
    if settings.examine_every < 1:
        raise InputError(f"examine_every is {settings.examine_every}; give at least 1.", "examine_every")
    if not LEAST_SIZE <= settings.size <= 512:
        raise InputError(f"size is {settings.size}; give {LEAST_SIZE} to 512 pixels.", "size")
    if settings.out.exists() and settings.out.resolve() == resolve(settings.bundle).resolve():
        raise InputError(f"out {str(settings.out)!r} is the bundle itself; name a folder for the new one.", "out")


def check_readable(paths: Sequence[Path]) -> None:
    """Decodes each file once: in the midst of a training it would be late to learn that one is damaged.

    Raises:
        InputError: one cannot be read; it is named.
    """
    for path in tqdm(paths, desc="photos", unit="photo", mininterval=1):
        with naming(path, "photos"):
            read_photo(path)


def sentences(settings: Settings) -> list[str]:
    """Those of the file; or some of those that the embedded bundle's start was taught.

    Raises:
        InputError: the file cannot be read, or a line is no prompt.
    """
    if settings.texts is None:
        from genartisan.embedded.captions import random_wish

        chance = random.Random(settings.seed)
        wishes = (random_wish(chance) for _ in range(SENTENCES))
        return list(dict.fromkeys(wish.text for wish in wishes if wish.techniques or wish.colour))
    try:
        lines = settings.texts.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise InputError(f"texts {str(settings.texts)!r} cannot be read: {error}.", "texts") from error
    return list(dict.fromkeys(check_prompt(line) for line in lines if line.strip()))


def split(everything: Sequence[Any], field: str) -> tuple[list[Any], list[Any]]:
    """What is learned from, and what is not.

    Raises:
        InputError: there are not two.
    """
    if len(everything) < 2:
        raise InputError(f"{field} are {len(everything)}; give at least 2, of which one is held out.", field)
    known = [each for number, each in enumerate(everything) if number % HELD_OUT or not number]
    held = [each for number, each in enumerate(everything) if number and number % HELD_OUT == 0]
    return (known, held) if held else (known[:-1], known[-1:])


def crop(photo: Photo, rng: Rng, size: tuple[int, int]) -> Photo:
    """A part of a photo at (height, width), perhaps mirrored."""
    width, height = photo.size
    scale = rng.uniform(0.3, 1.0) * min(height / size[0], width / size[1])
    h, w = (max(1, min(int(side * scale), most)) for side, most in zip(size, (height, width), strict=True))
    y, x = rng.integers(height - h + 1), rng.integers(width - w + 1)
    part = F.interpolate(photo.pixels[None, :, y : y + h, x : x + w], size=size, mode="bilinear", antialias=True)[0]
    return Photo((part.flip(2) if rng.random() < 0.5 else part).contiguous())


def write(settings: Settings, start: LearnedStart, curve: Curve) -> None:
    """The new bundle: links to the old one's files, and the start."""
    folder = resolve(settings.bundle)
    manifest = read_manifest(folder)
    networks: dict[str, tuple[Any, dict[str, Any]]] = {}
    for role, entry in manifest.networks.items():
        if role != LEARNED_START:
            target = settings.out / f"{role}.safetensors"
            target.unlink(missing_ok=True)
            link(folder / entry.file, target)
            networks[role] = None, entry.model_dump(exclude={"file", "sha256"})
    figures = {
        "steps": settings.steps,
        "size": settings.size,
        "patch_loss": curve[-1]["patch"],
        "patch_loss_of_copies": curve[0]["patch"],
        "curve": curve,
    }
    tensors = {name: tensor.half() for name, tensor in start.state_dict().items()}
    networks[LEARNED_START] = tensors, {
        "architecture": {
            "kind": LEARNED_START, "dim": start.dim, "base_channels": start.stylenet.first.out_channels,
        },
        "source": f"genartisan train-start on {settings.photos.name} and "
        f"{'built-in sentences' if settings.texts is None else settings.texts.name}, "
        f"with the networks of manifest {sha256(folder / MANIFEST)[:12]}",
        "licence": "as the photos and the networks that it learned from allow",
        "figures": figures,
        "seed": settings.seed,
    }  # fmt: skip
    write_bundle(settings.out, settings.out.resolve().name, manifest.description, networks)


def draw_curve(curve: Curve, path: Path) -> None:
    """The losses of held-out drafts over the steps; at step 0 a draft is a copy of the photo."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(6, 3.5), layout="constrained")
    for name in ("patch", "direction"):
        axis.plot([row["step"] for row in curve], [row[name] for row in curve], marker=".", label=name)
    axis.set(xlabel="steps", ylabel="loss of held-out drafts")
    axis.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


@torch.no_grad()
def draw_drafts(start: LearnedStart, pairs: Sequence[tuple[str, Run]], path: Path) -> None:
    """The held-out photos over their drafts."""
    rows: list[list[tuple[str, Any]]] = [[], []]
    for text, run in pairs:
        picture = start(run.direction, run.content)
        rows[0].append(("photo", to_image(run.photo.pixels)))
        rows[1].append((text, finished(picture, run.photo, run.config.contrast)))
    contact_sheet(rows, side=160).save(path, quality=90)
