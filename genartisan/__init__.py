"""Text-driven, people-preserving picture stylisation: Generative Artisan (arXiv 2207.11598), in full and beyond."""

from genartisan.bundle import Bundle
from genartisan.config import PRESETS, StyleConfig, preset
from genartisan.engine import Step
from genartisan.errors import BundleError, GenartisanError, InputError
from genartisan.stylizer import Result, Stylizer

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
