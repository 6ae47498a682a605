"""Products that follow from those of all samples against products computed anew."""

from dataclasses import fields

import numpy as np
import pytest

from nfa.features.moments import Moments


def agree(found: Moments, expected: Moments) -> None:
    """Compare every array of two moments."""
    for field in fields(Moments):
        pair = getattr(found, field.name), getattr(expected, field.name)
        np.testing.assert_allclose(*pair, rtol=1e-9, atol=1e-9, err_msg=field.name)


@pytest.mark.parametrize("m", [4, 32, 35, 60], ids=["primal", "as many as first", "more than first", "dual"])
def test_moments_of_a_part_and_of_other_scales_are_those_computed_anew(m: int) -> None:
    draw = np.random.default_rng(m)
    x, y = draw.normal(size=(40, m)) * (1 + np.arange(m) % 5) + 3, draw.normal(size=(40, 2)) + 5
    x[:, 1] = 7  # a constant feature
    moments = Moments.of(x, y)
    agree(moments.first(32), Moments.of(x[:32], y[:32]))
    deviation = x.std(axis=0)
    standardised = (x - x.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    agree(moments.standardised, Moments.of(standardised, y))
    agree(moments.standardised.first(32), Moments.of(standardised[:32], y[:32]))
    product, cross = moments.uncentred()
    np.testing.assert_allclose(product, x.T @ x if m <= 40 else x @ x.T)
    np.testing.assert_allclose(cross, x.T @ y)
