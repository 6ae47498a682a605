"""The depth law in networks where it holds exactly, and notes in networks where it does not."""

import math

import pytest
import torch
from torch import Tensor, nn

from nfa.theory.depth_law import depth_law, law
from tests.alignment.networks import CASES, trained
from tests.alignment.quantities.test_known_answers import balanced_network


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("depth", [2, 4])
def test_deep_linear_networks_from_balanced_initialisation(depth: int) -> None:
    """The best power of layer l of L is 1/(L - l + 1) before and after training, and fits perfectly."""
    start = balanced_network([7, *[6] * depth, 4], 0.9, seed=0)
    inputs = drawn(40, 7, seed=1)
    for model in (start, trained(start, inputs, steps=100, lr=0.01)):
        table = depth_law(model, inputs)
        assert list(table.law.unique()) == [1 / (depth + 1 - index) for index in range(depth + 1)]
        assert ((table.power / table.law - 1).abs() < 0.02).all()
        assert (table.fit > 0.9999).all()
        assert ((table.fit - table.fit_at_law).abs() < 1e-3).all()
        assert (table.low <= table.power).all()
        assert (table.power <= table.high).all()


def test_without_balance_the_law_fails() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(*(nn.Linear(8, 8, bias=False) for _ in range(4))).double()
    table = depth_law(model, drawn(30, 8, seed=1))
    first = table[(table.layer == "0") & (table.correlation == "pearson")].iloc[0]
    assert first.fit < 0.95
    assert first.fit > first.fit_at_law + 0.01


def test_a_branching_network_has_no_law() -> None:
    case = next(case for case in CASES if not case.chain)
    table = depth_law(case.network(), case.inputs())
    assert table.law.isna().all()
    assert table.fit_at_law.isna().all()
    assert table.power.notna().any()
    assert math.isnan(law(2, None))
    assert law(2, 5) == 1 / 3
