"""``python -m genartisan``: the command line."""

import sys

from genartisan.cli.main import main

sys.exit(main())
