"""Which speed each layer gets: the little language of SLO's ``speeds`` setting. Imports no torch."""

from collections.abc import Mapping, Sequence

from nfa.errors import nearest


def resolve_speeds(speeds: Mapping[str, float], layer_names: Sequence[str]) -> dict[str, float]:
    """Give every layer its speed.

    Args:
        speeds: Key -> speed. A key is ``first``, ``last``, a layer's index in forward order (``"2"``, ``"-1"``), its
            name, or ``others`` for every layer that no other key names (1 where ``others`` is not given).
        layer_names: The layers in forward order.

    Returns:
        Layer name -> speed, in forward order.

    Raises:
        ValueError: A key names no layer, or two keys name the same one.
    """
    named: dict[str, str] = {}
    places = {"first": 0, "last": len(layer_names) - 1} | {str(i): i for i in range(len(layer_names))}
    places |= {str(i - len(layer_names)): i for i in range(len(layer_names))}
    for key in speeds:
        if key == "others":
            continue
        if key in layer_names:
            layer = key
        elif key in places:
            layer = layer_names[places[key]]
        else:
            raise ValueError(f"{key}: no such layer; {nearest(key, ['first', 'last', 'others', *layer_names])}")
        if layer in named:
            raise ValueError(f"{key}: layer {layer} has a speed already, as {named[layer]!r}; name each layer once")
        named[layer] = key
    others = speeds.get("others", 1.0)
    return {layer: speeds[named[layer]] if layer in named else others for layer in layer_names}
