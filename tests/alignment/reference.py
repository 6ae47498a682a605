"""A reference for all quantities: dense d x d matrices, float64 throughout. ``jacobians`` computes its K."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from nfa.alignment.quantities.feature_matrix import FeatureMatrix
from nfa.alignment.quantities.haar import DRAWS_DECOMPOSED
from nfa.alignment.quantities.split import LeftBasis, tie_width

Row = tuple[str, str | None, str | None]  # quantity, correlation, power
CUT = 1e-13  # relative eigenvalue below which a matrix counts as rank-deficient


def rho(a: Tensor, b: Tensor, blocks: int = 1) -> dict[str, float]:
    """Compute the three correlations of two d x d matrices over the entries of their diagonal blocks."""
    inside = torch.block_diag(*[torch.ones(len(a) // blocks, len(a) // blocks)] * blocks).bool()
    off = inside & ~torch.eye(len(a), dtype=torch.bool)
    return {
        "cosine": _cosine(a.flatten(), b.flatten()),
        "pearson": _cosine(a[inside] - a[inside].mean(), b[inside] - b[inside].mean()),
        "offdiagonal": _cosine(a[off] - a[off].mean(), b[off] - b[off].mean()),
    }


def _cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()))


def matrix_power(matrix: Tensor, exponent: float) -> Tensor:
    """Raise a positive semi-definite matrix to a power, zero on its null space."""
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    keep = values > CUT * values[-1]
    return (vectors[:, keep] * values[keep] ** exponent) @ vectors[:, keep].T  # type: ignore[no-any-return]


def over(draws: Iterable[Mapping[str, float]]) -> dict[str, tuple[float, float]]:
    """Compute the mean and the standard deviation of each number over draws."""
    collected = list(draws)
    tensors = {name: torch.tensor([draw[name] for draw in collected], dtype=torch.float64) for name in collected[0]}
    return {name: (float(values.mean()), float(values.std())) for name, values in tensors.items()}


def factors(weight: Tensor, covariance: Tensor) -> dict[str, float]:
    """Compute the directional and the spectral factor from a singular value decomposition; no singular values tie."""
    left, singular, _ = torch.linalg.svd(weight, full_matrices=False)
    inner = left.T @ covariance @ left
    middle, strengths = singular[:, None] * inner * singular, singular.square()
    return {
        "directional": float(middle.diagonal().norm() / middle.norm()),
        "spectral": _cosine(strengths, strengths * inner.diagonal()),
    }


def in_left_basis(rotations: Sequence[Tensor], weight: Tensor, blocks: int = 1) -> list[Tensor]:
    """Turn rotations of K, (k, k), such that they act in W's left singular basis, the strongest direction first.

    Any orthonormal basis is as good as another; singular vectors are unique up to a sign, so that these are taken.
    """
    k, d = (side // blocks for side in weight.shape)
    parts = [weight[i * k : (i + 1) * k, i * d : (i + 1) * d] for i in range(blocks)]
    basis = LeftBasis(FeatureMatrix(torch.stack(parts)), tie_width(weight)).full_vectors.flip(2)
    others = torch.linalg.qr(basis, mode="complete").Q[..., basis.shape[-1] :]
    vectors = torch.block_diag(*torch.cat([basis, others], -1))
    return [vectors @ rotation for rotation in rotations]


def split_rows(
    prefix: str, weight: Tensor, covariance: Tensor, rotations: Sequence[Tensor], spectrum: Tensor
) -> dict[Row, float]:
    """Compute both factors and their controls, with rotations of K that act in W's left singular basis."""
    rows: dict[Row, float] = {(prefix + name, None, None): value for name, value in factors(weight, covariance).items()}
    for name, (mean, spread) in over(factors(weight, q @ spectrum @ q.T) for q in rotations).items():
        rows[f"{prefix}{name}_haar", None, None], rows[f"{prefix}{name}_haar_sd", None, None] = mean, spread
    return rows


def line(weight: Tensor, covariance: Tensor) -> float:
    """Fit log kappa against log a by least squares, each direction weighted by a^2."""
    left, singular, _ = torch.linalg.svd(weight, full_matrices=False)
    kept = singular > CUT * singular[0]
    kappa, strengths = (left.T @ covariance @ left).diagonal()[kept], singular[kept].square()
    root = strengths  # the root of the weights a^2
    columns = torch.stack([strengths.log(), torch.ones_like(strengths)], 1) * root[:, None]
    return float(torch.linalg.lstsq(columns, (kappa.log() * root)[:, None]).solution[0])


