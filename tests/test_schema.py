"""The description of the endpoint: sound by itself, and of the endpoint as it is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from serving import ROOT

from genartisan.config import PRESETS, StyleConfig, from_params
from genartisan.errors import InputError
from genartisan.request import FIELDS
from genartisan.schema import openapi, params_schema


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*(references(entry) for entry in value.values()))
    return set().union(*(references(entry) for entry in value)) if isinstance(value, list) else set()


def test_the_kept_file_is_what_the_models_make() -> None:
    assert json.loads((ROOT / "docs" / "openapi.json").read_text()) == json.loads(json.dumps(openapi()))


def test_every_reference_leads_somewhere() -> None:
    described = openapi()
    for reference in references(described):
        assert reference.startswith("#/components/schemas/")
        assert reference.rsplit("/", 1)[1] in described["components"]["schemas"]


def test_the_fields_and_params_are_those_that_are_read() -> None:
    described = openapi()["components"]["schemas"]
    assert set(described["Request"]["properties"]) == set(described["Form"]["properties"]) == set(FIELDS)
    assert set(described["Params"]["properties"]) == {*StyleConfig.model_fields, "preset", "seed", "preview_every"}


def test_presets_and_bounds_are_those_of_the_settings() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(params_schema())
    for name, preset in PRESETS.items():
        assert validator.is_valid({"preset": name, **preset, "seed": 3})
    for bad in ({"steps": -1}, {"seed": -1}, {"preset": "best"}, {"mode": "both"}, {"colour": 1}, {"size": 4096}):
        assert not validator.is_valid(bad)
        with pytest.raises(InputError):
            from_params(bad)
