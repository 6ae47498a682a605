"""Verdicts in words: does a number lie above its control?

The control is the same number with K turned at random, a mean over rotations with a standard deviation. The difference
to the control is averaged over hidden layers and cells within each seed; its 95% interval is over seeds. Its unit is
the root mean square of the controls' standard deviations (``nfa.report.statistics.above_control``). The rule:

    no better than chance    the difference is within ``FAR`` standard deviations of the control, or rounds to 0
    yes                      it is larger, and its interval lies above 0
    below chance             it is smaller, and its interval lies below 0
    undecided                it is large, but its interval contains 0

With one seed there is no interval, and the size alone decides; where the standard deviation is not known (at powers
other than 1), the interval alone does.
"""

from dataclasses import dataclass
from math import isfinite

import pandas as pd

from nfa.conventions import Convention
from nfa.report.numbers import UNDEFINED, number
from nfa.report.page.sentences import complete_cells, mean_over_seeds
from nfa.report.statistics.above_control import VARIANCE, in_deviations
from nfa.report.statistics.labels import name_list
from nfa.report.statistics.runs import at_convention
from nfa.report.statistics.study import Study

FAR = 2.0  # standard deviations of the control
SMALLEST = 0.005  # a smaller difference cannot be seen in two decimals
ABOVE, CHANCE, BELOW, OPEN = "yes", "no better than chance", "below chance", "undecided"

STRENGTHS = {
    ABOVE: "more alike than by chance",
    CHANCE: "as alike as by chance",
    BELOW: "less alike than by chance",
    OPEN: OPEN,
    UNDEFINED: UNDEFINED,
}

RULE = (
    f"The verdicts: yes, where the mean difference to the control is more than {FAR:g} standard deviations of the "
    "control (over random rotations of K; root mean square over layers) and its 95% interval over seeds lies above 0; "
    "below chance, where the same holds below 0; no better than chance, where the difference is smaller than that; "
    "undecided, where it is larger but the interval contains 0. Of strengths the same rule says how alike they are."
)

# Names of families of networks in a sentence; a family without an entry has the name of its model.
FAMILIES = {
    "mlp": "MLPs",
    "deep_linear": "deep linear networks",
    "conv": "convolutional networks",
    "vgg11": "VGG-11",
    "resnet": "residual networks",
    "transformer": "transformers",
    "recurrent": "recurrent networks",
}


@dataclass(frozen=True)
class Compared:
    """A number beside its control: means over hidden layers, cells and seeds.

    Attributes:
        value: The number at the last step.
        control: Its control there.
        initial: The number at step 0.
        difference: value - control.
        low: Lower end of the 95% interval of the difference over seeds; NaN with one seed.
        high: Upper end.
        deviations: The difference in standard deviations of the control (their root mean square over layers, cells
            and seeds); NaN where these are not known.
        strengths: The number is a spectral factor, of which one asks how alike strengths are.
    """

    value: float
    control: float
    initial: float
    difference: float
    low: float
    high: float
    deviations: float
    strengths: bool = False

    @property
    def verdict(self) -> str:
        """One of ``ABOVE``, ``CHANCE``, ``BELOW`` and ``OPEN``, by the rule above; ``n/a`` where undefined.

        >>> Compared(0.8, 0.5, 0.5, difference=0.3, low=0.25, high=0.35, deviations=6.0).verdict
        'yes'
        >>> Compared(0.8, 0.75, 0.8, difference=0.05, low=0.04, high=0.06, deviations=1.0).verdict
        'no better than chance'
        >>> Compared(0.8, 0.7, 0.8, difference=0.1, low=-0.1, high=0.3, deviations=5.0).verdict
        'undecided'
        """
        if not isfinite(self.difference):
            return UNDEFINED
        if abs(self.difference) < SMALLEST or abs(self.deviations) <= FAR:
            return CHANCE
        if self.difference > 0 and not self.low <= 0:
            return ABOVE
        if self.difference < 0 and not self.high >= 0:
            return BELOW
        return OPEN

    @property
    def words(self) -> str:
        """The verdict for a reader; of strengths, how alike they are."""
        return STRENGTHS[self.verdict] if self.strengths else self.verdict

    @property
    def beside(self) -> str:
        """The number beside its control: ``0.79, by chance 0.47``."""
        return f"{number(self.value)}, by chance {number(self.control)}"


Families = dict[tuple[str, str], Compared]  # (data set, family of networks) -> comparison


def compare(study: Study, points: pd.DataFrame, *, strengths: bool = False) -> Compared:
    """Average rows of ``Study.above_controls`` over hidden layers, cells and seeds."""
    columns = ["value", "control", "initial", "difference", VARIANCE]
    points = points[points["difference"].notna()].assign(**{VARIANCE: points["control_sd"] ** 2})
    runs = points.groupby(["cell", "seed"], observed=True)[columns].mean().reset_index()
    value, control, initial, difference, variance = (mean_over_seeds(study, runs, column) for column in columns)
    deviations = float(in_deviations(difference[0], variance[0]))
    return Compared(value[0], control[0], initial[0], *difference, deviations, strengths)


def families(study: Study, quantity: str, convention: Convention | None = None) -> Families:
    """Compare a quantity with its control in each data set and family of networks, in the order of the sweep.

    Args:
        study: The sweep's numbers.
        quantity: A key of ``Study.above_controls``.
        convention: Of UC-NFC; the factors have none.

    Returns:
        (data, family) -> the comparison; without those in which the quantity is defined nowhere.
    """
    key = (families, quantity, convention)
    if key not in study.shared:
        points = complete_cells(study, study.above_controls[quantity])
        if convention is not None:
            points = points[at_convention(points, convention)]
        parts = by_family(study, points[points["difference"].notna()])
        strengths = quantity == "spectral"
        study.shared[key] = {place: compare(study, part, strengths=strengths) for place, part in parts.items()}
    found: Families = study.shared[key]
    return found


def by_family(study: Study, frame: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    """Cut rows with a column ``cell`` into data sets and families of networks, in the order of the sweep."""
    cells = frame["cell"].astype(str)
    parts: dict[tuple[str, str], pd.DataFrame] = {}
    for _, group in study.cells.groupby(["data", "model.name"], sort=False):
        data, model = str(group["data"].iloc[0]), str(group["model.name"].iloc[0])
        parts[data, FAMILIES.get(model, model)] = frame[cells.isin(group.index)]
    return {key: part for key, part in parts.items() if len(part)}


def in_words(found: Families, limit: int = 8) -> str:
    """Write the verdict of each data set and family, for the end of a sentence.

    Args:
        found: From ``families``.
        limit: Families that are named; the others are counted.

    >>> row = Compared(0.8, 0.5, 0.5, difference=0.3, low=0.25, high=0.35, deviations=6.0)
    >>> in_words({("digits", "MLPs"): row})
    'yes in MLPs on digits (0.80, by chance 0.50)'
    """
    return name_list(
        [f"{row.words} in {family} on {data} ({row.beside})" for (data, family), row in found.items()], limit
    )


def verdict_rows(columns: dict[str, Families], limit: int = 6) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """List the verdicts for the overview.

    Args:
        columns: Name of a quantity -> what ``families`` found.
        limit: Families that are listed.

    Returns:
        For each data set and family: its name, and for each quantity its name, the verdict and the numbers behind it.
    """
    keys = list(dict.fromkeys(key for found in columns.values() for key in found))
    return [
        (
            f"{family}, {data}",
            [(name, found[key].words, found[key].beside) for name, found in columns.items() if key in found],
        )
        for key in keys[:limit]
        for data, family in [key]
    ]
