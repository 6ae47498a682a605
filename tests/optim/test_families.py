"""Every optimizer of the axis: stacked networks, resuming, torch's own and plain formulas, clipping."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn, optim

from nfa.optim import OPTIMIZERS, Muon, OptimizerSettings, SignDescent, SpeedLimited, clip_
from nfa.optim.adam import Adam
from nfa.optim.adamw import AdamW
from nfa.optim.lion import Lion
from nfa.optim.muon import Muon as MuonSettings
from nfa.optim.orthogonal import orthogonalise, size_factor
from nfa.optim.rmsprop import RMSprop
from nfa.optim.schedule import schedule_factor
from nfa.optim.sgd import SGD
from nfa.optim.signsgd import SignSGD
from nfa.optim.slo import SLO
from tests.optim.families import SEEDS, SHAPES, STEPS, advance, build, every, gradients, parameters, random


@every
def test_stacked_networks_are_trained_as_if_each_were_alone(settings: OptimizerSettings) -> None:
    alone = [parameters(seed) for seed in range(SEEDS)]
    start = [{name: value.clone() for name, value in network.items()} for network in alone]
    together = {name: torch.stack([network[name] for network in alone]) for name in SHAPES}
    optimizers = [build(settings, network) for network in alone]
    one = build(settings, together, stacked=True)
    for step in range(STEPS):
        given = [gradients(seed, step) for seed in range(SEEDS)]
        for seed in range(SEEDS):
            advance(optimizers[seed], settings, alone[seed], given[seed], step)
        stack = {name: torch.stack([gradient[name] for gradient in given]) for name in SHAPES}
        advance(one, settings, together, stack, step, stacked=True)
    for name in SHAPES:
        for seed in range(SEEDS):
            torch.testing.assert_close(together[name][seed], alone[seed][name], rtol=0, atol=1e-12)
            assert not torch.allclose(alone[seed][name], start[seed][name], rtol=0, atol=1e-4)


@pytest.mark.parametrize("stacked", [False, True], ids=["alone", "stacked"])
@every
def test_a_resumed_optimizer_goes_on_bit_for_bit(settings: OptimizerSettings, stacked: bool) -> None:
    def fresh() -> dict[str, Tensor]:
        named = parameters(0, torch.float32)
        return {name: torch.stack([value, 2 * value]) for name, value in named.items()} if stacked else named

    def go_on(optimizer: optim.Optimizer, named: dict[str, Tensor], first: int, last: int) -> None:
        for step in range(first, last):
            given = gradients(0, step, torch.float32)
            if stacked:
                given = {
                    name: torch.stack([value, value.flip(0) if value.dim() else value]) for name, value in given.items()
                }
            advance(optimizer, settings, named, given, step, stacked=stacked)

    never_stopped = fresh()
    go_on(build(settings, never_stopped, stacked=stacked), never_stopped, 0, STEPS)
    stopped = fresh()
    optimizer = build(settings, stopped, stacked=stacked)
    go_on(optimizer, stopped, 0, 7)
    # As TrainingRun.state and restore: nothing but the tensors of the state is kept.
    kept = {
        (index, key): value.clone()
        for index, entry in optimizer.state_dict()["state"].items()
        for key, value in entry.items()
        if isinstance(value, Tensor)
    }
    resumed = {name: value.detach().clone() for name, value in stopped.items()}
    again = build(settings, resumed, stacked=stacked)
    document = again.state_dict()
    for (index, key), value in kept.items():
        document["state"].setdefault(index, {})[key] = value
    again.load_state_dict(document)
    go_on(again, resumed, 7, STEPS)
    for name in SHAPES:
        assert torch.equal(resumed[name], never_stopped[name])


def same_steps(settings: OptimizerSettings, other: Callable[[list[Tensor]], optim.Optimizer], names: list[str]) -> None:
    """Check that an entry's optimizer and another move float64 parameters alike."""
    ours = {name: value for name, value in parameters(0).items() if name in names}
    theirs = {name: value.clone() for name, value in ours.items()}
    mine, reference = build(settings, ours), other(list(theirs.values()))
    for step in range(STEPS):
        given = gradients(0, step)
        advance(mine, settings, ours, given, step)
        advance(reference, settings, theirs, given, step)
    for name in names:
        torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=1e-12)


