"""All scores of one network: metrics on patches, groups, in-place activations, experts; the network stays unchanged."""

import math
import re
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from nfa.alignment import measure_covariances
from nfa.features import (
    SamplesWithTargets,
    input_rows,
    kernel_machine,
    layer_features,
    layer_passes,
    linear_rows,
    metric_rows,
    recovery_rows,
)
from nfa.features.quality import layer_metrics, mapped
from tests.alignment.network.test_experts import Reversed


def samples(n: int, shape: tuple[int, ...], seed: int = 0) -> SamplesWithTargets:
    """Random images or vectors of three classes."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (n,), generator=generator)
    inputs = torch.randn(n, *shape, generator=generator)
    inputs[:, 0] += labels.reshape(-1, *(1,) * (len(shape) - 1))
    return SamplesWithTargets(inputs, functional.one_hot(labels, 3) - 1 / 3, labels)


def network(groups: int = 1) -> nn.Module:
    """A convolutional network with batch normalisation and an in-place activation."""
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(4, 6, 3, stride=2, groups=groups)]
    return nn.Sequential(*convolutions, nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(54, 3))


@pytest.mark.parametrize("groups", [1, 2])
def test_a_convolutions_metric_is_that_of_its_patches(groups: int) -> None:
    model, data = network(groups), samples(6, (2, 8, 8))
    seen = layer_passes(model, data.inputs, ["2"])["2"]
    layer = measure_covariances(model, data.inputs, layers=["2"]).layers["2"]
    entering = model[:2](data.inputs)  # type: ignore[index]
    patches = functional.unfold(entering, 3, stride=2).double().detach().mT  # (n, positions, 4 * 9)
    blocks = patches.reshape(6, 9, groups, -1).numpy()
    weight, covariance = (m.reshape(groups, *m.shape[-2:]).numpy() for m in (layer.weight, layer.covariance))
    for name, middle in (("nfm", np.broadcast_to(np.eye(6 // groups), covariance.shape)), ("agop", covariance)):
        metric = weight.transpose(0, 2, 1) @ middle @ weight
        metric = metric * groups * metric.shape[1] / np.trace(metric, axis1=1, axis2=2).sum()
        offset = blocks[0] - blocks[1]
        expected = np.einsum("pgi,gij,pgj->", offset, metric, offset)
        images = mapped(seen.outputs, layer_metrics(layer)[name])
        assert (images[0] - images[1]).square().sum().item() == pytest.approx(expected, rel=1e-4)
    torch.testing.assert_close(seen.inputs, entering.flatten(1))


def test_a_linear_layer_agrees_with_the_kernel_machine_of_its_dense_metric() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 3))
    train, test = samples(60, (8,)), samples(40, (8,), seed=1)
    rows = {(row.layer, row.probe, row.split): row for row in metric_rows(model, train, test, ["0", "2"])}
    weight = model.get_parameter("0.weight").detach().double().numpy()
    expected = kernel_machine(
        train.split(train.inputs), test.split(test.inputs), weight * np.sqrt(8 / (weight**2).sum())
    )
    assert rows["0", "kernel_nfm", "test"].value == pytest.approx(expected.test)
    assert rows["0", "kernel_nfm", "test"].bandwidth == pytest.approx(expected.bandwidth, rel=1e-4)
    assert ("0", "kernel_identity", "test") not in rows  # that of the raw input, which needs no network
    assert ("2", "kernel_identity", "test") in rows


def test_a_convolutions_kernel_machines_are_those_of_its_dense_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patches times positions as one long input, its metric block-diagonal; test samples pass in batches."""
    monkeypatch.setattr("nfa.features.quality.FORWARD_BATCH", 7)
    model, train, test = network(), samples(60, (2, 8, 8)), samples(30, (2, 8, 8), seed=1)
    rows = {(row.probe, row.split): row for row in metric_rows(model, train, test, ["2"])}
    layer, parts = measure_covariances(model, train.inputs, layers=["2"]).layers["2"], (train, test)

    def patches(inputs: torch.Tensor) -> torch.Tensor:
        entering = model[:2](inputs.clone())  # type: ignore[index]
        return functional.unfold(entering, 3, stride=2).double().detach().mT

    weight, covariance = (m.reshape(m.shape[-2:]).numpy() for m in (layer.weight, layer.covariance))
    factors = {"nfm": weight, "agop": np.linalg.cholesky(covariance + 1e-12 * np.eye(6)).T @ weight}
    for name, factor in factors.items():
        factor = factor * np.sqrt(factor.shape[1] / np.square(factor).sum())
        pair = [part.split(patches(part.inputs) @ torch.from_numpy(factor.T)) for part in parts]
        expected = kernel_machine(pair[0], pair[1])
        assert rows[f"kernel_{name}", "test"].value == pytest.approx(expected.test)
        assert rows[f"kernel_{name}", "test"].bandwidth == pytest.approx(expected.bandwidth, rel=1e-4)
    entering = [part.split(model[:2](part.inputs.clone()).detach()) for part in parts]  # type: ignore[index]
    assert rows["kernel_identity", "test"].value == pytest.approx(kernel_machine(entering[0], entering[1]).test)


