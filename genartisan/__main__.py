"""``python -m genartisan``: the command line."""

import sys

from genartisan.cli import main

sys.exit(main())
