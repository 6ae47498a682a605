"""Every quantity of one layer, by name and convention.

W weights, W0 initial weights, Wb = W - W0, K and K0 the covariances now and at initialisation, F = W^T W, G = W^T K W:

    uc_nfc            rho(F, G^s): the neural feature ansatz itself
    c_nfc             rho(Wb^T Wb, (Wb^T K Wb)^s): the centred correlation. At W = W0 it is 0/0; its limit t -> 0+ is
                      rho(V^T V, (V^T K0 V)^s) with V the first direction: -dL/dW for gradient flow [derived]
    c_nfc_update      at W = W0 only: the same limit with V the optimizer's first update
    dc_nfc            rho(Wb^T Wb, Wb^T (K - K0) Wb), power 1 only: the matrix is indefinite
    w0_nfc            rho(W0^T W0, (W0^T K W0)^s): control, do the initial weights align
    haar_nfc          mean over 20 random rotations Q of rho(F, (W^T Q K Q^T W)^s): control, K without its directions
    haar_nfc_sd       standard deviation over those rotations, power 1
    relative_change   |Wb| / |W|
    stable_rank_nfm, stable_rank_agop, stable_rank_k      |A|_F^2 / |A|_2^2
    subspace_overlap  |U_r^T V_r|_F^2 / r of the top-r eigenspaces of F and G, r = min(C, k, d)
    commutator        |F G - G F| / (|F| |G|)
    fact              rho(F, sym(W^T A)), A = -(dL/dW) / lambda, lambda the coupled weight decay (arXiv 2507.05644): 1 at a
                      stationary point of the decayed loss

Sources: Beaglehole, Mitliagkas & Agarwala, arXiv 2402.05271, where nothing else is said.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from nfa.alignment.agop import Agop
from nfa.alignment.covariance import LayerCovariance
from nfa.alignment.feature_matrix import FeatureMatrix
from nfa.alignment.haar import haar_control
from nfa.alignment.spectra import commutator, stable_rank, subspace_overlap
from nfa.alignment.values import CORRELATIONS, POWERS, Convention, Value, exponents, undefined

Values = dict[tuple[str, str | None, str | None], Value]

NO_DEPTH_POWER = "a branching network has no depth-matched power"
GRADIENT_FLOW = "limit t -> 0+, gradient flow"
FIRST_UPDATE = "limit t -> 0+, along the optimizer's first update"

_ALL = tuple((correlation, power) for power in POWERS for correlation in CORRELATIONS)
_POWER_ONE = tuple((correlation, "1") for correlation in CORRELATIONS)
_NO_POWER = tuple((correlation, None) for correlation in CORRELATIONS)
_SCALAR: tuple[Convention, ...] = ((None, None),)

# Quantity -> its (correlation, power) rows, in the order of the table.
LAYOUT: dict[str, tuple[Convention, ...]] = {
    "uc_nfc": _ALL,
    "c_nfc": _ALL,
    "c_nfc_update": _ALL,  # only where W = W0 and the first update is known
    "dc_nfc": _POWER_ONE,
    "w0_nfc": _ALL,
    "haar_nfc": _ALL,
    "haar_nfc_sd": _POWER_ONE,
    "relative_change": _SCALAR,
    "stable_rank_nfm": _SCALAR,
    "stable_rank_agop": _SCALAR,
    "stable_rank_k": _SCALAR,
    "subspace_overlap": _SCALAR,
    "commutator": _SCALAR,
    "fact": _NO_POWER,
}
