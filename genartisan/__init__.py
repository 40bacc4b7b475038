"""Text-driven, people-preserving picture stylisation after Generative Artisan (arXiv 2207.11598)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genartisan.config import PRESETS, StyleConfig, preset
    from genartisan.errors import BundleError, GenartisanError, InputError
    from genartisan.method.step import Step
    from genartisan.method.stylization import Result
    from genartisan.method.stylizer import Stylizer
    from genartisan.networks.bundle import Bundle

__version__ = "0.1.0"
__all__ = [
    "PRESETS",
    "Bundle",
    "BundleError",
    "GenartisanError",
    "InputError",
    "Result",
    "Step",
    "StyleConfig",
    "Stylizer",
    "preset",
]
_HOMES = {
    "networks.bundle": ("Bundle",),
    "config": ("PRESETS", "StyleConfig", "preset"),
    "method.step": ("Step",),
    "errors": ("BundleError", "GenartisanError", "InputError"),
    "method.stylization": ("Result",),
    "method.stylizer": ("Stylizer",),
}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used: the command line and the client need not wait for PyTorch."""
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"genartisan.{module}"), name)
    raise AttributeError(f"module 'genartisan' has no attribute {name!r}")
