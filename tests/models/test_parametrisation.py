"""Standard, NTK and maximal-update parametrisation of the MLP: the motion of each layer in one step, by width."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nfa.data import DataShape
from nfa.models import MODELS
from nfa.models.mlp import MLP
from nfa.optim import OPTIMIZERS, set_learning_rate
from nfa.optim.adamw import AdamWSettings
from nfa.theory.limit import step_of

SHAPE = DataShape((20,), 3, None, 100, 10)
WIDTHS = (64, 256, 1024)


def movement(parametrisation: Any, width: int, step: str, *, bias: bool = False) -> dict[str, float]:
    """Compute the root mean square change of each pre-activation in one step, averaged over seeds."""
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
    """Return the output of every linear layer, with its fixed factors."""
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


OPTIMIZER_SETTINGS: list[dict[str, Any]] = [
    {"name": "sgd", "lr": 0.1},
    {"name": "adam", "lr": 0.003},
    {"name": "adamw", "lr": 0.003, "weight_decay": 0.1},
    {"name": "rmsprop", "lr": 0.001},
    {"name": "lion", "lr": 0.001},
    {"name": "signsgd", "lr": 0.001},
]


def coordinates(parametrisation: Any, width: int, chosen: dict[str, Any], steps: int = 5) -> dict[str, float]:
    """Compute the root mean square change of pre-activations in a few steps of an optimizer, averaged over seeds."""
    entry, optimizers, changes = MODELS["mlp"], OPTIMIZERS[chosen["name"]], dict[str, float]()
    for seed in range(3):
        settings = MLP(depth=3, width=width, parametrisation=parametrisation, bias=True)
        model = entry.build(settings, SHAPE, torch.Generator().manual_seed(seed))
        draw = torch.Generator().manual_seed(100 + seed)
        inputs, targets = torch.randn(64, 20, generator=draw), torch.randn(64, 3, generator=draw)
        before = pre_activations(model, inputs)
        factors = entry.lr_factors(settings, SHAPE)
        optimizer = optimizers.build(optimizers.settings(**chosen), model, lr_factors=factors)
        for _ in range(steps):
            optimizer.zero_grad()
            (model(inputs) * targets).mean().backward()  # no squared error, as above
            set_learning_rate(optimizer, chosen["lr"])
            optimizer.step()
        for name, value in pre_activations(model, inputs).items():
            changes[name] = changes.get(name, 0) + (value - before[name]).square().mean().sqrt().item() / 3
    return changes


@pytest.mark.parametrize("chosen", OPTIMIZER_SETTINGS, ids=lambda chosen: str(chosen["name"]))
def test_coordinate_check_some_steps_move_features_alike_at_every_width_under_mup_alone(chosen: dict[str, Any]) -> None:
    widths = (64, 128, 256, 512)
    spread = {}
    for parametrisation in ("mup", "standard"):
        by_width = [coordinates(parametrisation, width, chosen) for width in widths]
        spread[parametrisation] = {layer: by_width[-1][layer] / by_width[0][layer] for layer in by_width[0]}
        assert by_width[0] == pytest.approx(coordinates("standard", 64, chosen))  # at the base width they are one
    for layer, ratio in spread["mup"].items():
        assert 0.75 < ratio < 1.4, (layer, spread)
    assert spread["standard"]["hidden2"] > 3, spread
    assert spread["standard"]["readout"] > 10, spread


def test_decoupled_decay_is_the_same_for_every_parameter_under_mup() -> None:
    settings = MLP(depth=3, width=512, parametrisation="mup")
    factors = MODELS["mlp"].lr_factors(settings, SHAPE)
    for name in ("adamw", "lion", "signsgd"):
        model = MODELS["mlp"].build(settings, SHAPE, torch.Generator().manual_seed(0)).double()
        keys: dict[str, Any] = {"name": name, "lr": 0.1, "weight_decay": 0.5}
        chosen = OPTIMIZERS[name].settings(**keys)
        optimizer = OPTIMIZERS[name].build(chosen, model, lr_factors=factors)
        before = {key: value.detach().clone() for key, value in model.named_parameters()}
        for value in model.parameters():
            value.grad = torch.zeros_like(value)
        optimizer.step()
        for key, value in model.named_parameters():
            torch.testing.assert_close(value.detach(), 0.95 * before[key])


def test_the_direction_of_the_first_step_knows_the_factors() -> None:
    def steps(lr_factors: dict[str, float] | None) -> dict[str, Tensor]:
        model = MODELS["mlp"].build(mlp, SHAPE, torch.Generator().manual_seed(0))
        gradients = {name: torch.ones_like(value) for name, value in model.named_parameters()}
        settings = AdamWSettings(lr=0.01, weight_decay=0.5)
        return step_of(
            settings, model, gradients, [layer.name for layer in MODELS["mlp"].layers(mlp, SHAPE)], lr_factors
        )

    mlp = MLP(depth=2, width=256, parametrisation="mup")
    factors = MODELS["mlp"].lr_factors(mlp, SHAPE)
    plain, scaled = steps(None), steps(factors)
    for name, step in plain.items():
        decay = step + 0.01  # Adam's first step is the learning rate, against the gradient
        torch.testing.assert_close(scaled[name], decay - 0.01 * factors.get(name, 1.0), atol=1e-9, rtol=1e-6)


def test_factors_name_parameters_that_there_are() -> None:
    for bias in (False, True):
        settings = MLP(parametrisation="mup", bias=bias)
        names = dict(MODELS["mlp"].build(settings, SHAPE, torch.Generator()).named_parameters())
        factors = MODELS["mlp"].lr_factors(settings, SHAPE)
        assert set(factors) <= set(names)
        assert factors["hidden1.weight"] == 1 / 4  # 64 / 256
    assert MODELS["mlp"].lr_factors(MLP(), SHAPE) == {}
    assert MODELS["mlp"].lr_factors(MLP(parametrisation="mup", depth=0), SHAPE) == {}
