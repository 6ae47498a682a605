"""K, the covariance of the pre-activation tangent features, of every layer in one sweep.

    K = (1/n) sum_i sum_positions J_i^T J_i,    J_i = d f(x_i) / d h    (Beaglehole et al., arXiv 2402.05271)

so that the average gradient outer product of the layer's inputs is G = W^T K W exactly (the chain rule, for the path
through this layer). One forward pass per batch, then reverse passes that serve all layers at once:

exact       one pass per output: the gradients of output c summed over the batch are per-sample gradients.
sketched    random v with independent +-1 entries for each sample: E[(J^T v)(J^T v)^T] = J^T J. Two independent
            sketches, of ``probes`` passes each, whatever the number of outputs.

    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    k = measure_covariances(model, images).layers["0"].covariance      # images (n, 784) -> (128, 128)
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
from nfa.alignment.network.arguments import check_options, checked_layers
from nfa.alignment.network.fitting import explained
from nfa.alignment.network.guard import BLOCK, Guard, chosen_samples, opened
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
from nfa.alignment.network.paired import record_paired
from nfa.alignment.network.reasons import reason
from nfa.alignment.network.recording import CHANGED, Recording
from nfa.alignment.network.samples import Inputs, batches, drawn, regrouped, unseen
from nfa.alignment.network.survey import Survey
from nfa.alignment.network.trial import PARTLY, PARTLY_HALF
from nfa.alignment.network.undisturbed import undisturbed
from nfa.random import torch_generator

DOUBLE = torch.finfo(torch.float64).eps
# "auto" is exact up to so many outputs per sample (outputs times positions): as many reverse passes.
AFFORDABLE_OUTPUTS = 64
# Blocks of samples of which error bars are made, where the number of samples is known; else BLOCK samples make a block.
BLOCKS = 32
# Samples in one pass, where the caller does not say: as many as keep the graph within so many numbers (20 MiB in
# float32), but no more than cost less time together, and no fewer than keep the cores busy.
ELEMENTS = 5 * 2**20
FEWEST, MOST = 32, 1024

NOT_FINITE = reason("some outputs of the network are NaN or infinite: K is made of derivatives, which are finite")


@dataclass(frozen=True)
class LayerCovariance:
    """One measured layer of one network.

    Attributes:
        layer: Name, e.g. ``hidden.0`` or ``blocks.0.attn.q``.
        index: Place in forward order among the layers, from 0.
        depth_from_output: Products after it on the longest path to the output; 0 = readout.
        chain_length: Number L of layers when the network is a chain of layers, else None (then the depth-matched power
            is undefined).
        own_weight: W, (k, d) copy in the network's number type; a convolution's d is c_in * kh * kw. (g, k, d) where g
            groups of rows see different inputs: W is then block-diagonal.
        total: Sum of K_i over the samples, (g, k, k), in the number type it was summed in; None where the blocks hold
            it.
        n: Samples.
        outputs: C, outputs of the network for one sample (all positions counted).
        resolution: Relative rounding of K's eigenvalues.
        blocks: K in blocks of samples, where there is an error to estimate; None when exact for these samples.
        population: N, samples in the whole data set when the target is its K; None when it is that of these samples.
        probes: Probes in each of the two sketches; 0 when exact.
        rounding: tr K that the rounding of the network's number type makes by itself, as estimated from a few samples.
        remarks: What is to be known of every value that depends on K.
        view: Where W lies among the network's parameters.
        note: What K does not cover, in words; empty for most layers.
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

    @cached_property
    def weight(self) -> Tensor:
        """W in float64."""
        return self.own_weight.double()

    @cached_property
    def covariance(self) -> Tensor:
        """K, (k, k) or (g, k, k) float64. Sketched: the mean of the two sketches, which is unbiased."""
        if self.total is not None:
            return without_single_block(self.total.to(torch.float64, copy=True).div_(self.n))
        assert self.blocks is not None
        first, second = self.blocks.means()
        return without_single_block((first + second) / 2)

    @property
    def is_rounding(self) -> bool:
        """Whether K is no more than rounding: the true gradient is zero, or the network magnifies rounding."""
        partly = PARTLY if torch.finfo(self.own_weight.dtype).bits >= 32 else PARTLY_HALF
        return 0 < self.trace <= partly * self.rounding

    @property
    def change_by_rounding(self) -> float:
        """Relative change of K that rounding makes: twice that of J over the root of n, as it averages over samples.

        No less than that of the weights, twice: K is quadratic in those after it.
        """
        relative = (self.rounding / self.trace) ** 0.5 if self.trace > 0 else 0.0
        return max(float(relative * (2 / self.n**0.5 + relative)), 2 * torch.finfo(self.own_weight.dtype).eps)

    @property
    def trace(self) -> float:
        """The trace of K."""
        return self.covariance.diagonal(dim1=-2, dim2=-1).sum().item()

    @property
    def estimator(self) -> str:
        """How K was obtained: ``exact`` or ``sketched``, and of how many samples where it is that of more."""
        how = "sketched" if self.probes else "exact"
        return how if self.population is None else f"{how} of {self.n} in {self.population}"


