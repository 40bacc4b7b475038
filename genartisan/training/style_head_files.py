"""The inputs and outputs of ``genartisan train-start``: sentences, resumable folder, new bundle and curve."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from genartisan.errors import InputError
from genartisan.io.atomic import replacing, write_whole
from genartisan.io.files import link, sha256
from genartisan.io.images import naming, read_photo
from genartisan.networks.bundle import MANIFEST, read_manifest, resolve, write_bundle
from genartisan.networks.manifest import STYLE_HEAD
from genartisan.networks.style_head import StyleHead
from genartisan.training.style_head_settings import CHECKPOINT, CURVE, RECIPE, SENTENCES, Curve, Settings
from genartisan.validation import check_prompt


def begin_training(settings: Settings, photos: Sequence[Path], texts: Sequence[str]) -> Curve:
    """Creates ``out``, decodes each photo once as a check, and returns the curve of a training to be resumed."""
    out, curve = settings.out, Curve()
    if out.exists() and out.resolve() == resolve(settings.bundle).resolve():
        raise InputError(f"out {str(out)!r} is the bundle itself; give a folder for the new one.", "out")
    listed = json.dumps([[path.name for path in photos], list(texts)])
    recipe = {
        "bundle": sha256(resolve(settings.bundle) / MANIFEST),
        "photos_and_texts": hashlib.sha256(listed.encode()).hexdigest(),
        "steps": settings.steps, "size": settings.size, "seed": settings.seed,
    }  # fmt: skip
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"out {str(out)!r} cannot be created: {error.strerror}.", "out") from error
    if (out / CHECKPOINT).exists() or (out / MANIFEST).exists():
        if not settings.resume:
            raise InputError(f"out {str(out)!r} contains a bundle or a training; give another, or --resume.", "out")
        try:
            before, curve = (json.loads((out / name).read_text(encoding="utf-8")) for name in (RECIPE, CURVE))
            torch.load(out / CHECKPOINT, weights_only=True, map_location="cpu")
        except Exception as error:  # damaged files raise errors of any type
            raise InputError(f"out {str(out)!r} contains no training to resume ({error}).", "out") from error
        if differs := [name for name in recipe if before.get(name) != recipe[name]]:
            reason = f"contains a training with another {differs[0]}"
            raise InputError(f"out {str(out)!r} {reason}; give the same one, or another folder.", "out")
    for path in tqdm(photos, desc="photos", unit="photo", mininterval=1):
        with naming(path, "photos"):
            read_photo(path)
    write_json(out / RECIPE, recipe)
    return curve


def sentences(settings: Settings) -> list[str]:
    """The distinct sentences of the file, or generated ones that name the embedded bundle's styles."""
    if settings.texts is None:
        from genartisan.drawing.captions import random_wish

        rng = random.Random(settings.seed)
        wishes = (random_wish(rng) for _ in range(SENTENCES))
        return list(dict.fromkeys(wish.text for wish in wishes if wish.techniques or wish.colour))
    try:
        lines = settings.texts.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise InputError(f"texts {str(settings.texts)!r} cannot be read: {error}.", "texts") from error
    return list(dict.fromkeys(check_prompt(line) for line in lines if line.strip()))


def write_trained_bundle(settings: Settings, head: StyleHead, curve: Curve) -> None:
    """Writes the new bundle: links to the old one's files, and the head."""
    folder = resolve(settings.bundle)
    manifest = read_manifest(folder)
    networks: dict[str, tuple[Any, dict[str, Any]]] = {}
    for role, entry in manifest.networks.items():
        if role != STYLE_HEAD:
            target = settings.out / f"{role}.safetensors"
            target.unlink(missing_ok=True)
            link(folder / entry.file, target)
            networks[role] = None, entry.without_file()
    photos = readable_name(settings.photos)
    texts = "generated sentences" if settings.texts is None else readable_name(settings.texts)
    networks[STYLE_HEAD] = {name: tensor.half() for name, tensor in head.state_dict().items()}, {
        "architecture": {"kind": STYLE_HEAD, "dim": head.dim, "width": head.width},
        "source": f"genartisan train-start on {photos} and {texts}, with the networks of manifest "
        f"{sha256(folder / MANIFEST)[:12]}",
        "licence": "subject to the licences of the photos and the networks it was trained with",
        "figures": {"steps": settings.steps, "size": settings.size, "curve": curve},
        "seed": settings.seed,
    }  # fmt: skip
    write_bundle(settings.out, readable_name(settings.out.resolve()), manifest.description, networks)


def readable_name(path: Path) -> str:
    """Its name, with bytes that are not UTF-8 escaped for JSON."""
    return path.name.encode("utf-8", "backslashreplace").decode()


def write_json(path: Path, value: Any) -> None:
    write_whole(path, json.dumps(value, indent=1) + "\n")


def draw_curve(curve: Curve, path: Path) -> None:
    """Plots the losses of held-out drafts over the steps; at step 0 all have the photos' mean style."""
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
