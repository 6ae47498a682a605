"""A reference for K, in float64: perturb every pre-activation, and differentiate each sample's outputs by that.

A model (or a plain re-implementation of one) marks its pre-activations with ``tap``; outputs of linear and convolution
modules are marked by themselves. Nothing of ``nfa`` is used.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.functional import jacobian
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd


@dataclass(frozen=True)
class ReferenceLayer:
    """One layer: W and K, (k, d) and (k, k), or with a leading axis of g > 1 blocks."""

    weight: Tensor
    covariance: Tensor


@dataclass(frozen=True)
class _Call:
    name: str
    shape: torch.Size
    weight: Tensor
    axes: tuple[int, ...]

    def rows(self, derivative: Tensor) -> Tensor:
        """(T, *shape of h) -> (g, rows, k)."""
        axes = [axis % len(self.shape) + 1 for axis in self.axes]
        moved = derivative.movedim(axes, list(range(-len(axes), 0)))
        moved = moved if len(axes) == 2 else moved.unsqueeze(-2)
        return moved.flatten(0, -3).movedim(1, 0)


@dataclass
class _Taps:
    """Records the pre-activations of one forward pass, and adds a perturbation to each."""

    perturbations: tuple[Tensor, ...] | None
    calls: list[_Call] = field(default_factory=list)


_active: _Taps | None = None


def computing_reference() -> bool:
    """Whether a reference is being computed: a network may then take a simpler way to the same outputs."""
    return _active is not None


def tap(name: str, h: Tensor, weight: Tensor, axes: tuple[int, ...] = (-1,)) -> Tensor:
    """Mark a pre-activation h = W x (+ b); it is changed only while a reference is computed.

    Args:
        name: Of the layer.
        h: The pre-activation.
        weight: W, (k, *fan-in), or (g, k, *fan-in) with two axes.
        axes: The axis of h that counts the rows of W; the axis of the blocks before it where there are several.
    """
    if _active is None:
        return h
    _active.calls.append(_Call(name, h.shape, weight.detach().flatten(len(axes)), axes))
    return h if _active.perturbations is None else h + _active.perturbations[len(_active.calls) - 1]


def tap_parts(h: Tensor, weight: Tensor, parts: Mapping[str, list[int]]) -> Tensor:
    """Mark disjoint sets of columns of h, each the pre-activation of a layer of its own."""
    if _active is None:
        return h
    marked = h.clone()
    for name, rows in parts.items():
        marked[..., rows] = tap(name, h[..., rows], weight[rows])
    return marked


def reference_layers(
    model: nn.Module, inputs: Tensor, forward: Callable[[Tensor], Tensor] | None = None
) -> dict[str, ReferenceLayer]:
    """W and K = (1/n) sum over samples, positions and calls of J^T J, for every layer in forward order.

    Args:
        model: Network in eval mode.
        inputs: (n, ...).
        forward: Computes the same as the model, with taps where the model has none.
    """
    run = forward or model
    totals: dict[str, Tensor] = {}
    weights: dict[str, Tensor] = {}
    with _modules_tapped(model):
        for sample in inputs:
            calls = _taps(run, sample, None)[0].calls
            zeros = tuple(torch.zeros(call.shape, dtype=torch.float64) for call in calls)
            derivatives = jacobian(lambda *given, sample=sample: _taps(run, sample, given)[1], zeros)
            for call, derivative in zip(calls, derivatives, strict=True):
                rows = call.rows(derivative)
                weights[call.name] = call.weight
                totals[call.name] = totals.get(call.name, 0) + rows.mT @ rows
    return {name: ReferenceLayer(weights[name], _squeezed(total) / len(inputs)) for name, total in totals.items()}


def reference_covariance(model: nn.Module, layer: str, inputs: Tensor) -> Tensor:
    """K of one layer that is the output of a module."""
    return reference_layers(model, inputs)[layer].covariance


def _taps(
    run: Callable[[Tensor], Tensor], sample: Tensor, perturbations: tuple[Tensor, ...] | None
) -> tuple[_Taps, Tensor]:
    """Run one sample; return the pre-activations that it went through, and its outputs (T,)."""
    global _active
    _active = taps = _Taps(perturbations)
    try:
        return taps, run(sample[None].clone())[0].flatten()
    finally:
        _active = None


@contextmanager
def _modules_tapped(model: nn.Module) -> Iterator[None]:
    """Mark the outputs of linear and convolution modules; layers are named by the first owner of their weight."""
    owners = {id(parameter): name.removesuffix(".weight") for name, parameter in model.named_parameters()}
    handles = []

    def mark(module: Any, _inputs: object, h: Tensor) -> Tensor:
        name = "" if module is model else owners[id(module.weight)]
        if isinstance(module, nn.Linear):
            return tap(name, h, module.weight)
        if module.groups == 1:
            return tap(name, h, module.weight, (1,))
        blocks = module.weight.unflatten(0, (module.groups, -1))
        return tap(name, h.unflatten(1, (module.groups, -1)), blocks, (1, 2)).flatten(1, 2)

    for module in model.modules():
        measurable = isinstance(module, nn.Linear | _ConvNd) and not isinstance(module, _ConvTransposeNd)
        if measurable and id(module.weight) in owners:  # not one that is computed from other parameters
            handles.append(module.register_forward_hook(mark))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _squeezed(blocks: Tensor) -> Tensor:
    return blocks[0] if len(blocks) == 1 else blocks
