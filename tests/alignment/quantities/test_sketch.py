"""Sketches: unbiased by enumeration of all signs, their derivatives, closed forms and invariances."""

import itertools
from math import isnan

import pytest
import torch
from torch import Tensor, nn

from nfa.alignment import CORRELATIONS, correlations, measure, measure_covariances
from nfa.alignment.covariance.blocks import MOST, Blocks, OuterSum, inner_products
from nfa.alignment.quantities.feature_matrix import FeatureMatrix
from nfa.alignment.quantities.sketch import Estimator, _variance
from nfa.alignment.quantities.sketch_forms import AllEntries, Forms, OffDiagonalEntries
from tests.alignment.networks import CASES
from tests.alignment.reference import rho


def jacobians(n: int, outputs: int, k: int, seed: int = 0) -> Tensor:
    """J of n samples, (n, C, k), of uneven size."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.rand(n, 1, 1, dtype=torch.float64, generator=generator) + 0.2
    return torch.randn(n, outputs, k, dtype=torch.float64, generator=generator) * sizes


def weight_of(k: int, d: int, seed: int = 1) -> Tensor:
    return torch.randn(k, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("d", [7, 2])
def test_the_squared_norm_is_unbiased_over_all_probes(d: int) -> None:
    """With two samples, two outputs and one probe per sketch, the mean over all 256 choices of signs is exact."""
    j, weight = jacobians(2, 2, 4), weight_of(4, d)
    exact = torch.einsum("nck,ncl->kl", j, j) / 2
    scaled = weight / weight.abs().max()
    truth = (scaled.T @ exact @ scaled).square().sum().item()
    signs = [torch.tensor(s, dtype=torch.float64).view(2, 2) for s in itertools.product((-1, 1), repeat=4)]
    found = []
    for first, second in itertools.product(signs, repeat=2):
        blocks = Blocks()
        for i in range(2):
            rows = [OuterSum.of_rows((v[i] @ j[i])[None, None]) for v in (first, second)]
            blocks.add(1, *rows)
        k1, k2 = blocks.means()
        found.append(((scaled.T @ k1[0] @ scaled) * (scaled.T @ k2[0] @ scaled)).sum().item())
        estimate = Estimator.of(blocks, None)
        assert estimate.correlations(weight, ("cosine",))["cosine"].value <= 1
    assert sum(found) / len(found) == pytest.approx(truth, rel=1e-12)


def test_the_squared_norm_is_unbiased_over_all_samples_drawn() -> None:
    """Every choice of 5 samples of 7: the mean of the finite-population form is the value of the whole data set."""
    j, weight = jacobians(7, 3, 4), weight_of(4, 6)
    of_sample = torch.einsum("nck,ncl->nkl", j, j)
    gram = weight @ weight.T

    def squared(covariance: Tensor) -> float:
        """|W^T K W|^2."""
        return float(((covariance @ gram) * (covariance @ gram).T).sum())

    found = []
    for chosen in itertools.combinations(range(7), 5):
        blocks = Blocks()
        for i in chosen:
            part = OuterSum(of_sample[i][None], None)
            blocks.add(1, part, part)
        estimator = Estimator.of(blocks, 7)
        found.append(estimator.of_population(squared(estimator.first[0]), sum(squared(of_sample[i]) for i in chosen)))
    assert sum(found) / len(found) == pytest.approx(squared(of_sample.mean(0)), rel=1e-12)


@pytest.mark.parametrize("estimator", ["exact", "sketched"])
def test_all_samples_drawn_is_the_value_of_these_samples(estimator: str) -> None:
    case = CASES[2]
    model, inputs = case.network(), case.inputs(40)
    plain = measure_covariances(model, inputs, estimator="exact").layers
    for name, layer in measure_covariances(model, inputs, estimator=estimator, samples=40, seed=3).layers.items():
        if layer.blocks is None:
            continue
        again = Estimator.of(layer.blocks, None).correlations(layer.weight)
        for correlation, value in Estimator.of(layer.blocks, layer.population).correlations(layer.weight).items():
            assert value.value == pytest.approx(again[correlation].value, abs=1e-12)
            if estimator == "exact":
                exact = correlations(layer.weight, plain[name].covariance)[correlation].value
                assert value.value == pytest.approx(exact, abs=1e-10)
                assert value.stderr == 0


@pytest.mark.parametrize("name", CORRELATIONS)
@pytest.mark.parametrize("shape", [(4, 7), (6, 3)])
def test_the_slope_is_the_derivative(name: str, shape: tuple[int, int]) -> None:
    k, d = shape
    weight, root, direction = weight_of(k, d), weight_of(k, k, 5), weight_of(k, k, 6)
    covariance, direction = root @ root.T / k, direction + direction.T
    features = FeatureMatrix(weight)
    part = OuterSum(covariance[None], None)
    forms = Forms(weight, Blocks([1], [part], [part]), covariance[None], covariance[None], torch.float64)
    over = OffDiagonalEntries(forms) if name == "offdiagonal" else AllEntries(forms)
    shift = 0.0 if name == "cosine" else 1 / over.count
    variance_f = over.squared_f - shift * over.sum_f**2
    variance = over.squared - shift * over.sums[0] ** 2
    value = (over.products[0] - shift * over.sum_f * over.sums[0]) / (variance_f * variance) ** 0.5
    slope = over.slope(1 / (variance_f * variance) ** 0.5, value / variance, shift)
    step = 1e-6

    def correlation(size: float) -> float:
        middle = covariance + size * direction
        return rho(weight.T @ weight, weight.T @ middle @ weight)[name]

    assert value == pytest.approx(correlation(0))
    found = (slope * features.reduce(direction)).sum().item()
    assert found == pytest.approx((correlation(step) - correlation(-step)) / (2 * step), rel=1e-6, abs=1e-9)


def test_the_readout_is_known_in_closed_form() -> None:
    case = CASES[0]
    layer = measure_covariances(case.network(), case.inputs(), estimator="sketched").layers["4"]
    assert layer.estimator == "exact"
    assert torch.equal(layer.covariance, torch.eye(3, dtype=torch.float64))


def test_tokens_of_the_output_count_in_the_closed_form() -> None:
    layer = measure_covariances(nn.Linear(4, 3), torch.randn(20, 5, 4), estimator="sketched").layers[""]
    exact = measure_covariances(nn.Linear(4, 3), torch.randn(20, 5, 4), estimator="exact").layers[""]
    assert torch.equal(layer.covariance, 5 * torch.eye(3, dtype=torch.float64))
    assert torch.equal(exact.covariance, layer.covariance)


def test_one_output_is_exact() -> None:
    model = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 1))
    inputs = torch.randn(64, 5)
    sketched, exact = (measure(model, inputs, estimator=e) for e in ("sketched", "exact"))
    assert set(sketched.estimator) == {"exact"}
    assert (sketched[sketched.quantity == "uc_nfc"].stderr.fillna(0) == 0).all()
    assert sketched.value.equals(exact.value)


def test_where_the_stream_is_cut_changes_nothing() -> None:
    case = CASES[4]
    model, inputs = case.network(), case.inputs(50)
    whole = measure_covariances(model, inputs, estimator="sketched").layers
    cut = measure_covariances(model, list(inputs.split(7)), estimator="sketched", batch_size=11).layers
    for name, layer in whole.items():
        assert torch.allclose(layer.covariance, cut[name].covariance, rtol=1e-10, atol=1e-13)


def test_merged_blocks_hold_the_same_samples() -> None:
    j = jacobians(3 * MOST, 2, 3)
    blocks = Blocks()
    for sample in j:
        blocks.add(1, OuterSum.of_rows(sample[None, :1]).compact(), OuterSum.of_rows(sample[None, 1:]).compact())
    assert len(blocks.sizes) <= MOST
    assert sum(blocks.sizes) == len(j)
    for found, expected in zip(blocks.means(), (j[:, 0], j[:, 1]), strict=True):
        assert torch.allclose(found[0], expected.T @ expected / len(j), rtol=1e-12)


def test_a_difference_of_rows_is_a_difference_of_matrices() -> None:
    rows = jacobians(2, 3, 5)
    parts = [OuterSum.of_rows(rows[i][None]) for i in range(2)]
    matrices = [OuterSum(part.matrix(), None) for part in parts]
    difference, dense = parts[0] - parts[1], matrices[0] - matrices[1]
    gram, weight = weight_of(5, 5) @ weight_of(5, 5).T, weight_of(5, 4)
    assert torch.allclose(difference.matrix(), dense.matrix())
    assert difference.squared(parts[0], gram[None]) == pytest.approx(dense.squared(matrices[0], gram[None]))
    assert torch.allclose(difference.diagonal(weight[None]), dense.diagonal(weight[None]))
    assert torch.allclose(inner_products([difference], gram[None]), inner_products([dense], gram[None]))


def test_equal_contributions_have_nearly_their_own_variance() -> None:
    many = _variance(torch.full((1000,), 0.1))
    assert 10 < many < 10.03
    assert _variance(torch.tensor([3.0])) > 9 * 2  # three degrees of freedom: much wider
    assert _variance(torch.zeros(5)) == 0


def test_few_samples_have_no_error_bar() -> None:
    table = measure(CASES[0].network(), CASES[0].inputs(3), estimator="sketched")
    rows = table[(table.quantity == "uc_nfc") & (table.power == "1") & (table.layer == "0")]
    assert rows.value.notna().all()
    assert all(isnan(error) for error in rows.stderr)
    assert rows.note.str.contains("fewer than 5 blocks").all()


def test_the_centred_quantities_use_the_same_probes() -> None:
    """K - K0 from the same probes is exactly zero where only a bias of the outputs has changed."""
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).double()
    moved = {name: value.clone() for name, value in model.state_dict().items()}
    moved["2.bias"] += 1
    start = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).double()
    start.load_state_dict(moved)
    inputs = torch.randn(200, 6, dtype=torch.float64)
    now, before = (measure_covariances(m, inputs, estimator="sketched").layers["0"] for m in (model, start))
    assert now.blocks is not None
    assert before.blocks is not None
    assert all(part.matrix().abs().max() < 1e-12 for part in (now.blocks - before.blocks).first)


@pytest.mark.parametrize("count", [64, 65, 100, 1000, 5001])
def test_blocks_of_a_stream_stay_even(count: int) -> None:
    """A few large blocks would make an error bar of a few contributions."""
    blocks = Blocks()
    for i in range(count):
        part = OuterSum.of_rows(torch.full((1, 1, 2), float(i)))
        blocks.add(1, part, part)
    sizes = blocks.sizes
    assert sum(sizes) == count
    assert MOST / 2 <= len(sizes) <= MOST
    assert len(set(sizes[:-1])) == 1
    assert sizes[-1] <= sizes[0]
    assert all(a is b for a, b in blocks)
    total = sum(i**2 for i in range(count))
    assert blocks.totals()[0][0, 0, 0].item() == pytest.approx(total, rel=1e-6)
