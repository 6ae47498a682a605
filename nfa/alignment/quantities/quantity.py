"""A quantity: its name, its meaning for people, its rows in the table, and the function that computes it."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from nfa.alignment.quantities.layer import LayerContext
from nfa.alignment.quantities.values import RowKey, Value, Values
from nfa.conventions import CORRELATIONS, POWERS

# The rows that a quantity can have: (correlation, power), in the order of the table.
EVERY_CONVENTION: tuple[RowKey, ...] = tuple((correlation, power) for power in POWERS for correlation in CORRELATIONS)
POWER_ONE: tuple[RowKey, ...] = tuple((correlation, "1") for correlation in CORRELATIONS)
NO_POWER: tuple[RowKey, ...] = tuple((correlation, None) for correlation in CORRELATIONS)
ONE_NUMBER: tuple[RowKey, ...] = ((None, None),)

# What a quantity is made of, beside the weights themselves.
WEIGHTS, GRADIENT, COVARIANCE = "weights", "gradient", "covariance"

# What a layer is compared with.
INITIAL_WEIGHT, INITIAL_COVARIANCE, LOSS_GRADIENT, MOTION = "W0", "K0", "dL/dW", "motion"

# Sources that several quantities share.
PAPER = "Beaglehole, Mitliagkas & Agarwala, arXiv 2402.05271"
OURS = "defined in this project"
DERIVED = "derived"

CORRELATION_RANGE = (-1.0, 1.0)
NOT_NEGATIVE = (0.0, inf)


@dataclass(frozen=True)
class Quantity:
    """One quantity of a layer, computed from its weights W, its covariance K, and a reference.

    Attributes:
        name: Name in the column ``quantity`` of the table.
        label: Short name for the headings of figures and tables.
        meaning: One line for a reader who sees the number.
        formula: Definition in Unicode; F = WᵀW, G = WᵀKW, W̄ = W − W₀, ρ one of the correlations, s the power.
        source: Paper and equation or code, or "derived".
        values: The function. It returns a value for each of ``rows``, or one ``Value`` that stands in all of them, or,
            of an optional quantity, None.
        rows: The (correlation, power) pairs of its rows, in the order of the table.
        control: Name of the quantity that a reader must see beside this one, or None.
        spread: Name of the quantity that holds the standard deviation of the control, or None.
        range: Smallest and largest possible value.
        depends_on: ``WEIGHTS``, ``GRADIENT`` (of the loss) or ``COVARIANCE`` (K). Where K cannot be used, quantities of
            the weights alone still have values; where K is sketched, those of K alone are extrapolated.
        compares: What the layer is compared with, beside K: any of ``INITIAL_WEIGHT`` (W0), ``INITIAL_COVARIANCE``
            (K0), ``LOSS_GRADIENT`` (dL/dW) and ``MOTION`` (the change of W, and at W = W0 its limit, which takes all
            three). What no quantity asks for is not computed.
        optional: True if the quantity has no rows, instead of undefined ones, where its function returns None.
        unbiased: Gives rows that are made of forms quadratic in K, such as correlations at power 1, without the bias of
            squared noise, with standard errors, where K is known in blocks of samples
            (``nfa.alignment.quantities.sketch``); or None where that cannot be.
    """

    name: str
    label: str
    meaning: str
    formula: str
    source: str
    values: Callable[[LayerContext], Values | Value | None]
    rows: tuple[RowKey, ...] = ONE_NUMBER
    control: str | None = None
    spread: str | None = None
    range: tuple[float, float] = CORRELATION_RANGE
    depends_on: str = COVARIANCE
    compares: tuple[str, ...] = ()
    optional: bool = False
    unbiased: Callable[[LayerContext], Values | None] | None = None

    def measure(self, layer: LayerContext) -> Values | None:
        """Compute the value of every row; None where an optional quantity has no rows."""
        found = self.values(layer)
        return self.in_every_row(found) if isinstance(found, Value) else found

    def in_every_row(self, value: Value) -> Values:
        """Put one value, such as an undefined one, in every row."""
        return dict.fromkeys(self.rows, value)

    @property
    def correlations(self) -> tuple[str, ...]:
        """Names of the correlations that it has, none for a number that is no correlation."""
        return tuple(dict.fromkeys(correlation for correlation, _ in self.rows if correlation is not None))

    @property
    def powers(self) -> tuple[str, ...]:
        """Names of the powers of G that it has."""
        return tuple(dict.fromkeys(power for _, power in self.rows if power is not None))
