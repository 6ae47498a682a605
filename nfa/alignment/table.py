"""Measurements as a long table: one row per layer, quantity, correlation and power."""

import copy
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from nfa.alignment.covariance import LayerCovariance, covariances
from nfa.alignment.layers import weights_of
from nfa.alignment.quantities import LAYOUT, Reference, quantities
from nfa.alignment.values import exponents
from nfa.errors import nearest
from nfa.random import torch_generator

COLUMNS = (
    "seed",
    "step",
    "layer",
    "layer_index",
    "depth_from_output",
    "quantity",
    "correlation",
    "power",
    "exponent",
    "value",
    "stderr",
    "estimator",
    "n",
    "note",
)


def measure_layer(
    current: LayerCovariance,
    *,
    initial_weight: Tensor | None = None,
    initial_covariance: Tensor | None = None,
    gradient: Tensor | None = None,
    update: Tensor | None = None,
    weight_decay: float = 0.0,
    generator: torch.Generator,
) -> list[dict[str, Any]]:
    """Measure every quantity of one layer; what they are is said in ``nfa.alignment.quantities``.

    Args:
        current: W and K of the layer.
        initial_weight: W0, (k, d).
        initial_covariance: K0, (k, k).
        gradient: dL/dW on the whole training set, (k, d), for the limit at W = W0 and for ``fact``.
        update: Direction of the optimizer's first full-batch update, (k, d).
        weight_decay: lambda, coupled as in torch's ``weight_decay``.
        generator: CPU generator of the random rotations of ``haar_nfc``.

    Returns:
        One dict per row, with the columns of the table but for seed and step. Every row is always there (but those of
        ``c_nfc_update``, which exist only at W = W0); where the value is NaN, ``note`` says why.

    Raises:
        ValueError: A tensor of the wrong shape.
    """
    k, d = current.weight.shape
    shaped = {
        "initial_weight": _fitting("initial_weight", initial_weight, (k, d), current.layer),
        "initial_covariance": _fitting("initial_covariance", initial_covariance, (k, k), current.layer),
        "gradient": _fitting("gradient", gradient, (k, d), current.layer),
        "update": _fitting("update", update, (k, d), current.layer),
    }
    measured = quantities(current, Reference(**shaped, weight_decay=weight_decay), generator)
    powers = exponents(current.depth_from_output, current.chain_length)
    return [
        {
            "layer": current.layer,
            "layer_index": current.index,
            "depth_from_output": current.depth_from_output,
            "quantity": quantity,
            "correlation": correlation,
            "power": power,
            "exponent": math.nan if power is None else powers[power],
            "value": measured[quantity][correlation, power].value,
            "stderr": measured[quantity][correlation, power].stderr,
            "estimator": "exact",
            "n": current.n,
            "note": measured[quantity][correlation, power].note,
        }
        for quantity, conventions in LAYOUT.items()
        if quantity in measured
        for correlation, power in conventions
    ]


