"""Comparisons that show whether a network mixes its samples.

K is a mean over samples of J_i^T J_i, which means something only if the outputs for a sample depend on that sample
alone. Two kinds of evidence are computed here; ``trial.py`` puts them together. ``reaches_two`` compares gradients: a
row of J that is reached from the outputs of two different samples belongs to neither. ``Repeats`` compares outputs: the
same samples in other places, in other numbers and beside other samples must give the same outputs. Same means equal up
to a multiple of rounding, and how large rounding is in this network is measured: by a pass that is repeated unchanged,
and by one in which samples and weights change in their last digits.
"""

from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

from nfa.alignment.network.draws import Draws

MIXED = (
    "the network's output for a sample depends on the samples beside it, on their number, or on its place among them, "
    "so there is no gradient of one sample; is the first axis that of the samples (batch_first=True), and does "
    "normalisation use running statistics?"
)
# Two passes over other shapes of the same samples differ by rounding. Outputs count as different beyond so many times
# the difference between a pass and its repetition, or between a pass and one with other last digits.
MULTIPLE = 16.0
# A row that belongs to one sample receives exactly zero from the outputs of the others. A sum that runs over several
# samples and is taken apart again leaves rounding of this relative size.
SHARED = torch.finfo(torch.float32).eps


def reaches_two(one: Tensor | None, other: Tensor | None) -> bool:
    """Tell whether reverse passes from two sets of samples reach the same row, by more than rounding.

    Args:
        one: Rows of J (g, m, k) from the outputs of one set of samples; None if they do not reach the product.
        other: The same rows from the outputs of the other samples.
    """
    if one is None or other is None or one.numel() == 0:
        return False
    sizes = [rows.abs().amax(-1).nan_to_num(nan=0.0, posinf=0.0) for rows in (one, other)]
    shared, largest = torch.minimum(*sizes).max(), torch.maximum(*sizes).max()
    return bool(shared > min(torch.finfo(one.dtype).eps, SHARED) * largest)


class Repeats:
    """The same samples run again: unchanged, in other places, beside other samples, and with other last digits.

    If a network does not mix its samples, all these outputs differ by rounding at most. Every pass draws the same
    random numbers; where the outputs depend on them, passes with other places or numbers of samples are not compared,
    because a sample then gets other random numbers.

    Attributes:
        steady: Whether two unchanged passes over the samples give the same outputs, up to rounding.
    """

    def __init__(self, model: nn.Module, inputs: Tensor, outputs: Tensor, before: Draws, *, draws: bool) -> None:
        """Run the samples again.

        Args:
            model: Network in eval mode.
            inputs: (n, *input shape).
            outputs: (n, T), the network's outputs for the inputs.
            before: Random states before the pass that gave these outputs.
            draws: Whether the outputs depend on random numbers.
        """
        self._model, self._inputs, self._before, self._draws = model, inputs, before, draws
        self._outputs = outputs.detach()
        with _Coarsest() as coarsest:
            self._same = numbers_again(model, inputs, before)
        self._after = Draws.now(before.where)
        self._eps = coarsest.eps
        self.steady = self._is_steady()

    def _is_steady(self) -> bool:
        same = self._same
        if same is None or same.shape != self._outputs.shape or _same_bits(same, self._outputs):
            return True
        again = numbers_again(self._model, self._inputs, self._before)
        return again is None or not differ(again, same, self._eps * _distance(same, None))

    @cached_property
    def _sizes(self) -> Tensor:
        """Rounding of each sample's outputs: their change by a repetition or by other last digits; (n,) float64.

        A sample whose outputs nearly cancel is rounded as the terms of its sums are, which can chance to stay the same
        when the last digits change. So no sample's rounding is taken to be less than the median over samples.
        """
        known = [again for again in (self._same, self._moved()) if again is not None]
        sizes = [self._eps * _norms(self._outputs, None)]
        sizes += [_norms(again, self._outputs) for again in known if again.shape == self._outputs.shape]
        largest = torch.stack(sizes).amax(0)
        return largest.clamp_min(float(largest.median()))

    def _moved(self) -> Tensor | None:
        step = 1 + self._eps
        state = {name: p.detach() * step for name, p in self._model.named_parameters() if p.is_floating_point()}
        samples = self._inputs * step if self._inputs.is_floating_point() else self._inputs
        try:
            self._before.restore()
            outputs = functional_call(self._model, state, (samples.detach().clone(),)).detach()
            outputs = torch.view_as_real(outputs.resolve_conj()) if outputs.is_complex() else outputs
            moved: Tensor = outputs.reshape(self._outputs.shape)
            return moved
        except Exception:  # a network that does not take other weights, or raises on such samples
            return None

    def rounding(self, rows: slice | Tensor) -> float:
        """Euclidean norm of the rounding of the outputs of some samples."""
        return float(self._sizes[rows].norm())

    @property
    def mix(self) -> bool:
        """Tell whether outputs depend on the other samples, on their number, or on a sample's place among them."""
        return len(self._inputs) > 1 and (self._among_copies() or self._arranged())

    def _among_copies(self) -> bool:
        """Keep two samples in their places, replace all others by copies of one of them, and compare the two outputs.

        The number of samples stays the same because the last bits depend on it. The two are not the first samples: a
        recurrent network that takes its samples for time steps does not let the first depend on later ones.
        """
        few = slice(1, 3)
        others = self._inputs[1:2].expand_as(self._inputs).clone()
        others[few] = self._inputs[few]
        beside = numbers_again(self._model, others, self._before)
        if beside is None or beside.shape != self._outputs.shape:
            return False
        if self._draws and self._after.drawn_since():  # another number of draws: not the same random numbers
            return False
        return self.other(beside[few], few)

    def _arranged(self) -> bool:
        """Run the samples in reverse order, then the even and the odd ones by themselves, and compare all outputs."""
        if self._draws or not self.steady:
            return False
        places = torch.arange(len(self._inputs), device=self._inputs.device)
        for chosen in (places.flip(0), places[0::2], places[1::2]):
            given = self._inputs[chosen]
            # Not in a batch of one, which some operations treat in another way.
            given = torch.cat([given, given]) if len(given) == 1 else given
            outputs = numbers_again(self._model, given, self._before)
            if outputs is None or outputs.shape != (len(given), self._outputs.shape[1]):
                continue
            if self.other(outputs[: len(chosen)], chosen.to(self._outputs.device)):
                return True
        return False

    def comparable(self) -> bool:
        """Tell whether outputs of another pass over the same samples can be compared with these."""
        return self.steady and not self._draws

    def other(self, outputs: Tensor, rows: slice | Tensor) -> bool:
        """Tell whether other outputs of some of the samples differ from the first ones by more than rounding."""
        expected = self._outputs[rows]
        return not _same_bits(outputs, expected) and differ(outputs, expected, self.rounding(rows))

    def unlike(self, outputs: Tensor, expected: Tensor) -> bool:
        """Tell whether two passes over samples other than the tried ones differ by more than rounding.

        Their rounding is taken to be that of the tried samples, in proportion to the size of the outputs.
        """
        if outputs.shape != expected.shape or _same_bits(outputs, expected):
            return False
        least = torch.finfo(expected.dtype).tiny
        times = _distance(expected, None) / max(_distance(self._outputs, None), least)
        rounding = self.rounding(slice(None)) * max(times, 1.0)
        return differ(outputs, expected, rounding)


