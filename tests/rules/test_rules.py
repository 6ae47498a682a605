"""Learning rules against plain float64 formulas, and against the gradient where they must equal it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nfa.data import DataShape
from nfa.losses import cross_entropy, decoupled, logistic, squared_error
from nfa.models import MODELS
from nfa.models.mlp import MLP
from nfa.rules import RULES
from nfa.rules.backpropagation import Backpropagation
from nfa.rules.direct_feedback import DirectFeedback
from nfa.rules.feedback import Feedback
from nfa.rules.hebb import Hebb


def mlp(seed: int, activation: Callable[[], nn.Module] = nn.Tanh, bias: bool = False) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = [nn.Flatten(), nn.Linear(12, 7, bias=bias), activation(), nn.Linear(7, 5, bias=bias), activation()]
    return nn.Sequential(*layers, nn.Linear(5, 3, bias=bias)).double()


def conv(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = [nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 2), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(3, 3)).double()


X = torch.randn(9, 1, 3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
Y = torch.randn(9, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def gradients(model: nn.Module, rule: Backpropagation | Feedback | DirectFeedback | Hebb) -> dict[str, Tensor]:
    model.zero_grad(set_to_none=True)
    loss = rule.backward(X, Y, squared_error)
    assert not loss.requires_grad
    assert torch.allclose(loss, squared_error(model(X), Y).detach(), atol=1e-14)
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("make", [mlp, conv, lambda seed: mlp(seed, bias=True)])
def test_feedback_that_is_the_weights_gives_the_gradient(make: Callable[[int], nn.Module]) -> None:
    model = make(0)
    expected, found = gradients(model, Backpropagation(model)), gradients(model, Feedback(model, make(1), rho=1.0))
    assert expected.keys() == found.keys()
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, atol=1e-13), name


@pytest.mark.parametrize("parametrisation", ["ntk", "mup"])
def test_feedback_has_the_factors_of_the_layers(parametrisation: Any) -> None:
    settings = MLP(depth=2, width=128, bias=True, parametrisation=parametrisation)
    shape = DataShape((12,), 3, None, 9, 9)
    model, other = (MODELS["mlp"].build(settings, shape, torch.Generator().manual_seed(i)).double() for i in (0, 1))
    expected, found = gradients(model, Backpropagation(model)), gradients(model, Feedback(model, other, rho=1.0))
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, atol=1e-13), name
    sent = gradients(model, Feedback(model, other, rho=0.0))
    assert not torch.allclose(sent["hidden1.weight"], expected["hidden1.weight"], rtol=0.1)
    sizes = sent["hidden0.weight"].norm() / expected["hidden0.weight"].norm()
    assert 0.3 < sizes < 3  # feedback drawn as the weights were has their size


def test_feedback_refuses_weights_that_it_cannot_replace() -> None:
    model = nn.Sequential(nn.Conv1d(2, 3, 3), nn.Flatten(), nn.Linear(6, 2))
    with pytest.raises(ValueError, match=r"0\.weight belongs to neither a linear layer nor a 2d convolution"):
        Feedback(model, model, 0.0)


RULES_ALONE = ["feedback_alignment", "direct_feedback_alignment", "hebb"]


@pytest.mark.parametrize("rule", RULES_ALONE)
@pytest.mark.parametrize("loss", [squared_error, cross_entropy, logistic, decoupled(logistic, 0.1)])
def test_every_rule_takes_every_loss(rule: str, loss: Any) -> None:
    model = mlp(0)
    made = RULES[rule](model, lambda: mlp(1), 0.0, torch.Generator().manual_seed(5), 3)
    value = made.backward(X, Y, loss)
    assert torch.allclose(value, loss(model(X), Y).detach())
    *_, readout = model.parameters()
    (gradient,) = torch.autograd.grad(loss(model(X), Y), readout)
    assert readout.grad is not None
    assert torch.allclose(readout.grad, gradient)  # the readout learns from its true gradient
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
        assert parameter.grad.norm() > 0


def test_feedback_alignment_by_its_formula() -> None:
    model, other, rho = mlp(0), mlp(1), 0.6
    found = gradients(model, Feedback(model, other, rho))
    weights, others = [[p.detach() for p in m.parameters()] for m in (model, other)]
    feedback = [rho * w + (1 - rho**2) ** 0.5 * v for w, v in zip(weights, others, strict=True)]
    first = torch.tanh(X.flatten(1) @ weights[0].T)
    second = torch.tanh(first @ weights[1].T)
    error = 2 * (second @ weights[2].T - Y) / Y.numel()
    by_second = error @ feedback[2] * (1 - second**2)
    by_first = by_second @ feedback[1] * (1 - first**2)
    expected = [by_first.T @ X.flatten(1), by_second.T @ first, error.T @ second]
    for gradient, own in zip(found.values(), expected, strict=True):
        assert torch.allclose(gradient, own, atol=1e-13)


def test_direct_feedback_by_its_formula() -> None:
    model = mlp(0)
    rule = DirectFeedback(model, torch.Generator().manual_seed(5), outputs=3)
    found = gradients(model, rule)
    weights = [p.detach() for p in model.parameters()]
    first = torch.tanh(X.flatten(1) @ weights[0].T)
    second = torch.tanh(first @ weights[1].T)
    error = 2 * (second @ weights[2].T - Y) / Y.numel()
    # The first segment is the flattening and the first layer.
    by_first, by_second = ((error @ b) * (1 - a**2) for b, a in zip(rule.feedback, (first, second), strict=True))
    expected = [by_first.T @ X.flatten(1), by_second.T @ first, error.T @ second]
    for gradient, own in zip(found.values(), expected, strict=True):
        assert torch.allclose(gradient, own, atol=1e-13)
    assert [b.shape for b in rule.feedback] == [(3, 7), (3, 5)]
    same = gradients(model, DirectFeedback(model, torch.Generator().manual_seed(5), outputs=3))
    assert all(torch.equal(same[name], gradient) for name, gradient in found.items())


def test_error_modulated_hebb_by_its_formula() -> None:
    model = mlp(0, nn.ReLU)
    found = gradients(model, Hebb(model))
    weights = [p.detach() for p in model.parameters()]
    first = torch.relu(X.flatten(1) @ weights[0].T)
    second = torch.relu(first @ weights[1].T)
    outputs = second @ weights[2].T
    error = len(X) * 2 * (outputs - Y) / Y.numel()
    size = error.square().sum(1, keepdim=True)
    expected = [
        -(size * first).T @ X.flatten(1) / len(X),
        -(size * second).T @ first / len(X),
        error.T @ second / len(X),
    ]
    for gradient, own in zip(found.values(), expected, strict=True):
        assert torch.allclose(gradient, own, atol=1e-12)


@pytest.mark.parametrize("rule", [Hebb, lambda m: DirectFeedback(m, torch.Generator().manual_seed(0), 3)])
def test_rules_by_layer_work_on_convolutions_and_refuse_branches(rule: Callable[[nn.Module], Hebb]) -> None:
    model = conv(0)
    found = gradients(model, rule(model))
    assert found.keys() == dict(model.named_parameters()).keys()
    assert all(gradient.isfinite().all() for gradient in found.values())
    with pytest.raises(ValueError, match="not a chain of layers"):
        rule(nn.ModuleList([nn.Linear(2, 2)]))
    with pytest.raises(ValueError, match="holds several layers"):
        rule(nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), nn.Linear(2, 2)))


@pytest.mark.parametrize(
    "rule",
    [
        Backpropagation,
        lambda m: Feedback(m, mlp(1), 0.5),
        lambda m: DirectFeedback(m, torch.Generator().manual_seed(0), 3),
        Hebb,
    ],
)
def test_a_loss_that_is_not_finite_leaves_no_gradient(rule: Callable[[nn.Module], Hebb]) -> None:
    model = mlp(0)
    made = rule(model)
    loss = made.backward(X * float("inf"), Y, squared_error)
    assert not loss.isfinite()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all("forward" not in vars(module) for module in model.modules())


def test_losses() -> None:
    outputs = torch.tensor([[0.3, -2.0], [1.0, 0.5]], dtype=torch.float64)
    targets = torch.tensor([[0.5, -0.5], [-0.5, 0.5]], dtype=torch.float64)
    margins = outputs * targets.sign()
    assert logistic(outputs, targets).item() == pytest.approx((1 + (-margins).exp()).log().mean().item())
    assert decoupled(logistic, 0.0) is logistic
    penalty = decoupled(logistic, 0.2)(outputs, targets) - logistic(outputs, targets)
    assert penalty.item() == pytest.approx(0.1 * outputs.square().mean().item())
