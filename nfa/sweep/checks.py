"""Checks of a cell that involve two axes: whether model, data, loss and optimizer fit each other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from nfa.errors import SweepError
from nfa.models import MODELS
from nfa.optim import OPTIMIZERS
from nfa.sweep.cells import Cell, Sweep, model_entry, readable_name

# Learning rules that give each layer an error of its own.
LAYERWISE = frozenset({"direct_feedback_alignment", "hebb"})


@dataclass(frozen=True)
class Entry:
    """One expanded entry of an axis, with where it stands in the file and what it is kept to."""

    settings: Any
    where: str
    only: dict[str, list[str]]

    @cached_property
    def readable(self) -> str:
        """Its part of a cell's name."""
        return readable_name(self.settings)


def check_fit(cell: Cell, chosen: dict[str, Entry]) -> None:
    """Refuse a network that the data do not fit, a speed for a layer that is not there, a loss that needs classes."""
    model, data = chosen["model"], chosen["data"]
    reads = model_entry(model.settings).reads
    if cell.shape.kind not in reads:
        needed, shape = " or ".join(sorted(reads)), " x ".join(map(str, cell.shape.input_shape))
        raise SweepError(
            f"{model.where}: {model.settings.name} needs {needed}, but {data.settings.name} gives {cell.shape.kind} of "
            f"{shape}; keep it to other data with for: {{data: ...}}"
        )
    if cell.train.loss == "cross_entropy" and cell.shape.classes is None:
        raise SweepError(
            f"{chosen['train'].where}.loss: cross_entropy needs classes, but {data.settings.name} is a regression; "
            f"use mse"
        )
    if cell.train.loss == "cross_entropy" and cell.shape.outputs < 2:
        raise SweepError(
            f"{chosen['train'].where}.loss: cross_entropy needs an output for each of several classes, but "
            f"{data.settings.name} has one; use mse"
        )
    if cell.train.loss == "logistic" and cell.shape.classes and not getattr(cell.data, "centre", True):
        raise SweepError(
            f"{chosen['train'].where}.loss: logistic takes the sign of a target, and with centre: false that of "
            f"{data.settings.name} is 0 for all classes but one; use centre: true, or mse"
        )
    if cell.train.rule in LAYERWISE and model_entry(model.settings).chain is False:
        chains = [name for name, entry in MODELS.items() if entry.chain]
        raise SweepError(
            f"{chosen['train'].where}.rule: {cell.train.rule} gives each layer its own error, but "
            f"{model.settings.name} is no chain of layers; {', '.join(chains)} are"
        )
    optimizer = chosen["optimizer"]
    adapt, steps = getattr(cell.optimizer, "adapt", None), cell.train.total_steps(cell.shape.n_train)
    if adapt is not None and adapt >= steps:
        raise SweepError(
            f"{optimizer.where}.adapt: {adapt}: speeds would never change in {steps:,} steps; use fewer steps between "
            f"measurements"
        )
    try:
        OPTIMIZERS[optimizer.settings.name].canonical(optimizer.settings, [layer.name for layer in cell.layers])
    except ValueError as error:
        raise SweepError(
            f"{optimizer.where}.{error} (layers of {model.settings.name} on {data.settings.name})"
        ) from None


def check_probe(sweep: Sweep) -> None:
    """Refuse logistic probes of data without classes."""
    if sweep.probe.kind == "logistic":
        for cell in sweep.cells:
            if cell.shape.classes is None:
                name = cell.data.name  # type: ignore[attr-defined]
                raise SweepError(
                    f"{sweep.source}: probe.kind: logistic needs classes, but {name} is a regression; use ridge"
                )


def check_early(sweep: Sweep) -> None:
    """Refuse early dynamics of a sweep in which no cell follows gradient flow: nothing would come of them."""
    if sweep.measure.early and not any(cell.follows_gradient_flow for cell in sweep.cells):
        raise SweepError(
            f"{sweep.source}: measure.early: {sweep.measure.early}: no cell follows gradient flow; add an optimizer "
            f"{{name: sgd}} without momentum, weight decay and clip, or leave it out"
        )
