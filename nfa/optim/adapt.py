"""Speeds of Speed Limited Optimization that follow the measured alignment: layers that lag get faster.

Derived in this project, from no paper. Imports no torch.

    log C_l <- log C_l + rate * (mean of a - a_l),    then C_l within [B_l / bound, B_l * bound]

a_l is the UC-NFC of layer l, B_l its speed at the start, and the mean is over the measured layers. As long as no bound
is reached, the product of the speeds of these layers is unchanged.
"""

import math
from collections.abc import Mapping

from nfa.errors import nearest
from nfa.optim.layer_speeds import owner_of


def adapted_speeds(
    speeds: Mapping[str, float],
    nfc: Mapping[str, float],
    *,
    base: Mapping[str, float],
    rate: float = 1.0,
    bound: float = 10.0,
) -> dict[str, float]:
    """Compute new speeds from the measured alignment.

    Args:
        speeds: Layer name -> speed now.
        nfc: Layer name -> UC-NFC now; a layer without a value, or with NaN, keeps its speed. Leave out the readout,
            whose UC-NFC is 1 at power 1 whatever it learned. Layers that are parts of one parameter are averaged.
        base: Layer name -> speed at the start.
        rate: Change of the logarithm of a speed for a lag of 1.
        bound: Largest factor between a speed and the speed at the start.

    Returns:
        Layer name -> new speed. A speed of 0 stays 0.

    Raises:
        ValueError: ``rate`` or ``bound`` is out of range, ``nfc`` names a layer without a speed, or ``base`` lacks a
            layer of ``speeds``.
    """
    if not 0 < rate < math.inf:
        raise ValueError(f"rate: {rate} must be more than 0 and finite")
    if not 1 <= bound < math.inf:
        raise ValueError(f"bound: {bound} must be 1 or more and finite")
    owners = {owner_of(layer) for layer in speeds}
    for layer in nfc:
        if owner_of(layer) not in owners:
            raise ValueError(f"nfc: {layer}: no such layer; {nearest(layer, speeds)}")
    for layer in speeds:
        if layer not in base:
            raise ValueError(f"base: {layer}: missing; it has {', '.join(base)}")
    parts: dict[str, list[float]] = {}
    for layer, value in nfc.items():
        if math.isfinite(value):
            parts.setdefault(owner_of(layer), []).append(value)
    measured = {owner: sum(values) / len(values) for owner, values in parts.items()}
    if not measured:
        return dict(speeds)
    mean = sum(measured.values()) / len(measured)
    chosen = dict(speeds)
    for layer, speed in speeds.items():
        if owner_of(layer) in measured:
            wanted = speed * math.exp(rate * (mean - measured[owner_of(layer)]))
            chosen[layer] = min(max(wanted, base[layer] / bound), base[layer] * bound)
    return chosen