TORCH: list[tuple[OptimizerSettings, Callable[[list[Tensor]], optim.Optimizer]]] = [
    (
        SGD(lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.1),
        lambda p: optim.SGD(p, lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.1),
    ),
    (
        Adam(lr=0.1, beta1=0.8, beta2=0.9, weight_decay=0.1),
        lambda p: optim.Adam(p, lr=0.1, betas=(0.8, 0.9), weight_decay=0.1),
    ),
    (
        AdamW(lr=0.1, beta1=0.8, beta2=0.9, weight_decay=0.3),
        lambda p: optim.AdamW(p, lr=0.1, betas=(0.8, 0.9), weight_decay=0.3),
    ),
    (
        RMSprop(lr=0.1, alpha=0.9, momentum=0.8, weight_decay=0.1),
        lambda p: optim.RMSprop(p, lr=0.1, alpha=0.9, momentum=0.8, weight_decay=0.1),
    ),
]


@pytest.mark.parametrize(("settings", "other"), TORCH, ids=lambda value: getattr(value, "name", ""))
def test_settings_reach_torch(settings: OptimizerSettings, other: Callable[[list[Tensor]], optim.Optimizer]) -> None:
    same_steps(settings, other, list(SHAPES))


def test_muons_inner_adamw_is_torchs() -> None:
    settings = MuonSettings(lr=0.5, inner_lr=0.1, weight_decay=0.3, beta1=0.8, beta2=0.9)

    def reference(tensors: list[Tensor]) -> optim.Optimizer:
        optimizer = optim.AdamW(tensors, lr=0.1, betas=(0.8, 0.9), weight_decay=0.3)
        step = optimizer.step

        def scaled() -> None:  # the loop sets the learning rate of matrices
            for group in optimizer.param_groups:
                group["lr"] *= 0.2
            step()

        optimizer.step = scaled  # type: ignore[method-assign, assignment]
        return optimizer

    same_steps(settings, reference, ["conv.bias", "1.bias", "s"])


@pytest.mark.skipif(not hasattr(optim, "Muon"), reason="torch.optim.Muon is of torch 2.9 and later")
@pytest.mark.parametrize("adjust", ["original", "match_rms_adamw"])
@pytest.mark.parametrize("nesterov", [True, False])
def test_muon_is_torchs_but_for_the_precision_of_its_iteration(
    adjust: str, nesterov: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # torch iterates in bfloat16: let it iterate in the parameters' own precision.
    monkeypatch.setattr(Tensor, "bfloat16", lambda self: self.clone())
    settings = MuonSettings(lr=0.1, momentum=0.8, nesterov=nesterov, adjust=adjust, weight_decay=0.2)  # type: ignore[arg-type]
    same_steps(
        settings,
        lambda p: optim.Muon(
            p, lr=0.1, momentum=0.8, nesterov=nesterov, adjust_lr_fn=adjust, weight_decay=0.2, eps=1e-30
        ),
        ["0.weight", "1.weight"],
    )


@pytest.mark.parametrize("shape", [(4, 4), (3, 8), (8, 3), (2, 3, 5)])
@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e20])
def test_orthogonalise_keeps_singular_vectors_and_brings_values_near_one(shape: tuple[int, ...], scale: float) -> None:
    matrices = random(shape, 0).float() * scale
    found = orthogonalise(matrices, steps=10)
    u, _, vh = torch.linalg.svd(matrices.double() / scale, full_matrices=False)
    inner = u.mT @ found.double() @ vh.mT
    values = inner.diagonal(dim1=-2, dim2=-1)
    assert ((values > 0.65) & (values < 1.25)).all()
    torch.testing.assert_close(inner, torch.diag_embed(values), rtol=0, atol=1e-3)


