"""A request as it arrives at the server, read and checked: fields in, a `StyleRequest` out.

The handler is the only caller; TorchServe is not known here, so every rule can be tested without a server.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from genartisan.config import MAX_STEPS, PREVIEW_EVERY, StyleConfig, from_params
from genartisan.errors import InputError
from genartisan.io.images import OUTPUTS
from genartisan.method.style_images import ALL, check_style_image_name, style_image_field
from genartisan.method.style_images import FIELD as STYLE_IMAGE
from genartisan.serving.defaults import MODEL
from genartisan.serving.duplicate_fields import check_once, load_json
from genartisan.serving.events import MEDIA_TYPE as EVENTS
from genartisan.serving.request_headers import REQUEST_START
from genartisan.validation import PERSON, PORTRAIT, check_mask_name, check_prompt, mask_field, shown

MASK = "mask"
BY_REGION = (MASK, STYLE_IMAGE)  # fields of a picture, or of several by the names of their regions: mask.sky
FIELDS = ("photo", "prompt", STYLE_IMAGE, MASK, "params")
JSON = "application/json"
MEDIA_TYPES = (*OUTPUTS, JSON, EVENTS)  # in the order of preference where a wildcard leaves the choice to us
HOW_TO_ASK = (
    "send multipart/form-data with the fields photo and prompt or style_image, as in "
    "curl -F photo=@photo.jpg -F 'prompt=Watercolor painting' URL, or JSON with photo as base64"
)


@dataclass(frozen=True)
class StyleRequest:
    """What a client asks for.

    Attributes:
        photo: the encoded photo.
        prompt: the sentence; None for that of the saved style which the settings name, or of the style picture.
        masks: encoded masks by the names of their regions; that of the field ``mask`` is the people's.
        style_images: encoded style pictures by the names of their regions; that of the field ``style_image`` is for
            `genartisan.method.style_images.ALL`.
        media_type: of the answer, one of `MEDIA_TYPES`.
        picture_type: of the picture in the answer, one of `genartisan.io.images.OUTPUTS`.
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

    def key(self, bundle: str) -> str:
        """Of all that the picture depends on.

        Args:
            bundle: the SHA-256 of the bundle's manifest.
        """
        settings = self.config.model_dump_json(exclude={"timeout_s", "on_timeout"})  # they only cut it short
        masks = {mask_field(name): mask for name, mask in self.masks.items()}
        style_images = {style_image_field(name): picture for name, picture in self.style_images.items()}
        pictures = dict(sorted({**masks, **style_images}.items()))  # by their fields
        parts = (self.photo, (self.prompt or "").encode(), settings.encode(), *pictures.values())
        digests = [hashlib.sha256(part).hexdigest() for part in parts]
        whole = [*digests, *pictures, self.seed, bundle]
        return hashlib.sha256(json.dumps(whole).encode()).hexdigest()


def read_grpc(fields: Mapping[str, Any]) -> StyleRequest:
    """The request in a gRPC input map: the fields of a form, and those that over HTTP are headers.

    Raises:
        InputError: it asks for a stream; or as `read_form`.
    """
    accept = _text(fields.get("accept"), "accept")
    form = {name: value for name, value in fields.items() if name not in ("accept", REQUEST_START)}
    request = read_form(form, accept)
    if request.media_type == EVENTS:
        raise InputError(
            f"accept is {EVENTS}, and over gRPC there is one reply. Streams are over HTTP: "
            f"POST /predictions/{MODEL} with the header Accept: {EVENTS}.",
            "accept",
        )
    return request


