"""Numbers made of W and K: correlations, controls, spectra, powers, and their errors.

``QUANTITIES`` is the registry, in the order of the table. To add a quantity, write a file here with a ``Quantity`` and
name it in the registry: the table, ``nfa.quantities()``, the report and ``docs/quantities.md`` read it from there.
``docs/extend.md`` shows it step by step.

The files, in the order in which they build on each other:

    values           one number with its standard error and note; the exponents of the powers
    correlation      three correlations of two matrices from sums over their entries
    feature_matrix   F = W^T W, correlated with W^T M W by k x k algebra, without forming a d x d matrix
    agop             powers and spectrum of G = W^T K W
    forms, sketch    correlations at power 1 without bias and with standard errors, from blocks of samples
    layer            one layer with everything that its quantities share
    quantity         the class ``Quantity``
    split, left_matrix                     the factors of UC-NFC; sums over S = W W^T
    ansatz, haar                           UC-NFC, and its control by rotation of K
    subject                                W, its change and the first update: the matrices that are compared with K
    controls, permuted                     controls of each of them, by rotation and by permutation
    centred                                the correlations of the change and of the first update
    directions, sketched_split             the factors as quantities, and from sketches of K
    left, slope, weights, spectra, fact, best_power      further quantities, a file for each family
    evaluate         all quantities of one layer
    catalogue        the registry for people: a frame, and the table of ``docs/quantities.md``
"""

from nfa.alignment.quantities import (
    ansatz,
    best_power,
    centred,
    directions,
    fact,
    haar,
    left,
    permuted,
    slope,
    spectra,
    weights,
)
from nfa.alignment.quantities.quantity import Quantity
from nfa.alignment.quantities.split import FACTORS
from nfa.alignment.quantities.subject import CHANGE, UPDATE, WEIGHTS, Subject


def _structure(subject: Subject) -> tuple[Quantity, ...]:
    """Define what compares the left singular structure of a subject with K."""
    factors = (quantity for factor in FACTORS for quantity in directions.factor_quantities(subject, factor))
    return (*factors, *left.left_quantities(subject), *slope.slope_quantities(subject))


# Quantities that have a limit at W = W0; those of the optimizer's first update have rows there only.
_OF_CHANGE = (centred.C_NFC, *centred.CONTROLS_OF_CHANGE, permuted.permuted_nfc(CHANGE), *_structure(CHANGE))
_OF_UPDATE = (centred.C_NFC_UPDATE, *centred.CONTROLS_OF_UPDATE, permuted.permuted_nfc(UPDATE), *_structure(UPDATE))
LIMIT_QUANTITIES = tuple(quantity.name for quantity in (*_OF_CHANGE, *_OF_UPDATE))

QUANTITIES: dict[str, Quantity] = {
    quantity.name: quantity
    for quantity in (
        ansatz.UC_NFC,
        haar.HAAR_NFC,
        haar.HAAR_NFC_SD,
        permuted.permuted_nfc(WEIGHTS),
        ansatz.W0_NFC,
        *_structure(WEIGHTS),
        *_OF_CHANGE,
        *_OF_UPDATE,
        centred.DC_NFC,
        weights.RELATIVE_CHANGE,
        weights.LOCALISATION,
        spectra.STABLE_RANK_NFM,
        spectra.STABLE_RANK_AGOP,
        spectra.STABLE_RANK_K,
        spectra.SUBSPACE_OVERLAP,
        spectra.COMMUTATOR,
        fact.FACT,
        best_power.DEPTH_LAW_POWER,
        best_power.DEPTH_LAW_FIT,
        best_power.DEPTH_LAW_LOW,
        best_power.DEPTH_LAW_HIGH,
    )
}
