"""Measure a network: a long table with one row per layer, quantity, correlation and power.

The registry ``nfa.alignment.quantities.QUANTITIES`` holds the quantities, in the order of the table.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from nfa.alignment.covariance.gradients import BATCH, Loss, check_targets, weight_gradients
from nfa.alignment.covariance.layer_covariances import LayerCovariance, Measured, measured_covariances
from nfa.alignment.initial import Initial
from nfa.alignment.network.layers import WeightView, plain
from nfa.alignment.network.samples import Inputs, kept
from nfa.alignment.network.survey import Survey
from nfa.alignment.options import MeasureOptions
from nfa.alignment.quantities import QUANTITIES
from nfa.alignment.quantities.catalogue import chosen
from nfa.alignment.quantities.evaluate import limit_values, quantity_values
from nfa.alignment.quantities.layer import Reference
from nfa.alignment.quantities.quantity import INITIAL_COVARIANCE, INITIAL_WEIGHT, LOSS_GRADIENT, MOTION, WEIGHTS
from nfa.alignment.quantities.values import Value, Values, exponents
from nfa.errors import nearest

NO_START = "the network at initialisation has no such layer on these samples"
OTHER_START = "the layer of this name at initialisation is another part of the weights"
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
    initial: LayerCovariance | None = None,
    gradient: Tensor | None = None,
    instead: Tensor | None = None,
    update: Tensor | None = None,
    weight_decay: float = 0.0,
    decoupled_decay: float = 0.0,
    quantities: Sequence[str] | None = None,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Measure quantities of one layer (``nfa.quantities()`` lists them).

    Args:
        current: W and K of the layer.
        initial: W0 and K0, from the same samples and probes.
        gradient: dL/dW on the whole training set, shaped as W, for the limit at W = W0 and for ``fact``.
        instead: The matrix that a learning rule other than backpropagation uses in place of dL/dW, for the limit.
        update: Direction of the optimizer's first full-batch update, shaped as W.
        weight_decay: lambda, coupled as in torch's ``weight_decay``.
        decoupled_decay: lambda of a decay that is decoupled, as AdamW's is: ``fact`` is then not defined.
        quantities: Names of the quantities to compute; all when None.
        seed: Seed of the random rotations of ``haar_nfc``.

    Returns:
        One dict per row, with the columns of the table except seed and step. Rows of every quantity are there, except
        those of ``c_nfc_update`` where W differs from W0; where a value is NaN, ``note`` gives the reason.

    Raises:
        ValueError: A tensor has the wrong shape, or there is no quantity of that name.
    """
    shape = current.weight.shape
    if initial is not None and initial.weight.shape != shape:
        raise ValueError(f"initial: layer {current.layer!r} is {tuple(initial.weight.shape)}, not {tuple(shape)}")
    reference = Reference(
        initial_weight=None if initial is None else initial.weight,
        initial_covariance=initial.covariance if initial is not None and initial.is_measured else None,
        initial_blocks=None if initial is None else initial.blocks,
        gradient=_fitting("gradient", gradient, shape, current.layer),
        instead=_fitting("instead", instead, shape, current.layer),
        update=_fitting("update", update, shape, current.layer),
        weight_decay=weight_decay,
        decoupled_decay=decoupled_decay,
    )
    return _rows(current, quantity_values(current, reference, seed, chosen(quantities)))


def limit_rows(
    current: LayerCovariance, *, gradient: Tensor | None, instead: Tensor | None, update: Tensor | None, seed: int
) -> list[dict[str, Any]]:
    """Measure the centred correlations, their factors and controls at W = W0, as ``measure_layer`` does there.

    Args:
        current: W0 and K0.
        gradient: As for ``measure_layer``.
        instead: As for ``measure_layer``.
        update: As for ``measure_layer``.
        seed: Seed of the random rotations of the controls.

    Raises:
        ValueError: A tensor has the wrong shape.
    """
    shape = current.weight.shape
    reference = Reference(
        gradient=_fitting("gradient", gradient, shape, current.layer),
        instead=_fitting("instead", instead, shape, current.layer),
        update=_fitting("update", update, shape, current.layer),
    )
    return _rows(current, limit_values(current, reference, seed))


def _rows(current: LayerCovariance, measured: Mapping[str, Values]) -> list[dict[str, Any]]:
    """Lay out the values of one layer as rows, in the order of the registry."""
    powers = exponents(current.depth_from_output, current.chain_length)
    return [
        {
            "layer": current.layer,
            "layer_index": current.index,
            "depth_from_output": current.depth_from_output,
            "quantity": quantity.name,
            "correlation": correlation,
            "power": power,
            "exponent": math.nan if power is None else powers[power],
            "value": value.value,
            "stderr": value.stderr,
            "estimator": current.estimator,
            "n": current.n,
            "note": _note(value, current, of_network=quantity.depends_on != WEIGHTS),
        }
        for quantity in QUANTITIES.values()
        if quantity.name in measured
        for correlation, power in quantity.rows
        for value in [measured[quantity.name][correlation, power]]
    ]


