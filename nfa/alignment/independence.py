"""Whether a network treats its samples apart, as K, a mean over samples, takes for granted.

``nfa.alignment.trial`` says how it is tried; here is what is compared.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

from nfa.alignment.draws import Draws

MIXED = (
    "the network's output for a sample depends on the samples beside it, so there is no gradient of one sample; is the "
    "first axis that of the samples (batch_first=True), and does normalisation use running statistics?"
)
# Outputs of the same shapes are the same bits on a CPU; else they differ by rounding, up to so many times what the same
# pass differs by when it is done again, or when its samples or weights change in the last digit.
MULTIPLE = 16.0
# A row that samples do not share is zero exactly, in any number type. Running sums over several samples that are taken
# apart again, leave rounding.
SHARED = torch.finfo(torch.float32).eps


def reaches_two(one: Tensor | None, other: Tensor | None) -> bool:
    """Whether reverse passes from two sets of samples reach the same row, by more than rounding.

    Args:
        one: Rows of J (g, m, k) from the outputs of some samples; None where they do not reach the product.
        other: From those of the others.
    """
    if one is None or other is None or one.numel() == 0:
        return False
    sizes = [rows.abs().amax(-1).nan_to_num(nan=0.0, posinf=0.0) for rows in (one, other)]
    shared, largest = torch.minimum(*sizes).max(), torch.maximum(*sizes).max()
    return bool(shared > min(torch.finfo(one.dtype).eps, SHARED) * largest)


def values_mix(model: nn.Module, inputs: Tensor, outputs: Tensor, before: Draws) -> bool:
    """Run two samples among copies of one of them, in their places and in as many, and compare their outputs.

    As many, because the last bits depend on the number of samples. Not the first ones: a recurrent network that takes
    its samples for time steps does not see later ones. Every pass draws the same random numbers. A network that gives
    other outputs in the same pass done again is let through, as far as they differ.

    Args:
        model: Network in eval mode.
        inputs: (n, *input shape).
        outputs: (n, T), what the network gave for them.
        before: Random states before it did.

    Returns:
        Whether the outputs of the two are others than they were, by more than rounding.
    """
    if len(inputs) < 2:
        return False
    few = slice(1, 3)
    others = inputs[1:2].expand_as(inputs).clone()
    others[few] = inputs[few]
    outputs = outputs.detach()
    beside = numbers_again(model, others, before)
    if beside is None or beside.shape != outputs.shape or _same_bits(beside[few], outputs[few]):
        return False
    return differ(beside[few], outputs[few], _rounding(model, inputs, outputs, few, before))


def _rounding(model: nn.Module, inputs: Tensor, outputs: Tensor, rows: slice, before: Draws) -> float:
    """How far outputs of some samples move when nothing changes, or only the last digits of samples and weights."""
    with _Coarsest() as coarsest:
        same = numbers_again(model, inputs, before)
    step = 1 + coarsest.eps
    state = {name: p.detach() * step for name, p in model.named_parameters() if p.is_floating_point()}
    samples = inputs * step if inputs.is_floating_point() else inputs
    moved: Tensor | None = None
    try:
        before.restore()
        moved = functional_call(model, state, (samples.detach().clone(),)).detach().reshape(outputs.shape)
    except Exception:  # a network that does not take other weights, or raises on such samples
        pass
    known = [again for again in (same, moved) if again is not None and again.shape == outputs.shape]
    sizes = [_distance(again[rows], outputs[rows]) for again in known]
    return max(float(coarsest.eps * _distance(outputs[rows], None)), *sizes, 0.0)


class _Coarsest(TorchDispatchMode):
    """Watches the rounding of the coarsest number type that a pass computes in."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.eps = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and (result.is_floating_point() or result.is_complex()):
            self.eps = max(self.eps, torch.finfo(result.dtype).eps)
        return result


def numbers_again(model: nn.Module, inputs: Tensor, before: Draws | None) -> Tensor | None:
    """Outputs (n, T) for some samples, with the draws that follow a state; None where the network does not run."""
    try:
        if before is not None:
            before.restore()
        outputs: Tensor = model(inputs.detach().clone()).detach()
        outputs = torch.view_as_real(outputs.resolve_conj()) if outputs.is_complex() else outputs
        return outputs.reshape(len(inputs), -1)
    except Exception:  # whatever a network raises to which such samples make no sense
        return None


def differ(one: Tensor, other: Tensor, rounding: float) -> bool:
    """Whether outputs differ by more than a small multiple of their rounding.

    Args:
        one: (n, T).
        other: (n, T).
        rounding: Euclidean norm of the difference that rounding makes; at least that of the number type is taken.
    """
    least = torch.finfo(other.dtype).eps * _distance(other, None)
    return _distance(one, other) > MULTIPLE * max(rounding, least)


def _same_bits(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one.nan_to_num(), other.nan_to_num())


def _distance(one: Tensor, other: Tensor | None) -> float:
    """Norm of a difference, or of the first; what is not finite in either is left out."""
    difference = one.double() if other is None else one.double() - other.double()
    norm: float = difference.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0).norm().item()
    return norm