def test_orthogonalise_leaves_zeros_and_takes_a_stack_matrix_by_matrix() -> None:
    matrices = random((3, 4, 6), 0)
    matrices[1] = 0
    found = orthogonalise(matrices)
    assert torch.equal(found[1], matrices[1])
    for i in (0, 2):
        torch.testing.assert_close(found[i], orthogonalise(matrices[i]), rtol=1e-12, atol=1e-12)
    assert [size_factor(8, 2, "original"), size_factor(2, 8, "original")] == [2, 1]
    assert size_factor(4, 25, "match_rms_adamw") == 1


@pytest.mark.parametrize(("beta1", "beta2", "decay"), [(0.9, 0.99, 0.0), (0.7, 0.8, 0.3), (0.0, 0.0, 0.0)])
def test_lion_is_its_formula(beta1: float, beta2: float, decay: float) -> None:
    network, settings = parameters(0), Lion(lr=0.01, beta1=beta1, beta2=beta2, weight_decay=decay)
    expected = {name: value.clone() for name, value in network.items()}
    momentum = {name: torch.zeros_like(value) for name, value in network.items()}
    optimizer = build(settings, network)
    for step in range(STEPS):
        given = gradients(0, step)
        for name, gradient in given.items():
            lr = 0.01 * schedule_factor("cosine", step, 2 * STEPS, warmup=0.2)
            sign = torch.sign(beta1 * momentum[name] + (1 - beta1) * gradient)
            expected[name] = expected[name] - lr * sign - lr * decay * expected[name]
            momentum[name] = beta2 * momentum[name] + (1 - beta2) * gradient
        advance(optimizer, settings, network, given, step)
    for name in SHAPES:
        torch.testing.assert_close(network[name], expected[name], rtol=0, atol=1e-12)


@pytest.mark.parametrize("beta", [0.0, 0.9])
def test_signsgd_is_its_formula(beta: float) -> None:
    network, settings = parameters(0), SignSGD(lr=0.01, momentum=beta, weight_decay=0.1)
    expected = {name: value.clone() for name, value in network.items()}
    mean = {name: torch.zeros_like(value) for name, value in network.items()}
    optimizer = build(settings, network)
    for step in range(STEPS):
        given = gradients(0, step)
        for name, gradient in given.items():
            lr = 0.01 * schedule_factor("cosine", step, 2 * STEPS, warmup=0.2)
            mean[name] = beta * mean[name] + (1 - beta) * gradient
            expected[name] = expected[name] - lr * torch.sign(mean[name]) - lr * 0.1 * expected[name]
        advance(optimizer, settings, network, given, step)
    for name in SHAPES:
        torch.testing.assert_close(network[name], expected[name], rtol=0, atol=1e-12)
    assert bool(optimizer.state_dict()["state"]) == (beta > 0)


def test_speed_limited_on_adam_follows_adams_direction_at_its_own_speed() -> None:
    network, adams = parameters(0), parameters(0)
    limited = SpeedLimited(
        network.items(), lr=0.1, speeds={"1": 2.0, "others": 0.5}, direction="adam", betas=(0.8, 0.9)
    )
    adam = optim.Adam(list(adams.values()), lr=1.0, betas=(0.8, 0.9))
    for step in range(STEPS):
        before = {name: (network[name].clone(), adams[name].clone()) for name in SHAPES}
        for name, gradient in gradients(0, step).items():
            network[name].grad, adams[name].grad = gradient, gradient.clone()
        limited.step()
        adam.step()
        for name in SHAPES:
            direction = adams[name] - before[name][1]
            speed = 2.0 if name.startswith("1.") else 0.5
            expected = 0.1 * speed * direction / direction.norm()
            torch.testing.assert_close(network[name] - before[name][0], expected, rtol=0, atol=1e-7)


