"""Assertions about a measurement of any network, made with the oracle of ``oracle.py``."""

import re
from typing import Any

import torch
from torch import Tensor, nn

from nfa.alignment import check, left_out, measure_covariances
from nfa.alignment.network.layers import owner
from tests.alignment.comparing import assert_matrix_close
from tests.foreign.oracle import Answer, Matrix, ask

# Reason for leaving a weight out -> functions of torch, one of which must have taken the weight.
FUNCTIONS = {
    r"embedding: its weight is indexed, not multiplied": {"embedding", "embedding_bag"},
    r"picked out by a tensor of indices, .*": {"getitem", "index_select", "gather"},
    r"weight normalisation: the matrix is computed from it": {"weight_norm"},
    r"transposed convolution: .*": {"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"},
    r"normalisation: its weight multiplies entry by entry": {"layer_norm", "rms_norm", "group_norm"},
}
# Other reasons that describe a use which is no product with the samples.
USED = (
    r"added or multiplied entry by entry: .*|used by \w+: .*|copied .*|it multiplies another weight: .*|joined with .*|"
    r"added as a bias"
)
UNUSED = "not used in the forward pass"
NO_PATH = "no differentiable path from its product to the output"
CONSTANT = "what it multiplies does not depend on the samples"


def randomised(model: nn.Module, seed: int = 0) -> nn.Module:
    """Draw all matrices at random, so that rows differ and matter, and vectors that are zero; float64, eval mode."""
    generator = torch.Generator().manual_seed(seed)
    model = model.double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                scale = parameter[0].numel() ** -0.5 + 0.1
                parameter.copy_(scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
            elif not parameter.any():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def assert_measured(model: nn.Module, inputs: Tensor, others: Tensor, tolerance: float, products: str = "") -> Answer:
    """Compare every measured layer with the oracle, and every reason for leaving a weight out with its uses.

    Args:
        model: From ``randomised``, with outputs (n, C).
        inputs: (n, ...), at least 4.
        others: Other samples.
        tolerance: Of K, relative.
        products: Pattern of owners of weights that are left out although they multiply samples.

    Returns:
        What the oracle found.
    """
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trained = [parameter.requires_grad for parameter in model.parameters()]
    measured = measure_covariances(model, inputs, estimator="exact")
    changed = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
    assert not changed, "the network is changed"
    assert not any(module.training for module in model.modules())
    assert [parameter.requires_grad for parameter in model.parameters()] == trained
    assert all(parameter.grad is None for parameter in model.parameters())
    # First, because the network may keep tensors from the oracle's passes.
    _assert_the_same_in_batches(model, inputs, measured)
    answer = ask(model, inputs, others)
    seen = set()
    for name, layer in measured.layers.items():
        assert_matrix_close(layer.covariance, answer.covariance(layer.weight), tolerance, f"K of {name}")
        seen.add(answer.place(layer.weight if layer.weight.dim() == 2 else layer.weight[0])[0])
    unsaid = {
        place
        for place, matrix in answer.matrices.items()
        if matrix.of_samples
        and matrix.covariance.any()
        and place not in seen
        and owner(place[0]) not in measured.left_out
    }
    assert not unsaid, "products of the samples that are neither measured nor left out"
    for name, parameter in model.named_parameters():
        if owner(name) in measured.left_out:
            _assert_true(name, measured.left_out[owner(name)], answer, products)
        elif parameter.dim() > 1:
            assert name in {place[0] for place in seen}, f"{name} is neither measured nor left out"
    return answer


def _assert_true(name: str, reason: str, answer: Answer, products: str) -> None:
    """Compare the reason for leaving a weight out with the uses of it that the oracle saw."""
    matrices = [matrix for place, matrix in answer.matrices.items() if place[0] == name]
    uses = answer.uses.get(name, set())
    told = f"{name}: {reason!r}, and it went into {sorted(uses)}"
    if re.fullmatch(products, owner(name)):
        assert any(_of_samples(matrix) for matrix in matrices), f"{told}; it multiplies no samples any more"
        return
    assert not any(_of_samples(matrix) for matrix in matrices), f"{told}; it multiplies samples"
    for part in reason.split("; "):
        functions = [known for pattern, known in FUNCTIONS.items() if re.fullmatch(pattern, part)]
        if part == UNUSED:
            assert not uses, told
        elif part == NO_PATH:
            assert uses, told
        elif part == CONSTANT:
            assert any(matrix.of_constants for matrix in matrices), told
        elif functions:
            assert functions[0] & uses, told
        else:
            assert re.fullmatch(USED, part), told
            assert uses, told


def _of_samples(matrix: Matrix) -> bool:
    return matrix.of_samples and bool(matrix.covariance.any())


def _assert_the_same_in_batches(model: nn.Module, inputs: Tensor, whole: Any) -> None:
    """Assert that batches, the last of which has one sample, give the same layers and K."""
    size = (len(inputs) - 1) // 2 if len(inputs) % 2 else len(inputs) - 1
    cut = measure_covariances(model, inputs, estimator="exact", batch_size=size)
    assert set(cut.layers) == set(whole.layers)
    routed = [[name for name in found.layers if ".experts." not in name] for found in (cut, whole)]
    assert routed[0] == routed[1], "forward order; no pass over a few samples tells that of all experts"
    assert cut.left_out == whole.left_out
    for name, layer in whole.layers.items():
        assert_matrix_close(cut.layers[name].covariance, layer.covariance, 1e-6, f"K of {name} in batches of {size}")


def assert_theory_holds(model: nn.Module, inputs: Tensor) -> None:
    """Assert that ``nfa.check`` passes at every layer."""
    table = check(model, inputs)
    assert table.passed.all(), table[~table.passed].to_string()
    assert table.attrs["left_out"] == left_out(model, inputs)