def _norms(one: Tensor, other: Tensor | None) -> Tensor:
    """Norm of one, or of the difference of two tensors, for each sample; entries that are not finite count as zero."""
    difference = one.double() if other is None else one.double() - other.double()
    norms: Tensor = difference.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0).flatten(1).norm(dim=1)
    return norms


class _Coarsest(TorchDispatchMode):
    """Finds the largest rounding unit among the number types that a pass computes in."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.eps = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and (result.is_floating_point() or result.is_complex()):
            self.eps = max(self.eps, torch.finfo(result.dtype).eps)
        return result


def numbers_again(model: nn.Module, inputs: Tensor, before: Draws | None) -> Tensor | None:
    """Run samples in a plain forward pass.

    Args:
        model: The network.
        inputs: (n, *input shape).
        before: Random states to draw from; None for the present ones.

    Returns:
        (n, T) outputs; None if the network does not run on these samples.
    """
    try:
        if before is not None:
            before.restore()
        outputs: Tensor = model(inputs.detach().clone()).detach()
        outputs = torch.view_as_real(outputs.resolve_conj()) if outputs.is_complex() else outputs
        return outputs.reshape(len(inputs), -1)
    except Exception:  # such samples may make no sense to the network, which can raise anything
        return None


def differ(one: Tensor, other: Tensor, rounding: float) -> bool:
    """Tell whether outputs differ by more than a small multiple of their rounding.

    Args:
        one: (n, T).
        other: (n, T).
        rounding: Euclidean norm of the difference that rounding makes; no less than the number type's is taken.
    """
    least = torch.finfo(other.dtype).eps * _distance(other, None)
    return _distance(one, other) > MULTIPLE * max(rounding, least)


def _same_bits(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one.nan_to_num(), other.nan_to_num())


def _distance(one: Tensor, other: Tensor | None) -> float:
    """Norm of one, or of the difference of two tensors; entries that are not finite count as zero."""
    difference = one.double() if other is None else one.double() - other.double()
    norm: float = difference.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0).norm().item()
    return norm
