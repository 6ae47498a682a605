"""The limit C-NFC(0+): values measured after smaller and smaller steps of each optimizer converge to it."""

import copy
import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from nfa.alignment import CORRELATIONS, POWERS, measure
from nfa.alignment.covariance.gradients import loss_gradients
from nfa.alignment.network.layers import parameters_of
from nfa.losses import LOSSES, Loss, decoupled
from nfa.optim import OPTIMIZERS, OptimizerSettings, clip_, schedule_factor
from nfa.optim.adam import AdamSettings
from nfa.optim.adamw import AdamWSettings
from nfa.optim.lion import LionSettings
from nfa.optim.muon import MuonSettings
from nfa.optim.rmsprop import RMSpropSettings
from nfa.optim.sgd import SGDSettings
from nfa.optim.signsgd import SignSGDSettings
from nfa.optim.slo import SLOSettings
from nfa.rules import RULES
from nfa.theory.limit import limit
from tests.alignment.networks import CASES, Case

CONVENTIONS = [(correlation, power) for correlation in CORRELATIONS for power in POWERS]
EVERY: list[OptimizerSettings] = [
    SGDSettings(),
    SGDSettings(momentum=0.9, nesterov=True, weight_decay=0.1, clip=0.01),
    SGDSettings(warmup=0.5, schedule="cosine", momentum=0.9),
    AdamSettings(),
    AdamSettings(weight_decay=0.5, clip=0.01, warmup=0.5),
    AdamWSettings(weight_decay=0.7, clip=0.001),
    RMSpropSettings(),
    RMSpropSettings(momentum=0.9, weight_decay=0.5, clip=0.01),
    LionSettings(weight_decay=0.7),
    SignSGDSettings(momentum=0.9, weight_decay=0.7, clip=0.01),
    MuonSettings(weight_decay=0.7, warmup=0.3),
    MuonSettings(nesterov=False, momentum=0.8, inner="sgd", adjust="match_rms_adamw", ns_steps=3),
    SLOSettings(speeds={"first": 1.0, "others": 0.01}, warmup=0.5),
    SLOSettings(speeds={"others": 0.5}, on="adam", clip=0.01),
]


def named(settings: OptimizerSettings) -> str:
    changed = settings.model_dump(exclude_defaults=True, exclude={"lr", "speeds"})
    return "-".join([settings.name, *map(str, changed)])  # type: ignore[attr-defined]


def mlp() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(7, 6), nn.Tanh(), nn.Linear(6, 5), nn.GELU(), nn.Linear(5, 3)).double()


def samples(n: int = 40, outputs: int = 3, shape: tuple[int, ...] = (7,)) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    inputs = torch.randn(n, *shape, dtype=torch.float64, generator=draw)
    return inputs, torch.randn(n, outputs, dtype=torch.float64, generator=draw)


def rows(table: pd.DataFrame, quantity: str) -> pd.Series:
    chosen = table[(table.quantity == quantity) & table.power.notna()]
    return chosen.set_index(["layer", "correlation", "power"])["value"]


def stepped(
    model: nn.Module, settings: OptimizerSettings, lr: float, inputs: Tensor, targets: Tensor, loss: Loss
) -> nn.Module:
    """Take one step as the training loop does: full batch, clipped, scheduled."""
    moved = copy.deepcopy(model)
    small = settings.model_copy(update={"lr": lr} | ({"inner_lr": lr} if isinstance(settings, MuonSettings) else {}))
    optimizer = OPTIMIZERS[settings.name].build(small, moved)  # type: ignore[attr-defined]
    loss(moved(inputs), targets).backward()
    clip_(moved.parameters(), settings.clip)
    for group in optimizer.param_groups:
        group["lr"] = lr * schedule_factor(settings.schedule, 0, 20, settings.warmup)
    optimizer.step()
    return moved


def gaps(
    model: nn.Module, after: Callable[[float], nn.Module], predicted: pd.Series, inputs: Tensor, sizes: list[float]
) -> list[float]:
    """Return the largest difference to the C-NFC measured after a step of each size, over layers and conventions."""
    found = []
    for size in sizes:
        measured = rows(measure(after(size), inputs, initial=model), "c_nfc")
        both = pd.concat([predicted, measured], axis=1).dropna()
        assert len(both) == len(predicted.dropna())
        found.append(float((both.iloc[:, 0] - both.iloc[:, 1]).abs().max()))
    return found


