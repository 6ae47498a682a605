"""The conventions behind the numbers of a report, each defined in one place.

A network's alignment depends on the convention: public codes of the same group use power 1 with pearson, power 1/2 with
pearson and power 1 with cosine. So every number names its correlation and its power, and the tables have all of them.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple


class Convention(NamedTuple):
    """The correlation between two matrices, and the power to which the AGOP is raised first."""

    correlation: str
    power: str

    def __str__(self) -> str:
        return f"{self.correlation}, power {self.power}"


CORRELATIONS = ("cosine", "pearson", "offdiagonal")
POWERS = ("1", "1/2", "depth")
CONVENTIONS = tuple(Convention(correlation, power) for correlation in CORRELATIONS for power in POWERS)

# Static figures, `runs` and `cells_summary` show the convention of the paper's definition, arXiv 2402.05271.
HEADLINE = Convention("cosine", "1")


class Control(NamedTuple):
    """The control of a quantity: the same number with K turned at random.

    Attributes:
        mean: Name of the quantity that holds its mean over rotations.
        spread: Name of the quantity that holds its standard deviation over rotations.
    """

    mean: str
    spread: str


# The quantities that tables, trackers and the terminal show first, each beside its control and its distance above it.
HEADLINES = ("uc_nfc", "c_nfc", "directional")
ABOVE, ABOVE_IN_SD = "above_control", "above_control_in_sd"  # in names of columns and metrics, after the quantity

# Quantity -> its control, for code that does without torch; the registry (``nfa.alignment.quantities``) has the same.
CONTROLS = {
    "uc_nfc": Control("haar_nfc", "haar_nfc_sd"),
    "c_nfc": Control("c_haar_nfc", "c_haar_nfc_sd"),
    "c_nfc_update": Control("c_haar_nfc_update", "c_haar_nfc_update_sd"),
    "left_nfc": Control("left_nfc_haar", "left_nfc_haar_sd"),
    "directional": Control("directional_haar", "directional_haar_sd"),
    "spectral": Control("spectral_haar", "spectral_haar_sd"),
    "c_directional": Control("c_directional_haar", "c_directional_haar_sd"),
    "c_left_nfc": Control("c_left_nfc_haar", "c_left_nfc_haar_sd"),
    "c_left_nfc_update": Control("c_left_nfc_update_haar", "c_left_nfc_update_haar_sd"),
    "c_spectral": Control("c_spectral_haar", "c_spectral_haar_sd"),
    "c_directional_update": Control("c_directional_update_haar", "c_directional_update_haar_sd"),
    "c_spectral_update": Control("c_spectral_update_haar", "c_spectral_update_haar_sd"),
}

# What trackers and ``nfa.Monitor`` log of every layer, each quantity before its control.
LOGGED = (
    *(name for each in HEADLINES for name in (each, CONTROLS[each].mean)),
    "w0_nfc",
    *(name for each in ("spectral", "c_directional", "c_spectral") for name in (each, CONTROLS[each].mean)),
    "relative_change",
)

# A run learned if it finished and its final test loss, or its share of test errors, is below this share of that of the
# best constant prediction. The errors count too, because on classes that are hard to tell apart the squared error falls
# little while the accuracy becomes far better.
LEARNED_BELOW = 0.8
LEARNED_RULE = (
    f"its final test loss (or, of classes, its share of test errors) is below {LEARNED_BELOW:g} x that of the best "
    "constant prediction"
)


def has_learned(finished: Any, loss: Any, accuracy: Any, constant_loss: Any, constant_accuracy: Any) -> Any:
    """Tell whether a run finished and its test scores are clearly better than those of the best constant prediction.

    Args:
        finished: True unless the run diverged; a value or a column, as all arguments.
        loss: Test loss at the end.
        accuracy: Test accuracy; NaN for a regression.
        constant_loss: Test loss of the best constant prediction.
        constant_accuracy: Its test accuracy; NaN for a regression.

    Example:
        >>> has_learned(True, 0.5, float("nan"), 1.0, float("nan"))
        True
    """
    fewer_errors = 1 - accuracy < LEARNED_BELOW * (1 - constant_accuracy)
    return finished & ((loss < LEARNED_BELOW * constant_loss) | fewer_errors)


CONFIDENCE = 0.95

# Averages over layers leave out the readout: no layer follows it, so K = I and its correlation at power 1 is 1.
READOUT = 0  # its value of depth_from_output

LOG_STEP = "log10_of_step_plus_1"  # logged beside each step: an axis on which early steps are apart and step 0 is seen


def layer_keys(indices: Mapping[str, int], readouts: Collection[str]) -> dict[str, str]:
    """Name the layers of a network in the metrics of trackers and of ``nfa.Monitor``, so that all networks share names.

    A readout is a layer that no layer follows, wherever it stands in forward order. It has a name of its own, because a
    hidden layer of a deeper network has its index.

    Args:
        indices: Layer -> its index in forward order.
        readouts: The layers of depth 0.

    Returns:
        Layer -> ``<index>`` of a hidden layer; ``readout`` of the first readout, and ``readout_<index>`` of each other.

    Example:
        >>> layer_keys({"body": 0, "left": 1, "right": 2}, ["left", "right"])
        {'body': '0', 'left': 'readout', 'right': 'readout_2'}
    """
    first = next((layer for layer in indices if layer in readouts), None)
    return {
        layer: str(index) if layer not in readouts else "readout" if layer == first else f"readout_{index}"
        for layer, index in indices.items()
    }


# A page shows at most this many cells, evenly spread over the sweep; its sentences and tables are about all cells.
CELLS_SHOWN = 40


LINEAR_PROBES = ("ridge", "logistic")  # values of the column `probe` in rows of linear probes