def test_speeds_by_pattern_and_forward_order() -> None:
    names = ["blocks.0.attention.q", "blocks.0.mlp", "blocks.1.attention.q", "blocks.1.mlp", "head"]
    named = [
        (f"{name}.{kind}", torch.zeros((2, 2) if kind == "weight" else 2))
        for name in names
        for kind in ("weight", "bias")
    ]
    speeds = {"blocks.*.attention.*": 2.0, "blocks.1.mlp": 3.0, "*.mlp": 4.0, "last": 5.0, "others": 9.0}
    groups = SpeedLimited(named, lr=1.0, speeds=speeds).param_groups
    assert [group["speed"] for group in groups] == [2, 2, 4, 4, 2, 2, 3, 3, 5, 5]
    groups = SpeedLimited(named, lr=1.0, speeds={"first": 2.0, "1": 3.0}, layers=["head", "blocks.0.mlp"]).param_groups
    assert [group["speed"] for group in groups] == [1, 1, 3, 3, 1, 1, 1, 1, 2, 2]
    with pytest.raises(ValueError, match="no such layer"):
        SpeedLimited(named, lr=1.0, speeds={"blocks.*.attn.*": 2.0})
    with pytest.raises(ValueError, match="has a speed already"):
        SpeedLimited(named, lr=1.0, speeds={"blocks.*": 2.0, "*.mlp": 2.0})


def test_parts_of_one_parameter_have_one_speed() -> None:
    layers = ["attn.in_proj_weight[0:2]", "attn.in_proj_weight[2:4]", "attn.out_proj", "rnn.weight_ih_l0"]
    named = [("attn.in_proj_weight", torch.zeros(4, 2)), ("attn.in_proj_bias", torch.zeros(4))]
    named += [("attn.out_proj.weight", torch.zeros(2, 2)), ("rnn.weight_ih_l0", torch.zeros(2, 2))]
    named += [("rnn.bias_ih_l0", torch.zeros(2)), ("norm.weight", torch.zeros(2))]
    speeds = {"attn.in_proj_weight*": 2.0, "2": 3.0, "last": 4.0, "others": 5.0}
    groups = SpeedLimited(named, lr=1.0, speeds=speeds, layers=layers).param_groups
    assert [group["speed"] for group in groups] == [2, 2, 3, 4, 4, 5]
    with pytest.raises(ValueError, match="one speed"):
        SpeedLimited(named, lr=1.0, speeds={"first": 2.0}, layers=layers)


def test_stacked_layers_are_those_of_one_network() -> None:
    named = [("norm.weight", torch.zeros(3, 4)), ("0.weight", torch.zeros(3, 4, 5)), ("0.bias", torch.zeros(3, 4))]
    groups = SpeedLimited(named, lr=1.0, speeds={"first": 2.0}, stacked=True).param_groups
    assert [group["speed"] for group in groups] == [1, 2, 2]
    given = OPTIMIZERS["slo"].build(SLO(speeds={"first": 2.0}), named, stacked=True, layers=["norm", "0"]).param_groups
    assert [group["speed"] for group in given] == [2, 1, 1]


def test_clipping_shortens_all_gradients_together_and_only_long_ones() -> None:
    for norm in (0.1, 1e9, None):
        network = nn.Linear(5, 3).double()
        network.weight.grad, network.bias.grad = random((3, 5), 0), random((3,), 1)
        other = copy.deepcopy(network)
        other.weight.grad, other.bias.grad = network.weight.grad.clone(), network.bias.grad.clone()
        before = clip_(network.parameters(), norm)
        expected = nn.utils.clip_grad_norm_(other.parameters(), norm or math.inf)
        torch.testing.assert_close(network.weight.grad, other.weight.grad, rtol=1e-5, atol=0)
        if norm is None:
            assert before is None
        else:
            assert before is not None
            torch.testing.assert_close(before, expected)
            if norm == 1e9:
                assert torch.equal(network.weight.grad, other.weight.grad)


