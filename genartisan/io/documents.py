"""Documents made of blocks, rendered as Markdown or as one self-contained HTML file."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

MEDIA_TYPES = {".png": "image/png", ".jpg": "image/jpeg"}
STYLESHEET = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #1c1c1c }
table { border-collapse: collapse; margin: 1rem 0; font-size: 0.9rem } th, td { border: 1px solid #ccc }
th, td { padding: 0.25rem 0.6rem; text-align: left } th { background: #f2f2f2 } img { max-width: 100% }
figure { margin: 1.5rem 0 } figcaption { color: #555; font-size: 0.9rem } pre { background: #f2f2f2; padding: 0.7rem }
pre { overflow-x: auto }
"""


@dataclass(frozen=True)
class Heading:
    """A heading; ``level`` 1 is the document's title."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Text:
    """A paragraph of plain text."""

    text: str


@dataclass(frozen=True)
class Code:
    """A code block."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table of plain text."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Picture:
    """A picture file with a caption."""

    path: Path
    caption: str


Block = Heading | Text | Code | Table | Picture


def as_markdown(blocks: Sequence[Block], folder: Path) -> str:
    """The document as Markdown in ``folder``, to which picture paths are relative; text is escaped."""
    return "\n\n".join(_in_markdown(block, folder) for block in blocks) + "\n"


def _in_markdown(block: Block, folder: Path) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {plain(text)}"
        case Text(text):
            return plain(text)
        case Code(text):
            return "\n".join(f"    {line}" for line in text.splitlines())
        case Table(columns, rows):
            lines = [columns, tuple("---" for _ in columns), *rows]
            return "\n".join(f"| {' | '.join(plain(cell) for cell in line)} |" for line in lines)
        case Picture(path, caption):
            return f"![{plain(caption)}]({quote(path.relative_to(folder).as_posix())})\n\n{plain(caption)}"


def plain(text: str) -> str:
    """``text`` on one line, with Markdown escaped."""
    escaped = html.escape(" ".join(text.split()), quote=False)
    if escaped == "---":
        return escaped
    marked = re.sub(r"([\\`*_\[\]|~$])", r"\\\1", escaped)
    return re.sub(r"^(\d*)([#+.)-])(?=[\s#])", r"\1\\\2", marked)  # list and heading markers


def as_html(title: str, blocks: Sequence[Block]) -> str:
    """The document as one HTML file with embedded pictures and no scripts."""
    body = "\n".join(_in_html(block) for block in blocks)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n'
        f"<style>{STYLESHEET}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _in_html(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{html.escape(text)}</h{level}>"
        case Text(text):
            return f"<p>{html.escape(text)}</p>"
        case Code(text):
            return f"<pre>{html.escape(text)}</pre>"
        case Table(columns, rows):
            head = "".join(f"<th>{html.escape(cell)}</th>" for cell in columns)
            lines = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
            return f"<table>\n<tr>{head}</tr>\n" + "\n".join(f"<tr>{line}</tr>" for line in lines) + "\n</table>"
        case Picture(path, caption):
            coded = base64.b64encode(path.read_bytes()).decode()
            source = f"data:{MEDIA_TYPES[path.suffix]};base64,{coded}"
            escaped = html.escape(caption)
            return f'<figure><img src="{source}" alt="{escaped}"><figcaption>{escaped}</figcaption></figure>'
