"""The endpoint's description is valid and matches the code."""

from __future__ import annotations

import json
from typing import Any

import pytest
from servers import ROOT

from genartisan.config import PRESETS, StyleConfig, from_params
from genartisan.errors import InputError
from genartisan.serving.request import FIELDS
from genartisan.serving.schema import form_schema, openapi, params_schema, request_schema


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        reference = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return reference.union(*(references(entry) for entry in value.values()))
    return set().union(*(references(entry) for entry in value)) if isinstance(value, list) else set()


def test_the_committed_description_is_up_to_date() -> None:
    assert json.loads((ROOT / "docs" / "openapi.json").read_text()) == json.loads(json.dumps(openapi()))


def test_every_reference_resolves() -> None:
    described = openapi()
    for reference in references(described):
        assert reference.startswith("#/components/schemas/")
        assert reference.rsplit("/", 1)[1] in described["components"]["schemas"]


def test_fields_and_params_are_complete() -> None:
    described = openapi()["components"]["schemas"]
    assert set(described["Request"]["properties"]) == set(described["Form"]["properties"]) == set(FIELDS)
    assert set(described["Params"]["properties"]) == {*StyleConfig.model_fields, "preset", "seed", "preview_every"}


def test_style_pictures_and_masks_are_one_or_by_region() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    body = request_schema()
    body["properties"].pop("params")  # a reference into the whole description
    validator = jsonschema.Draft202012Validator(body)
    for field, good, bad in (
        ("style_image", ({"all": "AA=="}, {"sky": "AA==", "background": "AA=="}), ("classes", "Sky", "")),
        ("mask", ({"portrait": "AA=="}, {"classes": "AA=="}), ("background", "Sky", "")),
    ):
        for value in ("AA==", *good):
            assert validator.is_valid({"photo": "AA==", field: value})
        for name in bad:
            assert not validator.is_valid({"photo": "AA==", field: {name: "AA=="}})
    form = jsonschema.Draft202012Validator({**form_schema(), "properties": {"photo": {}}})
    assert form.is_valid({"photo": "x", "style_image.sky": "x", "style_image.background": "x", "mask.sky": "x"})
    for name in ("mask.background", "style_image.classes", "style_images"):
        assert not form.is_valid({"photo": "x", name: "x"})


def test_presets_and_bounds_match_the_settings() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(params_schema())
    for name, preset in PRESETS.items():
        assert validator.is_valid({"preset": name, **preset, "seed": 3})
    for bad in ({"steps": -1}, {"seed": -1}, {"preset": "best"}, {"mode": "both"}, {"colour": 1}, {"size": 4096}):
        assert not validator.is_valid(bad)
        with pytest.raises(InputError):
            from_params(bad)
