"""Opens the page: on loopback, without analytics, and with files that are gone when it is closed."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import threading
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from genartisan.errors import InputError, ServeError
from genartisan.serving.defaults import is_loopback

HOST, PORT = "127.0.0.1", 7860
PASSWORD_VARIABLE = "GENARTISAN_PAGE_PASSWORD"
MIN_PASSWORD = 8  # characters
MESSAGE = "genartisan: sign in to use this page."
QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "GRADIO_SHARE": "False"}


def check_host(host: str, has_login: bool) -> None:
    """Refuses to show the page to others without a login.

    Raises:
        InputError: ``host`` is not loopback, and there is none.
    """
    if not is_loopback(host) and not has_login:
        raise InputError(f"host is {host}, which others can reach; add --login USER.", "host")


def check_port(host: str, port: int) -> None:
    """Refuses a port that is taken.

    Raises:
        ServeError: the page cannot listen there.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise ServeError(
                f"the page cannot listen at {host}:{port} ({error}); choose another --port.", "port"
            ) from None


@contextlib.contextmanager
def opened(
    client_options: dict[str, Any], host: str = HOST, port: int = PORT, login: tuple[str, str] | None = None
) -> Iterator[str]:
    """A block while the page is open; yields its URL.

    Args:
        client_options: of `genartisan.client.Client`.
        login: the user and the password that the page asks for.

    Raises:
        InputError: others could reach the page, and there is no login.
        ServeError: Gradio is missing, or the port is taken.
    """
    check_host(host, login is not None)
    check_port(host, port)
    folder = Path(tempfile.mkdtemp(prefix="genartisan-page-"))
    os.environ.update({**QUIET, "GRADIO_TEMP_DIR": str(folder)})  # before Gradio is imported
    try:
        try:
            from genartisan.page import app, local_only, look
        except ModuleNotFoundError as error:
            raise ServeError(f"the page needs {error.name}: pip install 'genartisan[ui]'.", "ui") from error
        from genartisan.client import Client
        from genartisan.io.decode import MAX_BYTES
        from genartisan.page.sitting import Sittings

        with Client(**client_options, retries=0) as client:
            blocks = app.build(client, Sittings(folder))
            _, url, _ = blocks.launch(
                server_name=host, server_port=port, share=False, inbrowser=False, quiet=True, prevent_thread_lock=True,
                auth=login, auth_message=MESSAGE, max_file_size=MAX_BYTES, footer_links=[], run_history=False,
                enable_monitoring=False, ssr_mode=False, pwa=False, mcp_server=False, show_error=False,
                theme=look.theme(), css=look.css(), head=look.head(), app_kwargs=local_only.app_kwargs(),
            )  # fmt: skip
            try:
                yield url
            finally:
                close(blocks)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def close(blocks: Any) -> None:
    """Closes the page. Gradio wakes its streams from another thread than theirs; a second attempt passes them by."""
    try:
        blocks.close(verbose=False)
    except RuntimeError:  # the streams' list changed meanwhile
        blocks.close(verbose=False)


def show(
    client_options: dict[str, Any],
    host: str,
    port: int,
    login: tuple[str, str] | None,
    browser: bool,
    say: Callable[[str], None],
) -> None:
    """Shows the page until Ctrl-C or SIGTERM."""
    with opened(client_options, host, port, login) as url:
        say(f"the page is open at {url}; Ctrl-C closes it")
        if browser:
            webbrowser.open(url)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
