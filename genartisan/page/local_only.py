"""Keeps the page on this machine: browsers are told to ask no other host, and to keep nothing."""

from __future__ import annotations

from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "frame-ancestors 'none'; base-uri 'self'; form-action 'self'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
FILES = "/gradio_api/file="  # photos and pictures


TITLE = b"<head>", b"<head><title>genartisan</title>"  # which Gradio's login lacks


class LocalOnly:
    """Adds the headers to every answer, and a title to documents."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        held: list[Message] = []  # the start of a document, until its first part tells its length

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                if FILES in scope["path"]:
                    headers["Cache-Control"] = "no-store"
                elif headers.get("content-type", "").startswith("text/html") and "content-length" in headers:
                    held.append(message)
                    return
            elif held:
                start = held.pop()
                whole = message.get("body", b"")
                message["body"] = whole.replace(*TITLE, 1)
                headers = MutableHeaders(scope=start)
                headers["Content-Length"] = str(int(headers["Content-Length"]) + len(message["body"]) - len(whole))
                await send(start)
            await send(message)

        await self._app(scope, receive, sending if scope["type"] == "http" else send)


def app_kwargs() -> dict[str, Any]:
    """The arguments of Gradio's FastAPI app."""
    return {"middleware": [Middleware(LocalOnly)], "docs_url": None, "redoc_url": None}
