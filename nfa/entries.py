"""Typed settings of a sweep file's entries, and how an entry is found in the registry of its axis."""

from collections.abc import Mapping
from typing import Any, ClassVar, TypeGuard, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Settings(BaseModel):
    """Base of all settings: unknown keys are refused, types are not coerced (except 2.0 to 2), values cannot change.

    Example:
        >>> class Ridge(Settings):
        ...     penalty: float = setting(1.0, "weight of the squared norm", ge=0)
        >>> non_default(Ridge(penalty=0.5))
        {'penalty': 0.5}
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    # The settings in a cell's readable id, {setting: tag}, and those of them that are left out at their default.
    tags: ClassVar[dict[str, str]] = {}
    quiet_tags: ClassVar[frozenset[str]] = frozenset()
    # Settings whose value may be a list in a sweep file; for them only a list of lists is a grid.
    lists: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _whole_numbers(cls, content: Any) -> Any:
        """Convert 1e4 and 2.0, which YAML reads as floats, to whole numbers where a whole number is expected."""
        if not isinstance(content, Mapping):
            return content
        return {
            key: int(value) if type(value) is float and value.is_integer() and cls._may_be_int(key) else value
            for key, value in content.items()
        }

    @classmethod
    def _may_be_int(cls, key: Any) -> bool:
        field = cls.model_fields.get(key)
        return field is not None and int in (field.annotation, *get_args(field.annotation))


def setting(default: Any, description: str, **bounds: Any) -> Any:
    """Declare one setting: its default, a line of description, and pydantic bounds (``gt``, ``ge``, ``le``, ...)."""
    return Field(default, description=description, **bounds)


def is_settings(kind: Any) -> TypeGuard[type[Settings]]:
    """Return True if a type is a class of settings."""
    return isinstance(kind, type) and issubclass(kind, Settings)


def non_default(settings: Settings) -> dict[str, Any]:
    """Return the settings that differ from their defaults; ids are made of these, so a new setting changes no id."""
    return settings.model_dump(mode="json", exclude_defaults=True)


Entry = TypeVar("Entry")

USERS_OWN = "module:function"  # key of the entry for the user's own code


def entry_of(registry: Mapping[str, Entry], name: str) -> Entry | None:
    """Find an entry by its key, or by the pattern that a name with a colon matches.

    ``torchvision:resnet18`` matches the key ``torchvision:NAME`` if the registry has it; any other ``a.b:c`` is the
    user's own code and matches ``module:function``.

    Returns:
        The entry, or None if there is none.

    Example:
        >>> entry_of({"mlp": 1, "torchvision:NAME": 2, "module:function": 3}, "torchvision:resnet18")
        2
    """
    prefix, colon, rest = name.partition(":")
    if not colon:
        return registry.get(name)
    if not prefix or not rest or name == USERS_OWN or rest == "NAME":
        return None
    return registry.get(f"{prefix}:NAME", registry.get(USERS_OWN))
