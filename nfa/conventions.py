"""The conventions behind the numbers of a report, each defined in one place.

A network's alignment depends on the convention: public codes of the same group use power 1 with pearson, power 1/2 with
pearson and power 1 with cosine. So every number names its correlation and its power, and the tables have all of them.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np


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

# How a run is marked that took all of its steps without coming to the training loss or accuracy of ``train.until``.
NOT_REACHED = "did not reach"

# A run learned its task if it went this share of the way from the best constant prediction to no error. Of classes the
# errors count and not the loss, because cross entropy and squared error depend on how sure a network is.
LEARNED_SHARE = 0.5
LEARNED_RULE = (
    "its final training loss is below its first, and on test data it went more than half of the way from the best "
    "constant prediction to no error: of classes, its accuracy is above half of the way from that of the largest class "
    "to 1, and above that of the largest class with its 95% interval (binomial, by Wilson's formula); in a regression, "
    "its loss is below half of that of the best constant"
)


def learned_share(loss: Any, accuracy: Any, constant_loss: Any, constant_accuracy: Any) -> Any:
    """Return the share of the way from the best constant prediction to no error, on test data.

    Args:
        loss: Test loss at the end; a value or a column, as all arguments.
        accuracy: Test accuracy; NaN for a regression.
        constant_loss: Test loss of the best constant prediction.
        constant_accuracy: Its test accuracy, that of the largest class; NaN for a regression.

    Returns:
        An array: of classes 1 - (1 - accuracy) / (1 - constant_accuracy), in a regression 1 - loss / constant_loss.
        NaN where the constant prediction has no error.

    Example:
        >>> float(learned_share(0.3, float("nan"), 1.0, float("nan")))
        0.7
        >>> float(learned_share(0.3, 0.75, 1.0, 0.5))
        0.5
    """
    loss, accuracy, constant_loss, constant_accuracy = (
        np.asarray(values, float) for values in (loss, accuracy, constant_loss, constant_accuracy)
    )
    classes = ~np.isnan(constant_accuracy)
    error = np.where(classes, 1 - accuracy, loss)
    constant_error = np.where(classes, 1 - constant_accuracy, constant_loss)
    return 1 - np.divide(error, constant_error, out=np.full(error.shape, np.nan), where=constant_error != 0)


def has_learned(
    finished: Any,
    scores: tuple[Any, Any, Any, Any],
    train_losses: tuple[Any, Any],
    n_test: Any,
) -> Any:
    """Tell whether a run finished and learned its task: see ``LEARNED_RULE``.

    Args:
        finished: True unless the run diverged; a value or a column, as all arguments.
        scores: Arguments of ``learned_share``.
        train_losses: Training loss at the start and at the end.
        n_test: Number of test samples.

    Returns:
        An array of truth values.

    Example:
        >>> bool(has_learned(True, (0.3, 0.8, 0.7, 0.5), (0.7, 0.2), n_test=100))
        True
        >>> bool(has_learned(True, (0.6, 0.62, 0.7, 0.5), (0.7, 0.6), n_test=100))  # .62 of two classes
        False
    """
    first, last = (np.asarray(loss, float) for loss in train_losses)
    accuracy, chance = np.asarray(scores[1], float), np.asarray(scores[3], float)
    above_chance = np.isnan(chance) | (wilson_low(accuracy, n_test) > chance)
    return np.asarray(finished, bool) & (last < first) & above_chance & (learned_share(*scores) > LEARNED_SHARE)


def wilson_low(share: Any, n: Any) -> Any:
    """Return the lower end of the 95% interval of a binomial probability, of which a share was observed in n trials.

    Source: Wilson, J. Am. Stat. Assoc. 22 (1927) 209.

    Example:
        >>> round(float(wilson_low(0.5, 100)), 3)
        0.404
    """
    z, share, n = 1.959964, np.asarray(share, float), np.asarray(n, float)
    return (share + z**2 / (2 * n) - z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))) / (1 + z**2 / n)


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
