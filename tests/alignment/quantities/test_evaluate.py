"""Every row of the table against dense d x d formulas, and the cases in which rows are undefined."""

import math
import re
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from nfa.alignment import CORRELATIONS, POWERS, LayerCovariance, frame, measure, measure_layer, weight_gradients
from nfa.alignment.quantities.rotations import rotations
from nfa.alignment.quantities.split import FACTORS
from nfa.alignment.quantities.values import exponents
from tests.alignment.comparing import assert_values_close, note_of, rows_of, value_of
from tests.alignment.jacobians import reference_layers
from tests.alignment.networks import CASES, Case, layers_of, squared_error, targets_for, trained
from tests.alignment.reference import Row, factors, line, reference_rows, rho

# Quantities of a matrix with both conventions, with the correlation alone, with neither; see the table's documentation.
BOTH = ("uc_nfc", "c_nfc", "w0_nfc", "haar_nfc")
DEPTH_LAW = ("depth_law_power", "depth_law_fit", "depth_law_low", "depth_law_high")  # in test_best_power.py
SINGLE = (
    *("relative_change", "localisation", "stable_rank_nfm", "stable_rank_agop", "stable_rank_k"),
    *("subspace_overlap", "commutator"),
    *(f"{prefix}spectrum_slope{end}" for prefix in ("", "c_") for end in ("", "_error", "_r2")),
    *(prefix + factor + end for prefix in ("", "c_") for factor in FACTORS for end in ("", "_haar", "_haar_sd")),
)
POWER_ONE = ("permuted_nfc", "c_permuted_nfc", "c_haar_nfc", "c_haar_nfc_sd", "dc_nfc", "haar_nfc_sd")
LEFT = tuple(f"{prefix}left_nfc{end}" for prefix in ("", "c_") for end in ("", "_haar", "_haar_sd"))
NO_POWER = ("fact", *DEPTH_LAW, *LEFT)
ELSEWHERE = re.compile("depth_law|permuted_nfc|spectrum_slope_error|spectrum_slope_r2")  # in files of their own
WITH_ERRORS = re.compile("haar|permuted_nfc|spectrum_slope_error")  # controls, which are drawn, and an error itself


def all_rows() -> set[Row]:
    both = {(q, c, p) for q in BOTH for c in CORRELATIONS for p in POWERS}
    power_one = {(q, c, "1") for q in POWER_ONE for c in CORRELATIONS}
    no_power = {(q, c, None) for q in NO_POWER for c in CORRELATIONS}
    return both | power_one | no_power | {(q, None, None) for q in SINGLE}


def dense(tensor: Tensor) -> Tensor:
    """Blocks (g, k, d) as one block-diagonal matrix; a matrix as it is."""
    return torch.block_diag(*tensor) if tensor.dim() == 3 else tensor


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_equals_dense_formulas(case: Case) -> None:
    start, inputs = case.network(), case.inputs()
    model = trained(start, inputs)
    targets = targets_for(model, inputs)
    gradients = weight_gradients(model, inputs, targets, squared_error)
    table = measure(
        model, inputs, targets=targets, loss=squared_error, initial=start, weight_decay=0.01, seed=3, step=7
    )
    now, before = (reference_layers(network.eval(), inputs) for network in (model, start))
    for name, layer in layers_of(model, inputs).items():
        found = {row: value for row, value in rows_of(table, name).items() if not ELSEWHERE.search(row[0])}
        powers = {
            power: exponent
            for power, exponent in exponents(layer.depth_from_output, layer.chain_length).items()
            if not math.isnan(exponent)
        }
        blocks = len(layer.weight) if layer.weight.dim() == 3 else 1
        expected = reference_rows(
            dense(now[name].weight),
            dense(now[name].covariance),
            powers,
            layer.outputs,
            initial_weight=dense(before[name].weight),
            initial_covariance=dense(before[name].covariance),
            gradient=dense(gradients[name]),
            weight_decay=0.01,
            rotations=[dense(rotation) for rotation in rotations(layer.weight.shape[-2], blocks, 3)],
            blocks=blocks,
        )
        missing: dict[Row, float] = dict.fromkeys(all_rows() - expected.keys(), math.nan)
        missing = {row: value for row, value in missing.items() if not ELSEWHERE.search(row[0])}
        if layer.depth_from_output == 0:  # its K is the identity and does not move
            missing |= {("dc_nfc", correlation, "1"): math.nan for correlation in CORRELATIONS}
            missing |= {(name, "offdiagonal", None): math.nan for name in LEFT}
        assert_values_close(found, {**expected, **missing}, 1e-8)


