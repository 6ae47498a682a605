"""Look an entry of an axis up by the name that a sweep file gives it. Imports no torch."""

from collections.abc import Mapping
from typing import TypeVar

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
