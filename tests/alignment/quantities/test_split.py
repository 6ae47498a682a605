"""The directional and the spectral factor: known answers, invariances, controls, and their derivatives."""

import itertools
from math import isnan, sqrt

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn

from nfa.alignment import measure
from nfa.alignment.covariance.blocks import Blocks, OuterSum
from nfa.alignment.quantities import haar as haar_module
from nfa.alignment.quantities import rotations as rotations_module
from nfa.alignment.quantities.correlation import EQUAL_OFF_DIAGONAL
from nfa.alignment.quantities.feature_matrix import FeatureMatrix, correlations
from nfa.alignment.quantities.haar import haar_control
from nfa.alignment.quantities.rotations import TurnedCovariance, haar, rotations
from nfa.alignment.quantities.sketch import Estimator
from nfa.alignment.quantities.sketch_forms import Forms
from nfa.alignment.quantities.sketched_split import own_aligned, slopes, unbiased_split
from nfa.alignment.quantities.split import FACTORS, Factors, LeftBasis, split, tie_width
from tests.alignment.comparing import value_of
from tests.alignment.quantities.drawing import draw_pair, generator, seeds, shapes
from tests.alignment.quantities.test_sketch import jacobians, weight_of
from tests.alignment.reference import factors, in_left_basis, rho

DIRECTIONAL, SPECTRAL = ((factor, None, None) for factor in FACTORS)  # as a row of the table, and as a number drawn


def basis_of(weight: Tensor) -> LeftBasis:
    return LeftBasis(FeatureMatrix(weight), tie_width(weight))


def factors_of(weight: Tensor, covariance: Tensor) -> dict[str, float]:
    return {name: value.value for name, value in split(basis_of(weight), covariance).items()}


def drawn_covariance(k: int, seed: int, rank: int | None = None) -> Tensor:
    root = torch.randn(k, rank or k, dtype=torch.float64, generator=generator(seed))
    return root @ root.T / k


@settings(max_examples=60, deadline=None)
@given(shapes, seeds)
def test_the_product_is_the_correlation(shape: tuple[int, int], seed: int) -> None:
    weight, covariance = draw_pair(shape, 3, seed)
    found = factors_of(weight, covariance)
    expected = correlations(weight, covariance, ("cosine",))["cosine"].value
    assert abs(found["directional"] * found["spectral"] - expected) < 1e-12
    for name, value in factors(weight, covariance).items():
        assert abs(found[name] - value) < 1e-9


def test_the_product_is_the_correlation_of_blocks() -> None:
    weight = torch.randn(3, 4, 5, dtype=torch.float64, generator=generator(0))
    covariance = torch.stack([drawn_covariance(4, seed) for seed in range(3)])
    found = factors_of(weight, covariance)
    expected = correlations(weight, covariance, ("cosine",))["cosine"].value
    assert abs(found["directional"] * found["spectral"] - expected) < 1e-12
    assert found == pytest.approx(factors(torch.block_diag(*weight), torch.block_diag(*covariance)), abs=1e-10)


@pytest.mark.parametrize("shape", [(5, 8), (8, 5), (4, 4)])
def test_functions_of_the_weights_are_aligned(shape: tuple[int, int]) -> None:
    """K = I, and K = (W W^T)^p: K is diagonal in the left singular basis."""
    weight = torch.randn(*shape, dtype=torch.float64, generator=generator(1))
    gram = weight @ weight.T
    for covariance in (torch.eye(shape[0], dtype=torch.float64), gram, gram @ gram):
        assert factors_of(weight, covariance)["directional"] == pytest.approx(1.0, abs=1e-12)
    assert factors_of(weight, torch.eye(shape[0], dtype=torch.float64))["spectral"] == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(24, 40), (40, 24), (4, 4), (256, 256)])
