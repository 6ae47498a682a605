"""The JSON schema of the sweep file: an editor completes and explains every key with it.

pydantic writes the schema from a model of the whole file, which is built here from the settings classes. The model
differs from them in that a list of values may stand wherever a value may. Entries share most of their settings, so each
different setting is a named type, which pydantic writes once, below ``$defs``, and refers to elsewhere.
"""

import json
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema
from typing_extensions import TypeAliasType

from nfa.entries import Settings, is_settings
from nfa.sweep.axis_points import NAMED_AXES, REGISTRIES
from nfa.sweep.grid import MAX_SEEDS, SEGMENT, SIZED
from nfa.sweep.search import Tune
from nfa.sweep.stage_settings import Measure, Probe, Train, Wandb

LINE = 120  # characters


class _WithoutTitles(GenerateJsonSchema):
    """Leaves out the titles, with which pydantic repeats the name of every model and field."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def model_schema(self, schema: Any) -> dict[str, Any]:
        return {key: item for key, item in super().model_schema(schema).items() if key != "title"}


class _Types:
    """Named types, each made once. A second type of the same name gets a number."""

    def __init__(self) -> None:
        self.made: dict[str, Any] = {}
        self.numbers: Counter[str] = Counter()

    def name(self, name: str, kind: Any, **extra: Any) -> Any:
        """Name a type, with extra entries for its schema."""
        content = repr((name, kind, extra))
        if content not in self.made:
            self.numbers[name] += 1
            number = self.numbers[name]
            kind = Annotated[kind, Field(json_schema_extra=extra)] if extra else kind
            self.made[content] = TypeAliasType(f"{name}-{number}" if number > 1 else name, kind)
        return self.made[content]

    @cached_property
    def search(self) -> Any:
        """The type of a search in the place of a number: a range with its scale, or a list of values."""
        ends = Annotated[list[float], Field(min_length=2, max_length=2, description="smallest and largest value")]
        scale = Annotated[Literal["log", "linear"], Field(description="spacing of the values between them")]
        values = Annotated[list[float], Field(min_length=2, description="the values to choose from, ascending")]
        about = "find the value with the lowest validation loss before training"
        ranged = _model("search", about, {"tune": (ends, Field()), "scale": (scale, Field("log"))})
        listed = _model("search-values", about, {"values": (values, Field())})
        return self.name("searched", ranged | listed)

    def setting(self, key: str, field: FieldInfo, *, tunable: bool = False) -> Any:
        """Return the type of a setting in a sweep file, with its default and description."""
        default = {} if field.is_required() or field.default_factory else {"default": field.default}
        kind = self._value_or_grid(key, field.annotation, field.metadata, tunable=tunable)
        return self.name(key, kind, **default, description=field.description)

    def _value_or_grid(self, key: str, kind: Any, bounds: Sequence[Any] = (), *, tunable: bool = False) -> Any:
        """Return the type of a value or a list of values, which is a grid. Values of a mapping may be grids too."""
        parts = get_args(kind) or (kind,)
        if any(map(is_settings, parts)):
            kind = Union[*(self._nested(key, part) if is_settings(part) else part for part in parts)]
        elif get_origin(kind) is dict:
            kind = dict[str, self._value_or_grid(key, get_args(kind)[1])]  # type: ignore[misc]
        searched = tunable and float in (kind, *get_args(kind))
        kind = Annotated[kind, *bounds] if bounds else kind
        return _one_or_list(self.name(f"{key}-values", kind | self.search if searched else kind))

    def _nested(self, key: str, kind: type[Settings]) -> type[BaseModel]:
        """Build the model of settings that are the value of a setting."""
        fields = {name: _optional(self.setting(name, field), Field()) for name, field in kind.model_fields.items()}
        return _model(f"{key}-settings", kind.__doc__ or "", fields)


def sweep_schema() -> dict[str, Any]:
    """Build the schema of a sweep file (JSON Schema 2020-12)."""
    types = _Types()
    seed_list = Annotated[
        list[Annotated[int, Field(ge=0)]], Field(min_length=1, json_schema_extra={"uniqueItems": True})
    ]
    seeds = Annotated[int, Field(ge=1, le=MAX_SEEDS)] | seed_list
    fields: dict[str, Any] = {"seeds": (seeds, Field(3, description="a number of seeds, or a list of them"))}
    for axis, entries in REGISTRIES.items():
        kinds = [_entry(types, axis, name, entry.settings, entry.about) for name, entry in entries.items()]
        about = f"the {axis} axis: a list of entries; a list inside an entry is a grid"
        fields[axis] = _one_or_list(types.name(axis, Union[*kinds])), Field(description=about)
    train = _entry(types, "train", None, Train, "how a cell is trained")
    fields["train"] = _one_or_list(train), Field({}, description="how a cell is trained: the fourth axis")
    sections = (
        ("tune", Tune, "how settings are tuned: `lr: {tune: [1e-3, 1]}`"),
        ("measure", Measure, "how alignment is measured"),
        ("probe", Probe, "how features are probed"),
        ("wandb", Wandb, "where runs are published"),
    )
    for key, kind, about in sections:
        fields[key] = kind, Field({}, description=about)
    about = "the keys that this size replaces"
    changes = _model("changes", about, {key: _optional(*fields[key]) for key in SIZED})
    about = "name of the sweep, that of the file if not given; results go to results/<name>"
    fields["sweep"] = _optional(str, Field(pattern=f"^{SEGMENT.pattern}$", description=about))
    fields["size"] = _optional(str, Field(description="the one of `sizes` to run; if not given, the file as written"))
    about = "name -> keys in another size; mappings are joined, lists replaced; results/<sweep>-<size>"
    fields["sizes"] = dict[str, changes], Field({}, description=about)  # type: ignore[valid-type]
    document = _model("sweep", "", fields)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "nfa sweep file",
        "description": "Generated by `nfa schema` from the settings classes; do not edit.",
        **document.model_json_schema(schema_generator=_WithoutTitles),
    }


def _entry(types: _Types, axis: str, name: str | None, kind: type[Settings], about: str) -> type[BaseModel]:
    """Build the model of an entry of an axis: every setting alone or as a grid, and ``for``."""
    fields = {
        key: _optional(types.setting(key, field, tunable=axis == "optimizer"), Field())
        for key, field in kind.model_fields.items()
        if key != "name"
    }
    if name is not None:
        # A key with a colon is a pattern: torchvision:NAME, module:function.
        prefix = name.removesuffix("NAME")
        pattern = f"^{prefix}.+$" if prefix != name else "^[^:]+:[^:]+$"
        named: Any = Annotated[str, Field(pattern=pattern)] if ":" in name else Literal[name]
        fields["name"] = named, Field(description=about)
    names = types.name("names", _one_or_list(str))
    others = {other: _optional(names, Field()) for other in NAMED_AXES if other != axis}
    only = _model(f"{axis}-for", "keep this entry to these entries of another axis", others)
    fields["for"] = _optional(only, Field())
    return _model(f"{axis}-{name}" if name else axis, about, fields)


def _model(name: str, about: str, fields: dict[str, Any]) -> type[BaseModel]:
    """Build a model that refuses other keys."""
    config = ConfigDict(extra="forbid")
    model: type[BaseModel] = create_model(name, __config__=config, __doc__=about, **fields)
    return model


def _optional(kind: Any, field: FieldInfo) -> tuple[Any, Any]:
    """Let a field be left out, without a default that the schema would show."""
    if not field.is_required():
        return kind, field
    optional: Any = Field(default_factory=dict, description=field.description)
    return Annotated[kind, *field.metadata] if field.metadata else kind, optional


def _one_or_list(kind: Any) -> Any:
    """Return the type of one value or a list of them."""
    return kind | Annotated[list[kind], Field(min_length=1)]


def schema_text() -> str:
    """Write the schema as JSON, with everything on one line that fits there."""
    return _text(sweep_schema(), "") + "\n"


def _text(value: Any, indent: str) -> str:
    """Write JSON from a place with this indentation on."""
    short = json.dumps(value, ensure_ascii=False)
    if len(indent) + len(short) <= LINE or not isinstance(value, dict | list) or not value:
        return short
    deeper = indent + "  "
    if isinstance(value, list):
        return "[\n" + ",\n".join(deeper + _text(item, deeper) for item in value) + f"\n{indent}]"
    items = (f"{deeper}{json.dumps(key)}: {_text(item, deeper)}" for key, item in value.items())
    return "{\n" + ",\n".join(items) + f"\n{indent}}}"
