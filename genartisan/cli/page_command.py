"""`genartisan ui`: the page in the browser."""

from __future__ import annotations

import argparse
import getpass
import os
import signal
import sys

from genartisan.cli.console import print_progress
from genartisan.cli.flags import add_key_flag
from genartisan.errors import InputError
from genartisan.page.launch import HOST, MIN_PASSWORD, PASSWORD_VARIABLE, PORT, check_host, show
from genartisan.serving.defaults import URL


def ui(options: argparse.Namespace) -> None:
    """Open the page, which talks to a running server, until Ctrl-C."""
    check_host(options.host, options.login is not None)
    login = None if options.login is None else (options.login, password())
    signal.signal(signal.SIGTERM, _interrupt)
    client = {"url": options.url, "key_file": options.key_file}
    show(client, options.host, options.port, login, not options.no_browser, print_progress)


def _interrupt(*_: object) -> None:
    """SIGTERM ends the page as Ctrl-C does, so that its files are removed."""
    raise KeyboardInterrupt


def password() -> str:
    """The login's password, from the environment or from the keyboard.

    Raises:
        InputError: it is missing or too short.
    """
    given = os.environ.get(PASSWORD_VARIABLE)
    if given is None and sys.stdin.isatty():
        given = getpass.getpass("password of the page: ")
    if given is None or len(given) < MIN_PASSWORD:
        raise InputError(
            f"login needs a password of at least {MIN_PASSWORD} characters in {PASSWORD_VARIABLE}.", "login"
        )
    return given


def add_ui_flags(parser: argparse.ArgumentParser) -> None:
    """Where the page listens, and which server it talks to."""
    parser.add_argument("--url", default=URL, help=f"server (default: {URL})")
    add_key_flag(parser)
    parser.add_argument("--host", default=HOST, help=f"address of the page (default: {HOST}); others need --login")
    parser.add_argument("--port", type=int, default=PORT, metavar="N", help=f"of the page (default: {PORT})")
    parser.add_argument("--login", metavar="USER", help=f"ask for this user and a password, from {PASSWORD_VARIABLE}")
    parser.add_argument("--no-browser", action="store_true", help="do not open the browser")
