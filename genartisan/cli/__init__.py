"""``genartisan …``: the command line."""

import os

from genartisan.openmp import spin_briefly

spin_briefly(os.environ)  # before the commands' modules load PyTorch

from genartisan.cli.main import main  # noqa: E402

__all__ = ["main"]
