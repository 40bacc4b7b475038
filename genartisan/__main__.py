"""The program ``genartisan``, also as ``python -m genartisan``."""

import sys

from genartisan.environment import restart_with_defaults


def main() -> int:
    """Runs a command and returns its exit status. For the program alone: its process starts anew."""
    restart_with_defaults()
    from genartisan.cli.main import main

    return main()


if __name__ == "__main__":
    sys.exit(main())
