"""``genartisan …``: the command line."""
