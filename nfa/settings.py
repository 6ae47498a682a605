"""What an entry of a sweep file may say: typed settings, each with a default, bounds and a line of description."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """Base of every entry's settings: unknown keys refused, types not coerced, values fixed once made."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    # How the entry shows itself in a cell's readable id: {setting: tag}, and which of them show only when not default.
    tags: ClassVar[dict[str, str]] = {}
    quiet_tags: ClassVar[frozenset[str]] = frozenset()


def setting(default: Any, description: str, **bounds: Any) -> Any:
    """Declare one setting: its default, a line of description, and pydantic bounds (``gt``, ``ge``, ``le``, ...)."""
    return Field(default, description=description, **bounds)


def non_default(settings: Settings) -> dict[str, Any]:
    """Return the settings that differ from their defaults: they identify an entry, so a new setting changes no id."""
    return settings.model_dump(mode="json", exclude_defaults=True)