def read_form(fields: Mapping[str, Any], accept: str | None) -> StyleRequest:
    """The request in the fields of a form: pictures and text as bytes, ``params`` as JSON text.

    Raises:
        InputError: a field is unknown, missing, sent twice, or cannot be read.
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
    """The request in the body of one HTTP request that is no form: a JSON object, its pictures in base64.

    Raises:
        InputError: it is no JSON object; or as `read_form`.
    """
    if isinstance(body, bytes | bytearray):
        if "json" not in media_type.lower():
            got = f"a raw body of type {media_type or 'unknown'}" if body else "no body"
            raise InputError(f"The request has {got}; {HOW_TO_ASK}.", "body")
        body = _json(body, "body")
    if not isinstance(body, Mapping):
        raise InputError(f"The body must be a JSON object, got {_kind(body)}; {HOW_TO_ASK}.", "body")
    _check_names(body)
    if more := [name for name in body if name not in BY_REGION and is_by_region(name)]:
        kind = more[0].partition(".")[0]
        raise InputError(f"{more[0][:80]} is a field of forms; in JSON it is in {kind}, by name.", more[0][:80])
    return _request(
        photo=_decoded(body.get("photo"), "photo"),
        prompt=body.get("prompt"),
        pictures=[(name, _decoded(value, name)) for name, value in _by_field(body)],
        params=body.get("params"),
        accept=accept,
    )


def choose_media_type(accept: str | None, offers: Sequence[str] = MEDIA_TYPES) -> str | None:
    """The media type among ``offers`` that this ``Accept`` header prefers (RFC 9110, §12.5.1); None if it takes none.

    Without a header the first is taken.
    """
    ranges = [_range(part) for part in (accept or "*/*").lower().split(",") if part.strip()] or [("*/*", 1.0)]
    ranked = []
    for order, offered in enumerate(offers):
        # The most specific range that covers a type gives its quality: image/png before image/* before */*.
        covering = [
            (precision, -position, quality)
            for position, (name, quality) in enumerate(ranges)
            for precision, pattern in enumerate(("*/*", offered.split("/")[0] + "/*", offered))
            if name == pattern
        ]
        if covering and max(covering)[2] > 0:
            _, position, quality = max(covering)
            ranked.append((quality, position, -order, offered))
    return max(ranked)[-1] if ranked else None


def _media_types(accept: str | None) -> tuple[str, str]:
    """The media types of the answer and of the picture in it.

    In JSON and in a stream the picture has the type that the header prefers among those of pictures, or is a PNG.
    """
    media_type = choose_media_type(accept)
    if media_type is None:
        raise InputError(f"accept is {(accept or '')[:80]}; choose one of {', '.join(MEDIA_TYPES)}.", "accept")
    if media_type in OUTPUTS:
        return media_type, media_type
    return media_type, choose_media_type(accept, tuple(OUTPUTS)) or "image/png"


def is_by_region(field: str) -> bool:
    """Whether a field is a mask or a style picture: ``mask`` the people's, ``mask.sky`` the sky's."""
    return field.partition(".")[0] in BY_REGION


def _by_field(body: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The masks and style pictures of a JSON body by the fields that they have in a form.

    Each kind may be an object there, with the pictures of several regions by their names.
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
        raise InputError(f"photo is missing; {HOW_TO_ASK}.", "photo")
    masks, style_images = (_of_kind(kind, pictures) for kind in BY_REGION)
    if prompt is None and ALL not in style_images and not (isinstance(params, Mapping) and params.get("style")):
        of_regions = f", and {style_image_field(min(style_images))} is for its region alone" if style_images else ""
        raise InputError(f"prompt is missing{of_regions}; {HOW_TO_ASK}.", "prompt")
    prompt = None if prompt is None else check_prompt(prompt)
    media_type, picture_type = _media_types(accept)
    params, preview_every = _without_preview({} if params is None else params)
    config, seed = from_params(params)
    return StyleRequest(photo, prompt, masks, style_images, config, seed, media_type, picture_type, preview_every)


def _of_kind(kind: str, pictures: Sequence[tuple[str, bytes | None]]) -> dict[str, bytes]:
    """The pictures of one kind by the names of their regions.

    Raises:
        InputError: a name is none, or a region has two.
    """
    sent = dict[str, bytes]()
    # A gRPC map keeps no order, and an error is to name the same field however the request came: aliases are last.
    for field, picture in sorted(pictures, key=lambda each: (each[0].endswith(f".{PERSON}"), each[0])):
        given, dot, name = field.partition(".")
        if given != kind:
            continue
        if not dot:
            region = PORTRAIT if kind == MASK else ALL
        else:
            region = check_mask_name(name) if kind == MASK else check_style_image_name(name)
        if picture is not None and region in sent:
            what = "mask" if kind == MASK else "style picture"
            raise InputError(f"{field} is a second {what} of {region}; send one.", field)
        if picture is not None:
            sent[region] = picture
    return sent


def _without_preview(params: Any) -> tuple[Any, int]:
    """The other params, and ``preview_every``, which concerns the answer and not the picture."""
    if not isinstance(params, Mapping):
        return params, PREVIEW_EVERY
    every = params.get("preview_every", PREVIEW_EVERY)
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
    """A picture's bytes. A string is content too, decoded by a server that saw ``text/plain``: never a path."""
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
    """JSON text parsed; what a server has parsed already is left as it is."""
    text = _text(value, field)
    if not isinstance(text, str):
        return text
    try:
        return load_json(text)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InputError(f"{field} is not valid JSON ({reason}); send an object.", field) from error


def _decoded(value: Any, field: str) -> bytes | None:
    """The bytes of a picture in base64; the ``data:image/png;base64,`` that browsers put before it is dropped."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise InputError(f"{field} must be base64 text, got {_kind(value)}.", field)
    text = re.sub(r"^data:[^,]{0,200},", "", value[:256]) + value[256:]
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"{field} is not base64 ({error}); encode the file's bytes.", field) from error


def _range(part: str) -> tuple[str, float]:
    """``image/*;q=0.8`` as its name and quality; a quality that cannot be read counts as 1."""
    name, *parameters = (piece.strip() for piece in part.split(";"))
    quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
    return name, float(quality) if re.fullmatch(r"[01](\.\d{0,3})?", quality) else 1.0


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean", int: "a number", float: "a number"}
    return "null" if value is None else names.get(type(value), type(value).__name__)
