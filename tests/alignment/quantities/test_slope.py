"""The slope of K's spectrum against that of W."""

import pytest
import torch
from torch import nn

import nfa


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_singular_values_that_are_equal_to_rounding_have_no_slope(dtype: torch.dtype) -> None:
    """An orthogonal W has one singular value; rounding parts them, which made a slope of 6e6 in float32."""
    first = nn.Linear(20, 20)
    model = nn.Sequential(first, nn.ReLU(), nn.Linear(20, 3)).to(dtype)
    generator = torch.Generator().manual_seed(0)
    nn.init.orthogonal_(first.weight, generator=generator)
    table = nfa.measure(model, torch.randn(50, 20, dtype=dtype, generator=generator), layers=["0"])
    rows = table[table["quantity"].str.startswith("spectrum_slope")]
    assert len(rows) == 3
    assert rows["value"].isna().all()
    assert rows["note"].str.startswith("the singular values of W are equal").all()
