"""C-NFC(0+): the centred correlation of every layer in the limit of short training, computed before training.

Wb = W - W0 is 0 at the start, so Wb^T Wb and Wb^T K Wb both grow with the square of the time, and [derived]

    C-NFC(0+) = rho(Wdot^T Wdot, (Wdot^T K0 Wdot)^s),    Wdot = -dL/dW at initialisation    (gradient flow)

for every architecture, loss, correlation rho and power s. For an optimizer, Wdot is the direction of its first
full-batch step, which the optimizer itself takes on copies of the parameters.

    import nfa.theory, torch
    table = nfa.theory.limit(model, images, labels, loss, optimizer=lambda named: torch.optim.Adam(named.values()))
    table.query("quantity == 'c_nfc_update' and correlation == 'cosine' and power == '1'")[["layer", "value"]]
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import pandas as pd
import torch
from torch import Tensor, nn

from nfa.alignment import COLUMNS, LayerCovariance, limit_rows, loss_gradients
from nfa.alignment.covariance.gradients import BATCH, Loss
from nfa.alignment.covariance.layer_covariances import measured_covariances
from nfa.alignment.network.arguments import CovarianceOptions
from nfa.alignment.network.layers import parameters_of, plain
from nfa.alignment.network.samples import Inputs, kept
from nfa.alignment.targets import find_loss
from nfa.errors import one_line
from nfa.optim import OPTIMIZERS, OptimizerSettings
from nfa.optim.algorithms.first_step import Maker, first_update

Direction: TypeAlias = Callable[[dict[str, Tensor]], Mapping[str, Tensor]]


def limit(
    model: nn.Module,
    inputs: Inputs,
    targets: Tensor | None,
    loss: Loss | str,
    *,
    optimizer: OptimizerSettings | Maker | None = None,
    direction: Direction | None = None,
    layers: Sequence[str] | None = None,
    estimator: str = "auto",
    samples: int | None = None,
    probes: int = 1,
    seed: int = 0,
    heads: bool = False,
    batch_size: int | None = None,
) -> pd.DataFrame:
    """Predict the early C-NFC of every layer of a network at initialisation.

    Args:
        model: Any network whose output is a tensor with the samples first; left as it was.
        inputs: The whole training set, (n, *input shape), or an iterable of batches or (inputs, targets) pairs.
        targets: (n, ...), or None if the batches hold them.
        loss: (outputs, targets) -> mean loss, or the name of a loss of ``nfa.losses``.
        optimizer: The optimizer of the training: settings of the registry, such as
            ``nfa.optim.adam.AdamSettings(lr=0.001)``, whose ``clip`` is applied, or a function that makes a torch
            optimizer of the named tensors it is given.
        direction: For another rule, in place of an optimizer: gradients by parameter name -> first step by parameter
            name, up to a positive factor. Parameters that the function leaves out do not move.
        layers: Names of layers; None for all.
        estimator: Estimator of K, see ``nfa.alignment.measure``.
        samples: Number of samples that K is estimated from, see ``nfa.alignment.measure``. The gradient is over all
            samples.
        probes: Number of random probes in each of the two sketches.
        seed: Value of the column ``seed``, and seed of the probes and samples that are drawn.
        heads: Take query, key and value projections apart by head.
        batch_size: Most samples in one pass; None chooses a number.

    Returns:
        Rows of the alignment table (see ``nfa.alignment.measure``) at step 0: quantity ``c_nfc`` for gradient flow in
        every correlation and power, its controls ``c_haar_nfc`` and ``c_permuted_nfc``, its factors ``c_directional``
        and ``c_spectral``, and ``c_left_nfc`` and ``c_spectrum_slope``, with their controls; with an optimizer or a
        direction also ``c_nfc_update`` and all of these along it. A value is NaN, with the reason in ``note``, if the
        layer does not move.

    Raises:
        ValueError: ``measure_covariances`` refuses the arguments, the loss is unknown, targets do not match, both an
            optimizer and a direction are given, the optimizer is neither settings nor a function that makes one, or the
            direction names something that is not a parameter.
    """
    if optimizer is not None and direction is not None:
        raise ValueError("optimizer and direction are both given: pass one of them")
    _check_optimizer(optimizer)
    options = CovarianceOptions(
        layers=layers,
        estimator=estimator,
        samples=samples,
        probes=probes,
        seed=seed,
        heads=heads,
        batch_size=batch_size,
    )
    model, inputs = plain(model), kept(inputs)  # the inputs are read more than once
    gradients = loss_gradients(model, inputs, targets, find_loss(loss), heads=heads, batch_size=batch_size or BATCH)
    measured = measured_covariances(model, inputs, options)
    updates = None
    if optimizer is not None:
        updates = gradients.matrices(step_of(optimizer, model, gradients.parameters, list(gradients.layers)))
    elif direction is not None:
        updates = gradients.matrices(_directed(direction, gradients.parameters))
    table = limit_frame(measured.layers, gradients=gradients.matrices(), updates=updates, seed=seed)
    table.attrs["left_out"] = measured.left_out
    return table


def limit_frame(
    start: Mapping[str, LayerCovariance],
    *,
    gradients: Mapping[str, Tensor] | None,
    instead: Mapping[str, Tensor] | None = None,
    updates: Mapping[str, Tensor] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Tabulate the limits of layers from their covariances and velocities.

    Args:
        start: Layer name -> W0 and K0, from ``measure_covariances``.
        gradients: Layer name -> dL/dW.
        instead: Layer name -> the substitute of a learning rule for the gradient.
        updates: Layer name -> direction of the optimizer's first update.
        seed: Value of the column ``seed``, and seed of the random rotations of the controls.

    Returns:
        Rows of the alignment table at step 0, equal to those of ``nfa.alignment.frame`` for W = W0.
    """
    rows = [
        {"seed": seed, "step": 0, **row}
        for name, layer in start.items()
        for row in limit_rows(
            layer,
            gradient=(gradients or {}).get(name),
            instead=(instead or {}).get(name),
            update=(updates or {}).get(name),
            seed=seed,
        )
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _check_optimizer(optimizer: object) -> None:
    """Refuse an optimizer that is already made, a class, or a name.

    Raises:
        ValueError: The optimizer is neither settings nor a function.
    """
    kind = isinstance(optimizer, type) and issubclass(optimizer, torch.optim.Optimizer | OptimizerSettings)
    if optimizer is not None and not isinstance(optimizer, OptimizerSettings) and (kind or not callable(optimizer)):
        what = f"the class {optimizer.__name__}" if isinstance(optimizer, type) else one_line(optimizer, 40)
        raise ValueError(
            f"optimizer: {what}: pass settings such as nfa.optim.adam.AdamSettings(lr=0.001), or a function "
            "that makes one, such as lambda named: torch.optim.Adam(named.values())"
        )


def step_of(
    optimizer: OptimizerSettings | Maker,
    model: nn.Module,
    gradients: Mapping[str, Tensor],
    layers: Sequence[str],
    lr_factors: Mapping[str, float] | None = None,
) -> dict[str, Tensor]:
    """Let an optimizer take its first step on copies of a network's parameters.

    Args:
        optimizer: Settings of the registry, or a function that makes a torch optimizer.
        model: The network at initialisation; not changed.
        gradients: Parameter name -> gradient, or a learning rule's substitute for it.
        layers: Names of all layers in forward order, for optimizers with settings by layer.
        lr_factors: Parameter name -> factor on the learning rate of entrywise steps, e.g. of maximal update.

    Returns:
        Parameter name -> step, float64; zero for parameters that are not trained.

    Raises:
        ValueError: ``first_update`` refuses the optimizer.
    """
    clip: float | None = None
    make: Maker
    if isinstance(optimizer, OptimizerSettings):
        entry = OPTIMIZERS[optimizer.name]  # type: ignore[attr-defined]
        clip, make = optimizer.clip, partial(entry.build, optimizer, layers=layers, lr_factors=lr_factors)
    else:
        make = optimizer
    parameters = parameters_of(model)
    trained = {name: p for name, p in parameters.items() if p.requires_grad}
    step = first_update(trained, gradients, make, clip)
    return {
        name: step[name] if name in step else torch.zeros_like(p, dtype=torch.float64) for name, p in parameters.items()
    }


def _directed(direction: Direction, gradients: dict[str, Tensor]) -> dict[str, Tensor]:
    """Call the user's function and complete its steps with zeros.

    Raises:
        ValueError: A name is not that of a parameter, or a shape does not match.
    """
    given = direction(dict(gradients))
    for name, value in given.items():
        if name not in gradients:
            raise ValueError(f"direction: {name!r} is not a parameter of the network")
        if value.shape != gradients[name].shape:
            shapes = f"{tuple(value.shape)}, not {tuple(gradients[name].shape)}"
            raise ValueError(f"direction: {name!r} has shape {shapes}")
    zeros = {name: torch.zeros_like(gradient) for name, gradient in gradients.items()}
    return {name: zero.copy_(given[name]) if name in given else zero for name, zero in zeros.items()}
