"""Settings: one model checks them all, whichever door they come in by."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from genartisan.config import PRESETS, StyleConfig, assignments, from_params, preset, preset_name
from genartisan.errors import InputError
from genartisan.validation import MAX_SEED, check_prompt, check_seed


def test_paper_is_the_default_and_has_the_papers_numbers() -> None:
    paper = preset("paper")
    assert paper == StyleConfig()
    assert (paper.size, paper.steps, paper.patches, paper.patch_size) == (512, 400, 64, 128)
    assert (paper.lambda_direction, paper.lambda_patch, paper.lambda_content, paper.lambda_tv) == (500, 9000, 150, 2e-3)
    assert (paper.learning_rate, paper.halve_every, paper.threshold, paper.contrast) == (5e-4, 100, 0.7, 1.5)
    assert (paper.start, paper.coarse_share) == ("random", 0)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid_and_known_by_name(name: str) -> None:
    assert preset_name(preset(name)) == name
    assert preset_name(preset(name, {"mode": "clipstyler"})) == name
    assert preset_name(preset(name, {"output_size": 2048})) == name
    assert preset_name(preset(name, {"contrast": 1.25})) == "custom"


@pytest.mark.parametrize(
    ("changes", "field", "hint"),
    [
        ({"steps": -1}, "steps", "from 0 to 5000"),
        ({"steps": 0, "start": "random"}, "start", "must be draft"),
        ({"start": "identity"}, "start", "'random' or 'draft'"),
        ({"steps": 1.5}, "steps", "1.5"),
        ({"steps": "12"}, "steps", "'12'"),
        ({"steps": True}, "steps", "True"),
        ({"coarse_share": 1.5}, "coarse_share", "from 0 to 1"),
        ({"coarse_share": -0.1}, "coarse_share", "from 0 to 1"),
        ({"coarse_share": "half"}, "coarse_share", "'half'"),
        ({"contrast": float("nan")}, "contrast", "finite"),
        ({"lambda_tv": float("inf")}, "lambda_tv", "finite"),
        ({"mode": "impressionist"}, "mode", "'artisan' or 'clipstyler'"),
        ({"colour": 1}, "colour", "known are mode, size"),
        ({"regions": {"Sky!": {}}}, "regions", "'Sky!' is not one"),
        ({"regions": {"sky": {"wieght": 1}}}, "regions.sky.wieght", "known are share, weight"),
        ({"regions": {"sky": {"prompt": " "}}}, "regions.sky.prompt", "non-empty"),
        ({"regions": {"portrait": {"strength": 1.1}}}, "regions.portrait.strength", "from 0 to 1"),
        ({"regions": {f"r{n}": {} for n in range(30)}}, "regions", "at most 24"),
        ({"keep_colors": 1}, "keep_colors", "1"),
        ({"feather": -1.0}, "feather", "from 0 to 256"),
        ({"size": 384, "feather": 200.0}, "feather", "half of size, 192"),
        ({"regions": {f"r{n}": {"prompt": f"style {n}"} for n in range(9)}}, "regions", "at most 8 different prompts"),
        ({"negative_prompt": ""}, "negative_prompt", "non-empty"),
        ({"regions": {"portrait": {"weight": -1}}}, "regions.portrait.weight", "from 0 to 10"),
        ({"regions": {"portrait": {"share": 0.2}, "background": {"share": 0.2}}}, "regions", "a sum of at least 1"),
        ({"regions": 5}, "regions", "5"),
        ({"timeout_s": 0}, "timeout_s", "above 0"),
        ({"output_size": 4097}, "output_size", "from 32 to 4096"),
        ({"size": 384, "output_size": 383}, "output_size", "at least size, 384"),
        ({"size": 5000, "output_size": 600}, "size", "to 2048"),
    ],
)
def test_a_refused_setting_is_named_with_its_value_and_range(changes: dict[str, object], field: str, hint: str) -> None:
    with pytest.raises(InputError) as caught:
        preset("fast", changes)
    assert caught.value.field == field
    assert field in caught.value.message
    assert hint in caught.value.message


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        StyleConfig().steps = 3  # type: ignore[misc]


def test_assignments_nest_and_read_json_values() -> None:
    pairs = ["regions.portrait.weight=0.1", "regions.portrait.share=0.3", "mode=clipstyler", "timeout_s=null"]
    assert assignments(pairs) == {
        "regions": {"portrait": {"weight": 0.1, "share": 0.3}},
        "mode": "clipstyler",
        "timeout_s": None,
    }


@pytest.mark.parametrize("pair", ["steps", "=3", "regions..weight=1"])
def test_an_assignment_without_name_or_value_is_refused(pair: str) -> None:
    with pytest.raises(InputError, match="NAME=VALUE"):
        assignments([pair])


def test_changes_go_on_top_of_the_preset() -> None:
    config, seed = from_params({"preset": "draft", "seed": 7, "regions": {"portrait": {"weight": 0.5}}})
    assert seed == 7
    assert config.regions.portrait.weight == 0.5
    assert config.regions.portrait.share == preset("draft").regions.portrait.share
    assert config.steps == preset("draft").steps


@pytest.mark.parametrize("params", [None, [], "steps=3", 5])
def test_params_must_be_an_object(params: object) -> None:
    with pytest.raises(InputError) as caught:
        from_params(params)
    assert caught.value.field == "params"


@pytest.mark.parametrize("seed", [-1, 1.5, "1", True, None, MAX_SEED + 1])
def test_bad_seeds_are_refused(seed: object) -> None:
    with pytest.raises(InputError, match="seed"):
        check_seed(seed)


@pytest.mark.parametrize("prompt", ["", "  \n", "x" * 10_000, "fire\x00", "fire\x9f", "fire\u202e", "\ud800", "\ufffe",
                                    "\ufdd0", "\U0010ffff", None, 5, ["fire"]])  # fmt: skip
def test_bad_prompts_are_refused(prompt: object) -> None:
    with pytest.raises(InputError) as caught:
        check_prompt(prompt)
    assert caught.value.field == "prompt"
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(("prompt", "read"), [
    (" fire \r\n and\tice\u00a0", "fire and ice"), ("\u6c34\u5f69\u3000\u753b", "\u6c34\u5f69 \u753b"),
    ("\U0001f469\u200d\U0001f3a8", "\U0001f469\u200d\U0001f3a8"), ("Акварель", "Акварель"),
    ("Fire \U0001fae8", "Fire \U0001fae8"),  # an emoji of 2022
    ("Fire \U0001faff \ue000", "Fire \U0001faff \ue000"),  # not assigned yet; for private use
])  # fmt: skip
def test_prompts_of_every_script_are_taken(prompt: str, read: str) -> None:
    assert check_prompt(prompt) == read


@pytest.mark.parametrize("text", ["   ", "a \x07 b"])
def test_the_source_text_is_checked_as_the_prompt_is(text: str) -> None:
    with pytest.raises(InputError) as caught:
        preset("fast", {"source_text": text})
    assert caught.value.field == "source_text"


def test_schema_lists_every_setting_with_description_and_default() -> None:
    schema = json.loads(json.dumps(StyleConfig.model_json_schema()))
    assert set(schema["properties"]) == set(StyleConfig.model_fields)
    assert all("default" in entry for entry in schema["properties"].values())
    assert all(entry.get("description") for entry in schema["properties"].values())