def test_equal_singular_values_count_as_aligned(shape: tuple[int, int], dtype: torch.dtype) -> None:
    """Any basis is a singular basis, so K is diagonal in one of them; the spectral factor is the whole correlation.

    ``nn.init.orthogonal_`` leaves singular values that differ by rounding of the number type.
    """
    torch.manual_seed(0)
    made = torch.float64 if dtype == torch.float64 else torch.float32
    weight = nn.init.orthogonal_(torch.empty(*shape, dtype=made)).to(dtype)
    covariance = drawn_covariance(shape[0], 2)
    found = factors_of(weight, covariance)
    assert found["directional"] == pytest.approx(1.0, abs=1e-12)
    expected = correlations(weight.double(), covariance, ("cosine",))["cosine"].value
    assert found["spectral"] == pytest.approx(expected, abs=1e-9)


def test_a_pair_of_equal_singular_values() -> None:
    """The pair's block of M counts whatever basis of it is taken; the rest is compared entry by entry."""
    left, right = haar(4, generator(3)), haar(4, generator(4))
    weight = (left * torch.tensor([3.0, 2.0, 2.0, 1.0], dtype=torch.float64)) @ right.T
    inner = drawn_covariance(4, 5)
    root = torch.tensor([3.0, 2.0, 2.0, 1.0], dtype=torch.float64)
    middle = root[:, None] * inner * root
    kept = middle.diagonal().square().sum() + 2 * middle[1, 2] ** 2
    expected = float((kept / middle.square().sum()).sqrt())
    found = factors_of(weight, left @ inner @ left.T)
    assert found["directional"] == pytest.approx(expected, abs=1e-12)
    cosine = correlations(weight, left @ inner @ left.T, ("cosine",))["cosine"].value
    assert found["directional"] * found["spectral"] == pytest.approx(cosine, abs=1e-12)


def test_distinct_singular_values_of_a_drawn_matrix_are_not_tied() -> None:
    for shape in ((256, 256), (64, 784)):
        weight = torch.randn(*shape, generator=generator(6)) / 20
        assert basis_of(weight).tied is None


def test_half_precision_does_not_tie_the_singular_values_of_a_large_matrix() -> None:
    """A width that did not shrink with their number chained most of them, and gave .225 in place of .216."""
    weight = (torch.randn(512, 512, generator=generator(18)) / 20).bfloat16()
    covariance = drawn_covariance(512, 19, rank=10)
    expected = factors(weight.double(), covariance)["directional"]
    assert factors_of(weight, covariance)["directional"] == pytest.approx(expected, rel=2e-3)


def test_an_update_beyond_half_precision_ties_nothing() -> None:
    """An update that float16 cannot hold has singular values all the same; infinity as their size tied them all."""
    model, inputs = network(torch.float16)
    update = torch.randn(9, 6, dtype=torch.float64, generator=generator(20))
    row = ("c_directional_update", None, None)
    small, large = (
        value_of(measure(model, inputs, initial=model, updates={"0": update * scale}), row, "0") for scale in (1.0, 1e6)
    )
    assert large == pytest.approx(small, abs=1e-12)
    assert small < 0.99


def network(dtype: torch.dtype = torch.float64, outputs: int = 3) -> tuple[nn.Sequential, Tensor]:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 7), nn.Tanh(), nn.Linear(7, outputs))
    return model.to(dtype), torch.randn(40, 6, generator=generator(7)).to(dtype)


def test_single_precision_agrees() -> None:
    double, single = (measure(*network(dtype)) for dtype in (torch.float64, torch.float32))
    for layer in ("0", "2", "4"):
        for row in (DIRECTIONAL, SPECTRAL, ("left_nfc", "cosine", None)):
            assert value_of(single, row, layer) == pytest.approx(value_of(double, row, layer), abs=2e-5)


def test_one_output() -> None:
    """K of the last hidden layer has rank one per sample; the readout, with K = 1, is aligned."""
    table = measure(*network(outputs=1))
    assert value_of(table, DIRECTIONAL, "4") == 1.0
    product = value_of(table, DIRECTIONAL, "2") * value_of(table, SPECTRAL, "2")
    assert product == pytest.approx(value_of(table, ("uc_nfc", "cosine", "1"), "2"), abs=1e-12)


