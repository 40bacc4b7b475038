"""README and the pages of docs/, taken apart: blocks of code, code within sentences, links."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks in a language."""
    return [text for kind, text in BLOCK.findall(page.read_text(encoding="utf-8")) if kind == language]


def shell(page: Path) -> list[str]:
    """What is meant for a shell: the fenced blocks, and lines that are indented instead."""
    indented = re.findall(r"^    ((?:genartisan|python|pip) .*)$", prose(page), re.M)
    return [*blocks(page, "sh"), *indented]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return BLOCK.sub("", page.read_text(encoding="utf-8"))


def spans(page: Path) -> list[str]:
    """The code within sentences, each in one line."""
    return [" ".join(text.split()) for text in re.findall(r"`([^`]+)`", prose(page))]


def lines(block: str) -> list[str]:
    """The lines of a shell's block, joined where a backslash continues them."""
    return [line for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def commands(line: str) -> list[list[str]]:
    """The words of each command in a line, those in ``$(…)`` included, without redirections and comments."""
    substituted = [words for inner in re.findall(r"\$\(([^()]*)\)", line) for words in commands(inner)]
    lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    redirected = False
    for word in lexer:
        if redirected:
            redirected = False
        elif set(word) <= set("<>"):
            redirected = True
        elif set(word) <= set("();|&"):
            found.append([])
        else:
            found[-1].append(word)
    return [words for words in [*found, *substituted] if words]


def headings(page: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links(page: Path) -> list[str]:
    """Where its links and pictures point, but those to other places in the web."""
    found = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    return [target for target in found if not re.match(r"\w+:", target)]
