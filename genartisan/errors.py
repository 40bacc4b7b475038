"""Errors that a user can act on.

Each carries an HTTP status, so that the command line, HTTP and gRPC report a mistake alike.
"""

from __future__ import annotations


class GenartisanError(Exception):
    """An error, the field it concerns and what to do about it.

    Attributes:
        message: one sentence or two: the field, the value received, the allowed range, the remedy.
        field: the input at fault, such as ``photo`` or ``regions.portrait.weight``; None if there is none.
        status: the HTTP status (400, 401, 404, 413, 415, 499, 500, 503, 504).
        exit_status: of the command line.
    """

    status = 500
    code = "internal"
    exit_status = 2

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field

    def as_dict(self) -> dict[str, dict[str, str | None]]:
        """The body of an error answer: ``{"error": {"code", "message", "field"}}``."""
        return {"error": {"code": self.code, "message": self.message, "field": self.field}}


class InputError(GenartisanError):
    """Input that cannot be read or is out of range (HTTP 400)."""

    status = 400
    code = "bad_input"


class TooLargeError(InputError):
    """Too many pixels or bytes (HTTP 413)."""

    status = 413
    code = "too_large"


class UnsupportedImageError(InputError):
    """An unsupported image format (HTTP 415)."""

    status = 415
    code = "unsupported_image"


class UnsupportedEncodingError(InputError):
    """A compressed body (HTTP 415)."""

    status = 415
    code = "unsupported_encoding"


class UnknownRequestError(InputError):
    """No request with this id and key is in progress (HTTP 404)."""

    status = 404
    code = "unknown_request"


class CancelledError(GenartisanError):
    """The request was cancelled (HTTP 499, as nginx has it)."""

    status = 499
    code = "cancelled"


class DeadlineError(GenartisanError):
    """The deadline passed before there was a picture, or a finished one if no other is wanted (HTTP 504)."""

    status = 504
    code = "deadline"


class ExpiredError(DeadlineError):
    """The deadline passed in the queue, before the work began (HTTP 504)."""


class BundleError(GenartisanError):
    """A bundle that is missing, truncated, tampered with or of an unknown kind; the message names the file."""

    code = "bundle"


class WeightsError(GenartisanError):
    """An official weight file that could not be fetched, verified or converted."""

    code = "weights"


class ServeError(GenartisanError):
    """The server could not be started, stopped or reached."""

    code = "serve"


class EndedError(ServeError):
    """A server in the foreground ended by itself."""

    exit_status = 3


class AccessError(ServeError):
    """The key is missing or invalid (HTTP 401; 400 from TorchServe)."""

    status = 401


class BusyError(ServeError):
    """Queue full, no worker, too many requests, or about to end: the same may succeed later (HTTP 503).

    Attributes:
        retry_after: seconds after which the server wants to be asked again; None if it does not say.
    """

    status = 503
    code = "busy"

    def __init__(self, message: str, field: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, field)
        self.retry_after = retry_after


class NoModelError(ServeError):
    """The server, or a proxy in front of it, knows no such endpoint (HTTP 404)."""


class WorkerDiedError(ServeError):
    """The worker that had the request died."""


class DisconnectedError(ServeError):
    """The connection ended before the answer did."""


class LateError(ServeError):
    """The server did not answer within the client's timeout."""

    status = 504
