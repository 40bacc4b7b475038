"""Parses and validates a request: fields in, a `StyleRequest` out. Knows nothing of TorchServe."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from genartisan.config import MAX_STEPS, StyleConfig, from_params, preview_interval
from genartisan.errors import InputError
from genartisan.method.style_images import ALL, check_style_image_name, style_image_field
from genartisan.method.style_images import FIELD as STYLE_IMAGE
from genartisan.serving.defaults import MODEL
from genartisan.serving.duplicate_fields import check_once, load_json
from genartisan.serving.events import MEDIA_TYPE as EVENTS
from genartisan.serving.media_types import media_types
from genartisan.serving.request_headers import AUTHORIZATION, REQUEST_ID, REQUEST_START, TRACE_CONTEXT
from genartisan.validation import PERSON, PORTRAIT, check_mask_name, check_prompt, mask_field, shown

MASK = "mask"
BY_REGION = (MASK, STYLE_IMAGE)  # one picture, or several by the names of their regions: mask.sky
FIELDS = ("photo", "prompt", STYLE_IMAGE, MASK, "params")
GRPC_HEADERS = ("accept", REQUEST_START, REQUEST_ID, AUTHORIZATION, *TRACE_CONTEXT)  # fields over gRPC
USAGE = (
    "send multipart/form-data with the fields photo and prompt or style_image, as in "
    "curl -F photo=@photo.jpg -F 'prompt=Watercolor painting' URL, or JSON with photo as base64"
)


@dataclass(frozen=True)
class StyleRequest:
    """A valid request.

    Attributes:
        photo: the encoded photo.
        prompt: the style in words; None to use the saved style's or a style picture.
        masks: encoded masks by the names of their regions; the field ``mask`` is the portrait's.
        style_images: encoded style pictures by the names of their regions; the field ``style_image`` is
            `genartisan.method.style_images.ALL`.
        media_type: the media type of the answer, one of `genartisan.serving.media_types.MEDIA_TYPES`.
        picture_type: the media type of the picture in the answer, one of `genartisan.io.images.OUTPUTS`.
        preview_every: steps between two previews in a stream; 0 for none.
    """

    photo: bytes
    prompt: str | None
    masks: dict[str, bytes]
    style_images: dict[str, bytes]
    config: StyleConfig
    seed: int
    media_type: str
    picture_type: str
    preview_every: int

    def inputs(self) -> dict[str, Any]:
        """Photo, prompt, settings and pictures, as the arguments of `genartisan.method.stylizer.Stylizer.steps`."""
        return {
            "photo": self.photo,
            "prompt": self.prompt,
            "config": self.config,
            "mask": self.masks,
            "style_image": self.style_images,
        }

    def key(self, bundle: str) -> str:
        """A hash of everything the picture depends on, to cache it by.

        Args:
            bundle: the SHA-256 of the bundle's manifest.
        """
        # The deadline only cuts a picture short, and those are not cached.
        settings = self.config.model_dump_json(exclude={"timeout_s", "on_timeout"})
        masks = {mask_field(name): mask for name, mask in self.masks.items()}
        style_images = {style_image_field(name): picture for name, picture in self.style_images.items()}
        pictures = dict(sorted({**masks, **style_images}.items()))
        parts = (self.photo, (self.prompt or "").encode(), settings.encode(), *pictures.values())
        digests = [hashlib.sha256(part).hexdigest() for part in parts]
        return hashlib.sha256(json.dumps([*digests, *pictures, self.seed, bundle]).encode()).hexdigest()


def read_http(fields: Mapping[str, Any], headers: Mapping[str, str]) -> StyleRequest:
    """The request in the fields of a form, or in a body alone.

    Args:
        headers: their names in lower case.

    Raises:
        InputError: as `read_form` and `read_body`.
    """
    accept = headers.get("accept")
    if fields.keys() == {"body"}:
        return read_body(fields["body"], headers.get("content-type", ""), accept)
    return read_form(fields, accept)


def read_grpc(fields: Mapping[str, Any]) -> StyleRequest:
    """The request in a gRPC input map: the fields of a form, and some that are headers over HTTP.

    Raises:
        InputError: the answer would be a stream; or as `read_form`.
    """
    accept = _text(fields.get("accept"), "accept")
    form = {name: value for name, value in fields.items() if name not in GRPC_HEADERS}
    request = read_form(form, accept)
    if request.media_type == EVENTS:
        raise InputError(
            f"accept is {EVENTS}, but gRPC has a single reply. Streams use HTTP: POST /predictions/{MODEL} with the "
            f"header Accept: {EVENTS}.",
            "accept",
        )
    return request


def read_form(fields: Mapping[str, Any], accept: str | None) -> StyleRequest:
    """The request in the fields of a form: pictures and text as bytes, ``params`` as JSON text.

    Raises:
        InputError: a field is unknown, missing, sent twice or malformed.
    """
    _check_names(fields)
    check_once(fields)
    return _request(
        photo=_raw(fields.get("photo"), "photo"),
        prompt=_text(fields.get("prompt"), "prompt"),
        pictures=[(name, _raw(value, name)) for name, value in fields.items() if is_by_region(name)],
        params=_json(fields.get("params"), "params"),
        accept=accept,
    )


def read_body(body: Any, media_type: str, accept: str | None) -> StyleRequest:
    """The request in a JSON object, its pictures in base64.

    Raises:
        InputError: the body is no JSON object; or as `read_form`.
    """
    if isinstance(body, bytes | bytearray):
        if "json" not in media_type.lower():
            got = f"a raw body of type {media_type or 'unknown'}" if body else "no body"
            raise InputError(f"The request has {got}; {USAGE}.", "body")
        body = _json(body, "body")
    if not isinstance(body, Mapping):
        raise InputError(f"The body must be a JSON object, got {_kind(body)}; {USAGE}.", "body")
    _check_names(body)
    if dotted := next((name[:80] for name in body if name not in BY_REGION and is_by_region(name)), None):
        kind = dotted.partition(".")[0]
        raise InputError(f"{dotted} is a form's field; in JSON it is in {kind}, by name.", dotted)
    return _request(
        photo=_decoded(body.get("photo"), "photo"),
        prompt=body.get("prompt"),
        pictures=[(name, _decoded(value, name)) for name, value in _by_field(body)],
        params=body.get("params"),
        accept=accept,
    )


def is_by_region(field: str) -> bool:
    """Whether a field is a mask or a style picture, such as ``mask`` and ``mask.sky``."""
    return field.partition(".")[0] in BY_REGION


def _by_field(body: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The masks and style pictures of a JSON body, under the names of a form's fields.

    In JSON, each kind may be an object with pictures by the names of their regions.
    """
    fields = list[tuple[str, Any]]()
    for kind in BY_REGION:
        if isinstance(value := body.get(kind), Mapping):
            fields += [(f"{kind}.{name}", picture) for name, picture in value.items()]
        else:
            fields.append((kind, value))
    return fields


