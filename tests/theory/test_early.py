"""Early dynamics: the claimed orders in t against gradient flow on several networks, and against closed forms."""

import copy
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from nfa.alignment import measure
from nfa.losses import cross_entropy, squared_error
from nfa.report.statistics.departure_time import departure_times
from nfa.theory import early_dynamics, layer_rates, measured_dynamics
from nfa.theory.early import early_arrays
from tests.alignment.network.test_experts import Reversed

Case = tuple[nn.Module, Tensor, Tensor, Callable[[Tensor, Tensor], Tensor]]


class Attention(nn.Module):
    """One head of attention, in the fused operation that has no second derivative, then a mean over tokens."""

    def __init__(self) -> None:
        """Draw the weights."""
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(4, 4, bias=False) for _ in range(3))
        self.readout = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Give (n, C)."""
        mixed = nn.functional.scaled_dot_product_attention(self.query(x), self.key(x), self.value(x))
        return torch.as_tensor(self.readout(torch.tanh(mixed)).mean(1))


class Recurrent(nn.Module):
    """A GRU, read out at its last step."""

    def __init__(self) -> None:
        """Draw the weights."""
        super().__init__()
        self.gru, self.readout = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Give (n, C)."""
        return torch.as_tensor(self.readout(self.gru(x)[0][:, -1]))


def mlp() -> Case:
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 6, bias=False), nn.Tanh(), nn.Linear(6, 1))
    x = torch.randn(40, 5)
    return model, x, x[:, :1] * x[:, 1:2] + 1, squared_error


def classifier() -> Case:
    model = nn.Sequential(nn.Linear(5, 8), nn.GELU(), nn.Linear(8, 3))
    x = torch.randn(40, 5)
    return model, x, nn.functional.one_hot((x[:, 0] > 0) + (x[:, 1] > 0).long(), 3).float(), cross_entropy


def convolution() -> Case:
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Conv2d(4, 4, 2, groups=2), nn.Tanh(), nn.Flatten(), nn.Linear(16, 2)
    )
    x = torch.randn(20, 2, 5, 5)
    return model, x, x.square().mean((2, 3)) - 1.5, squared_error


def attention() -> Case:
    x = 2 * torch.randn(20, 5, 4)
    return Attention(), x, x[:, 0, :2] * x[:, 1, :2], squared_error


def recurrent() -> Case:
    x = torch.randn(20, 4, 3)
    return Recurrent(), x, x[:, :, 0].sum(1, keepdim=True), squared_error


CASES = [mlp, classifier, convolution, attention, recurrent]


def drawn(case: Callable[[], Case]) -> Case:
    torch.manual_seed(0)
    return case()


