"""Two tables of C-NFC(0+) of quadratic networks: measured on drawn networks, predicted at finite and infinite width.

``spectrum``   y = chain monomial of rank 5, x ~ N(0, diag(i^-alpha)), d = 128, n = 1,024
``reversing``  the alignment-reversing mixture, d = 128, n = 4,096, k = 1,024

Each row has a reference value for cosine from an earlier calculation of this project, which does not use this code. It
had five other draws; at alpha = 1 the predicted value alone varies by .011 (standard deviation) from draw to draw.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from nfa.data import DATA
from nfa.random import numpy_generator
from nfa.theory import quadratic

SOURCES = ("measured", "free_probability", "free_probability_of_readout", "infinite_width")


@dataclass(frozen=True)
class Case:
    """One row of a table.

    Attributes:
        table: ``spectrum`` or ``reversing``.
        data: Data entry and its settings.
        width: k.
        shown: Parameters that distinguish the row from others: name -> value.
        reference: Source -> value of the earlier calculation, cosine.
        reference_spread: Uncertainty of the earlier calculation's ``measured`` value; NaN if it gave none.
    """

    table: str
    data: Mapping[str, Any]
    width: int
    shown: Mapping[str, float] = field(default_factory=dict)
    reference: Mapping[str, float] = field(default_factory=dict)
    reference_spread: float = float("nan")

    @property
    def label(self) -> str:
        """The row's name, e.g. ``p=2, gamma=0.1``."""
        return ", ".join(f"{name}={value:g}" for name, value in self.shown.items())


def _spectrum(alpha: float, width: int, numbers: tuple[float, float, float], spread: float = float("nan")) -> Case:
    data = {"name": "gaussian_power_law", "dim": 128, "n_train": 1024, "target": "chain", "rank": 5, "alpha": alpha}
    return Case("spectrum", data, width, {"alpha": alpha, "k": width}, _reference(numbers), spread)


def _reversing(power: float, gamma: float, numbers: tuple[float, float, float], spread: float = float("nan")) -> Case:
    data = {"name": "alignment_reversing", "dim": 128, "n_train": 4096, "power": power, "gamma": gamma}
    return Case("reversing", data, 1024, {"p": power, "gamma": gamma}, _reference(numbers), spread)


def _reference(numbers: tuple[float, float, float]) -> dict[str, float]:
    return dict(zip(("measured", "free_probability", "infinite_width"), numbers, strict=True))


CASES = (
    _spectrum(0, 128, (0.913, 0.885, 0.986), 0.011),
    _spectrum(0, 1024, (0.959, 0.955, 0.986), 0.003),
    _spectrum(1, 1024, (0.968, 0.959, 0.960)),
    _spectrum(1.5, 1024, (0.916, 0.917, 0.917)),
    _reversing(2, 0, (0.953, 0.950, 0.984)),
    _reversing(2, 0.1, (0.755, 0.747, 0.978), 0.033),
    _reversing(2, 0.5, (0.584, 0.609, 0.866), 0.024),
    _reversing(4, 0.1, (0.312, 0.308, 0.264), 0.025),
)
TABLES = ("spectrum", "reversing")


def quadratic_draws(table: str | None = None, draws: int = 5, seed: int = 0) -> pd.DataFrame:
    """Measure and predict C-NFC(0+) on draws of data, W ~ N(0, I / d) and a ~ N(0, 1).

    Args:
        table: ``spectrum`` or ``reversing``; None for both.
        draws: Number of draws of each row.
        seed: Seed of the first draw; further draws have the following seeds.

    Returns:
        One row per case, draw, correlation and source, with columns table, case, width, seed, correlation, source,
        value, reference, reference_spread, note. Sources: ``measured`` (of the drawn W and a),
        ``free_probability`` (of a Gaussian readout), ``free_probability_of_readout`` (of the drawn a's own moments),
        ``infinite_width``; all with R and S of the samples.
    """
    cases = [case for case in CASES if table in (None, case.table)]
    return pd.DataFrame([row for case in cases for s in range(seed, seed + draws) for row in _rows(case, s)])


def _rows(case: Case, seed: int) -> Iterator[dict[str, Any]]:
    entry = DATA[case.data["name"]]
    data = entry.load(entry.settings(**case.data), numpy_generator("data", seed, data=dict(case.data)))
    target, covariance = quadratic.data_matrices(data.x_train, data.y_train)
    generator = numpy_generator("quadratic", seed, data=dict(case.data), width=case.width)
    readout = generator.standard_normal(case.width)
    weights = generator.standard_normal((case.width, len(target))) / np.sqrt(len(target))
    moments = quadratic.moments_of(readout)
    values = {
        "measured": quadratic.network_value(target, covariance, weights, readout),
        "free_probability": quadratic.finite_width(target, covariance, case.width),
        "free_probability_of_readout": quadratic.finite_width(target, covariance, case.width, moments),
        "infinite_width": quadratic.infinite_width(target, covariance),
    }
    for source, correlations in values.items():
        for correlation, value in correlations.items():
            known = correlation == "cosine"
            yield {
                "table": case.table,
                "case": case.label,
                "width": case.width,
                "seed": seed,
                "correlation": correlation,
                "source": source,
                "value": value.value,
                "reference": case.reference.get(source, float("nan")) if known else float("nan"),
                "reference_spread": case.reference_spread if known and source == "measured" else float("nan"),
                "note": value.note,
            }
