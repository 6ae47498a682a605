"""One trial of a network on a few samples: is K a mean over samples, and is it more than rounding?

A trial asks three questions.

1. *Does the network mix samples?* K is a mean of J_i^T J_i over samples only if no row of J belongs to two samples.
   The trial makes two reverse passes, from the outputs of one half of the samples and from those of the other half. A
   row of a product (or a sample of the input) that both reach belongs to two samples. A row that only one of them
   reaches is exactly zero in the other, so mixing of any strength above rounding is found. Autograd does not follow
   statistics under ``no_grad`` or a detached mean. For these, outputs are compared: two samples among copies of one of
   them, the samples in reverse order, and every second sample must give the same outputs as before, up to rounding.
2. *Is K more than rounding?* Where the true gradient is zero by cancellation, J consists of rounding. J is computed
   again from samples (or weights) that differ in their last digits. |J - J'|^2 then estimates the part of tr K that is
   rounding, whatever the scale of the outputs and however fast gradients vanish with depth.
3. *Is the pass random?* A network that draws random numbers gives other outputs in each pass; K is then that of one
   draw, and a note says so. The same holds for outputs that change for another reason, such as a counter.
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
from nfa.alignment.network.reasons import reason
from nfa.alignment.network.recording import Call, Recording, differentiated, wanted
from nfa.alignment.network.single_sample import doubled, record_doubled
from nfa.random import torch_generator

STEP = 1.5  # size of the change of samples or weights in a second pass, relative and in units of rounding (eps)
SAME = 0.05  # if the outputs change by more than this share then, J cannot be compared: the note MAGNIFIED
# K counts as rounding if tr K is at most so many times the part of it that is rounding: J is then wrong by a fifth, or
# more. In half precision J is known only to a few percent and its errors average out in K, so it must be wrong by half.
PARTLY, PARTLY_HALF = 30.0, 4.0

DRAWN = reason("the forward pass draws random numbers: K is that of one draw")
UNSTEADY = reason("two passes over the same samples give different outputs: K is that of one of them")
MAGNIFIED = reason(
    "the outputs change by more than {percent}% when the last digits of the samples or weights change: "
    "K cannot be told from rounding in {dtype}"
)


@dataclass(frozen=True)
class Trial:
    """The result of a trial.

    Attributes:
        draws: Whether the outputs depend on random numbers that the forward pass draws.
        alone: Whether a single sample has to be measured as a batch of one.
        rounding: Layer name -> the part of tr K that is rounding, for one sample.
        traces: Layer name -> tr K of these samples, estimated from the same random combination of the outputs.
        remarks: Notes for every value that depends on K.
        repeats: Compares later passes over the same samples with this one; None if outputs of two passes cannot be
            compared.
    """

    draws: bool = False
    alone: bool = False
    rounding: dict[str, float] = field(default_factory=dict)
    traces: dict[str, float] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    repeats: Repeats | None = None


def run_trial(
    model: nn.Module, inputs: Tensor, recording: Recording, before: Draws, layers: Sequence[str], *, heads: bool
) -> Trial:
    """Try a network out on samples that it has just run on.

    Args:
        model: Network in eval mode, as ``measuring_mode`` leaves it.
        inputs: (n, *input shape); a single sample was recorded as two copies.
        recording: The pass over them.
        before: Random states before that pass; restored at the end.
        layers: Names of the layers that are to be measured.
        heads: The option with which the recording was made.

    Raises:
        ValueError: The network mixes its samples.
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
    remarks = [remark for remark, applies in ((DRAWN, draws), (UNSTEADY, not repeats.steady)) if applies]
    if alone:  # J of two copies says nothing about J of the sample alone, so its rounding stays unknown
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
        """Make the two reverse passes, down to the layers and to the samples."""
        outputs = recording.outputs
        n = len(outputs)
        self.directions = directions(outputs)
        self.calls, edges = wanted(recording, layers)
        # Halves by the parity of binary digits: places that differ in one digit are in different halves, so that mixing
        # between neighbours or blocks, or at a distance of a power of two, crosses from one half to the other.
        odd = torch.tensor([bin(place).count("1") % 2 for place in range(n)], dtype=torch.bool, device=outputs.device)
        sources = [self.directions * half[:, None] for half in (odd, ~odd)]
        try:
            samples = [recording.inputs] if recording.inputs.requires_grad else []
            first, second = _reverse(outputs, [*edges, *samples], sources)
        except RuntimeError:  # a reentrant checkpoint before the layers: gradients of the samples are not available
            samples = []
            first, second = _reverse(outputs, edges, sources)
        reached = zip(self._rows(first, samples), self._rows(second, samples), strict=True)
        self.mixed = n > 1 and any(reaches_two(one, other) for one, other in reached)
        self.gradients = [_sum(one, other) for one, other in zip(first, second, strict=True)][: len(edges)]

    def _rows(self, gradients: Sequence[Tensor | None], samples: Sequence[Tensor]) -> Iterator[Tensor | None]:
        """Yield the rows of J of every call, then the gradients of the samples."""
        for call in self.calls:
            gradient = gradients[call.product]
            yield None if gradient is None else call.read(gradient)
        if samples:
            gradient = gradients[-1]
            yield None if gradient is None else gradient.flatten(1)[None]


