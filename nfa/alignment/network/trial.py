"""A trial on a few samples before a network is measured: may K be taken for a mean over samples, and is it a number?

1. *Samples apart.* K is a sum over samples of J_i^T J_i only if no row of J belongs to two samples. Two reverse passes,
   one from the outputs of half of the samples and one from those of the others, must not both reach the same row of a
   product, or the same sample of the input. Rows they reach differ from zero exactly, so that a mixing of any strength
   above the rounding of the number type is found. What autograd does not follow (statistics under ``no_grad``, a
   detached mean) is looked for in the values: two samples among copies of one of them, the samples in reverse, and
   every other one of them must give the outputs that they gave, up to a small multiple of rounding.
2. *More than rounding.* Where the true gradient is zero by cancellation, J is what rounding leaves. The same J is
   computed again from samples, or weights, that differ in their last digits. |J - J'|^2 then estimates the part of
   tr K that is rounding, whatever the scale of the outputs and however fast gradients vanish with depth.
3. *Random numbers.* A network that draws gives another output each time; one draw is measured. So is one of the
   passes of a network whose outputs change for another reason, such as a counter or a generator of its own.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from nfa.alignment.network.draws import Draws
from nfa.alignment.network.independence import MIXED, Repeats, differ, numbers_again, reaches_two
from nfa.alignment.network.layers import parameters_of
from nfa.alignment.network.paired import doubled, record_paired
from nfa.alignment.network.reasons import reason
from nfa.alignment.network.recording import Call, Recording, differentiated, wanted
from nfa.random import torch_generator

STEP = 1.5  # relative change of samples or weights, in units of the number type's rounding
SAME = 0.05  # relative change of the outputs above which the two passes are not the same computation
# tr K up to so many times its rounding counts as rounding: J is wrong by a fifth. Half-precision numbers are known to a
# few per cent, and their errors average out in K: there J has to be wrong by half.
PARTLY, PARTLY_HALF = 30.0, 4.0

DRAWN = reason("the forward pass draws random numbers: K is that of one draw")
UNSTEADY = reason("two passes over the same samples give different outputs: K is that of one of them")
MAGNIFIED = reason(
    "the outputs change by more than {percent}% when the last digits of the samples or weights change: "
    "K cannot be told from rounding in {dtype}"
)


@dataclass(frozen=True)
class Trial:
    """What was found.

    Attributes:
        draws: Whether the outputs depend on random numbers that the forward pass draws.
        alone: Whether a single sample has to be measured as a batch of one.
        rounding: Layer name -> tr K that rounding makes by itself, for one sample.
        traces: Layer name -> tr K of these samples, as estimated from the same random combination of the outputs.
        remarks: What is to be known of every value that depends on K.
        repeats: The samples run again, for later passes over the same samples to be compared with; None where outputs
            of two passes cannot be compared.
    """

    draws: bool = False
    alone: bool = False
    rounding: dict[str, float] = field(default_factory=dict)
    traces: dict[str, float] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    repeats: Repeats | None = None


def tried(
    model: nn.Module, inputs: Tensor, recording: Recording, before: Draws, layers: Sequence[str], *, heads: bool
) -> Trial:
    """Try a network out on samples that it has just run on.

    Args:
        model: Network in eval mode, as ``undisturbed`` leaves it.
        inputs: (n, *input shape); a single sample was recorded twice.
        recording: The pass over them.
        before: Random states before that pass; restored at the end.
        layers: Names of the layers that are to be measured.
        heads: As the recording was made.

    Raises:
        ValueError: The samples are not treated apart.
    """
    drew = before.drawn_since()
    given = doubled(inputs) if len(recording.outputs) > len(inputs) else inputs
    outputs = recording.outputs.detach()
    halves = _Halves(recording, layers)
    draws = drew and _depends_on_draws(model, given, outputs)
    repeats = Repeats(model, given, outputs, before, draws=draws)
    mixed = halves.mixed or repeats.mix
    alone = len(inputs) == 1 and len(given) == 2 and (mixed or _another_alone(model, inputs, recording, before))
    if mixed and not alone:
        raise ValueError(MIXED)
    remarks = [remark for remark, so in ((DRAWN, draws), (UNSTEADY, not repeats.steady)) if so]
    if alone:
        before.restore()
        return Trial(draws=draws, alone=True, remarks=tuple(remarks))
    rounding, traces, magnified = _rounding(model, inputs, halves, outputs, before, layers, heads=heads)
    if magnified and repeats.steady:
        remarks.append(MAGNIFIED.format(percent=round(100 * SAME), dtype=str(outputs.dtype).removeprefix("torch.")))
    before.restore()
    return Trial(draws, False, rounding, traces, tuple(remarks), repeats if repeats.comparable() else None)


class _Halves:
    """Gradients of a random combination of each sample's outputs at every product, from two halves of the samples."""

    def __init__(self, recording: Recording, layers: Sequence[str]) -> None:
        """Make the two reverse passes, to the layers and to the samples."""
        outputs = recording.outputs
        n = len(outputs)
        self.directions = directions(outputs)
        self.calls, edges = wanted(recording, layers)
        odd = torch.tensor([bin(place).count("1") % 2 for place in range(n)], dtype=torch.bool, device=outputs.device)
        sources = [self.directions * half[:, None] for half in (odd, ~odd)]
        try:
            samples = [recording.inputs] if recording.inputs.requires_grad else []
            first, second = _reverse(outputs, [*edges, *samples], sources)
        except RuntimeError:  # a reentrant checkpoint before the layers
            samples = []
            first, second = _reverse(outputs, edges, sources)
        reached = zip(self._rows(first, samples), self._rows(second, samples), strict=True)
        self.mixed = n > 1 and any(reaches_two(one, other) for one, other in reached)
        self.gradients = [_sum(one, other) for one, other in zip(first, second, strict=True)][: len(edges)]

    def _rows(self, gradients: Sequence[Tensor | None], samples: Sequence[Tensor]) -> Iterator[Tensor | None]:
        """Rows of J of every call, then of the samples themselves."""
        for call in self.calls:
            gradient = gradients[call.product]
            yield None if gradient is None else call.read(gradient)
        if samples:
            gradient = gradients[-1]
            yield None if gradient is None else gradient.flatten(1)[None]


