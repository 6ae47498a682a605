"""The JSON schema of the sweep file: accepts what the parser accepts, and explains every key."""

import copy
import json
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from nfa.errors import SweepError
from nfa.sweep.axis_points import REGISTRIES
from nfa.sweep.grid import parse
from nfa.sweep.read_yaml import read_yaml
from nfa.sweep.schema import schema_text, sweep_schema
from tests.helpers import ROOT, tiny
from tests.sweep.test_properties import parent, places

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


def spelled_out(schema: Any) -> Any:
    """Return a schema with every reference replaced by what it refers to."""
    if isinstance(schema, list):
        return [spelled_out(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    own = {key: spelled_out(item) for key, item in schema.items() if key not in ("$ref", "$defs")}
    if "$ref" not in schema:
        return own
    return {**spelled_out(SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")]), **own}


WHOLE = spelled_out(SCHEMA)
VALIDATOR, PLAINLY = (jsonschema.Draft202012Validator(schema) for schema in (SCHEMA, WHOLE))


def resolved(field: dict[str, Any]) -> Any:
    """Follow a reference to what it names."""
    return {**SCHEMA["$defs"][field["$ref"].removeprefix("#/$defs/")], **field} if "$ref" in field else field


def test_what_entries_share_is_said_once() -> None:
    entries = [resolved(entry) for entry in resolved(resolved(SCHEMA["properties"]["data"])["anyOf"][0])["anyOf"]]
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
    missing = [f"{path}.{key}" for key, field in schema.get("properties", {}).items() if "description" not in field]
    return missing + [found for key, item in schema.items() for found in described(item, f"{path}.{key}")]


def test_every_key_has_a_description() -> None:
    assert [name for name in described(WHOLE) if not name.endswith((".name", ".data", ".model", ".optimizer"))] == []


def test_every_entry_has_its_settings_with_their_defaults() -> None:
    for axis, entries in REGISTRIES.items():
        choices = WHOLE["properties"][axis]["anyOf"]
        assert choices[1] == {"type": "array", "items": choices[0], "minItems": 1}
        for (name, entry), choice in zip(entries.items(), choices[0]["anyOf"], strict=True):
            assert choice["description"] == entry.about
            assert choice["properties"].keys() == {*entry.settings.model_fields, "for"}, name
            assert choice["additionalProperties"] is False
            for key, field in entry.settings.model_fields.items():
                here = choice["properties"][key]
                if key != "name":
                    assert here.get("default", field.default) == field.default
                    assert here["description"] == field.description
                    value, values = here["anyOf"]
                    assert values == {"type": "array", "items": value, "minItems": 1}


def test_nothing_is_defined_twice_and_all_is_used() -> None:
    text = schema_text()
    definitions = [json.dumps(part, sort_keys=True) for part in SCHEMA["$defs"].values()]
    assert len(set(definitions)) >= 0.8 * len(definitions)  # equal values may be of settings called differently
    assert all(f'"#/$defs/{name}"' in text for name in SCHEMA["$defs"])
    assert json.loads(text) == SCHEMA
    assert len(text.splitlines()) < 3500


DOCUMENTS = [read_yaml(path) for path in FILES]
PIECES = [parent(document, path)[path[-1]] for document in DOCUMENTS for path in places(document)]
VALUES = st.sampled_from([*PIECES, None, True, -1, 0, 0.5, 3, 10**9, "mlp", "relu", "full", "no_such", [], {}, [1, 2]])
KEYS = st.sampled_from(["name", "lr", "depth", "width", "n_train", "for", "speeds", "loss", "samples", "no_such"])


@st.composite
def changed(draw: st.DrawFn) -> Any:
    """Draw one of our sweeps with up to two places replaced, removed, renamed or added."""
    document = copy.deepcopy(draw(st.sampled_from(DOCUMENTS)))
    for _ in range(draw(st.integers(0, 2))):
        path = draw(st.sampled_from(places(document)))
        holder, key = parent(document, path), path[-1]
        action = draw(st.sampled_from(["replace", "remove", "rename", "add"]))
        if action == "replace":
            holder[key] = copy.deepcopy(draw(VALUES))
        elif action == "remove":
            del holder[key]
        elif isinstance(holder, dict):
            holder[draw(KEYS)] = copy.deepcopy(holder.pop(key) if action == "rename" else draw(VALUES))
    return document


# What the schema can know: a sweep that is refused for one of these it refuses too.
PLAIN = ("no such setting", "no such key", "is out of range", " is not a ", " is not text", "must be a mapping")


@settings(max_examples=300, deadline=None)
@given(changed())
def test_it_says_what_the_parser_says_and_what_it_said_spelled_out(document: Any) -> None:
    accepted = VALIDATOR.is_valid(document)
    assert accepted == PLAINLY.is_valid(document)
    try:
        parse(document, "x")
        assert accepted
    except SweepError as error:
        if any(words in str(error) for words in PLAIN):
            assert not accepted, error