def test_nothing_is_left_behind() -> None:
    model, train, test = network().train(), samples(60, (2, 8, 8)), samples(30, (2, 8, 8), seed=1)
    model[3].eval()  # type: ignore[index]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    inputs, state = train.inputs.clone(), torch.random.get_rng_state()
    linear_rows(model, train, test, ["0", "2", "6"])
    metric_rows(model, train, test, ["0", "2", "6"])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(train.inputs, inputs)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert [module.training for module in model.children()] == [True, True, True, False, True, True, True]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_every_row_names_its_layer_and_its_reason() -> None:
    model, train, test = network(), samples(60, (2, 8, 8)), samples(30, (2, 8, 8), seed=1)
    rows = linear_rows(model, train, test, ["0", "2", "6"])
    assert {row.layer for row in rows} == {"0", "2", "6"}
    assert {row.probe for row in rows} == {"ridge", "linearity", "geometry"}
    assert all(np.isfinite(row.value) and not row.note for row in rows)
    with torch.no_grad():
        model[6].weight.fill_(1e38)  # type: ignore[index]
    rows = linear_rows(model, train, test, ["0", "2", "6"])
    undefined = [row for row in rows if np.isnan(row.value)]
    assert {row.layer for row in undefined} == {"6"}
    assert all(row.note for row in undefined)