def _request(
    photo: bytes | None, prompt: Any, pictures: Sequence[tuple[str, bytes | None]], params: Any, accept: str | None
) -> StyleRequest:
    if photo is None:
        raise InputError(f"photo is missing; {USAGE}.", "photo")
    masks, style_images = (_of_kind(kind, pictures) for kind in BY_REGION)
    # The library checks the prompt again. Here it is for the cache, which answers without the library, and for the log.
    if prompt is not None:
        prompt = check_prompt(prompt)
    elif ALL not in style_images and not (isinstance(params, Mapping) and params.get("style")):
        of_region = f", and {style_image_field(min(style_images))} is for its region alone" if style_images else ""
        raise InputError(f"prompt is missing{of_region}; {USAGE}.", "prompt")
    media_type, picture_type = media_types(accept)
    params, preview_every = _without_preview({} if params is None else params)
    config, seed = from_params(params)
    if preview_every is None:
        preview_every = preview_interval(config.steps)
    return StyleRequest(photo, prompt, masks, style_images, config, seed, media_type, picture_type, preview_every)


def _of_kind(kind: str, pictures: Sequence[tuple[str, bytes | None]]) -> dict[str, bytes]:
    """The pictures of one kind by the names of their regions.

    Raises:
        InputError: a name is invalid, or a region has two.
    """
    by_region = dict[str, bytes]()
    # Sorted, aliases last: a gRPC map has no order, and an error names the same field over every protocol.
    for field, picture in sorted(pictures, key=lambda each: (each[0].endswith(f".{PERSON}"), each[0])):
        prefix, dot, name = field.partition(".")
        if prefix != kind:
            continue
        if not dot:
            region = PORTRAIT if kind == MASK else ALL
        else:
            region = check_mask_name(name) if kind == MASK else check_style_image_name(name)
        if picture is not None and region in by_region:
            what = "mask" if kind == MASK else "style picture"
            raise InputError(f"{field} is a second {what} of {region}; send one.", field)
        if picture is not None:
            by_region[region] = picture
    return by_region


def _without_preview(params: Any) -> tuple[Any, int | None]:
    """The params without ``preview_every``, and it, if given: it concerns the answer, not the picture."""
    if not isinstance(params, Mapping) or "preview_every" not in params:
        return params, None
    every = params["preview_every"]
    if isinstance(every, bool) or not isinstance(every, int) or not 0 <= every <= MAX_STEPS:
        raise InputError(
            f"preview_every is {shown(every)}; give a whole number of steps from 0 (no previews) to {MAX_STEPS}.",
            "preview_every",
        )
    return {name: value for name, value in params.items() if name != "preview_every"}, every


def _check_names(fields: Mapping[str, Any]) -> None:
    unknown = [name for name in fields if name not in FIELDS and not is_by_region(name)]
    if unknown:
        name = unknown[0][:80]
        hint = " Name the media type in the Accept header." if name == "accept" else ""
        raise InputError(f"{name} is no field; known are {', '.join(FIELDS)}.{hint}", name)


def _raw(value: Any, field: str) -> bytes | None:
    """A picture's bytes. A string is content, decoded by a server that saw ``text/plain``; it is never a path."""
    if value is None or isinstance(value, bytes | bytearray):
        return None if value is None else bytes(value)
    if isinstance(value, str):
        return value.encode()
    raise InputError(f"{field} must be a file, got {_kind(value)}.", field)


def _text(value: Any, field: str) -> Any:
    if not isinstance(value, bytes | bytearray):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{field} is not UTF-8 text (byte {error.start}); send it as UTF-8.", field) from error


def _json(value: Any, field: str) -> Any:
    """Parsed JSON text; what the server has parsed already stays as it is."""
    text = _text(value, field)
    if not isinstance(text, str):
        return text
    try:
        return load_json(text)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InputError(f"{field} is not valid JSON ({reason}); send an object.", field) from error


def _decoded(value: Any, field: str) -> bytes | None:
    """The bytes of a picture in base64, without the ``data:image/png;base64,`` that browsers prepend."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise InputError(f"{field} must be base64 text, got {_kind(value)}.", field)
    text = re.sub(r"^data:[^,]{0,200},", "", value[:256]) + value[256:]
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"{field} is not base64 ({error}); encode the file's bytes.", field) from error


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean", int: "a number", float: "a number"}
    return "null" if value is None else names.get(type(value), type(value).__name__)
