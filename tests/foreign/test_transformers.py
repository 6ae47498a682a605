"""Networks of transformers: K of every layer against the oracle, every reason against what the weight is used for."""

import pytest

import nfa
from nfa.vision import torchvision
from tests.foreign.checking import assert_measured, assert_theory_holds, randomised
from tests.foreign.transformers_families import FAMILIES, Family

torchvision()  # first: transformers imports it, and may find one that does not load
transformers = pytest.importorskip("transformers", reason="pip install -c constraints.txt transformers")
transformers.logging.set_verbosity_error()
pytestmark = pytest.mark.slow


def network(family: Family) -> nfa.Wrapped:
    """A family's network from tensor to tensor."""
    return nfa.Wrapped(randomised(family.build()), family.forward)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_layer_of(family: Family) -> None:
    model = network(family)
    assert_measured(model, family.inputs(5, 0), family.inputs(6, 1), family.tolerance, family.products)
    assert_theory_holds(model, family.inputs(4, 2))
