"""Checks that involve several axes: model, data, loss, learning rule and optimizer must fit each other."""

from __future__ import annotations

import math

from nfa.errors import SweepError
from nfa.models import MODELS
from nfa.sweep.axis_points import Network
from nfa.sweep.cells import Cell, Sweep
from nfa.sweep.stage_settings import MAX_CHECKPOINTS

# Learning rules that compute a separate error for each layer.
LAYERWISE = frozenset({"direct_feedback_alignment", "hebb"})


def check_kind(network: Network) -> None:
    """Refuse a model that cannot read the data, e.g. a convolution of vectors."""
    data, model = network.data, network.model
    if data.shape.kind not in model.entry.reads:
        needed, shape = " or ".join(sorted(model.entry.reads)), " x ".join(map(str, data.shape.input_shape))
        raise SweepError(
            f"{model.where}: {model.name} needs {needed}, but {data.name} gives {data.shape.kind} of {shape}; keep it "
            f"to other data with for: {{data: ...}}"
        )


def check_fit(cell: Cell) -> None:
    """Refuse a loss, a learning rule or an optimizer setting that does not fit the data or the network."""
    data, model, optimizer, train = cell.points
    loss, classes = cell.train.loss, cell.shape.classes
    if loss == "cross_entropy" and classes is None:
        raise SweepError(f"{train.where}.loss: cross_entropy needs classes, but {data.name} is a regression; use mse")
    if loss == "cross_entropy" and cell.shape.outputs < 2:
        raise SweepError(
            f"{train.where}.loss: cross_entropy needs an output for each of several classes, but "
            f"{data.name} has one; use mse"
        )
    if loss == "logistic" and classes and not getattr(cell.data, "centre", True):
        raise SweepError(
            f"{train.where}.loss: logistic takes the sign of a target, and with centre: false that of "
            f"{data.name} is 0 for all classes but one; use centre: true, or mse"
        )
    written = optimizer.settings
    if written.lr_times is not None and classes is None:
        raise SweepError(
            f"{optimizer.where}.lr_times: {written.lr_times} needs classes, but {data.name} is a regression; leave it "
            "out, or keep the entry to other data with for: {data: ...}"
        )
    epochs = math.ceil(cell.train.total_steps(cell.shape.n_train) / cell.train.steps_per_epoch(cell.shape.n_train))
    if written.warm_start is not None and written.warm_start.epochs >= epochs:
        raise SweepError(
            f"{optimizer.where}.warm_start.epochs: {written.warm_start.epochs} is as long as the training, which has "
            f"{epochs:,}; train longer, or use fewer"
        )
    every_epoch, n_train = cell.train.checkpoints == "every_epoch", cell.shape.n_train
    if every_epoch and len(cell.train.checkpoint_steps(n_train)) > MAX_CHECKPOINTS + 1:
        raise SweepError(
            f"{train.where}.checkpoints: every_epoch is more than {MAX_CHECKPOINTS:,} checkpoints, as an epoch of "
            f"{data.name} has few steps; give their number, with spacing: linear"
        )
    until = cell.train.until
    if until is not None and until.train_accuracy is not None and classes is None:
        raise SweepError(
            f"{train.where}.until.train_accuracy: {data.name} is a regression and has no accuracy; use train_loss"
        )
    if cell.train.rule in LAYERWISE and cell.model_entry.chain is False:
        chains = [name for name, entry in MODELS.items() if entry.chain]
        raise SweepError(
            f"{train.where}.rule: {cell.train.rule} gives each layer its own error, but "
            f"{model.name} is no chain of layers; use {', '.join(chains)}"
        )
    adapt, steps = getattr(cell.optimizer, "adapt", None), cell.train.total_steps(cell.shape.n_train)
    if adapt is not None and adapt >= steps:
        raise SweepError(
            f"{optimizer.where}.adapt: {adapt}: speeds would never change in {steps:,} steps; use fewer steps between "
            f"measurements"
        )
    try:
        cell.network.content(optimizer)
    except ValueError as error:
        raise SweepError(f"{optimizer.where}.{error} (layers of {model.name} on {data.name})") from None


def check_probe(sweep: Sweep) -> None:
    """Refuse logistic probes of data without classes."""
    if sweep.probe.kind == "logistic":
        for cell in sweep.cells:
            if cell.shape.classes is None:
                name = cell.data.name  # type: ignore[attr-defined]
                raise SweepError(
                    f"{sweep.source}: probe.kind: logistic needs classes, but {name} is a regression; use ridge"
                )


def check_heads(sweep: Sweep) -> None:
    """Refuse heads in a sweep in which no network has several, as there would be no result."""
    if sweep.measure.heads and not any(cell.may_have_heads for cell in sweep.cells):
        raise SweepError(
            f"{sweep.source}: measure.heads: true: no network has attention of several heads; add a model "
            f"{{name: transformer, heads: 4}}, or leave it out"
        )


def check_early(sweep: Sweep) -> None:
    """Refuse early dynamics in a sweep in which no cell follows gradient flow, as there would be no result."""
    if sweep.measure.early and not any(cell.follows_gradient_flow for cell in sweep.cells):
        raise SweepError(
            f"{sweep.source}: measure.early: {sweep.measure.early}: no cell follows gradient flow; add an optimizer "
            f"{{name: sgd}} without momentum, weight decay and clip, or leave it out"
        )