def _note(value: Value, layer: LayerCovariance, *, of_network: bool) -> str:
    """Join the notes of a value and its layer; remarks on the network's passes only beside values made of them."""
    remarks = layer.remarks if of_network and value.value == value.value else ()
    return "; ".join(part for part in (value.note, *remarks, layer.note) if part)


def frame(
    measured: Mapping[str, LayerCovariance],
    *,
    initial: Mapping[str, LayerCovariance] | None = None,
    gradients: Mapping[str, Tensor] | None = None,
    instead: Mapping[str, Tensor] | None = None,
    updates: Mapping[str, Tensor] | None = None,
    weight_decay: float = 0.0,
    decoupled_decay: float = 0.0,
    quantities: Sequence[str] | None = None,
    seed: int = 0,
    step: int = 0,
) -> pd.DataFrame:
    """Tabulate the quantities of layers whose covariances are known.

    Args:
        measured: Layer name -> W and K, from ``measure_covariances``.
        initial: Layer name -> W0 and K0. Where a layer is missing, or lies elsewhere in the parameters, its row is
            measured as without initial weights, and the note says so.
        gradients: Layer name -> dL/dW, from ``weight_gradients``.
        instead: Layer name -> the matrix that a learning rule other than backpropagation uses in place of dL/dW.
        updates: Layer name -> direction of the optimizer's first update.
        weight_decay: lambda, coupled as in torch's ``weight_decay``.
        decoupled_decay: lambda of a decay that is decoupled, as AdamW's is.
        quantities: Names of the quantities to compute; all when None.
        seed: Value of the column ``seed``, and seed of the random rotations: the same at every step.
        step: Value of the column ``step``.

    Returns:
        The alignment table, which ``measure`` describes.
    """
    rows = [
        {"seed": seed, "step": step, **row}
        for name, given in measured.items()
        for current, start in [_with_start(given, initial)]
        for row in measure_layer(
            current,
            initial=start,
            gradient=(gradients or {}).get(name),
            instead=(instead or {}).get(name),
            update=(updates or {}).get(name),
            weight_decay=weight_decay,
            decoupled_decay=decoupled_decay,
            quantities=quantities,
            seed=seed,
        )
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _with_start(
    current: LayerCovariance, initial: Mapping[str, LayerCovariance] | None
) -> tuple[LayerCovariance, LayerCovariance | None]:
    """Find a layer at initialisation; where there is none, or another one of that name, say so in the layer's note."""
    start = (initial or {}).get(current.layer)
    if not initial or (start is not None and _same_place(current.view, start.view)):
        return current, start
    if start is not None and start.own_weight.shape != current.own_weight.shape:
        return current, start  # ``measure_layer`` refuses the shape
    note = NO_START if start is None else OTHER_START
    return replace(current, note="; ".join(filter(None, (current.note, note)))), None


def _same_place(first: WeightView | None, second: WeightView | None) -> bool:
    """Tell whether two matrices lie in the same place of a parameter; True where the place of one is not known."""
    if first is None or second is None:
        return True
    alike = (first.parameter, first.rows) == (second.parameter, second.rows)
    return alike and (first.strides != second.strides or first.offset == second.offset)


def measure(
    model: nn.Module,
    inputs: Inputs,
    *,
    targets: Tensor | None = None,
    loss: Loss | str | None = None,
    initial: nn.Module | Mapping[str, Tensor] | None = None,
    layers: Sequence[str] | None = None,
    quantities: Sequence[str] | None = None,
    estimator: str = "auto",
    samples: int | None = None,
    probes: int = 1,
    seed: int = 0,
    step: int = 0,
    updates: Mapping[str, Tensor] | None = None,
    weight_decay: float = 0.0,
    decoupled_decay: float = 0.0,
    heads: bool = False,
    batch_size: int | None = None,
) -> pd.DataFrame:
    """Measure the neural feature ansatz at every layer of a network.

        table = measure(model, images, initial=state_dict_before_training)
        table.query("quantity == 'uc_nfc' and correlation == 'pearson' and power == '1'")

    Args:
        model: Any network whose output is a tensor with the samples first; it is not changed.
        inputs: (n, *input shape), or an iterable of such batches or of (inputs, targets) pairs. An iterable is read
            once; where ``initial`` or ``loss`` needs the batches again, they are kept in memory for the call.
        targets: (n, ...), where ``loss`` needs them and the batches do not hold them.
        loss: (outputs, targets) -> mean loss, or the name of one of ``nfa.losses``; for ``fact`` and for the limit of
            ``c_nfc`` at W = W0, which need dL/dW over all samples.
        initial: The network before training, or its state dict, for the centred quantities.
        layers: Names of the layers to measure; all when None.
        quantities: Names of the quantities to compute; all when None. The table has the rows of these alone, so a
            control is in it only if it is named, too. What none of them needs is not computed.
        estimator: "exact" (one reverse pass per output), "sketched" (two random sketches, for any number of outputs;
            ``stderr`` is the error of that), or "auto": exact up to 64 outputs per sample.
        samples: Number of samples, drawn at random, to measure on; the table then estimates the values for all
            samples, and ``stderr`` is the error of that estimate. None measures on all.
        probes: Probes in each of the two sketches.
        seed: Value of the column ``seed``, and seed of the random rotations, probes and samples drawn.
        step: Value of the column ``step``.
        updates: Layer name -> direction of the optimizer's first update, used at W = W0.
        weight_decay: lambda, coupled as in torch's ``weight_decay``, for ``fact``.
        decoupled_decay: lambda of a decay that is decoupled, as AdamW's is: the note of ``fact`` then says so.
        heads: Split query, key and value projections by head: each head is a layer, named ``<layer>.<head>``. Output
            projections, of which a head is a block of columns, stay whole.
        batch_size: Largest number of samples in one pass; None chooses it by the size of the network's activations.

    Returns:
        One row per layer, quantity, correlation ("cosine", "pearson", "offdiagonal" or null) and power ("1", "1/2",
        "depth" or null), with columns seed, step, layer, layer_index (forward order), depth_from_output (0 = readout),
        quantity, correlation, power, exponent (the power's number), value, stderr (0 when exact), estimator ("exact" or
        "sketched"; followed by "of <n> in <N>" where the value is for all N samples), n (samples measured on), note
        (the limit that was taken, or the reason why the value is NaN). ``nfa.quantities()`` explains the quantities.
        ``table.attrs["left_out"]`` maps each weight of two or more dimensions that is not measured to the reason.

    Raises:
        ValueError: For the reasons of ``measure_covariances``; or ``initial`` has other parameters than the model, the
            loss or a quantity is unknown, the targets do not fit the loss or are given without one, a weight decay is
            negative, or an update is for an unknown layer.

    Example:
        >>> import nfa, torch
        >>> _ = torch.manual_seed(0)
        >>> model = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> table = nfa.measure(model, torch.randn(50, 6))
        >>> rows = table.query("quantity == 'uc_nfc' and correlation == 'cosine' and power == '1'")
        >>> rows[["layer", "value"]].round(1).values.tolist()
        [['0', 0.9], ['2', 1.0]]
    """
    options = MeasureOptions(
        targets=targets,
        loss=loss,
        layers=layers,
        quantities=quantities,
        estimator=estimator,
        samples=samples,
        probes=probes,
        seed=seed,
        step=step,
        updates=updates,
        weight_decay=weight_decay,
        decoupled_decay=decoupled_decay,
        heads=heads,
        batch_size=batch_size,
    )
    return measured_table(model, inputs, options, initial=None if initial is None else Initial(initial))[0]


def measured_table(
    model: nn.Module,
    inputs: Inputs,
    options: MeasureOptions,
    *,
    initial: Initial | None = None,
    like: Survey | None = None,
) -> tuple[pd.DataFrame, Measured]:
    """Measure as ``measure`` does; return the table and the covariances.

    Args:
        model: The network.
        inputs: As for ``measure``.
        options: As for ``measure``.
        initial: The network before training; a later call of the same samples and options does not measure it again.
        like: The layers of an earlier step: each is in the table again, even where no sample goes through it now.
    """
    model = plain(model)
    compared = {part for quantity in chosen(options.quantities) for part in quantity.compares}
    start = None if initial is None else initial.network(model)
    loss = options.loss_function
    if initial is not None or loss is not None:
        inputs = kept(inputs)  # read more than once
    if loss is not None:  # before K is measured, which takes far longer
        check_targets(model, inputs, options.targets, loss, every=isinstance(options.loss, str))
    measured = measured_covariances(model, inputs, options, like=like)
    updates = options.updates or {}
    for name in updates:
        if name not in measured.layers and (options.layers is None or name in options.layers):
            raise ValueError(f"updates: no layer {name!r} is measured; {nearest(name, measured.layers)}")
    before = None
    if initial is not None and compared & {INITIAL_WEIGHT, INITIAL_COVARIANCE, MOTION}:
        before = initial.layers(start, model, inputs, options, measured, compared)
    gradients = None
    if loss is not None and compared & {LOSS_GRADIENT, MOTION}:
        gradients = weight_gradients(
            model,
            inputs,
            options.targets,
            loss,
            heads=options.heads,
            batch_size=options.batch_size or BATCH,
            layers=measured.places,
        )
    table = frame(
        measured.layers,
        initial=before,
        gradients=gradients,
        updates=updates,
        weight_decay=options.weight_decay,
        decoupled_decay=options.decoupled_decay,
        quantities=options.quantities,
        seed=options.seed,
        step=options.step,
    )
    table.attrs["left_out"] = measured.left_out
    return table, measured


def _fitting(what: str, tensor: Tensor | None, shape: torch.Size, layer: str) -> Tensor | None:
    """Check a tensor's shape and convert it to float64 on the CPU.

    Raises:
        ValueError: The tensor has another shape.
    """
    if tensor is None:
        return None
    if tensor.shape != shape:
        raise ValueError(f"{what} of layer {layer!r} has shape {tuple(tensor.shape)}, not {tuple(shape)}")
    return tensor.detach().to("cpu", torch.float64)
