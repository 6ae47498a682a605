"""The conventions a report states with every number, each in one place.

The same network has several alignments: public codes of the same group use power 1 with pearson, power 1/2 with pearson
and power 1 with cosine. So every number names its correlation and its power, and all of them are in the tables.
"""

from typing import Any, NamedTuple


class Convention(NamedTuple):
    """How a correlation between two matrices is taken, and to which power the AGOP is raised."""

    correlation: str
    power: str

    def __str__(self) -> str:
        return f"{self.correlation}, power {self.power}"


CORRELATIONS = ("cosine", "pearson", "offdiagonal")
POWERS = ("1", "1/2", "depth")
CONVENTIONS = tuple(Convention(correlation, power) for correlation in CORRELATIONS for power in POWERS)

# What static figures, `runs` and `cells_summary` show: the convention of the paper's definition, arXiv 2402.05271.
HEADLINE = Convention("cosine", "1")

# A run learned if it finished and its final test loss, or its share of test errors, is below this share of the best
# constant prediction's: squared error on classes that are hard to tell apart falls little while accuracy is far better.
LEARNED_BELOW = 0.8
LEARNED_RULE = (
    f"its final test loss (or, of classes, its share of test errors) is below {LEARNED_BELOW:g} x that of the best "
    "constant prediction"
)


def beats_constant(loss: Any, accuracy: Any, constant_loss: Any, constant_accuracy: Any) -> Any:
    """Whether test scores clearly beat the best constant prediction's: numbers or columns; accuracy NaN where none."""
    fewer_errors = 1 - accuracy < LEARNED_BELOW * (1 - constant_accuracy)
    return (loss < LEARNED_BELOW * constant_loss) | fewer_errors


CONFIDENCE = 0.95

# Layers are averaged without the readout: nothing comes after it, so that K = I and its correlation is 1 at power 1.
READOUT = 0  # depth_from_output

# A page shows this many cells at most, evenly spread over the sweep; sentences and tables are always about all of them.
CELLS_SHOWN = 40


LINEAR_PROBES = ("ridge", "logistic")  # in the column `probe`: the rows of linear probes; the rest are other measures
