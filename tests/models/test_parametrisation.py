"""Standard, NTK and maximal-update parametrisation of the MLP: how far one step moves each layer, by width."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nfa.data import DataShape
from nfa.models import MODELS
from nfa.models.mlp import MLP

SHAPE = DataShape((20,), 3, None, 100, 10)
WIDTHS = (64, 256, 1024)


def movement(parametrisation: Any, width: int, step: str, *, bias: bool = False) -> dict[str, float]:
    """Root mean square change of each pre-activation in one step, mean over seeds."""
    changes: dict[str, float] = {}
    seeds = 4
    for seed in range(seeds):
        settings = MLP(depth=3, width=width, parametrisation=parametrisation, bias=bias)
        entry = MODELS["mlp"]
        model = entry.build(settings, SHAPE, torch.Generator().manual_seed(seed)).double()
        draw = torch.Generator().manual_seed(100 + seed)
        inputs = torch.randn(16, 20, generator=draw, dtype=torch.float64)
        targets = torch.randn(16, 3, generator=draw, dtype=torch.float64)
        before = pre_activations(model, inputs)
        (model(inputs) * targets).mean().backward()  # not a squared error: outputs at initialisation differ by width
        take(model, step, entry.lr_factors(settings, SHAPE))
        for name, value in pre_activations(model, inputs).items():
            change = (value - before[name]).square().mean().sqrt().item()
            changes[name] = changes.get(name, 0) + change / seeds
    return changes


def pre_activations(model: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """Output of every linear layer, its factors included."""
    found: dict[str, Tensor] = {}
    handles = [
        module.register_forward_hook(lambda _, __, out, name=name: found.update({name: out.detach()}))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
    ]
    model(inputs)
    for handle in handles:
        handle.remove()
    return found


def take(model: nn.Module, step: str, factors: dict[str, float]) -> None:
    """Take one step: along the gradient, of given norm, or by signs."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None
            if step == "gradient":
                parameter.sub_(0.01 * parameter.grad)
            elif step == "norm":
                parameter.sub_(0.01 * parameter.grad / parameter.grad.norm())
            else:
                parameter.sub_(1e-4 * factors.get(name, 1.0) * parameter.grad.sign())


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("step", ["gradient", "norm", "entrywise"])
def test_under_mup_the_first_update_of_every_layer_does_not_depend_on_the_width(step: str, bias: bool) -> None:
    by_width = [movement("mup", width, step, bias=bias) for width in WIDTHS]
    for layer in by_width[0]:
        values = [changes[layer] for changes in by_width]
        assert max(values) / min(values) < 1.5, (layer, values)


def test_under_ntk_outputs_move_at_any_width_and_features_less_and_less() -> None:
    by_width = [movement("ntk", width, "gradient") for width in WIDTHS]
    outputs = [changes["readout"] for changes in by_width]
    assert max(outputs) / min(outputs) < 1.5
    for layer in ("hidden0", "hidden1", "hidden2"):  # as the inverse root of the width: 4 times less
        assert by_width[0][layer] / by_width[-1][layer] == pytest.approx(4, rel=0.3)


def test_under_standard_a_given_learning_rate_moves_wide_networks_too_far() -> None:
    by_width = [movement("standard", width, "gradient")["readout"] for width in WIDTHS]
    assert by_width[-1] / by_width[0] > 10


def test_ntk_is_the_standard_network_at_initialisation_and_mup_at_the_base_width() -> None:
    inputs = torch.randn(5, 20, generator=torch.Generator().manual_seed(9))

    def outputs(**settings: Any) -> Tensor:
        mlp = MLP(depth=2, width=48, bias=True, init="pytorch", **settings)
        result: Tensor = MODELS["mlp"].build(mlp, SHAPE, torch.Generator().manual_seed(0))(inputs)
        return result

    standard = outputs()
    assert torch.allclose(outputs(parametrisation="ntk"), standard, atol=1e-6)
    assert torch.allclose(outputs(parametrisation="mup", base_width=48), standard, atol=1e-6)
    assert not torch.allclose(outputs(parametrisation="mup"), standard, atol=1e-3)


def test_factors_name_parameters_that_there_are() -> None:
    for bias in (False, True):
        settings = MLP(parametrisation="mup", bias=bias)
        names = dict(MODELS["mlp"].build(settings, SHAPE, torch.Generator()).named_parameters())
        factors = MODELS["mlp"].lr_factors(settings, SHAPE)
        assert set(factors) <= set(names)
        assert factors["hidden1.weight"] == 1 / 4  # 64 / 256
    assert MODELS["mlp"].lr_factors(MLP(), SHAPE) == {}
    assert MODELS["mlp"].lr_factors(MLP(parametrisation="mup", depth=0), SHAPE) == {}