def test_columns_and_notes() -> None:
    case = CASES[3]
    table = measure(trained(case.network(), case.inputs()), case.inputs(), initial=case.network(), seed=2, step=5)
    place = ["seed", "step", "layer", "layer_index", "depth_from_output"]
    convention = ["quantity", "correlation", "power", "exponent"]
    assert list(table) == [*place, *convention, "value", "stderr", "estimator", "n", "note"]
    for column in ("seed", "step", "layer_index", "depth_from_output", "n"):
        assert table[column].dtype == "int64", column
    for column in ("exponent", "value", "stderr"):
        assert table[column].dtype == "float64", column
    assert (table.seed == 2).all()
    assert (table.step == 5).all()
    assert (table.n == 24).all()
    assert (table.estimator == "exact").all()
    undefined = table[table.value.isna()]
    assert (undefined.note != "").all()
    assert undefined.stderr.isna().all()
    assert set(undefined[undefined.power == "depth"].note) == {"a branching network has no depth-matched power"}
    assert note_of(table, "fact", "first") == "weight decay is 0"
    defined = table[table.value.notna()]
    assert (defined[~defined.quantity.isin(DEPTH_LAW)].note == "").all()  # a best power may be at an end of its range
    assert (defined[~defined.quantity.str.contains(WITH_ERRORS)].stderr == 0).all()
    controls = defined[defined.power == "1"].set_index(["layer", "quantity", "correlation"])
    mean, deviation = controls.xs("haar_nfc", level=1), controls.xs("haar_nfc_sd", level=1)
    assert (mean.stderr - deviation.value / math.sqrt(20)).abs().max() < 1e-12
    assert deviation.stderr.isna().all()


def test_exponents_of_a_chain() -> None:
    table = measure(CASES[0].network(), CASES[0].inputs())
    depth = table[table.power == "depth"].groupby("layer").exponent.unique()
    assert {layer: list(values) for layer, values in depth.items()} == {"0": [1 / 3], "2": [1 / 2], "4": [1.0]}
    assert set(table[table.power == "1/2"].exponent) == {0.5}
    assert table[table.power.isna()].exponent.isna().all()


def test_no_initial_weights_given() -> None:
    table = measure(CASES[0].network(), CASES[0].inputs())
    assert rows_of(table, "0").keys() == all_rows()
    for quantity in ("c_nfc", "c_haar_nfc", "dc_nfc", "w0_nfc", "relative_change"):
        assert note_of(table, quantity, "0") == "no initial weights given"
        assert table[table.quantity == quantity].value.isna().all()


def test_reasons_of_fact() -> None:
    case = CASES[0]
    table = measure(case.network(), case.inputs(), weight_decay=0.1)
    assert note_of(table, "fact", "0") == "no gradient given"
    gradients = {name: torch.full_like(layer.weight, math.inf) for name, layer in measured(case).items()}
    table = frame(measured(case), weight_decay=0.1, gradients=gradients)
    assert note_of(table, "fact", "0") == "the gradient is not finite"


def measured(case: Case) -> dict[str, LayerCovariance]:
    return layers_of(case.network(), case.inputs())


