"""What an entry of a sweep file may say: typed settings, each with a default, bounds and a line of description."""

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Settings(BaseModel):
    """Base of every entry's settings: unknown keys refused, no type coerced (but 2.0 to 2), values fixed once made."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    # How the entry shows itself in a cell's readable id: {setting: tag}, and which of them show only when not default.
    tags: ClassVar[dict[str, str]] = {}
    quiet_tags: ClassVar[frozenset[str]] = frozenset()
    # Settings whose value is a list in a sweep file; there a list of lists is a grid.
    lists: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _whole_numbers(cls, content: Any) -> Any:
        """Take 1e4 and 2.0, which YAML reads as floats, for the whole numbers that they are."""
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


def non_default(settings: Settings) -> dict[str, Any]:
    """Return the settings that differ from their defaults: they identify an entry, so a new setting changes no id."""
    return settings.model_dump(mode="json", exclude_defaults=True)


Entry = TypeVar("Entry")

USERS_OWN = "module:function"  # key of the entry for code of the user's


def entry_of(registry: Mapping[str, Entry], name: str) -> Entry | None:
    """Find an entry: by its key, or by the pattern that a name with a colon fits.

    ``torchvision:resnet18`` is an entry ``torchvision:NAME`` where there is one; any other ``a.b:c`` names the user's
    own code, ``module:function``.

    Returns:
        The entry, or None where there is none.
    """
    prefix, colon, rest = name.partition(":")
    if not colon:
        return registry.get(name)
    if not prefix or not rest or name == USERS_OWN or rest == "NAME":
        return None
    return registry.get(f"{prefix}:NAME", registry.get(USERS_OWN))