@pytest.mark.parametrize("settings", EVERY, ids=named)
def test_small_steps_of_every_optimizer_come_to_the_limit(settings: OptimizerSettings) -> None:
    model, (inputs, targets), loss = mlp(), samples(), LOSSES["mse"]
    predicted = rows(limit(model, inputs, targets, loss, optimizer=settings), "c_nfc_update")
    assert predicted.notna().all()
    sizes = [1e-3, 1e-4, 1e-5, 1e-6]
    errors = gaps(model, lambda lr: stepped(model, settings, lr, inputs, targets, loss), predicted, inputs, sizes)
    # Wb is proportional to lr, and K after the step differs from K0 by O(lr): so the error is.
    assert errors[-1] < 1e-4
    for larger, smaller in pairwise(errors):
        assert smaller < 0.15 * larger or smaller < 1e-8, errors  # steps of 1e-8 are rounded


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_gradient_flow_of_any_architecture_comes_to_the_limit(case: Case) -> None:
    model, inputs = case.network().eval(), case.inputs()
    outputs = model(inputs)
    targets = torch.randn(outputs.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    loss = LOSSES["mse"]
    predicted = rows(limit(model, inputs, targets, loss), "c_nfc")
    gradients = loss_gradients(model, inputs, targets, loss).parameters

    def after(size: float) -> nn.Module:
        moved = copy.deepcopy(model)
        with torch.no_grad():
            for name, parameter in parameters_of(moved).items():
                parameter.sub_(size * gradients[name])
        return moved

    errors = gaps(model, after, predicted, inputs, [1e-3, 1e-4, 1e-5])
    assert errors[-1] < 1e-3
    for larger, smaller in pairwise(errors):
        assert smaller < 0.15 * larger or smaller < 1e-7, errors


CLASSES = torch.eye(3, dtype=torch.float64)[torch.arange(40) % 3] - 1 / 3


@pytest.mark.parametrize(
    "loss",
    [
        LOSSES["cross_entropy"],
        LOSSES["logistic"],
        decoupled(LOSSES["mse"], 0.7),
        decoupled(LOSSES["cross_entropy"], 2.0),
    ],
    ids=["cross_entropy", "logistic", "mse decoupled", "cross_entropy decoupled"],
)
def test_any_loss_comes_to_the_limit(loss: Loss) -> None:
    model, (inputs, _) = mlp(), samples()
    predicted = rows(limit(model, inputs, CLASSES, loss), "c_nfc")
    errors = gaps(
        model, lambda lr: stepped(model, SGDSettings(), lr, inputs, CLASSES, loss), predicted, inputs, [1e-3, 1e-5]
    )
    assert errors[1] < min(1e-4, 0.02 * errors[0])


@pytest.mark.parametrize("rule", ["feedback_alignment", "direct_feedback_alignment", "hebb"])
def test_a_learning_rule_is_a_direction(rule: str) -> None:
    """Steps of a rule without true gradients converge to the limit along the rule's substitute for the gradient."""
    model, (inputs, targets), loss = mlp(), samples(), LOSSES["mse"]

    def other() -> nn.Module:
        again = copy.deepcopy(model)
        with torch.no_grad():
            for parameter in again.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5)))
        return again

    def taken(network: nn.Module) -> dict[str, Tensor]:
        made = RULES[rule](network, other, 0.0, torch.Generator().manual_seed(3), 3)
        network.zero_grad()
        made.backward(inputs, targets, loss)
        return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}

    pseudo = taken(copy.deepcopy(model))
    table = limit(model, inputs, targets, loss, direction=lambda _: {name: -g for name, g in pseudo.items()})
    predicted = rows(table, "c_nfc_update")

    def after(size: float) -> nn.Module:
        moved = copy.deepcopy(model)
        with torch.no_grad():
            for name, parameter in moved.named_parameters():
                parameter.sub_(size * pseudo[name])
        return moved

    errors = gaps(model, after, predicted, inputs, [1e-3, 1e-4, 1e-5])
    assert errors[2] < 0.02 * errors[0]
    assert (predicted - rows(table, "c_nfc")).abs().max() > 0.01


def test_torch_optimizers_and_plain_directions_are_taken() -> None:
    model, (inputs, targets) = mlp(), samples()
    by_entry = limit(model, inputs, targets, "mse", optimizer=AdamSettings(weight_decay=0.3))

    def make(parameters: dict[str, Tensor]) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters.values(), lr=0.1, weight_decay=0.3)

    by_maker = limit(model, inputs, targets, "mse", optimizer=make)
    assert (rows(by_entry, "c_nfc_update") - rows(by_maker, "c_nfc_update")).abs().max() < 1e-7
    descent = limit(model, inputs, targets, "mse", direction=lambda g: {name: -value for name, value in g.items()})
    flow = rows(descent, "c_nfc")
    assert (rows(descent, "c_nfc_update") - flow).abs().max() < 1e-12
    notes = by_entry.groupby("quantity").note.unique()
    assert list(notes["c_nfc"]) == ["limit t -> 0+, gradient flow"]
    assert list(notes["c_nfc_update"]) == ["limit t -> 0+, along the optimizer's first update"]


