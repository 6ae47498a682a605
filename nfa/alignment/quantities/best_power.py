"""The power s at which F = W^T W correlates best with G^s, G = W^T K W.

Once G = sum_i mu_i u_i u_i^T is decomposed (``nfa.alignment.quantities.agop``), a correlation needs only sums over the
eigenvalues of G, weighted by mu_i^s. So many powers are compared at once, by products of small matrices. The best power
is found on a grid of log s, then on finer grids around it.
"""

from dataclasses import dataclass
from math import exp, inf, log

import torch
from torch import Tensor

from nfa.alignment.network.reasons import reason
from nfa.alignment.quantities.agop import Agop
from nfa.alignment.quantities.correlation import EQUAL, EQUAL_OFF_DIAGONAL, NEGLIGIBLE
from nfa.alignment.quantities.layer import LayerContext
from nfa.alignment.quantities.quantity import DERIVED, NO_POWER, Quantity
from nfa.alignment.quantities.values import Value, Values, undefined
from nfa.conventions import CORRELATIONS

LOWEST, HIGHEST = 1 / 64, 8.0  # powers searched
PER_DOUBLING = 8  # points of the first grid in each factor of 2
FINER, ROUNDS = 17, 5  # points of each finer grid, and their number: they give s to a relative 1e-5
CLOSE = 0.01  # a power whose correlation is within this distance of the best one counts as equally good
AT_AN_END = reason(f"the best power is at an end of the range searched, {LOWEST:g} to {HIGHEST:g}")
AS_FAR = reason(f"as far as was searched, {LOWEST:g} to {HIGHEST:g}")
ALIKE = reason("the non-zero eigenvalues of the AGOP are equal: all its powers are alike")
EVEN = 1e-9  # relative spread of eigenvalues below which they are equal


@dataclass(frozen=True)
class BestPower:
    """The power at which rho(F, G^s) is largest, and the interval of powers that are equally good.

    Attributes:
        power: The best power s.
        fit: The correlation at that power.
        low: Lowest power of the interval around it in which the correlation stays within .01 of the best.
        high: Highest power of that interval.
    """

    power: Value
    fit: Value
    low: Value
    high: Value


def best_powers(agop: Agop) -> dict[str, BestPower]:
    """Find the best power in every correlation.

    Args:
        agop: F and G.

    Returns:
        Correlation name -> the best power; NaN with its reason where the correlation is undefined, or where all powers
        of G are alike.
    """
    at_one = agop.power_moments(1.0).correlations()
    values = agop.values[agop.kept]
    if values.numel() == 0 or values.max() <= values.min() * (1 + EVEN):
        return {name: undefined_power(value.note or ALIKE) for name, value in at_one.items()}
    search = _Search(agop)
    count = round(log(HIGHEST / LOWEST, 2) * PER_DOUBLING) + 1
    grid = torch.linspace(log(LOWEST), log(HIGHEST), count, dtype=torch.float64)
    on_grid = search.correlations(grid.expand(len(CORRELATIONS), -1))
    # For each correlation: search between the neighbours of the best point, several times.
    best = on_grid.nan_to_num(-inf).argmax(1)
    spacing = grid[1] - grid[0]
    centre, half = grid[best], spacing
    for _ in range(ROUNDS):
        fine = centre[:, None] + half * torch.linspace(-1, 1, FINER, dtype=torch.float64)
        fine = fine.clamp(log(LOWEST), log(HIGHEST))
        chosen = search.correlations(fine).nan_to_num(-inf).argmax(1)
        centre, half = fine.gather(1, chosen[:, None])[:, 0], 2 * half / (FINER - 1)
    fits = search.correlations(centre[:, None])[:, 0]
    found = {}
    for index, name in enumerate(CORRELATIONS):
        if torch.isnan(fits[index]):
            found[name] = undefined_power(at_one[name].note or (EQUAL_OFF_DIAGONAL if name == "offdiagonal" else EQUAL))
            continue
        at, fit = centre[index].item(), fits[index].item()
        note = AT_AN_END if not grid[0] < at < grid[-1] else ""
        points, heights = grid.tolist(), on_grid[index].tolist()
        edges = [_edge(at, fit, points[::way], heights[::way], way) for way in (-1, 1)]
        found[name] = BestPower(Value(exp(at), note), Value(fit, note), *edges)
    return found


def _edge(best: float, fit: float, points: list[float], heights: list[float], way: int) -> Value:
    """Find the power beyond the best one where the correlation has fallen by .01, linearly between grid points."""
    here, height = best, fit
    for point, value in zip(points, heights, strict=True):
        if (point - best) * way <= 0:
            continue
        if not value >= fit - CLOSE:
            share = (height - fit + CLOSE) / (height - value) if value < height else 0.0
            return Value(exp(here + share * (point - here)))
        here, height = point, value
    return Value(exp(here), AS_FAR)


