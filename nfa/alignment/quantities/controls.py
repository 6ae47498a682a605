"""The controls of a subject's quantities by random rotation of K: their means and standard deviations over rotations.

All quantities of a subject share the same rotated K (``nfa.alignment.quantities.haar``).
"""

from collections.abc import Callable

from nfa.alignment.quantities.haar import Controls, Drawn, haar_control, of_weights, turned_covariance
from nfa.alignment.quantities.layer import LayerContext
from nfa.alignment.quantities.quantity import CORRELATION_RANGE, DERIVED, NOT_NEGATIVE, Quantity
from nfa.alignment.quantities.subject import Subject, SubjectMatrix
from nfa.alignment.quantities.values import RowKey, Value, Values


def control_quantities(
    subject: Subject,
    name: str,
    number: str,
    rows: tuple[RowKey, ...],
    *,
    label: str,
    meaning: str,
    correlated: str,
    bounds: tuple[float, float] = CORRELATION_RANGE,
) -> tuple[Quantity, Quantity]:
    """Define the control of a quantity, and the spread of the control.

    Args:
        subject: The matrix V that the quantity is about.
        name: Name of the control; that of its spread ends in ``_sd``.
        number: Name of the quantity among the numbers drawn, see ``Controls``.
        rows: Rows of the quantity.
        label: Label of the quantity.
        meaning: Meaning of the control.
        correlated: Formula of the quantity with Q K Q^T in place of K.
        bounds: Smallest and largest possible value of the quantity.
    """

    def values(statistic: Callable[[Controls], dict[Drawn, Value]]) -> Callable[[LayerContext], Values | Value | None]:
        """Give the function that computes one statistic of the draws."""

        def of_matrix(layer: LayerContext, matrix: SubjectMatrix) -> Values:
            drawn = statistic(layer.once(_controls, matrix))
            return {row: drawn[number, *row] for row in rows}

        return lambda layer: subject.of(layer, of_matrix)

    mean = Quantity(
        name=name,
        label=f"{label}, K turned at random",
        meaning=meaning,
        formula=f"mean of {correlated} over random rotations Q",
        source=DERIVED,
        values=values(lambda controls: controls.means),
        rows=rows,
        range=bounds,
        compares=subject.compares,
        optional=subject.optional,
    )
    deviation = Quantity(
        name=f"{name}_sd",
        label=f"{label}, spread of K turned at random",
        meaning="spread of that control over the rotations",
        formula=f"standard deviation of {correlated} over the same Q",
        source=DERIVED,
        values=values(lambda controls: controls.deviations),
        rows=rows,
        range=NOT_NEGATIVE,
        compares=subject.compares,
        optional=subject.optional,
    )
    return mean, deviation


def _controls(layer: LayerContext, matrix: SubjectMatrix) -> Controls:
    """Compute the controls of V; those of the weights are shared with UC-NFC, which has them at every power."""
    if matrix.weight is layer.weight:
        return layer.once(of_weights)
    return haar_control(
        matrix.basis,
        layer.once(turned_covariance),
        {"1": 1.0},
        layer.current.resolution,
        readout=layer.is_readout,
    )