def test_clipping_is_by_network_where_stacked_and_leaves_a_zero_gradient() -> None:
    weight, bias = torch.zeros(3, 2, 2), torch.zeros(3)
    weight.grad, bias.grad = torch.tensor([3.0, 0.3, 0.0]).reshape(3, 1, 1) * torch.eye(2), torch.zeros(3)
    norms = clip_([weight, bias, torch.zeros(3)], 1.0, stacked=True)
    assert norms is not None
    torch.testing.assert_close(norms, torch.tensor([3.0, 0.3, 0.0]) * math.sqrt(2))
    after = torch.linalg.vector_norm(weight.grad.flatten(1), dim=1)
    torch.testing.assert_close(after, torch.tensor([1.0, 0.3 * math.sqrt(2), 0.0]))


def test_warm_up_rises_to_one_and_then_the_schedule_runs() -> None:
    factors = [schedule_factor("linear", step, 10, warmup=0.4) for step in range(11)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[4:] == pytest.approx([1 - i / 6 for i in range(7)])
    assert [schedule_factor("cosine", step, 10, warmup=1.0) for step in (0, 9, 10)] == pytest.approx(
        [1 / 11, 10 / 11, 1]
    )
    for schedule in ("constant", "linear", "cosine"):
        assert [schedule_factor(schedule, step, 7) for step in range(8)] == [
            schedule_factor(schedule, step, 7, 0.0) for step in range(8)
        ]
        assert all(0 < schedule_factor(schedule, step, 9, 0.3) <= 1 for step in range(9))


@every
def test_an_entry_is_built_from_a_network_or_from_its_parameters(settings: OptimizerSettings) -> None:
    model = nn.ModuleDict({"conv": nn.Conv2d(4, 4, 3, groups=2), "1": nn.Linear(3, 6)})
    entry = OPTIMIZERS[settings.name]  # type: ignore[attr-defined]
    built = [
        entry.build(settings, given) for given in (model, dict(model.named_parameters()), model.named_parameters())
    ]
    counts = {sum(len(group["params"]) for group in optimizer.param_groups) for optimizer in built}
    assert counts == {4}


def test_settings_that_contradict_themselves_are_refused_and_those_without_effect_identify_nothing() -> None:
    with pytest.raises(ValueError, match="needs a momentum"):
        SGD(nesterov=True)
    for entry, one, two in (
        (OPTIMIZERS["slo"], SLO(), SLO(beta1=0.5)),
        (OPTIMIZERS["muon"], MuonSettings(inner="sgd"), MuonSettings(inner="sgd", beta2=0.5)),
    ):
        assert entry.canonical(one, ["a"]) == entry.canonical(two, ["a"])
    assert OPTIMIZERS["slo"].canonical(SLO(on="adam"), ["a"]) != OPTIMIZERS["slo"].canonical(
        SLO(on="adam", beta1=0.5), ["a"]
    )


def test_optimizers_refuse_what_makes_no_sense() -> None:
    tensor = torch.zeros(2, 2)
    wrong: list[Callable[[], optim.Optimizer]] = [
        lambda: Muon([tensor], lr=-1),
        lambda: Muon([tensor], momentum=1.0),
        lambda: Muon([tensor], inner="adam"),
        lambda: Muon([tensor], weight_decay=-1.0),
        lambda: SpeedLimited([("a.weight", tensor)], lr=1.0, direction="sgd"),
        lambda: SpeedLimited([("a.weight", tensor)], lr=1.0, betas=(1.0, 0.9)),
        lambda: SignDescent([tensor], lr=float("nan")),
    ]
    for make in wrong:
        with pytest.raises(ValueError, match=r"use|must|see"):
            make()
