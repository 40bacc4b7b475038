"""``genartisan …``: the command line."""

from genartisan.cli.main import main

__all__ = ["main"]
