"""What a worker says about itself: ``GET /models/genartisan?customized=true``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import genartisan
from genartisan.method.stylizer import Stylizer
from genartisan.serving.limits import Limits
from genartisan.serving.schema import description


def describe_model(stylizer: Stylizer, bundle_hash: str, limits: Limits) -> dict[str, Any]:
    """The package, networks, saved styles, limits and inputs, ready for JSON.

    Args:
        bundle_hash: the SHA-256 of the bundle's manifest.
    """
    bundle = stylizer.bundle
    return {
        "version": genartisan.__version__,
        "package": str(Path(genartisan.__file__ or "").parent),  # inside the archive
        "device": str(stylizer.device),
        "precision": stylizer.precision,
        "threads": torch.get_num_threads(),
        "bundle": {
            "name": bundle.name,
            "sha256": bundle_hash,
            "files": {entry.file: entry.sha256 for entry in bundle.manifest.networks.values()},
        },
        "styles": {name: saved.about.described for name, saved in stylizer.styles.items()},
        "limits": limits.model_dump(),
        "input": description(),
    }
