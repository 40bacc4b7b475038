"""What can go wrong, in words a user can act on.

Every error carries an HTTP status, so that the command line, HTTP and gRPC report one and the same mistake alike.
"""

from __future__ import annotations


class GenartisanError(Exception):
    """An error with the field it concerns and what to do about it.

    Attributes:
        message: one sentence or two: the field, the value received, the allowed range, the remedy.
        field: the input that is at fault, such as ``photo`` or ``regions.portrait.weight``; None where there is none.
        status: the HTTP status that says the same (400, 401, 413, 415, 500, 503, 504).
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
    """Not one of the image formats we take (HTTP 415)."""

    status = 415
    code = "unsupported_image"


class UnsupportedEncodingError(InputError):
    """A body that is compressed (HTTP 415)."""

    status = 415
    code = "unsupported_encoding"


class DeadlineError(GenartisanError):
    """The deadline came before there was a picture, or a finished one where no other was wanted (HTTP 504)."""

    status = 504
    code = "deadline"


class ExpiredError(DeadlineError):
    """The deadline came before the work began: the request waited too long (HTTP 504)."""


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
    """A server that was to stay has ended by itself."""

    exit_status = 3


class AccessError(ServeError):
    """The server wants a key, and got none or one that it does not take (HTTP 401 elsewhere, 400 in TorchServe)."""

    status = 401


class BusyError(ServeError):
    """The server's queue is full, or none of its workers is up: the same request may succeed later."""

    status = 503


class LateError(ServeError):
    """The server did not answer in the time that the client waits."""

    status = 504