def test_limit_at_the_initial_weights() -> None:
    case = CASES[0]
    model, inputs = case.network(), case.inputs()
    gradients = weight_gradients(model, inputs, targets_for(model, inputs), squared_error)
    updates = {name: -gradient.sign() for name, gradient in gradients.items()}
    table = measure(
        model,
        inputs,
        targets=targets_for(model, inputs),
        loss=squared_error,
        initial=model.state_dict(),
        updates=updates,
    )
    extra: set[Row] = {("c_nfc_update", c, p) for c in CORRELATIONS for p in POWERS}
    extra |= {(f"c_haar_nfc_update{end}", c, "1") for end in ("", "_sd") for c in CORRELATIONS}
    extra |= {(f"c_{factor}_update{end}", None, None) for factor in FACTORS for end in ("", "_haar", "_haar_sd")}
    extra |= {("c_permuted_nfc_update", c, "1") for c in CORRELATIONS}
    extra |= {(f"c_left_nfc_update{end}", c, None) for c in CORRELATIONS for end in ("", "_haar", "_haar_sd")}
    extra |= {(f"c_spectrum_slope_update{end}", None, None) for end in ("", "_error", "_r2")}
    assert rows_of(table, "0").keys() == all_rows() | extra
    assert note_of(table, "c_nfc", "0") == "limit t -> 0+, gradient flow"
    assert note_of(table, "c_nfc_update", "0") == "limit t -> 0+, along the optimizer's first update"
    assert "0/0" in note_of(table, "dc_nfc", "0")
    assert value_of(table, ("relative_change", None, None), "0") == 0.0
    for name, layer in measured(case).items():
        k = layer.covariance
        for quantity, v in (("c_nfc", gradients[name]), ("c_nfc_update", updates[name])):
            for correlation, expected in rho(v.T @ v, v.T @ k @ v).items():
                assert value_of(table, (quantity, correlation, "1"), name) == pytest.approx(expected, abs=1e-10)
            for factor, expected in factors(v, k).items():
                row = (quantity.replace("nfc", factor), None, None)
                assert value_of(table, row, name) == pytest.approx(expected, abs=1e-10)
            for correlation, expected in rho(v @ v.T, k).items():
                left = (quantity.replace("nfc", "left_nfc"), correlation, None)
                assert value_of(table, left, name) == pytest.approx(expected, abs=1e-10, nan_ok=True)
            row = (quantity.replace("nfc", "spectrum_slope"), None, None)
            assert value_of(table, row, name) == pytest.approx(line(v, k), abs=1e-8)
            drawn = [rho(v.T @ v, v.T @ q[0] @ k @ q[0].T @ v)["cosine"] for q in rotations(len(k), 1, 0)]
            control = value_of(table, (quantity.replace("nfc", "haar_nfc"), "cosine", "1"), name)
            assert control == pytest.approx(sum(drawn) / len(drawn), abs=4 * torch.tensor(drawn).std().item())


def test_limit_without_a_gradient_is_undefined() -> None:
    case = CASES[0]
    table = measure(case.network(), case.inputs(), initial=case.network())
    assert rows_of(table, "0").keys() == all_rows()
    assert note_of(table, "c_nfc", "0") == "W equals W0 and no gradient given"
    assert table[table.quantity == "c_nfc"].value.isna().all()


def test_limit_agrees_with_a_tiny_step() -> None:
    case = CASES[0]
    start, inputs = case.network(), case.inputs()
    limit = measure(start, inputs, targets=targets_for(start, inputs), loss=squared_error, initial=start)
    moved = measure(trained(start, inputs, steps=1, lr=1e-6), inputs, initial=start)
    for name in ("0", "2", "4"):
        for correlation in CORRELATIONS:
            for power in POWERS:
                row = ("c_nfc", correlation, power)
                assert value_of(moved, row, name) == pytest.approx(value_of(limit, row, name), abs=1e-4), (name, row)
    structure = limit.quantity.str.contains("^c_(?:directional|spectral|left|permuted|spectrum)")
    for name in ("0", "2", "4"):
        found = rows_of(moved, name)
        for of_limit, value in rows_of(limit[structure], name).items():
            assert found[of_limit] == pytest.approx(value, abs=1e-4, nan_ok=True), (name, of_limit)