@dataclass(frozen=True)
class Measured:
    """What a sweep over the samples found.

    Attributes:
        layers: Layer name -> its covariance, in forward order.
        left_out: Owner of a weight of two or more dimensions -> why it is not measured.
        survey: The layers by their place in memory, for another measurement of the same network to match.
    """

    layers: dict[str, LayerCovariance]
    left_out: dict[str, str] = field(default_factory=dict)
    survey: Survey | None = field(default=None, repr=False, compare=False)

    @property
    def places(self) -> dict[str, Layer]:
        """Layer name -> where its weights are, in forward order."""
        return {name: Layer(name, found.view) for name, found in self.layers.items() if found.view is not None}


@unseen()
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

    The layers are those that any of the samples goes through; samples that do not go through a layer count as zeros in
    its K, which is a mean over all samples.

    The network is measured in eval mode and left as it was. It may give any tensor that has the samples first; a
    sample's outputs must depend on that sample alone. Peak memory is that of one batch and of the results.

    Args:
        model: The network.
        inputs: (n, *input shape), or an iterable of such batches or of (inputs, targets) pairs; never changed.
        layers: Names of the layers to measure; all when None.
        estimator: "exact", "sketched", or "auto": exact up to 64 outputs per sample.
        samples: Draw so many of the samples at random and estimate for all of them; None, or as many as there are,
            takes all.
        probes: Probes in each of the two sketches.
        seed: Names the probes and the samples drawn.
        heads: Take query, key and value projections apart by head.
        batch_size: Most samples in one pass; changes the time and memory, not the result (but an error bar, where it is
            smaller than the blocks that those are made of). A sample that comes alone is given twice, see
            ``nfa.alignment.network.paired``. None chooses by the size of the network's activations.
        like: What an earlier measurement of the same network with other weights found: its layers keep their names,
            and those that no sample goes through any more are there with K = 0.

    Raises:
        ValueError: No measurable layer, an unknown one, zero samples, NaN in weights or inputs, outputs that are no
            tensor of n samples, or outputs of a sample that depend on the others.
    """
    check_options(estimator=estimator, samples=samples, probes=probes, seed=seed, heads=heads, batch_size=batch_size)
    layers = checked_layers(layers)
    model = plain(model)
    device = checked_device(model)
    population = None
    if samples is not None:
        inputs, total = drawn(inputs, samples, seed)
        population = total if total > len(inputs) else None
    block = min(batch_size or MOST, -(-len(inputs) // BLOCKS) if isinstance(inputs, Tensor) and inputs.dim() else BLOCK)
    stream = batches(inputs, MOST if batch_size is None else batch_size, device)
    held, places = opened(inputs, stream)
    trial = chosen_samples(inputs, held, places)
    generator = torch_generator("probes", seed)
    n = 0
    with explained(model, trial), undisturbed(model):
        survey = Survey(model, like)
        guard = Guard(model, survey, layers, heads=heads)
        first = guard.begin(trial, places, held[0])
        outputs = first.outputs.shape[1]
        sketch = _chosen(estimator, outputs) == "sketched"
        in_blocks = sketch or population is not None
        sums = LayerSums(layers, in_blocks=in_blocks, probes=probes if sketch else 0, block=block)
        sums.find(first.layers)
        writes = first.writes
        elements = first.elements // len(first.outputs)
        size = batch_size or _affordable(elements, max(map(len, held)))
        all_finite = True
        if in_blocks:  # where each row of J is one sample's, a batch can be cut into blocks afterwards
            size = max(size // block, 1) * block if sketch and first.one_row_each else block
        del first  # its graph
        whole = itertools.chain(held, (part for part, _ in stream))
        parts = regrouped(whole, size) if in_blocks else _cut(whole, batch_size, elements)
        options = {"heads": heads, "copied": writes, "alone": guard.alone}
        for batch, recording in _recorded(model, parts, survey, guard, cut=block * in_blocks, **options):
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
        guard.finish()
    sums.find(survey.unused())
    survey.refuse_missing(layers)
    parameters = parameters_of(model)
    remarks = [*guard.remarks, *([] if all_finite else [NOT_FINITE])]
    never = survey.never
    order = [name for name in survey.order if name not in never]
    return Measured(
        {
            name: _result(
                sums[name],
                guard.relative.get(name),
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
                    probes=probes if sketch else 0,
                    rounding=guard.rounding.get(name, 0.0),
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
    model: nn.Module, parts: Iterable[Tensor], survey: Survey, guard: Guard, *, cut: int, **options: Any
) -> Iterator[tuple[Tensor, Recording]]:
    """Run batches; where ``cut`` is not 0 and not all samples of one go the same way, run it in pieces of so many."""
    n = 0
    for batch in parts:
        recording = record_paired(model, batch, names=survey.names, **options)
        survey.add(recording)
        guard.watch(batch, recording, n)
        n += len(batch)
        if cut and len(batch) > cut and not recording.one_row_each:
            del recording  # its graph
            for piece in batch.split(cut):
                yield piece, record_paired(model, piece, names=survey.names, **options)
        else:
            yield batch, recording


def _refuse_changed(recording: Recording, sums: Mapping[str, LayerSum]) -> None:
    """Refuse a weight that only a later batch changes: K would lack what that batch adds.

    Raises:
        ValueError: There is one.
    """
    for name, found in sums.items():
        if recording.left_out.get(owner(found.layer.view.parameter)) == CHANGED:
            raise ValueError(f"layer {name!r}: {CHANGED}")


def _result(found: LayerSum, rounding: float | None, layer: LayerCovariance) -> LayerCovariance:
    """Fill in K, from the sum over samples, from two sketches, or in closed form where h is the output.

    Args:
        found: The sum.
        rounding: Share of tr K that is rounding, where it is known as a share.
        layer: The rest of the result.
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
    """Cut chunks of samples into passes; each by the largest chunk so far, where no size is given."""
    largest = 0
    for one in whole:
        largest = max(largest, len(one))
        yield from one.split(batch_size or _affordable(elements, largest))


def _affordable(elements: int, samples: int) -> int:
    """Samples in one pass, from the numbers that the network computes for one; passes of about the same size."""
    most = min(MOST, max(FEWEST, ELEMENTS // elements))
    return -(-samples // -(-samples // most))


def _chosen(estimator: str, outputs: int) -> str:
    """Choose between exact and sketched; with a single output the sketch is exact, at twice the cost."""
    if estimator == "auto":
        return "exact" if outputs <= AFFORDABLE_OUTPUTS else "sketched"
    return "exact" if outputs == 1 else estimator
