"""The notation of SLO's setting ``speeds``, which gives each layer its speed. Imports no torch."""

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from nfa.errors import cut, nearest

_PART = re.compile(
    r"(\^T|#\d+|\[\d+:\d+\])$"
)  # ends of the names of layers that are a part, or the transpose, of a weight


def resolve_speeds(speeds: Mapping[str, float], layer_names: Sequence[str]) -> dict[str, float]:
    """Resolve the keys of ``speeds`` to one speed for each layer.

    Args:
        speeds: Key -> speed. A key is ``first``, ``last``, a layer's index in forward order (``"2"``, ``"-1"``), its
            name, a pattern of names (``blocks.*.query``: ``*``, ``?`` and ``[...]`` as in a shell, but a ``*``
            also takes dots), or ``others`` for every layer that no other key names (1 where ``others`` is not given).
            A key that names one layer takes precedence over a pattern.
        layer_names: The layers in forward order.

    Returns:
        Layer name -> speed, in forward order.

    Raises:
        ValueError: A key names no layer, two keys name the same one or two patterns take the same one, or layers that
            are parts of one parameter have different speeds.
    """
    named: dict[str, str] = {}
    taken: dict[str, str] = {}
    places = {"first": 0, "last": len(layer_names) - 1} | {str(i): i for i in range(len(layer_names))}
    places |= {str(i - len(layer_names)): i for i in range(len(layer_names))}
    for key in speeds:
        if key == "others":
            continue
        matched, into = [key], named
        if key not in layer_names:
            if key in places and layer_names:
                matched = [layer_names[places[key]]]
            else:
                matched, into = [name for name in layer_names if fnmatchcase(name, key)], taken
        if not matched:
            raise ValueError(f"{cut(key)}: no such layer; {nearest(key, ['first', 'last', 'others', *layer_names])}")
        for layer in matched:
            if layer in into:
                raise ValueError(f"{key}: layer {layer} has a speed already, as {into[layer]!r}; name each layer once")
            into[layer] = key
    keys = taken | named
    resolved = {layer: speeds[keys[layer]] if layer in keys else speeds.get("others", 1.0) for layer in layer_names}
    speeds_of_owners(resolved)
    return resolved


def speeds_of_owners(resolved: Mapping[str, float]) -> dict[str, float]:
    """Map each module or parameter that owns layers to their common speed, because a parameter moves as a whole.

    Raises:
        ValueError: Layers of one owner have different speeds.
    """
    owners: dict[str, float] = {}
    for layer, speed in resolved.items():
        owner = owner_of(layer)
        if owners.setdefault(owner, speed) != speed:
            raise ValueError(f"{layer}: it is a part of {owner}, which has one speed; give all parts the same")
    return owners


def owner_of(layer: str) -> str:
    """Return the module or parameter that a layer is a part of, or the layer itself."""
    while (shorter := _PART.sub("", layer)) != layer:
        layer = shorter
    return layer
