"""Early training of any network: norms and correlation of the centred matrices to next-to-leading order in time.

    A(t) = Wb^T Wb        B(t) = Wb^T K Wb        Wb = W - W0        C-NFC = rho(A, B) at power 1

Derivation [derived]. Gradient flow theta' = -grad L(theta) of all trained parameters gives theta'' = -H theta' with the
Hessian H of L; at t = 0 the acceleration is H grad L. For the matrix of one layer

    Wb(t) = t W' + t^2 / 2 W'' + O(t^3)         K(t) = K0 + t K' + O(t^2)

W'' needs the whole product with H, because the other layers move too; K' is the derivative of K along the whole theta'.
Multiplying out gives

    A(t) = t^2 W'^T W'     +  t^3 sym(W'^T W'')                        +  O(t^4)
    B(t) = t^2 W'^T K0 W'  +  t^3 [sym(W'^T K0 W'') + W'^T K' W']      +  O(t^4)        sym(X) = (X + X^T) / 2

so W'' and K' enter B at the same order, and one without the other improves nothing. The two sources of a prediction are

``leading``  t W' and K0: norms grow as t^2, and the correlation is its limit C-NFC(0+); the relative error is O(t).
``next``     t W' + t^2 / 2 W'' and K0 + t K', inserted in A and B (which gives the t^3 terms above, and keeps A
             positive semi-definite); the relative error of norms and correlation is O(t^2).

The predictions need two derivatives of the loss and one of K. If activations have kinks (ReLU), K jumps whenever a
sample crosses a kink. W'' and K' are then the derivatives between jumps, and the orders hold up to the first crossings.

    predicted = early_dynamics(model, inputs, targets, squared_error)       # inputs (n, d), targets (n, C)
    measured = measured_dynamics(model, inputs, targets, squared_error, predicted["t"].unique())
    nfa.report.statistics.departure_time.departure_times(predicted, measured)  # until when each curve holds to 10%
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from nfa.alignment.covariance.gradients import BATCH, Loss
from nfa.alignment.covariance.layer_covariances import LayerCovariance
from nfa.alignment.quantities.feature_matrix import correlations
from nfa.alignment.quantities.layer import K_ROUNDING
from nfa.alignment.quantities.values import undefined
from nfa.conventions import CORRELATIONS
from nfa.theory.gradient_flow import GradientFlow

POINTS = 25  # number of times if the caller gives none
SPAN = 100.0  # ratio of the last of these times to the first
# For `early_arrays`, at a third of the cost: one Runge-Kutta step per time is within 1.5% on MLPs of the default sweep.
SWEEP_POINTS, SWEEP_SPAN = 20, 40.0


@dataclass(frozen=True)
class LayerRates:
    """The motion of one layer at t = 0.

    Attributes:
        initial: The layer's place in the network, W0 and K0.
        velocity: W', (k, d) or (g, k, d).
        acceleration: W'', of the same shape.
        covariance_rate: K', (k, k) or (g, k, k).
    """

    initial: LayerCovariance
    velocity: Tensor
    acceleration: Tensor
    covariance_rate: Tensor

    @property
    def time_scale(self) -> float:
        """2 |W'| / |W''|, the time at which both terms of Wb are equally large; infinite if W'' is 0."""
        curvature = float(self.acceleration.norm())
        return 2 * float(self.velocity.norm()) / curvature if curvature > 0 else math.inf


def layer_rates(
    model: nn.Module, inputs: Tensor, targets: Tensor, loss: Loss | str, *, heads: bool = False, batch_size: int = BATCH
) -> dict[str, LayerRates]:
    """Compute W', W'', K0 and K' of every layer in forward order; arguments as in ``early_dynamics``."""
    flow = GradientFlow(model, inputs, targets, loss, heads=heads, batch_size=batch_size)
    velocity = flow.velocity()
    velocities, accelerations = flow.matrices(velocity), flow.matrices(flow.acceleration(velocity))
    covariance_rates = flow.covariance_rates(velocity)
    return {
        name: LayerRates(initial, velocities[name], accelerations[name], covariance_rates[name])
        for name, initial in flow.covariances().items()
    }


