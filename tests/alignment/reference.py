"""The same numbers the plain way: per-sample Jacobians by vmap(jacrev), dense d x d matrices, float64 throughout."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.func import jacrev, vmap

from nfa.alignment.haar import DRAWS, DRAWS_DECOMPOSED, haar

Row = tuple[str, str | None, str | None]  # quantity, correlation, power
CUT = 1e-13  # relative eigenvalue below which a matrix counts as rank-deficient


def reference_covariance(model: nn.Module, layer: str, inputs: Tensor) -> Tensor:
    """K of one layer: (1/n) sum over samples, positions and calls of J^T J, by perturbing each call's output."""
    module = model.get_submodule(layer)
    shapes: list[torch.Size] = []
    handle = module.register_forward_hook(lambda _, __, out: shapes.append(out.shape))
    model(inputs[:1])
    handle.remove()

    def outputs(perturbations: list[Tensor], sample: Tensor) -> Tensor:
        following = iter(perturbations)
        handle = module.register_forward_hook(lambda _, __, out: out + next(following))
        try:
            return model(sample[None])[0]  # type: ignore[no-any-return]
        finally:
            handle.remove()

    zeros = [torch.zeros(shape, dtype=torch.float64) for shape in shapes]
    axis = 1 if isinstance(module, nn.Conv2d) else -1
    total = torch.zeros(())
    for jacobian in vmap(jacrev(outputs), (None, 0))(zeros, inputs):  # (n, C, 1, ...) for each call
        rows = torch.stack([per_output.movedim(axis, -1) for sample in jacobian for per_output in sample])
        rows = rows.reshape(-1, rows.shape[-1])
        total = total + rows.T @ rows
    return total.detach() / len(inputs)


def rho(a: Tensor, b: Tensor) -> dict[str, float]:
    """The three correlations of two d x d matrices, entry by entry."""
    off = ~torch.eye(len(a), dtype=torch.bool)
    return {
        "cosine": _cosine(a.flatten(), b.flatten()),
        "pearson": _cosine((a - a.mean()).flatten(), (b - b.mean()).flatten()),
        "offdiagonal": _cosine(a[off] - a[off].mean(), b[off] - b[off].mean()),
    }


def _cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()))


def matrix_power(matrix: Tensor, exponent: float) -> Tensor:
    """A positive semi-definite matrix to a power, zero on its null space."""
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    keep = values > CUT * values[-1]
    return (vectors[:, keep] * values[keep] ** exponent) @ vectors[:, keep].T  # type: ignore[no-any-return]


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
    generator: torch.Generator,
) -> dict[Row, float]:
    """Every quantity of a layer that has moved from W0, by dense formulas."""
    w, k, w0, k0 = weight, covariance, initial_weight, initial_covariance
    change, f, g = w - w0, w.T @ w, w.T @ k @ w
    rows: dict[Row, float] = {}

    def add(quantity: str, a: Tensor, b: Callable[[float], Tensor]) -> None:
        for power, exponent in powers.items():
            for name, value in rho(a, b(exponent)).items():
                rows[quantity, name, power] = value

    add("uc_nfc", f, lambda s: matrix_power(g, s))
    add("c_nfc", change.T @ change, lambda s: matrix_power(change.T @ k @ change, s))
    add("w0_nfc", w0.T @ w0, lambda s: matrix_power(w0.T @ k @ w0, s))
    for name, value in rho(change.T @ change, change.T @ (k - k0) @ change).items():
        rows["dc_nfc", name, "1"] = value
    spectrum = torch.linalg.eigvalsh(k).diag()
    rotations = [haar(len(k), generator) for _ in range(DRAWS)]
    for power, exponent in powers.items():
        used = rotations if exponent == 1 else rotations[:DRAWS_DECOMPOSED]
        draws = [rho(f, matrix_power(w.T @ q @ spectrum @ q.T @ w, exponent)) for q in used]
        for name in draws[0]:
            values = torch.tensor([draw[name] for draw in draws], dtype=torch.float64)
            rows["haar_nfc", name, power] = float(values.mean())
            if power == "1":
                rows["haar_nfc_sd", name, "1"] = float(values.std())
    rows["relative_change", None, None] = float(change.norm() / w.norm())
    for name, matrix in (("nfm", f), ("agop", g), ("k", k)):
        rows[f"stable_rank_{name}", None, None] = float((matrix.norm() / torch.linalg.matrix_norm(matrix, 2)) ** 2)
    r = min(outputs, *w.shape)
    u, v = torch.linalg.eigh(f)[1][:, -r:], torch.linalg.eigh(g)[1][:, -r:]
    rows["subspace_overlap", None, None] = float((u.T @ v).square().sum() / r)
    rows["commutator", None, None] = float((f @ g - g @ f).norm() / (f.norm() * g.norm()))
    product = w.T @ (-gradient / weight_decay)
    for name, value in rho(f, (product + product.T) / 2).items():
        rows["fact", name, None] = value
    return rows
