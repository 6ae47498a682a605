"""Explain in one line what is wrong with a setting of a sweep file."""

import re
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import ValidationError

from nfa.entries import Settings, is_settings
from nfa.errors import LONGEST_MESSAGE, cut, nearest, one_line

# YAML 1.1 reads 1e-3 as text, because it has no dot, but the writer means a number.
_EXPONENT = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "list_type": "a list",
    "tuple_type": "a list",
    "model_type": "a mapping",
    "finite_number": "a finite number",
}


def plain_numbers(content: Any) -> Any:
    """Turn text such as 1e-3 into a number, and keys back into text.

    YAML 1.1 reads a layer's index as a number, and Snakemake's reader the key ``on`` as true.
    """
    if isinstance(content, Mapping):
        return {_key(key): plain_numbers(value) for key, value in content.items()}
    if isinstance(content, list):
        return [plain_numbers(value) for value in content]
    if isinstance(content, str) and _EXPONENT.fullmatch(content):
        return float(content)
    return content


def _key(key: Any) -> Any:
    if key is True:
        return "on"
    return str(key) if type(key) in (int, float) else key


def explain(error: ValidationError, kind: type[Settings], where: str) -> str:
    """Turn the first error that pydantic found into one line: the place, the value and what would be right."""
    found = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")  # may explain the others
    path = [cut(part) for part in found["loc"] if part not in _UNION_BRANCHES]
    here = ".".join([where, *path])
    value, context = found["input"], found.get("ctx", {})
    if found["type"] == "extra_forbidden" and path[-1].isdigit() and value is None:
        return f"{where}: a comma splits a number before {path[-1]}; write 10000 for 10,000 and 0.5 for 0,5"
    if found["type"] == "extra_forbidden":
        above = ".".join([where, *path[:-1]])
        return f"{above}: {path[-1]}: no such setting; {nearest(path[-1], _kind_at(kind, path[:-1]).model_fields)}"
    if found["type"] == "missing":
        return f"{here}: missing; it has no default"
    if found["type"] == "literal_error":
        valid = str(context["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
        return f"{here}: {one_line(value)}: {nearest(value, valid)}"
    if found["type"] == "value_error":
        message = cut(" ".join(str(context["error"]).split()), LONGEST_MESSAGE)
        return f"{here}.{message}" if path else f"{where}: {message}"
    if found["type"] == "string_too_short":
        return f"{here}: {one_line(value)} is empty; give it a name, or leave it out"
    if found["type"] == "string_too_long":
        return f"{here}: {one_line(value)} is too long; use at most {context['max_length']} characters"
    bound = _bound(found["type"], context)
    if bound:
        return f"{here}: {one_line(value)} is out of range; use a value {bound}"
    expected = _EXPECTED.get(found["type"], " ".join(found["msg"].split()))
    return f"{here}: {one_line(value)} is not {expected}"


def _kind_at(kind: type[Settings], path: list[str]) -> type[Settings]:
    """Return the class of the settings at a place below others."""
    for key in path:
        annotation = kind.model_fields[key].annotation
        kind = next(each for each in (annotation, *get_args(annotation)) if is_settings(each))
    return kind


# pydantic puts the branch of a union into an error's location; it means nothing to a reader of YAML.
_UNION_BRANCHES = {"int", "float", "str", "literal['full']", "literal['every_epoch']"}


def _bound(kind: str, context: Mapping[str, Any]) -> str:
    """Put a bound of pydantic into words; empty if the error is of another kind."""
    words = {
        "greater_than": ("gt", "more than"),
        "greater_than_equal": ("ge", "of at least"),
        "less_than": ("lt", "less than"),
        "less_than_equal": ("le", "of at most"),
    }
    if kind not in words:
        return ""
    key, text = words[kind]
    return f"{text} {context[key]:g}" if isinstance(context[key], int | float) else f"{text} {context[key]}"
