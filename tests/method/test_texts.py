"""Texts: blends by weight, what a picture is not to look like, a source of one's own, one text a region."""

from __future__ import annotations

from functools import partial

import pytest
import tiny
import torch
from open_clip import OPENAI_IMAGENET_TEMPLATES

from genartisan.config import StyleConfig
from genartisan.errors import InputError
from genartisan.method.style_numbers import numbers_of_text
from genartisan.method.stylizer import Stylizer
from genartisan.method.text import TEMPLATES, blend, by_region, lone_region, text_direction, text_embedding
from genartisan.networks.bundle import Bundle

SOURCE = "a Photo"


@pytest.mark.parametrize(
    ("prompt", "parts"),
    [
        ("0.6 watercolor + 0.4 neon", [(0.6, "watercolor"), (0.4, "neon")]),
        ("1.5 fire + 0.5 a mix of ice + .5 snow", [(0.6, "fire"), (0.2, "a mix of ice"), (0.2, "snow")]),
        ("0.0 fire + 1.0 ice", [(1.0, "ice")]),
        ("fire", [(1.0, "fire")]),
        ("3 cats + 2 dogs", [(1.0, "3 cats + 2 dogs")]),
        ("0.6 watercolor", [(1.0, "0.6 watercolor")]),
        ("C++ in 0.5 seconds", [(1.0, "C++ in 0.5 seconds")]),
        (r"0.5 fire \+ 0.5 ice", [(1.0, r"0.5 fire \+ 0.5 ice")]),
        (r"0.5 fire \+ ice + 0.5 snow", [(0.5, r"fire \+ ice"), (0.5, "snow")]),
    ],
)
def test_a_blend_is_told_by_its_weights(prompt: str, parts: list[tuple[float, str]]) -> None:
    found = blend(prompt)
    assert [text for _, text in found] == [text for _, text in parts]
    assert [weight for weight, _ in found] == pytest.approx([weight for weight, _ in parts])


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [
        ("person: pencil sketch; background: Fire", {"portrait": "pencil sketch", "background": "Fire"}),
        ("Person: a; BACKGROUND:fire;", {"portrait": "a", "background": "fire"}),
        ("portrait: oil painting", None),
        ("Monet: water lilies", None),
        ("fire; ice", None),
        (r"person: a\; background: b", None),
        (r"person\: a; background\: b", None),
        (r"person: a\; b; background: fire", {"portrait": r"a\; b", "background": "fire"}),
        ("", None),
    ],
)  # fmt: skip
def test_regions_are_told_by_their_names(prompt: str, texts: dict[str, str] | None) -> None:
    assert by_region(prompt, {"person", "background"}) == texts


@pytest.mark.parametrize(
    "prompt", ["person: a; dog: b", "person: ; background: b", "person: a; person: b", "person: a; b"]
)
def test_a_prompt_that_tells_some_regions_only_is_refused(prompt: str) -> None:
    with pytest.raises(InputError) as caught:
        by_region(prompt, {"person", "background"})
    assert caught.value.field == "prompt"


NO_BLENDS = (
    "0.6 watercolor + neon", "0.0 fire + 0.0 ice", "9" * 400 + ".0 a + 1.0 b",
    " + ".join(f"0.1 style{n}" for n in range(9)),
)  # fmt: skip


@pytest.mark.parametrize("prompt", NO_BLENDS)
def test_what_looks_like_a_blend_and_is_none_is_refused(tiny_stylizer: Stylizer, prompt: str) -> None:
    with pytest.raises(InputError) as caught:
        blend(prompt)
    assert len(caught.value.message) < 300
    config = StyleConfig(size=64, steps=1).updated({"negative_prompt": prompt})
    with pytest.raises(InputError) as caught:
        tiny_stylizer.steps(tiny.picture(), "fire", config=config)
    assert caught.value.field == "negative_prompt"


def test_the_remedy_for_words_that_look_like_more_works(tiny_stylizer: Stylizer) -> None:
    config = StyleConfig(size=64, steps=1, patches=2, patch_size=32, start="draft", lambda_draft=0.0)
    for prompt, escaped in (
        ("0.5 fire + ice", r"0.5 fire \+ ice"),
        ("person: fire; ice", r"person: fire\; ice"),
        ("person: fire", None),
        ("person: fire; dog: ice", r"person\: fire; dog\: ice"),
    ):
        if escaped is not None:
            with pytest.raises(InputError, match=r"\\[;:+] for a literal (plus|semicolon|colon)"):
                tiny_stylizer(tiny.picture(), prompt, config=config)
        result = tiny_stylizer(tiny.picture(), escaped or prompt, config=config)
        assert result.report["prompt"] == (escaped or prompt)


def test_escaped_words_are_one_text_without_the_backslash(embedded: Bundle) -> None:
    literal = r"0.5 watercolor painting \+ 0.5 neon light"
    words = text_embedding(embedded.clip, "0.5 watercolor painting + 0.5 neon light")
    expected = torch.nn.functional.normalize(words - text_embedding(embedded.clip, SOURCE), dim=0)
    torch.testing.assert_close(text_direction(embedded.clip, literal, SOURCE), expected)
    head = embedded.to(torch.device("cpu"), torch.float32).style_head
    assert head is not None
    direction_of = partial(text_direction, embedded.clip, source_text=SOURCE)
    torch.testing.assert_close(numbers_of_text(head, direction_of, literal, None), head(expected[None])[0])