def _reverse(outputs: Tensor, targets: Sequence[Any], sources: Sequence[Tensor]) -> list[tuple[Tensor | None, ...]]:
    """Gradients at some edges and leaves from each of several combinations of the outputs; the graph stays."""
    return [differentiated(outputs, targets, one, retain_graph=True) for one in sources]


def directions(outputs: Tensor) -> Tensor:
    """Random signs for every output of every sample; the square of a combination is on average the sum of squares."""
    generator = torch_generator("trial", 0)
    signs = torch.randint(2, outputs.shape, generator=generator, dtype=torch.int8)
    return (2 * signs - 1).to(outputs)


def _sum(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    return other if one is None else one if other is None else one + other


def _rounding(
    model: nn.Module,
    inputs: Tensor,
    halves: _Halves,
    outputs: Tensor,
    before: Draws,
    layers: Sequence[str],
    *,
    heads: bool,
) -> tuple[dict[str, float], dict[str, float], bool]:
    """Trace of K that rounding makes, and that of K, for every layer; and whether the network magnifies rounding.

    The traces are left out where the second pass is not the same computation.
    """
    try:
        with _last_digits(model, inputs) as samples:
            before.restore()
            again = record_paired(model, samples, heads=heads, alone=len(outputs) == 1)
            calls, edges = wanted(again, layers)
            if _signature(calls) != _signature(halves.calls):
                return {}, {}, False
            far = _far(again.outputs.detach(), outputs)
            direction = halves.directions * (1 + STEP * torch.finfo(outputs.dtype).eps)
            gradients = torch.autograd.grad(again.outputs, edges, direction, allow_unused=True)
    except Exception:  # whatever a network raises that runs on these very samples only
        return {}, {}, False
    found: dict[str, float] = {}
    traces: dict[str, float] = {}
    for call, other in zip(halves.calls, calls, strict=True):
        one, two = halves.gradients[call.product], gradients[other.product]
        if one is not None and two is not None:
            name, rows = call.layer.name, call.read(one)
            found[name] = found.get(name, 0.0) + _squares(rows - other.read(two)) / len(inputs)
            traces[name] = traces.get(name, 0.0) + _squares(rows) / len(inputs)
    if not far:
        return found, traces, False
    finite = bool(outputs.isfinite().all() and again.outputs.isfinite().all())
    return {}, {}, finite and any(found[name] > SAME**2 * traces[name] for name in found)


def _signature(calls: Sequence[Call]) -> list[tuple[str, int]]:
    return [(call.layer.name, call.rows) for call in calls]


def _far(one: Tensor, other: Tensor) -> bool:
    """Whether outputs differ by more than the change of the last digits makes them."""
    return one.shape != other.shape or not bool((one - other).norm() <= SAME * other.norm())


def _squares(rows: Tensor) -> float:
    """Sum of squares, which may be too small or too large for the rows' number type; 0 where one is not finite."""
    if rows.numel() == 0:
        return 0.0
    size = max(abs(bound.item()) for bound in rows.aminmax())
    if not 0 < size < float("inf"):
        return 0.0
    norm: float = (rows / size).float().norm().item()
    return (norm * size) ** 2


@contextmanager
def _last_digits(model: nn.Module, inputs: Tensor) -> Iterator[Tensor]:
    """Change the last digits of the samples or, where these are whole numbers, of the weights for the time being.

    All by one factor, so that equal numbers stay equal: the largest of a tie stays the same one.
    """
    if inputs.is_floating_point():
        yield inputs * (1 + STEP * torch.finfo(inputs.dtype).eps)
        return
    parameters = [p for p in parameters_of(model).values() if p.is_floating_point()]
    kept = [p.data for p in parameters]
    try:
        for parameter in parameters:  # in other memory: a graph of the caller's may hold their own
            parameter.data = parameter.data * (1 + STEP * torch.finfo(parameter.dtype).eps)
        yield inputs
    finally:
        for parameter, data in zip(parameters, kept, strict=True):
            parameter.data = data


def _another_alone(model: nn.Module, inputs: Tensor, recording: Recording, before: Draws) -> bool:
    """Whether a sample gives another output as a batch of one than beside its copy."""
    alone = numbers_again(model, inputs, before)
    beside = recording.outputs[:1].detach()
    return alone is not None and alone.numel() == beside.numel() and differ(alone.reshape(1, -1), beside, 0.0)


def _depends_on_draws(model: nn.Module, inputs: Tensor, outputs: Tensor) -> bool:
    """Whether the outputs are others with other random numbers."""
    again = numbers_again(model, inputs, None)
    return again is not None and again.shape == outputs.shape and differ(again, outputs, 0.0)