class _Search:
    """Computes rho(F, G^s) for many s at once."""

    def __init__(self, agop: Agop) -> None:
        """Compute the sums over F and the eigenvectors u_i of G that every power needs."""
        features, kept = agop.features, agop.kept
        self.features = features
        self.kept = kept.flatten()
        # Eigenvalues are divided by the largest one, which changes no correlation, so that no power overflows.
        self.logs = torch.where(kept, agop.values / agop.values.max(), 1).log().flatten()
        per_unit = torch.where(kept, 1 / torch.where(kept, agop.values, 1), 0)
        sums, quadratic, squares = agop.weights_of_power
        squares = squares * per_unit[..., None]
        self.sums = (sums.square() * per_unit).flatten()  # (1^T u_i)^2
        self.quadratic = (quadratic * per_unit).flatten()  # u_i^T F u_i
        self.diagonal = (squares @ features.diagonal[..., None])[..., 0].flatten()  # diag(F)^T u_i^2
        self.overlaps = torch.block_diag(*(squares @ squares.mT))  # (u_i^2)^T u_j^2

    def correlations(self, log_powers: Tensor) -> Tensor:
        """Correlate at each power, (correlations, p), in the order of ``CORRELATIONS``."""
        weights = torch.where(self.kept, (log_powers.exp()[..., None] * self.logs).exp(), 0)
        features, (g, d) = self.features, self.features.shape
        count = g * d * d
        product, total = weights @ self.quadratic, weights @ self.sums
        squared = weights.square().sum(-1)
        f_diagonal, f_squares = features.diagonal.sum(), features.diagonal.square().sum()
        trace, f_total, f_squared = weights.sum(-1), features.total_of_entries, features.squared
        diagonals = ((weights @ self.overlaps) * weights).sum(-1)
        rows = [
            _ratio(product[0], f_squared, squared[0], f_squared, squared[0]),
            _ratio(
                product[1] - f_total * total[1] / count,
                f_squared - f_total**2 / count,
                squared[1] - total[1].square() / count,
                f_squared,
                squared[1],
            ),
        ]
        rest, f_rest, g_rest = count - g * d, f_total - f_diagonal, total[2] - trace[2]
        rows.append(
            _ratio(
                product[2] - weights[2] @ self.diagonal - f_rest * g_rest / max(rest, 1),
                f_squared - f_squares - f_rest**2 / max(rest, 1),
                squared[2] - diagonals[2] - g_rest.square() / max(rest, 1),
                f_squared,
                squared[2],
            )
        )
        return torch.stack(rows)


def _ratio(covariance: Tensor, a: Tensor | float, b: Tensor, scale_a: float, scale_b: Tensor) -> Tensor:
    """Divide a covariance by the root of two variances; NaN where a variance is only rounding of its ``scale``."""
    known = (torch.as_tensor(a) > NEGLIGIBLE * scale_a) & (b > NEGLIGIBLE * scale_b)
    return torch.where(known, covariance / torch.where(known, a * b, 1).sqrt(), torch.nan).clamp(-1, 1)


def undefined_power(note: str) -> BestPower:
    """Make a best power whose four values are undefined for one reason."""
    value = undefined(note)
    return BestPower(value, value, value, value)


def _of_layer(layer: LayerContext) -> dict[str, BestPower]:
    """Find the best powers of a layer; shared by the four quantities below."""
    return best_powers(layer.agop)


def _part(layer: LayerContext, part: str) -> Values:
    """Give one attribute of the best power in every correlation."""
    return {(name, None): getattr(best, part) for name, best in layer.once(_of_layer).items()}


DEPTH_LAW_POWER = Quantity(
    name="depth_law_power",
    label="best power",
    meaning="the power of G that fits F best; the law says 1/(L − l + 1) in deep linear networks from balanced "
    "initialisation",
    formula="argmax over s in [1/64, 8] of ρ(WᵀW, (WᵀKW)ˢ)",
    source="derived; the law: arXiv 2510.15563",
    values=lambda layer: _part(layer, "power"),
    rows=NO_POWER,
    control="depth_law_fit",
    range=(LOWEST, HIGHEST),
)

DEPTH_LAW_FIT = Quantity(
    name="depth_law_fit",
    label="fit at the best power",
    meaning="the correlation at the best power",
    formula="max over s in [1/64, 8] of ρ(WᵀW, (WᵀKW)ˢ)",
    source=DERIVED,
    values=lambda layer: _part(layer, "fit"),
    rows=NO_POWER,
)

DEPTH_LAW_LOW = Quantity(
    name="depth_law_low",
    label="best power, low end",
    meaning=f"the power below the best one at which the correlation has fallen by {CLOSE:g}",
    formula="lowest s around the best power with ρ(s) ≥ max ρ − 0.01",
    source=DERIVED,
    values=lambda layer: _part(layer, "low"),
    rows=NO_POWER,
    range=(LOWEST, HIGHEST),
)

DEPTH_LAW_HIGH = Quantity(
    name="depth_law_high",
    label="best power, high end",
    meaning=f"the power above the best one at which the correlation has fallen by {CLOSE:g}",
    formula="highest s around the best power with ρ(s) ≥ max ρ − 0.01",
    source=DERIVED,
    values=lambda layer: _part(layer, "high"),
    rows=NO_POWER,
    range=(LOWEST, HIGHEST),
)