def test_a_blend_goes_from_one_text_to_the_other_by_its_weights(embedded: Bundle) -> None:
    ends = [text_direction(embedded.clip, text, SOURCE) for text in ("watercolor painting", "neon light")]
    nearness = []
    for share in (0.9, 0.7, 0.5, 0.3, 0.1):
        text = f"{share:.1f} watercolor painting + {1 - share:.1f} neon light"
        direction = text_direction(embedded.clip, text, SOURCE)
        assert float(direction.norm()) == pytest.approx(1, abs=1e-5)
        nearness.append(float(direction @ ends[0]) - float(direction @ ends[1]))
    assert nearness == sorted(nearness, reverse=True)
    assert nearness[0] > 0.1
    assert nearness[-1] < -0.1
    assert nearness[2] == pytest.approx(0, abs=1e-4)


def test_nothing_leads_to_a_negative_text_and_what_else_there_was_is_left(embedded: Bundle) -> None:
    plain, unwanted, other = (
        text_direction(embedded.clip, text, SOURCE)
        for text in ("blue watercolor painting", "blue", "watercolor painting")
    )
    direction = text_direction(embedded.clip, "blue watercolor painting", SOURCE, "blue")
    assert float(plain @ unwanted) > 0.1
    assert abs(float(direction @ unwanted)) < 1e-4
    assert float(direction @ other) > float(plain @ other)
    assert float(direction.norm()) == pytest.approx(1, abs=1e-5)
    assert float(text_direction(embedded.clip, "fire", SOURCE, "fire").norm()) == 0


def test_a_source_text_is_where_the_direction_begins(embedded: Bundle) -> None:
    there, back = (text_direction(embedded.clip, *texts) for texts in (("fire", "ice"), ("ice", "fire")))
    torch.testing.assert_close(there, -back)


@pytest.mark.parametrize(
    ("prompt", "changes", "field", "says"),
    [
        ("a photo", {"source_text": "a photo"}, "prompt", "source_text"),
        ("fire", {"negative_prompt": "fire"}, "prompt", "negative_prompt"),
        ("fire", {"regions": {"portrait": {"prompt": "a photo"}}, "source_text": "a photo"},
         "regions.portrait.prompt", "source_text"),
    ],
)  # fmt: skip
def test_a_text_that_leads_nowhere_is_refused_by_its_field(
    tiny_stylizer: Stylizer, prompt: str, changes: dict[str, object], field: str, says: str
) -> None:
    config = StyleConfig(size=64, steps=2, patches=2, patch_size=32).updated(changes)
    with pytest.raises(InputError) as caught:
        tiny_stylizer(tiny.picture(), prompt, config=config, mask=tiny.mask())
    assert caught.value.field == field
    assert says in caught.value.message


def test_words_that_clip_does_not_know_are_remarked_by_field(tiny_stylizer: Stylizer) -> None:
    changes = {"negative_prompt": "gloop", "regions": {"portrait": {"prompt": "fire blarg"}}}
    config = StyleConfig(size=64, steps=1, patches=2, patch_size=32).updated(changes)
    result = tiny_stylizer(tiny.picture(), "0.5 fire + 0.5 zorp", config=config, mask=tiny.mask())
    fields = [warning.partition(": ")[0] for warning in result.report["warnings"]]
    assert {"prompt", "negative_prompt", "regions.portrait.prompt"} <= set(fields)
    assert any("blarg" in warning for warning in result.report["warnings"])


def test_the_templates_are_openais_but_one() -> None:
    openais = [template("{}") for template in OPENAI_IMAGENET_TEMPLATES]
    openais.remove("a photo of many {}.")
    assert list(TEMPLATES) == openais
    assert len(openais) == 79


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("person: oil painting", "person"), ("Person: oil painting;", "Person"), ("sky: oil painting", None),
        ("oil painting", None), ("person: fire; background: ice", None),
    ],
)  # fmt: skip
def test_a_single_region_is_noticed(prompt: str, name: str | None) -> None:
    assert lone_region(prompt, {"person", "background"}) == name


def test_a_prompt_for_one_region_alone_is_warned_of(tiny_bundle: Bundle) -> None:
    stylizer = Stylizer(tiny_bundle, device="cpu", precision="fp32")
    config = StyleConfig(size=32, steps=1, patches=1, patch_size=16)
    warned, escaped = (
        stylizer(tiny.picture(), text, config=config).report["warnings"] for text in ("person: fire", r"person\: fire")
    )
    assert [text for text in warned if "whole picture" in text]
    assert not [text for text in escaped if "whole picture" in text]


@pytest.mark.parametrize(
    ("prompt", "is_warned_of"),
    [
        ("2 fire + 1 ice", True), ("person: 2 fire + 1 ice; background: ice", True), ("2.0 fire + 1.0 ice", False),
        (r"2 fire \+ 1 ice", False), ("fire + ice", False),
    ],
)  # fmt: skip
def test_whole_weights_are_warned_of(prompt: str, is_warned_of: bool, tiny_bundle: Bundle) -> None:
    stylizer = Stylizer(tiny_bundle, device="cpu", precision="fp32")
    config = StyleConfig(size=32, steps=1, patches=1, patch_size=16)
    warnings = stylizer(tiny.picture(), prompt, config=config).report["warnings"]
    assert any("decimal point" in text for text in warnings) is is_warned_of