def mlp() -> nn.Module:
    """A chain of three layers."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))


@pytest.mark.parametrize("layers", [["0", "2"], ["0"], ["2"], ["4"], ["2", "0"], ["4", "2", "0"], ["0", "4"]], ids=str)
def test_a_layers_rows_are_the_same_whichever_others_are_asked_for(layers: list[str]) -> None:
    train, test = samples(60, (8,)), samples(40, (8,), seed=1)
    every = linear_rows(mlp(), train, test, ["0", "2", "4"])
    found = linear_rows(mlp(), train, test, layers)
    assert found == [row for row in every if row.layer in layers]


@pytest.mark.parametrize("rows", [linear_rows, metric_rows])
def test_a_name_that_is_no_layer_is_refused(rows: Callable[..., object]) -> None:
    train, test = samples(60, (8,)), samples(40, (8,), seed=1)
    model = nn.Sequential(OrderedDict(hidden=nn.Linear(8, 6), act=nn.ReLU(), head=nn.Linear(6, 3)))
    with pytest.raises(ValueError, match="layer 'hiden' is not measured: did you mean 'hidden'"):
        rows(model, train, test, ["hiden", "head"])
    with pytest.raises(ValueError, match=r"layer 'act' is not measured: .*valid: head, hidden"):
        rows(model, train, test, ["act"])
    with pytest.raises(ValueError, match="the list is empty"):
        rows(model, train, test, [])


def test_a_single_target_needs_no_axis() -> None:
    x = torch.randn(60, 8)
    flat, column = SamplesWithTargets(x, x[:, 0]), SamplesWithTargets(x, x[:, :1])
    assert linear_rows(mlp(), flat, flat, ["0"]) == linear_rows(mlp(), column, column, ["0"])


X, Y, LABELS = torch.ones(6, 2), torch.ones(6, 3), torch.arange(6) % 3


@pytest.mark.parametrize(
    ("inputs", "targets", "labels", "told"),
    [
        (X, Y[:5], None, "targets: shape (5, 3) for 6 inputs: give (6, outputs)"),
        (X, Y[0], None, "targets: shape (3, 1) for 6 inputs"),
        (X, Y[:, :, None], None, "targets: shape (6, 3, 1) for 6 inputs"),
        (X * math.nan, Y, None, "inputs hold NaN or infinity: no probe can be fitted to them"),
        (X, Y * math.inf, None, "targets hold NaN or infinity"),
        (X, Y, LABELS[:5], "labels: torch.int64 of shape (5,): give one whole number per sample"),
        (X, Y, LABELS[:, None], "labels: torch.int64 of shape (6, 1)"),
        (X, Y, LABELS.float(), "labels: torch.float32 of shape (6,)"),
        (X, Y[:, 0], LABELS, "labels: classes 0 to 2 for 1 outputs: give targets a column for each class"),
        (X, Y, LABELS - 1, "labels: classes -1 to 1 for 3 outputs"),
    ],
)
def test_samples_that_do_not_fit_together_are_refused(
    inputs: torch.Tensor, targets: torch.Tensor, labels: torch.Tensor | None, told: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        SamplesWithTargets(inputs, targets, labels)


@pytest.mark.parametrize(
    ("test", "told"),
    [
        (SamplesWithTargets(torch.ones(6, 3), Y, LABELS), "inputs: samples of shape (2,) in training and (3,) in test"),
        (
            SamplesWithTargets(X, torch.ones(6, 4), LABELS),
            "targets: samples of shape (3,) in training and (4,) in test",
        ),
        (SamplesWithTargets(X, Y), "labels: only one of the training and test samples has labels"),
    ],
)
def test_test_samples_of_another_kind_are_refused(test: SamplesWithTargets, told: str) -> None:
    train, model = SamplesWithTargets(X, Y, LABELS), nn.Linear(2, 3)
    for rows in (
        lambda: linear_rows(model, train, test, [""]),
        lambda: metric_rows(model, train, test, [""]),
        lambda: input_rows(train, test),
    ):
        with pytest.raises(ValueError, match=re.escape(told)):
            rows()


def test_an_unknown_probe_is_refused_and_one_that_needs_classes() -> None:
    data = SamplesWithTargets(torch.randn(6, 2), torch.randn(6, 3))
    with pytest.raises(ValueError, match="kind: 'rigde': did you mean 'ridge'"):
        input_rows(data, data, kind="rigde")
    with pytest.raises(ValueError, match="kind: 'logistic' needs labels"):
        input_rows(data, data, kind="logistic")


def test_baselines_need_no_network() -> None:
    train, test = samples(60, (2, 4, 4)), samples(30, (2, 4, 4), seed=1)
    rows, machine = input_rows(train, test, kernel_samples=40, rfm=1)
    assert {row.probe for row in rows} == {"ridge", "linearity", "geometry", "kernel_identity", "rfm"}
    assert {row.layer for row in rows} == {"input"}
    assert machine is not None
    assert machine.factor is None or machine.factor.shape == (32, 32)
    assert input_rows(train, test)[1] is None


def test_recovery_of_a_network_that_reads_two_inputs_only() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5, bias=False), nn.Tanh(), nn.Linear(5, 1))
    with torch.no_grad():
        model.get_parameter("0.weight")[:, 2:] = 0
    rows = recovery_rows(model, torch.randn(50, 6), "0", np.eye(6)[:, :2])
    assert {row.metric: pytest.approx(row.value) for row in rows} == {
        "nfm_trace_share": 1,
        "nfm_overlap": 1,
        "agop_trace_share": 1,
        "agop_overlap": 1,
    }
    assert recovery_rows(model, torch.randn(50, 6), "2", np.eye(6)[:, :2]) == []  # it does not read the raw input


@pytest.mark.parametrize("batch", [1000, 7])
def test_layers_that_only_some_samples_go_through_are_left_out(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Experts, and the layer before them, do not have features of all samples; other layers have their scores."""
    for module in ("capture", "quality"):
        monkeypatch.setattr(f"nfa.features.{module}.FORWARD_BATCH", batch)
    torch.manual_seed(0)
    model, train, test = Reversed(), samples(60, (6,)), samples(40, (6,), seed=1)
    layers = list(measure_covariances(model, train.inputs).layers)
    assert len(layers) == 10
    assert {row.layer for row in linear_rows(model, train, test, layers)} == {"readout"}
    rows = metric_rows(model, train, test, layers)
    assert {row.layer for row in rows} == {"first", "readout"}
    assert all(math.isfinite(row.value) for row in rows)
    with pytest.raises(ValueError, match="layer 'second' is not measured"):
        linear_rows(model, train, test, ["first", "second"])
    same = train.inputs[:1].expand(60, 6)  # all go to one expert, which then has features
    assert len(layer_features(model, same, layers)) == 4