def test_layers_that_do_not_move_have_no_limit() -> None:
    model, (inputs, targets) = mlp(), samples()
    frozen = dict(model.named_parameters())["0.weight"]
    frozen.requires_grad_(False)
    table = limit(model, inputs, targets, "mse", optimizer=SLOSettings(speeds={"2": 0.0, "others": 1.0}))
    update = table[table.quantity == "c_nfc_update"]
    still = update[update.layer.isin(["0", "2"])]
    assert still.value.isna().all()
    assert set(still.note) == {"limit t -> 0+, along the optimizer's first update: the NFM is zero"}
    assert update[update.layer == "4"].value.notna().all()
    assert not frozen.requires_grad


def test_a_parameter_of_several_layers_takes_one_step() -> None:
    """Muon orthogonalises the fused query, key and value as one matrix; the layers are measured apart."""

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention, self.readout = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.readout(self.attention(x, x, x, need_weights=False)[0].mean(1))  # type: ignore[no-any-return]

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Attention().double().eval()
    inputs, _ = samples(30, shape=(5, 4))
    targets = torch.zeros_like(model(inputs)).detach()
    table = limit(model, inputs, targets, "mse", optimizer=MuonSettings())
    assert {f"attention.{part}" for part in "qkv"} <= set(table.layer)
    settings, loss = MuonSettings(), LOSSES["mse"]
    predicted = rows(table, "c_nfc_update")
    errors = gaps(
        model, lambda lr: stepped(model, settings, lr, inputs, targets, loss), predicted, inputs, [1e-4, 1e-6]
    )
    assert errors[1] < 0.02 * errors[0]


def test_the_network_is_left_as_it_was() -> None:
    model, (inputs, targets) = mlp(), samples()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    limit(model, inputs, targets, "mse", optimizer=AdamSettings())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_mistakes_are_named() -> None:
    model, (inputs, targets) = mlp(), samples()

    def wrong(named_gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"0.weight": torch.zeros(2, 2)}

    with pytest.raises(ValueError, match="pass one of them"):
        limit(model, inputs, targets, "mse", optimizer=SGDSettings(), direction=wrong)
    with pytest.raises(ValueError, match=r"direction: '0.weight' has shape \(2, 2\), not \(6, 7\)"):
        limit(model, inputs, targets, "mse", direction=wrong)
    with pytest.raises(ValueError, match="'head' is not a parameter"):
        limit(model, inputs, targets, "mse", direction=lambda g: {"head": g["0.weight"]})
    with pytest.raises(ValueError, match="did you mean 'mse'"):
        limit(model, inputs, targets, "msee")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("adam", "optimizer: 'adam': pass settings such as"),
        (torch.optim.Adam, "optimizer: the class Adam: pass settings such as"),
        (SGDSettings, "optimizer: the class SGDSettings: pass settings such as"),
        (torch.optim.Adam([torch.zeros(2)]), r"optimizer: Adam \( Parameter Group 0.*: pass settings such as"),
        (lambda named: named, "optimizer: the function returns dict, not a torch optimizer"),
    ],
    ids=["name", "class", "class of settings", "made already", "no optimizer"],
)
def test_what_is_no_optimizer_is_named(given: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        limit(mlp(), *samples(), "mse", optimizer=given)


def test_an_optimizer_of_the_network_itself_is_refused_before_it_moves_it() -> None:
    model = mlp()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match="other tensors than those it is given: use named"):
        limit(model, *samples(), "mse", optimizer=lambda named: torch.optim.SGD(model.parameters(), lr=0.1))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_one_sign_flip_is_not_small() -> None:
    """The first step of a mini-batch has another direction at any size, so it does not converge to the limit."""
    model, (inputs, targets), loss = mlp(), samples(), LOSSES["mse"]
    settings = AdamSettings()
    predicted = rows(limit(model, inputs, targets, loss, optimizer=settings), "c_nfc_update")
    part = limit(model, inputs[:8], targets[:8], loss, optimizer=settings)
    errors = gaps(
        model, lambda lr: stepped(model, settings, lr, inputs[:8], targets[:8], loss), predicted, inputs, [1e-3, 1e-6]
    )
    assert min(errors) > 0.01
    assert math.isclose(errors[0], errors[1], rel_tol=0.1)
    undefined = part[part.value.isna()]
    assert set(undefined.depth_from_output) == {0}  # the readout, whose K is the identity
    assert undefined.quantity.str.contains("left_nfc|spectrum_slope").all()
