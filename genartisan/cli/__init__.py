"""``genartisan …``: the command line."""

import os

from genartisan.environment import set_defaults

set_defaults(os.environ)  # before the commands' modules load PyTorch

from genartisan.cli.main import main  # noqa: E402

__all__ = ["main"]
