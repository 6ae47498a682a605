"""Every optimizer in training: stacked networks, resuming, arguments of its entry, and settings that it refuses."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn, optim

from nfa.optim import OPTIMIZERS, Muon, OptimizerSettings, SignDescent, SpeedLimited
from nfa.optim.muon import MuonSettings
from nfa.optim.sgd import SGDSettings
from nfa.optim.slo import SLOSettings
from tests.optim.families import SEEDS, SHAPES, STEPS, advance, build, every, gradients, parameters


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
        SGDSettings(nesterov=True)
    for entry, one, two in (
        (OPTIMIZERS["slo"], SLOSettings(), SLOSettings(beta1=0.5)),
        (OPTIMIZERS["muon"], MuonSettings(inner="sgd"), MuonSettings(inner="sgd", beta2=0.5)),
    ):
        assert entry.canonical(one, ["a"]) == entry.canonical(two, ["a"])
    assert OPTIMIZERS["slo"].canonical(SLOSettings(on="adam"), ["a"]) != OPTIMIZERS["slo"].canonical(
        SLOSettings(on="adam", beta1=0.5), ["a"]
    )


def test_optimizers_refuse_what_makes_no_sense() -> None:
    tensor = torch.zeros(2, 2)
    wrong: list[Callable[[], optim.Optimizer]] = [
        lambda: Muon([tensor], lr=-1),
        lambda: Muon([tensor], lr=float("inf")),
        lambda: Muon([tensor], inner_lr=float("inf")),
        lambda: Muon([tensor], weight_decay=float("inf")),
        lambda: SignDescent([tensor], lr=float("inf")),
        lambda: SignDescent([tensor], lr=0.1, weight_decay=float("inf")),
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