def reference_rows(
    weight: Tensor,
    covariance: Tensor,
    powers: Mapping[str, float],
    outputs: int,
    *,
    initial_weight: Tensor,
    initial_covariance: Tensor,
    gradient: Tensor,
    weight_decay: float,
    rotations: Sequence[Tensor],
    blocks: int = 1,
) -> dict[Row, float]:
    """Compute every quantity of a layer that has moved from W0, by dense formulas; blocks are on the diagonal."""
    w, k, w0, k0 = weight, covariance, initial_weight, initial_covariance
    change, f, g = w - w0, w.T @ w, w.T @ k @ w
    rows: dict[Row, float] = {}

    def add(quantity: str, a: Tensor, b: Callable[[float], Tensor]) -> None:
        for power, exponent in powers.items():
            for name, value in rho(a, b(exponent), blocks).items():
                rows[quantity, name, power] = value

    add("uc_nfc", f, lambda s: matrix_power(g, s))
    add("c_nfc", change.T @ change, lambda s: matrix_power(change.T @ k @ change, s))
    add("w0_nfc", w0.T @ w0, lambda s: matrix_power(w0.T @ k @ w0, s))
    for name, value in rho(change.T @ change, change.T @ (k - k0) @ change, blocks).items():
        rows["dc_nfc", name, "1"] = value
    size = len(k) // blocks
    spectrum = torch.block_diag(
        *(torch.linalg.eigvalsh(k[i : i + size, i : i + size]).diag() for i in range(0, len(k), size))
    )
    of_weights, of_change = (in_left_basis(rotations, each, blocks) for each in (w, change))
    for power, exponent in powers.items():
        used = of_weights if exponent == 1 else of_weights[:DRAWS_DECOMPOSED]
        draws = [rho(f, matrix_power(w.T @ q @ spectrum @ q.T @ w, exponent), blocks) for q in used]
        for name in draws[0]:
            values = torch.tensor([draw[name] for draw in draws], dtype=torch.float64)
            rows["haar_nfc", name, power] = float(values.mean())
            if power == "1":
                rows["haar_nfc_sd", name, "1"] = float(values.std())
    rows |= split_rows("", w, k, of_weights, spectrum) | split_rows("c_", change, k, of_change, spectrum)
    for prefix, v in (("", w), ("c_", change)):
        for name, value in rho(v @ v.T, k, blocks).items():
            rows[f"{prefix}left_nfc", name, None] = value
        for name, (mean, spread) in over(rho(v @ v.T, q @ spectrum @ q.T, blocks) for q in rotations).items():
            rows[f"{prefix}left_nfc_haar", name, None] = mean
            rows[f"{prefix}left_nfc_haar_sd", name, None] = spread
        rows[f"{prefix}spectrum_slope", None, None] = line(v, k)
    turned = [rho(change.T @ change, change.T @ q @ spectrum @ q.T @ change, blocks) for q in of_change]
    for name, (mean, spread) in over(turned).items():
        rows["c_haar_nfc", name, "1"], rows["c_haar_nfc_sd", name, "1"] = mean, spread
    rows["relative_change", None, None] = float(change.norm() / w.norm())
    rows["localisation", None, None] = float((w.pow(4).sum(1) / w.pow(2).sum(1) ** 2).mean())
    for name, matrix in (("nfm", f), ("agop", g), ("k", k)):
        rows[f"stable_rank_{name}", None, None] = float((matrix.norm() / torch.linalg.matrix_norm(matrix, 2)) ** 2)
    r = min(outputs, *w.shape)
    u, v = torch.linalg.eigh(f)[1][:, -r:], torch.linalg.eigh(g)[1][:, -r:]
    rows["subspace_overlap", None, None] = float((u.T @ v).square().sum() / r)
    rows["commutator", None, None] = float((f @ g - g @ f).norm() / (f.norm() * g.norm()))
    product = w.T @ (-gradient / weight_decay)
    for name, value in rho(f, (product + product.T) / 2, blocks).items():
        rows["fact", name, None] = value
    return rows
