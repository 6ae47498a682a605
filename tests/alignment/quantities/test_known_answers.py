"""Networks and matrices for which the value of a quantity is known in closed form."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from nfa.alignment import CORRELATIONS, correlations, measure, power_middle, weight_gradients
from nfa.alignment.quantities.feature_matrix import FeatureMatrix
from nfa.alignment.quantities.rotations import haar
from nfa.alignment.quantities.weights import localisation
from tests.alignment.comparing import assert_matrix_close, rows_of, value_of
from tests.alignment.networks import CASES, squared_error, targets_for, trained
from tests.alignment.reference import Row


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def covariance_of(eigenvalues: Tensor, seed: int) -> Tensor:
    rotation = haar(len(eigenvalues), torch.Generator().manual_seed(seed))
    return (rotation * eigenvalues) @ rotation.T


def test_readout_is_aligned_at_power_one() -> None:
    table = measure(CASES[0].network(), CASES[0].inputs())
    for correlation in CORRELATIONS:
        assert value_of(table, ("uc_nfc", correlation, "1"), "4") == pytest.approx(1.0, abs=1e-12)
        assert value_of(table, ("haar_nfc", correlation, "1"), "4") == pytest.approx(1.0, abs=1e-12)
    assert value_of(table, ("commutator", None, None), "4") == pytest.approx(0.0, abs=1e-12)
    assert value_of(table, ("subspace_overlap", None, None), "4") == pytest.approx(1.0, abs=1e-12)
    assert value_of(table, ("stable_rank_k", None, None), "4") == pytest.approx(3.0, abs=1e-12)


@pytest.mark.parametrize("shape", [(6, 9), (9, 6), (6, 6)])
def test_identity_covariance_gives_one(shape: tuple[int, int]) -> None:
    for name, value in correlations(draw(*shape), torch.eye(shape[0], dtype=torch.float64)).items():
        assert value.value == pytest.approx(1.0, abs=1e-13), name


@pytest.mark.parametrize("exponent", [1.0, 0.5, 0.2])
def test_orthonormal_rows_leave_only_the_spectrum(exponent: float) -> None:
    """F projects, so cosine = tr(K^s) / sqrt(k tr(K^2s)), whatever K's directions."""
    spectrum = torch.tensor([0.1, 0.4, 1.0, 2.0, 5.0], dtype=torch.float64)
    expected = (spectrum**exponent).sum() / (5 * (spectrum ** (2 * exponent)).sum()).sqrt()
    for seed in range(3):
        weight = haar(8, torch.Generator().manual_seed(seed))[:5]
        middle = power_middle(weight, covariance_of(spectrum, seed + 10), exponent)
        assert correlations(weight, middle)["cosine"].value == pytest.approx(expected.item(), abs=1e-12)


def balanced_network(widths: list[int], scale: float, seed: int) -> nn.Sequential:
    """A deep linear network with W_{l+1}^T W_{l+1} = W_l W_l^T at the start."""
    generator = torch.Generator().manual_seed(seed)
    rank = min(widths)
    bases = [haar(width, generator)[:, :rank] for width in widths]
    values = scale * (0.5 + torch.rand(rank, dtype=torch.float64, generator=generator))
    layers = []
    for source, target in pairwise(bases):
        layer = nn.Linear(len(source), len(target), bias=False, dtype=torch.float64)
        with torch.no_grad():
            layer.weight.copy_((target * values) @ source.T)
        layers.append(layer)
    return nn.Sequential(*layers)


def test_deep_linear_networks_align_at_the_depth_matched_power() -> None:
    start = balanced_network([7, 6, 8, 5], 0.6, seed=0)
    inputs = draw(40, 7, seed=1)
    model = trained(start, inputs, steps=300, lr=0.01)
    table = measure(model, inputs, initial=start)
    assert min(value_of(table, ("relative_change", None, None), layer) for layer in "012") > 0.03
    for layer in "012":
        for correlation in ("cosine", "pearson"):
            assert value_of(table, ("uc_nfc", correlation, "depth"), layer) > 0.99999
    assert value_of(table, ("uc_nfc", "pearson", "1"), "0") < 0.98


def test_balanced_initialisation_is_exact() -> None:
    table = measure(balanced_network([7, 6, 8, 5], 0.8, seed=2), draw(10, 7))
    for layer in "012":
        assert value_of(table, ("uc_nfc", "pearson", "depth"), layer) == pytest.approx(1.0, abs=1e-10)


def test_depth_power_survives_float32() -> None:
    """K of a wide linear network has rank C; the cut-off keeps its float32 null space from a small power."""
    model = balanced_network([40, 40, 40, 40, 40, 3], 0.9, seed=3)
    exact, single = measure(model, draw(30, 40)), measure(model.float(), draw(30, 40).float())
    for layer in "01234":
        row = ("uc_nfc", "pearson", "depth")
        assert value_of(exact, row, layer) == pytest.approx(1.0, abs=1e-9)
        assert value_of(single, row, layer) == pytest.approx(1.0, abs=1e-5)


