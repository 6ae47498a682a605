"""Compute the quantities of one layer, and correct those whose K is an estimate.

Where K is exact, a quantity's function gives its value. Where K is sketched, correlations at power 1 are unbiased and
have a calibrated standard error (``nfa.alignment.quantities.sketch``). Everything else that depends on K is not
quadratic in it: its value is extrapolated from the two sketches and their mean, 2 v(mean) - (v(first) + v(second)) / 2,
which takes out the bias that falls with the number of probes; its standard error is the half-difference of the two
sketches and the size of that correction together.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import hypot, isnan, nan

from nfa.alignment.covariance.layer_covariances import LayerCovariance
from nfa.alignment.network.reasons import reason
from nfa.alignment.quantities import LIMIT_QUANTITIES, QUANTITIES
from nfa.alignment.quantities.layer import OVERFLOW, LayerContext, Reference
from nfa.alignment.quantities.quantity import COVARIANCE, WEIGHTS, Quantity
from nfa.alignment.quantities.subject import LIMITS, noted
from nfa.alignment.quantities.values import Value, Values, undefined

PLUG_IN = reason("of the samples drawn: no error estimate for the whole data set")


def quantity_values(
    current: LayerCovariance, reference: Reference, seed: int, quantities: Sequence[Quantity] | None = None
) -> dict[str, Values]:
    """Compute quantities of one layer.

    Args:
        current: W and K.
        reference: W0, K0, gradient and update; tensors as ``current.weight``, float64 on the CPU.
        seed: Seed of the random rotations.
        quantities: The quantities; None for all that are registered.

    Returns:
        Quantity name -> (correlation, power) -> value. Every quantity is there, except an optional one that is
        undefined: ``c_nfc_update`` exists only where W = W0 and the update is known.
    """
    layer, wanted = LayerContext(current, reference, seed), quantities or tuple(QUANTITIES.values())
    if layer.no_covariance:
        return {quantity.name: _without_covariance(layer, quantity) for quantity in wanted if not quantity.optional}
    return _estimated(layer, wanted)


def limit_values(current: LayerCovariance, reference: Reference, seed: int) -> dict[str, Values]:
    """Compute the centred quantities that have a limit at W = W0, as ``quantity_values`` does there.

    Args:
        current: W0 and K0.
        reference: Gradient, the learning rule's matrix in its place, and update; its initial tensors are not used.
        seed: Seed of the random rotations.
    """
    at_start = replace(reference, initial_weight=current.weight, initial_covariance=None, initial_blocks=None)
    layer = LayerContext(current, at_start, seed)
    wanted = [QUANTITIES[name] for name in LIMIT_QUANTITIES if reference.update is not None or "update" not in name]
    if layer.no_covariance:
        return {quantity.name: _without_covariance(layer, quantity) for quantity in wanted}
    return _estimated(layer, wanted)


def _without_covariance(layer: LayerContext, quantity: Quantity) -> Values:
    """Compute a quantity of the weights alone; any other is undefined, and so are all where the network overflows."""
    if quantity.depends_on == WEIGHTS and layer.no_covariance != OVERFLOW:
        return quantity.measure(layer) or {}
    return quantity.in_every_row(undefined(layer.no_covariance))


def _taken_as_exact(layer: LayerContext, quantities: Sequence[Quantity]) -> dict[str, Values]:
    """Compute quantities as if K were exact; without optional ones that have no rows."""
    measured = {quantity.name: quantity.measure(layer) for quantity in quantities}
    return {name: values for name, values in measured.items() if values is not None}


def _estimated(layer: LayerContext, quantities: Sequence[Quantity]) -> dict[str, Values]:
    """Compute quantities, take out the bias of sketches, and estimate standard errors."""
    found = _taken_as_exact(layer.anew(), quantities)
    if layer.current.blocks is None:
        return found
    corrected = [quantity for quantity in quantities if quantity.depends_on == COVARIANCE and quantity.name in found]
    halves = [_taken_as_exact(half, corrected) for half in layer.halves()] if layer.current.probes else []
    for quantity in corrected:
        values = found[quantity.name]
        if halves:
            parts = [half[quantity.name] for half in halves]
            values = {
                row: _extrapolated(value, [part[row] for part in parts], quantity.range)
                for row, value in values.items()
            }
        if layer.current.population is not None:
            values = {row: _of_these_samples(value) for row, value in values.items()}
        found[quantity.name] = values | _unbiased(layer, quantity, values)
    return found


def _extrapolated(value: Value, halves: list[Value], bounds: tuple[float, float]) -> Value:
    """Take out the bias that falls with the number of probes, see the module's docstring; stay within the bounds."""
    if any(isnan(v.value) for v in (value, *halves)):
        return value if isnan(value.value) else undefined(next(v.note for v in halves if isnan(v.value)))
    first, second = (half.value for half in halves)
    correction = value.value - (first + second) / 2
    corrected = min(max(value.value + correction, bounds[0]), bounds[1])
    return Value(corrected, value.note, hypot((first - second) / 2, correction, value.stderr))


def _of_these_samples(value: Value) -> Value:
    """Note that a value has no error estimate for the whole data set."""
    if isnan(value.value):
        return value
    return Value(value.value, f"{value.note}; {PLUG_IN}" if value.note else PLUG_IN, nan)


def _unbiased(layer: LayerContext, quantity: Quantity, values: Values) -> Values:
    """Give the rows of a quantity that have an unbiased estimate, with its error, unless the quantity is undefined."""
    if quantity.unbiased is None:
        return {}
    found = {row: value for row, value in (quantity.unbiased(layer) or {}).items() if row in values}
    if all(isnan(values[row].value) for row in found):
        return {}
    notes = {row: values[row].note for row in found}
    return {row: noted(value, notes[row]) if notes[row] in LIMITS else value for row, value in found.items()}
