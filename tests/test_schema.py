"""The JSON schema of the sweep file: accepts what the parser accepts, and explains every key."""

import copy
from typing import Any

import jsonschema
import pytest
import yaml

from nfa.schema import sweep_schema
from nfa.validation import read_yaml
from tests.helpers import ROOT, tiny

SCHEMA = sweep_schema()
FILES = [*sorted((ROOT / "config").rglob("*.yaml")), ROOT / "nfa" / "assets" / "starter.yaml"]


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_accepts_our_files(path: Any) -> None:
    jsonschema.validate(read_yaml(path), SCHEMA)


WRONG: list[dict[str, Any]] = [{"modle": []}, {"seeds": 0}, {"data": []}, {"model": [{"name": "mlp", "widht": 3}]}]


@pytest.mark.parametrize("change", WRONG)
def test_it_refuses_what_the_parser_refuses(change: dict[str, Any]) -> None:
    document = {**copy.deepcopy(tiny()), **change}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(yaml.safe_dump(document)), SCHEMA)


def resolved(field: dict[str, Any]) -> Any:
    """Follow a reference to what it names."""
    return SCHEMA["$defs"][field["$ref"].removeprefix("#/$defs/")] if "$ref" in field else field


def test_what_entries_share_is_said_once() -> None:
    entries = resolved(SCHEMA["properties"]["data"]["anyOf"][0])["anyOf"]
    settings = [entry["properties"]["label_noise"] for entry in entries if "label_noise" in entry["properties"]]
    assert len(settings) > 10
    assert settings == [settings[0]] * len(settings)
    assert list(settings[0]) == ["$ref"]
    assert resolved(settings[0])["default"] == 0.0


def described(schema: Any, path: str = "") -> list[str]:
    """List the settings without a line of description."""
    if isinstance(schema, list):
        return [found for item in schema for found in described(item, path)]
    if not isinstance(schema, dict):
        return []
    fields = {key: resolved(field) for key, field in schema.get("properties", {}).items()}
    missing = [f"{path}.{key}" for key, field in fields.items() if "description" not in field]
    return missing + [found for key, item in schema.items() for found in described(item, f"{path}.{key}")]


def test_every_key_has_a_description() -> None:
    assert [name for name in described(SCHEMA) if not name.endswith((".name", ".data", ".model", ".optimizer"))] == []
