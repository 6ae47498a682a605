"""The control by permutation: K's eigenvalues in random order among K's eigenvectors.

The control by rotation keeps K's eigenvalues and turns its eigenvectors. This one keeps the eigenvectors and corrupts
the strengths: where it is as high as UC-NFC, the strengths play no part in the alignment.

Let E be the eigenbasis of K, S = V V^T and T = E^T S E. With permuted eigenvalues l, every sum over the entries of
G = V^T K V is a linear or a quadratic form of l [derived], so that all permutations together cost less than one matrix
product:

    <F, G> = sum_i l_i (T^2)_ii      |G|^2 = sum_ij l_i T_ij^2 l_j      diagonal: sum_i l_i (e_i . v_j)^2
"""

import torch

from nfa.alignment.quantities.haar import STILL, constant, over_draws, still_up_to
from nfa.alignment.quantities.layer import LayerContext
from nfa.alignment.quantities.quantity import OURS, POWER_ONE, Quantity
from nfa.alignment.quantities.rotations import DRAWS
from nfa.alignment.quantities.subject import Subject, SubjectMatrix
from nfa.alignment.quantities.values import Values
from nfa.conventions import CORRELATIONS
from nfa.random import torch_generator


def _permuted(layer: LayerContext, matrix: SubjectMatrix) -> Values:
    """Correlate under random permutations; mean over them with its standard error."""
    features, (eigenvalues, vectors) = matrix.basis.features, layer.middle.eigen
    g, k = eigenvalues.shape
    generator = torch_generator("permuted", layer.seed, size=k, blocks=g)
    orders = torch.stack([torch.rand(g, k, generator=generator).argsort(1) for _ in range(DRAWS)], 1)
    drawn = eigenvalues[:, None].expand(g, DRAWS, k).gather(2, orders)  # (g, draws, k)
    turned = vectors.mT @ features.whole_rows  # e_i . v_j, (g, k, d)
    cross = vectors.mT @ matrix.basis.left.matrix @ vectors if k <= features.shape[1] else turned @ turned.mT
    squares = cross.square()
    totals = (drawn @ turned.sum(2).square()[..., None]).sum((0, 2))
    squared = ((drawn @ squares) * drawn).sum((0, 2))
    products = (drawn @ squares.sum(2)[..., None]).sum((0, 2))
    diagonals = drawn @ turned.square_()  # (g, draws, d)
    rounding = features.rounding(layer.middle.matrix)
    moments = features.moments_of_each(
        totals, torch.where(squared > rounding**2, squared, 0), products, diagonals.transpose(0, 1)
    )
    draws = [each.correlations() for each in moments]
    known = layer.is_readout and constant(eigenvalues)
    still = {name: still_up_to(matrix.basis, ("nfc", name, "1"), STILL, known=known) for name in CORRELATIONS}
    return {(name, "1"): over_draws([draw[name] for draw in draws], still[name])[0] for name in CORRELATIONS}


def permuted_nfc(subject: Subject) -> Quantity:
    """Define the control of one subject's correlation by permutation."""
    symbol = subject.symbol
    return Quantity(
        name=subject.name("permuted_nfc"),
        label=f"{subject.nfc}, K's eigenvalues permuted",
        meaning=f"second control of {subject.nfc}: K's directions without its order of strengths; mean over "
        f"{DRAWS} permutations; power 1 only",
        formula=f"mean of ρ({symbol}ᵀ{symbol}, {symbol}ᵀE diag(πλ) Eᵀ{symbol}) over random permutations π, "
        "K = E diag(λ) Eᵀ",
        source=OURS,
        values=lambda layer: subject.of(layer, _permuted),
        rows=POWER_ONE,
        compares=subject.compares,
        optional=subject.optional,
    )