def test_directions_without_strengths() -> None:
    """K diagonal in the basis with its strengths reversed: UC-NFC is low, yet the directions agree."""
    weight = torch.diag(torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64))
    covariance = torch.diag(torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
    found = factors_of(weight, covariance)
    assert found["directional"] == pytest.approx(1.0, abs=1e-12)
    assert found["spectral"] == pytest.approx(1 / sqrt(98), abs=1e-12)


def controls(weight: Tensor, covariance: Tensor, seed: int = 0) -> haar_module.Controls:
    basis = basis_of(weight)
    turned = TurnedCovariance(torch.linalg.eigvalsh(covariance)[None], min(weight.shape), seed)
    return haar_control(basis, turned, {"1": 1.0}, 2.0**-52)


@pytest.mark.parametrize("shape", [(6, 9), (9, 6)])
def test_controls_are_those_of_turned_matrices(shape: tuple[int, int]) -> None:
    weight, covariance = draw_pair(shape, shape[0], 8)
    found = controls(weight, covariance, seed=4)
    spectrum = torch.linalg.eigvalsh(covariance).diag()
    drawn = [q[0] for q in rotations(shape[0], 1, 4)]
    turned = [q @ spectrum @ q.T for q in drawn]
    of_weights = [q @ spectrum @ q.T for q in in_left_basis(drawn, weight)]
    for name in FACTORS:
        draws = torch.tensor([factors(weight, k)[name] for k in of_weights], dtype=torch.float64)
        assert found.means[name, None, None].value == pytest.approx(draws.mean().item(), abs=1e-10)
        assert found.deviations[name, None, None].value == pytest.approx(draws.std().item(), abs=1e-10)
    for name in ("cosine", "pearson", "offdiagonal"):
        draws = torch.tensor([rho(weight @ weight.T, k)[name] for k in turned], dtype=torch.float64)
        assert found.means["left", name, None].value == pytest.approx(draws.mean().item(), abs=1e-10)


def low_rank_pair(k: int, d: int) -> tuple[Tensor, Tensor]:
    """A change of the weights after few steps, and K of few outputs: both have few directions of k."""
    weight = torch.randn(k, 2, dtype=torch.float64, generator=generator(13)) * torch.tensor([1.0, 0.4])
    return weight @ torch.randn(2, d, dtype=torch.float64, generator=generator(14)), drawn_covariance(k, 15, rank=3)


def test_matrices_of_low_rank_have_controls_in_a_wide_layer() -> None:
    """Turned at random, K hardly meets the few directions of W: |W^T Q K Q^T W| is small, but it is no rounding.

    Beyond 256 rows the rotations are in float32.
    """
    k = 300
    weight, covariance = low_rank_pair(k, 20)
    found = controls(weight, covariance)
    spectrum, feature = torch.linalg.eigvalsh(covariance).diag(), weight.T @ weight
    drawn = in_left_basis([q[0].double() for q in rotations(k, 1, 0)], weight)
    turned = [q @ spectrum @ q.T for q in drawn]
    cosine = torch.tensor([rho(feature, weight.T @ each @ weight)["cosine"] for each in turned])
    assert found.means["nfc", "cosine", "1"].value == pytest.approx(cosine.mean().item(), abs=1e-5)
    for name in FACTORS:
        assert 0 < found.deviations[name, None, None].value < 0.2


@pytest.mark.parametrize("many_columns", [1, 100])
@pytest.mark.parametrize("tied", [False, True])
def test_the_expectation_over_rotations_is_near_the_mean_of_draws(
    tied: bool, many_columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where k is too large to draw, weak directions of W enter the controls by second moments over Haar measure."""
    k, d = 120, 90
    weight = torch.randn(k, d, dtype=torch.float64, generator=generator(9)) * torch.linspace(0.2, 2, d)
    if tied:
        left, _, right = torch.linalg.svd(weight, full_matrices=False)
        weight = (left * torch.linspace(1, 3, d, dtype=torch.float64).round()) @ right
    covariance = drawn_covariance(k, 10, rank=8)
    drawn = controls(weight, covariance)
    monkeypatch.setattr(haar_module, "MANY_COLUMNS", many_columns)
    monkeypatch.setattr(rotations_module, "LARGEST_DRAWN", 1)
    monkeypatch.setattr(rotations_module, "STRONGEST", 10)
    expected = controls(weight, covariance)
    for key, value in expected.means.items():
        if key == ("left", "offdiagonal", None):
            continue
        error = drawn.means[key].stderr
        assert abs(value.value - drawn.means[key].value) < 5 * error + 2 / k, key
        assert "second moments" in value.note
        assert isnan(expected.deviations[key].value)


def test_controls_of_low_rank_are_means_of_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    """With few directions, the ratio of means over rotations is far from the mean of the ratio: .69 and .98 here."""
    weight, covariance = low_rank_pair(120, 20)
    drawn = controls(weight, covariance)
    monkeypatch.setattr(rotations_module, "LARGEST_DRAWN", 1)
    found = controls(weight, covariance)
    for key in (("nfc", "cosine", "1"), DIRECTIONAL, SPECTRAL):
        one, two = drawn.means[key], found.means[key]
        assert abs(one.value - two.value) < 5 * (one.stderr + two.stderr), key
        assert found.deviations[key].value == pytest.approx(20**0.5 * two.stderr)


def test_no_rotation_changes_a_large_orthonormal_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    """The expectation over the directions that are not drawn leaves sums that do not depend on Q as they are."""
    monkeypatch.setattr(rotations_module, "LARGEST_DRAWN", 1)
    monkeypatch.setattr(rotations_module, "STRONGEST", 3)
    found = controls(haar(9, generator(16)), drawn_covariance(9, 17))
    for key in (("nfc", "cosine", "1"), DIRECTIONAL, SPECTRAL):
        assert found.means[key].note == found.deviations[key].note == haar_module.NO_CONTROL


def test_no_rotation_changes_a_multiple_of_the_identity() -> None:
    weight = torch.randn(5, 7, dtype=torch.float64, generator=generator(11))
    found = controls(weight, torch.eye(5, dtype=torch.float64))
    notes = {key: value.note for key, value in found.means.items()}
    assert notes.pop(("left", "offdiagonal", None)) == EQUAL_OFF_DIAGONAL
    assert set(notes.values()) == {haar_module.NO_CONTROL}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_no_rotation_changes_an_orthonormal_matrix_however_rounded(dtype: torch.dtype) -> None:
    """Rounding of W left standard deviations of 1e-8, and a distance from the control of some of them.

    In float64 the matrix is one that was made in float32, whose singular values differ by that rounding.
    """
    torch.manual_seed(0)
    first = nn.Linear(30, 24, bias=False)
    nn.init.orthogonal_(first.weight)
    model = nn.Sequential(first, nn.Tanh(), nn.Linear(24, 3)).to(dtype)
    table = measure(model, torch.randn(60, 30, generator=generator(21)).to(dtype), layers=["0"])
    assert value_of(table, DIRECTIONAL, "0") == 1.0
    controls = table[
        table["quantity"].isin(("haar_nfc", "permuted_nfc", "directional_haar", "spectral_haar", "left_nfc_haar"))
    ]
    of_cosine = controls[controls["correlation"].isna() | controls["correlation"].eq("cosine")]
    assert len(of_cosine) == 7
    assert of_cosine["note"].eq(haar_module.NO_CONTROL).all()
    assert value_of(table, ("haar_nfc_sd", "pearson", "1"), "0") > 0


def two_sketches(first: Tensor, second: Tensor) -> Blocks:
    """One block of one sample."""
    return Blocks([1], [OuterSum(first[None], None)], [OuterSum(second[None], None)])


@pytest.mark.parametrize("shape", [(4, 7), (6, 3)])
@pytest.mark.parametrize("tied", [False, True])
def test_the_slopes_are_the_derivatives(shape: tuple[int, int], tied: bool) -> None:
    k, d = shape
    weight, root, direction = weight_of(k, d), weight_of(k, k, 5), weight_of(k, k, 6)
    if tied:
        left, singular, right = torch.linalg.svd(weight, full_matrices=False)
        singular[1] = singular[0]
        weight = (left * singular) @ right
    covariance, direction = root @ root.T / k, direction + direction.T
    basis = basis_of(weight)
    middle = basis.middle(basis.features.reduce(covariance))
    found = slopes(basis, middle, Factors.of(basis, middle))
    step = 1e-6
    for name in FACTORS:
        ends = [factors_of(weight, covariance + size * direction)[name] for size in (-step, step)]
        derivative = (found[name] * basis.features.reduce(direction)).sum().item()
        assert derivative == pytest.approx((ends[1] - ends[0]) / (2 * step), rel=1e-5, abs=1e-8), name


def test_the_quadratic_forms_are_unbiased_over_all_probes() -> None:
    """With two samples, two outputs and one probe per sketch, the mean over all 256 choices of signs is exact."""
    j, weight = jacobians(2, 2, 4), weight_of(4, 7)
    basis = basis_of(weight)
    middle = basis.middle(torch.einsum("nck,ncl->kl", j, j) / 2)
    truth = Factors.of(basis, middle).aligned
    signs = [torch.tensor(s, dtype=torch.float64).view(2, 2) for s in itertools.product((-1, 1), repeat=4)]
    total = 0.0
    for first, second in itertools.product(signs, repeat=2):
        rows = [torch.einsum("no,nok->nk", v, j) for v in (first, second)]
        k1, k2 = (row.T @ row / 2 for row in rows)
        total += (basis.diagonal_blocks(basis.middle(k1)) * basis.diagonal_blocks(basis.middle(k2))).sum().item()
    assert total / 256 == pytest.approx(truth, rel=1e-12)


@pytest.mark.parametrize("tied", [False, True])
def test_the_part_on_diagonal_blocks_is_unbiased_over_all_samples_drawn(tied: bool) -> None:
    """Every choice of 5 samples of 7: the mean of the finite-population form is the value of the whole data set."""
    j, weight = jacobians(7, 3, 4), weight_of(4, 6)
    if tied:
        left, _, right = torch.linalg.svd(weight, full_matrices=False)
        weight = (left * torch.tensor([2.0, 2.0, 1.0, 0.5], dtype=torch.float64)) @ right
    of_sample = torch.einsum("nck,ncl->nkl", j, j)
    basis = basis_of(weight)
    truth = Factors.of(basis, basis.middle(of_sample.mean(0)))
    aligned = []
    for chosen in itertools.combinations(range(7), 5):
        blocks = Blocks()
        for i in chosen:
            part = OuterSum(of_sample[i][None], None)
            blocks.add(1, part, part)
        estimator = Estimator.of(blocks, 7)
        forms = Forms(weight, blocks, estimator.first, estimator.second, torch.float64)
        observed = Factors.of(basis, basis.middle(estimator.first)).aligned
        aligned.append(estimator.of_population(observed, own_aligned(forms, basis)))
    assert sum(aligned) / len(aligned) == pytest.approx(truth.aligned, rel=1e-12)


def test_two_equal_sketches_give_the_exact_factors() -> None:
    weight, covariance = draw_pair((5, 8), 5, 12)
    estimator = Estimator.of(two_sketches(covariance, covariance), None)
    found, expected = unbiased_split(estimator, weight, tie_width(weight)), factors_of(weight, covariance)
    for name in FACTORS:
        assert found[name].value == pytest.approx(expected[name], abs=1e-12)


def test_sketches_that_contradict_each_other_give_no_number() -> None:
    weight = torch.eye(2, dtype=torch.float64) * torch.tensor([2.0, 1.0], dtype=torch.float64)
    first, second = torch.diag(torch.tensor([1.0, 0.0])).double(), torch.diag(torch.tensor([0.0, 1.0])).double()
    found = unbiased_split(Estimator.of(two_sketches(first, second), None), weight, tie_width(weight))
    assert all(value.value != value.value and "sketches" in value.note for value in found.values())


def test_a_small_covariance_of_a_wide_layer_has_the_same_controls() -> None:
    """They are computed in float32, in which the squares of a K of 1e-25 vanish."""
    weight = torch.randn(300, 320, dtype=torch.float64, generator=generator(13))
    covariance = drawn_covariance(300, 14, rank=5)
    found, expected = controls(weight, 1e-25 * covariance), controls(weight, covariance)
    for key, value in expected.means.items():
        assert found.means[key].value == pytest.approx(value.value, rel=1e-5), key
