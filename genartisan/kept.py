"""Kept styles: a StyleNet that was optimised over several photos for one sentence, and draws any photo in one pass.

That is the other family of methods the paper tells of, model optimisation (MOB-NST): dear once, and cheap for each
picture. A style is one safetensors file, ``NAME.safetensors``, with what it is in the header, and a folder of them is a
mapping. Two styles that began from the same start can be mixed: weights in between give pictures in between (deep
network interpolation, Wang et al., arXiv 1811.10515).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import safetensors
import safetensors.torch
import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError

from genartisan.bundle import READABLE, assembled, home
from genartisan.checks import STYLE_NAME, check_style_name, shown
from genartisan.errors import BundleError, InputError
from genartisan.images import naming, read_photo
from genartisan.regions import random_regions
from genartisan.stylenet import StyleNet

if TYPE_CHECKING:
    from genartisan.config import StyleConfig
    from genartisan.engine import Step
    from genartisan.images import PictureSource
    from genartisan.stylizer import Stylizer

HEADER = "genartisan"  # the key of `About` in a file's header
SUFFIX = ".safetensors"
MAX_PHOTOS = 100  # that a style is made over: the features of each are kept meanwhile


class About(BaseModel):
    """What a kept style is.

    Attributes:
        prompt: the sentence; of a mixture both.
        parts: of a mixture, each sentence and its share; else nothing.
        start: what its network began as: the hash of the start's file, or a seed. Only alike ones can be mixed.
        bundle: name of the bundle under whose losses it was optimised.
        photos: how many it was optimised over.
        seed, config: of the optimisation; of a mixture, the first style's.
        network: of the StyleNet: ``base_channels``, ``inputs`` and ``affine``.
        losses: the mean over the photos at the last step of each, or none of a mixture.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: Literal[1] = 1
    prompt: str
    start: str
    bundle: str
    photos: int
    seed: int
    config: dict[str, Any]
    network: dict[str, Any]
    losses: dict[str, float] = {}
    parts: list[tuple[str, float]] = []

    @property
    def described(self) -> str:
        """The sentence; of a mixture all, with their shares."""
        return " + ".join(f"{share:.3g} {prompt}" for prompt, share in self.parts) or self.prompt


@dataclass(frozen=True)
class KeptStyle:
    """A network and what it is.

    Attributes:
        stylenet: on the CPU, in evaluation mode, without gradients for its weights; never trained, always copied.
    """

    about: About
    stylenet: StyleNet

    @classmethod
    def load(cls, path: Path) -> KeptStyle:
        """Reads a style.

        Raises:
            BundleError: the file is missing, damaged or no style.
        """
        try:
            with safetensors.safe_open(path, "pt") as file:
                about = About.model_validate_json((file.metadata() or {}).get(HEADER, ""))
                weights = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 - no mapping
            if about.network.get("inputs") not in (3, 4):
                raise BundleError("network.inputs must be 3 or 4")
            if not all(bool(torch.isfinite(weight).all()) for weight in weights.values()):
                raise BundleError("a weight is no number")
            network = assembled("stylenet", {"kind": "stylenet", **about.network}, weights)
        except (OSError, safetensors.SafetensorError, RuntimeError, ValidationError, BundleError) as error:
            reason = " ".join(str(error).split())[:200]
            raise BundleError(
                f"{path} is no kept style ({reason}). Make it: genartisan style make.", "style"
            ) from error
        assert isinstance(network, StyleNet)
        return cls(about, network)

    def save(self, path: Path) -> None:
        """Writes the style, at once: a file that is there is whole."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        tensors = {name: tensor.contiguous() for name, tensor in self.stylenet.state_dict().items()}
        safetensors.torch.save_file(tensors, partial, {HEADER: self.about.model_dump_json()})
        partial.chmod(READABLE)
        partial.replace(path)

    def mixed(self, other: KeptStyle, share: float) -> KeptStyle:
        """The style in between: this one's weights, and a ``share`` of the way to the other's.

        Args:
            share: of the other, 0-1.

        Raises:
            InputError: the share is out of range, or the two did not begin from the same start.
        """
        if not 0 <= share <= 1:
            raise InputError(f"share is {share:g}; give how much of the second style is wanted, from 0 to 1.", "share")
        if (self.about.start, self.about.network) != (other.about.start, other.about.network):
            raise InputError(
                f"style {shown(other.about.prompt)} did not begin from the start of {shown(self.about.prompt)}, so "
                "there is no style between them; make both with the same bundle and start, and a random one's seed.",
                "style",
            )
        between = {
            name: torch.lerp(weight, theirs, share)
            for (name, weight), theirs in zip(
                self.stylenet.state_dict().items(), other.stylenet.state_dict().values(), strict=True
            )
        }
        about = self.about.model_copy(update={
            "prompt": f"{self.about.prompt} and {other.about.prompt}",
            "parts": [
                (prompt, part * weight)
                for about, weight in ((self.about, 1 - share), (other.about, share))
                for prompt, part in about.parts or [(about.prompt, 1.0)]
            ],
            "photos": max(self.about.photos, other.about.photos),
            "losses": {},
        })  # fmt: skip
        network = assembled("stylenet", {"kind": "stylenet", **about.network}, between)
        assert isinstance(network, StyleNet)
        return KeptStyle(about, network)


class StyleFolder(Mapping[str, KeptStyle]):
    """The kept styles of a folder, by name; each is read when it is asked for, and a missing folder has none.

    Args:
        folder: by default that of `default_folder`.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = default_folder() if folder is None else Path(folder)

    def __getitem__(self, name: str) -> KeptStyle:
        if not (path := self.path(name)).is_file():
            raise KeyError(name)
        return KeptStyle.load(path)

    def __iter__(self) -> Iterator[str]:
        names = (path.stem for path in self.folder.glob(f"*{SUFFIX}"))
        return iter(sorted(name for name in names if STYLE_NAME.fullmatch(name)))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def path(self, name: str) -> Path:
        """Where the style of that name is, or would be.

        Raises:
            InputError: no style can have that name.
        """
        try:
            return self.folder / f"{check_style_name(name)}{SUFFIX}"
        except ValueError as error:
            raise InputError(f"style is {shown(name)}; it {error}.", "style") from error


