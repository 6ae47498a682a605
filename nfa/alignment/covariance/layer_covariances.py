"""``measure_covariances``: K of every layer in one pass over the samples.

    K = (1/n) sum_i sum_positions J_i^T J_i,    J_i = d f(x_i) / d h    (Beaglehole et al., arXiv 2402.05271)

This has four steps. A few samples are tried out (``network.trial_schedule``). The samples are cut into batches that
fit the size of the network's activations. Each batch takes one recorded forward pass and then reverse passes, each of
which serves all layers at once (``passes``):

exact       one pass per output c. Samples do not mix, so the gradient of output c, summed over the batch, holds the
            gradient of every single sample.
sketched    passes with random v of independent +-1 entries: E[(J^T v)(J^T v)^T] = J^T J. Two independent sketches of
            ``probes`` passes each, whatever the number of outputs.

Last, the sums become a ``LayerCovariance`` for each layer, with its place, its notes and its rounding.

    >>> model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    >>> measured = measure_covariances(model, torch.randn(20, 5))
    >>> {name: tuple(layer.covariance.shape) for name, layer in measured.layers.items()}
    {'0': (4, 4), '2': (3, 3)}
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from nfa.alignment.covariance.blocks import Blocks
from nfa.alignment.covariance.passes import LayerSum, LayerSums, exact_passes, sketched_passes
from nfa.alignment.network.arguments import CovarianceOptions
from nfa.alignment.network.fitting import explained
from nfa.alignment.network.layers import (
    Layer,
    WeightView,
    checked_device,
    finite,
    owner,
    parameters_of,
    plain,
    without_single_block,
)
from nfa.alignment.network.measuring_mode import measuring_mode
from nfa.alignment.network.reasons import reason
from nfa.alignment.network.recording import CHANGED, Recording
from nfa.alignment.network.samples import Inputs, batches, drawn, random_states_kept, regrouped
from nfa.alignment.network.single_sample import record_doubled
from nfa.alignment.network.survey import Survey
from nfa.alignment.network.trial import PARTLY, PARTLY_HALF
from nfa.alignment.network.trial_schedule import BLOCK, TrialSchedule, choose_for_trial, chosen_samples
from nfa.random import torch_generator

DOUBLE = torch.finfo(torch.float64).eps
# "auto" is exact up to so many outputs per sample (outputs times positions), each of which takes a reverse pass.
AFFORDABLE_OUTPUTS = 64
# Blocks of samples for error bars, if the number of samples is known; else a block has BLOCK samples.
BLOCKS = 32
# Samples in one pass, if the caller gives no batch size: as many as keep the graph within so many numbers (20 MiB in
# float32). Fewer than FEWEST leave cores idle, more than MOST save no time.
ELEMENTS = 5 * 2**20
FEWEST, MOST = 32, 1024

NOT_FINITE = reason("some outputs of the network are NaN or infinite: K is made of derivatives, which are finite")


@dataclass(frozen=True)
class LayerCovariance:
    """W and K of one layer of one network.

    Attributes:
        layer: Name, e.g. ``hidden.0`` or ``blocks.0.attn.q``.
        index: Place in forward order among the layers, from 0.
        depth_from_output: Number of products after it on the longest path to the output; 0 = readout, where K = c I. A
            map after the last product that leaves K otherwise (a softmax, a mean over units) counts as a product.
        chain_length: Number L of layers if the network is a chain of layers, else None (the depth-matched power is then
            undefined).
        own_weight: W, a copy (k, d) in the network's number type; a convolution's d is c_in * kh * kw. (g, k, d) where
            g groups of rows see different inputs: W is then block-diagonal.
        total: Sum of K_i over the samples, (g, k, k), in the number type in which it was summed; None if ``blocks``
            holds it, or if K is not known.
        n: Number of samples measured.
        outputs: C, the number of outputs for one sample (all positions counted).
        resolution: Relative rounding of K's eigenvalues.
        blocks: K in blocks of samples, if there is an error to estimate; None if K is exact for these samples.
        population: N, the number of samples in the whole data set, if its K is estimated; None if K is that of the
            samples measured.
        probes: Probes in each of the two sketches; 0 when exact.
        rounding: The part of tr K that is rounding of the network's number type, estimated from a few samples.
        remarks: Notes for every value that depends on K.
        view: Place of W among the network's parameters.
        note: Uses of W that K leaves out; empty for most layers.
    """

    layer: str
    index: int
    depth_from_output: int
    chain_length: int | None
    own_weight: Tensor
    total: Tensor | None
    n: int
    outputs: int
    resolution: float = DOUBLE
    blocks: Blocks | None = None
    population: int | None = None
    probes: int = 0
    rounding: float = 0.0
    remarks: tuple[str, ...] = ()
    view: WeightView | None = None
    note: str = ""

    @property
    def is_measured(self) -> bool:
        """Whether K is known; of a network before training the weights are sometimes enough."""
        return self.total is not None or self.blocks is not None

    @cached_property
    def weight(self) -> Tensor:
        """W in float64."""
        return self.own_weight.double()

    @cached_property
    def covariance(self) -> Tensor:
        """K, (k, k) or (g, k, k) float64; if sketched, the mean of the two sketches, which is unbiased."""
        if self.total is not None:
            return without_single_block(self.total.to(torch.float64, copy=True).div_(self.n))
        assert self.blocks is not None
        first, second = self.blocks.means()
        return without_single_block((first + second) / 2)

    @property
    def is_rounding(self) -> bool:
        """Whether K is no more than rounding, because the true gradient is zero or the network magnifies rounding."""
        partly = PARTLY if torch.finfo(self.own_weight.dtype).bits >= 32 else PARTLY_HALF
        return 0 < self.trace <= partly * self.rounding

    @property
    def change_by_rounding(self) -> float:
        """Relative change of K by rounding.

        Twice that of J, because K is quadratic in J, over the root of n, because it averages over samples. No less than
        twice the rounding of the weights: K is quadratic in the weights of later layers.
        """
        relative = (self.rounding / self.trace) ** 0.5 if self.trace > 0 else 0.0
        return max(float(relative * (2 / self.n**0.5 + relative)), 2 * torch.finfo(self.own_weight.dtype).eps)

    @property
    def trace(self) -> float:
        """The trace of K."""
        return self.covariance.diagonal(dim1=-2, dim2=-1).sum().item()

    @property
    def estimator(self) -> str:
        """How K was obtained: "exact" or "sketched", and "of <n> in <N>" if n samples were drawn from N."""
        how = "sketched" if self.probes else "exact"
        return how if self.population is None else f"{how} of {self.n} in {self.population}"


@dataclass(frozen=True)
class Measured:
    """The result of a pass over the samples.

    Attributes:
        layers: Layer name -> its W and K, in forward order.
        left_out: Owner of a weight of two or more dimensions -> why it is not measured.
        survey: The layers by their place among the parameters, so that another measurement of the same network can find
            the same ones.
    """

    layers: dict[str, LayerCovariance]
    left_out: dict[str, str] = field(default_factory=dict)
    survey: Survey | None = field(default=None, repr=False, compare=False)

    @property
    def places(self) -> dict[str, Layer]:
        """Layer name -> place of its weights, in forward order."""
        return {name: Layer(name, found.view) for name, found in self.layers.items() if found.view is not None}


def measure_covariances(
    model: nn.Module,
    inputs: Inputs,
    *,
    layers: Sequence[str] | None = None,
    estimator: str = "auto",
    samples: int | None = None,
    probes: int = 1,
    seed: int = 0,
    heads: bool = False,
    batch_size: int | None = None,
    like: Survey | None = None,
) -> Measured:
    """Measure K of every layer.

    The layers are those that any of the samples goes through. K is a mean over all samples, so samples that do not go
    through a layer count as zeros.

    The network is measured in eval mode and left as it was. Its output may be any tensor with the samples first; the
    outputs for a sample must depend on that sample alone. Peak memory is that of one batch and of the results.

    Args:
        model: The network.
        inputs: (n, *input shape), or an iterable of such batches or of (inputs, targets) pairs; never changed.
        layers: Names of the layers to measure; all when None.
        estimator: "exact", "sketched", or "auto": exact up to 64 outputs per sample.
        samples: Number of samples to draw at random, from which K of all samples is estimated; None, or as many as
            there are, takes all.
        probes: Probes in each of the two sketches.
        seed: Determines the probes and the samples drawn.
        heads: Take query, key and value projections apart by head: each head is a layer, named ``<layer>.<head>``.
        batch_size: Most samples in one pass. It changes time and memory but not the result, except for error bars if it
            is smaller than their blocks. A single sample is run as two copies, see
            ``nfa.alignment.network.single_sample``. None chooses by the size of the network's activations.
        like: The survey of an earlier measurement of the same network with other weights: its layers keep their names,
            and those that no sample goes through any more are in the result with K = 0.

    Raises:
        ValueError: No measurable layer, an unknown layer, zero samples, NaN in weights or inputs, outputs that are not
            a tensor of n samples, outputs for a sample that depend on other samples, or ``heads`` for a network without
            several attention heads or whose heads cannot be told apart by rows of W.
    """
    options = CovarianceOptions(
        layers=layers,
        estimator=estimator,
        samples=samples,
        probes=probes,
        seed=seed,
        heads=heads,
        batch_size=batch_size,
    )
    return measured_covariances(model, inputs, options, like=like)


@random_states_kept()
def measured_covariances(
    model: nn.Module, inputs: Inputs, options: CovarianceOptions, *, like: Survey | None = None
) -> Measured:
    """Measure K of every layer as ``measure_covariances`` does, with its options as one object."""
    layers, seed, batch_size = options.layers, options.seed, options.batch_size
    model = plain(model)
    device = checked_device(model)
    population = None
    if options.samples is not None:
        inputs, total = drawn(inputs, options.samples, seed)
        population = total if total > len(inputs) else None
    block = min(batch_size or MOST, -(-len(inputs) // BLOCKS) if isinstance(inputs, Tensor) and inputs.dim() else BLOCK)
    stream = batches(inputs, MOST if batch_size is None else batch_size, device)
    held, places = choose_for_trial(inputs, stream)
    trial = chosen_samples(inputs, held, places)
    generator = torch_generator("probes", seed)
    n = 0
    with explained(model, trial), measuring_mode(model):
        survey = Survey(model, like)
        schedule = TrialSchedule(model, survey, layers, heads=options.heads)
        first = schedule.begin(trial, places, held[0])
        outputs = first.outputs.shape[1]
        probes = options.probes if _chosen(options.estimator, outputs) == "sketched" else 0
        sketch = probes > 0
        in_blocks = sketch or population is not None
        sums = LayerSums(layers, in_blocks=in_blocks, probes=probes, block=block)
        sums.find(first.layers)
        writes = first.writes
        elements = first.elements // len(first.outputs)
        size = batch_size or _affordable(elements, max(map(len, held)))
        all_finite = True
        if in_blocks:  # a batch whose rows of J belong to one sample each can be cut into blocks afterwards
            size = max(size // block, 1) * block if sketch and first.one_row_each else block
        del first  # its graph
        whole = itertools.chain(held, (part for part, _ in stream))
        parts = regrouped(whole, size) if in_blocks else _cut(whole, batch_size, elements)
        passes = {"heads": options.heads, "copied": writes, "alone": schedule.alone}
        for batch, recording in _recorded(model, parts, survey, schedule, cut=block * in_blocks, **passes):
            all_finite = all_finite and finite(recording.outputs)
            _refuse_changed(recording, sums)
            sums.find(recording.layers)
            if sketch:
                signs = torch.randint(2, (len(batch), 2 * probes, outputs), generator=generator, dtype=torch.int8)
                sketched_passes(recording, sums, (2 * signs - 1).to(recording.outputs))
            else:
                exact_passes(recording, sums, len(batch))
            sums.end_batch(len(batch))
            n += len(batch)
        schedule.finish()
    sums.find(survey.unused())
    survey.refuse_missing(layers)
    parameters = parameters_of(model)
    remarks = [*schedule.remarks, *([] if all_finite else [NOT_FINITE])]
    never = survey.never
    order = [name for name in survey.order if name not in never]
    return Measured(
        {
            name: _result(
                sums[name],
                schedule.relative.get(name),
                LayerCovariance(
                    layer=name,
                    index=order.index(name),
                    depth_from_output=survey.every_depth[name],
                    chain_length=survey.chain_length,
                    own_weight=sums[name].layer.matrix(parameters, dtype=None),
                    total=None,
                    n=n,
                    outputs=outputs,
                    resolution=sums[name].resolution,
                    population=population,
                    probes=probes,
                    rounding=schedule.rounding.get(name, 0.0),
                    remarks=tuple(remarks),
                    view=sums[name].layer.view,
                    note=survey.note(name),
                ),
            )
            for name in order
            if name in sums
        },
        survey.left_out(),
        survey,
    )


def _recorded(
    model: nn.Module, parts: Iterable[Tensor], survey: Survey, schedule: TrialSchedule, *, cut: int, **options: Any
) -> Iterator[tuple[Tensor, Recording]]:
    """Yield batches with their recorded passes; those that need it are run again in pieces of ``cut`` samples.

    A piece becomes a block of samples. A batch of which each row of J belongs to one sample is cut later; ``cut`` is 0
    if no blocks are kept.
    """
    n = 0
    for batch in parts:
        recording = record_doubled(model, batch, names=survey.names, **options)
        survey.add(recording)
        schedule.watch(batch, recording, n)
        n += len(batch)
        if cut and len(batch) > cut and not recording.one_row_each:
            del recording  # its graph
            for piece in batch.split(cut):
                yield piece, record_doubled(model, piece, names=survey.names, **options)
        else:
            yield batch, recording


def _refuse_changed(recording: Recording, sums: Mapping[str, LayerSum]) -> None:
    """Refuse a weight that the forward pass changes in a later batch only: K would lack that batch.

    Raises:
        ValueError: Such a weight.
    """
    for name, found in sums.items():
        if recording.left_out.get(owner(found.layer.view.parameter)) == CHANGED:
            raise ValueError(f"layer {name!r}: {CHANGED}")


def _result(found: LayerSum, rounding: float | None, layer: LayerCovariance) -> LayerCovariance:
    """Add K to a result: from the sum over samples, from two sketches, or in closed form if h is the output.

    Args:
        found: The sum.
        rounding: Share of tr K that is rounding, for a layer that only some samples go through; else None.
        layer: The result without K.
    """
    if found.blocks is None:
        result = replace(layer, total=found.total())
    elif found.identity_positions:
        identity = torch.eye(found.layer.fan_out, dtype=torch.float64).repeat(found.layer.blocks, 1, 1)
        total = found.identity_positions * layer.n * identity
        result = replace(layer, total=total, probes=0, population=None, resolution=DOUBLE)
    else:
        result = replace(layer, blocks=found.blocks)
    return result if rounding is None else replace(result, rounding=rounding * result.trace)


def _cut(whole: Iterable[Tensor], batch_size: int | None, elements: int) -> Iterator[Tensor]:
    """Cut chunks of samples into batches; without a batch size, into ones that suit the largest chunk so far."""
    largest = 0
    for chunk in whole:
        largest = max(largest, len(chunk))
        yield from chunk.split(batch_size or _affordable(elements, largest))


def _affordable(elements: int, samples: int) -> int:
    """Choose the samples in one pass by how many numbers the network computes for one; passes are of like size."""
    most = min(MOST, max(FEWEST, ELEMENTS // elements))
    return -(-samples // -(-samples // most))


def _chosen(estimator: str, outputs: int) -> str:
    """Choose between exact and sketched; with a single output a sketch is exact at twice the cost, so never taken."""
    if estimator == "auto":
        return "exact" if outputs <= AFFORDABLE_OUTPUTS else "sketched"
    return "exact" if outputs == 1 else estimator
