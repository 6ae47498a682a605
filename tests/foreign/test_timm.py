"""Networks of timm: K of every layer against the oracle, and every reason against the uses of the weight."""

import pytest

import nfa
from nfa.external.torchvision_import import torchvision
from tests.foreign.checking import assert_measured, assert_theory_holds, randomised
from tests.foreign.timm_families import FAMILIES, MIXED, Family

torchvision()  # first: timm imports it, and may find one that does not load
timm = pytest.importorskip("timm", reason="pip install -c constraints.txt timm")
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_layer_of(family: Family) -> None:
    model = randomised(family.build())
    assert_measured(model, family.inputs(4, 0), family.inputs(5, 1), family.tolerance, family.products)
    assert_theory_holds(model, family.inputs(2, 2))


def test_a_network_that_mixes_its_samples_is_refused() -> None:
    """The network normalises over samples a path that is constant while its biases are zero: outputs do not show it."""
    for model in (MIXED.build().eval(), randomised(MIXED.build())):
        dtype = next(model.parameters()).dtype
        with pytest.raises(ValueError, match="depends on the samples beside it"):
            nfa.measure(model, MIXED.inputs(4, 0).to(dtype))