def default_folder() -> Path:
    """Where styles are kept that are made on this machine."""
    return home() / "styles"


def find(styles: Mapping[str, KeptStyle], name: str) -> KeptStyle:
    """The style of that name.

    Raises:
        InputError: there is none; the message names those that there are.
    """
    try:
        return styles[name]
    except KeyError:
        known = f"known are {', '.join(list(styles)[:20])}" if len(styles) else "there are none yet"
        raise InputError(f"style is {shown(name)}; {known}. Make one: genartisan style make.", "style") from None


class Making(Iterator["Step"]):
    """The steps in which a style is made, one over each photo in turn; then ask it for its ``result()``.

    In artisan mode a photo without people gets a blot that counts as one: over photos without any, the network would
    forget how to leave them as they are.

    Args:
        stylizer: without graphs.
        photos: to optimise over, up to `MAX_PHOTOS`; the more they differ, the better it does on others.
        config: the settings. Each photo gets ``steps`` steps.
        seed: of the crops and of a random start.

    Raises:
        InputError: no photos or too many, no steps, or as `Stylizer.steps`.
    """

    def __init__(
        self,
        stylizer: Stylizer,
        prompt: str,
        photos: Sequence[PictureSource],
        config: StyleConfig,
        seed: int = 0,
    ) -> None:
        from genartisan.together import in_turns

        if not 1 <= len(photos) <= MAX_PHOTOS:
            raise InputError(f"photos are {len(photos)}; give 1 to {MAX_PHOTOS}.", "photos")
        if config.steps == 0:
            raise InputError("steps is 0; a style is made by at least one step over each photo.", "steps")
        if config.output_size is not None:
            raise InputError("output_size is of a picture; a style draws at any. Leave it out.", "output_size")
        self._runs, self._photos = [], photos
        for number, photo in enumerate(photos):
            with naming(photo, "photos"):
                mask = self._people(stylizer, photo, [seed, number]) if config.mode == "artisan" else None
                self._runs.append(stylizer.steps(photo, prompt, config=config, mask=mask, seed=seed).run)
        if any(len(run.directions) > 1 for run in self._runs):
            raise InputError(
                f"prompt {shown(prompt)} and regions have several texts; a style has one. Give the others with the "
                "pictures.",
                "prompt",
            )
        self.total = config.steps * len(photos)
        self._steps = in_turns(self._runs)
        self._about = About(
            prompt=" ".join(prompt.split()),
            start=self._start(stylizer, config, seed),
            bundle=stylizer.bundle.name,
            photos=len(photos),
            seed=seed,
            config=config.model_dump(),
            network=self._runs[0].stylenet.architecture,
        )

    @property
    def warnings(self) -> list[str]:
        """What was remarked of the prompt and the photos."""
        told = dict[str, str | None]()  # warning -> the photo, if it is of one alone
        for photo, run in zip(self._photos, self._runs, strict=True):
            for warning in run.warnings:
                told[warning] = None if warning in told or not isinstance(photo, str | Path) else str(photo)
        return [warning if photo is None else f"{photo}: {warning}" for warning, photo in told.items()]

    def __next__(self) -> Step:
        return next(self._steps)

    def result(self) -> KeptStyle:
        """The style as it is now.

        Raises:
            InputError: the optimisation diverged.
        """
        if not all(bool(torch.isfinite(weight).all()) for weight in self._runs[0].stylenet.parameters()):
            raise self._runs[0].divergence()
        last = [run.losses()[-1] for run in self._runs if run.history]
        losses = {name: round(sum(one[name] for one in last) / len(last), 4) for name in (last[0] if last else {})}
        weights = {name: tensor.cpu().clone() for name, tensor in self._runs[0].stylenet.state_dict().items()}
        network = assembled("stylenet", {"kind": "stylenet", **self._about.network}, weights)
        assert isinstance(network, StyleNet)
        return KeptStyle(self._about.model_copy(update={"losses": losses}), network)

    @staticmethod
    def _people(stylizer: Stylizer, photo: PictureSource, seed: Sequence[int]) -> Image.Image:
        """A mask of the people that FCN finds, or of a blot where it finds nobody."""
        found = stylizer.regions(read_photo(photo))
        if not bool(found.portrait.any()):
            height, width = found.labels.shape
            found = random_regions(np.random.default_rng(seed), (height, width), whole=0.0) or found
        return found.as_mask()

    @staticmethod
    def _start(stylizer: Stylizer, config: StyleConfig, seed: int) -> str:
        if config.style is not None:
            return find(stylizer.styles, config.style).about.start
        if config.start == "random":
            return json.dumps({"random": seed})
        networks = stylizer.bundle.manifest.networks
        learned = config.start == "bundle" and "learned_start" in networks
        return networks["learned_start" if learned else "stylenet"].sha256
