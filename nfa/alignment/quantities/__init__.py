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
    ansatz, centred, haar, weights, spectra, fact, best_power      the quantities, a file for each family
    evaluate         all quantities of one layer
    catalogue        the registry for people: a frame, and the table of ``docs/quantities.md``
"""

from nfa.alignment.quantities import ansatz, best_power, centred, fact, haar, spectra, weights
from nfa.alignment.quantities.quantity import Quantity

QUANTITIES: dict[str, Quantity] = {
    quantity.name: quantity
    for quantity in (
        ansatz.UC_NFC,
        centred.C_NFC,
        centred.C_NFC_UPDATE,
        haar.C_HAAR_NFC,
        centred.DC_NFC,
        ansatz.W0_NFC,
        haar.HAAR_NFC,
        haar.HAAR_NFC_SD,
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
