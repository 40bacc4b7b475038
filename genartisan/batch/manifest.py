"""Manifests: a photo with its words and settings on each line, as CSV or JSON Lines.

Columns are ``photo``, ``prompt``, ``mask``, ``mask.NAME``, ``style_image``, ``style_image.NAME`` and settings by their
dotted names, such as ``preset``, ``seed`` or ``regions.portrait.weight``; JSON may nest them. An empty cell, like null,
is left out.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

from genartisan.batch.items import Item
from genartisan.config import assignments, nested
from genartisan.errors import InputError
from genartisan.io import storage
from genartisan.method.style_images import ALL, check_style_image_name
from genartisan.validation import PORTRAIT, check_mask_name, check_prompt, merged, shown

FORMATS = (".csv", ".jsonl")
PICTURES = {"mask": (PORTRAIT, check_mask_name), "style_image": (ALL, check_style_image_name)}


def read(url: str, folder: str, shared: Item, prompts: Sequence[str | None]) -> list[Item]:
    """The items of a manifest.

    Args:
        folder: that relative paths start from.
        shared: what holds where a row says nothing else.
        prompts: of rows without a prompt; an item for each.

    Raises:
        InputError: the manifest cannot be read, or a row is invalid; names row and field.
    """
    try:
        text = storage.read(url, "manifest", limit=None).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"manifest {url!r} is not UTF-8: {error.reason}; save it as UTF-8.", "manifest") from error
    rows = _csv_rows(text) if url.lower().endswith(".csv") else _json_rows(text)
    items = list[Item]()
    for number, row in rows:
        try:
            item = _item(row, shared.model_copy(update={"row": number, "folder": folder}))
        except InputError as error:
            raise type(error)(f"manifest line {number}: {error.message}", error.field) from error
        texts = [item.prompt] if item.prompt is not None else prompts or [None]
        items += [item.model_copy(update={"prompt": text}) for text in texts]
    if not items:
        raise InputError(f"manifest {url!r} has no rows; give each photo a line.", "manifest")
    return items


def _csv_rows(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows by line number; the first line names the columns."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = [name.strip() for name in next(reader, [])]
        if twice := next((name for name in columns if columns.count(name) > 1), None):
            raise InputError(f"manifest has two columns {twice!r}; rename or drop one.", "manifest")
        if "photo" not in columns:
            raise InputError(f"manifest has no column photo, but {shown(columns)}; name one so.", "manifest")
        for cells in reader:
            if len(cells) > len(columns):
                raise InputError(
                    f"manifest line {reader.line_num} has {len(cells)} cells for {len(columns)} columns; put quotes "
                    "around text that contains a comma.",
                    "manifest",
                )
            row = {name: cell.strip() for name, cell in zip(columns, cells, strict=False) if cell.strip()}
            if row:
                settings = assignments([f"{name}={cell}" for name, cell in row.items() if not _is_input(name)])
                yield reader.line_num, {**{name: cell for name, cell in row.items() if _is_input(name)}, **settings}
    except csv.Error as error:
        raise InputError(f"manifest line {reader.line_num} is no CSV: {error}; save it again.", "manifest") from error


def _json_rows(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows by line number, each an object."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"manifest line {number} is no JSON: {error}; write one object a line.", "manifest"
            ) from error
        if not isinstance(row, dict):
            raise InputError(
                f'manifest line {number} is {shown(row)}; write an object such as {{"photo": "a.jpg"}}.', "manifest"
            )
        yield number, {name: value for name, value in row.items() if value is not None}


def _is_input(name: str) -> bool:
    return name in ("photo", "prompt") or name.partition(".")[0] in PICTURES


def _item(row: dict[str, Any], shared: Item) -> Item:
    changes: dict[str, Any] = {"photo": _file(row.get("photo"), "photo")}
    if "prompt" in row:
        changes["prompt"] = check_prompt(row["prompt"])
    for field, pictures in (("mask", "masks"), ("style_image", "style_images")):
        if files := _pictures(row, field):
            changes[pictures] = files
    params = shared.params
    for name, value in row.items():
        if not _is_input(name):
            params = merged(params, nested(name.split("."), value))
    return shared.model_copy(update={**changes, "params": params})


def _pictures(row: dict[str, Any], field: str) -> dict[str, str]:
    """Files by region, of ``field`` and of ``field.NAME``."""
    alone, check = PICTURES[field]
    given = row.get(field, {})
    pairs = list(given.items()) if isinstance(given, dict) else [(alone, given)]
    pairs += [(name.partition(".")[2], file) for name, file in row.items() if name.startswith(f"{field}.")]
    files = dict[str, str]()
    for name, file in pairs:
        region = check(name)
        if region in files:
            raise InputError(f"{field} of {region} is given twice; give it once.", field)
        files[region] = _file(file, field if name == alone else f"{field}.{region}")
    return files


def _file(value: object, field: str) -> str:
    remedy = "name a picture, by a path from the manifest's folder or a URL"
    if value is None:
        raise InputError(f"{field} is missing; {remedy}.", field)
    if not isinstance(value, str) or not value.strip() or "\0" in value or not storage.is_text(value):
        raise InputError(f"{field} is {shown(value)}; {remedy}.", field)
    return value
