"""Muon: the orthogonal factor of a matrix by iteration, and the factor for its size."""

import pytest
import torch

from nfa.optim.algorithms.muon import orthogonalise, size_factor
from tests.optim.families import random


@pytest.mark.parametrize("shape", [(4, 4), (3, 8), (8, 3), (2, 3, 5)])
@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e20])
def test_orthogonalise_keeps_singular_vectors_and_brings_values_near_one(shape: tuple[int, ...], scale: float) -> None:
    matrices = random(shape, 0).float() * scale
    found = orthogonalise(matrices, steps=10)
    u, _, vh = torch.linalg.svd(matrices.double() / scale, full_matrices=False)
    inner = u.mT @ found.double() @ vh.mT
    values = inner.diagonal(dim1=-2, dim2=-1)
    assert ((values > 0.65) & (values < 1.25)).all()
    torch.testing.assert_close(inner, torch.diag_embed(values), rtol=0, atol=1e-3)


def test_orthogonalise_leaves_zeros_and_takes_a_stack_matrix_by_matrix() -> None:
    matrices = random((3, 4, 6), 0)
    matrices[1] = 0
    found = orthogonalise(matrices)
    assert torch.equal(found[1], matrices[1])
    for i in (0, 2):
        torch.testing.assert_close(found[i], orthogonalise(matrices[i]), rtol=1e-12, atol=1e-12)
    assert [size_factor(8, 2, "original"), size_factor(2, 8, "original")] == [2, 1]
    assert size_factor(4, 25, "match_rms_adamw") == 1