def early_dynamics(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    loss: Loss | str,
    *,
    times: Sequence[float] | np.ndarray | None = None,
    heads: bool = False,
    batch_size: int = BATCH,
) -> pd.DataFrame:
    """Predict norms and correlation of the centred matrices along gradient flow, from the network at initialisation.

    Args:
        model: Any network that ``nfa.measure`` takes, at initialisation; copied to float64 and left as it was.
            Parameters that require no gradient are not moved.
        inputs: (n, *input shape), the whole training set.
        targets: (n, ...).
        loss: (outputs, targets) -> mean loss over the given samples, or the name of a loss of ``nfa.losses``.
        times: Times t > 0; the unit is lr * steps of plain gradient descent with small lr. None takes 25 times in equal
            ratios, up to the shortest time at which the terms of W' and W'' of a layer are equally large.
        heads: Take query, key and value projections apart by head.
        batch_size: Most samples in one pass; it changes time and memory, not the result.

    Returns:
        One row per time, source (``leading``, ``next``), layer and quantity, with columns t, source, layer,
        layer_index, depth_from_output, quantity, correlation, power, exponent, value, n, note. Quantities:
        ``centred_nfm_norm`` |Wb^T Wb|, ``centred_agop_norm`` |Wb^T K Wb| (Frobenius), ``c_nfc`` at power 1 in every
        correlation. A value is NaN, with the reason in ``note``, if the layer does not move at first order.

    Raises:
        ValueError: ``GradientFlow`` refuses the arguments, or times are not positive and ascending.
    """
    rates = layer_rates(model, inputs, targets, loss, heads=heads, batch_size=batch_size)
    return _predicted(rates, _default_times(rates) if times is None else _checked(times))


def _predicted(rates: Mapping[str, LayerRates], times: np.ndarray) -> pd.DataFrame:
    """Tabulate both orders of the prediction at every time."""
    rows = [
        row
        for t in times
        for layer in rates.values()
        for source, (weight, covariance) in _orders(layer, t).items()
        for row in _rows(t, source, layer.initial, weight, covariance)
    ]
    return pd.DataFrame(rows)


def measured_dynamics(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    loss: Loss | str,
    times: Sequence[float] | np.ndarray,
    *,
    substeps: int = 2,
    heads: bool = False,
    batch_size: int = BATCH,
) -> pd.DataFrame:
    """Follow gradient flow by small steps and measure the quantities that ``early_dynamics`` predicts.

    Args:
        model: As in ``early_dynamics``.
        inputs: (n, *input shape), the whole training set.
        targets: (n, ...).
        loss: As in ``early_dynamics``.
        times: Times t > 0, ascending.
        substeps: Number of classical Runge-Kutta steps, of four gradients each, from one time to the next.
        heads: Take query, key and value projections apart by head.
        batch_size: Most samples in one pass.

    Returns:
        Rows as of ``early_dynamics``, with source ``measured``; K is that of the network at time t, computed exactly.

    Raises:
        ValueError: ``GradientFlow`` refuses the arguments, or times are not positive and ascending.
    """
    chosen = _checked(times)
    flow = GradientFlow(model, inputs, targets, loss, heads=heads, batch_size=batch_size)
    # Wb is integrated by itself, because the difference W - W0 would lose the digits that both share.
    displacement, now = torch.zeros_like(flow.start), 0.0
    rows: list[dict[str, Any]] = []
    for t in chosen:
        for _ in range(substeps):
            displacement = flow.stepped(displacement, (t - now) / substeps)
        now = t
        flow.move_to(displacement)
        changes = flow.matrices(displacement)
        for name, layer in flow.covariances().items():
            rows += _rows(t, "measured", layer, changes[name], layer.covariance)
    return pd.DataFrame(rows)