def test_a_frozen_layer_of_a_network_that_moved_has_no_limit() -> None:
    case = CASES[0]
    start, inputs = case.network(), case.inputs()
    model = trained(start, inputs)
    targets = targets_for(model, inputs)
    gradients = weight_gradients(model, inputs, targets, squared_error)
    with torch.no_grad():
        model.get_parameter("0.weight").copy_(start.get_parameter("0.weight"))
    table = measure(model, inputs, targets=targets, loss=squared_error, initial=start, updates=gradients)
    assert note_of(table, "c_nfc", "0") == "W equals W0 although the rest of the network has moved: 0/0"
    assert rows_of(table, "0").keys() == all_rows()


def test_a_zero_gradient_has_no_limit() -> None:
    case = CASES[0]
    gradients = {name: torch.zeros_like(layer.weight) for name, layer in measured(case).items()}
    table = frame(measured(case), initial=measured(case), gradients=gradients)
    assert note_of(table, "c_nfc", "0") == "limit t -> 0+, gradient flow: the NFM is zero"


def test_dead_layers_are_undefined_with_a_reason() -> None:
    model, inputs = CASES[0].network(), CASES[0].inputs()
    with torch.no_grad():
        model.get_parameter("2.weight").zero_()
    table = measure(model, inputs)
    assert note_of(table[table.quantity == "uc_nfc"], "uc_nfc", "2") == "the NFM is zero"
    assert note_of(table, "uc_nfc", "0") == "the matrix compared with the NFM is zero"
    assert note_of(table, "stable_rank_k", "0") == "the matrix is zero"
    assert note_of(table, "subspace_overlap", "0") == "AGOP has rank 0, fewer than the 3 directions compared"
    assert note_of(table, "commutator", "0") == "AGOP is zero"


def test_overflow_is_undefined_with_a_reason() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    with torch.no_grad():
        for name in ("1.weight", "2.weight"):
            model.get_parameter(name).fill_(1e30)
    table = measure(model, torch.randn(5, 3), initial=model)
    assert note_of(table, "uc_nfc", "0") == "K is not finite: the network overflows"
    assert table[table.layer == "0"].value.isna().all()
    assert rows_of(table, "0").keys() == all_rows()
    assert table[(table.layer == "2") & (table.quantity == "uc_nfc")].value.notna().any()


def test_measure_layer_gives_rows_without_seed_and_step() -> None:
    layer = measured(CASES[0])["0"]
    rows = measure_layer(layer)
    table = measure(CASES[0].network(), CASES[0].inputs())
    assert list(rows[0]) == [column for column in table if column not in ("seed", "step")]
    assert len(rows) == len(table[table.layer == "0"])


def test_the_control_is_the_same_at_every_step_and_beside_any_layers() -> None:
    model, inputs = CASES[0].network(), CASES[0].inputs()
    whole, alone = measure(model, inputs, step=1), measure(model, inputs, step=2, layers=["2"])
    other = measure(model, inputs, seed=1)
    row = ("haar_nfc", "cosine", "1")
    assert value_of(whole, row, "2") == value_of(alone, row, "2")
    assert value_of(whole, row, "2") != value_of(other, row, "2")


@pytest.mark.parametrize(
    "options", [{}, {"estimator": "sketched"}, {"samples": 12}], ids=["exact", "sketched", "drawn"]
)
def test_a_measured_start_can_be_kept(options: dict[str, Any]) -> None:
    """The initial network is measured once, and the network in training at every step."""
    case = CASES[0]
    start, inputs = case.network(), case.inputs()
    model = trained(start, inputs)
    kept = layers_of(start, inputs, **options)
    given = frame(layers_of(model, inputs, **options), initial=kept, seed=0)
    table = measure(model, inputs, initial=start.state_dict(), **options)
    pd.testing.assert_frame_equal(given, table)


def test_what_is_left_out_goes_with_the_table() -> None:
    model = nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 2))
    table = measure(model, torch.randint(5, (4, 2)))
    assert table.attrs["left_out"] == {"0": "embedding: its weight is indexed, not multiplied"}
    assert set(table.layer) == {"2"}
