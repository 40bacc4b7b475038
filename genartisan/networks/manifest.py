"""The manifest of a bundle, ``bundle.json``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

FORMAT = 2
Role = Literal["clip", "fcn", "vgg", "predictor", "pastiche", "style_head"]
REQUIRED: tuple[Role, ...] = ("clip", "fcn", "vgg", "predictor", "pastiche")
STYLE_HEAD: Role = "style_head"  # optional


class NetworkEntry(BaseModel):
    """One network of a bundle."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    file: str
    sha256: str
    architecture: dict[str, Any]
    source: str
    licence: str
    figures: dict[str, Any] = {}  # measured after training
    commit: str | None = None  # that trained it; ends in -dirty if the working tree had changes
    seed: int | None = None  # of the training

    def without_file(self) -> dict[str, Any]:
        """The entry as `write_bundle` takes it."""
        return self.model_dump(exclude={"file", "sha256"})


class Manifest(BaseModel):
    """The content of ``bundle.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: Literal[2]
    name: str
    description: str
    networks: dict[Role, NetworkEntry]