def early_arrays(model: nn.Module, inputs: Tensor, targets: Tensor, loss: Loss) -> dict[str, np.ndarray]:
    """Predict and measure the early dynamics up to the shortest time scale of a layer, as arrays by layer.

    Args:
        model: As in ``early_dynamics``.
        inputs: (n, *input shape), the samples of the loss.
        targets: (n, ...).
        loss: (outputs, targets) -> mean loss over the given samples.

    Returns:
        ``layer/early_times`` (times,) and ``layer/early_measured``, ``layer/early_leading`` and ``layer/early_next``
        (times, 5): both norms, then the C-NFC in the order of ``CORRELATIONS``. Empty if no layer has a time scale.
    """
    rates = layer_rates(model, inputs, targets, loss)
    end = _shortest_scale(rates)
    if not math.isfinite(end):
        return {}
    times = np.geomspace(end / SWEEP_SPAN, end, SWEEP_POINTS)
    predicted = _predicted(rates, times)
    measured = measured_dynamics(model, inputs, targets, loss, times, substeps=1)
    arrays: dict[str, np.ndarray] = {}
    for (layer, source), rows in pd.concat([predicted, measured]).groupby(["layer", "source"], sort=False):
        arrays[f"{layer}/early_times"] = times
        arrays[f"{layer}/early_{source}"] = rows["value"].to_numpy().reshape(len(times), -1)
    return arrays


def _orders(layer: LayerRates, t: float) -> Mapping[str, tuple[Tensor, Tensor]]:
    """Return Wb and K at time t to both orders."""
    covariance, first = layer.initial.covariance, t * layer.velocity
    second = first + t**2 / 2 * layer.acceleration
    return {"leading": (first, covariance), "next": (second, covariance + t * layer.covariance_rate)}


def _rows(
    t: float, source: str, layer: LayerCovariance, weight: Tensor, covariance: Tensor
) -> Iterator[dict[str, Any]]:
    """Make the rows of one layer at one time."""
    place = {
        "t": t,
        "source": source,
        "layer": layer.layer,
        "layer_index": layer.index,
        "depth_from_output": layer.depth_from_output,
    }
    nothing = {"correlation": None, "power": None, "exponent": math.nan}
    gram = weight @ weight.mT
    product = covariance @ gram
    squares = {
        "centred_nfm_norm": gram.square().sum(),
        "centred_agop_norm": (product * product.mT).sum().clamp(min=0),  # tr(K S K S), below 0 by rounding only
    }
    rounding = layer.is_rounding
    for quantity, squared in squares.items():
        value, note = float(squared.sqrt()), ""
        if rounding and quantity == "centred_agop_norm":
            value, note = math.nan, K_ROUNDING
        yield {**place, "quantity": quantity, **nothing, "value": value, "n": layer.n, "note": note}
    known = dict.fromkeys(CORRELATIONS, undefined(K_ROUNDING)) if rounding else correlations(weight, covariance)
    for correlation, found in known.items():
        convention = {"correlation": correlation, "power": "1", "exponent": 1.0}
        yield {**place, "quantity": "c_nfc", **convention, "value": found.value, "n": layer.n, "note": found.note}


def _default_times(rates: Mapping[str, LayerRates]) -> np.ndarray:
    """Return times in equal ratios, up to the shortest time scale of a layer.

    Raises:
        ValueError: No layer has an acceleration, so there is no time scale.
    """
    end = _shortest_scale(rates)
    if not math.isfinite(end):
        raise ValueError("times: no layer has both a velocity and an acceleration to set a time scale: pass times")
    return np.geomspace(end / SPAN, end, POINTS)


def _shortest_scale(rates: Mapping[str, LayerRates]) -> float:
    """Return the shortest time scale of a layer that moves; infinite if there is none."""
    return min((layer.time_scale for layer in rates.values() if layer.velocity.any()), default=math.inf)


def _checked(times: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return times as an array.

    Raises:
        ValueError: There are no times, or they are not positive, finite and ascending.
    """
    chosen = np.asarray(times, dtype=np.float64)
    if chosen.ndim != 1 or not len(chosen) or not np.isfinite(chosen).all() or (np.diff(chosen, prepend=0) <= 0).any():
        raise ValueError(f"times: {times} must be positive numbers in ascending order")
    return chosen