def _reverse(outputs: Tensor, targets: Sequence[Any], sources: Sequence[Tensor]) -> list[tuple[Tensor | None, ...]]:
    """Differentiate several combinations of the outputs at some edges and leaves; the graph is kept."""
    return [differentiated(outputs, targets, one, retain_graph=True) for one in sources]


def directions(outputs: Tensor) -> Tensor:
    """Draw random signs for every output of every sample: E |sum_c v_c J_c|^2 = sum_c |J_c|^2."""
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
    """Compute J a second time with other last digits, and compare.

    Returns:
        For every layer the part of tr K that is rounding, and tr K, both empty if the second pass is another
        computation; and whether the network magnifies rounding.
    """
    try:
        with _last_digits(model, inputs) as samples:
            before.restore()
            again = record_doubled(model, samples, heads=heads, alone=len(outputs) == 1)
            calls, edges = wanted(again, layers)
            if _signature(calls) != _signature(halves.calls):
                return {}, {}, False
            far = _far(again.outputs.detach(), outputs)
            direction = halves.directions * (1 + STEP * torch.finfo(outputs.dtype).eps)
            gradients = torch.autograd.grad(again.outputs, edges, direction, allow_unused=True)
    except Exception:  # a network that runs on these very samples only can raise anything
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
    """Tell whether outputs differ by more than a change of last digits explains."""
    return one.shape != other.shape or not bool((one - other).norm() <= SAME * other.norm())


def _squares(rows: Tensor) -> float:
    """Sum of squares, also beyond the range of the rows' number type; 0 if an entry is not finite."""
    if rows.numel() == 0:
        return 0.0
    size = max(abs(bound.item()) for bound in rows.aminmax())
    if not 0 < size < float("inf"):
        return 0.0
    norm: float = (rows / size).float().norm().item()
    return (norm * size) ** 2


@contextmanager
def _last_digits(model: nn.Module, inputs: Tensor) -> Iterator[Tensor]:
    """Change the last digits of the samples or, if these are whole numbers, of the weights within the context.

    All numbers change by one factor, so that equal ones stay equal and a tie keeps its winner.
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
    """Tell whether a sample gives another output as a batch of one than beside a copy of itself."""
    alone = numbers_again(model, inputs, before)
    beside = recording.outputs[:1].detach()
    return alone is not None and alone.numel() == beside.numel() and differ(alone.reshape(1, -1), beside, 0.0)


def _depends_on_draws(model: nn.Module, inputs: Tensor, outputs: Tensor) -> bool:
    """Tell whether other random numbers give other outputs."""
    again = numbers_again(model, inputs, None)
    return again is not None and again.shape == outputs.shape and differ(again, outputs, 0.0)
