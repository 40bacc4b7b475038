"""The work of one item: skip it if its picture is there, else make the picture and write it whole."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from pydantic import BaseModel

from genartisan.batch.items import Item
from genartisan.errors import GenartisanError
from genartisan.io import storage
from genartisan.io.images import encode, unique_id_of
from genartisan.method.saved_style import SavedStyle
from genartisan.method.style_images import style_image_field
from genartisan.method.stylizer import Stylizer
from genartisan.networks.bundle import Bundle, read_manifest, resolve
from genartisan.networks.memory import out_of_memory
from genartisan.validation import mask_field

FINGERPRINT = 32  # hexadecimal digits, as EXIF's ImageUniqueID has


class Outcome(BaseModel):
    """What became of an item.

    Attributes:
        status: ``unfit``: this machine can make no picture at all.
        error: as in an error answer, if there is no picture.
        warnings: of the picture's report.
    """

    output: str
    status: Literal["made", "skipped", "failed", "unfit"]
    error: dict[str, str | None] | None = None
    warnings: list[str] = []


class UnfitError(Exception):
    """This machine can make no picture at all; ``error`` says why."""

    def __init__(self, error: dict[str, str | None]) -> None:
        super().__init__(error["message"])
        self.error = error


@contextmanager
def needed() -> Iterator[None]:
    """Turns any error into `UnfitError`."""
    try:
        yield
    except Exception as error:
        raise UnfitError(explained(error, f"on {platform.node()}: ")) from error


@dataclass
class Worker:
    """Makes pictures, one at a time, with networks that it loads once, before the first.

    Attributes:
        threads: of PyTorch.
        styles: the saved styles that items name.
    """

    bundle: str
    device: str
    precision: str
    graphs: bool
    threads: int
    media_type: str
    styles: Mapping[str, SavedStyle]

    def __call__(self, row: Mapping[str, str]) -> dict[str, str]:
        """The outcome of the item in a row of Ray Data, both as JSON."""
        outcome = self.work(Item.model_validate_json(row["item"]), row["output"])
        return {"outcome": outcome.model_dump_json()}

    @cached_property
    def stylizer(self) -> Stylizer:
        torch.set_num_threads(self.threads)
        with needed():
            bundle = Bundle.load(self.bundle)
            return Stylizer(bundle, self.device, self.precision, graphs=self.graphs, styles=self.styles)

    @cached_property
    def networks(self) -> dict[str, Any]:
        """Hashes and architectures of the bundle's networks."""
        with needed():
            manifest = read_manifest(resolve(self.bundle))
        return {role: [entry.sha256, entry.architecture] for role, entry in manifest.networks.items()}

    def work(self, item: Item, output: str) -> Outcome:
        """Makes the picture ``output``, unless it is there whole, of the same inputs and settings; never raises."""
        try:
            return self._made(item, output)
        except UnfitError as error:
            return Outcome(output=output, status="unfit", error=error.error)
        except Exception as error:
            return Outcome(output=output, status="failed", error=explained(error))

    def _made(self, item: Item, output: str) -> Outcome:
        contents = {field: storage.read(file, field) for field, file in item.files.items()}
        fingerprint = self.fingerprint(item, contents)
        if storage.exists(output) and unique_id_of(storage.read(output, "output", limit=None)) == fingerprint:
            return Outcome(output=output, status="skipped")
        config, seed = item.settings
        result = self.stylizer(
            contents["photo"],
            item.prompt,
            config=config,
            mask={name: contents[mask_field(name)] for name in item.masks},
            style_image={name: contents[style_image_field(name)] for name in item.style_images},
            seed=seed,
        )
        storage.write(output, encode(result.image, self.media_type, unique_id=fingerprint))
        return Outcome(output=output, status="made", warnings=result.report["warnings"])

    def fingerprint(self, item: Item, contents: Mapping[str, bytes]) -> str:
        """A hash of all that the picture depends on, apart from the machine and the version of this program."""
        config, seed = item.settings
        saved = None if config.style is None else self.styles[config.style]
        facts = {
            "files": {field: hashlib.sha256(content).hexdigest() for field, content in contents.items()},
            "prompt": item.prompt,
            "config": config.model_dump(),
            "seed": seed,
            "style": None if saved is None else [saved.about.prompt, saved.numbers.tolist()],
            "networks": self.networks,
            "precision": self.precision,
            "media_type": self.media_type,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:FINGERPRINT]


def explained(error: Exception, where: str = "") -> dict[str, str | None]:
    """Code, message and field of an error.

    Args:
        where: begins the message.
    """
    if isinstance(error, GenartisanError):
        return {"code": error.code, "message": where + error.message, "field": error.field}
    if out_of_memory(error):
        remedy = "lower size, output_size or patches, use a smaller photo, or fewer workers a node"
        return {"code": "out_of_memory", "message": f"{where}out of memory; {remedy}.", "field": None}
    message = " ".join(f"{where}{type(error).__name__}: {error}".split())
    return {"code": GenartisanError.code, "message": message, "field": None}
