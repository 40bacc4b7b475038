"""What is kept, what is forgotten, and what a result is kept under."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from genartisan.cache import ByteCache
from genartisan.serving.request import read_body


def test_what_was_used_the_longest_ago_goes_first() -> None:
    cache = ByteCache[str](10)
    for name in "abc":
        cache.put(name, name.upper(), 3)
    assert cache.get("a") == "A"
    cache.put("d", "D", 3)
    assert [cache.get(name) for name in "abcd"] == ["A", None, "C", "D"]
    assert (len(cache), cache.used) == (3, 9)


def test_never_more_bytes_than_allowed() -> None:
    cache = ByteCache[int](100)
    for number in range(200):
        cache.put(str(number % 37), number, number % 50)
        assert cache.used <= 100
        assert cache.get(str(number % 37)) == number


def test_what_is_larger_than_the_cache_is_not_kept_and_a_limit_of_none_keeps_nothing() -> None:
    cache = ByteCache[int](10)
    cache.put("a", 1, 5)
    cache.put("b", 2, 11)
    assert (cache.get("a"), cache.get("b")) == (1, None)
    empty = ByteCache[int](0)
    empty.put("a", 1, 1)
    assert empty.get("a") is None


def test_a_new_value_takes_the_place_of_the_old_one() -> None:
    cache = ByteCache[int](10)
    cache.put("a", 1, 8)
    cache.put("a", 2, 9)
    assert (cache.get("a"), cache.used, len(cache)) == (2, 9, 1)


def key(bundle: str = "bundle", accept: str | None = None, **changes: Any) -> str:
    body = {"photo": base64.b64encode(b"photo").decode(), "prompt": "fire", **changes}
    return read_body(body, "", accept).key(bundle)


@pytest.mark.parametrize(
    "changes",
    [
        {"photo": "AAAA"}, {"prompt": "Fire"}, {"mask": "AAAA"}, {"params": {"seed": 1}},
        {"params": {"preset": "paper"}}, {"params": {"regions": {"portrait": {"weight": 0.1}}}}, {"bundle": "another"},
    ],
)  # fmt: skip
def test_whatever_changes_the_picture_changes_the_key(changes: dict[str, Any]) -> None:
    assert key(**changes) != key()


@pytest.mark.parametrize(
    "changes",
    [
        {"params": {}}, {"params": {"seed": 0}}, {"params": {"timeout_s": 5.0}}, {"params": {"preview_every": 1}},
        {"accept": "image/jpeg"}, {"prompt": " fire "},
    ],
)  # fmt: skip
def test_whatever_does_not_change_the_picture_does_not_change_the_key(changes: dict[str, Any]) -> None:
    assert key(**changes) == key()