def frame(
    measured: Mapping[str, LayerCovariance],
    *,
    initial_weights: Mapping[str, Tensor] | None = None,
    initial_covariances: Mapping[str, Tensor] | None = None,
    gradients: Mapping[str, Tensor] | None = None,
    updates: Mapping[str, Tensor] | None = None,
    weight_decay: float = 0.0,
    seed: int = 0,
    step: int = 0,
) -> pd.DataFrame:
    """Tabulate every quantity of layers whose covariances are known.

    Args:
        measured: Layer name -> W and K, from ``covariances``.
        initial_weights: Layer name -> W0, from ``weights_of``; a layer that is not in a mapping counts as not given.
        initial_covariances: Layer name -> K0.
        gradients: Layer name -> dL/dW, from ``weight_gradients``.
        updates: Layer name -> direction of the optimizer's first update.
        weight_decay: lambda, coupled as in torch's ``weight_decay``.
        seed: Goes to the column, and names the random rotations together with the layer: the same at every step.
        step: Goes to the column.

    Returns:
        The alignment table, see ``measure``.
    """
    rows = [
        {"seed": seed, "step": step, **row}
        for name, current in measured.items()
        for row in measure_layer(
            current,
            initial_weight=(initial_weights or {}).get(name),
            initial_covariance=(initial_covariances or {}).get(name),
            gradient=(gradients or {}).get(name),
            update=(updates or {}).get(name),
            weight_decay=weight_decay,
            generator=torch_generator("haar", seed, layer=name),
        )
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def measure(
    model: nn.Module,
    inputs: Tensor | Iterable[Tensor],
    *,
    initial: nn.Module | Mapping[str, Tensor] | None = None,
    initial_covariances: Mapping[str, Tensor] | None = None,
    gradients: Mapping[str, Tensor] | None = None,
    updates: Mapping[str, Tensor] | None = None,
    weight_decay: float = 0.0,
    layers: Sequence[str] | None = None,
    seed: int = 0,
    step: int = 0,
    batch_size: int = 250,
) -> pd.DataFrame:
    """Measure the neural feature ansatz at every layer of a network.

        table = measure(model, images, initial=state_dict_before_training)
        table.query("quantity == 'uc_nfc' and correlation == 'pearson' and power == '1'")

    Args:
        model: Network with (n, C) outputs; left exactly as it was.
        inputs: (n, *input shape), or an iterable of such batches.
        initial: The network before training, or its state dict, for the centred quantities.
        initial_covariances: Layer name -> K0 when it is known; else measured from ``initial`` on the same inputs.
        gradients: Layer name -> dL/dW, from ``weight_gradients``.
        updates: Layer name -> direction of the optimizer's first update, used at W = W0.
        weight_decay: lambda, coupled as in torch's ``weight_decay``, for ``fact``.
        layers: Names of the layers to measure; all when None.
        seed: Goes to the column, and names the random rotations of the control.
        step: Goes to the column.
        batch_size: Most samples in one pass.

    Returns:
        One row per layer, quantity, correlation ("cosine", "pearson", "offdiagonal" or null) and power ("1", "1/2",
        "depth" or null), with columns seed, step, layer, layer_index (forward order), depth_from_output (0 = readout),
        quantity, correlation, power, exponent (the power's number), value, stderr (0 when exact), estimator, n
        (samples), note (a limit that was taken, or why the value is NaN). ``nfa.alignment.quantities`` says what each
        quantity is.

    Raises:
        ValueError: What ``covariances`` refuses, or an ``initial`` of other parameters than the model's.
    """
    start = None if initial is None else _initial_network(model, initial)
    if isinstance(inputs, Iterator):
        inputs = list(inputs)  # read twice: now, and at initialisation
    measured = covariances(model, inputs, layers=layers, batch_size=batch_size)
    if start is not None and initial_covariances is None:
        before = covariances(start, inputs, layers=layers, batch_size=batch_size)
        initial_covariances = {name: layer.covariance for name, layer in before.items()}
    return frame(
        measured,
        initial_weights=None if start is None else weights_of(start),
        initial_covariances=initial_covariances,
        gradients=gradients,
        updates=updates,
        weight_decay=weight_decay,
        seed=seed,
        step=step,
    )


def _initial_network(model: nn.Module, initial: nn.Module | Mapping[str, Tensor]) -> nn.Module:
    """Make the network before training, after checking that it is the same network.

    Raises:
        ValueError: A parameter or buffer that is missing, unknown or of another shape.
    """
    given = initial.state_dict() if isinstance(initial, nn.Module) else initial
    own = model.state_dict()
    for name in own:
        if name not in given:
            raise ValueError(f"initial: {name!r} is missing")
        if own[name].shape != given[name].shape:
            shapes = f"{tuple(given[name].shape)}, the model's {tuple(own[name].shape)}"
            raise ValueError(f"initial: {name!r} has shape {shapes}")
    for name in given:
        if name not in own:
            raise ValueError(f"initial: {name!r} is not in the model: {nearest(name, own)}")
    network = copy.deepcopy(model)
    network.load_state_dict(given)
    return network


def _fitting(what: str, tensor: Tensor | None, shape: tuple[int, int], layer: str) -> Tensor | None:
    """Check a tensor's shape and bring it to float64 on the CPU.

    Raises:
        ValueError: Another shape.
    """
    if tensor is None:
        return None
    if tensor.shape != shape:
        raise ValueError(f"{what} of layer {layer!r} has shape {tuple(tensor.shape)}, not {shape}")
    return tensor.detach().to("cpu", torch.float64)