def test_permuting_hidden_units_changes_nothing() -> None:
    """The layer whose inputs are permuted keeps its values, too; the control keeps its within the standard error."""
    case = CASES[0]
    start, inputs = case.network(), case.inputs()
    model = trained(start, inputs)
    original = measure(model, inputs, initial=start)
    permutation = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    for network in (start, model):
        with torch.no_grad():
            network.get_parameter("0.weight").copy_(network.get_parameter("0.weight")[permutation])
            network.get_parameter("0.bias").copy_(network.get_parameter("0.bias")[permutation])
            network.get_parameter("2.weight").copy_(network.get_parameter("2.weight")[:, permutation])
    permuted = measure(model, inputs, initial=start)
    control = original.quantity.str.contains("haar|permuted")
    for layer in "024":
        found = rows_of(permuted[~control], layer)
        for row, value in rows_of(original[~control], layer).items():
            assert found[row] == pytest.approx(value, abs=1e-9, nan_ok=True), (layer, row)
    means = original.quantity == "haar_nfc"
    off = (original[means].value - permuted[means].value).abs()
    assert (off <= 4 * original[means].stderr + 4 * permuted[means].stderr + 1e-9).all()


class Scaled(nn.Module):
    """A network times a constant."""

    def __init__(self, network: nn.Module, factor: float) -> None:
        """Wrap a network."""
        super().__init__()
        self.network, self.factor = network, factor

    def forward(self, x: Tensor) -> Tensor:
        """The factor times the network's output."""
        return self.factor * self.network(x)  # type: ignore[no-any-return]


def test_scaling_the_output_changes_nothing_but_the_limit_and_fact() -> None:
    case = CASES[0]
    start, inputs = case.network(), case.inputs()
    model = trained(start, inputs)
    targets = targets_for(model, inputs)

    def table_of(factor: float, network: nn.Module) -> dict[Row, float]:
        scaled = Scaled(network, factor)
        table = measure(
            scaled,
            inputs,
            targets=targets,
            loss=squared_error,
            initial=Scaled(start, factor),
            updates=weight_gradients(scaled, inputs, targets, squared_error),
            weight_decay=0.1,
        )
        return rows_of(table, "network.2")

    once, tenfold = table_of(1.0, model), table_of(10.0, model)
    for row, value in once.items():
        same = tenfold[row] == pytest.approx(value, abs=1e-10, nan_ok=True)
        assert same or row[0] == "fact", row
    assert tenfold["fact", "cosine", None] != pytest.approx(once["fact", "cosine", None], abs=1e-6)
    once, tenfold = table_of(1.0, start), table_of(10.0, start)
    assert tenfold["c_nfc", "cosine", "1"] != pytest.approx(once["c_nfc", "cosine", "1"], abs=1e-6)


def test_scale_of_weights_and_covariance_cannot_overflow() -> None:
    weight, middle = draw(5, 7), draw(5, 5, seed=1)
    middle = middle @ middle.T
    plain = correlations(weight, middle)
    for factor in (1e-120, 1e120):
        for name, value in correlations(weight * factor, middle / factor).items():
            assert value.value == pytest.approx(plain[name].value, abs=1e-13), (factor, name)


def test_fact_is_one_when_the_product_is_the_weight() -> None:
    """A = W, the stationarity condition itself."""
    for shape in ((4, 7), (7, 4)):
        for name, value in FeatureMatrix(draw(*shape)).moments_of_product(draw(*shape)).correlations().items():
            assert value.value == pytest.approx(1.0, abs=1e-13), name


def test_fact_is_one_at_the_ridge_solution() -> None:
    """Linear regression in closed form: (1/n) sum_i |W x_i - y_i|^2 / C + (lambda/2) |W|^2 is stationary."""
    inputs, targets, decay = draw(50, 6), draw(50, 3, seed=1), 0.3
    n, outputs = targets.shape
    moment = inputs.T @ inputs * 2 / (n * outputs)
    solution = (targets.T @ inputs * 2 / (n * outputs)) @ torch.linalg.inv(
        moment + decay * torch.eye(6, dtype=torch.float64)
    )
    model = nn.Linear(6, 3, bias=False, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(solution)
    table = measure(model, inputs, targets=targets, loss=squared_error, weight_decay=decay)
    for correlation in CORRELATIONS:
        assert value_of(table, ("fact", correlation, None), "") == pytest.approx(1.0, abs=1e-12)


def test_fact_is_one_after_training_with_weight_decay() -> None:
    """At every layer of a smooth network at a stationary point of the decayed loss."""
    inputs, decay = draw(30, 4), 0.01
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    targets = targets_for(model, inputs)
    weights = [parameter for parameter in model.parameters() if parameter.dim() == 2]
    optimizer = torch.optim.LBFGS(
        model.parameters(), max_iter=2000, tolerance_grad=1e-10, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = squared_error(model(inputs), targets) + decay / 2 * sum(w.square().sum() for w in weights)
        loss.backward()
        return loss

    optimizer.step(closure)
    gradients = weight_gradients(model, inputs, targets, squared_error)
    table = measure(model, inputs, targets=targets, loss=squared_error, weight_decay=decay)
    for layer in "024":
        weight = model.get_parameter(f"{layer}.weight").detach()
        assert weight.norm() > 0.3
        assert_matrix_close(-gradients[layer] / decay, weight, 1e-5, "the stationarity condition")
        for correlation in CORRELATIONS:
            assert value_of(table, ("fact", correlation, None), layer) == pytest.approx(1.0, abs=1e-8)


@pytest.mark.parametrize(
    ("weight", "expected"),
    [(torch.eye(3, 7), 1.0), (-torch.ones(4, 5), 0.2), (torch.tensor([[0.0, 0.0], [3.0, 3.0], [0.0, 1e-30]]), 0.75)],
    ids=["one input each", "all equal", "a dead unit and a tiny one"],
)
def test_localisation(weight: torch.Tensor, expected: float) -> None:
    assert localisation(weight.double()).value == pytest.approx(expected, abs=1e-12)
    assert math.isnan(localisation(torch.zeros(2, 3)).value)