def errors(predicted: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    """Compute relative errors: one row per source and curve, one column per time."""
    keys = ["t", "layer", "quantity", "correlation"]
    joined = predicted.merge(measured[[*keys, "value"]], on=keys, suffixes=("", "_measured"))
    joined["off"] = (joined["value"] / joined["value_measured"] - 1).abs()
    joined["correlation"] = joined["correlation"].fillna("")
    return joined.pivot_table(index=["source", "layer", "quantity", "correlation"], columns="t", values="off")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_errors_shrink_at_the_claimed_order(case: Callable[[], Case]) -> None:
    """Halving t divides the relative error by 2 (leading) and by 4 (next): slopes of log error over log t within .1."""
    model, x, y, loss = drawn(case)
    scale = min(rates.time_scale for rates in layer_rates(model, x, y, loss).values())
    times = scale * 2.0 ** -np.arange(13, 9, -1)
    predicted = early_dynamics(model, x, y, loss, times=times)
    found = errors(predicted, measured_dynamics(model, x, y, loss, times))
    # A correlation of 1 (the readout's) has no error to shrink; what is below 1e-11 is rounding.
    found = found[found.max(axis=1) > 1e-11]
    slopes = found.apply(lambda row: np.polyfit(np.log(times), np.log(row), 1)[0], axis=1)
    for source, order in (("leading", 1), ("next", 2)):
        of_source = slopes.xs(source)
        assert len(of_source) >= 7
        # A curve whose error of this order happens to be small shrinks faster at first; most have it.
        assert (of_source > order - 0.1).all(), of_source
        assert of_source.median() == pytest.approx(order, abs=0.1)


def test_leading_correlation_is_the_limit_that_measure_reports() -> None:
    model, x, y, loss = drawn(mlp)
    table = measure(model.double(), x.double(), targets=y.double(), loss=loss, initial=model)
    rows = table.query("quantity == 'c_nfc' and power == '1'")
    limit = dict(zip(zip(rows["layer"], rows["correlation"], strict=True), rows["value"], strict=True))
    early = early_dynamics(model, x, y, loss).query("source == 'leading' and quantity == 'c_nfc'")
    assert len(early["t"].unique()) == 25
    for row in early.itertuples():
        assert row.value == pytest.approx(limit[row.layer, row.correlation], abs=1e-9)


def test_rates_are_those_of_a_plain_calculation() -> None:
    """For f = v tanh(W x): W' in closed form, W'' and K' by forward differentiation of closed forms."""
    torch.manual_seed(1)
    w, v = torch.randn(6, 4).double(), torch.randn(1, 6).double()
    x, y = torch.randn(30, 4).double(), torch.randn(30, 1).double()
    model = nn.Sequential(nn.Linear(4, 6, bias=False), nn.Tanh(), nn.Linear(6, 1, bias=False)).double()
    model.load_state_dict({"0.weight": w, "2.weight": v})

    def velocity(w: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(x @ w.T)
        residual = 2 * (h @ v.T - y) / len(x)
        return -((residual * v * (1 - h**2)).T @ x), -(residual.T @ h)

    def covariance(w: Tensor, v: Tensor) -> Tensor:
        j = v * (1 - torch.tanh(x @ w.T) ** 2)
        return j.T @ j / len(x)

    rates = layer_rates(model, x, y, squared_error, batch_size=7)["0"]
    first = velocity(w, v)
    second = torch.func.jvp(velocity, (w, v), first)[1]
    covariance_rate = torch.func.jvp(covariance, (w, v), first)[1]
    torch.testing.assert_close(rates.velocity, first[0], rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(rates.acceleration, second[0], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(rates.initial.covariance, covariance(w, v), rtol=1e-11, atol=1e-13)
    error = (rates.covariance_rate - covariance_rate).norm() / covariance_rate.norm()
    assert error < 1e-8
    assert rates.time_scale == pytest.approx(float(2 * first[0].norm() / second[0].norm()), rel=1e-9)


@pytest.mark.parametrize("distance", [0.3, -0.4, 0.02])
def test_a_kink_next_to_the_start_is_no_part_of_the_rate(distance: float) -> None:
    """For f = v relu(W x) K moves between kinks through v alone, though a sample crosses within 1e-6 of the weights."""
    torch.manual_seed(2)
    w, v = torch.randn(6, 4).double(), torch.randn(1, 6).double()
    x, y = torch.randn(30, 4).double(), torch.randn(30, 1).double()
    x[0] -= w[2] * (w[2] @ x[0]) / w[2].square().sum()
    model = nn.Sequential(nn.Linear(4, 6, bias=False), nn.ReLU(), nn.Linear(6, 1, bias=False)).double()
    model.load_state_dict({"0.weight": w, "2.weight": v})
    rates = layer_rates(model, x, y, squared_error)
    speed = rates["0"].velocity[2] @ x[0]
    size = (w.square().sum() + v.square().sum()).sqrt()
    motion = torch.cat([rate.velocity.flatten() for rate in rates.values()]).norm()
    # The pre-activation passes 0 after this share of the step of the first difference.
    x[0] -= w[2] * distance * 1e-6 * size / motion * speed / w[2].square().sum()

    h = x @ w.T
    residual = 2 * (torch.relu(h) @ v.T - y) / len(x)
    v_rate = -(residual.T @ torch.relu(h))
    on = (h > 0).double()
    both = on.T @ on / len(x)
    expected = both * (v_rate.T @ v + v.T @ v_rate)
    found = layer_rates(model, x, y, squared_error)["0"].covariance_rate
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_measured_curves_are_those_of_small_gradient_steps() -> None:
    """Gradient descent with lr = t / 2,000 is within 1% of the flow that Runge-Kutta steps follow."""
    model, x, y, loss = drawn(mlp)
    t = 0.3 * min(rates.time_scale for rates in layer_rates(model, x, y, loss).values())
    flow = measured_dynamics(model, x, y, loss, [t / 2, t])
    start, descent = copy.deepcopy(model).double(), copy.deepcopy(model).double()
    optimizer = torch.optim.SGD(descent.parameters(), lr=t / 2000)
    for _ in range(2000):
        optimizer.zero_grad()
        loss(descent(x.double()), y.double()).backward()
        optimizer.step()
    table = measure(descent, x.double(), initial=start).query("quantity == 'c_nfc' and power == '1'")
    for row in flow.query("quantity == 'c_nfc' and t == @t").itertuples():
        found = table.query("layer == @row.layer and correlation == @row.correlation")["value"].item()
        assert row.value == pytest.approx(found, abs=0.01)
    for row in flow.query("quantity == 'centred_nfm_norm' and t == @t").itertuples():
        change = descent.get_parameter(f"{row.layer}.weight") - start.get_parameter(f"{row.layer}.weight")
        assert row.value == pytest.approx(float((change.T @ change).norm().detach()), rel=0.01)


def test_tables_have_the_columns_that_are_documented() -> None:
    model, x, y, loss = drawn(mlp)
    predicted = early_dynamics(model, x, y, loss, times=[0.1])
    columns = "t source layer layer_index depth_from_output quantity correlation power exponent value n note"
    assert list(predicted.columns) == columns.split()
    assert list(measured_dynamics(model, x, y, loss, [0.1]).columns) == columns.split()


def test_norms_are_those_of_the_matrices_formed() -> None:
    model, x, y, loss = drawn(convolution)
    rates, t = layer_rates(model, x, y, loss), 0.01
    frame = early_dynamics(model, x, y, loss, times=[t]).set_index(["source", "layer", "quantity"])["value"]
    for name, layer in rates.items():
        weight = t * layer.velocity + t**2 / 2 * layer.acceleration
        covariance = layer.initial.covariance + t * layer.covariance_rate
        nfm, agop = weight.mT @ weight, weight.mT @ covariance @ weight
        assert frame["next", name, "centred_nfm_norm"] == pytest.approx(float(nfm.norm()), rel=1e-10)
        assert frame["next", name, "centred_agop_norm"] == pytest.approx(float(agop.norm()), rel=1e-10)


def test_batches_change_nothing_and_the_network_is_left_as_it_was() -> None:
    model, x, y, loss = drawn(mlp)
    state, inputs = copy.deepcopy(model.state_dict()), x.clone()
    whole = early_dynamics(model, x, y, loss)
    parts = early_dynamics(model, x, y, loss, batch_size=7)
    np.testing.assert_allclose(parts["value"], whole["value"], rtol=1e-7)
    pd.testing.assert_frame_equal(parts.drop(columns=["t", "value"]), whole.drop(columns=["t", "value"]))
    measured_dynamics(model, x, y, loss, [0.1])
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None and p.dtype == torch.float32 for p in model.parameters())
    assert torch.equal(x, inputs)
    assert model.training


def test_arrays_are_the_tables_at_their_times() -> None:
    """Predicted to rounding; measured, by one Runge-Kutta step from each time to the next, within 1% of small steps."""
    model, x, y, loss = drawn(mlp)
    arrays = early_arrays(model, x, y, loss)
    times = arrays["0/early_times"]
    tables = {
        "leading": early_dynamics(model, x, y, loss, times=times).query("source == 'leading'"),
        "next": early_dynamics(model, x, y, loss, times=times).query("source == 'next'"),
        "measured": measured_dynamics(model, x, y, loss, times, substeps=4),
    }
    assert set(arrays) == {f"{layer}/early_{kind}" for layer in ("0", "2", "4") for kind in ("times", *tables)}
    for source, table in tables.items():
        for layer, rows in table.groupby("layer"):
            expected = rows.pivot_table(index="t", columns=["quantity", "correlation"], values="value", dropna=False)
            found = pd.DataFrame(arrays[f"{layer}/early_{source}"], index=times)
            names = [("c_nfc", correlation) for correlation in ("cosine", "pearson", "offdiagonal")]
            tolerance = 0.01 if source == "measured" else 1e-7
            np.testing.assert_allclose(found[[2, 3, 4]], expected[names], rtol=tolerance)
            for column, quantity in enumerate(("centred_nfm_norm", "centred_agop_norm")):
                values = rows.loc[rows["quantity"] == quantity, "value"]
                np.testing.assert_allclose(found[column], values, rtol=tolerance)


def test_a_network_of_zeros_has_rates() -> None:
    """For a single layer from zero weights K is I, and the curves stay defined."""
    model = nn.Linear(3, 1)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    x = torch.randn(20, 3)
    rates = layer_rates(model, x, x.sum(1, keepdim=True), squared_error)
    assert rates[""].covariance_rate.item() == 0
    early = early_dynamics(model, x, x.sum(1, keepdim=True), squared_error)
    assert early.loc[early["correlation"] != "offdiagonal", "value"].notna().all()


def test_frozen_layers_stay_and_say_so() -> None:
    model, x, y, loss = drawn(mlp)
    model.get_parameter("2.weight").requires_grad_(False)
    early = early_dynamics(model, x, y, loss)
    frozen, free = early[early["layer"] == "2"], early[early["layer"] == "0"]
    assert (frozen.loc[frozen["quantity"] != "c_nfc", "value"] == 0).all()
    undefined = frozen[frozen["quantity"] == "c_nfc"]
    assert undefined["value"].isna().all()
    assert (undefined["note"] == "the NFM is zero").all()
    assert free["value"].notna().all()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(ValueError, match="nothing is trained"):
        early_dynamics(model, x, y, loss)


def test_a_loss_may_be_named() -> None:
    model, x, y, _ = drawn(mlp)
    pd.testing.assert_frame_equal(
        early_dynamics(model, x, y, "mse", times=[1.0]), early_dynamics(model, x, y, squared_error, times=[1.0])
    )
    pd.testing.assert_frame_equal(
        measured_dynamics(model, x, y, "mse", [1.0]), measured_dynamics(model, x, y, squared_error, [1.0])
    )
    with pytest.raises(ValueError, match="loss: 'msee': did you mean 'mse'"):
        early_dynamics(model, x, y, "msee")


def test_departure_is_where_a_curve_leaves() -> None:
    def curves(source: str, values: list[float]) -> pd.DataFrame:
        place = {"layer": "0", "layer_index": 0, "depth_from_output": 1, "quantity": "centred_nfm_norm"}
        convention = {"correlation": None, "power": None, "exponent": np.nan}
        rows = [
            {"t": t, "source": source, **place, **convention, "value": value}
            for t, value in zip([1.0, 2.0, 3.0], values, strict=True)
        ]
        return pd.DataFrame(rows)

    measured = curves("measured", [1.0, 1.0, 1.0])
    left = departure_times(curves("leading", [1.0, 1.05, 1.25]), measured)
    assert left["t"].item() == pytest.approx(2.25)  # off by .05 at 2 and .25 at 3
    assert left["share"].item() == 0.1
    within = departure_times(curves("leading", [1.0, 1.05, 1.09]), measured)
    assert np.isnan(within["t"].item())
    assert "within 0.1" in within["note"].item()
    assert departure_times(curves("leading", [1.5, 1.0, 1.0]), measured)["note"].item().startswith("beyond")
    assert departure_times(curves("leading", [np.nan] * 3), measured)["note"].item() == "undefined"


def test_next_order_holds_longer() -> None:
    model, x, y, loss = drawn(mlp)
    predicted = early_dynamics(model, x, y, loss)
    left = departure_times(predicted, measured_dynamics(model, x, y, loss, predicted["t"].unique()))
    norms = left[left["correlation"].isna()].pivot_table(index=["layer", "quantity"], columns="source", values="t")
    assert len(norms) == 6
    assert (norms["next"].fillna(np.inf) > norms["leading"]).all()


@pytest.mark.parametrize("times", [[], [0.0, 1.0], [2.0, 1.0], [1.0, np.nan]])
def test_times_are_checked(times: list[float]) -> None:
    model, x, y, loss = drawn(mlp)
    with pytest.raises(ValueError, match="ascending"):
        measured_dynamics(model, x, y, loss, times)


def test_without_curvature_times_must_be_named() -> None:
    model = nn.Sequential(nn.Linear(3, 1, bias=False))
    x = torch.randn(10, 3)

    def linear(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs * targets).mean()

    with pytest.raises(ValueError, match="pass times"):
        early_dynamics(model, x, x[:, :1], linear)
    early = early_dynamics(model, x, x[:, :1], linear, times=[1.0, 2.0])
    measured = measured_dynamics(model, x, x[:, :1], linear, [1.0, 2.0])
    for source in ("leading", "next"):  # exact: the velocity never changes
        np.testing.assert_allclose(early[early["source"] == source]["value"], measured["value"], rtol=1e-10)


def test_experts_that_the_first_samples_do_not_reach_have_rates() -> None:
    torch.manual_seed(0)
    model, x = Reversed(), torch.randn(40, 6)
    x = x[x[:, :4].argmax(1).argsort()]
    y, t = x[:, :2] + 1, [1e-4]
    rates = layer_rates(model, x, y, squared_error)
    assert len(rates) == 10
    assert all(layer.velocity.norm() > 0 and layer.covariance_rate.norm() > 0 for layer in list(rates.values())[:-1])
    predicted, measured = (
        early_dynamics(model, x, y, squared_error, times=t),
        measured_dynamics(model, x, y, squared_error, t),
    )
    known = predicted[predicted["source"] == "next"].set_index(["layer", "quantity", "correlation"])["value"]
    found = measured.set_index(["layer", "quantity", "correlation"])["value"]
    np.testing.assert_allclose(known, found[known.index], rtol=1e-4)
