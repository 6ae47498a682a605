"""The reverse passes over one batch, and the running sum of J^T J of each layer.

One reverse pass with direction v gives, for all layers at once, the rows J_i^T v_i of every sample i, because samples
do not mix. *Exact*: v picks one output c of every sample, so the rows are those of J for that output; C outputs take C
passes, and K_i is the sum of the rows' outer products. *Sketched*: v has random signs for every output of every sample;
E[(J^T v)(J^T v)^T] = J^T J, whatever C. If h is itself the network's output, J is the identity: a random v then comes
back unchanged, which no other layer does, and K is known in closed form.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from nfa.alignment.covariance.blocks import Blocks, OuterSum
from nfa.alignment.covariance.products import add_products_, extreme, mirrored_, resolution, symmetric, working_type
from nfa.alignment.network.layers import Layer
from nfa.alignment.network.recording import Recording, reverse, wanted

# Additions to a float32 sum before it is added to a float64 one: 64 roundings of 6e-8, of either sign, stay below 1e-6.
ADDITIONS = 64


class LayerSum:
    """The sum of K_i of one layer over the batches so far.

    Attributes:
        layer: The layer.
        blocks: The sum in blocks of samples, if error bars are to be made; else None.
        resolution: Relative rounding of the eigenvalues of the sum.
        identity_positions: Positions per sample, as long as every gradient equals its direction: h is then the output
            itself, and K_i this multiple of the identity. 0 before the first gradient, None after one that differs.
    """

    def __init__(self, layer: Layer, *, in_blocks: bool) -> None:
        """Start at zero."""
        self.layer = layer
        self.blocks = Blocks() if in_blocks else None
        self.resolution = torch.finfo(torch.float64).eps
        self.identity_positions: int | None = 0
        self._total: Tensor | None = None  # over earlier batches, float64
        self._products: Tensor | None = None  # one triangle, in the type that products are added in
        self._additions = 0
        self._rows: tuple[list[Tensor], list[Tensor]] = ([], [])

    def add_exact(self, rows: Tensor, outputs: int) -> None:
        """Add the outer products of the rows (g, m, k) of J for one output."""
        working = torch.float64 if extreme(rows) else working_type(rows.dtype, outputs)
        self.resolution = max(self.resolution, resolution(rows.dtype, working))
        if self._products is None:
            self._products = rows.new_zeros(len(rows), rows.shape[2], rows.shape[2], dtype=working)
        elif torch.promote_types(self._products.dtype, working) != self._products.dtype:
            self._products = self._products.to(working)
        add_products_(self._products, rows.to(self._products.dtype))
        self._additions += 1
        if self.blocks is None and self._additions >= ADDITIONS:
            self._settle()

    def add_sketched(self, rows: Tensor, sketch: int) -> None:
        """Keep the rows (g, m, k) of J^T v for one probe of the first (0) or second (1) sketch."""
        rows = rows.to(torch.float64 if extreme(rows) else torch.promote_types(rows.dtype, torch.float32))
        self.resolution = max(self.resolution, torch.finfo(rows.dtype).eps)
        self._rows[sketch].append(rows.cpu())

    def end_exact_batch(self, n: int) -> None:
        """Close a batch of n samples, which is one block if blocks are kept."""
        if self.blocks is not None:
            part = OuterSum(self._empty() if self._products is None else mirrored_(self._products).cpu(), None)
            self._products = None
            self.blocks.add(n, part, part)

    def total(self) -> Tensor:
        """Return the sum over all batches, (g, k, k) on the CPU, if no blocks are kept."""
        if self._total is None:
            return self._empty() if self._products is None else mirrored_(self._products).cpu()
        if self._products is not None:
            self._settle()
        return self._total

    def _settle(self) -> None:
        """Move the products of the last additions to the float64 sum."""
        assert self._products is not None
        summed = symmetric(self._products)
        self._total = summed if self._total is None else self._total.add_(summed)
        self._products, self._additions = None, 0

    def _empty(self) -> Tensor:
        """Make the sum of a layer that was not called: zeros."""
        return torch.zeros(self.layer.blocks, self.layer.fan_out, self.layer.fan_out)

    def end_sketched_batch(self, n: int, probes: int, block: int) -> None:
        """Close a batch of n samples: one block, or blocks of ``block`` samples if each row belongs to one sample."""
        assert self.blocks is not None
        rows, self._rows = self._rows, ([], [])
        if not rows[0]:  # not called on these samples: a row of zeros for each, to cut blocks as for other layers
            rows = ([torch.zeros(self.layer.blocks, n, self.layer.fan_out)],) * 2
            self.identity_positions = None
        one_row_each = all(part.shape[1] == n for sketch in rows for part in sketch)
        size = block if one_row_each else n
        sizes = [min(size, n - start) for start in range(0, n, size)]
        if one_row_each and all(len(sketch) == 1 for sketch in rows):
            self.blocks.add_rows(sizes, rows[0][0], rows[1][0])
            return
        pieces = [[part.split(block, 1) if one_row_each else (part,) for part in sketch] for sketch in rows]
        parts = ([_mean(piece, probes) for piece in zip(*sketch, strict=True)] for sketch in pieces)
        for length, first, second in zip(sizes, *parts, strict=True):
            self.blocks.add(length, first, second)


class LayerSums(dict[str, LayerSum]):
    """Layer name -> ``LayerSum`` of the wanted layers; later batches may bring further layers."""

    def __init__(self, wanted: Sequence[str] | None, *, in_blocks: bool, probes: int, block: int) -> None:
        """Begin without layers.

        Args:
            wanted: Names of the layers; all when None.
            in_blocks: Whether to keep blocks, for error bars.
            probes: Probes in each of the two sketches; 0 when exact.
            block: Samples in a block.
        """
        super().__init__()
        self._wanted = None if wanted is None else set(wanted)
        self._in_blocks, self._probes, self._block = in_blocks, probes, block
        self._ended: list[int] = []

    def find(self, layers: Mapping[str, Layer]) -> None:
        """Add the wanted ones among some layers, with zeros for the batches so far."""
        for name, layer in layers.items():
            if name not in self and (self._wanted is None or name in self._wanted):
                self[name] = LayerSum(layer, in_blocks=self._in_blocks)
                for n in self._ended if self._in_blocks else ():
                    self._end(self[name], n)

    def end_batch(self, n: int) -> None:
        """Close a batch of n samples."""
        for found in self.values():
            self._end(found, n)
        self._ended.append(n)

    def _end(self, found: LayerSum, n: int) -> None:
        if self._probes:
            found.end_sketched_batch(n, self._probes, self._block)
        else:
            found.end_exact_batch(n)


def _mean(rows: Sequence[Tensor], probes: int) -> OuterSum:
    """Sum the outer products of rows over calls, and average them over probes."""
    joined = rows[0] if len(rows) == 1 else torch.cat(list(rows), 1)
    return OuterSum.of_rows(joined if probes == 1 else joined / probes**0.5).compact()


def exact_passes(recording: Recording, sums: Mapping[str, LayerSum], n: int) -> None:
    """Make one reverse pass for each output, and add the rows of J.

    Args:
        recording: A recorded forward pass.
        sums: Layer name -> sum to add to.
        n: Number of samples to measure, the first ones of the pass: a single sample was run as two copies.
    """
    calls, edges = wanted(recording, sums)
    if not edges:  # these samples go through none of the wanted layers
        return
    outputs = recording.outputs.shape[1]
    direction = torch.zeros_like(recording.outputs)
    for c in range(outputs):
        direction.zero_()[:n, c] = 1
        gradients = reverse(recording, edges, direction, last=c == outputs - 1)
        for call in calls:
            gradient = gradients[call.product]
            if gradient is not None:  # a call whose result this output does not use
                sums[call.layer.name].add_exact(call.read(gradient), outputs)


def sketched_passes(recording: Recording, sums: Mapping[str, LayerSum], signs: Tensor) -> None:
    """Make one reverse pass for each probe of both sketches, and add the rows of J^T v.

    Args:
        recording: A recorded forward pass of n samples; for n = 1, of the sample and a copy of it.
        sums: Layer name -> sum to add to.
        signs: (n, 2 * probes, T) of +-1; the first half of the probes is the first sketch.
    """
    calls, edges = wanted(recording, sums)
    if not edges:  # these samples go through none of the wanted layers
        return
    total = signs.shape[1]
    count = Counter(call.layer.name for call in calls)
    for probe in range(total):
        direction = torch.zeros_like(recording.outputs)
        direction[: len(signs)] = signs[:, probe]
        gradients = reverse(recording, edges, direction, last=probe == total - 1)
        for call in calls:
            gradient, layer = gradients[call.product], sums[call.layer.name]
            if gradient is None:
                continue
            _note_identity(layer, gradient, direction, only=count[call.layer.name] == 1)
            layer.add_sketched(call.read(gradient), 2 * probe // total)


def _note_identity(layer: LayerSum, gradient: Tensor, direction: Tensor, *, only: bool) -> None:
    """Note whether h of a layer's only call is the output: in no other case do random signs come back unchanged."""
    same = only and gradient.numel() == direction.numel() and torch.equal(gradient.reshape(direction.shape), direction)
    positions = direction.shape[1] // (layer.layer.blocks * layer.layer.fan_out)
    layer.identity_positions = positions if same and layer.identity_positions in (0, positions) else None
